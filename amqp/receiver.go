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
	start   group.Start
	answer  frame.Attach // to the client's, once the group has said yes
	address string       // as the client wrote it
	codec   codec.Codec
	settled bool         // the client wants its messages settled
	outcome frame.State  // of what the client settles without saying how
	open    atomic.Int64 // deliveries that the client has not settled

	mu        sync.Mutex
	receiving *group.Receiving // nil: not yet, or not any more
	gone      bool
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
	if r.link.Accept(r.answer) == nil { // else Detached comes
		rc.Resume()
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
	if l.server.Draining() || r.link.Credit() == 0 || r.open.Load() >= int64(l.cfg.Unsettled) {
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
	r.resume()
	if r.link.Draining() {
		r.c.drainSoon(r.link)
	}
}

func (r *receiver) resume() {
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
	d.Settle(state)
	record.Settle(outcome)
	if r.opened(-1) == int64(r.c.l.cfg.Unsettled)-1 {
		r.resume()
	}
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

// Detached gives back what is not settled.
func (r *receiver) Detached(link *engine.Link, _ bool, _ *frame.Error) {
	r.c.links--
	r.c.l.links.release(r.key, r)
	r.leave()
	unsettled := link.Unsettled()
	for _, d := range unsettled {
		d.Settle(frame.State{})
	}
	r.opened(-int64(len(unsettled))) // a Deliver that comes too late for Send takes its own back
}

// leave gives back to the group what is not settled. Any goroutine; safe to call again.
func (r *receiver) leave() {
	r.mu.Lock()
	rc := r.receiving
	r.gone, r.receiving = true, nil
	r.mu.Unlock()
	if rc != nil {
		rc.Leave()
		r.c.l.stats.Receivers.Add(-1)
	}
}

// steal ends the link for good: the client has attached it elsewhere. What is not settled is the group's again when it returns.
// Any goroutine.
func (r *receiver) steal() {
	r.leave()
	r.link.Detach(true, errStolen())
}
