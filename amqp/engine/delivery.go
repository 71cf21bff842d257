package engine

import "github.com/linkspan/linkspan/amqp/frame"

// maxTag is the longest delivery tag in bytes [AMQP 2.8.7].
const maxTag = 32

// A Delivery is one message on its way over a link, from the transfer until both sides have settled it. It belongs to who
// got it from Send or Transfer until that one calls Settle, which is due exactly once; it may be used again afterwards.
type Delivery struct {
	// User is whatever the owner wants to find here again.
	User any

	// What settling looks at is in the first 64 bytes, one line of memory; the padding makes the whole two lines.

	link     *Link
	next     *Delivery // of the link, in the order of the ids; in stock: any other
	prev     *Delivery
	id       uint32
	format   uint32
	settled  bool  // by the peer
	resumed  bool  // by the sender
	adopted  bool  // and so the engine's own
	second   bool  // the receiver settles after the sender
	finished bool  // the owner has called Settle
	entered  bool  // in the ledger of the session
	listed   bool  // in the list of the link
	posted   uint8 // events that name it
	tagLen   uint8

	_      [7]byte
	remote state
	tag    [maxTag]byte
	_      [16]byte
}

// recycle is called when neither the owner nor the books know d any more. While an event names it, that is left to who
// handles the event. It needs mu.
func (d *Delivery) recycle() {
	if d.finished = true; d.posted > 0 {
		return
	}
	d.link.s.c.stock.give(d)
}

// Link returns the link that the delivery is on.
func (d *Delivery) Link() *Link { return d.link }

// Tag returns the delivery tag, which the sender gave it. It is borrowed until Settle.
func (d *Delivery) Tag() []byte { return d.tag[:d.tagLen] }

// ID returns the delivery-id, which names it in its session.
func (d *Delivery) ID() uint32 { return d.id }

// Format returns the message-format; 0 is that of the standard.
func (d *Delivery) Format() uint32 { return d.format }

// Remote returns the state that the peer has told last; no kind: none. It may be read in Transfer and Settled.
func (d *Delivery) Remote() frame.State { return d.remote.get() }

// RemotelySettled reports whether the peer has settled it: it knows the delivery no more. It may be read in Transfer and
// Settled.
func (d *Delivery) RemotelySettled() bool { return d.settled }

// Settle ends the owner's use of the delivery, which is due exactly once, and tells the peer that it is settled with that
// state, if the peer does not know. On a link with receiver settle mode second, the receiver's is told as a state first,
// and settled when the sender has [AMQP 2.6.12]. The zero state is none: a sender that takes what the receiver said.
func (d *Delivery) Settle(state frame.State) {
	c := d.link.s.c
	c.mu.Lock()
	heir := d.settle(&state)
	c.unlock()
	if heir != nil {
		heir.Settle(state)
	}
}

// settle returns the delivery of a later attachment that is to be settled likewise. It needs mu.
func (d *Delivery) settle(state *frame.State) (heir *Delivery) {
	l := d.link
	if !d.entered || d.settled || l.detachSent || l.suspended || !l.usable() {
		heir = l.untold(d, state)
		d.leave()
		return heir
	}
	if d.adopted {
		l.memory.forget(d.Tag())
		l.granted++
	}
	if d.second && !l.sender {
		kept := keep(state)
		l.s.tell(settlement{first: d.id, last: d.id, state: kept})
		d.finished, d.User = true, kept
		l.lingering++
		return nil
	}
	l.s.tell(settlement{first: d.id, last: d.id, sender: l.sender, settled: true, state: keep(state)})
	adopted := d.adopted
	if d.leave(); adopted {
		l.announce()
	}
	return nil
}

// leave takes a delivery out of the books, and gives it to others. It needs mu.
func (d *Delivery) leave() {
	if d.entered {
		d.link.s.ledger(d.link.sender).remove(d)
	}
	l := d.link
	if d.listed {
		l.unlist(d)
	}
	if d.finished {
		l.lingering--
		l.announce()
	}
	d.recycle()
}

// Update tells the peer a state and does not settle: how far the message has got, or what is going to be its outcome.
func (d *Delivery) Update(state frame.State) {
	l := d.link
	c := l.s.c
	c.mu.Lock()
	if d.entered && !d.settled && !l.detachSent && l.usable() {
		l.s.tell(settlement{first: d.id, last: d.id, sender: l.sender, state: keep(&state)})
	}
	c.unlock()
}

// Unsettled returns the deliveries of the link that the peer has not settled and whose owner has not called Settle, the oldest
// first.
func (l *Link) Unsettled() []*Delivery {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	var all []*Delivery
	for d := l.first; d != nil; d = d.next {
		if !d.finished && !d.settled && !d.adopted {
			all = append(all, d)
		}
	}
	return all
}

// Outstanding returns how many deliveries of the link are not settled. A sender whose receiver gives credit but does not settle
// bounds with it what it holds.
func (l *Link) Outstanding() int {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	return l.listed
}

// list adds a delivery to those of the link. It needs mu.
func (l *Link) list(d *Delivery) {
	d.listed = true
	l.listed++
	d.prev = l.last
	if l.last != nil {
		l.last.next = d
	} else {
		l.first = d
	}
	l.last = d
}

// unlist needs mu.
func (l *Link) unlist(d *Delivery) {
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		l.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		l.last = d.prev
	}
	d.next, d.prev, d.listed = nil, nil, false
	l.listed--
}
