package engine

import (
	"slices"

	"github.com/linkspan/linkspan/amqp/frame"
)

// Link is one end of a link: a sender or a receiver [AMQP 2.6]. It is attached once; a link that is resumed is a new one
// with the same name.
type Link struct {
	// User is whatever the handler wants to find here again. The engine does not touch it.
	User any

	s      *Session
	h      LinkHandler // of the driver's goroutine
	deaf   bool        // Detached was called; of the driver's goroutine
	name   string
	sender bool // we are
	remote *frame.Attach

	handle     uint32 // ours
	peerHandle uint32

	size       int  // of the peer's attach in bytes
	ours       bool // we have asked for it
	attachSent bool
	attachGot  bool
	detachSent bool
	detachGot  bool
	gone       bool // neither side knows it any more
	suspended  bool // nothing more is told on it: it is remembered
	incomplete bool // our unsettled map was: only what is resumed may come
	anew       bool // we have asked for it without an unsettled map
	told       bool // Detached has been, or will be called, or is not wanted
	second     bool // receiver settle mode
	mode       frame.SenderSettleMode

	// Flow state [AMQP 2.6.7].

	credit    uint32 // that is left; of a receiver: as the peer knows it
	count     uint32 // delivery-count
	initial   uint32 // delivery-count of a sender's attach
	limit     uint32 // of a receiver: the highest count that the peer was ever allowed
	granted   uint32 // of a receiver: credit that the peer does not know of yet
	available uint32 // what the sender said that it has
	lingering uint32 // of a receiver: deliveries that wait for the sender to settle
	drain     bool   // the receiver wants that
	draining  bool   // and the sender has not answered yet
	flow      bool   // in s.flows
	waits     bool   // in s.waiting
	clogged   bool   // in c.clogged
	refused   bool   // Send was, for want of window or room

	maxMessage uint64 // bytes; 0: any
	errant     uint32 // transfers that may still come though we have detached
	ghost      bool   // one of these has begun and is not whole

	partial *partial  // of the receiver: a delivery that is not whole yet
	rest    *rest     // of the sender: a message that is not out as a whole yet
	first   *Delivery // that is not settled, the oldest
	last    *Delivery
	listed  int     // that many there are
	memory  *Memory // of a receiver: what is known of earlier attachments; nil: nothing
}

// Name returns the name of the link, which is its own among those of one direction between two containers.
func (l *Link) Name() string { return l.name }

// Sender reports whether this end is the sender.
func (l *Link) Sender() bool { return l.sender }

// Session returns the session that the link is attached to.
func (l *Link) Session() *Session { return l.s }

// Remote returns the attach of the peer: what it asks for in Handler.Attaching, what it answers in LinkHandler.Attached;
// nil before. It must not be changed.
func (l *Link) Remote() *frame.Attach {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	return l.remote
}

// Attach attaches a link: a names it, says the role of this end, the modes, the terminus and all else, but for the handle.
// Who resumes has in a.Unsettled what it knows from before [AMQP 2.6.13]. h.Attached or h.Detached tells how the peer answers;
// before that nothing can be sent, and the peer does not hear of credit.
//
// The error is [ErrDetached] if the session is over, [ErrLimit] if the peer takes no more links, [ErrTooLarge] if the attach
// does not fit into a frame of the peer, or [ErrBusy] if a link of that name is attached and the peer has not answered yet.
func (s *Session) Attach(a frame.Attach, h LinkHandler) (*Link, error) {
	c := s.c
	c.mu.Lock()
	defer c.unlock()
	if s.dead || s.ended || c.closeSent {
		return nil, ErrDetached
	}
	old := c.names[linkKey{a.Name, a.Role == frame.Sender}]
	if old != nil && old.ours && !old.attachGot {
		return nil, ErrBusy // or its answer would be taken for that to this one
	}
	l := &Link{s: s, h: h, ours: true, name: a.Name, sender: a.Role == frame.Sender}
	handle, ok := free(&s.byHandle, s.handleMax)
	if !ok {
		return nil, ErrLimit
	}
	l.handle = handle
	l.second = a.ReceiverSettleMode == frame.ReceiveSecond
	l.mode, l.anew = a.SenderSettleMode, a.Unsettled == nil
	if old != nil {
		old.steal()
	}
	if err := l.sendAttach(&a); err != nil {
		return nil, err
	}
	s.byHandle[handle] = l
	c.enlist(l)
	return l, nil
}

func (l *Link) key() linkKey { return linkKey{l.name, l.sender} }

// enlist makes the link known by its name. It needs mu.
func (c *Conn) enlist(l *Link) {
	if c.names == nil {
		c.names = make(map[linkKey]*Link, 1)
	}
	c.names[l.key()] = l
	c.links++
}

// Accept answers the attach of the peer, with the modes that it asked for, and with its source and target where a has none.
// a.Unsettled is what a sender has from before [AMQP 2.6.13]; a receiver has a [Memory] for that. As much of it is told as fits into
// a frame of the peer. The error is [ErrDetached] if the peer has given up, or [ErrTooLarge] if the answer does not fit at
// all: then the link has been refused.
func (l *Link) Accept(a frame.Attach) error {
	c := l.s.c
	c.mu.Lock()
	defer c.unlock()
	if l.gone || l.detachSent || l.detachGot || l.attachSent || !l.usable() {
		return ErrDetached
	}
	r := l.remote
	a.Name, a.SenderSettleMode, a.ReceiverSettleMode = l.name, r.SenderSettleMode, r.ReceiverSettleMode
	if a.Source == nil {
		a.Source = r.Source
	}
	if a.Target == nil && a.Coordinator == nil {
		a.Target, a.Coordinator = r.Target, r.Coordinator
	}
	switch {
	case l.sender:
	case r.Unsettled == nil: // it is attached anew [AMQP 2.7.3]
		l.memory.clear()
	default:
		a.Unsettled = l.memory.answer(r)
	}
	if err := l.sendAttach(&a); err != nil {
		l.detach(true, violation(frame.FrameSizeTooSmall, "the answer does not fit into a frame"))
		return err
	}
	if l.sender && l.credit > 0 {
		c.post(event{kind: flowed, l: l})
	}
	return nil
}

// Refuse answers the attach of the peer with an error: an attach without a terminus, and a detach [AMQP 2.6.3].
func (l *Link) Refuse(err *frame.Error) {
	c := l.s.c
	c.mu.Lock()
	l.detach(true, err)
	c.unlock()
}

// usable reports whether anything may be sent on the session. It needs mu.
func (l *Link) usable() bool { return !l.s.dead && !l.s.ended && !l.s.c.closeSent }

// sendAttach completes an attach and sends it. It needs mu.
func (l *Link) sendAttach(a *frame.Attach) error {
	a.Handle, a.Role = l.handle, frame.Role(!l.sender)
	if l.sender {
		l.count, l.initial = a.InitialDeliveryCount, a.InitialDeliveryCount
	} else if a.MaxMessageSize == 0 {
		a.MaxMessageSize = l.s.c.cfg.MaxMessageSize
	}
	if !l.sender {
		l.maxMessage = a.MaxMessageSize
	}
	c := l.s.c
	before := len(c.out)
	c.emit(l.s.channel, a)
	terminus := a.Source != nil || a.Target != nil || a.Coordinator != nil
	for c.openGot && terminus && len(c.out)-before > c.remoteMax {
		c.out = c.out[:before]
		if !half(a) {
			return ErrTooLarge
		}
		c.emit(l.s.channel, a)
	}
	l.attachSent = true
	l.incomplete = a.IncompleteUnsettled
	if l.attachGot {
		l.announce()
	}
	return nil
}

// Detach ends the link; closed says for good, else it may be resumed. The peer is told err, if that is not nil. The handler
// hears Detached when the peer has answered.
func (l *Link) Detach(closed bool, err *frame.Error) {
	c := l.s.c
	c.mu.Lock()
	l.detach(closed, err)
	c.unlock()
}

// detach needs mu.
func (l *Link) detach(closed bool, err *frame.Error) {
	if l.gone || l.detachSent || !l.usable() {
		return
	}
	c := l.s.c
	if !l.attachSent { // a refusal
		closed = true
		a := frame.Attach{Name: l.name, SenderSettleMode: l.remote.SenderSettleMode, ReceiverSettleMode: l.remote.ReceiverSettleMode}
		if l.sender {
			a.Target, a.Coordinator = l.remote.Target, l.remote.Coordinator
		} else {
			a.Source = l.remote.Source
		}
		if l.sendAttach(&a) != nil {
			l.sendAttach(&frame.Attach{Name: l.name})
		}
	}
	c.grab()
	c.out = l.s.flush(c.out)
	l.ghost = l.partial != nil
	l.drop()
	l.detachSent = true
	l.errant = uint32(max(int32(l.limit-l.count), 0))
	c.emit(l.s.channel, &frame.Detach{Handle: l.handle, Closed: closed, Error: clip(err)})
}

// fail detaches the link for a violation of the peer [AMQP 2.6.5], and tells the handler at once. It needs mu.
func (l *Link) fail(err *frame.Error) {
	l.detach(true, err)
	l.tell(true, err)
}

// steal ends a link of which the peer attaches another with the same name [AMQP 2.6.1]. It needs mu.
func (l *Link) steal() {
	err := violation(frame.Stolen, "a link of the same name has been attached")
	l.detach(false, err)
	l.tell(false, err)
}

// tell has the handler told that the link is over, once. It needs mu.
func (l *Link) tell(closed bool, err *frame.Error) {
	if !l.told {
		l.told = true
		l.s.c.post(event{kind: detached, l: l, closed: closed, err: err})
	}
}

// remove takes a link away that both sides have detached. It needs mu.
func (l *Link) remove() {
	if l.gone {
		return
	}
	l.gone = true
	l.s.c.links--
	l.s.c.kept -= l.size
	l.drop()
	if l.memory != nil {
		l.suspend()
	}
	for d := l.first; d != nil; {
		next := d.next
		if d.entered {
			l.s.ledger(l.sender).remove(d)
		}
		if d.finished {
			l.unlist(d)
			d.recycle()
		}
		d = next
	}
	if l.waits {
		l.s.waiting = slices.DeleteFunc(l.s.waiting, func(w *Link) bool { return w == l })
	}
	if at(l.s.byHandle, l.handle) == l {
		l.s.byHandle[l.handle] = nil
	}
	if l.attachGot && at(l.s.byRemote, l.peerHandle) == l {
		l.s.byRemote[l.peerHandle] = nil
	}
	if c := l.s.c; c.names[l.key()] == l {
		delete(c.names, l.key())
	}
}

// drop frees what there is of messages that are not whole. It needs mu.
func (l *Link) drop() {
	if l.partial != nil {
		l.s.c.kept -= len(l.partial.payload)
		putBuffer(l.partial.payload)
		l.s.in.remove(l.partial.d)
		l.partial.d.recycle()
		l.partial = nil
	}
	l.rest = nil
}
