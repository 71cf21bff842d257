package client

import (
	"errors"
	"math"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// An inbox is what a worker has received and answers for. It outlives connections: a session goes on, and so do messages that are
// on their way to Kafka. Guarded by the worker's mu, but for opened, which only the reader writes.
type inbox struct {
	ring []receipt // by number; a power of two
	// Messages are numbered as they come. Those below settled are; the acknowledgements of those below written have been
	// handed to the system, or are not due any more.
	opened, settled, written uint64

	// taken are the QoS 1 messages, by packet identifier, that the sink has and no acknowledgement was written for: a session that
	// goes on sends them again. Only those: with the acknowledgement the identifier is free for another message
	// [MQTT-2.2.1-4], and the same content says nothing then.
	taken map[uint16]uint64
	// unreleased are the QoS 2 messages before PUBREL [MQTT-4.3.3-10].
	unreleased map[uint16]unreleased
}

// A receipt is a message that the broker has sent.
type receipt struct {
	conn *conn // to acknowledge it on; nil: not any more
	hash uint64
	id   uint16
	qos  linkspan.QoS
	lost bool // the sink does not have it, or the broker has forgotten it
}

type unreleased struct {
	number uint64
	taken  bool
}

func newInbox(window int) inbox {
	size := 1
	for size < 2*window {
		size *= 2
	}
	return inbox{ring: make([]receipt, size), taken: map[uint16]uint64{}, unreleased: map[uint16]unreleased{}}
}

func (in *inbox) receipt(number uint64) *receipt { return &in.ring[number&uint64(len(in.ring)-1)] }

// full reports whether too many acknowledgements wait to be written.
func (in *inbox) full() bool { return in.opened-in.written >= uint64(len(in.ring)) }

// begin prepares for what the broker sends again on a new connection. Without its session that is nothing.
func (in *inbox) begin(present bool) {
	for n := in.written; n != in.settled && present; n++ {
		if r := in.receipt(n); r.qos == 1 && !r.lost {
			in.taken[r.id] = r.hash
		}
	}
	if !present {
		clear(in.taken)
		clear(in.unreleased)
		for n := in.settled; n != in.opened; n++ {
			r := in.receipt(n)
			r.conn, r.lost = nil, true // its identifier is another message's from now on
		}
	}
	in.written = in.settled
}

// published hands a message on, when there is room (P6).
func (c *conn) published(p *packet.Publish) error {
	if c.draining.Load() {
		c.leaveOut(p) // not acknowledged: the broker sends it again (P8)
		return nil
	}
	if c.version == packet.V5 && p.Properties.Has(packet.TopicAlias) { // [MQTT-3.2.2-17]: we allow none
		return violation(packet.TopicAliasInvalid, "the broker uses a topic alias, which we do not allow")
	}
	done, ok := c.open(p)
	if !ok {
		if done, ok = c.openLater(p); !ok {
			c.leaveOut(p)
			return nil
		}
	}
	if done == nil { // sent again, and known
		return nil
	}
	s := &c.w.c.stats
	s.InFlight.Add(1)
	switch {
	case !c.wants(p):
		s.Unwanted.Add(1)
	case c.repeated(p):
		s.Repeated.Add(1)
	case c.echo(p):
		s.Echoes.Add(1)
	default:
		s.Received[p.QoS].Add(1)
		c.w.c.to.Send(c.w.c.sending, c.fill(p), done)
		return nil
	}
	done(errDropped)
	return nil
}

// leaveOut counts a message that is not taken and does not come again (P2).
func (c *conn) leaveOut(p *packet.Publish) {
	if p.QoS == 0 {
		c.w.c.stats.Abandoned.Add(1)
	}
}

// errDropped settles a message that is not handed to the sink and acknowledged all the same.
var errDropped = errors.New("dropped")

// open opens the window for a message. done is nil for one that is sent again and known. ok is false when there is no room.
func (c *conn) open(p *packet.Publish) (done func(error), ok bool) {
	w := c.w
	if p.QoS > 0 && (p.QoS == 2 || p.Dup) && w.recognise(c, p) {
		w.c.stats.Resent.Add(1)
		return nil, true
	}
	in := &w.in
	if c.full {
		w.mu.Lock()
		c.full = in.full()
		w.mu.Unlock()
	}
	if c.full || !c.roomFor(p) {
		return nil, false
	}
	number := in.opened
	r := receipt{conn: c, id: p.PacketID, qos: p.QoS}
	if p.QoS == 1 {
		r.hash = w.c.echoes.sum(p.Topic, p.Payload)
	}
	if done, ok = w.window.Open(number); !ok {
		return nil, false
	}
	w.mu.Lock()
	*in.receipt(number) = r
	in.opened++
	c.full = in.full()
	if p.QoS == 2 {
		in.unreleased[p.PacketID] = unreleased{number: number}
	}
	if p.QoS > 0 && !p.Dup && len(in.taken) > 0 { // what was to be sent again has been [MQTT-4.6.0-1]
		clear(in.taken)
	}
	w.mu.Unlock()
	return done, true
}

// roomFor reports whether the sink takes p within its bound.
func (c *conn) roomFor(p *packet.Publish) bool {
	if !linkspan.Room(c.w.c.to, nil) {
		return false
	}
	m := &c.message
	m.Reset()
	m.Topic, m.Endpoint = p.Topic, c.w.c.cfg.Name
	return linkspan.Room(c.w.c.to, m)
}

// pressureInterval is how often the sink is asked for room while it has none.
const pressureInterval = 20 * time.Millisecond

// openLater waits for room without reading on, and opens. ok is false when the connection ends or drains before that.
func (c *conn) openLater(p *packet.Publish) (done func(error), ok bool) {
	c.release() // what waits to be written does not wait for the sink
	defer c.hold()
	c.stall()
	defer c.listen()
	tick := time.NewTicker(pressureInterval)
	defer tick.Stop()
	for {
		c.w.mu.Lock()
		c.blocked = true
		c.w.mu.Unlock()
		if done, ok = c.open(p); ok {
			return done, true
		}
		select {
		case <-c.wake:
		case <-tick.C:
		case <-c.ended:
			return nil, false
		}
		if c.draining.Load() {
			return nil, false
		}
	}
}

// recognise reports whether the broker sends again what the sink has or is about to have, and sees to its acknowledgement.
func (w *worker) recognise(c *conn, p *packet.Publish) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	in := &w.in
	if p.QoS == 2 {
		u, ok := in.unreleased[p.PacketID]
		switch {
		case !ok:
			return false
		case u.taken:
			c.acknowledge(packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID})
		default:
			in.receipt(u.number).conn = c
		}
		return true
	}
	hash := w.c.echoes.sum(p.Topic, p.Payload)
	if h, ok := in.taken[p.PacketID]; ok && h == hash {
		delete(in.taken, p.PacketID)
		c.acknowledge(packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID})
		return true
	}
	for n := in.settled; n != in.opened; n++ {
		r := in.receipt(n)
		if r.qos == 1 && r.id == p.PacketID && r.hash == hash && r.conn != nil && !r.conn.broken {
			r.conn = c
			return true
		}
	}
	return false
}

// settled acknowledges a message: in the order in which they came [MQTT-4.6.0-2], and only when the sink answers for it (P1).
// Any goroutine, with the window locked.
func (w *worker) settled(number uint64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in, s := &w.in, &w.c.stats
	in.settled = number + 1
	r := in.receipt(number)
	s.InFlight.Add(-1)
	ack := packet.Ack{Type: packet.PUBACK, PacketID: r.id} // [MQTT-4.3.2-4]
	if r.qos == 2 {
		ack.Type = packet.PUBREC // [MQTT-4.3.3-8]
	}
	switch {
	case err == nil:
		s.Acked[r.qos].Add(1)
	case err == errDropped:
	case linkspan.IsPermanent(err):
		s.Rejected.Add(1)
		r.lost = true
		ack.Reason, _ = envelope.Refusal(err)
	default:
		s.Abandoned.Add(1)
		r.lost = true
	}
	if r.qos > 0 {
		w.answer(r, number, &ack, err)
	}
	r.conn = nil
	if c := w.conn; c != nil {
		if len(c.out) == 0 && !c.shut {
			in.written = in.settled // nothing was to be written
		}
		if c.blocked && in.opened-in.settled <= w.size*3/4 {
			c.blocked = false
			c.awakeReader()
		}
	}
}

// answer writes the acknowledgement of a settled message, or ends the connection where there is none: MQTT 3 has no word for no, and
// what may work the next time is the broker's to send again. The caller has w.mu.
func (w *worker) answer(r *receipt, number uint64, ack *packet.Ack, err error) {
	in, c := &w.in, r.conn
	if u, ok := in.unreleased[r.id]; ok && r.qos == 2 && u.number == number {
		if r.lost {
			delete(in.unreleased, r.id)
		} else {
			in.unreleased[r.id] = unreleased{number, true}
		}
	}
	switch {
	case c == nil: // the broker has forgotten it
	case c.broken: // no acknowledgement may overtake the one that is missing
		r.lost = r.lost || r.qos == 1
	case c != w.conn: // the broker asks again
		if r.qos == 1 && !r.lost {
			in.taken[r.id] = r.hash
		}
	case r.lost && (ack.Reason == 0 || c.version < packet.V5):
		c.broken = true
		f := failed(CauseSink, "a message could not be stored: %w", err)
		f.reason = packet.UnspecifiedError
		c.fail(f)
	default:
		c.acknowledge(*ack)
	}
}

// acknowledge adds an ack. The caller has w.mu.
func (c *conn) acknowledge(ack packet.Ack) {
	if c.shut {
		return
	}
	before := len(c.out)
	c.out = ack.Append(c.out, c.version)
	c.answers += len(c.out) - before
	c.kick()
}

// release answers a PUBREL [MQTT-4.3.3-11].
func (w *worker) release(c *conn, id uint16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ack := packet.Ack{Type: packet.PUBCOMP, PacketID: id}
	if u, ok := w.in.unreleased[id]; !ok {
		ack.Reason = packet.PacketIdentifierNotFound
	} else if u.taken {
		delete(w.in.unreleased, id)
	}
	c.acknowledge(ack)
}

// fill makes a message of a PUBLISH. It borrows the read buffer.
func (c *conn) fill(p *packet.Publish) *linkspan.Message {
	m := &c.message
	m.Reset()
	m.Topic, m.Payload, m.QoS, m.Retain = p.Topic, p.Payload, p.QoS, p.Retain
	m.Endpoint, m.Received = c.w.c.cfg.Name, c.now
	envelope.Read(m, &p.Properties, math.MaxInt)
	envelope.ReadExpiry(m, &p.Properties)
	return m
}
