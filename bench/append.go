package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool"
)

// away is a Kafka that takes nothing.
type away struct{}

func (away) Room(*linkspan.Message) bool { return false }

func (away) Send(_ context.Context, _ *linkspan.Message, done func(error)) { done(errAway) }

func (away) Keep(_ context.Context, _ *linkspan.Message, done func(error)) linkspan.Kept {
	done(errAway)
	return nil
}

var errAway = errors.New("it is away")

// store is the spool without anything before or behind it, a process of its own: the messages are those that devices publish
// and a route has made records of, one sender in the place of each device, and acknowledged when they are on the disk.
func store(args []string) error {
	flags := flag.NewFlagSet("spool", flag.ContinueOnError)
	dir := flags.String("dir", "", "the spool's directory")
	length := flags.Duration("length", 5*time.Second, "how long")
	senders := flags.Int("senders", 50, "how many")
	window := flags.Int("window", 100, "messages in flight of each")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cfg := spool.Default()
	cfg.Dir, cfg.MaxBytes = *dir, math.MaxInt64
	s, err := spool.Open(cfg, []spool.Lane{{Name: "bench", Ack: spool.AckSpool}}, spool.Parts{To: away{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	s.Hold(true)
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()

	var stop atomic.Bool
	all := make([]*sender, *senders)
	var wg sync.WaitGroup
	for i := range all {
		all[i] = &sender{s: s, window: int64(*window), room: make(chan struct{}, 1)}
		wg.Go(func() { all[i].send(i, &stop) })
	}
	time.Sleep(warmUp)
	acked := func() (n int) {
		for _, one := range all {
			n += int(one.acked.Load())
		}
		return n
	}
	before, start, first := usage(), time.Now(), acked()
	time.Sleep(*length)
	stop.Store(true)
	wg.Wait()
	r := bare{All: acked(), Elapsed: time.Since(start), CPU: usage() - before}
	r.Messages, r.Lost = r.All-first, r.All-int(s.Status().Lanes[0].Messages)
	end()
	for _, one := range all {
		err = cmp.Or(err, one.err)
	}
	if err := errors.Join(err, <-ended); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// A sender keeps its window full. When half of it has come back it goes on, as a device does that reads many acknowledgements at once.
type sender struct {
	s      *spool.Spool
	window int64
	room   chan struct{} // a token: half of the window has come back, perhaps long ago
	flying atomic.Int64
	acked  atomic.Int64
	err    error
}

func (s *sender) send(i int, stop *atomic.Bool) {
	key := strconv.Itoa(i)
	m := linkspan.Message{
		Topic: "bench/" + key, Payload: make([]byte, large), QoS: 1, Endpoint: "devices", Client: "bench-" + key, Route: "bench",
		Record: linkspan.Record{Topic: "bench.up", Partition: linkspan.AnyPartition, Key: []byte(key)},
	}
	for _, h := range linkspanHeaders(m.Record.Key) {
		m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: h.Key, Value: h.Value})
	}
	var failed atomic.Pointer[error]
	done := func(err error) {
		if err != nil {
			failed.Store(&err)
		}
		s.acked.Add(1)
		if s.flying.Add(-1) == s.window/2 {
			select {
			case s.room <- struct{}{}:
			default:
			}
		}
	}
	for ctx := context.Background(); !stop.Load(); {
		m.Received = time.Now()
		for s.flying.Load() < s.window {
			if !s.s.Room(&m) {
				s.err = fmt.Errorf("the spool has no room: %s", s.s.Status().Reason)
				return
			}
			s.flying.Add(1)
			s.s.Send(ctx, &m, done)
		}
		<-s.room
	}
	for s.flying.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := failed.Load(); err != nil {
		s.err = *err
	}
}
