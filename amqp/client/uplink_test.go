package client_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/custody"
)

// What a broker has is accepted when the sink has it, in order (SPK-A1, P1, P3).
func TestReceives_SPK_A1(t *testing.T) {
	b := broker(t)
	b.Feed("q", encodeAll(2500)...)
	r := start(t, b.URL(), []string{"q", "other"})
	r.until("all to be accepted", func() bool { return len(b.Accepted("q")) == 2500 })
	equal(t, "received", r.sink.payloads(), payloads(2500))
	equal(t, "accepted", bodies(t, b.Accepted("q")), payloads(2500))
	if m := r.sink.got[0]; m.Topic != "q" || m.Endpoint != "amqp" || !m.Mute || m.Received.IsZero() {
		t.Errorf("%+v", m)
	}
	b.Feed("other", encode("x"))
	r.until("the other address", func() bool { return len(b.Accepted("other")) == 1 })
	if s := r.Status(); !slices.Equal(s.Attached, []string{"other", "q"}) || s.Broker != "broker" {
		t.Errorf("%+v", s)
	}
}

// Nothing is accepted before the sink has custody, and the credit is what is not settled: the broker keeps the backlog, and
// nothing is rejected or given back (SPK-A1, SPK-A5, P1, P6).
func TestCreditIsWhatIsNotSettled_SPK_A5(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), []string{"q"}, func(c *client.Config) { c.Credit = 40 })
	r.sink.set(func(s *sink) { s.holding = true })
	b.Feed("q", encodeAll(500)...)
	r.until("the credit to be used", func() bool { return len(r.sink.payloads()) == 40 })
	if all, out := b.Left("q"); all != 500 || out != 40 || len(b.Accepted("q")) != 0 {
		t.Errorf("%d left, %d out of them with us, %d accepted", all, out, len(b.Accepted("q")))
	}
	r.sink.let()
	r.until("all to be accepted", func() bool { return len(b.Accepted("q")) == 500 })
	if b.Widest("q") > 40 || b.Released("q") > 0 || len(b.Rejected("q")) > 0 {
		t.Errorf("at most %d at a time, %d released, %v rejected", b.Widest("q"), b.Released("q"), b.Rejected("q"))
	}
	equal(t, "received", r.sink.payloads(), payloads(500))
}

// Without room in the sink messages wait here, as many as there was credit for, and then at the broker; nothing is rejected or given
// back; the connection stays, though the broker sends nothing else (SPK-A5, P6).
func TestNoRoom_SPK_A5(t *testing.T) {
	for name, backlog := range map[string]int{"reading on": 1 << 20, "not reading": 100} {
		t.Run(name, func(t *testing.T) {
			b := broker(t)
			r := start(t, b.URL(), []string{"q"}, func(c *client.Config) { c.Credit, c.MaxBacklog = 50, backlog })
			r.sink.set(func(s *sink) { s.closed = true })
			b.Feed("q", encodeAll(300)...)
			r.until("the sink to be asked in vain", func() bool {
				r.sink.mu.Lock()
				defer r.sink.mu.Unlock()
				return r.sink.asked > 5
			})
			if n := r.Stats().Held.Load(); n == 0 || n > 50 || len(r.sink.payloads()) > 0 {
				t.Errorf("%d wait, %d were handed over", n, len(r.sink.payloads()))
			}
			r.sink.set(func(s *sink) { s.closed = false })
			r.until("all to be accepted", func() bool { return len(b.Accepted("q")) == 300 })
			equal(t, "received", r.sink.payloads(), payloads(300))
			if opened, _ := b.Opened(); opened != 1 || b.Released("q") > 0 || b.Widest("q") > 50 || r.Stats().Held.Load() != 0 {
				t.Errorf("%d connections, %d released, at most %d at a time", opened, b.Released("q"), b.Widest("q"))
			}
		})
	}
}

// What the sink refuses for good becomes a dead letter where it can, and is rejected with the condition where it is the broker's to
// deal with (P2).
func TestRefusedForGood(t *testing.T) {
	no := linkspan.Permanent(errors.New("no, never"))
	cases := map[string]struct {
		refused   string
		err       error
		mute      bool
		condition frame.Symbol
	}{
		"dead letter": {client.RefusedDeadLetter, no, true, frame.InternalError},
		"broker":      {client.RefusedBroker, no, false, frame.InternalError},
		"too large":   {client.RefusedBroker, linkspan.ErrTooLarge, false, frame.MessageSizeExceeded},
		"no route":    {client.RefusedBroker, linkspan.ErrNoRoute, false, frame.NotFound},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := broker(t)
			r := start(t, b.URL(), []string{"q"}, func(cfg *client.Config) { cfg.Refused = c.refused })
			r.sink.set(func(s *sink) {
				s.answer = func(m *linkspan.Message) error {
					if m.Mute != c.mute {
						t.Errorf("mute: %v", m.Mute)
					}
					if string(m.Payload) == custody.Payload(1) {
						return c.err
					}
					return nil
				}
			})
			b.Feed("q", encodeAll(3)...)
			r.until("all to be settled", func() bool { return len(b.Accepted("q")) == 2 && len(b.Rejected("q")) == 1 })
			if got := b.Rejected("q")[0]; got.Condition != c.condition || got.Description != c.err.Error() {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A message that is none of AMQP is rejected, and those after it come (P2).
func TestBadMessage(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), []string{"q"})
	b.Feed("q", "this is no message", encode("good"))
	r.until("both to be settled", func() bool { return len(b.Accepted("q")) == 1 && len(b.Rejected("q")) == 1 })
	if got := b.Rejected("q")[0]; got.Condition != frame.DecodeError {
		t.Errorf("%+v", got)
	}
}

// What the sink fails to take is given back with all behind it, and comes again in order: no message is accepted past one that was
// not (P1, P3).
func TestFailsInPassing(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), []string{"q"}, func(c *client.Config) { c.Credit = 10 })
	failures := 0
	r.sink.set(func(s *sink) {
		s.answer = func(m *linkspan.Message) error {
			if p := string(m.Payload); failures < 3 && (p == custody.Payload(7) || p == custody.Payload(30)) {
				failures++
				return errors.New("just now")
			}
			return nil
		}
	})
	b.Feed("q", encodeAll(50)...)
	r.until("all to be accepted", func() bool { return len(b.Accepted("q")) == 50 })
	equal(t, "accepted", bodies(t, b.Accepted("q")), payloads(50))
	if opened, _ := b.Opened(); opened != 1 || len(b.Rejected("q")) > 0 {
		t.Errorf("%d connections, %v rejected", opened, b.Rejected("q"))
	}
}

// A stop releases what is not handed over, waits for what is, and accepts it (P8).
func TestStopReleases(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), []string{"q"}, func(c *client.Config) { c.Credit, c.DrainTimeout = 20, custody.Patience })
	r.sink.set(func(s *sink) { s.holding = true })
	b.Feed("q", encodeAll(12)...)
	r.until("messages", func() bool { return len(r.sink.payloads()) == 12 })
	r.sink.set(func(s *sink) { s.closed = true })
	b.Feed("q", encodeAll(5)...)
	r.until("others to wait", func() bool { return r.Stats().Held.Load() == 5 })
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	r.until("what waits to be released", func() bool { return b.Released("q") >= 5 })
	r.sink.let()
	<-stopped
	r.until("the broker to know", func() bool {
		all, out := b.Left("q")
		return len(b.Accepted("q")) == 12 && all == 5 && out == 0
	})
}

// An address that the broker refuses is asked for again; the others are served meanwhile.
func TestRefusedAddress(t *testing.T) {
	b := broker(t)
	b.Refuse("secret", &frame.Error{Condition: frame.UnauthorizedAccess, Description: "not yours"})
	r := start(t, b.URL(), []string{"secret", "q"})
	b.Feed("q", encode("x"))
	b.Feed("secret", encode("y"))
	r.until("the other one", func() bool { return len(b.Accepted("q")) == 1 })
	r.until("the refusal to be told", func() bool {
		s := r.Status()
		return len(s.Refused) == 1 && s.Refused[0] == "secret: the broker refuses the address: amqp:unauthorized-access: not yours"
	})
	b.Refuse("secret", nil)
	r.until("it to be let in", func() bool { return len(b.Accepted("secret")) == 1 })
	b.DetachAll("q", &frame.Error{Condition: frame.ResourceDeleted})
	b.Feed("q", encode("z"))
	r.until("the link to be attached again", func() bool { return len(b.Accepted("q")) == 2 })
	if opened, _ := b.Opened(); opened != 1 {
		t.Errorf("%d connections", opened)
	}
}

// queue:// and topic:// ask for a capability, and a topic for a subscription that stays.
func TestKindsOfAddress(t *testing.T) {
	b := broker(t)
	r := start(t, b.URL(), []string{"queue://q", "topic://t", "/queue/plain"})
	for _, a := range []string{"q", "t", "/queue/plain"} {
		b.Feed(a, encode("to "+a))
	}
	r.until("all", func() bool { return len(r.sink.payloads()) == 3 })
	for _, m := range r.sink.got {
		want := map[string]string{"to q": "queue://q", "to t": "topic://t", "to /queue/plain": "/queue/plain"}
		if m.Topic != want[string(m.Payload)] {
			t.Errorf("%s came from %s", m.Payload, m.Topic)
		}
	}
	for _, a := range b.Attaches() {
		s := a.Source
		durable := s.Durable == frame.DurableState && s.ExpiryPolicy == frame.ExpireNever
		switch s.Address.V {
		case "q":
			if !slices.Equal(s.Capabilities, []frame.Symbol{"queue"}) || durable {
				t.Errorf("%+v", s)
			}
		case "t":
			if !slices.Equal(s.Capabilities, []frame.Symbol{"topic"}) || !durable {
				t.Errorf("%+v", s)
			}
		default:
			if s.Capabilities != nil || durable {
				t.Errorf("%+v", s)
			}
		}
	}
}
