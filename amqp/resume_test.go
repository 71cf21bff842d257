package amqp_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
)

// up is the attach of a sender whose target is to be kept for a minute.
func up(seconds uint32) frame.Attach {
	return frame.Attach{Name: "up", Role: frame.Sender, Source: &frame.Source{},
		Target: &frame.Target{Address: frame.Some("t"), Timeout: seconds}}
}

// down is the same of a receiver of group g.
func down(seconds uint32) frame.Attach {
	return frame.Attach{Name: "down", Role: frame.Receiver, Target: &frame.Target{},
		Source: &frame.Source{Address: frame.Some("t/group.id/g"), Timeout: seconds}}
}

// tags is an unsettled map.
func tags(states map[string]frame.State) frame.Map {
	m := frame.BeginMap(nil)
	for tag, s := range states {
		m = frame.AppendState(frame.AppendBinary(m, tag), &s)
	}
	return frame.EndMap(m, 0, len(states))
}

// answered is a map in words.
func answered(m frame.Map) string {
	var words []string
	for k, v := range m.All() {
		tag, _ := k.Binary()
		words = append(words, string(tag))
		if s, err := frame.ReadState(v); !v.IsNull() && err == nil {
			words[len(words)-1] += ":" + s.Kind.String()
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

var (
	none     frame.State
	accepted = frame.State{Kind: frame.Accepted}
)

// [AMQP 2.6.13], P1: a sender that comes back is told what has become of its messages: what Kafka has is not sent again, what is on its way
// there is resumed and not written twice, and the rest is sent again.
func TestSenderComesBack(t *testing.T) {
	for _, how := range []string{"connection lost", "session ended", "detached", "stolen"} {
		h := &held{}
		b := run(t, setup{sink: h})
		w := b.wired("c")
		a := w.attach(up(60))
		if a.Target.ExpiryPolicy != frame.ExpireSessionEnd || a.Target.Timeout != 60 {
			t.Fatalf("granted %v", a.Target)
		}
		for i := range 4 {
			w.send(frame.Transfer{DeliveryTag: fmt.Append(nil, i), Payload: data(fmt.Sprint(i))})
		}
		until(t, "the messages", func() bool { return h.len() == 4 })
		switch how {
		case "connection lost":
			_ = w.Conn.Close()
			b.gone(0)
		case "session ended":
			w.say(&frame.End{})
			until(t, "the end of the link", func() bool { return b.Stats().Senders.Load() == 0 })
		case "detached":
			w.say(&frame.Detach{})
			await[frame.Detach](w, frame.CodeDetach)
		}
		if how != "stolen" {
			h.finish(0, nil)
			h.finish(1, linkspan.Permanent(errors.New("broken")))
		}
		again := up(60)
		again.Unsettled = tags(map[string]frame.State{"0": none, "1": none, "2": none, "3": none, "never came": none})
		w2 := w
		if how != "detached" {
			w2 = b.wired("c")
		}
		want := "0:accepted 1:rejected 2 3"
		if how == "stolen" {
			want = "0 1 2 3"
		}
		if a = w2.attach(again); answered(a.Unsettled) != want {
			t.Fatalf("%s: %q", how, answered(a.Unsettled))
		}
		if how == "stolen" {
			if d := await[frame.Detach](w, frame.CodeDetach); d.Error.Condition != frame.Stolen {
				t.Errorf("%v", d.Error)
			}
		}
		from := w2.sent
		w2.send(frame.Transfer{DeliveryTag: []byte("2"), Resume: true, Payload: data("2")})
		w2.send(frame.Transfer{DeliveryTag: []byte("never came"), Payload: data("4")})
		until(t, "what never came", func() bool { return h.len() == 5 })
		h.finish(4, nil)
		if got, want := w2.outcome(), fmt.Sprintf("%d-%d accepted settled=true", from+1, from+1); got != want {
			t.Errorf("%s: %q, want %q", how, got, want)
		}
		for i := range 3 {
			h.finish(i, nil)
		}
		if got, want := w2.outcome(), fmt.Sprintf("%d-%d accepted settled=true", from, from); got != want {
			t.Errorf("%s: %q, want %q", how, got, want)
		}
		equal(t, how, h.payloads(), []string{"0", "1", "2", "3", "4"})
		h.letGo()
		b.hangUp()
	}
}

// [AMQP 2.6.12] With receiver settle mode second the sender settles, and only then the outcome is forgotten: it is told again over a break,
// so that nothing is twice in Kafka.
func TestOutcomeThatIsLostWithTheConnection(t *testing.T) {
	b := run(t, setup{topics: map[string]int{"t": 1}})
	second := up(60)
	second.ReceiverSettleMode = frame.ReceiveSecond
	w := b.wired("c")
	if a := w.attach(second); a.ReceiverSettleMode != frame.ReceiveSecond {
		t.Fatal("another mode was granted")
	}
	w.send(frame.Transfer{DeliveryTag: []byte("a"), Payload: data("a")})
	w.send(frame.Transfer{DeliveryTag: []byte("b"), Payload: data("b")})
	until(t, "both", func() bool { return b.Stats().Taken.Load() == 2 })
	if got := await[frame.Disposition](w, frame.CodeDisposition); got.Settled || got.State.Kind != frame.Accepted {
		t.Fatalf("%v", got)
	}
	_ = w.Conn.Close()
	b.gone(0)
	second.Unsettled = tags(map[string]frame.State{"a": accepted, "b": none})
	w = b.wired("c")
	if a := w.attach(second); answered(a.Unsettled) != "a:accepted b:accepted" {
		t.Fatalf("%q", answered(a.Unsettled))
	}
	w.send(frame.Transfer{DeliveryTag: []byte("a"), Resume: true, Settled: true, State: accepted})
	w.send(frame.Transfer{DeliveryTag: []byte("b"), Resume: true})
	if got := w.outcome(); got != "1-1 accepted settled=false" {
		t.Errorf("%q", got)
	}
	w.say(&frame.Disposition{Role: frame.Sender, First: 1, Last: 1, Settled: true, State: accepted})
	w.say(&frame.Detach{})
	await[frame.Detach](w, frame.CodeDetach)
	second.Unsettled = tags(map[string]frame.State{"a": accepted, "b": accepted})
	if a := w.attach(second); answered(a.Unsettled) != "" || a.Unsettled == nil {
		t.Errorf("%q is not forgotten", answered(a.Unsettled))
	}
	if n := len(b.kafka.topics["t"][0]); n != 2 {
		t.Errorf("%d messages in Kafka", n)
	}
}

// [AMQP 2.6.13], P4: a receiver that comes back settles with its map what it could not settle before, and gets the rest again, as what
// it has already or as new. We are the sender of the example there, which has no state of its own: its cases 1 (0_5), 2 (0_2), 3 (0_0, 0_3 and
// 0_4) and 4 (0_1). Nothing else is possible while Linkspan keeps whole messages and has each outcome from the receiver.
func TestReceiverComesBack(t *testing.T) {
	for _, how := range []string{"connection lost", "stolen"} {
		b := run(t, setup{})
		b.feed("t", 0, 0, 8)
		w := b.wired("c")
		if a := w.attach(down(60)); a.Source.Timeout != 60 {
			t.Fatalf("granted %v", a.Source)
		}
		w.grant(0, 6)
		for i := range 6 {
			if got, _ := w.transfer(); got != fmt.Sprintf("0_%d message", i) {
				t.Fatal(got)
			}
		}
		if how != "stolen" {
			_ = w.Conn.Close()
			b.gone(0)
		}
		again := down(60)
		again.Unsettled = tags(map[string]frame.State{
			"0_0": accepted, "0_1": none, "0_2": {Kind: frame.Received, SectionNumber: 1}, "0_3": {Kind: frame.Rejected}, "0_4": {Kind: frame.Modified, DeliveryFailed: true},
			"0_77": accepted}) // and 0_5 is settled, or did not come
		w = b.wired("c")
		if a := w.attach(again); answered(a.Unsettled) != "0_0 0_1 0_2 0_3 0_4" {
			t.Fatalf("%q", answered(a.Unsettled))
		}
		until(t, "the position to move", func() bool { return b.kafka.settled("g", "t") == 1 })
		w.grant(0, 100)
		var got []string
		for range 10 {
			words, tr := w.transfer()
			got = append(got, words)
			if !tr.Settled && !tr.Aborted {
				w.say(&frame.Disposition{Role: frame.Receiver, First: tr.DeliveryID.V, Last: tr.DeliveryID.V, Settled: true, State: accepted})
			}
		}
		equal(t, how, got, []string{"0_0 resume settled accepted", "0_2 resume aborted", "0_3 resume settled rejected",
			"0_4 resume settled modified", "0_1 resume message", "0_2 message", "0_4 message", "0_5 message", "0_6 message", "0_7 message"})
		until(t, "all to be settled", func() bool { return b.kafka.settled("g", "t") == 8 })
		if n := len(b.kafka.letters); n != 1 {
			t.Errorf("%d dead letters", n)
		}
		until(t, "that to be counted", func() bool { return b.Stats().Unsettled.Load() == 0 })
		if s := b.Stats(); s.Resumed.Load() != 1 || s.Receivers.Load() != 1 || s.Suspended.Load() != 0 {
			t.Errorf("%d resumed, %d receivers, %d suspended", s.Resumed.Load(), s.Receivers.Load(), s.Suspended.Load())
		}
		b.hangUp()
	}
}

// A receiver that does not ask to be kept holds nothing up: what it has not settled goes to others at once; neither does one that attaches
// anew, or whose time is over [AMQP 2.7.3, 3.5.6].
func TestReceiversThatDoNotComeBack(t *testing.T) {
	for _, c := range []struct {
		what    string
		seconds uint32
		again   bool // the same client
	}{{"no timeout", 0, false}, {"attached anew", 60, true}, {"expired", 1, false}} {
		b := run(t, setup{})
		b.feed("t", 0, 0, 2)
		w := b.wired("c")
		w.attach(down(c.seconds))
		w.grant(0, 2)
		w.transfer()
		w.transfer()
		_ = w.Conn.Close()
		b.gone(0)
		other := "d"
		if c.again {
			other = "c"
		}
		w = b.wired(other)
		if a := w.attach(down(0)); a.Source.ExpiryPolicy != frame.ExpireLinkDetach || a.Source.Timeout != 0 {
			t.Errorf("%s: granted %v", c.what, a.Source)
		}
		w.grant(0, 2)
		for i := range 2 {
			if got, _ := w.transfer(); got != fmt.Sprintf("0_%d message", i) {
				t.Errorf("%s: %s", c.what, got)
			}
		}
		b.hangUp()
	}
}

// Where there is nothing to come back to, nothing is granted; the position of a group outlives all (P4).
func TestWhatIsGrantedToReceivers(t *testing.T) {
	b := run(t, setup{})
	w := b.wired("c")
	for i, c := range []struct {
		address string
		settled frame.SenderSettleMode
		asked   frame.Symbol
		granted frame.Source
	}{
		{"t/group.id/g", frame.SendUnsettled, frame.ExpireSessionEnd, frame.Source{ExpiryPolicy: frame.ExpireSessionEnd, Timeout: 60, Durable: 1}},
		{"t/group.id/g", frame.SendSettled, frame.ExpireSessionEnd, frame.Source{ExpiryPolicy: frame.ExpireLinkDetach, Durable: 1}},
		{"t/group.id/g", frame.SendSettled, frame.ExpireNever, frame.Source{ExpiryPolicy: frame.ExpireNever, Durable: 1}},
		{"live/x", frame.SendUnsettled, frame.ExpireNever, frame.Source{ExpiryPolicy: frame.ExpireLinkDetach}},
	} {
		a := down(60)
		a.Name, a.Handle, a.SenderSettleMode = fmt.Sprint(i), uint32(i), c.settled
		a.Source = &frame.Source{Address: frame.Some(c.address), ExpiryPolicy: c.asked, Timeout: 60, Durable: min(2*c.granted.Durable, 2)}
		if got := w.attach(a).Source; got.ExpiryPolicy != c.granted.ExpiryPolicy || got.Timeout != c.granted.Timeout || got.Durable != c.granted.Durable {
			t.Errorf("%s, mode %d, %s: granted %v", c.address, c.settled, c.asked, got)
		}
	}
}

// [AMQP 2.6.13, 2.7.3] What is not known is not in the answer, and the client sends it again: after the time, after kill -9 of
// Linkspan, for another user, another container, another link, or when it attaches anew. Nothing is lost (P5).
func TestNothingIsKnown(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(*amqp.ListenerConfig)
		first  frame.Attach
		with   func(a *frame.Attach)
		in     string // container
		killed bool   // and another takes its place, which knows nothing
		known  bool
	}{
		{what: "it is", first: up(60), in: "c", known: true},
		{what: "never, which is until the connection is closed and a while after", first: keep(up(0), frame.ExpireNever), in: "c", known: true},
		{what: "no timeout", first: up(0), in: "c"},
		{what: "the end of the link", first: keep(up(0), frame.ExpireLinkDetach), in: "c"},
		{what: "closed connection", first: keep(up(0), frame.ExpireConnectionClose), in: "c"},
		{what: "another process", first: up(60), in: "c", killed: true},
		{what: "no links", first: up(60), change: func(c *amqp.ListenerConfig) { c.MaxSuspended = 0 }, in: "c"},
		{what: "switched off", first: up(60), change: func(c *amqp.ListenerConfig) { c.ResumeTimeout = 0 }, in: "c"},
		{what: "no memory", first: up(60), change: func(c *amqp.ListenerConfig) { c.MaxSuspendedTotal = 100 }, in: "c"},
		{what: "another container", first: up(60), in: "d"},
		{what: "another link", first: up(60), with: func(a *frame.Attach) { a.Name = "other" }, in: "c"},
		{what: "attached anew", first: up(60), with: func(a *frame.Attach) { a.Unsettled = nil }, in: "c"},
	} {
		h := &held{}
		b := run(t, setup{sink: h, change: c.change})
		w := b.wired("c")
		w.attach(c.first)
		w.send(frame.Transfer{DeliveryTag: []byte("0"), Payload: data("0")})
		until(t, "the message", func() bool { return h.len() == 1 })
		_ = w.Conn.Close()
		b.gone(0)
		h.finish(0, nil)
		again := c.first
		again.Unsettled = tags(map[string]frame.State{"0": none})
		if c.with != nil {
			c.with(&again)
		}
		if c.killed {
			b.hangUp()
			b = run(t, setup{sink: h})
		}
		w = b.wired(c.in)
		a := w.attach(again)
		want := ""
		if c.known {
			want = "0:accepted"
		}
		if got := answered(a.Unsettled); got != want || (a.Unsettled == nil) != (again.Unsettled == nil) {
			t.Errorf("%s: %q", c.what, got)
		}
		w.send(frame.Transfer{DeliveryTag: []byte("1"), Payload: data("1")})
		until(t, "the next message", func() bool { return h.len() == 2 })
		h.finish(1, nil)
		if got := w.outcome(); got != "0-0 accepted settled=true" {
			t.Errorf("%s: %s", c.what, got)
		}
		b.hangUp()
	}
}

func keep(a frame.Attach, p frame.Symbol) frame.Attach {
	a.Target.ExpiryPolicy = p
	return a
}

// [AMQP 3.5.6] A link that was left within a session is known until that ends, without being asked for; and what was granted is told.
func TestLinkOfASession(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h})
	w := b.wired("c")
	w.attach(up(0))
	w.send(frame.Transfer{DeliveryTag: []byte("0"), Payload: data("0")})
	until(t, "the message", func() bool { return h.len() == 1 })
	again := up(0)
	again.Unsettled = tags(map[string]frame.State{"0": none})
	for range 3 {
		w.say(&frame.Detach{})
		await[frame.Detach](w, frame.CodeDetach)
		if got := answered(w.attach(again).Unsettled); got != "0" {
			t.Fatalf("%q", got)
		}
	}
	w.say(&frame.Detach{Closed: true}) // [AMQP 2.6.6]: it is no more
	await[frame.Detach](w, frame.CodeDetach)
	if got := answered(w.attach(again).Unsettled); got != "" {
		t.Errorf("%q", got)
	}
	for asked, granted := range map[frame.Symbol]frame.Symbol{
		frame.ExpireNever: frame.ExpireConnectionClose, frame.ExpireConnectionClose: frame.ExpireConnectionClose,
		frame.ExpireSessionEnd: frame.ExpireSessionEnd, frame.ExpireLinkDetach: frame.ExpireLinkDetach,
	} {
		a := keep(up(1<<32-1), asked)
		a.Name, a.Handle, a.Target.Durable = string(asked), 1, frame.DurableState
		got := w.attach(a).Target
		if got.ExpiryPolicy != granted || got.Timeout != 300 || got.Durable != frame.DurableNone {
			t.Errorf("%s: granted %v", asked, got)
		}
		w.say(&frame.Detach{Handle: 1, Closed: true})
		await[frame.Detach](w, frame.CodeDetach)
	}
}

// P6: who leaves link after link is forgotten when there are too many, the oldest first; and a map as large as a frame costs a frame.
func TestSuspendedLinksAreBounded(t *testing.T) {
	h := &held{}
	b := run(t, setup{sink: h, change: func(c *amqp.ListenerConfig) { c.MaxSuspended = 2 }})
	for i := range 4 {
		w := b.wired("c")
		a := up(60)
		a.Name = fmt.Sprint(i)
		w.attach(a)
		w.send(frame.Transfer{DeliveryTag: []byte("0"), Payload: data("0")})
		until(t, "the message", func() bool { return h.len() == i+1 })
		_ = w.Conn.Close()
		b.gone(0)
	}
	w := b.wired("c")
	huge := map[string]frame.State{"0": none}
	for i := range 5000 {
		huge[fmt.Sprintf("x%d", i)] = none
	}
	for i, want := range []string{"", "", "0", "0"} {
		a := up(60)
		a.Name, a.Handle, a.Unsettled = fmt.Sprint(i), uint32(i), tags(huge)
		if got := answered(w.attach(a).Unsettled); got != want {
			t.Errorf("link %d: %q", i, got)
		}
	}
}

// [AMQP 2.7.3] A receiver whose map is incomplete gets nothing new: what it did not name is kept for the next time.
func TestIncompleteMapOfAReceiver(t *testing.T) {
	b := run(t, setup{})
	b.feed("t", 0, 0, 4)
	w := b.wired("c")
	w.attach(down(60))
	w.grant(0, 3)
	for range 3 {
		w.transfer()
	}
	_ = w.Conn.Close()
	b.gone(0)
	again := down(60)
	again.Unsettled, again.IncompleteUnsettled = tags(map[string]frame.State{"0_0": accepted}), true
	w = b.wired("c")
	w.attach(again)
	w.grant(0, 10)
	if got, _ := w.transfer(); got != "0_0 resume settled accepted" {
		t.Error(got)
	}
	w.say(&frame.Detach{})
	await[frame.Detach](w, frame.CodeDetach)
	again.Unsettled, again.IncompleteUnsettled = tags(map[string]frame.State{"0_1": accepted, "0_2": accepted}), false
	if got := answered(w.attach(again).Unsettled); got != "0_1 0_2" {
		t.Fatalf("%q", got)
	}
	until(t, "all three to be settled", func() bool { return b.kafka.settled("g", "t") == 3 })
	w.grant(0, 10)
	for _, want := range []string{"0_1 resume settled accepted", "0_2 resume settled accepted", "0_3 message"} {
		if got, _ := w.transfer(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// P8: a listener that stops holds nothing for those who are away.
func TestStopWithSuspendedLinks(t *testing.T) {
	b := run(t, setup{groups: group.Options{}})
	b.feed("t", 0, 0, 1)
	w := b.wired("c")
	w.attach(down(60))
	w.grant(0, 1)
	w.transfer()
	_ = w.Conn.Close()
	b.gone(0)
	b.stop() // and does not wait for it
	if n := b.groups.Stats().Unsettled.Load(); n != 0 {
		t.Errorf("%d unsettled", n)
	}
}
