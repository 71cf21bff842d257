package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan"
)

// A held sink keeps what it is sent until the test settles it.
type held struct {
	mu   sync.Mutex
	got  []*linkspan.Message
	done []func(error)
	now  func(m *linkspan.Message) (err error, settle bool) // settles before Send returns
}

func (h *held) Room(*linkspan.Message) bool { return true }

func (h *held) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	if h.now != nil {
		if err, settle := h.now(m); settle {
			done(err)
			return
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got, h.done = append(h.got, m.Clone()), append(h.done, done)
}

func refusedMessage() *linkspan.Message {
	return &linkspan.Message{
		Topic: "site/a", Payload: []byte("payload"), Route: "r", Device: "d",
		Record: linkspan.Record{Topic: "k", Partition: 3, Offset: 17, Key: []byte("key"), Headers: []linkspan.Header{{Key: "h", Value: []byte("v")}}},
	}
}

// What is refused for good is in the dead letter topic, whole, before its sender may let go of it (P2, P1), whether the sink
// says so at once or later.
func TestDeadLetterKeepsTheMessage(t *testing.T) {
	because := linkspan.Permanent(errors.New("the broker says no"))
	for _, down := range []bool{false, true} {
		for _, later := range []bool{false, true} {
			t.Run(fmt.Sprintf("down=%v later=%v", down, later), func(t *testing.T) {
				var letters, behind held
				behind.now = func(*linkspan.Message) (error, bool) { return because, !later }
				g := &guard{dead: &deadLetters{topic: "dead", to: &letters, log: logger(t)}, to: &behind, endpoint: "plant", down: down, counts: new(deadCounts)}
				var outcome []error
				m := refusedMessage()
				g.Send(t.Context(), m, func(err error) { outcome = append(outcome, err) })
				clear(m.Payload) // it was borrowed
				clear(m.Record.Key)
				clear(m.Record.Headers[0].Value)
				if later {
					behind.done[0](because)
				}
				if len(letters.got) != 1 || outcome != nil {
					t.Fatalf("%d letters, settled with %v before they are written", len(letters.got), outcome)
				}
				letters.done[0](nil)
				if len(outcome) != 1 || outcome[0] != nil {
					t.Errorf("settled with %v", outcome)
				}
				l := letters.got[0]
				want := map[string]string{"h": "v", "linkspan.reason": "the broker says no", "linkspan.route": "r", "linkspan.endpoint": "plant", "linkspan.topic": "site/a"}
				if down {
					want["linkspan.topic"], want["linkspan.partition"], want["linkspan.offset"] = "k", "3", "17"
				}
				if len(l.Record.Headers) != len(want) {
					t.Errorf("headers %v", l.Record.Headers)
				}
				for key, value := range want {
					if got := string(l.Record.Header(key)); got != value {
						t.Errorf("%s: %q, want %q", key, got, value)
					}
				}
				if l.Record.Topic != "dead" || string(l.Payload) != "payload" || string(l.Record.Key) != "key" {
					t.Errorf("got %+v", l)
				}
				if g.counts.written[len(deadReasons)-1].Load() != 1 {
					t.Error("not counted as refused")
				}
			})
		}
	}
}

// What is not refused for good is none of the guard's business.
func TestDeadLetterLeavesOtherOutcomesAlone(t *testing.T) {
	for _, want := range []error{nil, linkspan.ErrClosed, errors.New("away")} {
		for _, later := range []bool{false, true} {
			var letters, behind held
			behind.now = func(*linkspan.Message) (error, bool) { return want, !later }
			g := &guard{dead: &deadLetters{to: &letters, log: logger(t)}, to: &behind, counts: new(deadCounts)}
			got := errors.New("not settled")
			g.Send(t.Context(), refusedMessage(), func(err error) { got = err })
			if later {
				behind.done[0](want)
			}
			if got != want || len(letters.got) > 0 {
				t.Errorf("%v became %v, with %d letters", want, got, len(letters.got))
			}
		}
	}
}

// A payload that is too large even for the dead letter topic leaves its head there, and its size.
func TestDeadLetterOfWhatIsTooLarge(t *testing.T) {
	letters := held{now: func(m *linkspan.Message) (error, bool) { return linkspan.ErrTooLarge, len(m.Payload) > deadHead }}
	behind := held{now: func(*linkspan.Message) (error, bool) { return linkspan.ErrTooLarge, true }}
	g := &guard{dead: &deadLetters{topic: "dead", to: &letters, log: logger(t)}, to: &behind, counts: new(deadCounts)}
	m := refusedMessage()
	m.Payload = bytes.Repeat([]byte("x"), 3*deadHead)
	var got = errors.New("not settled")
	g.Send(t.Context(), m, func(err error) { got = err })
	letters.done[0](nil)
	l := letters.got[0]
	if got != nil || len(l.Payload) != deadHead || string(l.Record.Header("linkspan.size")) != fmt.Sprint(3*deadHead) {
		t.Errorf("settled with %v, %d bytes, size %s", got, len(l.Payload), l.Record.Header("linkspan.size"))
	}
	if g.counts.written[4].Load() != 1 || deadReasons[4].label != "too_large" {
		t.Error("not counted as too large")
	}
}

// Where the dead letter topic fails, nothing counts as delivered (P2): a broker is refused its message, or keeps it; a record
// stays unsettled, so that its position does not move past it (P4).
func TestDeadLetterTopicThatFails(t *testing.T) {
	for _, c := range []struct {
		down      bool
		err       error
		permanent bool
	}{
		{false, linkspan.ErrNotAuthorized, true}, {true, linkspan.ErrNotAuthorized, false}, {false, linkspan.ErrClosed, false}, {true, linkspan.ErrClosed, false},
	} {
		letters := held{now: func(*linkspan.Message) (error, bool) { return c.err, true }}
		behind := held{now: func(*linkspan.Message) (error, bool) { return linkspan.ErrNoRoute, true }}
		g := &guard{dead: &deadLetters{to: &letters, log: logger(t)}, to: &behind, down: c.down, counts: new(deadCounts)}
		var got error
		g.Send(t.Context(), refusedMessage(), func(err error) { got = err })
		if got == nil || linkspan.IsPermanent(got) != c.permanent || !strings.Contains(got.Error(), "no route") {
			t.Errorf("down %v, %v: settled with %v", c.down, c.err, got)
		}
		if g.counts.failed.Load() != 1 {
			t.Error("not counted")
		}
	}
}

// A dead letter that a route reads back and that is refused again makes no other, which would be read back, too: the topic has it
// already (P2), and its position moves on (P4).
func TestDeadLetterOfADeadLetter(t *testing.T) {
	var letters held
	behind := held{now: func(*linkspan.Message) (error, bool) { return linkspan.ErrNoRoute, true }}
	g := &guard{dead: &deadLetters{topic: "dead", to: &letters, log: logger(t)}, to: &behind, down: true, counts: new(deadCounts)}
	m := refusedMessage()
	m.Record.Topic = "dead"
	var outcome []error
	g.Send(t.Context(), m, func(err error) { outcome = append(outcome, err) })
	if len(letters.got) != 0 || len(outcome) != 1 || outcome[0] != nil || g.counts.written[0].Load() != 1 {
		t.Errorf("%d letters, settled with %v, %d counted", len(letters.got), outcome, g.counts.written[0].Load())
	}
}

// Whoever settles races with the return of Send, and each message is settled once.
func TestDeadLetterRaces(t *testing.T) {
	letters := held{now: func(*linkspan.Message) (error, bool) { return nil, true }}
	var settlers sync.WaitGroup
	outcomes := []error{nil, linkspan.ErrNoRoute, linkspan.ErrClosed}
	n := 0
	g := guard{counts: new(deadCounts), dead: &deadLetters{to: &letters, log: logger(t)}, to: boundedFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) {
		err := outcomes[n%3]
		n++
		settlers.Go(func() { done(err) })
	})}
	var mu sync.Mutex
	settled := map[int]int{}
	for i := range 3000 {
		g.Send(t.Context(), refusedMessage(), func(error) {
			mu.Lock()
			settled[i]++
			mu.Unlock()
		})
	}
	settlers.Wait()
	for i := range 3000 {
		if settled[i] != 1 {
			t.Fatalf("message %d was settled %d times", i, settled[i])
		}
	}
	if got := g.counts.written[0].Load(); got != 1000 {
		t.Errorf("%d dead letters, want 1000", got)
	}
}

type boundedFunc linkspan.SinkFunc

func (boundedFunc) Room(*linkspan.Message) bool { return true }
func (f boundedFunc) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	f(ctx, m, done)
}

// BenchmarkGuard is what the guard adds to each message.
func BenchmarkGuard(b *testing.B) {
	done := make(chan func(error), 1)
	g := &guard{dead: &deadLetters{}, to: boundedFunc(func(_ context.Context, _ *linkspan.Message, d func(error)) { done <- d })}
	m := refusedMessage()
	m.Payload = make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		g.Send(b.Context(), m, func(error) {})
		(<-done)(nil)
	}
}
