package engine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

// TestRandomSchedules has two sides do whatever comes to their minds, over wires that cut the bytes anywhere, and checks
// that each message arrives once, whole, in the order of its link and has one outcome, and that nothing is left in the end.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(150 / slowdown) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { newSchedule(t, seed).run() })
	}
}

// schedule is one of them.
type schedule struct {
	*pair
	links  []*lane
	byLink map[*Link]*lane
	victim *Link   // one that is detached again and again, by either end
	ends   []*Link // the other ends of those
}

// lane is a link seen from both ends.
type lane struct {
	out, in  *Link
	sent     int // messages
	got      int
	outcomes int
	settled  int // sent settled
	held     []*Delivery
	pending  []*Delivery // whose outcome the sender knows
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	rnd := rand.New(rand.NewPCG(seed, 6))
	config := func() Config {
		return Config{
			MaxFrameSize:   512 + uint32(rnd.IntN(2000)),
			IncomingWindow: 1 + uint32(rnd.IntN(20)),
			MaxOutput:      1000 + rnd.IntN(5000),
		}
	}
	p := &schedule{pair: newPair(t, config(), config()), byLink: map[*Link]*lane{}}
	p.rnd = rnd
	for _, s := range []*side{p.client, p.server} {
		s.take = p.take
		s.settled = p.outcome
		s.flow = p.drain
	}
	return p
}

// message returns the n-th message of a link.
func message(n int) []byte { return []byte(strings.Repeat(fmt.Sprintf("%d.", n), 1+n*n%700)) }

func (p *schedule) take(l *Link, d *Delivery, payload []byte) {
	k := p.byLink[l]
	if k == nil {
		d.Settle(accepted)
		return
	}
	if string(payload) != string(message(k.got)) || string(d.Tag()) != fmt.Sprint(k.got) {
		p.t.Fatalf("%s: message %d is another one", l.Name(), k.got)
	}
	k.got++
	k.held = append(k.held, d)
}

func (p *schedule) outcome(l *Link, d *Delivery) {
	k := p.byLink[l]
	if k == nil {
		d.Settle(frame.State{})
		return
	}
	if kind := d.Remote().Kind; kind == frame.Received {
		return // is not final
	}
	k.outcomes++
	k.pending = append(k.pending, d)
}

func (p *schedule) drain(l *Link) {
	if l.Sender() && l.Draining() && p.rnd.IntN(2) == 0 {
		l.Drained()
	}
}

func (p *schedule) run() {
	var sessions []*Session
	for range 1 + p.rnd.IntN(3) {
		sessions = append(sessions, p.begin())
	}
	for i := range 1 + p.rnd.IntN(6) {
		a := sender(fmt.Sprint("link", i))
		if p.rnd.IntN(2) == 0 {
			a = receiver(a.Name)
		}
		a.SenderSettleMode = frame.SenderSettleMode(p.rnd.IntN(3))
		a.ReceiverSettleMode = frame.ReceiverSettleMode(p.rnd.IntN(2))
		p.links = append(p.links, p.join(p.attach(sessions[p.rnd.IntN(len(sessions))], a)))
	}
	p.server.attach = func(l *Link) {
		p.ends = append(p.ends, l)
		if err := l.Accept(frame.Attach{}); err == nil {
			l.Grant(5)
		}
	}
	for range 3000 {
		p.disturb(sessions)
		p.act(p.links[p.rnd.IntN(len(p.links))])
	}
	p.finish(sessions)
}

// join makes the lane of a link, when its other end is there.
func (p *schedule) join(l *Link) *lane {
	p.settle()
	other := p.server.links[len(p.server.links)-1]
	k := &lane{out: l, in: other}
	if !l.Sender() {
		k.out, k.in = other, l
	}
	p.byLink[l], p.byLink[other] = k, k
	return k
}

// disturb does something to the victim. What becomes of its messages is nobody's business, but its session goes on.
func (p *schedule) disturb(sessions []*Session) {
	switch p.rnd.IntN(20) {
	case 0:
		if l, err := sessions[p.rnd.IntN(len(sessions))].Attach(sender("victim"), p.client); err == nil {
			p.victim = l // which takes the place of the one before, if there is one
		}
	case 1, 2, 3:
		if p.victim != nil {
			_, _ = p.victim.Send(Outgoing{Tag: []byte("v"), Payload: message(p.rnd.IntN(30))})
		}
	case 4:
		if len(p.ends) > 0 {
			p.ends[len(p.ends)-1].Detach(p.rnd.IntN(2) == 0, nil)
		}
	case 5:
		if p.victim != nil && p.rnd.IntN(3) == 0 {
			p.victim.Detach(true, nil)
		}
	}
}

func (p *schedule) act(k *lane) {
	switch p.rnd.IntN(10) {
	case 0, 1, 2:
		p.send(k)
	case 3:
		k.in.Grant(uint32(p.rnd.IntN(8)))
	case 4, 5:
		p.settleOne(k)
	case 6:
		if len(k.held) > 0 && p.rnd.IntN(4) == 0 {
			k.held[p.rnd.IntN(len(k.held))].Update(frame.State{Kind: frame.Received})
		}
		if p.rnd.IntN(10) == 0 {
			k.in.Drain()
		}
	case 7, 8:
		p.step(p.client, p.server, &p.toServer)
	case 9:
		p.step(p.server, p.client, &p.toClient)
	}
}

func (p *schedule) send(k *lane) {
	d, err := k.out.Send(Outgoing{Tag: fmt.Append(nil, k.sent), Payload: message(k.sent), Settled: p.rnd.IntN(3) == 0})
	switch {
	case errors.Is(err, ErrNoCredit), errors.Is(err, ErrWindow):
		return
	case err != nil:
		p.t.Fatal(err)
	case d == nil:
		k.settled++
	}
	k.sent++
}

// settleOne settles a delivery of either end.
func (p *schedule) settleOne(k *lane) {
	if n := len(k.held); n > 0 {
		i := p.rnd.IntN(n)
		k.held[i].Settle([]frame.State{accepted, {Kind: frame.Released}, {Kind: frame.Rejected}}[p.rnd.IntN(3)])
		k.held = append(k.held[:i], k.held[i+1:]...)
	}
	for _, d := range k.pending {
		d.Settle(d.Remote())
	}
	k.pending = k.pending[:0]
}

func (p *schedule) finish(sessions []*Session) {
	for range 10 {
		p.settle()
		for _, k := range p.links {
			for len(k.held)+len(k.pending) > 0 {
				p.settleOne(k)
			}
		}
	}
	for i, k := range p.links {
		if k.got != k.sent || k.outcomes != k.sent-k.settled {
			p.t.Errorf("link %d: %d sent, %d of them settled, %d arrived, %d outcomes", i, k.sent, k.settled, k.got, k.outcomes)
		}
		if len(k.out.Unsettled())+len(k.in.Unsettled()) > 0 {
			p.t.Errorf("link %d: something is not settled", i)
		}
		k.in.Detach(p.rnd.IntN(2) == 0, nil)
	}
	if p.victim != nil {
		p.victim.Detach(true, nil)
		for _, d := range p.victim.Unsettled() {
			d.Settle(frame.State{})
		}
	}
	p.settle()
	for _, c := range []*Conn{p.client.c, p.server.c} {
		for _, s := range c.local {
			if s.in.live+s.out.live != 0 {
				p.t.Errorf("%d deliveries are left in the books", s.in.live+s.out.live)
			}
		}
		if c.links+c.kept+len(c.names) != 0 {
			p.t.Errorf("%d links, %d bytes, %d names are left", c.links, c.kept, len(c.names))
		}
	}
	for _, s := range sessions {
		s.End(nil)
	}
	p.client.c.Close(nil)
	p.settle()
	if !p.client.over || !p.server.over || p.client.err != nil || p.server.err != nil {
		p.t.Error(p.client.err, p.server.err)
	}
}
