package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/custody"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The custody suite: P1 to P4 and P8 of a consumer in a group.
func TestConsumerCustody(t *testing.T) {
	custody.TestSource(t, func(t *testing.T) *custody.Near {
		cluster := startKfake(t, kfake.SeedTopics(1, "down"))
		c := connect(t, testConfig(cluster.ListenAddrs()...))
		return &custody.Near{
			Source: c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g"}), Window: c.cfg.Consumer.MaxInFlight, Retries: true,
			Feed: func(i int) {
				if err := send(t, c.Producer(), message("down", "k", custody.Payload(i))); err != nil {
					t.Error(err)
				}
			},
			Settled: func() int { return committed(t, c, "g", "down") },
		}
	})
}

func TestConsumerFillsMessages(t *testing.T) {
	c := connect(t, testConfig(startKfake(t).ListenAddrs()...))
	got := make(chan *linkspan.Message, 2)
	consume(t, c, ConsumerConfig{Topics: []string{"t"}}, linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
		got <- m.Clone()
		done(nil)
	}))
	sent := message("t", "key", "payload")
	sent.Record.Partition, sent.Record.Timestamp = 2, time.UnixMilli(1_700_000_000_123)
	sent.Record.Headers = []linkspan.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}}
	before := time.Now()
	for range 2 {
		if err := send(t, c.Producer(), sent); err != nil {
			t.Fatal(err)
		}
	}
	for offset := range int64(2) {
		m := <-got
		r := m.Record
		if string(m.Payload) != "payload" || r.Topic != "t" || r.Partition != 2 || r.Offset != offset || string(r.Key) != "key" || !r.Timestamp.Equal(sent.Record.Timestamp) {
			t.Errorf("got %q %+v", m.Payload, r)
		}
		if len(r.Headers) != 2 || string(r.Headers[1].Value) != "2" || m.Received.Before(before) {
			t.Errorf("headers %v, received %v", r.Headers, m.Received)
		}
	}
}

// A tail reads what comes after it is ready, and all of it: of topics by name and by pattern, of new partitions, of new topics,
// and of a topic that is deleted and made again.
func TestTail(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(1, "by-name", "match-1", "other"))
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	p := c.Producer()
	write := func(topic string, partition int32, v string) {
		t.Helper()
		m := message(topic, "", v)
		m.Record.Partition = partition
		for { // a record of a topic made again may come back once
			err := send(t, p, m)
			if err == nil {
				return
			}
			if linkspan.IsPermanent(err) {
				t.Fatal(err)
			}
		}
	}
	for _, topic := range []string{"by-name", "match-1", "other"} {
		write(topic, 0, "before")
	}
	sink := new(received)
	consume(t, c, ConsumerConfig{Topics: []string{"by-name", "later"}, Patterns: []string{"match-.*"}}, sink)
	want := func(list ...string) {
		t.Helper()
		until(t, fmt.Sprint(list), func() bool { return len(sink.got()) >= len(list) })
		got := sink.got()
		slices.Sort(got)
		slices.Sort(list)
		if !slices.Equal(got, list) {
			t.Fatalf("got %v, want %v", got, list)
		}
	}
	write("other", 0, "not wanted")
	write("by-name", 0, "a")
	write("match-1", 0, "b")
	want("a", "b")

	more := kmsg.NewPtrCreatePartitionsRequest()
	more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "by-name", Count: 2}}
	if _, err := more.RequestWith(testContext(t), c.kgo); err != nil {
		t.Fatal(err)
	}
	fresh := connect(t, testConfig(cluster.ListenAddrs()...)) // knows the new partition at once
	p = fresh.Producer()
	write("by-name", 1, "c")
	write("match-2", 0, "d")
	write("later", 0, "e")
	write("match-3", 2, "f")
	want("a", "b", "c", "d", "e", "f")

	if err := cluster.DeleteTopic("match-1"); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic("match-1", 1, nil); err != nil {
		t.Fatal(err)
	}
	write("match-1", 0, "g")
	want("a", "b", "c", "d", "e", "f", "g")
}

// A tail that has nothing to read is ready, and ends when told.
func TestTailOfNothing(t *testing.T) {
	c := connect(t, testConfig("127.0.0.1:1"))
	_, stop := consume(t, c, ConsumerConfig{}, new(received))
	stop()
	if err := c.NewConsumer(ConsumerConfig{Patterns: []string{"("}}).Run(context.Background(), new(received)); err == nil {
		t.Error("a pattern that is none is accepted")
	}
}

// What a sink gives back comes again, in order, and before anything newer. What it refuses for good does not.
func TestConsumerRetriesInOrder(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...)
	c := connect(t, cfg)
	const n = 200
	var mu sync.Mutex
	var taken []string
	tries := map[string]int{}
	failing := false
	sink := &received{decide: func(m *linkspan.Message, done func(error)) {
		mu.Lock()
		v := string(m.Payload)
		i, _ := strconv.Atoi(v)
		tries[v]++
		var err error
		switch {
		case i%50 == 7:
			err = linkspan.Permanent(errors.New("never"))
		case i%20 == 3 && tries[v] < 3: // and all that follows, as a sink that keeps order must
			failing, err = true, errors.New("not now")
		case failing && i%20 != 3 && tries[v] == 1 && i%20 < 10:
			err = errors.New("not now")
		default:
			failing = false
			taken = append(taken, v)
		}
		mu.Unlock()
		go done(err)
	}}
	consumer, stop := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	for _, v := range numbered(n) {
		c.Producer().Send(context.Background(), message("down", "k", v), func(error) {})
	}
	until(t, "the commit", func() bool { return committed(t, c, "g", "down") == n })
	stop()
	s := consumer.Stats()
	if s.Refused.Load() != 4 || s.Records.Load() != n-4 || s.Retried.Load() < 20 || s.HeldBytes.Load() != 0 {
		t.Errorf("%d refused, %d taken, %d retried, %d bytes held", s.Refused.Load(), s.Records.Load(), s.Retried.Load(), s.HeldBytes.Load())
	}
	seen := map[string]bool{}
	for _, v := range taken {
		if seen[v] {
			t.Errorf("%s was taken twice", v)
		}
		seen[v] = true
	}
	for i := range n {
		if i%50 != 7 && !seen[strconv.Itoa(i)] {
			t.Errorf("%d was not taken (P2)", i)
		}
	}
}

// With a sink that keeps order, and so gives back all from the first failure on until that comes again, what is taken is in
// order, and each once (P3).
func TestConsumerKeepsOrderThroughFailures(t *testing.T) {
	c := connect(t, testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...))
	var mu sync.Mutex
	var taken []string
	first := "" // what failed first and was not taken since
	calls := 0
	sink := &received{decide: func(m *linkspan.Message, done func(error)) {
		v := string(m.Payload)
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%97 == 0 && first == "" {
			first = v
		} else if first == v {
			first = ""
		}
		if first != "" {
			go done(errors.New("not now"))
			return
		}
		taken = append(taken, v)
		go done(nil)
	}}
	consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	for _, v := range numbered(500) {
		c.Producer().Send(context.Background(), message("down", "k", v), func(error) {})
	}
	until(t, "the commit", func() bool { return committed(t, c, "g", "down") == 500 })
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(taken, numbered(500)) {
		t.Errorf("taken %v", taken)
	}
}

// bounded is a sink with room that a test gives and takes.
type bounded struct {
	*received
	room func() bool
}

func (b bounded) Room(*linkspan.Message) bool { return b.room() }

// P6: a partition whose records are not done is held back, others go on, and nothing is skipped when it may go on.
func TestConsumerIsBounded(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(2, "down")).ListenAddrs()...)
	cfg.Consumer.MaxInFlight = 10
	c := connect(t, cfg)
	const n = 500
	for i := range int32(2 * n) {
		m := message("down", "", fmt.Sprint(i/2))
		m.Record.Partition = i % 2
		c.Producer().Send(context.Background(), m, func(error) {})
	}
	if err := c.Producer().Drain(testContext(t)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var stuck []func(error)
	order := map[int32][]string{}
	release := false
	sink := &received{decide: func(m *linkspan.Message, done func(error)) {
		mu.Lock()
		order[m.Record.Partition] = append(order[m.Record.Partition], string(m.Payload))
		if m.Record.Partition == 0 && !release {
			stuck = append(stuck, done)
			mu.Unlock()
			return
		}
		mu.Unlock()
		done(nil)
	}}
	consumer, _ := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	until(t, "the free partition", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(order[1]) == n && len(stuck) == 10
	})
	if in := consumer.Stats().InFlight.Load(); in != 10 {
		t.Errorf("%d in flight, want 10", in)
	}
	mu.Lock()
	release = true
	mu.Unlock()
	for _, done := range stuck {
		done(nil)
	}
	until(t, "the commit", func() bool { return committed(t, c, "g", "down") == 2*n })
	for p := range int32(2) {
		if !slices.Equal(order[p], numbered(n)) {
			t.Errorf("partition %d: %v", p, order[p])
		}
	}
}

// A sink without room is asked again, and what is fetched meanwhile is bounded in bytes.
func TestConsumerWaitsForRoom(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...)
	cfg.Consumer.MaxInFlightBytes, cfg.Consumer.FetchMaxPartitionBytes = 64<<10, 16<<10
	c := connect(t, cfg)
	var mu sync.Mutex
	open := false
	sink := bounded{new(received), func() bool {
		mu.Lock()
		defer mu.Unlock()
		return open
	}}
	consumer, _ := consume(t, c, ConsumerConfig{Topics: []string{"down"}}, sink)
	for _, v := range numbered(1000) {
		c.Producer().Send(context.Background(), message("down", "k", v), func(error) {})
	}
	until(t, "the bound", func() bool { return consumer.Stats().HeldBytes.Load() >= 64<<10 })
	if got := len(sink.got()); got != 0 {
		t.Errorf("%d sent without room", got)
	}
	mu.Lock()
	open = true
	mu.Unlock()
	until(t, "all", func() bool { return len(sink.got()) == 1000 })
	if !slices.Equal(sink.got(), numbered(1000)) {
		t.Error("out of order")
	}
}

// Records of aborted transactions and control records are not delivered.
func TestConsumerReadsCommitted(t *testing.T) {
	addr := startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()[0]
	c := connect(t, testConfig(addr))
	sink := new(received)
	consume(t, c, ConsumerConfig{Topics: []string{"down"}}, sink)
	writeTransactions(t, addr, "down")
	if err := send(t, c.Producer(), message("down", "k", "last")); err != nil {
		t.Fatal(err)
	}
	until(t, "the records", func() bool { return len(sink.got()) == 2 })
	if !slices.Equal(sink.got(), []string{"committed", "last"}) {
		t.Errorf("got %v", sink.got())
	}
}

// writeTransactions writes one record that is aborted and one that is committed.
func writeTransactions(tb testing.TB, addr, topic string) {
	tb.Helper()
	ctx := testContext(tb)
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID("tx"), kgo.DefaultProduceTopic(topic))
	if err != nil {
		tb.Fatal(err)
	}
	defer cl.Close()
	for v, end := range map[string]kgo.TransactionEndTry{"aborted": kgo.TryAbort, "committed": kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			tb.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord(v)).FirstErr(); err != nil {
			tb.Fatal(err)
		}
		if err := cl.EndTransaction(ctx, end); err != nil {
			tb.Fatal(err)
		}
	}
}

func BenchmarkConsume(b *testing.B) {
	cluster := startKfake(b, kfake.SyntheticFetch(kfake.SyntheticBatch{}), kfake.SeedTopics(1, "down"))
	c := connect(b, testConfig(cluster.ListenAddrs()...))
	b.ReportAllocs()
	left := b.N
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	consumer := c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g"})
	b.ResetTimer()
	go func() {
		defer close(ended)
		_ = consumer.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) {
			if left--; left == 0 {
				cancel()
			}
			done(nil)
		}))
	}()
	<-ended
}
