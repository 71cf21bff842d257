package amqp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/session"
)

// A live is a link over which the client receives what comes down to an MQTT topic or filter. To the session registry it is a device
// with one subscription: what it has no credit for waits there, within the bounds of a session (ENM-A1). What the client says of a
// delivery is counted and otherwise all the same: there is nobody else to get it.
type live struct {
	c       *conn
	link    *engine.Link
	settled bool // the client wants its messages settled
	session *session.Session
	number  uint64       // of QoS 0 messages
	open    atomic.Int64 // deliveries that the client has not settled
}

var (
	_ engine.LinkHandler = (*live)(nil)
	_ session.Conn       = (*live)(nil)
)

// attachLive subscribes. Like a device, the client is there as long as its link is.
func (c *conn) attachLive(link *engine.Link, filter string, answer frame.Attach) (engine.LinkHandler, *frame.Error) {
	a := link.Remote()
	switch {
	case c.l.parts.Live == nil:
		return nil, refuse(frame.NotFound, "There are no live messages here")
	case answer.Source.Durable != frame.DurableNone:
		return nil, refuse(frame.NotImplemented, "Live messages are not kept for who is away: write TOPIC/group.id/GROUP")
	}
	r := &live{c: c, link: link, settled: a.SenderSettleMode == frame.SendSettled}
	if err := link.Accept(answer); err != nil {
		return nil, refuse(frame.InternalError, err.Error())
	}
	r.session = c.l.parts.Live.Connect(session.ConnectRequest{ClientID: c.container + "/" + link.Name() + "/" + rand.Text(),
		Endpoint: c.l.cfg.Name, Conn: r})
	sub := session.Subscription{Filter: filter, QoS: 2, RetainAsPublished: true}
	if r.settled {
		sub.QoS = 0
	}
	var failed error
	r.session.Subscribe([]session.Subscription{sub}, func(granted []session.SubscribeResult) { failed = granted[0].Err })
	if failed != nil {
		r.session.Close(false)
		err := subscribeError(failed)
		link.Detach(true, err)
		c.l.stats.Refused.add(err.Condition)
		return r, nil
	}
	c.l.stats.LiveReceivers.Add(1)
	return r, nil
}

func subscribeError(err error) *frame.Error {
	switch {
	case errors.Is(err, session.ErrTooMany):
		return refuse(frame.ResourceLimitExceeded, err.Error())
	case errors.Is(err, session.ErrShared):
		return refuse(frame.NotImplemented, err.Error())
	}
	return refuse(frame.InvalidField, err.Error())
}

// Deliver sends a message. Any goroutine, with the session locked.
func (r *live) Deliver(d *session.Delivery) session.Outcome {
	if r.link.Credit() == 0 || r.open.Load() >= int64(r.c.l.cfg.Unsettled) {
		return session.Full
	}
	w := downs.Get().(*down)
	defer downs.Put(w)
	w.message = *d.Message
	m := &w.message
	m.QoS, m.Retain = d.QoS, d.Retain
	payload := w.encode(r.c.l.codecDown(m.Record.Topic), m, 0, false)
	// The identifier is the tag of those that are to be settled; the others have a number, which is longer.
	if d.QoS > 0 {
		w.tag = binary.BigEndian.AppendUint16(w.tag[:0], d.PacketID)
	} else {
		r.number++
		w.tag = binary.BigEndian.AppendUint64(w.tag[:0], r.number)
	}
	if !r.settled {
		r.open.Add(1)
	}
	_, err := r.link.Send(engine.Outgoing{Tag: w.tag, Payload: payload, Settled: r.settled})
	if err != nil && !r.settled {
		r.open.Add(-1)
	}
	switch {
	case err == nil:
		r.c.l.stats.Delivered.Add(1)
		return session.Sent
	case errors.Is(err, engine.ErrTooLarge):
		r.c.l.stats.TooLarge.Add(1)
		return session.TooLarge
	}
	return session.Full
}

// Disconnect says that the session has ended.
func (r *live) Disconnect(why session.Reason) {
	condition := frame.DetachForced
	if why == session.QuotaExceeded {
		condition = frame.ResourceLimitExceeded
	}
	r.link.Detach(true, refuse(condition, "The session has ended: "+why.String()))
}

// Attached is for links that we ask for: there are none.
func (r *live) Attached(*engine.Link) {}

// Transfer does not happen to who sends.
func (r *live) Transfer(*engine.Link, *engine.Delivery, []byte) {}

// Flow says that there may be room.
func (r *live) Flow(link *engine.Link) {
	r.session.Resume()
	if link.Draining() { // what waits was sent
		link.Drained()
	}
}

// Settled ends a delivery.
func (r *live) Settled(_ *engine.Link, d *engine.Delivery) {
	state := d.Remote()
	if !state.Kind.Outcome() && !d.RemotelySettled() {
		return
	}
	id := uint16(0)
	if tag := d.Tag(); len(tag) == 2 {
		id = binary.BigEndian.Uint16(tag)
	}
	r.c.l.stats.outcome(state.Kind)
	d.Settle(state)
	if r.open.Add(-1) == int64(r.c.l.cfg.Unsettled)-1 {
		r.session.Resume()
	}
	if id > 0 && !r.session.PubAck(id) { // of QoS 2: one answer of AMQP stands for both of MQTT
		r.session.PubRec(id, false)
		r.session.PubComp(id)
	}
}

// Detached ends the session.
func (r *live) Detached(link *engine.Link, _ bool, _ *frame.Error) {
	r.c.links--
	r.session.Close(false)
	for _, d := range link.Unsettled() {
		d.Settle(frame.State{})
	}
	r.c.l.stats.LiveReceivers.Add(-1)
}

// down is what a message is encoded with.
type down struct {
	message linkspan.Message
	buf     []byte
	tag     []byte
}

var downs = sync.Pool{New: func() any { return new(down) }}

// encode makes an AMQP message of m. position adds where in Kafka it is.
func (w *down) encode(c codec.Codec, m *linkspan.Message, count uint32, position bool) []byte {
	w.buf = c.Append(w.buf[:0], m, codec.Annotate{Position: position, Count: count})
	return w.buf
}
