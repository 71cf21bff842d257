package kafka

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/linkspan/linkspan"
)

// P6: a member whose sink has no room for minutes stays a member, holds no more than its bound, and hands over partitions at once
// when another comes. Nothing is lost or repeated.
func TestGroupWithoutRoom(t *testing.T) {
	virtually(t, func(t *testing.T, n *network) {
		small := func(cfg *Config) {
			cfg.Consumer.MaxInFlightBytes, cfg.Consumer.FetchMaxBytes, cfg.Consumer.FetchMaxPartitionBytes = 256<<10, 32<<10, 16<<10
		}
		c, _ := n.client(t, func(cfg *Config) { cfg.Producer.MaxMessageBytes = 8 << 10 }) // a fetch has whole batches
		defer c.Close()
		const each = 500
		padding := strings.Repeat("x", 1000)
		for i := range int32(2 * each) {
			m := message("down", fmt.Sprint(i/2), padding)
			m.Record.Partition = i % 2
			c.Producer().Send(context.Background(), m, func(error) {})
		}
		if err := c.Producer().Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		taken := map[int32][]string{}
		var open atomic.Bool
		sink := linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
			mu.Lock()
			taken[m.Record.Partition] = append(taken[m.Record.Partition], string(m.Record.Key))
			mu.Unlock()
			done(nil)
		})
		count := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(taken[0]) + len(taken[1])
		}
		start := func(room func() bool) (*Consumer, func()) {
			cl, _ := n.client(t, small)
			consumer := cl.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", SessionTimeout: 6 * time.Second})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- consumer.Run(ctx, roomy{sink, room}) }()
			return consumer, func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				cl.Close()
			}
		}
		a, stopA := start(open.Load)
		pass(2 * time.Minute)
		if held := a.Stats().HeldBytes.Load(); count() != 0 || held > 256<<10+32<<10 || held == 0 {
			t.Errorf("%d taken without room, %d bytes held", count(), held)
		}
		b, stopB := start(func() bool { return true })
		pass(10 * time.Second)
		if count() != each || len(b.all()) != 1 {
			t.Errorf("the other took %d from %d partitions", count(), len(b.all()))
		}
		pass(5 * time.Minute)
		if a.losses.Load() != 0 || len(a.all()) != 1 {
			t.Errorf("given up %d times, has %d partitions", a.losses.Load(), len(a.all()))
		}
		open.Store(true)
		pass(10 * time.Second)
		mu.Lock()
		for p := range int32(2) {
			if !slices.Equal(taken[p], numbered(each)) {
				t.Errorf("partition %d: %d taken, or out of order", p, len(taken[p]))
			}
		}
		mu.Unlock()
		stopA()
		stopB()
		if at := committed(t, c, "g", "down"); at != 2*each {
			t.Errorf("committed %d", at)
		}
	}, kfake.SeedTopics(2, "down"))
}

// P6: what is fetched is bounded as it is in memory, however well it is compressed.
func TestCompressedFetchesAreBounded(t *testing.T) {
	const records, most, fetch, batch = 2000, 256 << 10, 32 << 10, 8 << 10
	addr := startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()[0]
	cfg := testConfig(addr)
	cfg.Producer.MaxMessageBytes, cfg.Producer.Compression = batch, "zstd"
	p := connect(t, cfg).Producer()
	random := rand.NewChaCha8([32]byte{})
	noise := make([]byte, 40)
	o := newOutcomes()
	for range records {
		_, _ = random.Read(noise)
		p.Send(t.Context(), message("down", "", fmt.Sprintf("%x%s", noise, strings.Repeat("x", 1000))), o.done)
	}
	for range records {
		if err := o.wait(t); err != nil {
			t.Fatal(err)
		}
	}
	for _, apart := range []bool{false, true} {
		cfg := testConfig(addr)
		cfg.Consumer.MaxInFlightBytes, cfg.Consumer.FetchMaxBytes, cfg.Consumer.FetchMaxPartitionBytes = most, fetch, fetch
		c := connect(t, cfg)
		var open atomic.Bool
		sink := linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) })
		consumer, stop := consume(t, c, ConsumerConfig{Partitions: map[string][]int32{"down": {0}}, From: linkspan.Start{At: linkspan.Earliest}, Apart: apart}, roomy{sink, open.Load})
		until(t, "the bound", func() bool { return consumer.Stats().HeldBytes.Load() >= most })
		if held := consumer.Stats().HeldBytes.Load(); held > most+2*fetch {
			t.Errorf("apart %v: %d bytes are held, want at most %d and a fetch", apart, held, most)
		}
		open.Store(true)
		until(t, "all", func() bool {
			consumer.Wake("down", 0)
			return consumer.Stats().Records.Load() == records
		})
		stop()
	}
}

// roomy is a sink with room as a function says.
type roomy struct {
	linkspan.Sink
	room func() bool
}

func (r roomy) Room(*linkspan.Message) bool { return r.room() }

// P6: partitions whose records do not settle share half of the memory, however large their records are, so that one that goes on
// is not held up.
func TestStuckPartitionsLeaveMemory(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(4, "down")).ListenAddrs()...)
	cfg.Consumer.MaxInFlightBytes, cfg.Consumer.FetchMaxPartitionBytes = 1<<20, 64<<10
	cfg.Producer.MaxMessageBytes = 32 << 10 // a fetch has whole batches
	c := connect(t, cfg)
	large := strings.Repeat("x", 10<<10)
	const each = 200 // twice the memory, in each partition
	for i := range int32(4 * each) {
		m := message("down", "", large)
		m.Record.Partition = i % 4
		c.Producer().Send(context.Background(), m, func(error) {})
	}
	if err := c.Producer().Drain(testContext(t)); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var stuck []func(error)
	settles, goesOn := false, 0
	sink := linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
		mu.Lock()
		defer mu.Unlock()
		if m.Record.Partition != 3 && !settles {
			stuck = append(stuck, done)
			return
		}
		if m.Record.Partition == 3 {
			goesOn++
		}
		done(nil)
	})
	consumer, _ := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	until(t, "the partition that goes on", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return goesOn == each
	})
	if held := consumer.Stats().HeldBytes.Load(); held > 1<<20 {
		t.Errorf("%d bytes are held", held)
	}
	mu.Lock()
	settles = true
	mu.Unlock()
	for _, done := range stuck {
		done(nil)
	}
	until(t, "the others", func() bool { return committed(t, c, "g", "down") == 4*each })
}

// P6: consumers that are Apart share one bound, however many there are and however long their sinks have no room; each goes on when its own
// has.
func TestApartConsumersShareABound(t *testing.T) {
	virtually(t, func(t *testing.T, n *network) {
		const consumers, records = 20, 600
		c, _ := n.client(t, func(cfg *Config) {
			cfg.Producer.MaxMessageBytes = 8 << 10
			cfg.Consumer.MaxInFlightBytes = 1 << 20
		})
		defer c.Close()
		padding := strings.Repeat("x", 1000)
		o := newOutcomes()
		for range records {
			c.Producer().Send(t.Context(), message("down", "", padding), o.done)
		}
		for range records {
			if err := o.wait(t); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		list, shelves := make([]*Consumer, consumers), make([]*shelf, consumers)
		for i := range consumers {
			list[i] = c.NewConsumer(ConsumerConfig{Partitions: map[string][]int32{"down": {0}}, From: linkspan.Start{At: linkspan.Earliest}, Apart: true})
			shelves[i] = new(shelf)
			all.Go(func() {
				if err := list[i].Run(ctx, shelves[i]); err != nil {
					t.Error(err)
				}
			})
		}
		pass(time.Minute)
		held := int64(0)
		for _, c := range list {
			held += c.Stats().HeldBytes.Load()
		}
		if most := int64(consumers * (leastInFlight + leastInFlight)); held == 0 || held > most {
			t.Errorf("%d bytes are held, want at most %d", held, most)
		}
		for i, s := range shelves[:3] {
			s.grant(records)
			for len(s.got()) < records {
				list[i].Wake("down", 0)
				s.mu.Lock()
				dones := s.dones
				s.dones = nil
				s.mu.Unlock()
				for _, done := range dones {
					done(nil)
				}
				pass(10 * time.Millisecond)
			}
		}
		cancel()
		all.Wait()
	}, kfake.SeedTopics(1, "down"))
}
