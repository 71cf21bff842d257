package amqp

import (
	"context"
	"strconv"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

var _ engine.Handler = (*conn)(nil)

// Opened says who the client is.
func (c *conn) Opened(e *engine.Conn) error {
	c.container, c.username = e.Remote().ContainerID, e.Username()
	if c.l.server.Draining() {
		return refuse(frame.ConnectionForced, "The listener is stopping")
	}
	c.opened, c.relook = true, true
	c.l.stats.Opened.Add(1)
	return nil
}

// Closed counts how the connection ended.
func (c *conn) Closed(err error) {
	s := &c.l.stats
	switch _, condition := err.(*frame.Error); {
	case !c.opened:
		s.Failed.Add(1)
	case condition:
		s.Errors.Add(1)
	case err != nil:
		s.Gone.Add(1)
	}
	if c.opened {
		s.Opened.Add(-1)
	}
	c.endLeases()
	c.l.log.Debug("connection ended", "container", c.container, "remote", c.RemoteAddr(), "reason", err)
}

// Attaching gives a link its meaning, or refuses it.
func (c *conn) Attaching(link *engine.Link) engine.LinkHandler {
	c.Abandon() // an attach needs more stack than what may follow for hours
	var h engine.LinkHandler
	var err *frame.Error
	switch {
	case c.l.server.Draining():
		err = refuse(frame.DetachForced, "The listener is stopping")
	case c.links >= c.l.cfg.MaxLinks:
		err = refuse(frame.ResourceLimitExceeded, "The connection has reached max_links")
	case link.Sender():
		h, err = c.attachReceiver(link, link.Remote())
	default:
		h, err = c.attachSender(link, link.Remote())
	}
	if err != nil {
		c.refuse(link, err)
		return nil
	}
	c.links++
	return h
}

// refuse answers an attach with an error. Any goroutine.
func (c *conn) refuse(link *engine.Link, err *frame.Error) {
	c.l.stats.Refused.add(err.Condition)
	c.l.log.Debug("link refused", "container", c.container, "link", link.Name(), "err", err)
	link.Refuse(err)
}

// attachSender is for a link over which the client sends.
func (c *conn) attachSender(link *engine.Link, a *frame.Attach) (engine.LinkHandler, *frame.Error) {
	if a.Coordinator != nil {
		return nil, refuse(frame.NotImplemented, "Transactions are not supported")
	}
	target := frame.Target{}
	if a.Target != nil {
		target = *a.Target
	}
	if target.Dynamic {
		return nil, refuse(frame.NotImplemented, "Dynamic nodes are not supported")
	}
	base := ""
	if target.Address.V != "" {
		var err *frame.Error
		if base, err = targetTopic(target.Address.V); err != nil {
			return nil, err
		}
	}
	s := &sender{c: c, link: link, key: c.keyOf(link), base: base, lease: c.l.cfg.lease(target.ExpiryPolicy, target.Timeout)}
	target.ExpiryPolicy, target.Timeout, target.Durable = s.lease.policy, s.lease.seconds(), frame.DurableNone
	from := c.claim(s.key, s)
	if from.memory != nil || s.lease.timeout > 0 {
		link.Remember(from.memory)
	}
	if from.memory != nil && a.Unsettled != nil {
		c.l.stats.Resumed.Add(1)
	}
	s.window = linkspan.NewWindow(int(c.l.cfg.Credit), &c.l.slots, s.settled)
	if err := link.Accept(frame.Attach{Target: &target}); err != nil {
		c.l.links.release(s.key, s)
		return nil, refuse(frame.InternalError, err.Error())
	}
	c.l.stats.Senders.Add(1)
	link.Grant(c.l.cfg.Credit)
	return s, nil
}

// attachReceiver is for a link over which the client receives.
func (c *conn) attachReceiver(link *engine.Link, a *frame.Attach) (engine.LinkHandler, *frame.Error) {
	source := frame.Source{}
	if a.Source != nil {
		source = *a.Source
	}
	if source.Dynamic {
		return nil, refuse(frame.NotImplemented, "Dynamic nodes are not supported")
	}
	place, err := sourcePlace(source.Address.V, c.l.isLive)
	if err != nil {
		return nil, err
	}
	from, filters, err := place.filter(source.Filter)
	if err != nil {
		return nil, err
	}
	source.Filter = filters
	answer := frame.Attach{Source: &source}
	if place.live != "" {
		source.ExpiryPolicy, source.Timeout = frame.ExpireLinkDetach, 0
		return c.attachLive(link, place.live, answer)
	}
	switch {
	case source.DistributionMode == frame.DistributeCopy:
		return nil, refuse(frame.NotImplemented, "Browsing is not supported: read with a group of your own")
	case c.l.parts.Groups == nil:
		return nil, refuse(frame.NotFound, "There are no records of Kafka here")
	}
	settled := a.SenderSettleMode == frame.SendSettled
	if settled { // there is nothing to come back to
		source.Timeout = 0
	}
	r := &receiver{c: c, link: link, key: c.keyOf(link), place: place, start: from, answer: answer, address: source.Address.V,
		codec: c.l.codecDown(place.topic), settled: settled, outcome: source.DefaultOutcome, lease: c.l.cfg.leaseSource(&source)}
	if from := c.claim(r.key, r); from.receiver == nil || !r.resume(from.receiver) {
		from.forget()
		c.join(r)
	} else {
		r.accept()
	}
	return r, nil
}

func (c *conn) keyOf(link *engine.Link) linkKey {
	return linkKey{username: c.username, container: c.container, name: link.Name(), sender: !link.Sender()}
}

// claim takes a link away from where it was, and returns what there is of it.
func (c *conn) claim(k linkKey, to owner) past {
	from, stolen := c.l.links.claim(k, to)
	if stolen {
		c.l.stats.Stolen.Add(1)
	}
	return from
}

// tagOf appends the delivery tag of a record (AKB 4.2).
func tagOf(b []byte, r *linkspan.Record) []byte {
	b = append(strconv.AppendInt(b, int64(r.Partition), 10), '_')
	return strconv.AppendInt(b, r.Offset, 10)
}

// joinTimeout is how long Kafka may take to say what there is to receive.
const joinTimeout = 30 * time.Second

// join has a receiver become a member of its group, after those that asked before.
func (c *conn) join(r *receiver) {
	c.joins.mu.Lock()
	c.joins.list = append(c.joins.list, r)
	start := !c.joins.running
	c.joins.running = true
	c.joins.mu.Unlock()
	if start {
		c.l.running.Go(c.joinAll)
	}
}

// joinAll answers the attaches that wait for Kafka, one after the other.
func (c *conn) joinAll() {
	for {
		c.joins.mu.Lock()
		if len(c.joins.list) == 0 {
			c.joins.list, c.joins.running = nil, false
			c.joins.mu.Unlock()
			return
		}
		r := c.joins.list[0]
		c.joins.list = c.joins.list[1:]
		c.joins.mu.Unlock()
		ctx, cancel := context.WithTimeout(c.l.server.Sending(), joinTimeout)
		r.join(ctx)
		cancel()
	}
}
