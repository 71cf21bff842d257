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
	done          func(error) // nil: it is settled, or was taken back
	before, after *Delivery   // in the order of delivery
}

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

// Settle says what became of d. It may be called from any goroutine, within Deliver, too.
func (d *Delivery) Settle(o Outcome) {
	p := d.part
	p.mu.Lock()
	rc, offset := d.rc, d.offset
	done := p.close(d)
	if done == nil { // the receiver has left
		p.mu.Unlock()
		return
	}
	p.settled++
	avoid := false
	if !p.stopped {
		avoid = p.note(rc, offset, o)
	}
	moves := p.next != nil && p.unsettled == 0
	p.mu.Unlock()

	r := p.team.registry
	d.part, d.rc = nil, nil
	r.deliveries.Put(d)
	if avoid {
		p.team.avoid(p, rc.topic)
	}
	done(r.stats.count(o))
	if moves {
		p.team.move(p)
	}
}

// note keeps what matters of the outcome for the next delivery of the record. It reports whether rc is not to get that. Called with p
// locked.
func (p *part) note(rc *Receiving, offset int64, o Outcome) (avoid bool) {
	switch o.State {
	case Accepted, Rejected:
		p.forget(offset)
		return false
	case Modified:
		h := p.remember(offset)
		if o.DeliveryFailed {
			h.count++
		}
		if o.UndeliverableHere {
			h.not = append(h.not, rc)
			h.to = nil
		}
		return o.UndeliverableHere
	}
	p.remember(offset)
	return false
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
	moves := p.next != nil && p.unsettled == 0
	p.mu.Unlock()
	if done == nil { // the receiver has left meanwhile, which gave it back
		return
	}
	d.part, d.rc = nil, nil
	p.team.registry.deliveries.Put(d)
	done(errNoCredit)
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
