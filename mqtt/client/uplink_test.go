package client_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// P1, CON-A5, CON-W1, UNS-W3 [MQTT-4.3.2-4], [MQTT-4.6.0-2]: the broker gets its acknowledgements after custody, in the order of the
// messages.
func TestAckAfterCustody(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, filters("a/#"), version(v.String()))
			r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
			p := b.welcome(packet.Connack{})
			p.subscribed()
			p.Send(publish(1, 1, "a/1", "one"), publish(0, 0, "a/2", "two"), publish(1, 3, "a/3", "three"))
			r.sink.Got(t, "one two three")
			p.quiet()
			r.sink.Settle(2, nil)
			r.sink.Settle(1, nil)
			p.quiet()
			r.sink.Settle(0, nil)
			p.ExpectAck(packet.PUBACK, 1, packet.Success)
			p.ExpectAck(packet.PUBACK, 3, packet.Success)
			m := r.sink.Wait(1)[0]
			if m.Endpoint != "plant" || m.Topic != "a/1" || m.QoS != 1 || m.Client != "" || m.Received.IsZero() {
				t.Errorf("message: %+v", m)
			}
		})
	}
}

// [MQTT-4.3.3-8] to [MQTT-4.3.3-11]: QoS 2 reaches the sink once, however often the broker sends it before PUBREL.
func TestQoS2(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			b, r, p := joined(t, version(v.String()))
			r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
			p.Send(publish(2, 7, "a", "one"), dup(publish(2, 7, "a", "one")))
			r.sink.Got(t, "one")
			r.sink.Settle(0, nil)
			p.ExpectAck(packet.PUBREC, 7, packet.Success)
			_ = p.Conn.Close()

			p = b.welcome(resumed)
			if v == packet.V31 {
				p.subscribed()
			}
			p.Send(dup(publish(2, 7, "a", "one")))
			p.ExpectAck(packet.PUBREC, 7, packet.Success)
			p.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 7})
			p.ExpectAck(packet.PUBCOMP, 7, packet.Success)
			p.Send(publish(2, 7, "a", "two"))
			r.sink.Got(t, "one two")
			r.sink.Settle(1, nil)
			p.ExpectAck(packet.PUBREC, 7, packet.Success)
		})
	}
}

// P5 [MQTT-4.4.0-1]: on a session that goes on, what is still on its way to Kafka or was not acknowledged yet is recognised when it
// is sent again. Whatever may have been acknowledged is not: its identifier may be that of another message by now.
func TestResentIsRecognised(t *testing.T) {
	b, r, p := joined(t, version("3.1.1"))
	r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
	p.Send(publish(1, 1, "a", "acked"), publish(1, 2, "a", "settled-while-away"), publish(1, 3, "a", "in-flight"))
	r.sink.Got(t, "acked settled-while-away in-flight")
	r.sink.Settle(0, nil)
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
	_ = p.Conn.Close()

	p = b.accept()
	r.sink.Settle(1, nil)
	p.Send(&packet.Connack{SessionPresent: true})
	p.Send(dup(publish(1, 2, "a", "settled-while-away")), dup(publish(1, 3, "a", "in-flight")), publish(1, 1, "a", "acked"))
	p.ExpectAck(packet.PUBACK, 2, packet.Success)
	p.quiet()
	r.sink.Settle(2, nil)
	p.ExpectAck(packet.PUBACK, 3, packet.Success)
	r.sink.Got(t, "acked settled-while-away in-flight acked")
	r.sink.Settle(3, nil)
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
	if n := r.Stats().Resent.Load(); n != 2 {
		t.Errorf("%d recognised", n)
	}
}

// P5: the same identifier with other content, or on a session that is new, is another message.
func TestOtherMessageIsNotRecognised(t *testing.T) {
	for _, present := range []bool{true, false} {
		b, r, p := joined(t, version("5"))
		r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
		p.Send(publish(1, 1, "a", "one"), publish(1, 2, "a", "two"))
		r.sink.Wait(2)
		_ = p.Conn.Close()
		p = b.welcome(packet.Connack{SessionPresent: present})
		want := "one two other"
		p.Send(dup(publish(1, 1, "a", "other")))
		if !present {
			p.subscribed()
			p.Send(dup(publish(1, 2, "a", "two")))
			want = "one two other two"
		}
		r.sink.Got(t, want)
		for i := range r.sink.Count() {
			r.sink.Settle(i, nil)
		}
		p.ExpectAck(packet.PUBACK, 1, packet.Success)
	}
}

// P1, P3: after a failure that passes nothing behind it is acknowledged, and all of it is taken again, in order.
func TestPassingFailure(t *testing.T) {
	b, r, p := joined(t, version("3.1.1"))
	r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
	p.Send(publish(1, 1, "a", "one"), publish(1, 2, "a", "two"), publish(1, 3, "a", "three"))
	r.sink.Wait(3)
	r.sink.Settle(0, nil)
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
	r.sink.Settle(2, nil)
	r.sink.Settle(1, errPassing)
	p.ExpectClosed()
	p = b.welcome(resumed)
	r.sink.Set(func(s *mqtttest.Sink) { s.Hold = false })
	p.Send(dup(publish(1, 2, "a", "two")), dup(publish(1, 3, "a", "three")))
	p.ExpectAck(packet.PUBACK, 2, packet.Success)
	p.ExpectAck(packet.PUBACK, 3, packet.Success)
	r.sink.Got(t, "one two three two three")
	if n := r.Stats().Losses[client.CauseSink].Load(); n != 1 {
		t.Errorf("%d losses for the sink", n)
	}
}

// P2, UNS-W2: what the sink refuses for good is refused to the broker, which MQTT 5 has a word for; with MQTT 3 the connection ends.
func TestPermanentFailure(t *testing.T) {
	refuse := func(m *linkspan.Message) error {
		if string(m.Payload) == "bad" {
			return linkspan.ErrNoRoute
		}
		return nil
	}
	t.Run("5", func(t *testing.T) {
		_, r, p := joined(t, version("5"))
		r.sink.Set(func(s *mqtttest.Sink) { s.Answer = refuse })
		p.Send(publish(1, 1, "a", "bad"), publish(2, 2, "a", "bad"), publish(1, 3, "a", "good"))
		p.ExpectAck(packet.PUBACK, 1, packet.TopicNameInvalid)
		p.ExpectAck(packet.PUBREC, 2, packet.TopicNameInvalid)
		p.ExpectAck(packet.PUBACK, 3, packet.Success)
		p.Send(publish(2, 2, "a", "good")) // the identifier is free again [MQTT-4.3.3-9]
		p.ExpectAck(packet.PUBREC, 2, packet.Success)
		if n := r.Stats().Rejected.Load(); n != 2 {
			t.Errorf("%d rejected", n)
		}
	})
	t.Run("3.1.1", func(t *testing.T) {
		b, r, p := joined(t, version("3.1.1"))
		r.sink.Set(func(s *mqtttest.Sink) { s.Answer = refuse })
		p.Send(publish(1, 1, "a", "bad"))
		p.ExpectClosed()
		p = b.welcome(resumed)
		p.Send(dup(publish(1, 1, "a", "bad")))
		p.ExpectClosed()
		r.sink.Set(func(s *mqtttest.Sink) { s.Answer = nil })
		p = b.welcome(resumed)
		p.Send(dup(publish(1, 1, "a", "bad")))
		p.ExpectAck(packet.PUBACK, 1, packet.Success)
	})
}

// P6 [MQTT-3.1.2-20]: while the sink has no room nothing is read, and the keep-alive goes on.
func TestNoRoom(t *testing.T) {
	_, r, p := joined(t, version("5"), config(func(c *client.Config) { c.KeepAlive = 2 * time.Second }))
	r.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
	p.Send(publish(1, 1, "a", "one"), publish(1, 2, "a", "two"))
	for range 2 { // none of them answered
		p.Expect(packet.PINGREQ, nil)
	}
	if n := r.sink.Count(); n != 0 {
		t.Fatalf("%d messages came", n)
	}
	p.Write(packet.AppendPing(nil, packet.PINGRESP)...)
	r.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
	for {
		raw, err := p.Next()
		if err != nil {
			t.Fatal(err)
		}
		if raw.Type() == packet.PUBACK {
			break
		}
	}
	r.sink.Got(t, "one two")
	if n := r.Stats().Losses[client.CauseTimeout].Load(); n != 0 {
		t.Errorf("%d connections given up", n)
	}
}

// P6: no more than receive_maximum messages are on their way, also from a broker that does not care.
func TestReceiveMaximum(t *testing.T) {
	_, r, p := joined(t, version("3.1.1"), config(func(c *client.Config) { c.ReceiveMaximum = 4 }))
	r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
	const n = 100
	for i := range n {
		p.Send(publish(1, uint16(i+1), "a", "x"))
	}
	for i := range n {
		r.sink.Wait(min(i+4, n))
		mqtttest.Until(t, "the others wait", func() bool { return i+4 >= n || r.Stats().InFlight.Load() == 4 })
		r.sink.Settle(i, nil)
		p.ExpectAck(packet.PUBACK, uint16(i+1), packet.Success)
	}
}

// P6: a broker that never reads its acknowledgements is not read any more, and QoS 0 alone is never held up for any.
func TestAcknowledgementsAreBounded(t *testing.T) {
	_, r, p := joined(t, version("3.1.1"), config(func(c *client.Config) { c.ReceiveMaximum = 2 }))
	for range 1000 {
		p.Send(publish(0, 0, "a", "x"))
	}
	r.sink.Wait(1000)
	p.Send(publish(1, 1, "a", "x"))
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
}

// [MQTT-3.3.2-4] to [MQTT-3.3.2-20]: what MQTT 5 sends along comes along.
func TestProperties(t *testing.T) {
	_, r, p := joined(t)
	m := publish(0, 0, "a", "x")
	m.Retain = true
	a := &m.Properties
	a.PayloadFormat, a.MessageExpiry, a.ContentType, a.ResponseTopic, a.CorrelationData = 1, 60, "text/plain", "r", []byte{1}
	a.Set(packet.PayloadFormat, packet.MessageExpiry, packet.ContentType, packet.ResponseTopic, packet.CorrelationData)
	a.AddUserProperty("k", "v")
	a.AddUserProperty("k", "w")
	p.Send(m)
	got := r.sink.Wait(1)[0]
	if !got.Retain || got.PayloadFormat != linkspan.PayloadUTF8 || got.ContentType != "text/plain" || got.ResponseTopic != "r" ||
		!slices.Equal(got.CorrelationData, []byte{1}) || got.Expires.Sub(got.Received) != time.Minute ||
		!slices.Equal(got.UserProperties, []linkspan.Property{{Key: "k", Value: "v"}, {Key: "k", Value: "w"}}) {
		t.Errorf("%+v", got)
	}
}

// [MQTT-3.2.2-17]: a topic alias that we did not allow ends the connection.
func TestTopicAlias(t *testing.T) {
	b, r, p := joined(t)
	m := publish(0, 0, "a", "x")
	m.Properties.TopicAlias = 1
	m.Properties.Set(packet.TopicAlias)
	p.Send(m)
	p.ExpectDisconnect(packet.TopicAliasInvalid)
	b.welcome(resumed)
	if n := r.Stats().Losses[client.CauseProtocol].Load(); n != 1 {
		t.Errorf("%d protocol errors", n)
	}
}

// P8: Run takes nothing more, waits for what is in flight, acknowledges it, and says goodbye.
func TestDrain(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			_, r, p := joined(t, version(v.String()), config(func(c *client.Config) { c.DrainTimeout = time.Minute }))
			r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
			p.Send(publish(1, 1, "a", "one"))
			r.sink.Wait(1)
			sent := r.send(down(1, "b", "down"))
			d := p.expect("down")
			r.stop()
			mqtttest.Until(t, "nothing is taken any more", func() bool {
				return errors.Is(outcome(t, r.send(down(0, "b", "late"))), linkspan.ErrClosed)
			})
			p.Send(publish(1, 2, "a", "two"))
			pending(t, sent)
			p.Send(puback(d.PacketID))
			delivered(t, sent)
			r.sink.Settle(0, nil)
			for raw := p.next(); raw.Type() != packet.PUBACK; raw = p.next() {
				var late packet.Publish
				if err := late.Decode(v, raw); err != nil || string(late.Payload) != "late" {
					t.Fatalf("%v %q %v", raw.Type(), raw.Body, err)
				}
			}
			p.Expect(packet.DISCONNECT, nil)
			_ = p.Conn.Close()
			r.shutdown()
			r.sink.Got(t, "one")
		})
	}
}

// P1, P5: what was on its way when the broker lost the session says nothing of messages of the next session, though they have the same
// packet identifier and content.
func TestForgottenMessageIsNotRecognised(t *testing.T) {
	b, r, p := joined(t, version("3.1.1"))
	r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
	p.Send(publish(1, 1, "a", "same"))
	r.sink.Wait(1)
	_ = p.Conn.Close()

	p = b.welcome(packet.Connack{}) // the session is another
	p.subscribed()
	p.quiet()          // it knows that it is subscribed
	_ = p.Conn.Close() // what it sent is lost on the way

	p = b.accept()
	r.sink.Settle(0, nil)
	p.Send(&resumed)
	p.Send(dup(publish(1, 1, "a", "same")))
	p.quiet() // P1: not acknowledged without being taken
	r.sink.Got(t, "same same")
	r.sink.Settle(1, nil)
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
}

// P3, P8: Run waits for what is in flight, connected or not: who takes over is sent it again, and must not overtake it.
func TestDrainWithoutConnection(t *testing.T) {
	b, r, p := joined(t, config(func(c *client.Config) { c.DrainTimeout = time.Millisecond }))
	r.sink.Set(func(s *mqtttest.Sink) { s.Hold = true })
	p.Send(publish(1, 1, "a", "x"))
	r.sink.Wait(1)
	_ = b.ln.Close()
	_ = p.Conn.Close()
	mqtttest.Until(t, "nobody can be reached", func() bool { return r.Stats().Failures[client.CauseNetwork].Load() > 0 })
	r.shutdown()
	if n := r.log.Count("not settled", "in_flight=1"); n != 1 {
		t.Errorf("%d lines say that it did not wait to the end", n)
	}
	r.sink.Settle(0, nil)
}
