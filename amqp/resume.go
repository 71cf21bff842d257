package amqp

import (
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
)

// A lease is how long a link is kept that the client has left without closing it: until the time-out is over, which begins with what the
// policy says [AMQP 3.5.3, 3.5.6].
type lease struct {
	policy  frame.Symbol
	timeout time.Duration
}

// lease returns what is granted of what a client asks for: never more than ResumeTimeout, and never is as long as that.
func (c *ListenerConfig) lease(policy frame.Symbol, seconds uint32) lease {
	l := lease{policy, min(time.Duration(seconds)*time.Second, c.ResumeTimeout)}
	switch {
	case c.ResumeTimeout == 0:
		l.policy = frame.ExpireLinkDetach
	case policy == frame.ExpireNever:
		l = lease{frame.ExpireConnectionClose, c.ResumeTimeout}
	}
	return l
}

// leaseSource does the same for a source, in which it then says so. A source that is kept holds the partitions of its records, so that is
// only done for who asks for a time. That a group has a position needs nothing to be kept here, and never ends.
func (c *ListenerConfig) leaseSource(s *frame.Source) lease {
	l := c.lease(s.ExpiryPolicy, s.Timeout)
	if s.Timeout == 0 || l.timeout == 0 {
		l = lease{policy: frame.ExpireLinkDetach}
	}
	if s.ExpiryPolicy != frame.ExpireNever {
		s.ExpiryPolicy = l.policy
	}
	s.Timeout, s.Durable = l.seconds(), min(s.Durable, frame.DurableConfiguration)
	return l
}

// seconds is the time-out as it is told.
func (l lease) seconds() uint32 { return uint32(l.timeout / time.Second) }

// outlives reports whether the link is kept at all when it is left; over says that its session is gone.
func (l lease) outlives(over bool) bool {
	return l.timeout > 0 || l.policy == frame.ExpireConnectionClose || l.policy == frame.ExpireSessionEnd && !over
}

// suspend keeps a link that the client has left for as long as it was granted.
func (c *conn) suspend(k linkKey, from owner, p past, of lease, session *engine.Session) {
	s := c.l.links.suspend(k, from, p, of, session)
	if s == nil || of.policy == frame.ExpireLinkDetach {
		return
	}
	c.left = append(slices.DeleteFunc(c.left, (*suspended).isOver), s)
}

// Ended begins the time-outs of the links that were to outlive the session.
func (c *conn) Ended(session *engine.Session, _ *frame.Error) {
	for _, s := range c.left {
		if s.session == session && s.lease.policy == frame.ExpireSessionEnd {
			s.ends()
		}
	}
}

// endLeases begins the time-outs of the links that were to outlive the connection.
func (c *conn) endLeases() {
	for _, s := range c.left {
		if s.lease.policy == frame.ExpireConnectionClose {
			s.ends()
		}
	}
}

// comeback is what a receiver has to do for deliveries that an earlier attachment of its link has sent [AMQP 2.6.13].
type comeback struct {
	mu      sync.Mutex
	notices []engine.Outgoing   // what the client is to be told of them, when there is credit
	again   map[string]struct{} // tags of those that it gets again, as what it has already
}

// resume goes on where an earlier attachment of the link was: what the client has settled meanwhile is settled, and the rest comes again,
// before anything new. It returns false if that cannot be.
func (r *receiver) resume(old *receiver) bool {
	a := r.link.Remote()
	old.mu.Lock()
	rc := old.receiving
	if rc == nil || a.Unsettled == nil || old.place != r.place || old.start != r.start || r.settled {
		old.mu.Unlock()
		return false
	}
	old.receiving, old.gone = nil, true
	held := old.held
	old.held = nil
	old.mu.Unlock()
	states := make(map[string]frame.State, a.Unsettled.Len())
	for key, value := range a.Unsettled.All() {
		tag, _ := key.Binary()
		var s frame.State
		if !value.IsNull() {
			s, _ = frame.ReadState(value) // the engine has checked it
		}
		states[string(tag)] = s
	}
	r.comeback = &comeback{again: map[string]struct{}{}}
	answer, n := frame.BeginMap(nil), 0
	for _, d := range held {
		s, has := states[string(d.Tag())]
		if has {
			answer = frame.AppendNull(frame.AppendBinary(answer, d.Tag()))
			n++
		} else if a.IncompleteUnsettled {
			r.held = append(r.held, d)
			continue
		}
		r.comeback.add(r, d, &s, has)
	}
	r.answer.Unsettled = frame.EndMap(answer, 0, n)
	r.receiving = rc
	rc.Pass(r)
	r.c.l.stats.Receivers.Add(1)
	r.c.l.stats.Resumed.Add(1)
	return true
}

// add decides about one delivery that the client has, or does not have, in some state.
func (b *comeback) add(r *receiver, d *engine.Delivery, s *frame.State, has bool) {
	outcome := group.Outcome{State: group.Released}
	notice := engine.Outgoing{Tag: slices.Clone(d.Tag()), Resume: true}
	switch {
	case !has: // whether it has come, and was settled, nobody knows
		outcome = group.Outcome{State: group.Modified, DeliveryFailed: true}
	case s.Kind.Outcome():
		outcome = r.outcomeOf(s)
		notice.Settled, notice.State = true, *s
		b.notices = append(b.notices, notice)
	case s.Kind == frame.Received && (s.SectionNumber > 0 || s.SectionOffset > 0): // we have not the rest, but all of it
		notice.Aborted = true
		b.notices = append(b.notices, notice)
	default:
		b.again[string(d.Tag())] = struct{}{}
	}
	record := d.User.(*group.Delivery)
	d.Settle(frame.State{})
	record.Settle(outcome)
}

// told tells the client what it is to be told, and reports whether that is all. Any goroutine.
func (b *comeback) told(link *engine.Link) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.notices {
		if _, err := link.Send(b.notices[i]); err != nil {
			b.notices = b.notices[i:]
			return false
		}
	}
	b.notices = nil
	return true
}

// has reports whether the client has the delivery of a tag.
func (b *comeback) has(tag []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.again[string(tag)]
	return ok
}

// done says that it has it again.
func (b *comeback) done(tag []byte) {
	b.mu.Lock()
	delete(b.again, string(tag))
	b.mu.Unlock()
}
