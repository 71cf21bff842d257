package amqp

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
)

// A receiver is a link over which the client receives records of a Kafka topic, for one of its groups. The group hands it
// records as long as it has credit; what the client says of each is the group's business, too.
type receiver struct {
	c       *conn
	link    *engine.Link
	key     linkKey
	place   place
	start   linkspan.Start
	answer  frame.Attach // to the client's, once the group has said yes
	address string       // as the client wrote it
	codec   codec.Codec
	settled bool         // the client wants its messages settled
	outcome frame.State  // of what the client settles without saying how
	open    atomic.Int64 // deliveries that the client has not settled

	lease    lease
	comeback *comeback // what is to be done of an earlier attachment; nil: nothing

	mu        sync.Mutex
	receiving *group.Receiving // nil: not yet, or not any more
	gone      bool
	taken     bool               // the link is over, and what it has not settled is held
	held      []*engine.Delivery // of attachments that are over
}

var (
	_ engine.LinkHandler = (*receiver)(nil)
	_ group.Receiver     = (*receiver)(nil)
)

// join becomes a member, which takes as long as Kafka does, and answers the attach.
func (r *receiver) join(ctx context.Context) {
	l := r.c.l
	if r.hasGone() { // while others were asked for
		return
	}
	var rc *group.Receiving
	var err error
	if r.place.partition == linkspan.AnyPartition {
		rc, err = l.parts.Groups.Join(ctx, r.place.group, r.place.topic, r)
	} else {
		rc, err = l.parts.Groups.Assign(ctx, group.Partition{Topic: r.place.topic, Partition: r.place.partition,
			Group: r.place.group, From: r.start}, r)
	}
	if err != nil {
		r.c.refuse(r.link, joinError(err))
		return
	}
	r.mu.Lock()
	gone := r.gone
	if !gone {
		r.receiving = rc
		l.stats.Receivers.Add(1)
	}
	r.mu.Unlock()
	if gone {
		rc.Leave()
		return
	}
	r.accept()
}

// accept answers the attach.
func (r *receiver) accept() {
	if r.link.Accept(r.answer) == nil { // else Detached comes
		r.resumed()
	}
}

func (r *receiver) hasGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gone
}

// joinError puts into the words of AMQP why there is nothing to receive.
func joinError(err error) *frame.Error {
	switch {
	case errors.Is(err, group.ErrNoPartition):
		return refuse(errNoPartition, "Specified partition doesn't exist: "+err.Error())
	case errors.Is(err, group.ErrTooMany):
		return refuse(frame.ResourceLimitExceeded, err.Error())
	case errors.Is(err, linkspan.ErrClosed):
		return refuse(frame.DetachForced, "The listener is stopping")
	case errors.Is(err, linkspan.ErrNotAuthorized):
		return refuse(frame.UnauthorizedAccess, err.Error())
	case linkspan.IsPermanent(err):
		return refuse(frame.NotFound, err.Error())
	}
	return refuse(errSubscribe, err.Error())
}

// Deliver sends a record, if client and connection have room for it. Any goroutine.
func (r *receiver) Deliver(m *linkspan.Message, d *group.Delivery) (taken bool) {
	l := r.c.l
	if l.server.Draining() || r.link.Credit() == 0 || d.Overtaken() || r.open.Load() >= int64(l.cfg.Unsettled) {
		return false
	}
	w := downs.Get().(*down)
	defer downs.Put(w)
	if routes := l.parts.Routes; routes != nil {
		l.stats.LeftOut.Add(routes.Restore(m))
	}
	payload := w.encode(r.codec, m, d.Count, true)
	w.tag = tagOf(w.tag[:0], &m.Record)
	out := engine.Outgoing{Tag: w.tag, Payload: payload, Settled: r.settled, User: d}
	if b := r.comeback; b != nil {
		out.Resume = b.has(w.tag)
		if !b.told(r.link) {
			return false
		}
	}
	if !r.settled {
		r.opened(1)
	}
	_, err := r.link.Send(out)
	if err != nil && !r.settled {
		r.opened(-1)
	}
	switch {
	case err == nil:
		l.stats.Delivered.Add(1)
		if out.Resume {
			r.comeback.done(w.tag)
		}
		if r.settled {
			d.Settle(group.Outcome{State: group.Accepted})
		}
		if r.link.Credit() == 0 {
			r.link.Drained()
		}
		return true
	case errors.Is(err, engine.ErrTooLarge):
		l.stats.TooLarge.Add(1)
		d.Settle(group.Outcome{State: group.Rejected, Err: r.rejection(refuse(frame.MessageSizeExceeded, err.Error()))})
		return true
	}
	return false // no credit, no room, or the link is going: Flow or Leave follow
}

// opened counts deliveries that are not settled, and returns how many there are.
func (r *receiver) opened(n int64) int64 {
	r.c.l.stats.Unsettled.Add(n)
	if r.c.unsettled.Add(n) == 0 && r.c.l.server.Draining() {
		r.c.Wake()
	}
	return r.open.Add(n)
}

// Idle says that the group has no partition for the client.
func (r *receiver) Idle() {
	if r.c.l.cfg.Surplus == SurplusDetach {
		r.link.Detach(true, refuse(errNoFreePartitions, "All partitions already have a receiver"))
	}
}

// Gone says that the group has ended.
func (r *receiver) Gone(err error) {
	if err == nil || errors.Is(err, linkspan.ErrClosed) {
		r.link.Detach(true, refuse(frame.DetachForced, "The listener is stopping"))
		return
	}
	r.link.Detach(true, joinError(err))
}

// Attached is for links that we ask for: there are none.
func (r *receiver) Attached(*engine.Link) {}

// Transfer does not happen to who sends.
func (r *receiver) Transfer(*engine.Link, *engine.Delivery, []byte) {}

// Flow says that there may be room.
func (r *receiver) Flow(*engine.Link) {
	if r.comeback != nil {
		r.comeback.told(r.link)
	}
	r.resumed()
	if r.link.Draining() {
		r.c.drainSoon(r.link)
	}
}

// resumed says that there is room.
func (r *receiver) resumed() {
	r.mu.Lock()
	rc := r.receiving
	r.mu.Unlock()
	if rc != nil {
		rc.Resume()
	}
}

// Settled says what the client made of a delivery. A state that is no outcome is progress, and nothing to us.
func (r *receiver) Settled(_ *engine.Link, d *engine.Delivery) {
	state := d.Remote()
	if !state.Kind.Outcome() {
		if !d.RemotelySettled() {
			return
		}
		state = r.outcome
	}
	record := d.User.(*group.Delivery)
	outcome := r.outcomeOf(&state)
	if !r.settle(d, state) {
		return
	}
	record.Settle(outcome)
	if r.opened(-1) == int64(r.c.l.cfg.Unsettled)-1 {
		r.resumed()
	}
}

// settle settles a delivery of the link, unless another attachment has it.
func (r *receiver) settle(d *engine.Delivery, state frame.State) bool {
	if r.lease.timeout > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.taken {
			return false
		}
	}
	d.Settle(state)
	return true
}

// outcomeOf puts a state into the words of the group. What is settled without any outcome goes back.
func (r *receiver) outcomeOf(s *frame.State) group.Outcome {
	r.c.l.stats.outcome(s.Kind)
	switch s.Kind {
	case frame.Accepted:
		return group.Outcome{State: group.Accepted}
	case frame.Rejected:
		return group.Outcome{State: group.Rejected, Err: r.rejection(&s.Error)}
	case frame.Modified:
		return group.Outcome{State: group.Modified, DeliveryFailed: s.DeliveryFailed, UndeliverableHere: s.UndeliverableHere}
	}
	return group.Outcome{State: group.Released}
}

// Detached suspends the link, or gives back what is not settled.
func (r *receiver) Detached(link *engine.Link, closed bool, _ *frame.Error) {
	r.c.links--
	switch {
	case !r.take(closed):
		r.c.l.links.release(r.key, r)
		r.giveUp()
	case !r.hasGone():
		r.c.suspend(r.key, r, past{receiver: r}, r.lease, link.Session())
	}
}

// take ends the link but not the membership: what is not settled is held. It returns false if the link is over for good. Any goroutine.
func (r *receiver) take(closed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.taken:
		return true
	case closed || r.lease.timeout == 0 || r.settled || r.receiving == nil:
		return false
	}
	r.taken = true
	r.c.l.stats.Receivers.Add(-1)
	r.hold()
	return true
}

// hold takes what is not settled off the link. Called with r locked.
func (r *receiver) hold() {
	unsettled := r.link.Unsettled()
	r.held = append(r.held, unsettled...)
	r.opened(-int64(len(unsettled))) // a Deliver that comes too late for Send takes its own back
}

// giveUp ends the link for good, and gives back to the group what is not settled. Any goroutine.
func (r *receiver) giveUp() {
	r.leave()
	r.mu.Lock()
	if !r.taken {
		r.taken = true
		r.hold()
	}
	held := r.held
	r.held = nil
	r.mu.Unlock()
	for _, d := range held {
		d.Settle(frame.State{})
	}
}

// leave gives back to the group what is not settled. Any goroutine; safe to call again.
func (r *receiver) leave() {
	r.mu.Lock()
	rc, counts := r.receiving, !r.taken
	r.gone, r.receiving = true, nil
	r.mu.Unlock()
	if rc == nil {
		return
	}
	if rc.Leave(); counts {
		r.c.l.stats.Receivers.Add(-1)
	}
}

// steal ends the link for good: the client has attached it elsewhere. What is not settled is the group's again when it returns, or is
// held for the new attachment. Any goroutine.
func (r *receiver) steal() past {
	if r.lease.timeout == 0 {
		r.leave()
		r.link.Detach(true, errStolen())
		return past{}
	}
	r.link.Detach(true, errStolen())
	if r.take(false) {
		return past{receiver: r}
	}
	r.leave()
	return past{}
}
