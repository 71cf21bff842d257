package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A client pipelines all it has, without waiting for an answer [AMQP 2.4.2].
func TestMessagesBothWays(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	s := p.begin()
	out, in := p.attach(s, sender("up")), p.attach(s, receiver("down"))
	in.Grant(10)
	p.server.attach = func(l *Link) {
		if err := l.Accept(frame.Attach{}); err != nil {
			t.Error(err)
		}
		l.Grant(10)
	}
	p.settle()
	p.is(p.client, "attached up", "attached down")
	if p.server.c.Remote().ContainerID != "client" || p.client.c.Remote().ContainerID != "server" {
		t.Error("who is who?")
	}

	d, err := out.Send(Outgoing{Tag: []byte("a"), Payload: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Unsettled(); len(got) != 1 || got[0] != d {
		t.Error(got)
	}
	if d, err := p.server.links[1].Send(Outgoing{Tag: []byte("b"), Payload: []byte("there"), Settled: true}); err != nil || d != nil {
		t.Fatal(d, err)
	}
	p.settle()
	p.is(p.client, "settled a accepted true")
	p.is(p.server)
	if fmt.Sprint(p.server.got, p.client.got) != "[hello] [there]" {
		t.Error(p.server.got, p.client.got)
	}
	if out.Credit() != 9 || in.Credit() != 9 {
		t.Error(out.Credit(), in.Credit())
	}

	out.Detach(true, nil)
	p.server.links[1].Detach(false, &frame.Error{Condition: frame.ResourceDeleted})
	p.settle()
	p.is(p.client, "detached down false amqp:resource-deleted", "detached up true -")
	p.is(p.server, "detached up true -", "detached down false -")
	s.End(nil)
	p.settle()
	p.is(p.client, "ended -")
	p.is(p.server, "ended -")
	p.client.c.Close(nil)
	p.settle()
	p.is(p.client, "closed -")
	p.is(p.server, "closed -")
	if !p.client.c.Done() || !p.server.c.Done() {
		t.Error("not done")
	}
}

// What is not ended one by one ends with what it belongs to.
func TestEndsAreInherited(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.attach(p.begin(), sender("up"))
	p.settle()
	p.server.c.Close(&frame.Error{Condition: frame.ConnectionForced, Description: strings.Repeat("é", 500)})
	p.settle()
	p.is(p.client, "attached up", "detached up false amqp:connection:forced", "ended amqp:connection:forced", "closed amqp:connection:forced")
	p.is(p.server, "detached up false -", "ended -", "closed -")

	p = newPair(t, Config{}, Config{})
	s := p.begin()
	l := p.attach(s, sender("up"))
	p.settle()
	s.End(&frame.Error{Condition: frame.InternalError})
	p.settle()
	p.is(p.client, "attached up", "detached up false -", "ended -")
	p.is(p.server, "detached up false amqp:internal-error", "ended amqp:internal-error")
	if _, err := l.Send(Outgoing{}); !errors.Is(err, ErrDetached) {
		t.Error(err)
	}
	lost := errors.New("gone")
	p.server.c.Lost(lost)
	p.server.c.Lost(lost)
	if !errors.Is(p.server.err, lost) {
		t.Error(p.server.err)
	}
}

func TestSASL(t *testing.T) {
	checker := &sasl.Checker{
		Mechanisms: []string{sasl.ScramSHA512, sasl.ScramSHA256, sasl.Plain, sasl.External},
		Password:   func(user string) (string, bool) { return "secret", user == "someone" },
	}
	for _, c := range []struct {
		credentials sasl.Credentials
		external    string
		user        string
		err         error
	}{
		{sasl.Credentials{User: "someone", Password: "secret"}, "", "someone", nil},
		{sasl.Credentials{User: "someone", Password: "secret", Mechanisms: []string{sasl.ScramSHA256}}, "", "someone", nil},
		{sasl.Credentials{User: "someone", Password: "secret", Mechanisms: []string{sasl.Plain}}, "", "someone", nil},
		{sasl.Credentials{Certificate: true}, "device", "device", nil},
		{sasl.Credentials{User: "someone", Password: "wrong"}, "", "", sasl.ErrDenied},
		{sasl.Credentials{User: "someone", Password: "wrong", Mechanisms: []string{sasl.Plain}}, "", "", sasl.ErrDenied},
		{sasl.Credentials{}, "", "", sasl.ErrMechanism},
	} {
		p := newPair(t, Config{Credentials: &c.credentials}, Config{Checker: checker, External: c.external})
		p.attach(p.begin(), sender("up"))
		p.settle()
		if c.err != nil {
			if !errors.Is(p.client.err, c.err) {
				t.Errorf("%v: %v", c.credentials.User, p.client.err)
			}
			continue
		}
		p.is(p.client, "attached up")
		if got := p.server.c.Username(); got != c.user {
			t.Errorf("%q, want %q", got, c.user)
		}
	}
}

// [AMQP 2.6.10]
func TestDrain(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	s := p.begin()
	in := p.attach(s, receiver("down"))
	in.Grant(5)
	p.settle()
	out := p.server.links[0]
	p.server.flow = func(l *Link) {
		if l.Draining() {
			if _, err := l.Send(Outgoing{Tag: []byte("a"), Payload: []byte("last")}); err != nil {
				t.Error(err)
			}
			l.Drained()
		}
	}
	drained := false
	p.client.flow = func(l *Link) { drained = l.Credit() == 0 }
	in.Drain()
	if out.Draining() {
		t.Error("before it was asked")
	}
	p.settle()
	if !drained || out.Credit() != 0 || fmt.Sprint(p.client.got) != "[last]" {
		t.Error(drained, out.Credit(), p.client.got)
	}
	if _, err := out.Send(Outgoing{}); !errors.Is(err, ErrNoCredit) {
		t.Error(err)
	}
	in.Grant(2)
	p.settle()
	if out.Draining() || out.Credit() != 2 {
		t.Error(out.Draining(), out.Credit())
	}
	in.Withdraw()
	p.settle()
	if out.Credit() != 0 {
		t.Error(out.Credit())
	}
}

// A message of many frames goes through small frames and small windows, and is whole at the other end [AMQP 2.6.14].
func TestLargeMessages(t *testing.T) {
	p := newPair(t, Config{MaxFrameSize: 512}, Config{MaxFrameSize: 600, IncomingWindow: 3})
	out := p.attach(p.begin(), sender("up"))
	p.settle()
	p.server.links[0].Grant(100)
	p.settle()
	want := strings.Repeat("0123456789", 10_000)
	waits := 0
	p.client.flow = func(*Link) { waits++ }
	if _, err := out.Send(Outgoing{Tag: []byte("a"), Payload: []byte(want)}); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Send(Outgoing{Tag: []byte("b"), Payload: []byte(want)}); !errors.Is(err, ErrWindow) {
		t.Fatal(err)
	}
	p.settle()
	if waits != 1 {
		t.Error(waits)
	}
	if len(p.server.got) != 1 || p.server.got[0] != want {
		t.Error("another message")
	}
	p.is(p.client, "attached up", "settled a accepted true")
}

// With receiver settle mode second the receiver settles after the sender has [AMQP 2.6.12].
func TestReceiverSettlesSecond(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	a := sender("up")
	a.ReceiverSettleMode = frame.ReceiveSecond
	out := p.attach(p.begin(), a)
	p.settle()
	p.server.links[0].Grant(100)
	p.settle()
	if _, err := out.Send(Outgoing{Tag: []byte("a"), Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	p.settle()
	p.is(p.client, "attached up", "settled a accepted false")
	if n := p.server.links[0].s.in.live + out.s.out.live; n != 0 {
		t.Errorf("%d are still in the books", n)
	}

	// A sender that does not settle gets no more credit for it.
	p.client.settled = func(*Link, *Delivery) {}
	p.server.take = func(l *Link, d *Delivery, _ []byte) {
		d.Settle(accepted)
		l.Grant(1)
	}
	for {
		if _, err := out.Send(Outgoing{Tag: []byte("a"), Payload: []byte("x")}); err != nil {
			break
		}
		p.settle()
	}
	if n := p.server.links[0].Outstanding(); n > 100 || out.Outstanding() != n {
		t.Errorf("%d are held", n)
	}
	for _, d := range out.Unsettled() {
		d.Settle(frame.State{})
	}
	p.settle()
	if out.Credit() < 50 || out.Outstanding()+p.server.links[0].Outstanding() != 0 {
		t.Errorf("credit %d, %d are held", out.Credit(), p.server.links[0].Outstanding())
	}
}

// A rejection tells why, and whatever is told is cut to what fits.
func TestOutcomes(t *testing.T) {
	p := newPair(t, Config{MaxFrameSize: 512}, Config{})
	out := p.attach(p.begin(), sender("up"))
	p.settle()
	p.server.links[0].Grant(100)
	p.settle()
	outcomes := []frame.State{
		{Kind: frame.Rejected, Error: frame.Error{Condition: "some:reason", Description: strings.Repeat("why ", 1000)}},
		{Kind: frame.Released},
		{Kind: frame.Modified, DeliveryFailed: true, UndeliverableHere: true},
	}
	i := 0
	p.server.take = func(_ *Link, d *Delivery, _ []byte) {
		d.Update(frame.State{Kind: frame.Received, SectionNumber: 1})
		d.Settle(outcomes[i])
		i++
	}
	var got []frame.State
	p.client.settled = func(_ *Link, d *Delivery) {
		got = append(got, d.Remote())
		if d.RemotelySettled() {
			d.Settle(frame.State{})
		}
	}
	for range outcomes {
		if _, err := out.Send(Outgoing{Tag: []byte("a"), Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
		p.settle()
	}
	if len(got) != 6 || got[0].Kind != frame.Received || got[1].Error.Condition != "some:reason" || got[3].Kind != frame.Released || !got[5].UndeliverableHere {
		t.Errorf("%+v", got)
	}
}

// A link with the same name takes the place of the one before [AMQP 2.6.1].
func TestStealing(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	s, other := p.begin(), p.begin()
	p.attach(s, sender("up"))
	p.settle()
	p.attach(other, sender("up"))
	p.attach(other, receiver("up")) // of the other direction: another link
	p.settle()
	p.is(p.client, "attached up", "detached up false amqp:link:stolen", "attached up", "attached up")
	p.is(p.server, "detached up false amqp:link:stolen")
}

// A link that is refused is attached without a terminus, and detached [AMQP 2.6.3].
func TestRefusal(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	p.server.attach = func(l *Link) { l.Refuse(&frame.Error{Condition: frame.NotFound}) }
	s := p.begin()
	p.attach(s, sender("up"))
	p.attach(s, receiver("down"))
	p.settle()
	p.is(p.client, "detached up true amqp:not-found", "detached down true amqp:not-found")
	if p.server.c.links+p.client.c.links+p.server.c.kept+len(p.server.c.names) != 0 {
		t.Error("something is left")
	}
	p.server.opened = func(*Conn) error { return &frame.Error{Condition: frame.UnauthorizedAccess} }
	p = newPair(t, Config{}, Config{})
	p.server.opened = func(*Conn) error { return &frame.Error{Condition: frame.UnauthorizedAccess} }
	p.begin()
	p.settle()
	p.is(p.client, "ended amqp:unauthorized-access", "closed amqp:unauthorized-access")
}

// AKB-A3: 100,000 unsettled messages pass a link with a credit of 100, whatever order they are settled in.
func TestCreditOf100(t *testing.T) {
	p := newPair(t, Config{}, Config{})
	out := p.attach(p.begin(), sender("up"))
	p.settle()
	in := p.server.links[0]
	in.Grant(100)
	const all = 100_000 / slowdown
	sent, settled := 0, 0
	var held []*Delivery
	p.server.take = func(_ *Link, d *Delivery, _ []byte) { held = append(held, d) }
	send := func(l *Link) {
		for sent < all {
			if _, err := l.Send(Outgoing{Tag: fmt.Appendf(nil, "%d", sent), Payload: []byte("payload")}); err != nil {
				return
			}
			sent++
		}
	}
	p.client.flow = send
	p.client.settled = func(_ *Link, d *Delivery) {
		settled++
		d.Settle(frame.State{})
	}
	most := 0
	for settled < all {
		before := settled
		p.settle()
		most = max(most, len(held))
		for i := len(held) - 1; i >= 0; i-- {
			held[i].Settle(accepted)
			in.Grant(1)
		}
		held = held[:0]
		p.settle()
		if settled == before && len(held) == 0 {
			t.Fatalf("stuck after %d", settled)
		}
	}
	if most > 100 {
		t.Errorf("%d at once", most)
	}
	if n := in.s.in.live + out.s.out.live; n != 0 || len(out.Unsettled()) != 0 {
		t.Errorf("%d are still in the books", n)
	}
}
