package client

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
)

// outbox is the way down: a sender for each address, and all messages that were taken and are not done, the oldest first.
type outbox struct {
	c       *Client
	caution time.Duration // see sender.wary

	mu         sync.Mutex
	conn       *conn // nil: none, and what is sent is given back
	closed     bool  // nothing is taken any more
	senders    map[string]*sender
	wary       map[string]time.Time // of addresses whose sender has gone, see sender.wary
	attached   int                  // senders that have, or have asked for, a link
	named      int                  // links that there have been
	head, tail *delivery
	n, bytes   int
	vacant     chan struct{} // closed when nothing is left after closed
}

// A delivery is a message for the broker, until it is done.
type delivery struct {
	prev, next *delivery

	wire    *wire // the encoded message, while it waits
	size    int
	expires time.Time // zero: never
	tries   int       // before this one
	done    func(error)
	since   time.Time // when it was taken
	given   time.Time // when the engine took it; zero: it waits
}

var deliveries = sync.Pool{New: func() any { return new(delivery) }}

// free gives d back for another message.
func (d *delivery) free() {
	d.wire.free()
	*d = delivery{}
	deliveries.Put(d)
}

// wire is an encoded message.
type wire struct{ b []byte }

var wires = sync.Pool{New: func() any { return new(wire) }}

// free gives w back for another message. It may be nil.
func (w *wire) free() {
	if w != nil && cap(w.b) <= largeBuffer {
		wires.Put(w)
	}
}

// An outcome is a delivery that is over, and how. It is told when the outbox is not locked.
type outcome struct {
	d   *delivery
	err error
}

// Send takes a message for the broker. Its topic is the address. done gets nil when the broker has accepted it; a permanent error with
// the broker's condition if it has rejected it, or does not let us send there; [linkspan.ErrClosed] if Run has ended before; and any
// other error if the broker has given it back, the connection was lost, or there is none. What is behind a message that was given back
// is given back, too, so that who has them can send all of them again in their order (P3).
func (c *Client) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	place, err := parsePlace(m.Topic)
	if err != nil {
		c.stats.Refused.Add(1)
		done(linkspan.ErrInvalidTopic)
		return
	}
	d := deliveries.Get().(*delivery)
	d.wire = wires.Get().(*wire)
	d.wire.b = c.codecDown(m.Record.Topic).Append(d.wire.b[:0], m, codec.Annotate{})
	d.size, d.expires, d.tries, d.done, d.since = len(d.wire.b), m.Expires, m.Tries, done, time.Now()
	o := &c.out
	o.mu.Lock()
	over := o.take(d, m, place)
	o.mu.Unlock()
	c.finish(over)
}

// Room reports whether there is a connection, and a Send now stays within MaxInFlight and MaxInFlightBytes.
func (c *Client) Room(*linkspan.Message) bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conn != nil && !o.closed && o.n < c.cfg.MaxInFlight && o.bytes < c.cfg.MaxInFlightBytes
}

// take takes a message, or returns why not. The caller has mu.
func (o *outbox) take(d *delivery, m *linkspan.Message, p place) []outcome {
	o.c.stats.Queued.Add(1)
	switch {
	case o.closed:
		return []outcome{{d, linkspan.ErrClosed}}
	case o.conn == nil:
		return []outcome{{d, errAway}}
	}
	s := o.senders[m.Topic]
	if s == nil {
		s = o.newSender(strings.Clone(m.Topic), p)
	}
	if s.behind(m) {
		return []outcome{{d, errBehind}}
	}
	o.add(d)
	if len(s.waiting) == 0 {
		if later, err := s.offer(d); err != nil {
			return o.over(nil, d, err)
		} else if !later {
			return nil
		}
	}
	s.waiting = append(s.waiting, d)
	return nil
}

func (o *outbox) add(d *delivery) {
	if d.prev = o.tail; o.tail == nil {
		o.head = d
		o.c.stats.oldest.Store(d.since.UnixNano())
	} else {
		o.tail.next = d
	}
	o.tail = d
	o.n++
	o.bytes += d.size
}

// over takes a delivery out, and adds to those that are over. The caller has mu.
func (o *outbox) over(all []outcome, d *delivery, err error) []outcome {
	o.remove(d)
	return append(all, outcome{d, err})
}

// remove takes a delivery out. The caller has mu.
func (o *outbox) remove(d *delivery) {
	if d.prev == nil {
		if o.head = d.next; o.head == nil {
			o.c.stats.oldest.Store(0)
		} else {
			o.c.stats.oldest.Store(o.head.since.UnixNano())
		}
	} else {
		d.prev.next = d.next
	}
	if d.next == nil {
		o.tail = d.prev
	} else {
		d.next.prev = d.prev
	}
	d.prev, d.next = nil, nil
	o.n--
	o.bytes -= d.size
	if o.n == 0 && o.closed {
		close(o.vacant)
	}
}

// finish tells the senders what became of their messages. The caller does not have the outbox locked.
func (c *Client) finish(over []outcome) {
	for _, o := range over {
		c.finishOne(o.d, o.err)
	}
}

func (c *Client) finishOne(d *delivery, err error) {
	s := &c.stats
	s.Queued.Add(-1)
	switch {
	case err == nil:
		s.Delivered.Add(1)
	case err == errExpired: // as it would be on any other way
		s.Expired.Add(1)
		err = nil
	case linkspan.IsPermanent(err):
		s.Refused.Add(1)
	default:
		s.Returned.Add(1)
	}
	done := d.done
	d.free()
	done(err)
}

// begin has messages sent over a connection.
func (o *outbox) begin(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn, o.senders = c, map[string]*sender{}
	if o.wary == nil { // else who looked for room before the last connection was lost, and sends now, would get ahead (P3)
		o.wary = map[string]time.Time{}
	}
	o.attached = 0
}

// end has no more sent over it, and gives back what waits for a link. What is on its way is given back when the engine ends the links.
func (o *outbox) end(c *conn) {
	o.mu.Lock()
	var over []outcome
	for address, s := range o.senders {
		over = s.giveBack(over, errLost)
		if s.link == nil {
			delete(o.senders, address)
		}
	}
	o.conn = nil
	o.mu.Unlock()
	o.c.finish(over)
}

// close lets nothing more in, and gives back what was not sent.
func (o *outbox) close() {
	o.mu.Lock()
	var over []outcome
	if !o.closed {
		o.closed, o.vacant = true, make(chan struct{})
		if o.n == 0 {
			close(o.vacant)
		}
		for _, s := range o.senders {
			over = s.giveBack(over, linkspan.ErrClosed)
		}
	}
	o.mu.Unlock()
	o.c.finish(over)
}

// empty returns what is closed when nothing is left. The outbox is closed.
func (o *outbox) empty() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.vacant
}

// attend looks after time, and returns when it wants to be called again. It is the driver's.
func (o *outbox) attend(c *conn, now time.Time) time.Time {
	next := now.Add(o.c.cfg.LinkIdle / 4)
	var over []outcome
	o.mu.Lock()
	if o.conn != c {
		o.mu.Unlock()
		return next
	}
	late := false
	for d := o.head; d != nil && !late; d = d.next {
		late = !d.given.IsZero() && c.waited(d.given)
	}
	for _, s := range o.senders {
		switch {
		case s.link == nil:
			s.attach(now)
		case len(s.waiting) > 0 && s.flying == 0 && c.waited(s.used) && c.waited(s.waiting[0].since):
			over = s.giveBack(over, errStuck)
		case s.idle() && now.Sub(s.used) > o.c.cfg.LinkIdle:
			s.leave()
		}
	}
	o.mu.Unlock()
	o.c.finish(over)
	if late {
		c.fail(failed(CauseTimeout, "the broker has not settled a message within %v", o.c.cfg.AckTimeout))
	}
	return next
}
