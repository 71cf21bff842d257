package amqptest

import (
	"encoding/binary"
	"slices"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A queue is one address of a broker. Guarded by the broker's mu.
type queue struct {
	b          *Broker
	items      []*item // not accepted yet, in order
	fed        int
	accepted   []string
	rejected   []frame.Error
	released   int
	widest     int // most that were with receivers at a time
	outlets    []*port
	inlets     []*port
	stored     []string           // sent to the queue
	unanswered []*engine.Delivery // held
}

// An item is a message in a queue.
type item struct {
	n       int
	payload string
	at      *port // that has it; nil: it waits
}

// A port is a link of a queue.
type port struct {
	q    *queue
	link *engine.Link
	sent uint64
}

// queue returns the queue of an address. The caller has mu.
func (b *Broker) queue(address string) *queue {
	q := b.queues[address]
	if q == nil {
		q = &queue{b: b}
		b.queues[address] = q
	}
	return q
}

// Feed puts encoded messages into a queue.
func (b *Broker) Feed(address string, payloads ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue(address)
	for _, p := range payloads {
		q.items = append(q.items, &item{n: q.fed, payload: p})
		q.fed++
	}
	q.pump()
}

// Accepted returns what receivers have accepted of a queue, in that order.
func (b *Broker) Accepted(address string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.queue(address).accepted)
}

// Rejected returns why receivers have rejected messages of a queue, which are gone.
func (b *Broker) Rejected(address string) []frame.Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.queue(address).rejected)
}

// Released returns how often receivers have given back a message of a queue.
func (b *Broker) Released(address string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue(address).released
}

// Left returns how many messages of a queue are not accepted or rejected yet, and how many of these receivers have.
func (b *Broker) Left(address string) (all, out int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue(address)
	return len(q.items), q.out()
}

// Widest returns how many messages of a queue receivers have had at a time, at most.
func (b *Broker) Widest(address string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue(address).widest
}

// Stored returns what was sent to a queue, encoded as it came.
func (b *Broker) Stored(address string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.queue(address).stored)
}

func (q *queue) out() (n int) {
	for _, i := range q.items {
		if i.at != nil {
			n++
		}
	}
	return n
}

func (q *queue) outlet(l *engine.Link) *port {
	p := &port{q: q, link: l}
	q.outlets = append(q.outlets, p)
	return p
}

func (q *queue) inlet(l *engine.Link) *port {
	p := &port{q: q, link: l}
	q.inlets = append(q.inlets, p)
	return p
}

// pump sends what waits to who has credit. The caller has mu.
func (q *queue) pump() {
	for _, i := range q.items {
		for _, p := range q.outlets {
			if i.at == nil {
				p.send(i)
			}
		}
		if i.at == nil {
			break // nothing goes past it
		}
	}
	q.widest = max(q.widest, q.out())
}

func (p *port) send(i *item) {
	tag := binary.BigEndian.AppendUint64(nil, p.sent)
	if _, err := p.link.Send(engine.Outgoing{Tag: tag, Payload: []byte(i.payload), User: i}); err == nil {
		p.sent++
		i.at = p
	}
}

var _ engine.LinkHandler = (*port)(nil)

// Attached is for links that the broker asks for: there are none.
func (p *port) Attached(*engine.Link) {}

// Flow goes on with what waits.
func (p *port) Flow(l *engine.Link) {
	p.q.b.mu.Lock()
	defer p.q.b.mu.Unlock()
	p.q.pump()
}

// Transfer takes a message for the queue.
func (p *port) Transfer(l *engine.Link, d *engine.Delivery, payload []byte) {
	b := p.q.b
	b.mu.Lock()
	defer b.mu.Unlock()
	switch b.mode {
	case Reject:
		d.Settle(frame.State{Kind: frame.Rejected, Error: b.rejection})
	case Release:
		d.Settle(frame.State{Kind: frame.Released})
	case Hold:
		p.q.stored = append(p.q.stored, string(payload))
		p.q.unanswered = append(p.q.unanswered, d)
		return
	default:
		p.q.stored = append(p.q.stored, string(payload))
		d.Settle(frame.State{Kind: frame.Accepted})
	}
	l.Grant(1)
}

// Settled takes the receiver's outcome.
func (p *port) Settled(_ *engine.Link, d *engine.Delivery) {
	state := d.Remote()
	if !d.RemotelySettled() {
		return
	}
	i := d.User.(*item)
	d.Settle(frame.State{})
	q := p.q
	q.b.mu.Lock()
	defer q.b.mu.Unlock()
	i.at = nil
	switch state.Kind {
	case frame.Accepted, frame.Rejected:
		q.items = slices.DeleteFunc(q.items, func(o *item) bool { return o == i })
		if state.Kind == frame.Accepted {
			q.accepted = append(q.accepted, i.payload)
		} else {
			q.rejected = append(q.rejected, state.Error)
		}
	default:
		q.released++
		q.pump()
	}
}

// Detached puts back what the receiver had, and forgets what the sender was not told.
func (p *port) Detached(l *engine.Link, _ bool, _ *frame.Error) {
	q := p.q
	q.b.mu.Lock()
	defer q.b.mu.Unlock()
	q.outlets = slices.DeleteFunc(q.outlets, func(o *port) bool { return o == p })
	q.inlets = slices.DeleteFunc(q.inlets, func(o *port) bool { return o == p })
	for _, d := range l.Unsettled() {
		if i, ok := d.User.(*item); ok {
			i.at = nil
		}
		q.unanswered = slices.DeleteFunc(q.unanswered, func(o *engine.Delivery) bool { return o == d })
		d.Settle(frame.State{})
	}
	q.pump()
}
