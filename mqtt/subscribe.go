package mqtt

import (
	"errors"
	"strings"

	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// subscribe answers a SUBSCRIBE, filter by filter [MQTT-3.8.4-6], before anything that matches is delivered.
func (c *conn) subscribe(w *work, raw packet.Raw) error {
	p := &w.subscribe
	if err := p.Decode(c.version, raw); err != nil {
		return err
	}
	var id uint32
	for i := range p.Properties.SubscriptionIDs() {
		id = i
	}
	subs := make([]session.Subscription, len(p.Filters))
	for i, f := range p.Filters {
		subs[i] = session.Subscription{Filter: strings.Clone(f.Filter), QoS: f.QoS, NoLocal: f.NoLocal,
			RetainAsPublished: f.RetainAsPublished, RetainHandling: f.RetainHandling, ID: id}
	}
	var err error
	c.session.Subscribe(subs, func(granted []session.SubscribeResult) {
		ack := packet.Suback{PacketID: p.PacketID, Reasons: make([]packet.Reason, len(granted))}
		for i, g := range granted {
			ack.Reasons[i] = subscribed(g)
		}
		err = c.answer(&ack) // [MQTT-3.8.4-1]
	})
	return err
}

// answer adds a SUBACK or UNSUBACK, which cannot be made shorter for a device that does not take it [MQTT-3.1.2-24].
func (c *conn) answer(ack interface {
	Append(dst []byte, v packet.Version) []byte
}) error {
	b := c.Open()
	if b == nil {
		return nil
	}
	whole := ack.Append(b.B, c.version)
	if !c.fits(len(whole) - len(b.B)) {
		c.Added(0)
		return &ending{reason: packet.PacketTooLarge, text: "the device does not take the answer"}
	}
	b.B = whole
	c.Added(1)
	return nil
}

// subscribed returns the reason code of one filter.
func subscribed(g session.SubscribeResult) packet.Reason {
	switch {
	case g.Err == nil:
		return packet.Reason(g.QoS)
	case errors.Is(g.Err, session.ErrShared):
		return packet.SharedSubscriptionsNotSupported
	case errors.Is(g.Err, session.ErrFilter):
		return packet.TopicFilterInvalid
	case errors.Is(g.Err, session.ErrTooMany):
		return packet.QuotaExceeded
	}
	return packet.UnspecifiedError
}

func (c *conn) unsubscribe(w *work, raw packet.Raw) error {
	p := &w.unsubscribe
	if err := p.Decode(c.version, raw); err != nil {
		return err
	}
	var err error
	c.session.Unsubscribe(p.Filters, func(existed []bool) {
		ack := packet.Unsuback{PacketID: p.PacketID, Reasons: make([]packet.Reason, len(existed))}
		for i, ok := range existed {
			if !ok {
				ack.Reasons[i] = packet.NoSubscriptionExisted
			}
		}
		err = c.answer(&ack) // [MQTT-3.10.4-4]
	})
	return err
}
