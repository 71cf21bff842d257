package engine

import (
	"github.com/linkspan/linkspan/amqp/frame"
)

// partial is a delivery of which not all frames have come.
type partial struct {
	d       *Delivery
	payload []byte
}

// Grant lets the sender send n more messages. The peer is told when that pays: as soon as what it does not know of is at
// least half of what it has left.
func (l *Link) Grant(n uint32) {
	c := l.s.c
	c.mu.Lock()
	if !l.sender && !l.gone && n > 0 {
		l.granted += min(n, 1<<32-1-l.granted)
		l.announce()
	}
	c.unlock()
}

// announce needs mu.
func (l *Link) announce() {
	if n := l.grantable(); n > 0 && uint64(n)*2 >= uint64(l.credit) && !l.gone {
		l.wantFlow()
	}
}

// grantable returns how much of the granted credit the sender may know of: one that does not settle what it could holds
// its own credit up. It needs mu.
func (l *Link) grantable() uint32 { return l.granted - min(l.granted, l.lingering) }

// Withdraw takes all credit back. What is on its way still comes.
func (l *Link) Withdraw() {
	c := l.s.c
	c.mu.Lock()
	if !l.sender {
		l.granted, l.credit, l.drain = 0, 0, false
		l.wantFlow()
	}
	c.unlock()
}

// Drain asks the sender to send what it has now, and to give up the rest of the credit. Flow is called with Credit 0 when
// it has [AMQP 2.6.10].
func (l *Link) Drain() {
	c := l.s.c
	c.mu.Lock()
	if !l.sender {
		l.drain = true
		l.wantFlow()
	}
	c.unlock()
}

// Available returns how many messages the sender said that it has waiting.
func (l *Link) Available() uint32 {
	l.s.c.mu.Lock()
	defer l.s.c.mu.Unlock()
	return l.available
}

// flowReceiver takes the flow state of the sender. It needs mu.
func (l *Link) flowReceiver(f *frame.Flow) {
	l.available = f.Available.V
	if f.DeliveryCount.OK {
		used := f.DeliveryCount.V - l.count
		if used <= l.credit { // it has drained [AMQP 2.6.7]
			l.count = f.DeliveryCount.V
			l.credit -= used
		}
	}
	if l.credit == 0 {
		l.drain = false
	}
	if l.attachSent {
		l.s.c.post(event{kind: flowed, l: l})
	}
}

// transferred takes one transfer frame; body is borrowed. Whole messages are handed to the link's handler, after mu was
// released.
func (c *Conn) transferred(channel uint16, body []byte) error {
	var t frame.Transfer
	malformed := t.Decode(body)
	c.mu.Lock()
	l, d, buf, err := c.take(channel, &t, malformed)
	if d == nil {
		c.mu.Unlock()
		return err
	}
	h := l.h
	c.mu.Unlock()
	payload := t.Payload
	if buf != nil {
		payload = buf
	}
	h.Transfer(l, d, payload)
	putBuffer(buf)
	return nil
}

// take takes a transfer, unless something comes before it; malformed is what is wrong with it. It needs mu.
func (c *Conn) take(channel uint16, t *frame.Transfer, malformed error) (*Link, *Delivery, []byte, error) {
	switch {
	case c.interrupted():
		return nil, nil, nil, errNotNow
	case c.closeSent:
		return nil, nil, nil, nil // [AMQP 2.4.3]
	case malformed != nil:
		return nil, nil, nil, malformed
	}
	s, err := c.session(channel)
	if err != nil || s == nil {
		return nil, nil, nil, err
	}
	l, d, buf := s.transferred(t)
	return l, d, buf, nil
}

// transferred returns the delivery that the frame has made whole, nil if it has not, and its payload if that is not the
// frame's alone. It needs mu.
func (s *Session) transferred(t *frame.Transfer) (*Link, *Delivery, []byte) {
	if s.windowIn == 0 {
		s.fail(violation(frame.WindowViolation, "a transfer outside of the incoming window"))
		return nil, nil, nil
	}
	s.windowIn--
	s.nextIn++
	if s.windowIn <= s.c.cfg.IncomingWindow/2 {
		s.wantFlow()
	}
	l := at(s.byRemote, t.Handle)
	switch {
	case l == nil:
		s.fail(violation(frame.UnattachedHandle, "a transfer on handle %d, which is not attached", t.Handle))
		return nil, nil, nil
	case l.detachSent:
		l.discard(t)
		return nil, nil, nil
	case l.sender:
		l.fail(violation(frame.NotAllowed, "a transfer to a link that does not receive"))
		return nil, nil, nil
	}
	d, gathered := l.receive(t)
	if l.detachSent { // for this frame: the rest of its delivery is on its way
		l.ghost = t.More && !t.Aborted
	}
	return l, d, gathered
}

// receive takes a transfer to a receiver. It needs mu.
func (l *Link) receive(t *frame.Transfer) (whole *Delivery, gathered []byte) {
	if l.partial == nil {
		d := l.start(t)
		if d == nil {
			return nil, nil
		}
		if !t.More && !t.Aborted {
			return l.complete(d, t, t.Payload, nil)
		}
		l.partial = &partial{d: d}
		l.s.in.add(d) // now, so that ids rise
	} else if err := l.continued(t); err != nil {
		l.fail(err)
		return nil, nil
	}
	return l.gather(t)
}

// discard takes a transfer that was on its way when the link was detached; there are no more of these than there was
// credit [AMQP 2.6.5]. It needs mu.
func (l *Link) discard(t *frame.Transfer) {
	s := l.s
	if l.ghost { // the delivery has begun before
		l.ghost = t.More && !t.Aborted
		return
	}
	if t.DeliveryID.OK {
		s.deliveryIn = t.DeliveryID.V + 1
	} else {
		s.deliveryIn++
	}
	if l.errant == 0 {
		s.fail(violation(frame.ErrantLink, "a transfer on handle %d, which was detached", t.Handle))
		return
	}
	l.errant--
	l.ghost = t.More && !t.Aborted
}

// start begins a delivery with its first frame; nil if the frame may not be. It needs mu.
func (l *Link) start(t *frame.Transfer) *Delivery {
	s := l.s
	id := s.deliveryIn
	switch {
	case t.DeliveryID.OK && s.knowsIn && t.DeliveryID.V != id:
		s.fail(violation(frame.InvalidField, "delivery-id %d where %d comes next", t.DeliveryID.V, id)) // [AMQP 2.6.12]
		return nil
	case !t.DeliveryID.OK && (t.More || !s.knowsIn):
		s.fail(violation(frame.InvalidField, "a delivery without a delivery-id")) // [AMQP 2.7.5]
		return nil
	case t.DeliveryID.OK:
		id = t.DeliveryID.V
	}
	s.deliveryIn, s.knowsIn = id+1, true
	switch {
	case int32(l.limit-l.count) <= 0:
		l.fail(violation(frame.TransferLimitExceeded, "a transfer without credit")) // [AMQP 2.6.7]
		return nil
	case t.DeliveryTag == nil || len(t.DeliveryTag) > maxTag:
		l.fail(violation(frame.InvalidField, "a delivery-tag of 1 to 32 bytes is needed")) // [AMQP 2.7.5, 2.8.7]
		return nil
	case l.incomplete && !t.Resume:
		l.fail(violation(frame.IllegalState, "a new delivery, and what was resumed is not complete")) // [AMQP 2.7.3]
		return nil
	case t.ReceiverSettleMode.V == frame.ReceiveSecond && !l.second:
		l.fail(violation(frame.InvalidField, "rcv-settle-mode second on a link that has first")) // [AMQP 2.7.5]
		return nil
	}
	l.count++
	if l.credit > 0 {
		l.credit--
	}
	l.announce()
	d := s.c.stock.take()
	d.link, d.id, d.format, d.resumed = l, id, t.MessageFormat.V, t.Resume
	d.tagLen = uint8(copy(d.tag[:], t.DeliveryTag))
	d.second = l.second && !(t.ReceiverSettleMode.OK && t.ReceiverSettleMode.V == frame.ReceiveFirst)
	if l.memory != nil && !t.Resume { // the tag stands for another message now
		l.memory.forget(t.DeliveryTag)
	}
	return d
}

// continued checks a frame that goes on with a delivery [AMQP 2.7.5].
func (l *Link) continued(t *frame.Transfer) *frame.Error {
	d := l.partial.d
	switch {
	case t.DeliveryID.OK && t.DeliveryID.V != d.id:
		return violation(frame.InvalidField, "delivery-id %d within delivery %d", t.DeliveryID.V, d.id)
	case t.DeliveryTag != nil && string(t.DeliveryTag) != string(d.Tag()):
		return violation(frame.InvalidField, "another delivery-tag within delivery %d", d.id)
	case t.MessageFormat.OK && t.MessageFormat.V != d.format:
		return violation(frame.InvalidField, "another message-format within delivery %d", d.id)
	}
	return nil
}

// gather adds a frame to the delivery that is not whole yet. It needs mu.
func (l *Link) gather(t *frame.Transfer) (*Delivery, []byte) {
	p := l.partial
	p.d.settled = p.d.settled || t.Settled
	if t.Aborted { // [AMQP 2.7.5]: as if it had never been
		l.abandon(p.d)
		l.drop()
		return nil, nil
	}
	c := l.s.c
	have := len(p.payload) + len(t.Payload)
	if uint64(have) > l.maxMessage {
		l.fail(tooLarge(l.maxMessage))
		return nil, nil
	}
	if !t.More {
		l.partial = nil
		c.kept -= len(p.payload)
		return l.complete(p.d, t, nil, append(p.payload, t.Payload...))
	}
	if c.kept += len(t.Payload); c.kept > c.cfg.MaxPartial {
		c.kept -= len(t.Payload)
		l.fail(violation(frame.ResourceLimitExceeded, "more than %d bytes of messages that are not whole", c.cfg.MaxPartial))
		return nil, nil
	}
	if p.payload == nil {
		p.payload = getBuffer()
	}
	p.payload = append(p.payload, t.Payload...)
	return nil, nil
}

func tooLarge(max uint64) *frame.Error {
	return violation(frame.MessageSizeExceeded, "a message of more than %d bytes", max)
}

// complete enters a whole delivery. It needs mu.
func (l *Link) complete(d *Delivery, t *frame.Transfer, payload, gathered []byte) (*Delivery, []byte) {
	if uint64(len(payload)) > l.maxMessage {
		d.recycle()
		l.fail(tooLarge(l.maxMessage))
		return nil, nil
	}
	if d.resumed {
		l.resume(d, t)
		putBuffer(gathered)
		return nil, nil
	}
	d.settled = d.settled || t.Settled
	if t.State.Kind != frame.NoState {
		d.remote = keep(&t.State)
	}
	if !d.settled {
		if !d.entered {
			l.s.in.add(d)
		}
		l.list(d)
	} else if d.entered {
		l.s.in.remove(d)
	}
	return d, gathered
}
