package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

// A shipper is a client that sends numbered messages over a link that breaks again and again, and does what [AMQP 2.6.13] says each time.
type shipper struct {
	t      *testing.T
	rnd    *rand.Rand
	second bool

	open   []string // tags of what is sent and not settled, the oldest first
	next   int
	memory *Memory        // the server's
	held   []shipped      // of the server: on its way to the store
	store  map[string]int // what has been stored, how often
	done   int            // messages whose outcome the client knows
}

// shipped is a message that has come.
type shipped struct {
	tag string
	d   *Delivery
}

// attach makes a connection and resumes the link, over bytes that are cut anywhere.
func (s *shipper) attach() (p *pair, out *Link) {
	p = newPair(s.t, Config{}, Config{MaxFrameSize: 512 + uint32(s.rnd.IntN(1000))})
	p.rnd = s.rnd
	p.server.attach = func(l *Link) {
		l.Remember(s.memory)
		if err := l.Accept(frame.Attach{}); err != nil {
			s.t.Error(err)
		}
		l.Grant(40)
	}
	p.server.take = func(l *Link, d *Delivery, payload []byte) {
		s.held = append(s.held, shipped{string(payload[:8]), d})
		l.Grant(1)
	}
	p.client.settled = func(_ *Link, d *Delivery) {
		if !d.Remote().Kind.Outcome() {
			return
		}
		s.settled(string(d.Tag()), d.Remote())
		d.Settle(frame.State{})
	}
	a := sender("up")
	if s.second {
		a.ReceiverSettleMode = frame.ReceiveSecond
	}
	a.Unsettled = unsettled(s.open, nil)
	return p, p.attach(p.begin(), a)
}

// settled is an outcome at the client.
func (s *shipper) settled(tag string, state frame.State) {
	for i, o := range s.open {
		if o == tag {
			s.open = append(s.open[:i], s.open[i+1:]...)
			if s.done++; state.Kind != frame.Accepted || s.store[tag] == 0 {
				s.t.Errorf("%s is %s, and stored %d times (P1)", tag, state.Kind, s.store[tag])
			}
			return
		}
	}
	s.t.Errorf("%s has another outcome", tag)
}

func (s *shipper) payload(tag string) []byte {
	return append([]byte(tag), make([]byte, s.rnd.IntN(2000))...)
}

// work does a little at both ends.
func (s *shipper) work(p *pair, out *Link) {
	if s.rnd.IntN(3) > 0 && len(s.open) < 30 {
		tag := fmt.Sprintf("%08d", s.next)
		if _, err := out.Send(Outgoing{Tag: []byte(tag), Payload: s.payload(tag)}); err == nil {
			s.next++
			s.open = append(s.open, tag)
		}
	}
	s.finish(s.rnd.IntN(3))
	p.step(p.client, p.server, &p.toServer)
	if s.rnd.IntN(2) > 0 {
		p.step(p.server, p.client, &p.toClient)
	}
}

// finish stores n messages, in any order.
func (s *shipper) finish(n int) {
	for range min(n, len(s.held)) {
		i := s.rnd.IntN(len(s.held))
		m := s.held[i]
		s.held = append(s.held[:i], s.held[i+1:]...)
		s.store[m.tag]++
		m.d.Settle(accepted)
	}
}

// resume compares the maps.
func (s *shipper) resume(out *Link) {
	theirs := map[string]frame.State{}
	for k, v := range out.Remote().Unsettled.All() {
		tag, _ := k.Binary()
		state, _ := frame.ReadState(v)
		if v.IsNull() {
			state = nothing
		}
		theirs[string(tag)] = state
	}
	for _, tag := range append([]string(nil), s.open...) {
		state, known := theirs[tag]
		m := Outgoing{Tag: []byte(tag), Resume: known}
		if known && state.Kind.Outcome() {
			s.settled(tag, state)
			m.Settled, m.State = true, state
		} else {
			m.Payload = s.payload(tag)
		}
		if _, err := out.Send(m); err != nil {
			s.t.Fatal(err)
		}
	}
}

// [AMQP 2.6.13] The connection is cut at any byte, again and again: nothing is lost or refused, and with receiver settle mode second nothing is
// stored twice.
func TestBreaksAtRandom(t *testing.T) {
	for seed := range uint64(8) {
		s := &shipper{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), second: seed%2 == 0, store: map[string]int{}}
		for range 20 {
			p, out := s.attach()
			for range 10_000 {
				if p.step(p.client, p.server, &p.toServer); p.step(p.server, p.client, &p.toClient) && out.Credit() >= 40 {
					break
				}
			}
			s.resume(out)
			for range s.rnd.IntN(100) {
				s.work(p, out)
			}
			if s.rnd.IntN(2) > 0 { // the server notices late: outcomes are told to nobody
				s.finish(s.rnd.IntN(5))
			}
			if s.rnd.IntN(2) > 0 { // the link is stolen
				s.memory = p.server.links[0].Suspend()
			}
			p.server.c.Lost(errors.New("cut"))
			s.memory = p.server.links[0].Suspend()
		}
		p, out := s.attach()
		p.settle()
		s.resume(out)
		p.settle()
		s.finish(1000)
		p.settle()
		if len(s.open) > 0 || s.done != s.next || s.next < 50 {
			t.Errorf("seed %d: %d of %d done, %v are open", seed, s.done, s.next, s.open)
		}
		twice := 0
		for _, n := range s.store {
			if n > 1 {
				twice++
			}
		}
		if s.second && twice > 0 {
			t.Errorf("seed %d: %d messages are stored twice", seed, twice)
		}
		if n := p.server.links[0].Suspend().Len(); n > 0 {
			t.Errorf("seed %d: %d are remembered in the end", seed, n)
		}
	}
}
