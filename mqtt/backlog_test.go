package mqtt_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// P6: while the sink has no room nothing is handed on and nothing lost, and everything but messages is answered.
func TestFullSink(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
		c := b.join(v, "d1")
		for i := range 10 {
			c.Send(publish(byte(i%3), uint16(i), "t", fmt.Sprint(i)))
		}
		c.Ping()
		c.Subscribe(1, filter("x", 1))
		b.send(linkspan.Message{Topic: "x", QoS: 1})
		var p packet.Publish
		c.Expect(packet.PUBLISH, &p)
		c.Send(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID}, &packet.Unsubscribe{PacketID: 2, Filters: []string{"x"}})
		c.Expect(packet.UNSUBACK, nil)
		if b.sink.Count() != 0 || b.Stats().Backlog.Load() == 0 {
			t.Error("handed on without room")
		}
		b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
		if got := mqtttest.Payloads(b.sink.Wait(10)); got != "0 1 2 3 4 5 6 7 8 9" { // P3
			t.Errorf("order %s", got)
		}
		for i := range 10 {
			if i%3 > 0 {
				c.ExpectAck(packet.PUBACK+packet.Type(i%3-1), uint16(i), packet.Success)
			}
		}
		mqtttest.Until(t, "the backlog is empty", func() bool { return b.Stats().Backlog.Load() == 0 })
	})
}

// P6: a topic that there is no room for holds back who publishes on it, behind what it sent before and with its keep-alives
// answered, and nobody else.
func TestRoomForOneTopic(t *testing.T) {
	b := start(t)
	b.sink.Set(func(s *mqtttest.Sink) { s.Shut = "held" })
	held, free := b.join(packet.V5, "held"), b.join(packet.V5, "free")
	held.Send(publish(1, 1, "free", "0"), publish(2, 2, "held", "1"), publish(1, 3, "free", "2"))
	held.ExpectAck(packet.PUBACK, 1, packet.Success)
	held.Ping()
	free.Send(publish(1, 1, "free", "other"))
	free.ExpectAck(packet.PUBACK, 1, packet.Success)
	if n := b.sink.Count(); n != 2 {
		t.Errorf("%d messages were handed on", n)
	}
	b.sink.Set(func(s *mqtttest.Sink) { s.Shut = "" })
	held.ExpectAck(packet.PUBREC, 2, packet.Success)
	held.ExpectAck(packet.PUBACK, 3, packet.Success)
	if got := mqtttest.Payloads(b.sink.Wait(4)); got != "0 other 1 2" { // P3
		t.Errorf("order %s", got)
	}
}

// [MQTT-4.3.3-10]: a repeat that waits for room is none of a new message, though its message is released before there is room.
func TestRepeatInBacklog(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		c := b.join(v, "d1")
		c.Send(publish(2, 5, "t", "first"))
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
		again := publish(2, 5, "t", "first")
		again.Dup = true
		c.Send(again, &packet.Ack{Type: packet.PUBREL, PacketID: 5}, publish(2, 5, "t", "second"))
		c.Ping()
		b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		c.ExpectAck(packet.PUBCOMP, 5, packet.Success)
		c.ExpectAck(packet.PUBREC, 5, packet.Success)
		if got := mqtttest.Payloads(b.sink.Wait(2)); got != "first second" {
			t.Errorf("got %s", got)
		}
	})
}

// P6: beyond the backlog's bound the device is not read, and goes on where it was held up.
func TestFullBacklog(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxBacklog, c.ReceiveMaximum = 10_000, 65535 })
	b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
	c := b.dial(packet.V311)
	const keepAlive = 4 // seconds: a machine that stands still for less is no silence while we do listen
	c.Connect(packet.Connect{ClientID: "d1", CleanStart: true, KeepAlive: keepAlive})
	const n = 3000
	payload := strings.Repeat("x", 1000)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for id := uint16(1); id <= n; id++ {
			p := publish(1, id, "t", payload)
			if _, err := c.Conn.Write(p.Append(nil, packet.V311)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	mqtttest.Until(t, "the backlog is full", func() bool { return b.Stats().Backlog.Load() >= 10_000 })
	silent := b.dial(packet.V311)
	silent.Connect(packet.Connect{ClientID: "d2", CleanStart: true, KeepAlive: keepAlive})
	silent.ExpectClosed() // so the other has been longer without a packet than its keep-alive allows: but we do not listen
	if held := b.Stats().Backlog.Load(); held > 11_100 {
		t.Errorf("%d bytes held back", held)
	}
	b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
	for id := uint16(1); id <= n; id++ {
		c.ExpectAck(packet.PUBACK, id, packet.Success)
	}
	<-sent
}

// The bound of all connections together holds, and lets each go on in the end.
func TestFullBacklogOfAll(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxBacklogTotal = 1500 })
	b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
	payload := strings.Repeat("x", 1000)
	for i := range 5 {
		c := b.join(packet.V5, fmt.Sprint(i))
		for range 4 {
			c.Send(publish(0, 0, "t", payload))
		}
	}
	mqtttest.Until(t, "each has one in its backlog", func() bool { return b.Stats().Backlog.Load() >= 5_000 })
	if held := b.Stats().Backlog.Load(); held > 7_100 {
		t.Errorf("%d bytes held back", held)
	}
	b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
	b.sink.Wait(20)
}

// A device that leaves behind what it sent has sent it: DISCONNECT keeps its place behind the messages.
func TestGoodbyeBehindBacklog(t *testing.T) {
	for _, goodbye := range []bool{true, false} {
		b := start(t)
		b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
		c := b.join(packet.V311, "d1")
		c.Send(publish(0, 0, "t", "1"), publish(0, 0, "t", "2"))
		if goodbye {
			c.Send(&packet.Disconnect{})
		}
		_ = c.Conn.Close()
		mqtttest.Until(t, "all is read", func() bool { return b.Stats().Backlog.Load() >= 12 })
		b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
		if got := mqtttest.Payloads(b.sink.Wait(2)); got != "1 2" {
			t.Errorf("got %s", got)
		}
		mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Open.Load() == 0 })
	}
}

// P8: stop means drain. What the sink has is acknowledged, MQTT 5 is told why, and then the connection ends.
func TestDrain(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		b.sink.Hold = true
		busy, idle := b.join(v, "busy"), b.join(v, "idle")
		busy.Send(publish(1, 1, "t", "x"), publish(0, 0, "t", "x"), publish(2, 2, "t", "x"))
		b.sink.Wait(3)
		b.stop()
		expectEnd := func(c interface {
			ExpectDisconnect(packet.Reason) packet.Disconnect
			ExpectClosed()
		}) {
			if v == packet.V5 {
				c.ExpectDisconnect(packet.ServerShuttingDown)
			} else {
				c.ExpectClosed()
			}
		}
		expectEnd(idle) // so it is draining
		busy.Send(publish(1, 3, "t", "too late"))
		b.sink.Settle(2, nil)
		b.sink.Settle(0, nil)
		busy.ExpectAck(packet.PUBACK, 1, packet.Success)
		busy.ExpectAck(packet.PUBREC, 2, packet.Success)
		expectEnd(busy)
		select {
		case err := <-b.ended:
			t.Fatalf("ended with a QoS 0 message in flight: %v", err)
		default:
		}
		b.sink.Settle(1, nil)
		b.shutdown()
		if n := b.sink.Count(); n != 3 {
			t.Errorf("%d messages", n)
		}
	})
}

// P8: a sink that never answers holds up the end no longer than DrainTimeout, and nothing is acknowledged.
func TestDrainTimeout(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.DrainTimeout = 20 * time.Millisecond })
	b.sink.Hold = true
	c := b.join(packet.V5, "d1")
	c.Send(publish(1, 1, "t", "x"))
	b.sink.Wait(1)
	b.stop()
	c.ExpectDisconnect(packet.ServerShuttingDown)
	b.shutdown()
	b.sink.Settle(0, nil) // late, and harmless
}

// A device that is gone does not take back what it sent: the sink's context is not the connection's.
func TestContextOutlivesConnection(t *testing.T) {
	b := start(t)
	contexts := make(chan context.Context, 1)
	b.sink.Onward = linkspan.SinkFunc(func(ctx context.Context, _ *linkspan.Message, done func(error)) {
		contexts <- ctx
		done(nil)
	})
	c := b.join(packet.V5, "d1")
	c.Send(publish(1, 1, "t", "x"))
	ctx := <-contexts
	_ = c.Conn.Close()
	mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Open.Load() == 0 })
	if ctx.Err() != nil {
		t.Error("ended with the connection")
	}
}
