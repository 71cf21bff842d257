package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

var (
	rejected = frame.State{Kind: frame.Rejected}
	received = frame.State{Kind: frame.Received, SectionNumber: 1}
	nothing  frame.State
)

// unsettled is a map of tags with states.
func unsettled(tags []string, states map[string]frame.State) frame.Map {
	m := frame.BeginMap(nil)
	for _, tag := range tags {
		s := states[tag]
		m = frame.AppendState(frame.AppendBinary(m, tag), &s)
	}
	return frame.EndMap(m, 0, len(tags))
}

// told is a map in words.
func told(m frame.Map) string {
	var words []string
	for k, v := range m.All() {
		tag, _ := k.Binary()
		s, _ := frame.ReadState(v)
		if v.IsNull() {
			s = nothing
		}
		words = append(words, fmt.Sprintf("%s:%s", tag, s.Kind))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// A broken link is one over which a client has sent deliveries that the server has and has not settled, when the connection was lost.
type broken struct {
	memory *Memory
	held   map[string]*Delivery
}

func breakUp(t *testing.T, a frame.Attach, tags ...string) *broken {
	t.Helper()
	b := &broken{held: map[string]*Delivery{}}
	p := newPair(t, Config{}, Config{})
	p.server.attach = func(l *Link) {
		l.Remember(nil)
		if err := l.Accept(frame.Attach{}); err != nil {
			t.Error(err)
		}
		l.Grant(100)
	}
	p.server.take = func(_ *Link, d *Delivery, _ []byte) { b.held[string(d.Tag())] = d }
	out := p.attach(p.begin(), a)
	p.settle()
	for _, tag := range tags {
		send(t, out, Outgoing{Tag: []byte(tag), Payload: []byte(tag)})
	}
	p.settle()
	p.server.c.Lost(errors.New("cut"))
	b.memory = p.server.links[0].Suspend()
	return b
}

// outcome settles a delivery of the link that is no more.
func (b *broken) outcome(tag string, s frame.State) {
	b.held[tag].Settle(s)
	delete(b.held, tag)
}

// again attaches the link on another connection, with credit.
func (b *broken) again(t *testing.T, a frame.Attach, server Config) (p *pair, out *Link) {
	t.Helper()
	p = newPair(t, Config{}, server)
	p.server.attach = func(l *Link) {
		l.Remember(b.memory)
		if err := l.Accept(frame.Attach{}); err != nil {
			t.Error(err)
		}
		l.Grant(100)
	}
	out = p.attach(p.begin(), a)
	p.settle()
	p.is(p.client, "attached "+a.Name)
	return p, out
}

// [AMQP 2.6.13], the example: what becomes of a delivery, by what the sender says of it and what the receiver has. The tags are those of
// the example. A receiver that has part of a message (2, 6, 7 and 11 there) forgets the part, and has nothing.
func TestResumedDeliveries(t *testing.T) {
	for _, row := range []struct {
		tag      string
		sender   frame.State  // in its map
		receiver *frame.State // what has become of it here; nil: it never came
		answer   string       // in our map
		send     Outgoing     // what the sender does then
		handed   string       // to the handler
		later    frame.State  // of the delivery, after that
		settled  string       // what the sender hears in the end
	}{
		{tag: "1", answer: "", send: Outgoing{}, handed: "[1]", settled: "settled 1 accepted true"},
		{tag: "3", receiver: &accepted, answer: "3:accepted", send: Outgoing{Resume: true, Settled: true, State: accepted}},
		{tag: "3r", receiver: &rejected, answer: "3r:rejected", send: Outgoing{Resume: true, State: nothing}, settled: "settled 3r rejected true"},
		{tag: "4", receiver: &nothing, answer: "4:none", send: Outgoing{Resume: true}, later: accepted, settled: "settled 4 accepted true"},
		{tag: "4r", receiver: &nothing, answer: "4r:none", send: Outgoing{Resume: true}, later: rejected, settled: "settled 4r rejected true"},
		{tag: "5", sender: received, answer: "", send: Outgoing{}, handed: "[5]", settled: "settled 5 accepted true"},
		{tag: "8", sender: received, receiver: &accepted, answer: "8:accepted", send: Outgoing{Resume: true, Settled: true, State: accepted}},
		{tag: "9", sender: received, receiver: &nothing, answer: "9:none", send: Outgoing{Resume: true, Aborted: true}, later: accepted},
		{tag: "10", sender: accepted, answer: ""},
		{tag: "12", sender: accepted, receiver: &accepted, answer: "12:accepted", send: Outgoing{Resume: true, Settled: true, State: accepted}},
		{tag: "13", sender: accepted, receiver: &rejected, answer: "13:rejected", send: Outgoing{Resume: true, State: accepted},
			settled: "settled 13 accepted true"},
		{tag: "14", sender: accepted, receiver: &nothing, answer: "14:none", send: Outgoing{Resume: true, Aborted: true}, later: accepted},
	} {
		for _, mode := range []frame.ReceiverSettleMode{frame.ReceiveFirst, frame.ReceiveSecond} {
			a := sender("up")
			a.ReceiverSettleMode = mode
			var b *broken
			if row.receiver == nil {
				b = breakUp(t, a)
			} else if b = breakUp(t, a, row.tag); row.receiver.Kind != frame.NoState {
				b.outcome(row.tag, *row.receiver)
			}
			a.Unsettled = unsettled([]string{row.tag}, map[string]frame.State{row.tag: row.sender})
			p, out := b.again(t, a, Config{})
			if got := told(out.Remote().Unsettled); got != row.answer || out.Remote().Unsettled == nil {
				t.Errorf("%s: the answer is %q", row.tag, got)
			}
			if row.sender.Kind != frame.Accepted || row.receiver != nil {
				row.send.Tag, row.send.Payload = []byte(row.tag), []byte(row.tag)
				send(t, out, row.send)
			}
			p.settle()
			if d := b.held[row.tag]; d != nil {
				if len(p.client.log) != 0 {
					t.Errorf("%s: settled without an outcome: %s", row.tag, p.client.log)
				}
				d.Settle(row.later)
				p.settle()
			}
			if row.handed == "" {
				row.handed = "[]"
			}
			if got := fmt.Sprint(p.server.got); got != row.handed {
				t.Errorf("%s: the handler got %s", row.tag, got)
			}
			want := row.settled
			if mode == frame.ReceiveSecond { // [AMQP 2.6.12]: the sender settles first
				want = strings.Replace(want, "true", "false", 1)
			}
			if got := strings.Join(p.client.log, ", "); got != want {
				t.Errorf("%s, mode %d: the sender heard %q", row.tag, mode, got)
			}
			in := p.server.links[0]
			if n := in.Suspend().Len(); n != 0 || in.Outstanding() != 0 || in.lingering != 0 || out.Credit() == 0 {
				t.Errorf("%s: %d remembered, %d outstanding, %d linger", row.tag, n, in.Outstanding(), in.lingering)
			}
		}
	}
}

// [AMQP 2.6.13], the example, 2, 6, 7 and 11: of a message that did not come whole the receiver keeps nothing, whatever the sender knows of
// it: it is not in the answer, and comes again as new or, where the sender has an outcome already, not at all.
func TestPartOfAMessage(t *testing.T) {
	for _, row := range []struct {
		tag    string
		sender frame.State // in its map
		handed string      // after it has sent what the answer asks for
	}{
		{"2", nothing, "[whole]"},
		{"6", received, "[whole]"},
		{"7", frame.State{Kind: frame.Received, SectionNumber: 2, SectionOffset: 1000}, "[whole]"},
		{"11", accepted, "[]"},
	} {
		b := &broken{held: map[string]*Delivery{}}
		p := newPair(t, Config{}, Config{MaxFrameSize: 512})
		p.server.attach = func(l *Link) {
			l.Remember(nil)
			if err := l.Accept(frame.Attach{}); err != nil {
				t.Error(err)
			}
			l.Grant(100)
		}
		out := p.attach(p.begin(), sender("up"))
		p.settle()
		send(t, out, Outgoing{Tag: []byte(row.tag), Payload: make([]byte, 5000)})
		wire := p.client.c.Output(nil)
		if _, _, err := p.server.c.Input(wire[:len(wire)/2], now); err != nil {
			t.Fatal(err)
		}
		in := p.server.links[0]
		if in.partial == nil || len(p.server.got) > 0 {
			t.Fatalf("%s: there is no part of it", row.tag)
		}
		p.server.c.Lost(errors.New("cut"))
		b.memory = in.Suspend()
		a := sender("up")
		a.Unsettled = unsettled([]string{row.tag}, map[string]frame.State{row.tag: row.sender})
		p, out = b.again(t, a, Config{})
		if got := told(out.Remote().Unsettled); got != "" || out.Remote().Unsettled == nil || b.memory.Len() != 0 {
			t.Errorf("%s: the answer is %q, %d remembered", row.tag, got, b.memory.Len())
		}
		if row.sender.Kind != frame.Accepted {
			send(t, out, Outgoing{Tag: []byte(row.tag), Payload: []byte("whole")})
		}
		p.settle()
		if got := fmt.Sprint(p.server.got); got != row.handed {
			t.Errorf("%s: the handler got %s", row.tag, got)
		}
	}
}

// [AMQP 2.6.12] With receiver settle mode second an outcome is kept until the sender settles, over however many breaks. [AMQP 2.6.13]
func TestOutcomeIsKeptUntilTheSenderSettles(t *testing.T) {
	a := sender("up")
	a.ReceiverSettleMode = frame.ReceiveSecond
	b := breakUp(t, a, "a", "b", "c")
	b.outcome("a", accepted)
	a.Unsettled = unsettled([]string{"a", "b", "c"}, nil)
	for i := range 3 {
		p, out := b.again(t, a, Config{})
		if got, want := told(out.Remote().Unsettled), "a:accepted b:none c:none"; got != want {
			t.Fatalf("%q", got)
		}
		p.client.settled = func(*Link, *Delivery) {} // it does not settle
		send(t, out, Outgoing{Tag: []byte("a"), Resume: true})
		if i < 2 {
			send(t, out, Outgoing{Tag: []byte("b"), Resume: true, Payload: []byte("b")})
		}
		p.settle()
		p.server.c.Lost(errors.New("cut"))
		b.memory = p.server.links[0].Suspend()
	}
	b.outcome("b", rejected)
	b.outcome("c", frame.State{Kind: frame.Released}) // to be sent again
	p, out := b.again(t, a, Config{})
	if got, want := told(out.Remote().Unsettled), "a:accepted b:rejected"; got != want {
		t.Fatalf("%q", got)
	}
	send(t, out, Outgoing{Tag: []byte("b"), Resume: true, Settled: true})
	p.settle()
	if n := p.server.links[0].Suspend().Len(); n != 1 || len(p.server.got) != 0 {
		t.Errorf("%d remembered, and %s came", n, p.server.got)
	}
}

// [AMQP 2.7.3] A sender that attaches anew, without a map, has forgotten all; [AMQP 2.6.13] one with a map has settled what is not there,
// unless it says that the map is incomplete.
func TestMapsThatDoNotMatch(t *testing.T) {
	a := sender("up")
	for _, c := range []struct {
		unsettled  frame.Map
		incomplete bool
		answer     string
		left       int
	}{
		{nil, false, "", 0},
		{unsettled(nil, nil), false, "", 0},
		{unsettled([]string{"b", "x"}, nil), false, "b:none", 1},
		{unsettled([]string{"b", "x"}, nil), true, "b:none", 3},
	} {
		b := breakUp(t, a, "a", "b", "c")
		a.Unsettled, a.IncompleteUnsettled = c.unsettled, c.incomplete
		p, out := b.again(t, a, Config{})
		if got := told(out.Remote().Unsettled); got != c.answer || (out.Remote().Unsettled == nil) != (c.unsettled == nil) {
			t.Errorf("%q", got)
		}
		for tag := range b.held {
			b.outcome(tag, accepted)
		}
		p.settle()
		if n := b.memory.Len(); n != c.left || len(p.client.log) > 0 {
			t.Errorf("%d are left of %v; %s", n, c, p.client.log)
		}
	}
}

// A resumed delivery that is not known is no message for the handler [AMQP 2.7.5], and its sender is told to send it anew (P2). Neither
// it nor what is aborted costs credit for ever.
func TestResumeOfAnUnknownTag(t *testing.T) {
	p, out, in := connected(t, Config{}, Config{}, sender("up"))
	send(t, out, Outgoing{Tag: []byte("a"), Payload: []byte("a"), Resume: true})
	p.settle()
	p.is(p.client, "settled a released true")
	send(t, out, Outgoing{Tag: []byte("a"), Payload: make([]byte, 70_000), Resume: true}) // of many frames
	p.settle()
	p.is(p.client, "settled a released true")
	for range 30 {
		send(t, out, Outgoing{Tag: []byte("b"), Resume: true, Settled: true})
		p.settle()
		send(t, out, Outgoing{Tag: []byte("c"), Aborted: true})
		p.settle()
	}
	if len(p.server.got) != 0 || in.Outstanding() != 0 || p.server.c.kept > in.size {
		t.Errorf("%s came", p.server.got)
	}
}

// A tag stands for another message once that has come, whatever becomes of the one that had it before.
func TestTagOfANewMessage(t *testing.T) {
	a := sender("up")
	b := breakUp(t, a, "a")
	a.Unsettled = unsettled([]string{"a"}, nil)
	p, out := b.again(t, a, Config{})
	var fresh *Delivery
	p.server.take = func(_ *Link, d *Delivery, _ []byte) { fresh = d }
	send(t, out, Outgoing{Tag: []byte("a"), Payload: []byte("another")})
	p.settle()
	memory := p.server.links[0].Suspend()
	b.outcome("a", accepted)
	if got := told(memory.answer(&frame.Attach{Unsettled: a.Unsettled})); got != "a:none" {
		t.Errorf("%q", got)
	}
	fresh.Settle(rejected)
	if got := told(memory.answer(&frame.Attach{Unsettled: a.Unsettled})); got != "a:rejected" {
		t.Errorf("%q", got)
	}
}

// [AMQP 2.7.3] A map that does not fit into a frame is told in part. Then nothing new may come until all is resolved, and what was
// not told is known the next time.
func TestIncompleteMap(t *testing.T) {
	var tags []string
	for i := range 100 {
		tags = append(tags, fmt.Sprintf("tag-%03d", i))
	}
	a := sender("up")
	b := breakUp(t, a, tags...)
	a.Unsettled = unsettled(tags, nil)
	p := newPair(t, Config{MaxFrameSize: 512}, Config{})
	p.server.attach = func(l *Link) {
		l.Remember(b.memory)
		if err := l.Accept(frame.Attach{}); err != nil {
			t.Error(err)
		}
		l.Grant(100)
	}
	out := p.attach(p.begin(), a)
	p.settle()
	answer := out.Remote()
	if n := answer.Unsettled.Len(); n == 0 || n == 100 || !answer.IncompleteUnsettled {
		t.Fatalf("%d of 100, incomplete is %v", n, answer.IncompleteUnsettled)
	}
	if _, err := out.Send(Outgoing{Tag: []byte("new")}); !errors.Is(err, ErrNoCredit) {
		t.Errorf("a new delivery: %v", err)
	}
	send(t, out, Outgoing{Tag: []byte(tags[0]), Resume: true, Settled: true})
	p.settle()
	if n := b.memory.Len(); n != 99 {
		t.Errorf("%d are left", n)
	}
	out.remote = &frame.Attach{Target: answer.Target} // as if it had been complete
	p.client.log = nil
	send(t, out, Outgoing{Tag: []byte("new")})
	p.settle()
	p.is(p.client, "detached up true amqp:illegal-state")
	if n := p.server.links[0].Suspend().Len(); n != 99 {
		t.Errorf("%d are left", n)
	}
}

// A sender that gets an incomplete map sends nothing new [AMQP 2.7.3], but what it resumes.
func TestSenderWithAnIncompleteMap(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	a := receiver("down")
	a.Unsettled, a.IncompleteUnsettled = unsettled([]string{"a"}, nil), true
	p.server.attach = func(l *Link) {
		if err := l.Accept(frame.Attach{Unsettled: unsettled([]string{"a"}, nil)}); err != nil {
			t.Error(err)
		}
	}
	in := p.attach(p.begin(), a)
	in.Grant(10)
	p.settle()
	out := p.server.links[0]
	if _, err := out.Send(Outgoing{Tag: []byte("new")}); !errors.Is(err, ErrNoCredit) {
		t.Errorf("a new delivery: %v", err)
	}
	if d, err := out.Send(Outgoing{Tag: []byte("a"), Resume: true, Settled: true, State: accepted}); d != nil || err != nil {
		t.Error(d, err)
	}
}

// Who attaches anew is not held up by what the peer thinks that there was, and takes no resumed delivery for a message [AMQP 2.7.3].
func TestMapThatNobodyAskedFor(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.server.attach = func(l *Link) {
		if l.Sender() {
			_ = l.Accept(frame.Attach{Unsettled: unsettled([]string{"a"}, nil), IncompleteUnsettled: true})
			return
		}
		l.memory = &Memory{}
		a := frame.Attach{Name: l.name, Source: l.remote.Source, Target: l.remote.Target,
			Unsettled: unsettled([]string{"a"}, map[string]frame.State{"a": accepted}), IncompleteUnsettled: true}
		if err := l.sendAttach(&a); err != nil {
			t.Error(err)
		}
		l.incomplete = false
		l.Grant(10)
	}
	s := p.begin()
	up, down := p.attach(s, sender("up")), p.attach(s, receiver("down"))
	down.Grant(10)
	p.settle()
	p.is(p.client, "attached up", "attached down")
	send(t, up, Outgoing{Tag: []byte("a"), Payload: []byte("new")})
	send(t, p.server.links[1], Outgoing{Tag: []byte("a"), Payload: []byte("old"), Resume: true})
	p.settle()
	p.is(p.client, "settled a accepted true")
	if fmt.Sprint(p.server.got, p.client.got) != "[new] []" || p.server.log[len(p.server.log)-1] != "settled a released true" {
		t.Error(p.server.got, p.client.got, p.server.log)
	}
}

// The outcome of a delivery that is resumed is told wherever the link is by then, from any goroutine, and once.
func TestOutcomeMeetsResumption(t *testing.T) {
	for i := range 200 {
		a := sender("up")
		b := breakUp(t, a, "a")
		a.Unsettled = unsettled([]string{"a"}, nil)
		done := make(chan struct{})
		d := b.held["a"]
		go func() {
			defer close(done)
			d.Settle(accepted)
		}()
		if i%2 == 0 {
			<-done
		}
		p, out := b.again(t, a, Config{})
		send(t, out, Outgoing{Tag: []byte("a"), Resume: true})
		p.settle()
		if i%3 == 0 { // and cut again
			p.server.c.Lost(errors.New("cut"))
			b.memory = p.server.links[0].Suspend()
			p, out = b.again(t, a, Config{})
			if told(out.Remote().Unsettled) == "" { // it was told, and the answer is lost: mode first
				<-done
				continue
			}
			send(t, out, Outgoing{Tag: []byte("a"), Resume: true})
		}
		<-done
		p.settle()
		p.is(p.client, "settled a accepted true")
		if len(p.server.got) > 0 {
			t.Fatal("it came again")
		}
	}
}
