package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// patience bounds how long a test waits for what must happen; it is no measure of how long that takes.
const patience = 2 * time.Minute

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// startKfake starts a Kafka in memory with one topic, t, of three partitions.
func startKfake(tb testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	tb.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, "t")}, opts...)...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(cluster.Close)
	return cluster
}

// testConfig is for tests that cannot wait: all intervals are short.
func testConfig(brokers ...string) Config {
	cfg := Default()
	cfg.Brokers = brokers
	cfg.RetryInterval = 20 * time.Millisecond
	cfg.Consumer.DiscoveryInterval = 20 * time.Millisecond
	cfg.Consumer.CommitInterval = 20 * time.Millisecond
	cfg.Consumer.FetchMaxWait = 100 * time.Millisecond
	return cfg
}

func connect(tb testing.TB, cfg Config, opts ...kgo.Opt) *Client {
	tb.Helper()
	c, err := newClient(cfg, quiet, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	return c
}

func testContext(tb testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return ctx
}

// until waits for a condition.
func until(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	ctx := testContext(tb)
	for !ok() {
		if sleep(ctx, time.Millisecond) != nil {
			tb.Fatalf("waited in vain for %s", what)
		}
	}
}

func message(topic, key, payload string) *linkspan.Message {
	m := &linkspan.Message{Payload: []byte(payload)}
	m.Record = linkspan.Record{Topic: topic, Partition: linkspan.AnyPartition}
	if key != "" {
		m.Record.Key = []byte(key)
	}
	return m
}

// outcomes collects what done says.
type outcomes struct {
	mu   sync.Mutex
	errs []error
	last chan error
}

func newOutcomes() *outcomes { return &outcomes{last: make(chan error, 1<<16)} }

func (o *outcomes) done(err error) {
	o.mu.Lock()
	o.errs = append(o.errs, err)
	o.mu.Unlock()
	o.last <- err
}

func (o *outcomes) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.errs)
}

// wait returns the next outcome.
func (o *outcomes) wait(tb testing.TB) error {
	tb.Helper()
	select {
	case err := <-o.last:
		return err
	case <-time.After(patience):
		tb.Fatal("done was not called")
		return nil
	}
}

// send sends one message and returns its outcome.
func send(tb testing.TB, to linkspan.Sink, m *linkspan.Message) error {
	tb.Helper()
	o := newOutcomes()
	to.Send(context.Background(), m, o.done)
	return o.wait(tb)
}

// contents reads all that a topic holds, by partition, with a client of its own.
func contents(tb testing.TB, broker, topic string) (all map[int32][]*kgo.Record) {
	tb.Helper()
	all, err := readAll(testContext(tb), broker, topic)
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

func readAll(ctx context.Context, broker, topic string) (all map[int32][]*kgo.Record, err error) {
	cl, err := newClient(testConfig(broker), quiet)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	found, err := cl.inspect(ctx, []string{topic})
	if err != nil {
		return nil, err
	}
	all = map[int32][]*kgo.Record{}
	for p := range found[topic].partitions {
		var offset *OffsetError
		for from := int64(0); ; {
			part, err := cl.fetchAt(ctx, topic, p, from, 1<<20, metadataAge)
			if err != nil {
				return nil, err
			}
			if part.Err != nil {
				if err := cl.offsetError(ctx, topic, p, from); errors.As(err, &offset) && offset.Earliest > from {
					from = offset.Earliest
					continue
				}
				return nil, part.Err
			}
			all[p] = append(all[p], part.Records...)
			if part.next <= from {
				break
			}
			from = part.next
		}
	}
	return all, nil
}

// values lists the values of records.
func values(records []*kgo.Record) (list []string) {
	for _, r := range records {
		list = append(list, string(r.Value))
	}
	return list
}

// numbered returns "0", "1", ...
func numbered(n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// received is a sink that keeps what it is sent, and decides by a function what becomes of it.
type received struct {
	mu     sync.Mutex
	list   []linkspan.Record
	values []string
	decide func(m *linkspan.Message, done func(error))
}

func (r *received) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	c := m.Clone()
	r.mu.Lock()
	r.list = append(r.list, c.Record)
	r.values = append(r.values, string(c.Payload))
	decide := r.decide
	r.mu.Unlock()
	if decide == nil {
		done(nil)
		return
	}
	decide(c, done)
}

func (r *received) got() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.values)
}

// consume runs a consumer until the test ends or stop is called.
func consume(tb testing.TB, c *Client, cfg ConsumerConfig, to linkspan.Sink) (consumer *Consumer, stop func()) {
	tb.Helper()
	consumer = c.NewConsumer(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- consumer.Run(ctx, to) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				tb.Errorf("consumer: %v", err)
			}
		case <-time.After(patience):
			tb.Error("the consumer does not end")
		}
	})
	tb.Cleanup(stop)
	select {
	case <-consumer.Ready():
	case <-time.After(patience):
		tb.Fatal("the consumer is not ready")
	}
	return consumer, stop
}
