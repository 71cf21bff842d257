package custody

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/linkspan/linkspan"
)

// store is the simplest honest sink: it keeps what it is sent, in order, and can be told to hold, refuse or fail.
type store struct {
	mu    sync.Mutex
	mode  Mode
	held  []string
	waits []func()
	fault fault
}

// fault is a way to break the contract; the suite must find each.
type fault int

const (
	honest      fault = iota
	acksEarly         // confirms, then stores
	keepsBorrow       // stores the borrowed bytes
	reorders          // swaps neighbours
	doneTwice         // confirms twice
	loses             // confirms and stores nothing on a passing failure
	acksDelayed       // confirms what the far end has not confirmed
	softRefusal       // refuses with an error that looks passing
	hardFailure       // calls a passing failure permanent
)

func (s *store) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	payload := string(m.Payload)
	borrowed := m.Payload
	keep := func() {
		switch {
		case s.fault == keepsBorrow && len(s.held) == 7:
			payload = string(borrowed)
			s.held = append(s.held, payload+"?")
		case s.fault == reorders && len(s.held)%10 == 9:
			s.held = slices.Insert(s.held, len(s.held)-1, payload)
		default:
			s.held = append(s.held, payload)
		}
	}
	switch {
	case s.mode == Delay && s.fault != acksDelayed:
		s.waits = append(s.waits, func() { keep(); go done(nil) })
	case s.mode == Refuse && s.fault == softRefusal:
		go done(errors.New("no"))
	case s.mode == Refuse:
		go done(linkspan.Permanent(errors.New("no")))
	case s.mode == Fail && s.fault == hardFailure:
		go done(linkspan.Permanent(errors.New("later")))
	case s.mode == Fail && s.fault == loses:
		go done(nil)
	case s.mode == Fail:
		go done(errors.New("later"))
	case s.fault == acksEarly:
		s.mu.Unlock()
		done(nil)
		s.mu.Lock()
		keep()
	case s.fault == doneTwice:
		keep()
		s.mu.Unlock()
		done(nil)
		done(nil)
		s.mu.Lock()
	case s.mode == Delay:
		keep()
		s.mu.Unlock()
		done(nil)
		s.mu.Lock()
	default:
		keep()
		go done(nil)
	}
}

func (s *store) far() *Far {
	return &Far{
		Sink:  s,
		Modes: []Mode{Delay, Refuse, Fail},
		Stored: func() []string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return slices.Clone(s.held)
		},
		Set: func(m Mode) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.mode = m
			if m == Accept {
				for _, f := range s.waits {
					f()
				}
				s.waits = nil
			}
		},
	}
}

func TestHonestSinkPasses(t *testing.T) {
	TestSink(t, func(*testing.T) *Far { return (&store{}).far() })
}

func TestSuiteFindsFaultySinks(t *testing.T) {
	for name, f := range map[string]fault{
		"acks early": acksEarly, "keeps what is borrowed": keepsBorrow, "reorders": reorders, "done twice": doneTwice,
		"loses on failure": loses, "acks what is delayed": acksDelayed, "refuses softly": softRefusal, "fails hard": hardFailure,
	} {
		t.Run(name, func(t *testing.T) {
			found := false
			for _, c := range sinkChecks {
				if c.run((&store{fault: f}).far()) != nil {
					found = true
				}
			}
			if !found {
				t.Error("every check passed")
			}
		})
	}
}

// feeder is the simplest honest source: a queue handed over through a Window.
type feeder struct {
	in      chan int
	mu      sync.Mutex
	settled int
	fault   fault
}

var slots linkspan.Slots[int]

func (f *feeder) Run(ctx context.Context, to linkspan.Sink) error {
	broken := false
	win := linkspan.NewWindow(32, &slots, func(_ int, err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if err != nil && !linkspan.IsPermanent(err) && f.fault != loses {
			broken = true // the near end keeps custody of this and all that follows
		}
		if !broken {
			f.settled++
		}
	})
	for {
		select {
		case <-ctx.Done():
			return win.WaitEmpty(context.Background())
		case i := <-f.in:
			if win.WaitRoom(ctx) != nil {
				continue
			}
			done, _ := win.Open(i)
			if f.fault == acksEarly {
				done(nil)
				done = func(error) {}
			}
			to.Send(ctx, &linkspan.Message{Payload: []byte(Payload(i))}, done)
		}
	}
}

func (f *feeder) near() *Near {
	return &Near{
		Source: f, Window: 32,
		Feed: func(i int) { f.in <- i },
		Settled: func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.settled
		},
	}
}

func TestHonestSourcePasses(t *testing.T) {
	TestSource(t, func(*testing.T) *Near { return (&feeder{in: make(chan int)}).near() })
}

func TestSuiteFindsFaultySources(t *testing.T) {
	for name, f := range map[string]fault{"acks early": acksEarly, "settles what failed": loses} {
		t.Run(name, func(t *testing.T) {
			found := false
			for _, c := range sourceChecks {
				if runSource((&feeder{in: make(chan int), fault: f}).near(), c.run) != nil {
					found = true
				}
			}
			if !found {
				t.Error("every check passed")
			}
		})
	}
}
