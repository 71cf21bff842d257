package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const partitions = 6

// newTopic creates a topic and waits until its partitions have leaders.
func newTopic(ctx context.Context, addr, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
		return fmt.Errorf("create %s: %w", topic, err)
	}
	for ctx.Err() == nil {
		if _, err := count(ctx, addr, topic); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return ctx.Err()
}

// count returns how many records a topic holds.
func count(ctx context.Context, addr, topic string) (int, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	n := 0
	ends.Each(func(o kadm.ListedOffset) {
		err = errors.Join(err, o.Err)
		n += int(o.Offset)
	})
	return n, err
}

// watch consumes a topic from now on and samples the time from each message's stamp until it is here, until stop is
// called.
func watch(ctx context.Context, addr, topic string) (stop func() latencies, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(time.Second))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var l latencies
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(r *kgo.Record) { l = append(l, now.Sub(stamped(r.Value))) })
		}
	}()
	return func() latencies {
		cancel()
		<-done
		cl.Close()
		return l
	}, nil
}

// fill produces n records with keys down/0 ... down/49 in turn, their payloads stamped.
func fill(ctx context.Context, addr, topic string, n, keys, payload int) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(20_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	var mu sync.Mutex
	var failed error
	for i := range n {
		value := make([]byte, max(payload, 8))
		stamp(value, time.Now())
		cl.Produce(ctx, &kgo.Record{Key: []byte("down/" + strconv.Itoa(i%keys)), Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// bare is what the bare producer says of itself.
type bare struct {
	Messages int
	Elapsed  time.Duration
	CPU      time.Duration
}

// produce is the bare franz-go producer, a process of its own: idempotent, all replicas, the same keys and payloads and
// the same settings as Linkspan's, and nothing before it. Without -same it writes one payload from one place in memory over and
// over; with -same each record has its own, and the headers that Linkspan gives it.
func produce(args []string) error {
	flags := flag.NewFlagSet("producer", flag.ContinueOnError)
	broker := flags.String("broker", "", "address")
	topic := flags.String("topic", "", "topic")
	length := flags.Duration("length", 5*time.Second, "how long")
	payload := flags.Int("payload", 100, "bytes")
	same := flags.Bool("same", false, "records as Linkspan writes them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(*broker), kgo.DefaultProduceTopic(*topic),
		kgo.ProducerLinger(producerLinger), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(100_000))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Ping(context.Background()); err != nil {
		return err
	}
	keys := make([][]byte, 50)
	for i := range keys {
		keys[i] = []byte(strconv.Itoa(i))
	}
	value := make([]byte, *payload)
	var acked, failed atomic.Int64
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Add(1)
			return
		}
		acked.Add(1)
	}
	before, start := usage(), time.Now()
	for i := 0; time.Since(start) < *length; {
		for range 100 {
			r := &kgo.Record{Key: keys[i%len(keys)], Value: value}
			if *same {
				r.Value, r.Headers = append([]byte(nil), value...), headers(r.Key)
			}
			cl.Produce(context.Background(), r, done)
			i++
		}
	}
	if err := cl.Flush(context.Background()); err != nil {
		return err
	}
	if n := failed.Load(); n > 0 {
		return fmt.Errorf("%d records failed", n)
	}
	return json.NewEncoder(os.Stdout).Encode(bare{int(acked.Load()), time.Since(start), usage() - before})
}

// headers are those of a record that Linkspan writes for a message.
func headers(key []byte) []kgo.RecordHeader {
	device := "bench-" + string(key)
	return []kgo.RecordHeader{
		{Key: "mqtt.topic", Value: []byte("bench/" + string(key))},
		{Key: "linkspan.origin", Value: []byte("devices")},
		{Key: "mqtt.client", Value: []byte(device)},
		{Key: "mqtt.received", Value: strconv.AppendInt(nil, time.Now().UnixMilli(), 10)},
		{Key: "mqtt.qos", Value: []byte("1")},
	}
}

// usage is the processor time of this process so far.
func usage() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// runBare runs the bare producer in a process of its own.
func runBare(l *lab, addr, topic string, same bool) (bare, error) {
	self, err := os.Executable()
	if err != nil {
		return bare{}, err
	}
	cmd := exec.CommandContext(l.ctx, self, "producer", "-broker", addr, "-topic", topic, "-length", l.length.String(), "-same="+strconv.FormatBool(same))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return bare{}, err
	}
	var b bare
	return b, json.Unmarshal(out, &b)
}
