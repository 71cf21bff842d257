// Package custody puts any [linkspan.Sink] or [linkspan.Source] through the contract that their docstrings state:
// it refuses, delays, fails, cancels and completes out of order, and then asks who answers for each message (P1 to P4).
//
// It is used by the tests of every package that has a Sink or a Source.
package custody

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// Mode is how the far end of a Sink treats what reaches it.
type Mode int

// The modes of a far end.
const (
	Accept Mode = iota // take and confirm
	Delay              // take notice, confirm nothing until the mode changes
	Refuse             // refuse for good
	Fail               // fail in a way that passes
)

// Far is a Sink with its far end under the control of the suite.
type Far struct {
	Sink linkspan.Sink
	// Stored returns the payloads that the far end holds, in its order.
	Stored func() []string
	// Set changes how the far end behaves from now on.
	Set func(Mode)
	// Modes lists what Set can do beside Accept; the suite leaves out the checks that need another.
	Modes []Mode
}

// Patience is how long the suite waits for something that must happen. It bounds a failure, not a success.
const Patience = 2 * time.Minute

// A check is one clause of the contract. It returns what was broken.
type check struct {
	name string
	mode Mode // the mode it needs beside Accept
	run  func(*Far) error
}

var sinkChecks = []check{
	{"nil means stored", Accept, storedBeforeDone},
	{"messages are copied", Accept, borrowed},
	{"order of calls is kept", Accept, order},
	{"done once for each of many senders", Accept, concurrent},
	{"send does not wait for the far end", Delay, delayed},
	{"a message is done after its sender's context has ended", Delay, cancelled},
	{"what is refused is permanent and not stored", Refuse, refused},
	{"a passing failure loses nothing", Fail, failing},
}

// TestSink runs every clause of the Sink contract against a fresh sink from newFar.
func TestSink(t *testing.T, newFar func(t *testing.T) *Far) {
	for _, c := range sinkChecks {
		t.Run(c.name, func(t *testing.T) {
			far := newFar(t)
			if !far.can(c.mode) {
				t.Logf("the far end cannot be made to do this")
				return
			}
			if err := c.run(far); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func (f *Far) can(m Mode) bool {
	if m == Accept {
		return true
	}
	for _, x := range f.Modes {
		if x == m {
			return true
		}
	}
	return false
}

// outcome is what done said of one message.
type outcome struct {
	calls int
	err   error
	// held is whether the far end had the message when done was called with nil.
	held bool
}

// ledger records the outcomes of messages by payload.
type ledger struct {
	far *Far
	mu  sync.Mutex
	got map[string]outcome
}

func newLedger(f *Far) *ledger { return &ledger{far: f, got: map[string]outcome{}} }

// send sends payload through one reused message and overwrites it as soon as Send returns, as callers may.
func (l *ledger) send(ctx context.Context, m *linkspan.Message, payload string, look bool) {
	fill(m, payload)
	l.far.Sink.Send(ctx, m, func(err error) {
		held := err != nil || !look || contains(l.far.Stored(), payload)
		l.mu.Lock()
		o := l.got[payload]
		o.calls, o.err, o.held = o.calls+1, err, held
		l.got[payload] = o
		l.mu.Unlock()
	})
	scribble(m)
}

func fill(m *linkspan.Message, payload string) {
	m.Reset()
	m.Payload = append(m.Payload[:0], payload...)
	m.Topic, m.Client, m.Endpoint, m.QoS, m.Received = "custody/device", "custody", "custody", 1, time.Now()
	m.Record.Topic, m.Record.Key = "custody", append(m.Record.Key[:0], "custody"...)
}

// scribble overwrites all that a sink may only have borrowed.
func scribble(m *linkspan.Message) {
	for i := range m.Payload {
		m.Payload[i] = '!'
	}
	for i := range m.Record.Key {
		m.Record.Key[i] = '!'
	}
}

// settle waits until n messages are done, then checks that none was done twice.
func (l *ledger) settle(n int) error {
	if err := until(fmt.Sprintf("%d messages to be done", n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.got) >= n
	}); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, o := range l.got {
		if o.calls != 1 {
			return fmt.Errorf("%s: done was called %d times, want once", p, o.calls)
		}
		if !o.held {
			return fmt.Errorf("%s: done(nil) before the far end had it (P1)", p)
		}
	}
	return nil
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.got)
}

func storedBeforeDone(f *Far) error {
	l, m := newLedger(f), new(linkspan.Message)
	for i := range 50 {
		l.send(context.Background(), m, Payload(i), true)
	}
	return l.settle(50)
}

func borrowed(f *Far) error {
	l, m := newLedger(f), new(linkspan.Message)
	for i := range 100 {
		l.send(context.Background(), m, Payload(i), false)
	}
	if err := l.settle(100); err != nil {
		return err
	}
	return sameSet(f.Stored(), 100)
}

func order(f *Far) error {
	l, m := newLedger(f), new(linkspan.Message)
	for i := range 500 {
		l.send(context.Background(), m, Payload(i), false)
	}
	if err := l.settle(500); err != nil {
		return err
	}
	for i, p := range f.Stored() {
		if p != Payload(i) {
			return fmt.Errorf("place %d holds %s (P3)", i, p)
		}
	}
	return sameSet(f.Stored(), 500)
}

func concurrent(f *Far) error {
	l := newLedger(f)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			m := new(linkspan.Message)
			for i := range 100 {
				l.send(context.Background(), m, Payload(g*100+i), false)
			}
		})
	}
	wg.Wait()
	if err := l.settle(800); err != nil {
		return err
	}
	return sameSet(f.Stored(), 800)
}

func delayed(f *Far) error {
	f.Set(Delay)
	l, m := newLedger(f), new(linkspan.Message)
	for i := range 20 {
		l.send(context.Background(), m, Payload(i), false) // a Send that waits for the far end never returns
	}
	if n := l.count(); n != 0 {
		return fmt.Errorf("%d messages done while the far end confirmed nothing (P1)", n)
	}
	f.Set(Accept)
	if err := l.settle(20); err != nil {
		return err
	}
	return sameSet(f.Stored(), 20)
}

func cancelled(f *Far) error {
	f.Set(Delay)
	ctx, cancel := context.WithCancel(context.Background())
	l, m := newLedger(f), new(linkspan.Message)
	for i := range 20 {
		l.send(ctx, m, Payload(i), true)
	}
	cancel()
	f.Set(Accept)
	if err := l.settle(20); err != nil {
		return err
	}
	return l.accountedFor()
}

func refused(f *Far) error {
	f.Set(Refuse)
	l, m := newLedger(f), new(linkspan.Message)
	for i := range 5 {
		l.send(context.Background(), m, Payload(i), false)
	}
	if err := l.settle(5); err != nil {
		return err
	}
	for p, o := range l.got {
		if !linkspan.IsPermanent(o.err) {
			return fmt.Errorf("%s: refused for good, but done got %v, which is not permanent (P2)", p, o.err)
		}
	}
	if n := len(f.Stored()); n != 0 {
		return fmt.Errorf("%d messages stored although refused", n)
	}
	return nil
}

func failing(f *Far) error {
	l, m := newLedger(f), new(linkspan.Message)
	f.Set(Fail)
	for i := range 20 {
		l.send(context.Background(), m, Payload(i), false)
	}
	f.Set(Accept)
	for i := range 20 {
		l.send(context.Background(), m, Payload(20+i), false)
	}
	if err := l.settle(40); err != nil {
		return err
	}
	for p, o := range l.got {
		if linkspan.IsPermanent(o.err) {
			return fmt.Errorf("%s: a failure that passes was called permanent: %w", p, o.err)
		}
	}
	return l.accountedFor()
}

// accountedFor checks that what was done with nil is stored, and that the rest has an error: nobody was told both or
// neither.
func (l *ledger) accountedFor() error {
	stored := l.far.Stored()
	for p, o := range l.got {
		if o.err == nil && !contains(stored, p) {
			return fmt.Errorf("%s: done(nil), but the far end does not have it (P1)", p)
		}
	}
	return nil
}

// Payload is the payload of the i-th message of a check.
func Payload(i int) string { return fmt.Sprintf("message-%06d", i) }

func contains(all []string, p string) bool {
	for _, s := range all {
		if s == p {
			return true
		}
	}
	return false
}

// sameSet checks that stored is the first n payloads, each once.
func sameSet(stored []string, n int) error {
	seen := map[string]int{}
	for _, p := range stored {
		seen[p]++
	}
	for i := range n {
		if c := seen[Payload(i)]; c != 1 {
			return fmt.Errorf("%s is stored %d times, want once", Payload(i), c)
		}
	}
	if len(stored) != n {
		return fmt.Errorf("%d messages stored, want %d", len(stored), n)
	}
	return nil
}

var errPatience = errors.New("gave up waiting for")

// until waits for ok, looking again at short intervals: the suite knows its far ends by their state only.
func until(what string, ok func() bool) error {
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("%w %s", errPatience, what)
		}
	}
	return nil
}
