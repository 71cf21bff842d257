package engine

import (
	"errors"

	"github.com/linkspan/linkspan/amqp/frame"
)

// Outgoing is a message to be sent.
type Outgoing struct {
	// Tag names the delivery among those of the link that are not settled: at most 32 bytes, copied.
	Tag []byte
	// Payload is the encoded message. It is copied, or written, before Send returns.
	Payload []byte
	// Format is the message-format. Default 0, that of the standard.
	Format uint32
	// Settled sends it without waiting for an outcome. It only matters if the link's mode is mixed: with the other two
	// modes all are settled, or none is.
	Settled bool
	// Resume says that the tag's delivery was begun by an earlier attachment of the link, and State what this end has of it
	// [AMQP 2.6.13]. With Settled, which then counts in each mode, it only tells the receiver of the end; with Aborted that there is
	// nothing more to come of it. Without either it has the whole message.
	Resume, Aborted bool
	State           frame.State
	// User is for Delivery.User.
	User any
}

// rest is what could not be sent of a message for want of window.
type rest struct {
	t       frame.Transfer
	payload []byte
}

// Send sends a message. The delivery is nil if it was sent settled: then all is done; else it is the caller's until its
// Settle, and the handler's Settled tells the outcome.
//
// The error is [ErrNoCredit] or [ErrWindow] if it is to be tried again when Flow is called; [ErrDetached] if the link is
// over, or does not send yet; [ErrTooLarge] if the peer does not take messages of that size.
func (l *Link) Send(m Outgoing) (*Delivery, error) {
	c := l.s.c
	c.mu.Lock()
	d, err := l.send(&m)
	c.unlock()
	return d, err
}

var errTag = errors.New("amqp: a delivery tag has at most 32 bytes")

// send needs mu.
func (l *Link) send(m *Outgoing) (*Delivery, error) {
	s := l.s
	switch {
	case !l.sender || !l.attachSent || !l.attachGot || l.detachSent || l.detachGot || l.gone || !l.usable():
		return nil, ErrDetached
	case len(m.Tag) > maxTag:
		return nil, errTag
	case l.remote.MaxMessageSize > 0 && uint64(len(m.Payload)) > l.remote.MaxMessageSize:
		return nil, ErrTooLarge
	case l.credit == 0, l.remote.IncompleteUnsettled && !l.anew && !m.Resume: // [AMQP 2.7.3]
		return nil, ErrNoCredit
	case l.rest != nil || s.windowOut == 0:
		l.refused = true
		s.wait(l)
		return nil, ErrWindow
	case len(s.c.out) > s.c.cfg.MaxOutput:
		l.refused = true
		if !l.clogged {
			l.clogged = true
			s.c.clogged = append(s.c.clogged, l)
		}
		return nil, ErrWindow
	}
	settled := l.mode == frame.SendSettled || m.Settled && (m.Resume || l.mode == frame.SendMixed)
	t := frame.Transfer{
		Handle: l.handle, DeliveryID: frame.Some(s.idOut), DeliveryTag: m.Tag, MessageFormat: frame.Some(m.Format),
		Settled: settled, Resume: m.Resume, Aborted: m.Aborted, State: m.State,
	}
	var d *Delivery
	if !settled && !m.Aborted {
		d = s.c.stock.take()
		d.link, d.id, d.format, d.User = l, s.idOut, m.Format, m.User
		d.tagLen = uint8(copy(d.tag[:], m.Tag))
		s.out.add(d)
		l.list(d)
	}
	s.idOut++
	l.credit--
	l.count++
	l.transfer(&t, m.Payload)
	if l.credit == 0 {
		l.drained()
	}
	return d, nil
}

// transfer writes a message in as many frames as it takes, and as the window allows [AMQP 2.6.14]. It needs mu.
func (l *Link) transfer(t *frame.Transfer, payload []byte) {
	s, c := l.s, l.s.c
	c.grab()
	for s.windowOut > 0 {
		at := len(c.out)
		t.More = false
		c.out = t.Append(frame.BeginFrame(c.out, frame.TypeAMQP, s.channel))
		room := c.remoteMax - (len(c.out) - at)
		if room <= 0 { // what there is of the delivery is said in short
			t.State = frame.State{Kind: t.State.Kind}
			c.out = t.Append(frame.BeginFrame(c.out[:at], frame.TypeAMQP, s.channel))
			room = c.remoteMax - (len(c.out) - at)
		}
		if room < len(payload) {
			t.More = true
			c.out = t.Append(frame.BeginFrame(c.out[:at], frame.TypeAMQP, s.channel))
			room = c.remoteMax - (len(c.out) - at)
		} else {
			room = len(payload)
		}
		c.out = append(c.out, payload[:room]...)
		c.out = frame.EndFrame(c.out, at)
		payload = payload[room:]
		s.windowOut--
		s.nextOut++
		if !t.More {
			l.rest = nil
			return
		}
		*t = frame.Transfer{Handle: t.Handle, DeliveryID: t.DeliveryID, Settled: t.Settled}
	}
	if l.rest == nil {
		l.rest = &rest{t: *t, payload: append([]byte(nil), payload...)}
		l.rest.t.DeliveryTag = append([]byte(nil), t.DeliveryTag...)
	} else {
		l.rest.t, l.rest.payload = *t, payload
	}
	s.wait(l)
}

// wait remembers a link that waits for the window. It needs mu.
func (s *Session) wait(l *Link) {
	if !l.waits {
		l.waits = true
		s.waiting = append(s.waiting, l)
	}
}

// resume goes on with the links that wait, after the window was opened. It needs mu.
func (s *Session) resume() {
	waiting := s.waiting
	s.waiting = nil
	for i, l := range waiting {
		if s.windowOut == 0 {
			s.waiting = append(s.waiting, waiting[i:]...)
			return
		}
		l.waits = false
		if l.gone || l.detachSent {
			continue
		}
		if l.rest != nil {
			l.transfer(&l.rest.t, l.rest.payload)
		}
		if l.rest == nil && l.refused {
			l.refused = false
			s.c.post(event{kind: flowed, l: l})
		}
	}
}

// Credit returns how many messages may be sent; of a receiver, how many the peer may still send, as far as it was told.
func (l *Link) Credit() uint32 {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	return l.credit
}

// Draining reports whether the receiver wants what there is now, and no credit to stay: after sending what it has, the
// handler of a sender calls Drained.
func (l *Link) Draining() bool {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	return l.draining
}

// Drained says that the sender has nothing more at the moment. If the receiver drains, the credit is used up with this
// [AMQP 2.6.7]; else nothing happens.
func (l *Link) Drained() {
	c := l.s.c
	c.mu.Lock()
	if l.sender {
		l.drained()
	}
	c.unlock()
}

// drained answers a receiver that drains. It needs mu.
func (l *Link) drained() {
	if l.draining {
		l.count += l.credit
		l.credit, l.draining = 0, false
		l.wantFlow()
	}
}

// flowSender takes the flow state of the receiver [AMQP 2.6.7]. It needs mu.
func (l *Link) flowSender(f *frame.Flow) {
	if f.LinkCredit.OK {
		count := f.DeliveryCount.Or(l.initial) // if the receiver does not know another yet
		credit := int64(int32(count-l.count)) + int64(f.LinkCredit.V)
		l.credit = uint32(min(max(credit, 0), 1<<32-1))
	}
	l.drain, l.draining = f.Drain, f.Drain
	if l.credit == 0 {
		l.drained() // there is nothing to drain
	}
	if l.attachSent {
		l.s.c.post(event{kind: flowed, l: l})
	}
}
