package amqp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/custody"
)

// P1, P2, P3, P4, P8: the listener keeps the contract of every source.
func TestCustody(t *testing.T) { custody.TestSource(t, near) }

// near is a listener with one client, which sends unsettled.
func near(t *testing.T) *custody.Near {
	cfg := amqp.DefaultListenerConfig()
	cfg.URL = "amqp://127.0.0.1:0"
	l, err := amqp.Listen(cfg, amqp.Parts{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	var sender *amqptest.Sender
	return &custody.Near{
		Source:  l,
		Settled: func() int { return int(accepted.Load()) },
		Window:  int(cfg.Credit),
		Feed: func(i int) {
			if sender == nil {
				sender = amqptest.Dial(t, l.Addr().String()).Sender("t")
			}
			outcome := sender.Post(data(custody.Payload(i)), false)
			go func() {
				if s, ok := <-outcome; ok && s.Kind == frame.Accepted {
					accepted.Add(1)
				}
			}()
		},
	}
}

// AKB-W1: credit comes back as messages settle, in lots, and is never more than what is left of the window.
func TestCreditGoesRound(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h, change: func(c *amqp.ListenerConfig) { c.Credit = 10 }})
	s := b.dial().Sender("t")
	for i := range 10 {
		s.Post(data(fmt.Sprint(i)), false)
	}
	until(t, "ten messages at the sink", func() bool { return h.len() == 10 })
	if n := s.Link.Credit(); n != 0 {
		t.Fatalf("credit %d while ten of ten are in flight (P6)", n)
	}
	for i := range 6 {
		h.finish(5-i, nil) // the oldest last
	}
	until(t, "credit for what was settled", func() bool { return s.Link.Credit() > 3 })
	if n := s.Link.Credit(); n > 6 {
		t.Fatalf("credit %d while four of ten are in flight (P6)", n)
	}
	h.letGo()
	for range 100 {
		s.Post(data("more"), false)
	}
	if n := s.Link.Credit(); n > 10 {
		t.Errorf("credit %d", n)
	}
}

// AKB-A3, AKB-W1: many more messages than credit go over one link; AKB-A4: settled ones, too, and nobody answers those.
func TestManyMessagesOverOneLink(t *testing.T) {
	for _, settled := range []bool{false, true} {
		b := run(t, setup{change: func(c *amqp.ListenerConfig) { c.Credit = 100 }})
		s := b.dial().Sender("t")
		const all = 5000
		outcomes := make([]<-chan frame.State, all)
		for i := range outcomes {
			outcomes[i] = s.Post(data("x"), settled)
		}
		until(t, "all messages taken", func() bool { return b.Stats().Taken.Load() == all })
		if n := b.Stats().Settled.Load(); settled && n != all || !settled && n != 0 {
			t.Errorf("%d came settled", n)
		}
		for _, o := range outcomes {
			if !settled && (<-o).Kind != frame.Accepted {
				t.Fatal("not accepted")
			}
		}
		b.stop()
	}
}

// AKB-W9: settled and unsettled messages of one link keep their order.
func TestMixedOrder(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h})
	s := b.dial().Sender("t")
	var want []string
	for i := range 200 {
		want = append(want, fmt.Sprint(i))
		s.Post(data(want[i]), i%3 == 0)
	}
	until(t, "all messages", func() bool { return h.len() == len(want) })
	equal(t, "messages", h.payloads(), want)
	for i := range want {
		if h.message(i).Mute != (i%3 == 0) {
			t.Fatalf("message %d: mute is %v", i, h.message(i).Mute)
		}
	}
}

// What the sink says of a message is told in the words of AMQP, and the link goes on.
func TestOutcomes(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h})
	s := b.dial().Sender("t")
	for i, c := range []struct {
		err  error
		kind frame.StateKind
		want frame.Symbol
	}{
		{nil, frame.Accepted, ""},
		{linkspan.Permanent(errors.New("broken")), frame.Rejected, "io.strimzi:error-to-kafka"},
		{fmt.Errorf("somewhere: %w", linkspan.ErrNoRoute), frame.Rejected, frame.NotFound},
		{linkspan.ErrTooLarge, frame.Rejected, frame.MessageSizeExceeded},
		{linkspan.ErrNotAuthorized, frame.Rejected, frame.UnauthorizedAccess},
		{linkspan.ErrQuota, frame.Rejected, frame.ResourceLimitExceeded},
		{linkspan.ErrInvalidTopic, frame.Rejected, frame.InvalidField},
		{errors.New("passing"), frame.Released, ""},
		{linkspan.ErrClosed, frame.Released, ""},
	} {
		outcome := s.Post(data("x"), false)
		until(t, "the message", func() bool { return h.len() == i+1 })
		h.finish(i, c.err)
		if got := <-outcome; got.Kind != c.kind || got.Error.Condition != c.want {
			t.Errorf("%v: %v %v, want %v %s", c.err, got.Kind, got.Error.Condition, c.kind, c.want)
		}
	}
}

// AKB-A1: the address is the link's, or the message's, which comes first.
func TestWhereMessagesGo(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h})
	c := b.dial()
	if offered := c.Open().Remote().OfferedCapabilities; !slices.Contains(offered, "ANONYMOUS-RELAY") {
		t.Errorf("offered: %v", offered)
	}
	link, anonymous := c.Sender("queue://a/b"), c.Sender("")
	link.Post(data("of the link"), true)
	until(t, "one message", func() bool { return h.len() == 1 })
	link.Post(to("/c", "of the message"), true)
	until(t, "two messages", func() bool { return h.len() == 2 })
	anonymous.Post(to("topic://d", "of the message alone"), true)
	until(t, "three messages", func() bool { return h.len() == 3 })
	for i, want := range []string{"a/b", "c", "d"} {
		if m := h.message(i); m.Topic != want || m.Endpoint != "amqp" || !strings.HasPrefix(m.Client, t.Name()) {
			t.Errorf("message %d: %q of %q at %q, want %q", i, m.Topic, m.Client, m.Endpoint, want)
		}
	}
	h.all(nil) // what is refused is told in its turn
	for _, payload := range [][]byte{data("nowhere"), to("", "nowhere"), to("a/+", "a wildcard"), []byte("no message"), nil} {
		if got := anonymous.Send(payload); got.Kind != frame.Rejected || got.Error.Condition == "" {
			t.Errorf("%q: %v %v", payload, got.Kind, got.Error)
		}
	}
	if h.len() != 3 {
		t.Errorf("the sink has %q", h.payloads())
	}
}

// P6: without room no credit is given back, what was sent on credit waits, in order, and the connection is alive.
func TestPressure(t *testing.T) {
	h := &held{full: true}
	b := run(t, setup{sink: h, change: func(c *amqp.ListenerConfig) { c.Credit = 20 }})
	c := b.dial()
	s := c.Sender("t")
	var want []string
	var outcomes []<-chan frame.State
	for i := range 20 {
		want = append(want, fmt.Sprint(i))
		outcomes = append(outcomes, s.Post(data(want[i]), false))
	}
	until(t, "twenty messages in the backlog", func() bool { return b.Stats().Backlog.Load() > 0 && s.Link.Credit() == 0 })
	c.Sender("u").Close() // other links are served meanwhile
	if h.len() != 0 || s.Link.Credit() != 0 {
		t.Fatalf("%d messages in a sink without room, credit %d", h.len(), s.Link.Credit())
	}
	h.fill(false)
	until(t, "all messages", func() bool { return h.len() == len(want) })
	equal(t, "messages", h.payloads(), want)
	h.all(nil)
	for _, o := range outcomes {
		if got := <-o; got.Kind != frame.Accepted {
			t.Fatal(got.Kind)
		}
	}
	until(t, "an empty backlog, and credit", func() bool { return b.Stats().Backlog.Load() == 0 && s.Link.Credit() > 0 })
}

// A link whose messages find no room holds up no other of its connection.
func TestOneLinkWaitsForRoom(t *testing.T) {
	h := &held{full: true, shut: "t"}
	b := run(t, setup{sink: h})
	c := b.dial()
	c.Sender("t").Post(data("waits"), false)
	c.Sender("u").Post(data("goes on"), false)
	until(t, "two messages in the backlog", func() bool { return b.Stats().Backlog.Load() >= int64(len(data("waits"))+len(data("goes on"))) })
	h.fill(false)
	until(t, "a message", func() bool { return h.len() > 0 })
	equal(t, "messages", h.payloads(), []string{"goes on"})
	h.letGo()
}

// P6: a connection that holds back as much as it may is not read any more, whatever its credit.
func TestBacklogIsBounded(t *testing.T) {
	h := &held{full: true}
	b := run(t, setup{sink: h, change: func(c *amqp.ListenerConfig) { c.MaxBacklog = 1 << 10 }})
	s := b.dial().Sender("t")
	const all = 1000
	posted := make(chan struct{})
	go func() { // how much a system takes before it is read differs
		defer close(posted)
		for range all {
			s.Post(data(string(make([]byte, 1000))), false)
		}
	}()
	until(t, "a full backlog", func() bool { return b.Stats().Backlog.Load() >= 1<<10 })
	h.fill(false)
	until(t, "all messages", func() bool {
		if n := b.Stats().Backlog.Load(); n > 64<<10 {
			t.Fatalf("%d bytes held back", n)
		}
		return h.len() == all
	})
	<-posted
}

// What waits for room when the link or connection ends is the client's again, or lost if it came settled, and what the sink has is settled
// in peace.
func TestSenderGoesAway(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h})
	c := b.dial()
	s := c.Sender("t")
	s.Post(data("taken"), false)
	until(t, "a message at the sink", func() bool { return h.len() == 1 })
	h.fill(true)
	s.Post(data("waits"), false)
	s.Post(data("settled"), true)
	both := int64(len(data("waits")) + len(data("settled")))
	until(t, "two messages in the backlog", func() bool { return b.Stats().Backlog.Load() == both })
	c.Kill()
	until(t, "no sender", func() bool { return b.Stats().Senders.Load() == 0 && b.Stats().Open.Load() == 0 })
	if given, lost := b.Stats().Released.Load(), b.Stats().Abandoned.Load(); given != 1 || lost != 1 {
		t.Errorf("%d given back, %d lost", given, lost)
	}
	if n := b.Stats().Backlog.Load(); n != 0 || b.Stats().InFlight.Load() != 1 {
		t.Errorf("backlog %d, %d in flight", n, b.Stats().InFlight.Load())
	}
	h.all(nil)
	if n := b.Stats().InFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// Nodes that are not there are refused, and the connection stays.
func TestRefusedSenders(t *testing.T) {
	b := run(t, setup{})
	c := b.dial()
	for name, a := range map[string]frame.Attach{
		"coordinator": {Name: "coordinator", Coordinator: &frame.Coordinator{}},
		"dynamic":     {Name: "dynamic", Target: &frame.Target{Dynamic: true}},
	} {
		if _, err := c.TrySender(a); err == nil || err.Condition != frame.NotImplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := frame.Attach{Name: "wildcard", Target: &frame.Target{Address: frame.Some("a/#")}}
	if _, err := c.TrySender(a); err == nil || err.Condition != frame.InvalidField {
		t.Errorf("wildcard: %v", err)
	}
	if got := c.Sender("t").Send(data("x")); got.Kind != frame.Accepted {
		t.Error(got)
	}
	n := uint64(0)
	for _, times := range b.Stats().Refused.All() {
		n += times
	}
	if n != 3 {
		t.Errorf("%d refused", n)
	}
}

// P8: a stop gives back what the sink does not have, waits for what it has, and says why the connection ends.
func TestStop(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h})
	c := b.dial()
	s := c.Sender("t")
	taken := s.Post(data("taken"), false)
	until(t, "a message at the sink", func() bool { return h.len() == 1 })
	h.fill(true)
	waits := s.Post(data("waits"), false)
	until(t, "a message in the backlog", func() bool { return b.Stats().Backlog.Load() > 0 })
	stopped := make(chan struct{})
	go func() {
		b.stop()
		close(stopped)
	}()
	h.fill(false)
	until(t, "the end of listening", func() bool { return b.Stats().Backlog.Load() == 0 })
	h.all(nil)
	<-stopped
	var forced *frame.Error
	if err := c.Ended(); !errors.As(err, &forced) || forced.Condition != frame.ConnectionForced {
		t.Errorf("the connection ended with %v", err)
	}
	if got := <-taken; got.Kind != frame.Accepted {
		t.Errorf("what the sink took is %v", got.Kind)
	}
	if got := <-waits; got.Kind != frame.Accepted && got.Kind != frame.Released {
		t.Errorf("what waited is %v", got.Kind)
	}
}
