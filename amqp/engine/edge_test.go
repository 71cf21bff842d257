package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

// connected is a pair with a link from the client to the server, and credit.
func connected(t *testing.T, client, server Config, a frame.Attach) (p *pair, local, remote *Link) {
	t.Helper()
	p = newPair(t, client, server)
	local = p.attach(p.begin(), a)
	p.settle()
	remote = p.server.links[0]
	if local.Sender() {
		remote.Grant(10)
	} else {
		local.Grant(10)
	}
	p.settle()
	p.client.log = nil
	return p, local, remote
}

func send(t *testing.T, l *Link, m Outgoing) *Delivery {
	t.Helper()
	d, err := l.Send(m)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// An outcome that is on its way when the link is detached still counts.
func TestOutcomeMeetsDetach(t *testing.T) {
	p, out, _ := connected(t, Config{}, Config{}, sender("up"))
	send(t, out, Outgoing{Tag: []byte("a")})
	p.step(p.client, p.server, &p.toServer) // and the server accepts
	out.Detach(true, nil)
	p.settle()
	p.is(p.client, "settled a accepted true", "detached up true -")
	if err := p.server.err; err != nil {
		t.Error(err)
	}
}

// A sender that may not send is told when it may, whatever the reason.
func TestWaiting(t *testing.T) {
	p, out, in := connected(t, Config{MaxOutput: 2000}, Config{}, sender("up"))
	in.Grant(1000)
	p.settle()
	refused, woken := false, 0
	p.client.flow = func(*Link) { woken++ }
	for range 30 {
		if _, err := out.Send(Outgoing{Tag: []byte("a"), Payload: make([]byte, 100)}); err != nil {
			refused = errors.Is(err, ErrWindow)
			break
		}
	}
	if !refused || out.Credit() == 0 {
		t.Fatal("all was taken")
	}
	p.toServer = p.client.c.Output(p.toServer)
	if woken != 0 || !p.client.c.Stirred() {
		t.Error("told by Output")
	}
	p.client.c.Resume()
	if woken != 1 {
		t.Error(woken)
	}
	p.settle()

	// One that waits and ends is not told, and not remembered.
	p, out, _ = connected(t, Config{}, Config{IncomingWindow: 1}, sender("up"))
	send(t, out, Outgoing{Tag: []byte("a"), Payload: []byte("x")})
	if _, err := out.Send(Outgoing{Tag: []byte("b")}); !errors.Is(err, ErrWindow) {
		t.Fatal(err)
	}
	if len(out.s.waiting) != 1 {
		t.Fatal("it does not wait")
	}
	out.Detach(true, nil)
	p.client.flow = func(*Link) { t.Error("told after its end") }
	p.settle()
	if len(out.s.waiting) != 0 {
		t.Error("it still waits")
	}
}

func TestLimits(t *testing.T) {
	p := newPair(t, Config{ChannelMax: 2, HandleMax: 1}, Config{ChannelMax: 1, HandleMax: 2, MaxMessageSize: 100, MaxFrameSize: 512})
	s := p.begin()
	p.settle()
	p.begin()
	if _, err := p.client.c.Begin(); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
	out := p.attach(s, sender("a"))
	if _, err := s.Attach(sender("a"), p.client); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	large := sender("b")
	large.Target.Address = frame.Some(strings.Repeat("x", 600))
	if _, err := s.Attach(large, p.client); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	p.attach(s, sender("b"))
	if _, err := s.Attach(sender("c"), p.client); !errors.Is(err, ErrLimit) && s.handleMax == 1 {
		t.Error(err)
	}
	if _, err := out.Send(Outgoing{}); !errors.Is(err, ErrDetached) {
		t.Error(err) // it has not been answered
	}
	p.settle()
	p.server.links[0].Grant(1)
	p.settle()
	if _, err := out.Send(Outgoing{Payload: make([]byte, 101)}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := out.Send(Outgoing{Tag: make([]byte, 33)}); err == nil {
		t.Error("a long tag")
	}
	if _, err := p.server.links[0].Send(Outgoing{}); !errors.Is(err, ErrDetached) {
		t.Error("a receiver sends", err)
	}
	s.End(nil)
	if _, err := s.Attach(sender("d"), p.client); !errors.Is(err, ErrDetached) {
		t.Error(err)
	}
	p.client.c.Close(nil)
	if _, err := p.client.c.Begin(); !errors.Is(err, ErrDetached) {
		t.Error(err)
	}
	p.settle()
}

// A link may be decided later, and not any more when the peer has given up.
func TestDecidedLater(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.server.attach = func(*Link) {}
	s := p.begin()
	p.attach(s, receiver("down"))
	p.settle()
	p.is(p.client)
	down := p.server.links[0]
	told := 0
	p.server.flow = func(*Link) { told++ }
	if err := down.Accept(frame.Attach{}); err != nil {
		t.Fatal(err)
	}
	if err := down.Accept(frame.Attach{}); !errors.Is(err, ErrDetached) {
		t.Error("accepted twice", err)
	}
	p.settle()
	p.is(p.client, "attached down")

	r := opened(t, Config{})
	r.server.attach = func(*Link) {}
	r.say(0, attachOf("up", 0))
	r.say(0, &frame.Detach{Closed: true})
	if got := r.said(frame.CodeDetach); got != "" || len(r.frames) != 2 {
		t.Error(got, len(r.frames))
	}
	if err := r.server.links[0].Accept(frame.Attach{}); !errors.Is(err, ErrDetached) {
		t.Error(err)
	}
	if len(r.hear()) != 0 {
		t.Error("something more was said")
	}

	// An answer that does not fit is a refusal that does.
	r = newRaw(t, Config{})
	r.bytes([]byte(frame.ProtocolAMQP))
	r.say(0, &frame.Open{ContainerID: "peer", MaxFrameSize: 512})
	r.say(0, &frame.Begin{HandleMax: 9})
	large := attachOf("up", 0)
	large.Target.Address = frame.Some(strings.Repeat("x", 600))
	r.server.attach = func(l *Link) {
		if err := l.Accept(frame.Attach{}); !errors.Is(err, ErrTooLarge) {
			t.Error(err)
		}
	}
	r.say(0, large)
	if got := r.said(frame.CodeDetach); got != frame.FrameSizeTooSmall {
		t.Error(got)
	}
}

// The books are right whatever is removed in whatever order, also when the ids start again at 0 [AMQP 2.8.10].
func TestLedger(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var g ledger
		id := uint32(1<<32 - 500)
		want := map[uint32]*Delivery{}
		var order []uint32
		most := 0
		for range 3000 {
			if rnd.IntN(5) < 2+int(seed%2) {
				d := &Delivery{id: id}
				g.add(d)
				want[id] = d
				order = append(order, id)
				id++
			} else if len(order) > 0 {
				i := rnd.IntN(len(order))
				if seed%3 == 0 {
					i = 0
				}
				g.remove(want[order[i]])
				delete(want, order[i])
				order = append(order[:i], order[i+1:]...)
			}
			most = max(most, g.live)
			check(t, &g, order, want, id-uint32(rnd.IntN(600)), uint32(rnd.IntN(50)))
		}
		if len(g.entries) > 4*most {
			t.Errorf("%d entries for at most %d deliveries", len(g.entries), most)
		}
	}
}

func check(t *testing.T, g *ledger, order []uint32, want map[uint32]*Delivery, from, span uint32) {
	t.Helper()
	var first *Delivery
	for _, id := range order {
		if id-from <= span {
			first = want[id]
			break
		}
	}
	if got := g.after(from, from+span); got != first {
		t.Fatalf("%d to %d: got %v, want %v", from, from+span, got, first)
	}
	if g.live != len(want) {
		t.Fatalf("%d live, want %d", g.live, len(want))
	}
}

// What several links have not finished together is bounded, too.
func TestPartialOfAll(t *testing.T) {
	p := newPair(t, Config{}, Config{MaxFrameSize: 1000, MaxPartial: 2000, IncomingWindow: 3})
	s := p.begin()
	var links []*Link
	for i := range 3 {
		links = append(links, p.attach(s, sender(fmt.Sprint(i))))
		p.settle()
		p.server.links[i].Grant(1)
		p.settle()
	}
	r := 0
	for _, l := range links {
		if d, err := l.Send(Outgoing{Tag: []byte("a"), Payload: make([]byte, 3000)}); err == nil && d != nil {
			r++
		}
	}
	p.settle()
	if c := p.server.c; c.kept > 2000 {
		t.Errorf("%d bytes are kept", c.kept)
	}
	if r == 0 || !strings.Contains(fmt.Sprint(p.client.log), string(frame.ResourceLimitExceeded)) {
		t.Error(r, p.client.log)
	}
}

// A sender that drains says so itself, also if there is nothing to drain [AMQP 2.6.7].
func TestDrainIsAnswered(t *testing.T) {
	for credit := range uint32(3) {
		r := opened(t, Config{})
		down := receiver("down")
		r.say(0, &down)
		r.server.flow = func(l *Link) {
			if l.Draining() {
				send(t, l, Outgoing{Tag: []byte("a")})
				l.Drained()
			}
		}
		r.hear()
		r.say(0, &frame.Flow{IncomingWindow: 9, Handle: frame.Some[uint32](0), LinkCredit: frame.Some(credit), Drain: true})
		var f frame.Flow
		frames := r.hear()
		if err := f.Decode(frames[len(frames)-1].Body); err != nil {
			t.Fatal(err)
		}
		if !f.Drain || !f.LinkCredit.OK || f.LinkCredit.V != 0 || f.DeliveryCount.V != credit || len(frames) != 1+int(min(credit, 1)) {
			t.Errorf("%d: %+v", credit, f)
		}
	}
}

// What is on its way to a link that was detached is discarded, whole deliveries and parts, and the session goes on
// [AMQP 2.6.5].
func TestOnItsWay(t *testing.T) {
	part := func(change func(t *frame.Transfer)) *frame.Transfer {
		p := &frame.Transfer{Payload: make([]byte, 100)}
		change(p)
		return p
	}
	first := func(p *frame.Transfer) { p.DeliveryID, p.DeliveryTag, p.More = frame.Some[uint32](0), []byte{1}, true }
	for name, end := range map[string]func(r *raw){
		"too large":   func(r *raw) { r.say(0, part(func(p *frame.Transfer) { p.Payload, p.More = make([]byte, 1000), true })) },
		"our own":     func(r *raw) { r.server.links[0].Detach(true, nil) },
		"another tag": func(r *raw) { r.say(0, part(func(p *frame.Transfer) { p.DeliveryTag, p.More = []byte{2}, true })) },
	} {
		r := linked(t, Config{MaxMessageSize: 1000})
		r.say(0, attachOf("other", 1))
		r.server.links[1].Grant(1)
		r.hear()
		r.say(0, part(first))
		end(r)
		r.say(0, part(func(p *frame.Transfer) { p.More = true }))
		r.say(0, part(func(*frame.Transfer) {}))
		r.say(0, transfer(1))
		other := transfer(2)
		other.Handle = 1
		r.say(0, other)
		if len(r.server.got) != 1 || r.server.got[0] != "x" || r.said(frame.CodeEnd) != "" {
			t.Errorf("%s: got %q, told %v", name, r.server.got, r.server.log)
		}
		if n := r.server.links[0].s.in.live; n != 0 {
			t.Errorf("%s: %d are in the books", name, n)
		}
	}
}
