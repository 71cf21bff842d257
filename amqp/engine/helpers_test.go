package engine

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/linkspan/linkspan/amqp/frame"
)

// side is a handler that notes what it is told, and accepts every link unless told otherwise.
type side struct {
	t    *testing.T
	c    *Conn
	log  []string
	over bool

	opened  func(c *Conn) error
	attach  func(l *Link) // decides; nil: accepts
	take    func(l *Link, d *Delivery, payload []byte)
	flow    func(l *Link)
	settled func(l *Link, d *Delivery)
	left    func(l *Link, closed bool)

	links []*Link
	got   []string // payloads
	err   error
}

func (s *side) note(format string, args ...any) { s.log = append(s.log, fmt.Sprintf(format, args...)) }

func (s *side) Opened(c *Conn) error {
	if s.opened != nil {
		return s.opened(c)
	}
	return nil
}

func (s *side) Attaching(l *Link) LinkHandler {
	s.links = append(s.links, l)
	if s.attach != nil {
		s.attach(l)
	} else if err := l.Accept(frame.Attach{}); err != nil {
		s.t.Error(err)
	}
	return s
}

func (s *side) Attached(l *Link) { s.note("attached %s", l.Name()) }

func (s *side) Transfer(l *Link, d *Delivery, payload []byte) {
	s.got = append(s.got, string(payload))
	if s.take != nil {
		s.take(l, d, payload)
		return
	}
	d.Settle(accepted)
}

func (s *side) Flow(l *Link) {
	if s.flow != nil {
		s.flow(l)
	}
}

func (s *side) Settled(l *Link, d *Delivery) {
	if s.settled != nil {
		s.settled(l, d)
		return
	}
	s.note("settled %s %v %v", d.Tag(), d.Remote().Kind, d.RemotelySettled())
	d.Settle(frame.State{})
}

func (s *side) Detached(l *Link, closed bool, err *frame.Error) {
	s.note("detached %s %v %s", l.Name(), closed, condition(err))
	if s.left != nil {
		s.left(l, closed)
	}
}

func (s *side) Ended(_ *Session, err *frame.Error) { s.note("ended %s", condition(err)) }

func (s *side) Closed(err error) {
	if s.over {
		s.t.Error("Closed was called twice")
	}
	s.over, s.err = true, err
	var e *frame.Error
	errors.As(err, &e)
	s.note("closed %s", condition(e))
}

func condition(err *frame.Error) frame.Symbol {
	if err == nil {
		return "-"
	}
	return err.Condition
}

var accepted = frame.State{Kind: frame.Accepted}

// now is when all tests happen, since nothing but Tick looks at the clock.
var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// pair is a client and a server that are joined.
type pair struct {
	t              *testing.T
	client, server *side
	rnd            *rand.Rand // cuts what is on its way; nil: nothing is
	toClient       []byte
	toServer       []byte
}

func newPair(t *testing.T, client, server Config) *pair {
	t.Helper()
	p := &pair{t: t, client: &side{t: t}, server: &side{t: t}}
	client.ContainerID, server.ContainerID = "client", "server"
	p.client.c, p.server.c = NewClient(client, p.client), NewServer(server, p.server)
	return p
}

// step carries what there is in one direction, cut where it happens, and reports whether there was something.
func (p *pair) step(from, to *side, wire *[]byte) bool {
	before := len(*wire)
	*wire = from.c.Output(*wire)
	from.c.Resume()
	moved := len(*wire) > before
	n := len(*wire)
	if p.rnd != nil && n > 0 {
		n = 1 + p.rnd.IntN(n)
	}
	used, _, err := to.c.Input((*wire)[:n], now)
	if err != nil && err != io.EOF && to.c.over == nil {
		p.t.Error(err)
	}
	if err != nil {
		used = len(*wire)
	}
	*wire = append((*wire)[:0], (*wire)[used:]...)
	return moved || used > 0 || n < len(*wire)
}

// settle carries all that there is, both ways.
func (p *pair) settle() {
	p.t.Helper()
	for range 1_000_000 {
		a := p.step(p.client, p.server, &p.toServer)
		if b := p.step(p.server, p.client, &p.toClient); !a && !b {
			return
		}
	}
	p.t.Fatal("it never ends")
}

// begin returns a session of the client.
func (p *pair) begin() *Session {
	p.t.Helper()
	s, err := p.client.c.Begin()
	if err != nil {
		p.t.Fatal(err)
	}
	return s
}

func (p *pair) attach(s *Session, a frame.Attach) *Link {
	p.t.Helper()
	l, err := s.Attach(a, p.client)
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// sender is the attach of a sender.
func sender(name string) frame.Attach {
	return frame.Attach{Name: name, Role: frame.Sender, SenderSettleMode: frame.SendMixed,
		Source: &frame.Source{}, Target: &frame.Target{Address: frame.Some(name)}}
}

// receiver is the attach of a receiver.
func receiver(name string) frame.Attach {
	return frame.Attach{Name: name, Role: frame.Receiver, SenderSettleMode: frame.SendMixed,
		Source: &frame.Source{Address: frame.Some(name)}, Target: &frame.Target{}}
}

func (p *pair) is(s *side, want ...string) {
	p.t.Helper()
	if got := fmt.Sprint(s.log); got != fmt.Sprint(want) {
		p.t.Errorf("got %s\nwant %s", got, want)
	}
	s.log = nil
}
