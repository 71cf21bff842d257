package kafka

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A table is the state that a topic holds, as a follower tells it.
type table struct {
	t    *testing.T
	busy atomic.Int32

	mu   sync.Mutex
	rows map[string]string
	next map[int32]int64
}

func (b *table) apply(m *linkspan.Message) {
	if b.busy.Add(1) != 1 {
		b.t.Error("two at a time")
	}
	defer b.busy.Add(-1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if at := b.next[m.Record.Partition]; m.Record.Offset < at {
		b.t.Errorf("partition %d: %d comes after %d", m.Record.Partition, m.Record.Offset, at-1)
	}
	b.next[m.Record.Partition] = m.Record.Offset + 1
	if m.Record.Tombstone {
		delete(b.rows, string(m.Record.Key))
	} else {
		b.rows[string(m.Record.Key)] = string(m.Payload)
	}
}

func (b *table) is(rows map[string]string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Equal(b.rows, rows)
}

// follow runs a follower until the test ends.
func follow(t *testing.T, c *Client, topic string) (*Follower, *table) {
	t.Helper()
	b := &table{t: t, rows: map[string]string{}, next: map[int32]int64{}}
	f := c.Follow(topic)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, b.apply) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f, b
}

// A writer changes a table's topic at random, and knows what its state is.
type writer struct {
	t    *testing.T
	c    *Client
	rows map[string]string
}

func (w *writer) write(n int) {
	w.t.Helper()
	o := newOutcomes()
	for range n {
		m := message("state", fmt.Sprint("k", rand.IntN(40)), fmt.Sprint(rand.Int()))
		switch rand.IntN(4) {
		case 0:
			m.Record.Tombstone = true
			delete(w.rows, string(m.Record.Key))
		case 1:
			m.Payload = nil // empty is not gone
			fallthrough
		default:
			w.rows[string(m.Record.Key)] = string(m.Payload)
		}
		w.c.Producer().Send(context.Background(), m, o.done)
	}
	for range n {
		if err := o.wait(w.t); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A follower has the state that the topic held at its start when it is ready, and that of what is written from then on, whatever
// the brokers' moods; and so has each of several (P7).
func TestFollower(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(3, "state"))
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Consumer.FetchMaxPartitionBytes = 1024 // many fetches
	c := connect(t, cfg)
	w := &writer{t: t, c: c, rows: map[string]string{}}
	w.write(500)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.NotLeaderForPartition, Count: 20, When: func(kmsg.Request) bool { return rand.IntN(3) == 0 }})
	f, b := follow(t, c, "state")
	_, other := follow(t, connect(t, cfg), "state")
	<-f.Ready()
	if !b.is(w.rows) {
		t.Error("not the state of the start when it is ready")
	}
	w.write(500)
	until(t, "what was written since", func() bool { return b.is(w.rows) && other.is(w.rows) })

	addPartitions(t, c, "state", 4)
	put(t, cfg, "state", 3, "in a new partition")
	w.rows[""] = "in a new partition"
	until(t, "the new partition", func() bool { return b.is(w.rows) && other.is(w.rows) })
	if err := f.Run(context.Background(), b.apply); err == nil {
		t.Error("runs twice")
	}
}

// A follower is ready although the last offsets have no records (markers of transactions, aborted records), and the first
// are gone.
func TestFollowerOfGaps(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(2, "state")).ListenAddrs()...)
	c := connect(t, cfg)
	for range 3 {
		put(t, cfg, "state", 0, "gone")
		put(t, cfg, "state", 1, "gone")
	}
	gone := kadm.Offsets{}
	gone.AddOffset("state", 0, 2, -1)
	gone.AddOffset("state", 1, 3, -1)
	if _, err := kadm.NewClient(c.kgo).DeleteRecords(testContext(t), gone); err != nil {
		t.Fatal(err)
	}
	put(t, cfg, "state", 0, "last")
	writeTransactions(t, cfg.Brokers[0], "state")
	writeTransactions(t, cfg.Brokers[0], "state")
	f, b := follow(t, c, "state")
	<-f.Ready()
	if !b.is(map[string]string{"": "committed"}) && !b.is(map[string]string{"": "last"}) { // whichever partition came last
		t.Errorf("rows %q", b.rows)
	}
	if n := f.Stats().Records.Load(); n != 4 {
		t.Errorf("%d records, want 4", n)
	}
}

// A topic that is not there yet is waited for.
func TestFollowerWaits(t *testing.T) {
	cluster := startKfake(t)
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	f, b := follow(t, c, "state")
	select {
	case <-f.Ready():
		t.Error("ready without a topic")
	default:
	}
	w := &writer{t: t, c: c, rows: map[string]string{}}
	w.write(10) // creates it
	<-f.Ready()
	until(t, "the state", func() bool { return b.is(w.rows) })
}
