package engine

import "github.com/linkspan/linkspan/amqp/frame"

// event is something that a handler is to be told, by the driver's goroutine and with nothing locked.
type event struct {
	kind   eventKind
	closed bool
	l      *Link
	s      *Session
	d      *Delivery
	err    *frame.Error
}

type eventKind uint8

const (
	attaching eventKind = iota
	attached
	flowed
	settled
	detached
	ended
)

// post has a handler told. It needs mu.
func (c *Conn) post(e event) { c.events = append(c.events, e) }

// Stirred reports whether a handler is to be told something: the driver is to call Resume.
func (c *Conn) Stirred() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.events) > 0
}

// run tells the handlers what there is to tell, in order. What comes up meanwhile comes last.
func (c *Conn) run() {
	for {
		c.mu.Lock()
		if len(c.events) == 0 {
			c.mu.Unlock()
			return
		}
		events := c.events
		c.events = c.spare[:0]
		c.spare = nil
		c.mu.Unlock()
		for i := range events {
			c.handle(&events[i])
		}
		clear(events)
		c.spare = events
	}
}

func (c *Conn) handle(e *event) {
	switch e.kind {
	case attaching:
		c.ask(e.l)
	case attached:
		if e.l.hears() {
			e.l.h.Attached(e.l)
		}
	case flowed:
		if e.l.hears() {
			e.l.h.Flow(e.l)
		}
	case settled:
		c.settle(e.l, e.d)
	case detached:
		if e.l.hears() {
			e.l.h.Detached(e.l, e.closed, e.err)
		}
		e.l.deaf = true
		c.mu.Lock()
		e.l.answer(e.closed)
		c.mu.Unlock()
	case ended:
		c.h.Ended(e.s, e.err)
	}
}

// hears reports whether the link's handler is to be told anything: Detached is the last.
func (l *Link) hears() bool { return l.h != nil && !l.deaf }

// ask asks the handler whether it wants the link.
func (c *Conn) ask(l *Link) {
	l.h = c.h.Attaching(l)
	if l.h == nil {
		l.Refuse(violation(frame.NotAllowed, "such a link is not wanted"))
	}
}

// settle tells the owner of a delivery, unless that has settled it meanwhile.
func (c *Conn) settle(l *Link, d *Delivery) {
	c.mu.Lock()
	finished := d.finished
	c.mu.Unlock()
	if !finished && l.hears() {
		l.h.Settled(l, d)
	}
	c.mu.Lock()
	if d.posted--; d.finished && !d.entered {
		d.recycle()
	}
	c.mu.Unlock()
}

// answer answers the detach of the peer, after the handler has heard of it. It needs mu.
func (l *Link) answer(closed bool) {
	if l.detachGot {
		l.detach(closed, nil)
		l.remove()
	}
}
