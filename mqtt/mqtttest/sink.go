package mqtttest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// A Sink takes custody when it is told to. Its fields are changed by Set once it is in use.
type Sink struct {
	Hold   bool                          // done waits for Settle
	Answer func(*linkspan.Message) error // nil: custody
	Full   bool                          // no room
	Shut   string                        // the topic for which there is no room; "": none
	Onward linkspan.Sink                 // gets a copy; nil: nobody

	mu       sync.Mutex
	changed  sync.Cond
	messages []*linkspan.Message
	done     []func(error)
}

// NewSink returns a sink that takes custody at once.
func NewSink() *Sink {
	s := new(Sink)
	s.changed.L = &s.mu
	return s
}

// Send keeps m.
func (s *Sink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	s.mu.Lock()
	s.messages = append(s.messages, m.Clone())
	var err error
	if s.Answer != nil {
		err = s.Answer(m)
	}
	if s.Hold {
		s.done = append(s.done, done)
		done = nil
	} else {
		s.done = append(s.done, nil)
	}
	onward := s.Onward
	s.changed.Broadcast()
	s.mu.Unlock()
	if onward != nil {
		onward.Send(ctx, m, func(error) {})
	}
	if done != nil {
		done(err)
	}
}

// Room reports whether there is room for m, or at all.
func (s *Sink) Room(m *linkspan.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.Full && (m == nil || s.Shut == "" || m.Topic != s.Shut)
}

// Set changes s.
func (s *Sink) Set(f func(*Sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// Wait returns the first n messages when they have come.
func (s *Sink) Wait(n int) []*linkspan.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	tardy := time.AfterFunc(Patience, func() { panic("the messages do not come") })
	defer tardy.Stop()
	for len(s.messages) < n {
		s.changed.Wait()
	}
	return slices.Clone(s.messages[:n])
}

// Count returns how many messages have come.
func (s *Sink) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.messages)
}

// Settle completes message i.
func (s *Sink) Settle(i int, err error) {
	s.mu.Lock()
	done := s.done[i]
	s.done[i] = nil
	s.mu.Unlock()
	done(err)
}

// Got checks the payloads of all messages that have come, in order; want has them with a space between.
func (s *Sink) Got(t testing.TB, want string) {
	t.Helper()
	s.Wait(len(strings.Fields(want)))
	if have := Payloads(s.Wait(s.Count())); have != want {
		t.Fatalf("the sink has %q, want %q", have, want)
	}
}

// Payloads returns the payloads of messages, with a space between.
func Payloads(messages []*linkspan.Message) string {
	var all []string
	for _, m := range messages {
		all = append(all, string(m.Payload))
	}
	return strings.Join(all, " ")
}

// Batches is a sink that takes custody as a Kafka client does: later, many at a time, from a goroutine of its own.
type Batches struct {
	mu      sync.Mutex
	some    sync.Cond
	done    []func(error)
	end     bool
	running sync.WaitGroup
}

// NewBatches returns a sink whose goroutine runs until Stop.
func NewBatches() *Batches {
	b := new(Batches)
	b.some.L = &b.mu
	b.running.Go(b.run)
	return b
}

// Send keeps done for the goroutine.
func (b *Batches) Send(_ context.Context, _ *linkspan.Message, done func(error)) {
	b.mu.Lock()
	b.done = append(b.done, done)
	b.mu.Unlock()
	b.some.Signal()
}

func (b *Batches) run() {
	var work []func(error)
	for {
		b.mu.Lock()
		for len(b.done) == 0 && !b.end {
			b.some.Wait()
		}
		if b.end {
			b.mu.Unlock()
			return
		}
		work, b.done = b.done, work[:0]
		b.mu.Unlock()
		for _, done := range work {
			done(nil)
		}
	}
}

// Stop ends the goroutine. What is left is not settled.
func (b *Batches) Stop() {
	b.mu.Lock()
	b.end = true
	b.mu.Unlock()
	b.some.Signal()
	b.running.Wait()
}
