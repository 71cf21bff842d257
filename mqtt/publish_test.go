package mqtt_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// P1, CON-A5, VXM-A2, ENM-A7, KAL-W1, CON-W1 [MQTT-4.3.2-2], [MQTT-4.3.3-8]: nothing is acknowledged before the sink has custody.
func TestAckMeansStored(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		b.sink.Hold = true
		c := b.join(v, "d1")
		c.Send(publish(1, 7, "a/b", "one"))
		m := b.sink.Wait(1)[0]
		if m.Topic != "a/b" || m.QoS != 1 || m.Client != "d1" || m.Endpoint != "test" || m.Received.IsZero() {
			t.Errorf("message %+v", m)
		}
		c.Ping() // the answer to this comes first
		b.sink.Settle(0, nil)
		c.ExpectAck(packet.PUBACK, 7, packet.Success)

		c.Send(publish(2, 8, "a/b", "two"))
		b.sink.Wait(2)
		c.Ping()
		b.sink.Settle(1, nil)
		c.ExpectAck(packet.PUBREC, 8, packet.Success)
		c.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 8})
		c.ExpectAck(packet.PUBCOMP, 8, packet.Success)

		c.Send(publish(0, 0, "a/b", "three"))
		b.sink.Wait(3)
		b.sink.Settle(2, nil)
		s := b.Stats()
		if got := fmt.Sprint(s.Acked[0].Load(), s.Acked[1].Load(), s.Acked[2].Load(), s.InFlight.Load()); got != "1 1 1 0" {
			t.Errorf("acked by QoS and in flight: %s", got)
		}
	})
}

// P3 [MQTT-4.6.0-2], [MQTT-4.6.0-3]: acks keep the order of the messages, in whatever order the sink completes.
func TestAcksInOrder(t *testing.T) {
	b := start(t)
	b.sink.Hold = true
	c := b.join(packet.V5, "d1")
	for id := uint16(1); id <= 6; id++ {
		c.Send(publish(byte(1+id%2), id, "t", "x"))
	}
	b.sink.Wait(6)
	for _, i := range []int{5, 3, 1, 0, 4, 2} {
		b.sink.Settle(i, nil)
	}
	for id := uint16(1); id <= 6; id++ {
		c.ExpectAck(packet.PUBACK+packet.Type(id%2), id, packet.Success)
	}
}

// ENM-A7, P2: what cannot be stored is refused, with the reason where the protocol has one.
func TestRefusals(t *testing.T) {
	for err, reason := range map[error]packet.Reason{
		linkspan.ErrNoRoute:                       packet.TopicNameInvalid,
		linkspan.ErrInvalidTopic:                  packet.TopicNameInvalid,
		linkspan.ErrTooManyTopics:                 packet.QuotaExceeded,
		linkspan.ErrTooLarge:                      packet.QuotaExceeded,
		linkspan.ErrNotAuthorized:                 packet.NotAuthorized,
		linkspan.Permanent(errors.New("no idea")): packet.UnspecifiedError,
	} {
		t.Run(err.Error(), func(t *testing.T) {
			b := start(t)
			b.sink.Answer = func(*linkspan.Message) error { return fmt.Errorf("send: %w", err) }
			c := b.join(packet.V5, "d1")
			c.Send(publish(0, 0, "t", "x"), publish(1, 1, "t", "x"), publish(2, 2, "t", "x"), publish(2, 2, "t", "x"))
			a := c.ExpectAck(packet.PUBACK, 1, reason)
			if a.Properties.Has(packet.ReasonString) != (reason != packet.UnspecifiedError) {
				t.Errorf("reason string %q", a.Properties.ReasonString)
			}
			c.ExpectAck(packet.PUBREC, 2, reason)
			c.ExpectAck(packet.PUBREC, 2, reason) // the identifier was free again [MQTT-4.3.3-4]
			if n := b.Stats().Rejected[reason].Load(); n != 4 {
				t.Errorf("%d rejected", n)
			}
		})
	}
}

// Without words for no, MQTT 3 gets the end of the connection, and never a positive ack.
func TestRefusalEndsMQTT3(t *testing.T) {
	for _, v := range []packet.Version{packet.V31, packet.V311} {
		for qos := byte(1); qos <= 2; qos++ {
			b := start(t)
			b.sink.Answer = func(m *linkspan.Message) error {
				if string(m.Payload) == "bad" {
					return linkspan.ErrNoRoute
				}
				return nil
			}
			c := b.join(v, "d1")
			c.Send(publish(1, 1, "t", "good"), publish(qos, 2, "t", "bad"), publish(1, 3, "t", "good"))
			r, err := c.Next()
			if err == nil && (r.Type() != packet.PUBACK || r.Body[1] != 1) {
				t.Fatalf("got %v % x", r.Type(), r.Body)
			}
			if err == nil {
				c.ExpectClosed()
			}
		}
	}
}

// P2: an error that another try may help is not answered at all; the device keeps the message and comes again.
func TestRetriableErrorEndsConnection(t *testing.T) {
	for err, reason := range map[error]packet.Reason{
		linkspan.ErrClosed: packet.ServerShuttingDown, errors.New("timeout"): packet.ServerBusy,
	} {
		b := start(t)
		b.sink.Hold = true
		c := b.join(packet.V5, "d1")
		c.Send(publish(1, 1, "t", "x"), publish(1, 2, "t", "x"))
		b.sink.Wait(2)
		b.sink.Settle(1, nil)
		b.sink.Settle(0, err) // 2 must not be acknowledged either: 1 was before it
		c.ExpectDisconnect(reason)
		if n := b.Stats().Abandoned.Load(); n != 1 {
			t.Errorf("%d abandoned", n)
		}
	}
}

// P3: what comes behind a message that failed is not handed on, also where the end has to wait for the answer to one before it: the
// device sends all of it again, in order.
func TestNothingOvertakesWhatFailed(t *testing.T) {
	b := start(t)
	b.sink.Hold = true
	c := b.join(packet.V5, "d1")
	c.Send(publish(1, 1, "t", "x"), publish(1, 2, "t", "fails"))
	b.sink.Wait(2)
	b.sink.Settle(1, errors.New("timeout"))
	c.Send(publish(1, 3, "t", "x"))
	c.Ping()
	b.sink.Settle(0, nil)
	c.ExpectAck(packet.PUBACK, 1, packet.Success)
	c.ExpectDisconnect(packet.ServerBusy)
	if n := b.sink.Count(); n != 2 {
		t.Errorf("%d were handed on", n)
	}
}

// VXM-A3 [MQTT-4.3.3-10]: a QoS 2 message is handed on once, however often it comes, and answered only with custody.
func TestQoS2Once(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		b.sink.Hold = true
		c := b.join(v, "d1")
		again := publish(2, 5, "t", "x")
		again.Dup = true
		c.Send(publish(2, 5, "t", "x"), again)
		b.sink.Wait(1)
		c.Ping()
		b.sink.Settle(0, nil)
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		c.Send(again)
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		c.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 5})
		c.ExpectAck(packet.PUBCOMP, 5, packet.Success)
		if n := b.sink.Count(); n != 1 {
			t.Errorf("%d messages", n)
		}
		c.Send(publish(2, 5, "t", "next")) // a new message [MQTT-4.3.3-12]
		b.sink.Wait(2)
		b.sink.Settle(1, nil)
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		if n := b.Stats().Repeated.Load(); n != 2 {
			t.Errorf("%d repeated", n)
		}
	})
}

// P1: a repeat is answered before the PUBCOMP of its message, whatever waits between them. After it the device would take the answer
// for that of the next message with the identifier.
func TestQoS2RepeatAnsweredAtOnce(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		b.sink.Hold = true
		c := b.join(v, "d1")
		again := publish(2, 5, "t", "x")
		again.Dup = true
		c.Send(publish(2, 5, "t", "x"), publish(2, 6, "t", "waits"))
		b.sink.Wait(2)
		b.sink.Settle(0, nil)
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		c.Send(again, &packet.Ack{Type: packet.PUBREL, PacketID: 5}, publish(2, 5, "t", "next"))
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		c.ExpectAck(packet.PUBCOMP, 5, packet.Success)
		b.sink.Wait(3)
		b.sink.Settle(1, nil)
		c.ExpectAck(packet.PUBREC, 6, packet.Success)
		c.Ping() // and nothing of 5
		b.sink.Settle(2, nil)
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
	})
}

// P1 [MQTT-4.3.3-4]: a PUBREL that comes before our PUBREC does not free the identifier of a message that the sink does not
// answer for.
func TestPubrelBeforePubrec(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		b.sink.Hold = true
		c := b.join(v, "d1")
		c.Send(publish(2, 7, "t", "x"), &packet.Ack{Type: packet.PUBREL, PacketID: 7}, publish(2, 7, "t", "x"))
		if v == packet.V5 {
			c.ExpectDisconnect(packet.ProtocolError)
		} else {
			c.ExpectClosed()
		}
		b.sink.Settle(0, nil)
		if n := b.sink.Count(); n != 1 {
			t.Errorf("%d messages", n)
		}
	})
}

func TestUnknownPacketIdentifiers(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		c := start(t).join(v, "d1")
		reason := packet.Success
		if v == packet.V5 {
			reason = packet.PacketIdentifierNotFound
		}
		c.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 9})
		c.ExpectAck(packet.PUBCOMP, 9, reason)
		c.Send(&packet.Ack{Type: packet.PUBREC, PacketID: 9})
		c.ExpectAck(packet.PUBREL, 9, reason)
		c.Send(&packet.Ack{Type: packet.PUBACK, PacketID: 9}, &packet.Ack{Type: packet.PUBCOMP, PacketID: 9})
		c.Ping()
	})
}

// VXM-W5 [MQTT-3.3.4-7], [MQTT-3.3.4-9]: MQTT 5 is told the Receive Maximum, and held to it.
func TestReceiveMaximum(t *testing.T) {
	small := func(c *mqtt.ListenerConfig) { c.ReceiveMaximum = 3 }
	t.Run("exceeded", func(t *testing.T) {
		b := start(t, small)
		b.sink.Hold = true
		c := b.dial(packet.V5)
		ack := c.Connect(packet.Connect{ClientID: "d1", CleanStart: true})
		if ack.Properties.ReceiveMaximum != 3 {
			t.Errorf("told %d", ack.Properties.ReceiveMaximum)
		}
		c.Send(publish(1, 1, "t", "x"), publish(2, 2, "t", "x"), publish(1, 3, "t", "x"), publish(0, 0, "t", "x"), publish(1, 4, "t", "x"))
		c.ExpectDisconnect(packet.ReceiveMaximumExceeded)
		for i := range b.sink.Wait(4) {
			b.sink.Settle(i, nil)
		}
	})
	t.Run("counts until PUBCOMP", func(t *testing.T) {
		b := start(t, small)
		c := b.join(packet.V5, "d1")
		for id := uint16(1); id <= 3; id++ {
			c.Send(publish(2, id, "t", "x"))
			c.ExpectAck(packet.PUBREC, id, packet.Success)
		}
		c.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 1})
		c.ExpectAck(packet.PUBCOMP, 1, packet.Success)
		c.Send(publish(1, 4, "t", "x"))
		c.ExpectAck(packet.PUBACK, 4, packet.Success)
		c.Send(publish(2, 5, "t", "x"))
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		c.Send(publish(2, 6, "t", "x"))
		c.ExpectDisconnect(packet.ReceiveMaximumExceeded)
	})
}

// P6: MQTT 3 knows no Receive Maximum. A device that sends more is read more slowly, and loses nothing.
func TestWindowHoldsBackMQTT3(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.ReceiveMaximum = 2 })
	b.sink.Hold = true
	c := b.join(packet.V311, "d1")
	const n = 50
	for id := uint16(1); id <= n; id++ {
		c.Send(publish(1, id, "t", fmt.Sprint(id)))
	}
	c.Ping() // answered out of turn
	for i := range n {
		b.sink.Wait(i + 1)
		if have := b.sink.Count(); have > i+2 {
			t.Fatalf("%d in flight", have-i)
		}
		b.sink.Settle(i, nil)
		c.ExpectAck(packet.PUBACK, uint16(i+1), packet.Success)
	}
}
