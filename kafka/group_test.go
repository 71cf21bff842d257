package kafka

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
)

// committed returns the sum of the positions that a group has committed in a topic.
func committed(tb testing.TB, c *Client, group, topic string) (sum int) {
	tb.Helper()
	for _, o := range positions(tb, c, group, topic) {
		sum += int(o)
	}
	return sum
}

func positions(tb testing.TB, c *Client, group, topic string) map[int32]int64 {
	tb.Helper()
	offsets, err := kadm.NewClient(c.kgo).FetchOffsets(testContext(tb), group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		tb.Fatal(err)
	}
	all := map[int32]int64{}
	for p, o := range offsets[topic] {
		all[p] = o.At
	}
	return all
}

// P4, KAL-W2: whatever the order in which records are done, a position never passes one that is not.
func TestGroupCommitsSettledPrefix(t *testing.T) {
	c := connect(t, testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...))
	const n = 50
	for _, v := range numbered(n) {
		if err := send(t, c.Producer(), message("down", "k", v)); err != nil {
			t.Fatal(err)
		}
	}
	dones := make(map[int]func(error))
	var mu sync.Mutex
	sink := &received{decide: func(m *linkspan.Message, done func(error)) {
		i, _ := strconv.Atoi(string(m.Payload))
		mu.Lock()
		dones[i] = done
		mu.Unlock()
	}}
	consumer, stop := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	until(t, "all in flight", func() bool { return len(sink.got()) == n })
	settled := map[int]bool{}
	for _, i := range rand.Perm(n - 1) { // all but the last
		mu.Lock()
		done := dones[i]
		mu.Unlock()
		if done(nil); i == 0 {
			done = nil
		}
		settled[i] = true
		prefix := 0
		for settled[prefix] {
			prefix++
		}
		if at := committed(t, c, "g", "down"); at > prefix {
			t.Fatalf("committed %d, settled %d", at, prefix)
		}
		if consumer.Stats().InFlight.Load() != int64(n-len(settled)) {
			t.Fatalf("%d in flight, want %d", consumer.Stats().InFlight.Load(), n-len(settled))
		}
	}
	until(t, "the commit", func() bool { return committed(t, c, "g", "down") == n-1 })
	go func() {
		mu.Lock()
		defer mu.Unlock()
		dones[n-1](nil) // the end waits for it, and commits it
	}()
	stop()
	if at := committed(t, c, "g", "down"); at != n {
		t.Errorf("committed %d at the end, want %d (P8)", at, n)
	}
	if held := consumer.Stats().HeldBytes.Load(); held != 0 {
		t.Errorf("%d bytes are still held", held)
	}
}

// Members of a group come and go while messages flow: none is lost or skipped (P2), and positions never pass what is not
// settled (P4), with sinks that are done out of order.
func TestGroupRebalanceUnderLoad(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(4, "down"))
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Consumer.RebalanceTimeout = 10 * time.Second
	cfg.Consumer.MaxInFlight = 50
	c := connect(t, cfg)

	var mu sync.Mutex
	settled := map[string]bool{}
	member := func() func() {
		rng := make(chan func(), 1<<16)
		var wg sync.WaitGroup
		for range 4 { // done out of order
			wg.Go(func() {
				for f := range rng {
					f()
				}
			})
		}
		sink := linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
			id := fmt.Sprintf("%d/%d", m.Record.Partition, m.Record.Offset)
			rng <- func() {
				if rand.IntN(50) == 0 {
					done(errors.New("not now"))
					return
				}
				mu.Lock()
				settled[id] = true
				mu.Unlock()
				done(nil)
			}
		})
		_, stop := consume(t, connect(t, cfg), ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
		return func() {
			stop()
			close(rng)
			wg.Wait()
		}
	}
	check := func() {
		t.Helper()
		at := positions(t, c, "g", "down")
		mu.Lock()
		defer mu.Unlock()
		for p, o := range at {
			for i := range o {
				if !settled[fmt.Sprintf("%d/%d", p, i)] {
					t.Fatalf("partition %d is committed up to %d, but %d is not settled (P4)", p, o, i)
				}
			}
		}
	}
	const n = 4000
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			m := message("down", "", "v")
			m.Record.Partition = int32(i % 4)
			c.Producer().Send(context.Background(), m, func(error) {})
			if i%200 == 0 {
				_ = sleep(context.Background(), 5*time.Millisecond)
			}
		}
	}()
	stop1 := member()
	check()
	stop2 := member()
	check()
	stop1()
	check()
	stop3 := member()
	check()
	<-sent
	stop2()
	check()
	until(t, "everything to be committed", func() bool { check(); return committed(t, c, "g", "down") == n })
	stop3()
}

// A partition that was lost is not committed, and what was in flight comes again.
func TestGroupLostPartitions(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(1, "down"))
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	if err := send(t, c.Producer(), message("down", "k", "0")); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var held []func(error)
	sink := &received{decide: func(_ *linkspan.Message, done func(error)) {
		mu.Lock()
		held = append(held, done)
		mu.Unlock()
	}}
	consumer, _ := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	until(t, "the record", func() bool { return len(sink.got()) == 1 })
	consumer.lost(map[string][]int32{"down": {0}})
	mu.Lock()
	held[0](nil)
	mu.Unlock()
	consumer.commit(consumer.all)
	if at := committed(t, c, "g", "down"); at != 0 {
		t.Errorf("committed %d of a partition that was lost", at)
	}
	if b := consumer.Stats().HeldBytes.Load(); b != 0 {
		t.Errorf("%d bytes are held for it", b)
	}
}
