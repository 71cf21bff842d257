package mqtt_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// Before CONNECT nobody may send a packet that is longer than a CONNECT can be.
func TestLongConnect(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.ConnectTimeout = time.Hour })
	c := b.dial(packet.V5)
	c.Write(0x10, 0xF0, 0xFF, 0x3F) // 1 MiB
	c.ExpectClosed()
	long := packet.Connect{ClientID: "d", CleanStart: true, HasPassword: true, Password: make([]byte, 65535),
		Will: &packet.Will{Topic: "t", Payload: make([]byte, 65535)}}
	b.dial(packet.V5).Connect(long)
}

// Packets that never come whole have a bound over all connections; who has room below it keeps it.
func TestPartialPacketsOfAll(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxPartialTotal = 100_000 })
	part := append([]byte{0x30, 0xC0, 0x84, 0x3D, 0, 1, 't'}, make([]byte, 60_000)...) // of 1,000,000
	first, second := b.join(packet.V5, "d1"), b.join(packet.V5, "d2")
	first.Write(part...)
	mqtttest.Until(t, "it has come", func() bool { return b.Stats().Partial.Load() >= 60_000 })
	second.Write(part...)
	second.ExpectDisconnect(packet.ServerBusy)
	b.join(packet.V5, "d3").Ping()
	mqtttest.Until(t, "only the first is held", func() bool { return b.Stats().Sessions.Load() == 2 })
	_ = first.Conn.Close()
	mqtttest.Until(t, "nothing is", func() bool { return b.Stats().Partial.Load() == 0 })
}

// More user properties than allowed make a message, and a will, one that is refused for good (P2).
func TestMaxUserProperties(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxUserProperties = 2 })
	with := func(p *packet.Properties, n int) {
		for i := range n {
			p.AddUserProperty("k", fmt.Sprint(i))
		}
	}
	c := b.join(packet.V5, "d1")
	for qos := range byte(3) {
		p := publish(qos, uint16(qos), "t", "x")
		with(&p.Properties, 3)
		c.Send(p)
	}
	c.ExpectAck(packet.PUBACK, 1, packet.QuotaExceeded)
	c.ExpectAck(packet.PUBREC, 2, packet.QuotaExceeded)
	if n := b.Stats().Rejected[packet.QuotaExceeded].Load(); n != 3 {
		t.Errorf("%d rejected", n)
	}
	p := publish(1, 1, "t", "x")
	with(&p.Properties, 2)
	c.Send(p)
	c.ExpectAck(packet.PUBACK, 1, packet.Success)
	if n := b.sink.Count(); n != 1 {
		t.Errorf("%d messages", n)
	}
	will := &packet.Will{Topic: "t"}
	with(&will.Properties, 3)
	if ack := b.dial(packet.V5).TryConnect(packet.Connect{ClientID: "d2", CleanStart: true, Will: will}); ack.Reason != packet.QuotaExceeded {
		t.Errorf("CONNACK %v", ack.Reason)
	}
}

// [MQTT-3.1.2-24]: no answer is longer than the device's Maximum Packet Size; if it cannot be shorter, the connection ends.
func TestAnswersTooLarge(t *testing.T) {
	b := start(t)
	connect := func(size uint32) packet.Connect {
		p := packet.Connect{ClientID: "d", CleanStart: true}
		p.Properties.MaximumPacketSize = size
		p.Properties.Set(packet.MaximumPacketSize)
		return p
	}
	if ack := b.dial(packet.V5).TryConnect(connect(8)); ack.Reason != packet.PacketTooLarge || len(ack.Append(nil, packet.V5)) > 8 {
		t.Errorf("CONNACK %v", ack.Reason)
	}
	silent := b.dial(packet.V5)
	p := connect(4)
	p.Version = packet.V5
	silent.Write(p.Append(nil)...)
	silent.ExpectClosed()
	var filters []packet.Subscription
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprint(i))
		filters = append(filters, filter(names[i], 0))
	}
	for _, ask := range []interface {
		Append(dst []byte, v packet.Version) []byte
	}{&packet.Subscribe{PacketID: 1, Filters: filters}, &packet.Unsubscribe{PacketID: 1, Filters: names}} {
		c := b.dial(packet.V5)
		c.Connect(connect(90))
		c.Subscribe(7, filters[:50]...)
		c.Send(ask)
		c.ExpectDisconnect(packet.PacketTooLarge)
	}
}

// [MQTT-3.2.0-1]: the first packet is a CONNACK, also when the session ends before it is written.
func TestConnackFirst(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		if err := b.registry.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		c := b.dial(v)
		if ack := c.TryConnect(packet.Connect{ClientID: "d", CleanStart: true}); ack.Reason != packet.ServerUnavailable {
			t.Errorf("CONNACK %v", ack.Reason)
		}
		c.ExpectClosed()
	})
}

// A silent shutdown publishes no will, in whatever order listener and registry end.
func TestSilentShutdown(t *testing.T) {
	for _, silent := range []bool{true, false} {
		s := newSink()
		s.sessions = func(c *session.Config) { c.SilentShutdown = silent }
		b := startWith(t, s)
		c := b.dial(packet.V311)
		c.Connect(packet.Connect{ClientID: "d", CleanStart: true, Will: &packet.Will{Topic: "will"}})
		b.stop()
		c.ExpectClosed()
		b.shutdown()
		if err := b.registry.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := b.sink.Count(); silent != (n == 0) {
			t.Errorf("silent %v: %d wills", silent, n)
		}
	}
}

// P3: what a device publishes waits for the will that its last connection left.
func TestWillComesFirst(t *testing.T) {
	s := newSink()
	s.Full = true                        // for the will
	s.direct = linkspan.SinkFunc(s.Send) // for messages there is room
	b := startWith(t, s)
	defer s.Set(func(s *mqtttest.Sink) { s.Full = false })
	old := b.dial(packet.V5)
	old.Connect(packet.Connect{ClientID: "d", CleanStart: true, Will: &packet.Will{Topic: "t", Payload: []byte("will")}})
	_ = old.Conn.Close()
	mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Open.Load() == 0 })
	c := b.join(packet.V5, "d")
	c.Send(publish(1, 1, "t", "1"), publish(0, 0, "t", "2"))
	c.Ping()
	b.join(packet.V5, "other").Send(publish(1, 1, "t", "0"))
	b.sink.Wait(1)
	s.Set(func(s *mqtttest.Sink) { s.Full = false })
	if got := mqtttest.Payloads(b.sink.Wait(4)); got != "0 will 1 2" {
		t.Errorf("got %s", got)
	}
	c.ExpectAck(packet.PUBACK, 1, packet.Success)
}
