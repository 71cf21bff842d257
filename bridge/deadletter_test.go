package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool"
)

// A held sink keeps what it is sent until the test settles it.
type held struct {
	mu   sync.Mutex
	got  []*linkspan.Message
	done []func(error)
	now  func(m *linkspan.Message) (err error, settle bool) // settles before Send returns
	full bool                                               // no room
}

func (h *held) Room(*linkspan.Message) bool { return !h.full }

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

// letters returns dead letters that go to to.
func letters(t *testing.T, to linkspan.Bounded) *deadLetters {
	d := newDeadLetters("dead", []string{"plant"}, logger(t))
	d.to = to
	return d
}

// The log tells of dead letters, for each endpoint once a minute and with how many there were.
func TestDeadLettersAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d := newDeadLetters("dead", []string{"plant"}, slog.New(slog.NewTextHandler(&log, nil)))
		d.to = &held{now: func(*linkspan.Message) (error, bool) { return nil, true }}
		m := refusedMessage()
		for range 90 {
			m.Endpoint = "plant"
			d.bury(t.Context(), m, linkspan.ErrTooLarge, 1, func(error) {})
			time.Sleep(time.Second) // in the bubble's time
		}
		m.Endpoint = "another"
		d.bury(t.Context(), m, linkspan.ErrNoRoute, 1, func(error) {})
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 3 || !strings.Contains(lines[0], "endpoint=plant messages=1 ") || !strings.Contains(lines[1], "messages=60 ") ||
			!strings.Contains(lines[2], "endpoint=another messages=1 ") || !strings.Contains(lines[0], linkspan.ErrTooLarge.Error()) {
			t.Errorf("%q", lines)
		}
	})
}

// What is refused for good is in the dead letter topic, whole, before its sender may let go of it (P2, P1), whether the sink
// says so at once or later, on the way down and on the way up.
func TestDeadLetterKeepsTheMessage(t *testing.T) {
	because := linkspan.Permanent(errors.New("the broker says no"))
	for _, way := range []string{"down at once", "down later", "up"} {
		t.Run(way, func(t *testing.T) {
			var written, behind held
			behind.now = func(*linkspan.Message) (error, bool) { return because, way == "down at once" }
			dead := letters(t, &written)
			var outcome []error
			settle := func(err error) { outcome = append(outcome, err) }
			m := refusedMessage()
			want := map[string]string{"h": "v", "linkspan.reason": "the broker says no", "linkspan.route": "r", "linkspan.endpoint": "plant", "linkspan.attempts": "3"}
			if way == "up" {
				want["linkspan.topic"], want["linkspan.partition"] = "site/a", "3"
				m.Endpoint = "plant"
				dead.bury(t.Context(), m, because, 3, settle)
			} else {
				want["linkspan.topic"], want["linkspan.partition"], want["linkspan.offset"] = "k", "3", "17"
				m.Endpoint, m.Tries = "where it came from", 2
				(&guard{dead: dead, to: &behind, endpoint: "plant"}).Send(t.Context(), m, settle)
			}
			clear(m.Payload) // it was borrowed
			clear(m.Record.Key)
			clear(m.Record.Headers[0].Value)
			if way == "down later" {
				behind.done[0](because)
			}
			if len(written.got) != 1 || outcome != nil {
				t.Fatalf("%d letters, settled with %v before they are written", len(written.got), outcome)
			}
			written.done[0](nil)
			if len(outcome) != 1 || outcome[0] != nil {
				t.Errorf("settled with %v", outcome)
			}
			l := written.got[0]
			if _, err := time.Parse(time.RFC3339, string(l.Record.Header("linkspan.time"))); err != nil {
				t.Error(err)
			}
			if len(l.Record.Headers) != len(want)+1 {
				t.Errorf("headers %v", l.Record.Headers)
			}
			for key, value := range want {
				if got := string(l.Record.Header(key)); got != value {
					t.Errorf("%s: %q, want %q", key, got, value)
				}
			}
			if l.Route != spool.DeadLetters || l.Mute || l.Record.Topic != "dead" || l.Record.Partition != linkspan.AnyPartition || string(l.Payload) != "payload" || string(l.Record.Key) != "key" {
				t.Errorf("got %+v", l)
			}
			if dead.of("plant").written[len(deadReasons)-1].Load() != 1 {
				t.Error("not counted as refused")
			}
		})
	}
}

// What is not refused for good is none of the guard's business.
func TestDeadLetterLeavesOtherOutcomesAlone(t *testing.T) {
	for _, want := range []error{nil, linkspan.ErrClosed, errors.New("away")} {
		for _, later := range []bool{false, true} {
			var written, behind held
			behind.now = func(*linkspan.Message) (error, bool) { return want, !later }
			g := &guard{dead: letters(t, &written), to: &behind}
			got := errors.New("not settled")
			g.Send(t.Context(), refusedMessage(), func(err error) { got = err })
			if later {
				behind.done[0](want)
			}
			if got != want || len(written.got) > 0 {
				t.Errorf("%v became %v, with %d letters", want, got, len(written.got))
			}
		}
	}
}

// A payload that is too large even for the dead letter topic leaves its head there, and its size: also when Kafka says so of a letter
// that the spool had taken.
func TestDeadLetterOfWhatIsTooLarge(t *testing.T) {
	for _, way := range []string{"down", "up", "from the spool"} {
		t.Run(way, func(t *testing.T) {
			written := held{now: func(m *linkspan.Message) (error, bool) { return linkspan.ErrTooLarge, len(m.Payload) > deadHead }}
			dead := letters(t, &written)
			m := refusedMessage()
			m.Payload = bytes.Repeat([]byte("x"), 3*deadHead)
			got := errors.New("not settled")
			settle := func(err error) { got = err }
			switch way {
			case "down":
				dead.buryDown(t.Context(), m, linkspan.ErrTooLarge, settle)
			case "up":
				dead.bury(t.Context(), m, linkspan.ErrTooLarge, 1, settle)
			default:
				m.Route = spool.DeadLetters
				dead.bury(t.Context(), m, linkspan.ErrTooLarge, 1, settle)
			}
			clear(m.Payload) // it was borrowed
			written.done[0](nil)
			l := written.got[0]
			if got != nil || len(l.Payload) != deadHead || l.Payload[0] != 'x' || string(l.Record.Header("linkspan.size")) != fmt.Sprint(3*deadHead) || string(l.Record.Header("h")) != "v" {
				t.Errorf("settled with %v, %d bytes, size %s", got, len(l.Payload), l.Record.Header("linkspan.size"))
			}
			if dead.of("").written[4].Load() != 1 || deadReasons[4].label != "too_large" {
				t.Error("not counted as too large")
			}
		})
	}
}

// A dead letter topic that takes very little gets what it takes: less of the payload, or only what we say of the message. One that
// takes nothing at all gets nothing.
func TestDeadLetterTopicThatTakesLittle(t *testing.T) {
	size := func(m *linkspan.Message) (n int) {
		for _, h := range m.Record.Headers {
			n += len(h.Key) + len(h.Value)
		}
		return n + len(m.Payload) + len(m.Record.Key)
	}
	for _, c := range []struct{ limit, payload, headers int }{{10_000, 5_000, 8}, {250, 0, 7}, {10, -1, 0}} {
		written := held{now: func(m *linkspan.Message) (error, bool) { return linkspan.ErrTooLarge, size(m) > c.limit }}
		dead := letters(t, &written)
		m := refusedMessage()
		m.Payload = bytes.Repeat([]byte("x"), 20_000)
		m.Record.Headers[0].Value = bytes.Repeat([]byte("v"), 300)
		got := errors.New("not settled")
		dead.bury(t.Context(), m, linkspan.ErrTooLarge, 1, func(err error) { got = err })
		if c.payload < 0 {
			if !errors.Is(got, linkspan.ErrTooLarge) || len(written.got) > 0 {
				t.Errorf("settled with %v", got)
			}
			continue
		}
		written.done[0](nil)
		l := written.got[0]
		if got != nil || len(l.Payload) != c.payload || len(l.Record.Headers) != c.headers || string(l.Record.Header("linkspan.size")) != "20000" || string(l.Record.Header("linkspan.topic")) != "site/a" {
			t.Errorf("%d: settled with %v, %d bytes, headers %v", c.limit, got, len(l.Payload), l.Record.Headers)
		}
	}
}

// Where the dead letter topic fails, nothing counts as delivered (P2): a sender is refused its message, or keeps it; a record
// stays unsettled, so that its position does not move past it (P4); and the spool keeps a letter that it has. There is no letter
// without room either (P6).
func TestDeadLetterTopicThatFails(t *testing.T) {
	for _, c := range []struct {
		way       string
		err       error
		full      bool
		permanent bool
	}{
		{"up", linkspan.ErrNotAuthorized, false, true}, {"up", linkspan.ErrClosed, false, false}, {"up", nil, true, false},
		{"down", linkspan.ErrNotAuthorized, false, false}, {"down", linkspan.ErrClosed, false, false}, {"down", nil, true, false},
		{"from the spool", linkspan.ErrNotAuthorized, false, false},
	} {
		written := held{full: c.full, now: func(*linkspan.Message) (error, bool) { return c.err, true }}
		dead := letters(t, &written)
		got := errors.New("not settled")
		settle := func(err error) { got = err }
		m := refusedMessage()
		switch c.way {
		case "down":
			behind := held{now: func(*linkspan.Message) (error, bool) { return linkspan.ErrNoRoute, true }}
			(&guard{dead: dead, to: &behind}).Send(t.Context(), m, settle)
		case "up":
			dead.bury(t.Context(), m, linkspan.ErrNoRoute, 1, settle)
		default:
			m.Route = spool.DeadLetters
			dead.bury(t.Context(), m, c.err, 1, settle)
		}
		if got == nil || linkspan.IsPermanent(got) != c.permanent || c.way != "from the spool" && !strings.Contains(got.Error(), "no route") {
			t.Errorf("%s, %v: settled with %v", c.way, c.err, got)
		}
		if dead.of("").failed.Load() != 1 {
			t.Error("not counted")
		}
	}
}

// A dead letter that a route reads back and that is refused again makes no other, which would be read back, too: the topic has it
// already (P2), and its position moves on (P4).
func TestDeadLetterOfADeadLetter(t *testing.T) {
	var written held
	behind := held{now: func(*linkspan.Message) (error, bool) { return linkspan.ErrNoRoute, true }}
	dead := letters(t, &written)
	m := refusedMessage()
	m.Record.Topic = "dead"
	var outcome []error
	(&guard{dead: dead, to: &behind}).Send(t.Context(), m, func(err error) { outcome = append(outcome, err) })
	if len(written.got) != 0 || len(outcome) != 1 || outcome[0] != nil || dead.of("").written[0].Load() != 1 {
		t.Errorf("%d letters, settled with %v, %d counted", len(written.got), outcome, dead.of("").written[0].Load())
	}
}

// Whoever settles races with the return of Send, and each message is settled once.
func TestDeadLetterRaces(t *testing.T) {
	written := held{now: func(*linkspan.Message) (error, bool) { return nil, true }}
	var settlers sync.WaitGroup
	outcomes := []error{nil, linkspan.ErrNoRoute, linkspan.ErrClosed}
	n := 0
	g := guard{dead: letters(t, &written), to: boundedFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) {
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
	if got := g.dead.of("").written[0].Load(); got != 1000 {
		t.Errorf("%d dead letters, want 1000", got)
	}
}

type boundedFunc linkspan.SinkFunc

func (boundedFunc) Room(*linkspan.Message) bool { return true }
func (f boundedFunc) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	f(ctx, m, done)
}
