package client_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// P1 [MQTT-4.3.1-1], [MQTT-4.3.2-1], [MQTT-4.3.3-1]: a message is done when the broker has acknowledged it.
func TestDelivery(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, version(v.String()))
			early := r.send(down(1, "t", "before the connection"))
			p := b.welcome(packet.Connack{})
			m := p.expect("before the connection")
			if m.QoS != 1 || m.Dup || m.Retain || m.Topic != "t" {
				t.Errorf("%+v", m)
			}
			pending(t, early)
			p.Send(puback(m.PacketID))
			delivered(t, early)

			delivered(t, r.send(down(0, "t", "zero")))
			p.expect("zero")

			two := r.send(down(2, "t", "two"))
			m = p.expect("two")
			p.Send(&packet.Ack{Type: packet.PUBREC, PacketID: m.PacketID})
			p.ExpectAck(packet.PUBREL, m.PacketID, packet.Success)
			pending(t, two)
			p.Send(&packet.Ack{Type: packet.PUBCOMP, PacketID: m.PacketID})
			delivered(t, two)
			if s := r.Stats(); s.Delivered[0].Load() != 1 || s.Delivered[1].Load() != 1 || s.Delivered[2].Load() != 1 || s.Queued.Load() != 0 {
				t.Errorf("%d %d %d, %d queued", s.Delivered[0].Load(), s.Delivered[1].Load(), s.Delivered[2].Load(), s.Queued.Load())
			}
		})
	}
}

// [MQTT-3.3.2-4] to [MQTT-3.3.2-20]: properties go along with MQTT 5, and are left out with MQTT 3.
func TestDeliveryProperties(t *testing.T) {
	for _, v := range everyVersion {
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, version(v.String()))
		p := b.welcome(packet.Connack{})
		m := down(0, "t", "x")
		m.PayloadFormat, m.ContentType, m.ResponseTopic, m.CorrelationData = linkspan.PayloadBytes, "c", "r", []byte("d")
		m.UserProperties = []linkspan.Property{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}}
		m.Retain, m.Expires = true, time.Now().Add(time.Hour)
		delivered(t, r.send(m))
		got := p.expect("x")
		a := &got.Properties
		user := ""
		for k, v := range a.UserProperties() {
			user += k + "=" + v + " "
		}
		want := "k=v k=w "
		if v < packet.V5 {
			want = ""
		} else if a.PayloadFormat != 0 || !a.Has(packet.PayloadFormat) || a.ContentType != "c" || a.ResponseTopic != "r" ||
			string(a.CorrelationData) != "d" || a.MessageExpiry != 3600 {
			t.Errorf("%+v", a)
		}
		if user != want || !got.Retain {
			t.Errorf("%v: user properties %q, retain %v", v, user, got.Retain)
		}
	}
}

// P3, P5 [MQTT-4.4.0-1], [MQTT-3.3.1-1]: on a session that goes on, messages are sent again with their identifiers, in order; QoS 2
// goes on where it was.
func TestResumedDelivery(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, version(v.String()))
			p := b.welcome(packet.Connack{})
			var sent []chan error
			for i := range 4 {
				sent = append(sent, r.send(down(1+byte(i%2), "t", fmt.Sprint(i))))
			}
			var ids []uint16
			for i := range 4 {
				ids = append(ids, p.expect(fmt.Sprint(i)).PacketID)
			}
			p.Send(puback(ids[2]))
			delivered(t, sent[2])
			p.Send(&packet.Ack{Type: packet.PUBREC, PacketID: ids[1]})
			p.ExpectAck(packet.PUBREL, ids[1], packet.Success)
			_ = p.Conn.Close()

			p = b.welcome(resumed)
			late := r.send(down(1, "t", "late"))
			if m := p.expect("0"); !m.Dup || m.PacketID != ids[0] {
				t.Errorf("%+v", m)
			}
			p.ExpectAck(packet.PUBREL, ids[1], packet.Success)
			if m := p.expect("3"); !m.Dup || m.PacketID != ids[3] {
				t.Errorf("%+v", m)
			}
			m := p.expect("late")
			if m.Dup || m.PacketID == ids[0] || m.PacketID == ids[1] || m.PacketID == ids[3] {
				t.Errorf("%+v", m)
			}
			p.Send(puback(ids[0]), &packet.Ack{Type: packet.PUBCOMP, PacketID: ids[1]}, puback(m.PacketID))
			delivered(t, sent[0])
			delivered(t, sent[1])
			delivered(t, late)
			pending(t, sent[3])
		})
	}
}

// P2: on a session that is new, messages are sent as new, in order.
func TestDeliveryOnNewSession(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, version("5"))
	p := b.welcome(packet.Connack{})
	one, two := r.send(down(2, "t", "one")), r.send(down(1, "t", "two"))
	id := p.expect("one").PacketID
	p.expect("two")
	p.Send(&packet.Ack{Type: packet.PUBREC, PacketID: id})
	p.ExpectAck(packet.PUBREL, id, packet.Success)
	_ = p.Conn.Close()
	p = b.welcome(packet.Connack{})
	m := p.expect("one")
	n := p.expect("two")
	if m.Dup || n.Dup {
		t.Error("a new session has seen nothing")
	}
	p.Send(&packet.Ack{Type: packet.PUBREC, PacketID: m.PacketID}, puback(n.PacketID))
	p.ExpectAck(packet.PUBREL, m.PacketID, packet.Success)
	p.Send(&packet.Ack{Type: packet.PUBCOMP, PacketID: m.PacketID})
	delivered(t, one)
	delivered(t, two)
}

// P2: what the broker refuses is refused with its reason, and the rest flows.
func TestRefusedByBroker(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, version("5"))
	p := b.welcome(packet.Connack{})
	one, two, three := r.send(down(1, "t", "one")), r.send(down(2, "t", "two")), r.send(down(1, "t", "three"))
	no := packet.Ack{Type: packet.PUBACK, PacketID: p.expect("one").PacketID, Reason: packet.NotAuthorized}
	no.Properties.ReasonString = "not yours"
	no.Properties.Set(packet.ReasonString)
	p.Send(&no)
	if err := outcome(t, one); !linkspan.IsPermanent(err) || !strings.Contains(err.Error(), "not authorized: not yours") {
		t.Errorf("%v", err)
	}
	p.Send(&packet.Ack{Type: packet.PUBREC, PacketID: p.expect("two").PacketID, Reason: packet.QuotaExceeded})
	if err := outcome(t, two); !linkspan.IsPermanent(err) || !strings.Contains(err.Error(), "quota exceeded") {
		t.Errorf("%v", err)
	}
	p.Send(&packet.Ack{Type: packet.PUBACK, PacketID: p.expect("three").PacketID, Reason: packet.NoMatchingSubscribers})
	delivered(t, three)
	if n := r.Stats().Refused.Load(); n != 2 {
		t.Errorf("%d refused", n)
	}
}

// [MQTT-3.2.2-11], [MQTT-3.2.2-14], [MQTT-3.2.2-15], [MQTT-4.9.0-1]: what CONNACK says is kept to.
func TestBrokerLimits(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, version("5"))
	var ack packet.Connack
	a := &ack.Properties
	a.MaximumQoS, a.RetainAvailable, a.MaximumPacketSize, a.ReceiveMaximum, a.ServerKeepAlive = 1, false, 100, 2, 7
	a.Set(packet.MaximumQoS, packet.RetainAvailable, packet.MaximumPacketSize, packet.ReceiveMaximum, packet.ServerKeepAlive)
	p := b.welcome(ack)
	big := r.send(down(1, "t", strings.Repeat("x", 100)))
	if err := outcome(t, big); !errors.Is(err, linkspan.ErrTooLarge) || !linkspan.IsPermanent(err) {
		t.Errorf("%v", err)
	}
	m := down(2, "t", "one")
	m.Retain = true
	one := r.send(m)
	two := r.send(down(1, "t", "two"))
	three := r.send(down(1, "t", "three"))
	got := p.expect("one")
	if got.QoS != 1 || got.Retain {
		t.Errorf("%+v", got)
	}
	next := p.expect("two").PacketID
	p.quiet() // the third waits
	p.Send(puback(got.PacketID))
	delivered(t, one)
	p.Send(puback(next), puback(p.expect("three").PacketID))
	delivered(t, two)
	delivered(t, three)
	l := r.Status().Limits
	if l.MaximumQoS != 1 || l.Retain || l.MaxPacketSize != 100 || l.ReceiveMaximum != 2 || l.KeepAlive != 7*time.Second || !l.Shared {
		t.Errorf("%+v", l)
	}
	if n := r.log.Count("level=WARN", "messages are sent without"); n != 1 {
		t.Errorf("%d warnings", n)
	}
}

// P2: a broker of MQTT 3 cannot tell how much of QoS 2 it keeps, and Mosquitto throws away what is too much: ten at a time are few
// enough. MQTT 5 brokers say what they take.
func TestQoS2InFlight(t *testing.T) {
	for _, v := range everyVersion {
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, version(v.String()))
		p := b.welcome(packet.Connack{})
		var all []chan error
		for range 30 {
			all = append(all, r.send(down(2, "t", "x")))
		}
		for i := 0; i < 30; {
			var ids []uint16
			for range min(30-i, map[bool]int{true: 30, false: 10}[v == packet.V5]) {
				ids = append(ids, p.expect("x").PacketID)
			}
			p.quiet()
			for _, id := range ids {
				p.Send(&packet.Ack{Type: packet.PUBREC, PacketID: id})
				p.ExpectAck(packet.PUBREL, id, packet.Success)
			}
			p.quiet() // those that are not complete count, too
			for _, id := range ids {
				p.Send(&packet.Ack{Type: packet.PUBCOMP, PacketID: id})
				delivered(t, all[i])
				i++
			}
		}
	}
}

// P6: there is room for max_in_flight messages and max_in_flight_bytes, connected or not.
func TestRoom(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, config(func(c *client.Config) { c.MaxInFlight, c.MaxInFlightBytes = 3, 1000 }))
	var all []chan error
	for range 3 {
		if !r.Room(nil) {
			t.Fatal("no room")
		}
		all = append(all, r.send(down(1, "t", "x")))
	}
	if r.Room(nil) {
		t.Fatal("room for a fourth")
	}
	p := b.welcome(packet.Connack{})
	for range 3 {
		p.Send(puback(p.expect("x").PacketID))
	}
	for _, c := range all {
		delivered(t, c)
	}
	r.send(down(1, "t", strings.Repeat("x", 1000)))
	if r.Room(nil) {
		t.Fatal("room for more bytes")
	}
}

// A message that has expired is of no use to the broker [MQTT-3.3.2-5].
func TestExpired(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr)
	m := down(1, "t", "old")
	m.Expires = time.Now().Add(-time.Second)
	old := r.send(m)
	p := b.welcome(packet.Connack{})
	delivered(t, old)
	p.quiet()
	if n := r.Stats().Expired.Load(); n != 1 {
		t.Errorf("%d expired", n)
	}
}

// P2 [MQTT-3.3.5-2]: a message for which a broker closes the connection each time is found, and refused; the others arrive, in order.
func TestPoison(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, version(v.String()))
			var outcomes []chan error
			for _, payload := range []string{"a", "b", "poison", "c", "d"} {
				outcomes = append(outcomes, r.send(down(1, "t", payload)))
			}
			got, connections := "", 0
			for got != "abcd" {
				connections++
				if connections > 20 {
					t.Fatalf("not found out; got %q", got)
				}
				p := b.welcome(resumed)
				for alive := true; alive && got != "abcd"; {
					raw, err := p.Next()
					if err != nil {
						t.Fatal(err)
					}
					var m packet.Publish
					if err := m.Decode(v, raw); err != nil {
						t.Fatal(err)
					}
					if alive = string(m.Payload) != "poison"; alive {
						got += string(m.Payload)
						p.Send(puback(m.PacketID))
					}
				}
				if got != "abcd" {
					_ = p.Conn.Close()
				}
			}
			for i, c := range outcomes {
				if err := outcome(t, c); i != 2 && err != nil || i == 2 && !linkspan.IsPermanent(err) {
					t.Errorf("message %d: %v", i, err)
				}
			}
		})
	}
}

// A broker that goes away with reasons of its own is not held to have refused a message.
func TestBlameless(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, version("5"))
	c := r.send(down(1, "t", "x"))
	for range 10 {
		p := b.welcome(resumed)
		p.expect("x")
		p.Send(&packet.Disconnect{Reason: packet.ServerShuttingDown})
		_ = p.Conn.Close()
	}
	p := b.welcome(resumed)
	p.Send(puback(p.expect("x").PacketID))
	delivered(t, c)
}

// A broker that does not acknowledge in time is connected to anew.
func TestAckTimeout(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, config(func(c *client.Config) { c.AckTimeout = 50 * time.Millisecond }))
	p := b.welcome(packet.Connack{})
	c := r.send(down(1, "t", "x"))
	id := p.expect("x").PacketID
	p.ExpectClosed()
	lost := r.Stats().Losses[client.CauseTimeout].Load
	for n := uint64(1); len(c) == 0; n++ { // more than once if we are too slow ourselves
		p = b.welcome(resumed)
		if m := p.expect("x"); !m.Dup || m.PacketID != id {
			t.Errorf("%+v", m)
		}
		if lost() < n {
			t.Error("not counted")
		}
		_, _ = p.Conn.Write(puback(id).Append(nil, p.Version))
		mqtttest.Until(t, "it is done, or given up again", func() bool { return len(c) > 0 || lost() > n })
	}
	delivered(t, c)
}

// A message that takes longer than the broker has time to acknowledge it, as on a slow line, is not sent for ever: each connection gives it
// more.
func TestAckTimeoutGrows(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, config(func(c *client.Config) { c.AckTimeout = 50 * time.Millisecond }))
	p := b.welcome(packet.Connack{})
	r.send(down(1, "t", "x"))
	for _, patience := range []string{"50ms", "100ms", "200ms", "400ms"} {
		p.expect("x")
		p.ExpectClosed()
		p = b.welcome(resumed)
		if got := r.Status().LastError; !strings.Contains(got, " within "+patience) {
			t.Errorf("%s, want %s", got, patience)
		}
	}
}

// P8: what the broker has not acknowledged when Run ends is the sender's again.
func TestUnsentAtTheEnd(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, config(func(c *client.Config) { c.DrainTimeout = time.Millisecond }))
	p := b.welcome(packet.Connack{})
	c := r.send(down(1, "t", "x"))
	p.expect("x")
	r.stop()
	if err := outcome(t, c); !errors.Is(err, linkspan.ErrClosed) {
		t.Errorf("%v", err)
	}
	r.shutdown()
	if err := outcome(t, r.send(down(0, "t", "x"))); !errors.Is(err, linkspan.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// P2: a message that no MQTT packet can carry is refused at once.
func TestNoPacket(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr)
	for _, topic := range []string{"", "a/+", strings.Repeat("x", 70000)} {
		if err := outcome(t, r.send(down(1, topic, "x"))); !errors.Is(err, linkspan.ErrInvalidTopic) {
			t.Errorf("%v", err)
		}
	}
	m := down(1, "t", "x")
	m.ContentType = strings.Repeat("x", 70000)
	if err := outcome(t, r.send(m)); !linkspan.IsPermanent(err) {
		t.Errorf("%v", err)
	}
	m.ContentType = "\xff"
	c := r.send(m)
	b.welcome(packet.Connack{})
	if err := outcome(t, c); !linkspan.IsPermanent(err) {
		t.Errorf("%v", err)
	}
}

// [MQTT-2.2.1-3]: with all in flight that may be, there are packet identifiers left for what the connection itself asks.
func TestAllIdentifiersInUse(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, filters("a"), version("3.1.1"), config(func(c *client.Config) { c.MaxInFlight = 65535 }))
	p := b.welcome(packet.Connack{})
	p.subscribed()
	m := down(1, "t", "")
	for range 65535 {
		r.Send(context.Background(), &m, func(error) {})
	}
	if n := r.Stats().Sent[1].Load(); n < 65000 || n > 65533 {
		t.Errorf("%d are in flight", n)
	}
}
