package client

import (
	"context"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A delivery is a message for the broker, until it is done.
type delivery struct {
	prev, next *delivery

	wire    []byte // a PUBLISH of MQTT 5, with any packet identifier
	qos     linkspan.QoS
	expires time.Time // zero: never
	done    func(error)

	since  time.Time // when it was accepted
	stage  stage
	id     uint16    // 0: none yet
	flying bool      // of QoS 1 or 2, given to the connection that is open
	given  time.Time // when that was
	deaths int       // connections that it was alone on and that the broker closed
}

// stage is how far a delivery is.
type stage byte

const (
	waiting  stage = iota
	sent           // perhaps on its way
	received       // PUBREC came [MQTT-4.3.3-4]
)

var (
	deliveries = sync.Pool{New: func() any { return new(delivery) }}
	publishes  = sync.Pool{New: func() any { return new(packet.Publish) }}
)

// outbox is the way down: all messages that were accepted and are not done, in order (P3). Guarded by the worker's mu.
type outbox struct {
	head, tail *delivery
	cursor     *delivery // the first that the connection has not been given; nil: it has all
	n, bytes   int
	flying     int         // of QoS 1 and 2, given to the connection and not acknowledged
	flying2    int         // those of QoS 2
	slots      []*delivery // by packet identifier; a power of two
	lastID     uint16
	request    uint16 // packet identifier of a SUBSCRIBE or UNSUBSCRIBE; 0: none
	losses     int    // connections that the broker closed, one after the other, without acknowledging anything
	closed     bool   // nothing is accepted any more
	empty      chan struct{}

	publish packet.Publish // to encode with
}

func newOutbox(most int) outbox {
	size := 1
	for size <= most {
		size *= 2
	}
	return outbox{slots: make([]*delivery, size), empty: make(chan struct{})}
}

// An outcome is a delivery that is over, and how. It is told when w.mu is free.
type outcome struct {
	d   *delivery
	err error
}

// Send takes a message for the broker, connected or not, and keeps a copy. done gets nil when the broker has acknowledged it
// [MQTT 4.3], for QoS 0 when it is written; a permanent error that says why if the broker, or a limit that it has set, refuses the
// message; and [linkspan.ErrClosed] if Run has ended before. After a lost connection messages are sent again in their order.
func (c *Client) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	d := deliveries.Get().(*delivery)
	if err := d.encode(m); err != nil {
		d.free()
		c.stats.Refused.Add(1)
		done(err)
		return
	}
	d.done, d.since = done, time.Now()
	w := c.workers[0]
	w.mu.Lock()
	if w.out.closed {
		w.mu.Unlock()
		d.free()
		done(linkspan.ErrClosed)
		return
	}
	w.out.append(d)
	c.stats.Queued.Add(1)
	w.look()
	over := w.pump()
	w.mu.Unlock()
	c.finish(over)
}

// Room reports whether a Send now stays within MaxInFlight and MaxInFlightBytes.
func (c *Client) Room(*linkspan.Message) bool {
	w := c.workers[0]
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.n < c.cfg.MaxInFlight && w.out.bytes < c.cfg.MaxInFlightBytes
}

// encode copies a message.
func (d *delivery) encode(m *linkspan.Message) error {
	if packet.ValidTopicName(m.Topic) != nil {
		return linkspan.ErrInvalidTopic
	}
	p := publishes.Get().(*packet.Publish)
	defer publishes.Put(p)
	p.Topic, p.Payload, p.QoS, p.Retain, p.PacketID = m.Topic, m.Payload, m.QoS, m.Retain, 1
	envelope.Write(&p.Properties, m)
	d.qos, d.expires = m.QoS, m.Expires
	if d.wire = p.Append(d.wire[:0], packet.V5); len(d.wire) == 0 {
		return errBroken
	}
	return nil
}

// free gives d back for another message.
func (d *delivery) free() {
	wire := d.wire[:0]
	if cap(wire) > 64<<10 {
		wire = nil
	}
	*d = delivery{wire: wire}
	deliveries.Put(d)
}

// finish tells the senders what became of their messages. The caller does not have w.mu.
func (c *Client) finish(over []outcome) {
	for _, o := range over {
		c.finishOne(o.d, o.err)
	}
}

func (c *Client) finishOne(d *delivery, err error) {
	c.stats.Queued.Add(-1)
	switch {
	case err == nil:
		c.stats.Delivered[d.qos].Add(1)
	case err == errExpired: // as it would be on any other way
		c.stats.Expired.Add(1)
		err = nil
	case linkspan.IsPermanent(err):
		c.stats.Refused.Add(1)
	}
	done := d.done
	d.free()
	done(err)
}
