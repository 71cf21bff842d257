package group

import (
	"fmt"

	"github.com/linkspan/linkspan"
)

// A Delivery is one record at one receiver. It is settled once; then it is void.
type Delivery struct {
	// Count is how often the record was delivered in vain, as this process knows [AMQP 3.2.1].
	Count uint32

	part          *part
	rc            *Receiving
	offset        int64
	returns       uint64      // of the part, when the source asked for room
	done          func(error) // nil: it is settled, or was taken back
	before, after *Delivery   // in the order of delivery
}

// Overtaken reports whether records of the partition have come back since d was chosen to be next: they may be older, so that the receiver
// does not take d (P3). It asks once it has seen that it has credit, which may be what came with them.
func (d *Delivery) Overtaken() bool { return d.part.returns.Load() != d.returns }

// State is a kind of [Outcome].
type State int

// The kinds of Outcome [AMQP 3.4].
const (
	// Accepted settles the record.
	Accepted State = iota
	// Rejected settles it, too: it becomes a dead letter, with the reason.
	Rejected
	// Released has it delivered again, as if it never had been.
	Released
	// Modified has it delivered again.
	Modified
)

// Outcome is what a receiver says of a delivery.
type Outcome struct {
	State State
	// Err is the reason of Rejected; nil: none is known.
	Err error
	// DeliveryFailed of Modified: the delivery counts.
	DeliveryFailed bool
	// UndeliverableHere of Modified: not to this receiver again. Where no other of the group is here, it becomes a dead letter.
	UndeliverableHere bool
}

// again reports whether the record is to be delivered again.
func (o *Outcome) again() bool { return o.State == Released || o.State == Modified }

// elsewhere reports whether it is to be delivered to someone else.
func (o *Outcome) elsewhere() bool { return o.State == Modified && o.UndeliverableHere }

// Settle says what became of d. It may be called from any goroutine, within Deliver, too.
func (d *Delivery) Settle(o Outcome) {
	p, elsewhere := d.part, o.elsewhere()
	if elsewhere { // that is the team's to decide
		p.team.mu.Lock()
	}
	done, moves := p.settle(d, o)
	if elsewhere {
		p.team.mu.Unlock()
	}
	if done == nil { // the receiver has left
		return
	}
	r := p.team.registry
	d.part, d.rc = nil, nil
	r.deliveries.Put(d)
	if err := r.stats.count(o); !o.again() {
		done(err)
	}
	if moves {
		p.team.move(p)
	}
}

// settle takes d out of what is unsettled, and gives the record back if it is to be delivered again. It returns nil when d was out before.
// Otherwise, done is still to be called if the record is settled, and moves says that p can move to who is to have it.
func (p *part) settle(d *Delivery, o Outcome) (done func(error), moves bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rc, offset := d.rc, d.offset
	if done = p.close(d); done == nil {
		return nil, false
	}
	p.settled++
	if !p.stopped {
		p.note(rc, offset, o)
	}
	if o.again() {
		p.returns.Add(1)
		done(errReturned) // before p can have another owner, who would get what is newer first (P3)
	}
	return done, p.next != nil && p.unsettled == 0
}

// note keeps what matters of the outcome for the next delivery of the record. Called with p locked, and the team where it is to be
// elsewhere.
func (p *part) note(rc *Receiving, offset int64, o Outcome) {
	if !o.again() {
		p.forget(offset)
		return
	}
	h := p.remember(offset)
	if o.State == Modified && o.DeliveryFailed {
		h.count++
	}
	if o.elsewhere() {
		h.not = append(h.not, rc)
		p.redirect(rc.topic.receivers)
	}
}

// count counts an outcome, and returns what the source is told.
func (s *Stats) count(o Outcome) error {
	switch o.State {
	case Accepted:
		s.Accepted.Add(1)
		return nil
	case Rejected:
		s.Rejected.Add(1)
		if o.Err != nil {
			return linkspan.Permanent(fmt.Errorf("rejected by the receiver: %w", o.Err))
		}
		return errRejected
	case Modified:
		s.Modified.Add(1)
	default:
		s.Released.Add(1)
	}
	return errReturned
}

// delivered counts a delivery.
func (s *Stats) delivered(again bool) {
	s.Delivered.Add(1)
	if again {
		s.Redelivered.Add(1)
	}
}

// refuse takes d back, which its receiver did not take.
func (d *Delivery) refuse() {
	p := d.part
	p.mu.Lock()
	done := p.close(d)
	if done == nil { // the receiver has left meanwhile, which gave it back
		p.mu.Unlock()
		return
	}
	done(errNoCredit)
	moves, others := p.next != nil && p.unsettled == 0, len(p.past) > 0
	p.mu.Unlock()
	if others { // of whom one may have credit
		p.team.source.Wake(p.topic, p.partition)
	}
	d.part, d.rc = nil, nil
	p.team.registry.deliveries.Put(d)
	if moves {
		p.team.move(p)
	}
}

// delivery returns one to be opened.
func (r *Registry) delivery() *Delivery {
	if d, _ := r.deliveries.Get().(*Delivery); d != nil {
		return d
	}
	return new(Delivery)
}
