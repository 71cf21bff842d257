package mqtt

import (
	"sync"
	"time"

	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// A device is a connection as its session sees it.
type device conn

var _ session.Conn = (*device)(nil)

var publishes = sync.Pool{New: func() any { return new(packet.Publish) }}

// Deliver encodes a message for the wire.
func (d *device) Deliver(m *session.Delivery) session.Outcome {
	c := (*conn)(d)
	p := publishes.Get().(*packet.Publish)
	defer publishes.Put(p)
	c.encode(p, m)

	c.Lock()
	if c.IsShut() {
		c.Unlock()
		return session.Full
	}
	fresh := c.alias(p)
	size := p.Size(c.version)
	switch waiting := c.Waiting(); {
	case !c.fits(size), size > packet.MaxSize:
		c.Unlock()
		c.l.stats.TooLarge.Add(1)
		return session.TooLarge
	case waiting > 0 && waiting+size > c.l.cfg.MaxOutgoing:
		c.Starve()
		c.Unlock()
		return session.Full
	}
	if fresh {
		c.learned(p)
	}
	b := c.Buffer()
	b.B = p.Append(b.B, c.version)
	c.Added(1)
	c.l.stats.Delivered[m.QoS].Add(1)
	return session.Sent
}

// Disconnect ends the connection with that reason. Nothing is handed to the sink any more when it returns, so that what
// the client's next connection publishes, and its will, come after what this one did (P3). The sink's Send does not come
// back to the session, which is locked here.
func (d *device) Disconnect(why session.Reason) {
	c := (*conn)(d)
	c.stop(&ending{reason: packet.Reason(why)})
	c.handing.Lock()
	c.handing.Unlock() //nolint:staticcheck // waits for who has it
}

// encode makes a PUBLISH of a delivery. It borrows from it.
func (c *conn) encode(p *packet.Publish, d *session.Delivery) {
	m := d.Message
	p.Topic, p.Payload, p.PacketID, p.QoS, p.Dup, p.Retain = m.Topic, m.Payload, d.PacketID, d.QoS, false, d.Retain
	if c.version < packet.V5 {
		return
	}
	a := &p.Properties
	envelope.Write(a, m)
	if !m.Expires.IsZero() {
		envelope.WriteExpiry(a, time.Until(m.Expires))
	}
	for _, id := range d.SubscriptionIDs { // [MQTT-3.3.4-3]
		a.AddSubscriptionID(id)
	}
}
