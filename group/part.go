package group

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// A part is one partition while Kafka has it given to this process, and the deliveries of it that are not settled.
//
// It has one owner at a time. It moves to another only when nothing of it is unsettled, so that the order of its records is kept over
// the move (P3). A single record may go to someone else: one that the owner has said it cannot take.
type part struct {
	team *team
	key
	returns atomic.Uint64 // how often records came back from receivers

	mu          sync.Mutex
	asked       uint64 // returns when the source was last told whether there is room
	owner       *Receiving
	next        *Receiving // who gets it when it can move; nil: it stays
	held        bool       // nothing is delivered before it has moved
	stopped     bool       // Kafka has taken it away
	first, last *Delivery  // unsettled, in the order of their delivery
	unsettled   int
	settled     uint64          // how many were settled, to see that some are
	past        map[int64]*past // by offset: what is remembered of records that came back
	patience    *time.Timer     // ends held
}

// past is what is remembered of a record that came back.
type past struct {
	count  uint32       // deliveries in vain
	not    []*Receiving // who cannot take it
	to     []*Receiving // of whom one gets it instead of the owner; none: the owner
	nobody bool         // all who are here cannot take it
}

// taker returns the first one of those who may get it that has credit, or else just the first.
func (h *past) taker() *Receiving {
	for _, rc := range h.to {
		if !rc.full.Load() {
			return rc
		}
	}
	return h.to[0]
}

// Errors that a source gets for records that it keeps, and for one that nobody takes.
var (
	errNobody    = errors.New("there is no receiver now")
	errNoCredit  = errors.New("the receiver has no credit")
	errReturned  = errors.New("the receiver gave it back")
	errOvertaken = errors.New("one that is older has come back")
	errRejected  = linkspan.Permanent(errors.New("rejected by the receiver"))
)

// ErrUndeliverable is why a record becomes a dead letter that none of the receivers here may get: each has said undeliverable-here.
var ErrUndeliverable = linkspan.Permanent(errors.New("undeliverable at all receivers of the group here"))

// taker returns who gets the record at offset, nil for nobody now. The error says that nobody ever will. Called with p locked.
func (p *part) taker(offset int64) (*Receiving, *past, error) {
	if p.owner == nil || p.held || p.stopped {
		return nil, nil, nil
	}
	if len(p.past) == 0 {
		return p.owner, nil, nil
	}
	h := p.past[offset]
	switch {
	case h == nil:
		return p.owner, nil, nil
	case h.nobody:
		return nil, h, ErrUndeliverable
	case len(h.to) > 0:
		return h.taker(), h, nil
	}
	return p.owner, h, nil
}

// room reports whether the record at offset can be delivered, or refused for good.
func (p *part) room(offset int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = p.returns.Load()
	rc, _, err := p.taker(offset)
	return err != nil || rc != nil && !rc.full.Load()
}

// open makes d the delivery of the record at offset to whoever gets it, and reports whether it was delivered before. It fails where
// records have come back since the source asked for room: they may be older (P3).
func (p *part) open(d *Delivery, offset int64, done func(error)) (again bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if returns := p.returns.Load(); returns != p.asked {
		p.asked = returns
		return false, errOvertaken
	}
	rc, h, err := p.taker(offset)
	switch {
	case err != nil:
		p.forget(offset)
		p.team.registry.stats.Undeliverable.Add(1)
		return false, err
	case rc == nil:
		return false, errNobody
	}
	d.part, d.rc, d.offset, d.done, d.Count, d.returns = p, rc, offset, done, 0, p.asked
	if h != nil {
		d.Count = h.count
	}
	p.team.registry.stats.Unsettled.Add(1)
	d.before = p.last
	if p.last == nil {
		p.first = d
	} else {
		p.last.after = d
	}
	p.last = d
	p.unsettled++
	return h != nil, nil
}

// close takes d out of what is unsettled, and returns its done, nil when it was out before. Called with p locked.
func (p *part) close(d *Delivery) (done func(error)) {
	if d.done == nil {
		return nil
	}
	if d.before == nil {
		p.first = d.after
	} else {
		d.before.after = d.after
	}
	if d.after == nil {
		p.last = d.before
	} else {
		d.after.before = d.before
	}
	p.unsettled--
	p.team.registry.stats.Unsettled.Add(-1)
	done, d.done, d.before, d.after = d.done, nil, nil, nil
	return done
}

// remember returns what is remembered of the record at offset. Called with p locked.
func (p *part) remember(offset int64) *past {
	h := p.past[offset]
	if h == nil {
		if p.past == nil {
			p.past = map[int64]*past{}
		}
		h = new(past)
		p.past[offset] = h
	}
	return h
}

// forget is called with p locked.
func (p *part) forget(offset int64) {
	if len(p.past) > 0 {
		delete(p.past, offset)
	}
}

// concerns reports whether rc may get records of p.
func (p *part) concerns(rc *Receiving) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.owner == rc || len(p.past) > 0
}

// stop is called when Kafka has taken p away.
func (p *part) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped, p.owner, p.past = true, nil, nil
	p.stay()
}

// giveBack takes back all that is unsettled at rc, which is no receiver of the topic any more, and leaves p without an owner if that was
// rc. Nothing is delivered to the next one before the source has all of it again. Called with the team locked.
func (p *part) giveBack(rc *Receiving) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owner == rc {
		p.owner = nil
	}
	if p.next == rc || p.owner == nil {
		p.stay()
	}
	for _, h := range p.past {
		h.not = slices.DeleteFunc(h.not, func(o *Receiving) bool { return o == rc })
	}
	p.redirect(rc.topic.receivers)
	var after *Delivery
	for d := p.first; d != nil; d = after {
		after = d.after
		if d.rc != rc {
			continue
		}
		if !p.stopped {
			p.remember(d.offset).count++
		}
		p.team.registry.stats.Returned.Add(1)
		p.returns.Add(1)
		p.close(d)(errReturned)
	}
}

// stay ends a move that was to come. Called with p locked.
func (p *part) stay() {
	p.next, p.held = nil, false
	if p.patience != nil {
		p.patience.Stop()
		p.patience = nil
	}
}
