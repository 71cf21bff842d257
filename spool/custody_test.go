package spool

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/custody"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// routed gives the suite's messages a route.
type routed struct{ *Spool }

func (r routed) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	m.Route = "a"
	r.Spool.Send(ctx, m, done)
}

// The contract of a Sink holds for each ack point (P1 to P4), and for each side of the default one.
func TestCustody(t *testing.T) {
	for _, c := range []struct {
		name  string
		ack   Ack
		hold  bool
		modes []custody.Mode
	}{
		{"kafka", AckKafka, false, []custody.Mode{custody.Delay, custody.Refuse, custody.Fail}},
		{"kafka-else-spool, with Kafka", AckKafkaElseSpool, false, []custody.Mode{custody.Delay, custody.Refuse, custody.Fail}},
		{"kafka-else-spool, without Kafka", AckKafkaElseSpool, true, []custody.Mode{custody.Delay}},
		{"spool", AckSpool, false, []custody.Mode{custody.Delay}},
		{"memory", AckMemory, false, []custody.Mode{custody.Refuse, custody.Fail}},
	} {
		t.Run(c.name, func(t *testing.T) {
			custody.TestSink(t, func(t *testing.T) *custody.Far { return newFar(t, c.ack, c.hold, c.modes) })
		})
	}
}

func newFar(t *testing.T, ack Ack, hold bool, modes []custody.Mode) *custody.Far {
	k, disk := newCluster(), journaltest.New()
	k.away(false)
	cfg := Default()
	cfg.Dir, cfg.MinFree, cfg.SegmentBytes = "/spool", 0, 1<<20 // the disk is memory
	cfg.After = time.Hour                                       // nothing is taken over because the machine stands still
	var mu sync.Mutex
	var dead []string
	s, err := Open(cfg, []Lane{{Name: "a", Ack: ack}}, Parts{To: k, OS: disk, Bury: func(_ context.Context, m *linkspan.Message, _ error, _ int, done func(error)) {
		mu.Lock()
		dead = append(dead, string(m.Payload))
		mu.Unlock()
		done(nil)
	}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.Hold(hold)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		k.away(false)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &custody.Far{
		Sink:  routed{s},
		Modes: modes,
		Set: func(m custody.Mode) {
			k.mu.Lock()
			k.judge = map[custody.Mode]func(*fakeRecord) error{
				custody.Refuse: func(*fakeRecord) error { return linkspan.Permanent(errors.New("refused")) },
				custody.Fail:   func(*fakeRecord) error { return errors.New("not now") },
			}[m]
			k.mu.Unlock()
			disk.Heal()
			if m == custody.Delay && (hold || ack == AckSpool) {
				disk.Fail("append", syscall.EIO)
			}
			k.away(m == custody.Delay)
		},
		// What Kafka has, then what is on disk, and then, where that is what was asked for, what is in memory, and what came back from
		// there to be a dead letter. Where something leaves is looked at before where it goes.
		Stored: func() []string {
			var spooled, memory []string
			r := s.journal.NewReader(0)
			defer r.Close()
			for e, ok := r.Next(anyLane); ok; e, ok = r.Next(anyLane) {
				spooled = append(spooled, string(e.Body))
			}
			if ack == AckMemory {
				memory = k.inMemory()
			}
			all := k.payloads()
			mu.Lock()
			defer mu.Unlock()
			for _, p := range slices.Concat(spooled, memory, dead) {
				if !slices.Contains(all, p) {
					all = append(all, p)
				}
			}
			return all
		},
	}
}
