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
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions = 6
	payload    = 100 // bytes; the first eight are the time of sending
	large      = 200 // bytes, where the spool is measured
)

// warmUp is how long a load runs before anything is counted: the first messages to a new topic wait for its leaders, for the
// producer's identity and for Kafka to have made room, up to 300 ms, and in a short measurement they would be its p99.
const warmUp = time.Second

// newTopic creates a topic and waits until its partitions have leaders.
func newTopic(ctx context.Context, addr, topic string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	// What a deleted topic leaves behind goes before the system has written it to disk, at the cost of the measurements after it.
	soon := "1000"
	if _, err := adm.CreateTopic(ctx, partitions, 1, map[string]*string{"file.delete.delay.ms": &soon}, topic); err != nil {
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

// deleteTopics deletes topics. Nothing depends on it but the disk.
func deleteTopics(ctx context.Context, addr string, topics ...string) {
	if cl, err := kgo.NewClient(kgo.SeedBrokers(addr)); err == nil {
		_, _ = kadm.NewClient(cl).DeleteTopics(ctx, topics...)
		cl.Close()
	}
}

// watch consumes a topic from now on until stop is called, which returns how long the messages that were sent since from took to
// be here.
func watch(ctx context.Context, addr, topic string) (stop func(from time.Time) latencies, err error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(time.Second))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var came samples
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches := cl.PollFetches(ctx)
			now := time.Now()
			fetches.EachRecord(func(r *kgo.Record) { came.add(r.Value, now) })
		}
	}()
	return func(from time.Time) latencies {
		cancel()
		<-done
		cl.Close()
		return came.since(from)
	}, nil
}

// A filler produces records with keys down/0 ... down/49 in turn, their payloads stamped.
type filler struct {
	cl     *kgo.Client
	keys   [][]byte
	n      int
	failed atomic.Pointer[error]
}

func newFiller(addr, topic string, keys int) (*filler, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.MaxBufferedRecords(20_000), kgo.ProducerLinger(0))
	if err != nil {
		return nil, err
	}
	f := &filler{cl: cl}
	for i := range keys {
		f.keys = append(f.keys, []byte("down/"+strconv.Itoa(i)))
	}
	return f, nil
}

// add produces n records.
func (f *filler) add(ctx context.Context, n int) {
	for range n {
		value := make([]byte, payload)
		stamp(value, time.Now())
		f.cl.Produce(ctx, &kgo.Record{Key: f.keys[f.n%len(f.keys)], Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				f.failed.Store(&err)
			}
		})
		f.n++
	}
}

// pace produces rate records a second for length.
func (f *filler) pace(ctx context.Context, rate int, length time.Duration) {
	first, start := f.n, time.Now()
	for time.Since(start) < length && ctx.Err() == nil {
		f.add(ctx, int(time.Since(start).Seconds()*float64(rate))-(f.n-first))
		time.Sleep(time.Millisecond)
	}
}

// close waits until all is acknowledged.
func (f *filler) close(ctx context.Context) error {
	defer f.cl.Close()
	err := f.cl.Flush(ctx)
	if failed := f.failed.Load(); failed != nil {
		err = *failed
	}
	return err
}

// bare is what a process of ours that is measured says of itself.
type bare struct {
	All      int // records
	Messages int // of those, since the warm-up
	Elapsed  time.Duration
	CPU      time.Duration
	Lost     int // acknowledged and not there
}

// What a bare producer's record has.
const (
	stock   = "stock"   // a payload that all share
	own     = "own"     // a payload of its own
	headers = "headers" // that, and headers as Linkspan gives it, made once for each key
)

// produce is the bare franz-go producer, a process of its own: idempotent, all replicas, the same keys and payloads and
// the same settings as Linkspan's, and nothing before it. It batches from what it may have in flight, so that decides, beside what
// a record has, what one costs.
func produce(args []string) error {
	flags := flag.NewFlagSet("producer", flag.ContinueOnError)
	broker := flags.String("broker", "", "address")
	topic := flags.String("topic", "", "topic")
	length := flags.Duration("length", 5*time.Second, "how long")
	inFlight := flags.Int("in-flight", 5000, "records at most")
	kind := flags.String("records", stock, "what each record has")
	rate := flags.Int("rate", 0, "records a second; 0: as many as can be in flight")
	size := flags.Int("payload", payload, "bytes of a payload")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(*broker), kgo.DefaultProduceTopic(*topic),
		kgo.ProducerLinger(producerLinger), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(*inFlight))
	if err != nil {
		return err
	}
	defer cl.Close()
	if err := cl.Ping(context.Background()); err != nil {
		return err
	}
	keys, shared := make([][]byte, 50), make([][]kgo.RecordHeader, 50)
	for i := range keys {
		keys[i] = []byte(strconv.Itoa(i))
		if *kind == headers {
			shared[i] = linkspanHeaders(keys[i])
		}
	}
	value := make([]byte, *size)
	var acked, failed atomic.Int64
	done := func(_ *kgo.Record, err error) {
		if err != nil {
			failed.Add(1)
			return
		}
		acked.Add(1)
	}
	var before time.Duration
	var start time.Time
	var first int64
	began := time.Now()
	for i := 0; start.IsZero() || time.Since(start) < *length; {
		if start.IsZero() && time.Since(began) >= warmUp {
			before, start, first = usage(), time.Now(), acked.Load()
		}
		n := 100
		if *rate > 0 {
			time.Sleep(time.Millisecond)
			n = int(time.Since(began).Seconds()*float64(*rate)) - i
		}
		for range n {
			r := &kgo.Record{Key: keys[i%len(keys)], Value: value, Headers: shared[i%len(keys)]}
			if *kind != stock {
				r.Value = append([]byte(nil), value...)
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
	return json.NewEncoder(os.Stdout).Encode(bare{All: int(acked.Load()), Messages: int(acked.Load() - first), Elapsed: time.Since(start), CPU: usage() - before})
}

// linkspanHeaders are those of a record that Linkspan writes for a message.
func linkspanHeaders(key []byte) []kgo.RecordHeader {
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

// child runs this program as the process that is measured, and returns what it says of itself.
func (l *lab) child(args ...string) (b bare, err error) {
	self, err := os.Executable()
	if err != nil {
		return b, err
	}
	cmd := exec.CommandContext(l.ctx, self, append(args, "-length", l.length.String())...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return b, fmt.Errorf("%s: %w", args[0], err)
	}
	return b, json.Unmarshal(out, &b)
}

func (b *bare) result() result {
	return result{messages: b.Messages, elapsed: b.Elapsed, cpu: b.CPU, lost: b.Lost}
}
