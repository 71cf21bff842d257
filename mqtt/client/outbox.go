package client

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
)

func (o *outbox) append(d *delivery) {
	if d.prev = o.tail; o.tail == nil {
		o.head = d
	} else {
		o.tail.next = d
	}
	o.tail = d
	if o.cursor == nil {
		o.cursor = d
	}
	o.n++
	o.bytes += len(d.wire)
}

// remove takes d out, and frees its packet identifier.
func (o *outbox) remove(d *delivery) {
	if o.cursor == d {
		o.cursor = d.next
	}
	if d.prev == nil {
		o.head = d.next
	} else {
		d.prev.next = d.next
	}
	if d.next == nil {
		o.tail = d.prev
	} else {
		d.next.prev = d.prev
	}
	d.prev, d.next = nil, nil
	if d.id != 0 {
		o.slots[o.slot(d.id)] = nil
	}
	if d.flying {
		o.flying--
		o.flying2 -= int(d.qos / 2)
	}
	o.n--
	o.bytes -= len(d.wire)
	if o.n == 0 && o.closed {
		close(o.empty)
	}
}

func (o *outbox) slot(id uint16) int { return int(id) & (len(o.slots) - 1) }

// number returns a packet identifier that is not in use [MQTT-2.2.1-3].
func (o *outbox) number() uint16 {
	for {
		if o.lastID++; o.lastID != 0 && o.lastID != o.request && o.slots[o.slot(o.lastID)] == nil {
			return o.lastID
		}
	}
}

// limit is how many messages of QoS 1 and 2 may be in flight [MQTT-4.9.0-1]. After losses that a message may be to blame for it
// is one, to find out which.
func (w *worker) limit() int {
	if w.out.losses >= suspicious {
		return 1
	}
	return min(w.c.cfg.MaxInFlight, int(w.conn.limits.ReceiveMaximum), maxFlying)
}

// maxFlying leaves packet identifiers for two requests: the last one's is not used again before the next has its own.
const maxFlying = math.MaxUint16 - 2

// full reports whether d has to wait until others are acknowledged.
func (w *worker) full(d *delivery) bool {
	o := &w.out
	return d.qos > 0 && o.flying >= w.limit() || d.qos == 2 && o.flying2 >= maxQoS2 && w.conn.version < packet.V5
}

// maxQoS2 bounds what a broker of MQTT 3 has in flight of QoS 2. It cannot tell its own limit, and Mosquitto, whose limit is 20 as it
// comes, acknowledges what is beyond and throws it away.
const maxQoS2 = 10

// A broker of MQTT 3 cannot refuse a message but by closing the connection [MQTT-3.3.5-2]. After so many connections that were
// closed before anything was acknowledged, messages are sent one by one; and one that was alone on so many is refused.
const (
	suspicious = 2
	deadly     = 3
)

// pump gives the connection what it may have now. The caller has w.mu, and finishes what is returned when it does not any more.
func (w *worker) pump() (over []outcome) {
	c, o := w.conn, &w.out
	if c == nil || c.shut || c.draining.Load() {
		return nil
	}
	for d := o.cursor; d != nil; d = o.cursor {
		if w.full(d) {
			break
		}
		if err := w.transmit(c, d); err != nil {
			o.remove(d)
			over = append(over, outcome{d, err})
			continue
		}
		o.cursor = d.next
	}
	c.kick()
	if over != nil {
		w.look()
	}
	return over
}

// errExpired takes a message out that is of no more use [MQTT-3.3.2-5].
var errExpired = errors.New("expired")

// transmit writes a delivery's next packet. It returns an error if there is none to write.
func (w *worker) transmit(c *conn, d *delivery) error {
	o, now := &w.out, time.Now()
	if d.stage == received { // [MQTT-4.4.0-1]
		ack := packet.Ack{Type: packet.PUBREL, PacketID: d.id}
		c.out = ack.Append(c.out, c.version)
		o.fly(d, now)
		return nil
	}
	p := &o.publish
	raw, _, _, err := packet.Cut(d.wire, 0)
	if err == nil {
		err = p.Decode(packet.V5, raw)
	}
	if err != nil {
		return linkspan.Permanent(fmt.Errorf("the message cannot be written as an MQTT packet: %w", err))
	}
	if !d.expires.IsZero() {
		left := d.expires.Sub(now)
		if left <= 0 && d.stage == waiting {
			return errExpired
		}
		envelope.WriteExpiry(&p.Properties, left)
	}
	w.downgrade(c, d, p)
	if c.version < packet.V5 {
		p.Properties.Reset()
	}
	if size := p.Size(c.version); size > packet.MaxSize || c.limits.MaxPacketSize > 0 && size > int(c.limits.MaxPacketSize) { // [MQTT-3.2.2-15]
		return fmt.Errorf("%w: %d bytes, and the broker takes %d", linkspan.ErrTooLarge, size, c.limits.MaxPacketSize)
	}
	again := d.stage == sent
	if p.PacketID = 0; p.QoS > 0 {
		if d.id == 0 {
			d.id = o.number()
			o.slots[o.slot(d.id)] = d
		}
		p.PacketID, p.Dup = d.id, again // [MQTT-3.3.1-1]
		o.fly(d, now)
		c.sent = true
	} else {
		c.unwritten = append(c.unwritten, d)
	}
	c.out = p.Append(c.out, c.version)
	if d.stage = sent; again {
		w.c.stats.Redone.Add(1)
	} else {
		w.c.stats.Sent[p.QoS].Add(1)
		w.expectEcho(c, p, now)
	}
	return nil
}

func (o *outbox) fly(d *delivery, now time.Time) {
	d.flying, d.given = true, now
	o.flying++
	o.flying2 += int(d.qos / 2)
}

// downgrade takes off what the broker does not have [MQTT-3.2.2-11], [MQTT-3.2.2-14]. The first time on a connection is logged.
func (w *worker) downgrade(c *conn, d *delivery, p *packet.Publish) {
	d.qos = p.QoS
	if p.QoS <= c.limits.MaximumQoS && (!p.Retain || c.limits.Retain) {
		return
	}
	p.QoS, p.Retain = min(p.QoS, c.limits.MaximumQoS), p.Retain && c.limits.Retain
	d.qos = p.QoS
	w.c.stats.Downgraded.Add(1)
	if !c.lowered {
		c.lowered = true
		w.log.Warn("the broker has no such quality of service, or no retained messages: messages are sent without",
			"maximum_qos", c.limits.MaximumQoS, "retain", c.limits.Retain)
	}
}

// acknowledged is for a PUBACK, PUBREC or PUBCOMP. One for an identifier that is not in use says nothing: it is answered as the
// protocol wants, and that is all.
func (w *worker) acknowledged(c *conn, a *packet.Ack) {
	w.mu.Lock()
	o := &w.out
	d := o.slots[o.slot(a.PacketID)]
	known := d != nil && d.id == a.PacketID && d.flying
	switch a.Type {
	case packet.PUBREC:
		known = known && d.qos == 2
		if known && a.Reason.Failed() {
			break
		}
		if known {
			d.stage = received
			c.acked, o.losses = true, 0
		}
		release := packet.Ack{Type: packet.PUBREL, PacketID: a.PacketID} // [MQTT-4.3.3-4]
		if !known {
			release.Reason = packet.PacketIdentifierNotFound
		}
		c.acknowledge(release)
		w.mu.Unlock()
		return
	case packet.PUBACK:
		known = known && d.qos == 1
	case packet.PUBCOMP:
		known = known && d.qos == 2 && d.stage == received
	}
	if !known {
		w.mu.Unlock()
		return
	}
	c.acked, o.losses = true, 0
	o.remove(d)
	w.look()
	over := w.pump()
	w.mu.Unlock()
	w.c.finishOne(d, verdict(a))
	w.c.finish(over)
}

// verdict is what an acknowledgement says of the message. PUBCOMP cannot refuse it any more.
func verdict(a *packet.Ack) error {
	switch {
	case !a.Reason.Failed() || a.Type == packet.PUBCOMP:
		return nil
	case a.Reason == packet.PacketIdentifierInUse: // the two sides disagree on the session; the message itself is good
		return &refused{reason: a.Reason}
	}
	return linkspan.Permanent(&refused{a.Reason, string([]byte(a.Properties.ReasonString))})
}

// written is for QoS 0 messages that the system has taken.
func (w *worker) written(qos0 []*delivery) {
	if len(qos0) == 0 {
		return
	}
	w.mu.Lock()
	for _, d := range qos0 {
		w.out.remove(d)
	}
	w.look()
	w.mu.Unlock()
	for _, d := range qos0 {
		w.c.finishOne(d, nil)
	}
}

// begin prepares for a new connection: all goes again, in order. What the broker has of the session keeps its packet identifier.
func (o *outbox) begin(present bool) {
	for d := o.head; d != nil; d = d.next {
		d.flying = false
		if !present && d.id != 0 {
			o.slots[o.slot(d.id)] = nil
			d.id, d.stage = 0, waiting
		}
		if d.qos == 0 {
			d.stage = waiting
		}
	}
	o.cursor, o.flying, o.flying2, o.request = o.head, 0, 0, 0
}

// blame looks for a message that the broker closes the connection for, when it has closed c. It returns the one that has been found
// guilty. The caller has w.mu.
func (o *outbox) blame(c *conn) *delivery {
	switch {
	case c.acked:
		o.losses = 0
	case c.sent && o.flying > 0 && !c.failure.blameless():
		o.losses++
		for d := o.head; d != nil && o.flying == 1; d = d.next {
			if d.flying {
				if d.deaths++; d.deaths >= deadly {
					o.remove(d)
					return d
				}
				break
			}
		}
	}
	return nil
}

// overdue reports whether a message was given to the broker before limit, and it has not said anything of it since. Time during which
// we did not listen does not count.
func (w *worker) overdue(limit, listened time.Time) bool {
	if listened.After(limit) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := w.out.head; d != nil; d = d.next {
		if d.flying {
			return d.given.Before(limit)
		}
	}
	return false
}

// look notes for the statistics since when the oldest message waits. The caller has w.mu.
func (w *worker) look() {
	var at int64
	if w.out.head != nil {
		at = w.out.head.since.UnixNano()
	}
	w.c.stats.oldest.Store(at)
}

// close lets nothing more in, and returns what was never given to a connection.
func (o *outbox) close() (over []outcome) {
	if o.closed {
		return nil
	}
	for d := o.head; d != nil; {
		next := d.next
		if d.stage == waiting {
			o.remove(d)
			over = append(over, outcome{d, linkspan.ErrClosed})
		}
		d = next
	}
	o.closed = true
	if o.n == 0 {
		close(o.empty)
	}
	return over
}

// abandon returns what is left when there will be no other connection.
func (o *outbox) abandon() (over []outcome) {
	for o.head != nil {
		d := o.head
		o.remove(d)
		over = append(over, outcome{d, linkspan.ErrClosed})
	}
	return over
}
