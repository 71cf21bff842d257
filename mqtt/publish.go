package mqtt

import (
	"errors"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/pressure"
	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A receipt is what the device gets when the sink has taken, or refused, its QoS 1 or 2 message.
type receipt struct {
	id  uint16
	qos linkspan.QoS
}

// errRepeated is the outcome of a QoS 2 message that was sent again: the first one has the answer.
var errRepeated = linkspan.Permanent(errors.New("sent again"))

// published hands a message on. done is false if it has to wait for room (P6).
func (c *conn) published(w *work, raw packet.Raw) (done bool, err error) {
	if !c.session.MayPublish() {
		c.l.server.Pressure().Wait(c, 0)
		return false, nil
	}
	p := &w.publish
	if err := p.Decode(c.version, raw); err != nil {
		return true, err
	}
	topic := p.Topic
	if c.version == packet.V5 {
		if p.Properties.Has(packet.SubscriptionID) { // [MQTT-3.3.4-6]
			return true, &ending{reason: packet.ProtocolError, text: "subscription identifier from a client"}
		}
		if p.Properties.Has(packet.TopicAlias) {
			if topic, err = c.aliases.resolve(p, c.l.cfg.TopicAliasMaximum); err != nil {
				return true, err
			}
		}
	}
	m, ok := c.message(w, topic)
	if ok && !c.l.server.Room(m) {
		c.turnBack()
		return false, nil
	}
	c.turnedBack = 0
	settle := c.l.settleQoS0
	if p.QoS > 0 {
		var first bool
		settle, first, err = c.receipt(p)
		if err != nil || settle == nil {
			return err != nil, err
		}
		if !first {
			return true, nil
		}
	}
	if !ok {
		c.l.stats.InFlight.In(1)
		settle(envelope.ErrUserProperties)
		return true, nil
	}
	return true, c.handOn(m, settle)
}

// turnBack has the connection wait until there is room: where there is some, but not for its message, the longer the more often.
func (c *conn) turnBack() {
	if !c.l.server.Room(nil) {
		c.l.server.Pressure().Wait(c, 0)
		return
	}
	c.l.server.Pressure().Wait(c, c.turnedBack)
	c.turnedBack = pressure.Patience(c.turnedBack)
}

// handOn gives the sink a message, unless somebody has ended the connection.
func (c *conn) handOn(m *linkspan.Message, settle func(error)) error {
	c.l.stats.InFlight.In(1)
	c.handing.Lock()
	if e := c.stopped.Load(); e != nil {
		c.handing.Unlock()
		settle(linkspan.ErrClosed)
		return e
	}
	c.l.stats.Received[m.QoS].Add(1)
	c.l.server.Send(m, settle)
	c.handing.Unlock()
	return nil
}

// message makes a message of the PUBLISH in w. It borrows the read buffer. ok is false if it has too many user
// properties.
func (c *conn) message(w *work, topic string) (m *linkspan.Message, ok bool) {
	p := &w.publish
	m = &w.message
	m.Reset()
	m.Topic, m.Payload, m.QoS, m.Retain = topic, p.Payload, p.QoS, p.Retain
	m.Endpoint, m.Client, m.Username, m.Received = c.l.cfg.Name, c.client, c.username, w.now
	m.Mute = m.QoS == 0 || c.version < packet.V5
	ok = envelope.Read(m, &p.Properties, c.l.cfg.MaxUserProperties)
	envelope.ReadExpiry(m, &p.Properties)
	return m, ok
}

// receipt opens the window for a QoS 1 or 2 message. settle is nil if it is full, or if the connection will end once it is known in its
// turn that a message failed; first is false for a QoS 2 message that the sink has, or is about to have [MQTT-4.3.3-10].
func (c *conn) receipt(p *packet.Publish) (settle func(error), first bool, err error) {
	if c.version == packet.V5 && c.unanswered() >= int32(c.l.cfg.ReceiveMaximum) { // [MQTT-3.3.4-9]
		return nil, false, &ending{reason: packet.ReceiveMaximumExceeded}
	}
	if c.window.Failed() { // the device will send that one again, and what came after it (P3)
		return nil, false, nil
	}
	r := receipt{p.PacketID, p.QoS}
	settle, ok := c.window.Open(r)
	if !ok {
		c.blocked.Store(true) // then look again: it may have settled before it could see that
		if settle, ok = c.window.Open(r); !ok {
			return nil, false, nil
		}
	}
	c.inFlight.Add(1)
	if p.QoS < 2 {
		return settle, true, nil
	}
	c.forgetRefused()
	if !c.session.Receive(p.PacketID) {
		settle(errRepeated)
		c.repeated(p.PacketID)
		return settle, false, nil
	}
	c.Lock()
	defer c.Unlock()
	if c.taking == nil {
		c.taking = map[uint16]struct{}{}
	}
	c.taking[p.PacketID] = struct{}{}
	return settle, true, nil
}

// repeated answers for the second time a message that was answered once; who waits for the first answer will have it. It does so at
// once, since a PUBREC that comes after the PUBCOMP of its message the device takes for that of the next one with the identifier (P1).
func (c *conn) repeated(id uint16) {
	c.l.stats.Repeated.Add(1)
	c.Lock()
	if _, awaited := c.taking[id]; awaited || c.IsShut() {
		c.Unlock()
		return
	}
	b := c.Buffer()
	b.B = packet.AppendAck(b.B, packet.PUBREC, id)
	c.Added(1)
}

// unanswered returns how many messages count for the Receive Maximum. A QoS 2 message that is settled meanwhile moves from
// inFlight to unsolved: read in this order, it may be missed but is never counted twice.
func (c *conn) unanswered() int32 {
	unsolved := c.unsolved.Load()
	return unsolved + c.inFlight.Load()
}

// settled answers a QoS 1 or 2 message: in the order in which they came [MQTT-4.6.0-2], and positively only when the sink
// answers for it (P1). Any goroutine, with the window locked.
func (c *conn) settled(r receipt, err error) {
	repeat := err == errRepeated
	var no *packet.Ack
	var end *ending
	if err != nil && !repeat {
		no, end = c.refuse(err)
	}
	c.Lock()
	left := c.inFlight.Add(-1)
	if r.qos == 2 && !repeat {
		delete(c.taking, r.id)
		if no == nil {
			c.unsolved.Add(1)
		} else {
			c.refused = append(c.refused, r.id)
		}
	}
	switch {
	case end != nil:
		c.Shut() // no ack may overtake the one that is missing
		c.Unlock()
		c.stopShut(end)
	case c.IsShut() || repeat:
		c.Unlock()
	default:
		b := c.Buffer()
		b.B = c.appendAnswer(b.B, r, no)
		c.Added(1)
	}
	if err == nil {
		c.l.stats.Acked[r.qos].Add(1)
	}
	if !repeat {
		c.l.server.Settled()
	}
	roomy := left <= int32(c.l.cfg.ReceiveMaximum)*3/4
	if roomy && c.blocked.Load() && c.blocked.Swap(false) || left == 0 && c.l.server.Draining() {
		c.Wake()
	}
}

// refuse is for a message that the sink did not take. It returns the words of the ack that tells the device so, or the end of
// the connection where there is no such ack: MQTT 3 has no word for no, and what is worth another try is the
// device's to try again.
func (c *conn) refuse(err error) (*packet.Ack, *ending) {
	if !linkspan.IsPermanent(err) {
		c.l.stats.Abandoned.Add(1)
		if errors.Is(err, linkspan.ErrClosed) {
			return nil, endStopping
		}
		return nil, &ending{reason: packet.ServerBusy, text: "the message could not be stored"}
	}
	reason, text := c.l.rejected(c.client, err)
	if c.version < packet.V5 {
		return nil, &ending{reason: reason, text: text}
	}
	no := &packet.Ack{Reason: reason}
	c.say(&no.Properties, text)
	return no, nil
}

// forgetRefused frees the identifiers of refused QoS 2 messages. The reader does so before it asks the session about one:
// settled may not, since it may be called with the session's lock waiting for the sink: see device.Disconnect.
func (c *conn) forgetRefused() {
	c.Lock()
	refused := c.refused
	c.refused = nil
	c.Unlock()
	for _, id := range refused {
		c.session.Forget(id)
	}
}

// released takes a PUBREL, and reports whether its message was known. It says that the device has our PUBREC; before that
// it would free the identifier of a message that the sink does not answer for (P1) [MQTT-4.3.3-4].
func (c *conn) released(id uint16) (known bool, err error) {
	c.forgetRefused()
	c.Lock()
	_, early := c.taking[id]
	c.Unlock()
	if early {
		return false, &ending{reason: packet.ProtocolError, text: "PUBREL before PUBREC"}
	}
	if known = c.session.Release(id); known {
		c.unsolved.Add(-1)
	}
	return known, nil
}

// appendAnswer adds the ack of a message. no is nil, or has the words of a refusal: the device hears them if it takes packets as
// long as that [MQTT-3.4.2-2].
func (c *conn) appendAnswer(b []byte, r receipt, no *packet.Ack) []byte {
	t := packet.PUBACK // [MQTT-4.3.2-2]
	if r.qos == 2 {
		t = packet.PUBREC // [MQTT-4.3.3-8]
	}
	if no == nil {
		return packet.AppendAck(b, t, r.id)
	}
	no.Type, no.PacketID = t, r.id
	whole := no.Append(b, c.version)
	if !c.fits(len(whole) - len(b)) {
		no.Properties.Reset()
		whole = no.Append(b, c.version)
	}
	return whole
}

// acknowledged takes the device's side of QoS 1 and 2, in both directions.
func (c *conn) acknowledged(w *work, raw packet.Raw) error {
	a := &w.ack
	if err := a.Decode(c.version, raw); err != nil {
		return err
	}
	answer := packet.Type(0)
	known := true
	switch a.Type {
	case packet.PUBACK:
		c.session.PubAck(a.PacketID)
	case packet.PUBREC:
		failed := a.Reason >= packet.UnspecifiedError
		known = c.session.PubRec(a.PacketID, failed)
		if !failed {
			answer = packet.PUBREL // [MQTT-4.3.3-4]
		}
	case packet.PUBCOMP:
		c.session.PubComp(a.PacketID)
	case packet.PUBREL:
		var err error
		if known, err = c.released(a.PacketID); err != nil {
			return err
		}
		answer = packet.PUBCOMP // [MQTT-4.3.3-11]
	}
	if answer == 0 {
		return nil
	}
	reply := packet.Ack{Type: answer, PacketID: a.PacketID}
	if !known {
		reply.Reason = packet.PacketIdentifierNotFound
	}
	if b := c.Open(); b != nil {
		b.B = reply.Append(b.B, c.version)
		c.Added(1)
	}
	return nil
}
