package mqtt_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// bounded is a sink that is a function, with room when the other sink has it.
type bounded struct {
	linkspan.SinkFunc
	*sink
}

func (b bounded) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	b.SinkFunc(ctx, m, done)
}

// P3, KAL-A8 [MQTT-3.1.4-3]: what waits in a connection that is taken over is not handed on any more once the next one
// publishes.
func TestTakeoverEndsBacklog(t *testing.T) {
	s := newSink()
	s.Full = true
	next := make(chan struct{})
	var handed atomic.Int32
	s.direct = bounded{func(ctx context.Context, m *linkspan.Message, done func(error)) {
		if handed.Add(1) == 10 {
			close(next)
		}
		s.Send(ctx, m, done)
		runtime.Gosched()
	}, s}
	b := startWith(t, s)
	old := b.join(packet.V311, "d")
	const n = 6000
	var all []byte
	for range n {
		all = publish(0, 0, "t", "old").Append(all, packet.V311)
	}
	old.Write(all...)
	mqtttest.Until(t, "they wait", func() bool { return b.Stats().Backlog.Load() > 0 })
	c := b.dial(packet.V311)
	s.Set(func(s *mqtttest.Sink) { s.Full = false })
	<-next
	c.Write(publish(0, 0, "t", "new").Append((&packet.Connect{Version: packet.V311, ClientID: "d", CleanStart: true}).Append(nil), packet.V311)...)
	c.Expect(packet.CONNACK, nil)
	old.ExpectClosed()
	mqtttest.Until(t, "the old one is gone", func() bool { return b.Stats().Open.Load() == 1 })
	c.Send(publish(1, 1, "t", "last"))
	c.ExpectAck(packet.PUBACK, 1, packet.Success)
	seen := false
	for i, m := range s.Wait(s.Count()) {
		if string(m.Payload) == "new" {
			seen = true
		} else if seen && string(m.Payload) == "old" {
			t.Fatalf("message %d of the old connection after one of the new", i)
		}
	}
	if held := b.Stats().Backlog.Load(); held != 0 {
		t.Errorf("%d bytes held back", held)
	}
}

// [MQTT-3.1.2-10], [MQTT-3.14.4-3]: DISCONNECT deletes the will although the connection's end waits behind its messages,
// and DISCONNECT with reason 0x04 does not.
func TestGoodbyeDeletesWillAtOnce(t *testing.T) {
	for _, reason := range []packet.Reason{packet.Success, packet.DisconnectWithWill} {
		for _, end := range []string{"takeover", "drain", "room"} {
			t.Run(fmt.Sprint(end, " ", reason), func(t *testing.T) {
				b := start(t)
				b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
				c := b.dial(packet.V5)
				c.Connect(packet.Connect{ClientID: "d", CleanStart: true, Will: &packet.Will{Topic: "will"}})
				c.Send(publish(0, 0, "t", "1"), &packet.Disconnect{Reason: reason}, publish(0, 0, "t", "after the end"))
				mqtttest.Until(t, "all is digested", func() bool { return b.Stats().PacketsIn.Load() >= 3 })
				_ = c.Conn.Close()
				wills, messages := 0, 0
				switch end {
				case "takeover":
					_ = b.join(packet.V5, "d").Conn.Close()
				case "drain":
					b.shutdown()
				case "room":
					messages = 1
				}
				b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
				mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Sessions.Load() == 0 })
				b.shutdown()
				if err := b.registry.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
				if reason == packet.DisconnectWithWill {
					wills = 1
				}
				for _, m := range b.sink.Wait(b.sink.Count()) {
					if m.Topic == "will" {
						wills--
					} else {
						messages--
					}
				}
				if wills != 0 || messages != 0 {
					t.Errorf("%d wills and %d messages missing", wills, messages)
				}
			})
		}
	}
}
