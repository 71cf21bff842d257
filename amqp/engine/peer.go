package engine

import (
	"github.com/linkspan/linkspan/amqp/frame"
)

// session returns the session on a channel of the peer; nil if what comes on it is discarded, since we have ended it
// [AMQP 2.5.4]. It needs mu.
func (c *Conn) session(channel uint16) (*Session, error) {
	s := at(c.peer, uint32(channel))
	switch {
	case s == nil:
		return nil, violation(frame.NotAllowed, "no session on channel %d", channel)
	case s.ended || s.dead:
		return nil, nil
	}
	return s, nil
}

// begun takes the begin of the peer: a session of its own, or the answer to one of ours.
func (c *Conn) begun(channel uint16, b *frame.Begin) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case channel > c.cfg.ChannelMax:
		return violation(frame.FramingError, "channel %d, and %d is the highest", channel, c.cfg.ChannelMax) // [AMQP 2.7.1]
	case at(c.peer, uint32(channel)) != nil:
		return violation(frame.IllegalState, "a second session on channel %d", channel)
	}
	var s *Session
	if b.RemoteChannel.OK {
		s = at(c.local, uint32(b.RemoteChannel.V))
		if s == nil || s.begun {
			return violation(frame.IllegalState, "the answer to a session on channel %d, which there is not", b.RemoteChannel.V)
		}
	} else if s = c.newSession(); s == nil {
		return violation(frame.ResourceLimitExceeded, "more sessions than the peer takes itself")
	}
	answer := !b.RemoteChannel.OK
	s.begun, s.remote = true, channel
	s.nextIn, s.windowOut = b.NextOutgoingID, b.IncomingWindow
	s.handleMax = min(s.handleMax, b.HandleMax)
	put(&c.peer, uint32(channel), s)
	if answer {
		c.emit(s.channel, s.begin())
	}
	return nil
}

// ended takes the end of the peer, which is answered if it is not an answer.
func (c *Conn) ended(channel uint16, e *frame.End) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := at(c.peer, uint32(channel))
	if s == nil {
		return violation(frame.NotAllowed, "no session on channel %d", channel)
	}
	s.end(nil)
	s.kill(orNil(&e.Error))
	s.forget()
	return nil
}

// attached takes the attach of the peer: a link of its own, or the answer to one of ours.
func (c *Conn) attached(channel uint16, a *frame.Attach, size int) error {
	if a.Handle > c.cfg.HandleMax {
		return violation(frame.FramingError, "handle %d, and %d is the highest", a.Handle, c.cfg.HandleMax) // [AMQP 2.7.2]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.session(channel)
	if err != nil || s == nil {
		return err
	}
	if at(s.byRemote, a.Handle) != nil {
		s.fail(violation(frame.HandleInUse, "handle %d is attached already", a.Handle))
		return nil
	}
	if c.kept += size; c.kept > c.cfg.MaxPartial {
		return violation(frame.ResourceLimitExceeded, "more links than we can keep in mind")
	}
	key := linkKey{a.Name, a.Role == frame.Receiver}
	l := c.names[key]
	if l == nil || l.s != s || l.attachGot || !l.ours {
		if l != nil {
			l.steal()
		}
		if c.links >= c.cfg.MaxLinks {
			return violation(frame.ResourceLimitExceeded, "more than %d links", c.cfg.MaxLinks)
		}
		l = s.asked(a)
		if l == nil {
			return violation(frame.ResourceLimitExceeded, "more links than the peer takes itself")
		}
		defer c.post(event{kind: attaching, l: l})
	} else if !l.detachSent && !refusal(l, a) {
		defer c.post(event{kind: attached, l: l})
	}
	l.bind(a, size)
	return nil
}

// asked returns a link that the peer asks for; nil if there is no handle for it. It needs mu.
func (s *Session) asked(a *frame.Attach) *Link {
	handle, ok := free(&s.byHandle, s.handleMax)
	if !ok {
		return nil
	}
	l := &Link{s: s, name: a.Name, sender: a.Role == frame.Receiver, handle: handle}
	l.second = a.ReceiverSettleMode == frame.ReceiveSecond
	l.mode = a.SenderSettleMode
	s.byHandle[handle] = l
	s.c.enlist(l)
	return l
}

// refusal reports whether the answer to our attach has no terminus, so that a detach follows [AMQP 2.6.3].
func refusal(l *Link, a *frame.Attach) bool {
	if l.sender {
		return a.Target == nil && a.Coordinator == nil
	}
	return a.Source == nil
}

// bind joins a link to the attach of the peer. It needs mu.
func (l *Link) bind(a *frame.Attach, size int) {
	l.attachGot, l.remote, l.size = true, a, size
	l.peerHandle = a.Handle
	put(&l.s.byRemote, a.Handle, l)
	if l.sender {
		l.second = a.ReceiverSettleMode == frame.ReceiveSecond
		return
	}
	l.count = a.InitialDeliveryCount
	l.limit = l.count
	l.announce()
}

// flowed takes a flow of the peer [AMQP 2.5.6].
func (c *Conn) flowed(channel uint16, f *frame.Flow) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.session(channel)
	if err != nil || s == nil {
		return err
	}
	sent := s.nextOut // and not seen by the peer when it said this
	if f.NextIncomingID.OK {
		sent = s.nextOut - f.NextIncomingID.V
	}
	if int32(sent) < 0 {
		s.fail(violation(frame.InvalidField, "next-incoming-id %d is ahead of what was sent", f.NextIncomingID.V))
		return nil
	}
	s.nextIn = f.NextOutgoingID
	s.windowOut = f.IncomingWindow - min(f.IncomingWindow, sent)
	if s.windowOut > 0 {
		s.resume()
	}
	if !f.Handle.OK {
		if f.Echo {
			s.wantFlow()
		}
		return nil
	}
	l := at(s.byRemote, f.Handle.V)
	switch {
	case l == nil:
		s.fail(violation(frame.UnattachedHandle, "a flow on handle %d, which is not attached", f.Handle.V))
	case l.detachSent:
	case l.sender:
		l.flowSender(f)
	default:
		l.flowReceiver(f)
	}
	if l != nil && f.Echo {
		l.wantFlow()
	}
	return nil
}

// detached takes the detach of the peer, which is answered, after the handler has heard of it, if it is not an answer.
func (c *Conn) detached(channel uint16, d *frame.Detach) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.session(channel)
	if err != nil || s == nil {
		return err
	}
	l := at(s.byRemote, d.Handle)
	if l == nil {
		s.fail(violation(frame.UnattachedHandle, "a detach on handle %d, which is not attached", d.Handle))
		return nil
	}
	l.detachGot = true
	if l.detachSent {
		l.remove()
	} else {
		l.drop()
	}
	l.tell(d.Closed, orNil(&d.Error))
	return nil
}
