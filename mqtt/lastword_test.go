package mqtt_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// [MQTT-3.14.4-3]: a DISCONNECT that lies unread behind messages that had no room deletes the will, whoever ends the connection;
// and whatever else lies there does not. What was passed over is neither handed on nor acknowledged (P1).
func TestGoodbyeUnread(t *testing.T) {
	byeByte := string((&packet.Disconnect{}).Append(nil, packet.V5))
	large := string(publish(1, 9, "t", strings.Repeat("x", 60_000)).Append(nil, packet.V5))
	for _, last := range []struct {
		name, bytes string
		wills       int
	}{
		{"goodbye", byeByte, 0},
		{"goodbye behind much", large + large + byeByte, 0},
		{"goodbye before much", byeByte + large, 0},
		{"goodbye with will", string((&packet.Disconnect{Reason: packet.DisconnectWithWill}).Append(nil, packet.V5)), 1},
		{"half a message", large[:len(large)/2], 1},
		{"half a goodbye", "\xE0", 1},
		{"not MQTT", "\x00" + byeByte, 1},
		{"not MQTT 5", "\xE0\x01\x04\xE0\x02\x01\x00" + byeByte, 1},
		{"nothing", "", 1},
	} {
		for _, end := range []string{"takeover", "drain"} {
			t.Run(last.name+", "+end, func(t *testing.T) {
				t.Parallel()
				b := start(t, func(c *mqtt.ListenerConfig) { c.MaxBacklog = 1000 })
				b.sink.Set(func(s *mqtttest.Sink) { s.Full = true })
				c := b.dial(packet.V5)
				_ = c.Conn.(*net.TCPConn).SetWriteBuffer(256 << 10) // for what nobody reads yet, as large as buffers of TCP may be here
				c.Connect(packet.Connect{ClientID: "d", CleanStart: true, Will: &packet.Will{Topic: "will"}})
				c.Send(publish(0, 0, "t", strings.Repeat("x", 1000)))
				mqtttest.Until(t, "the backlog is full", func() bool { return b.Stats().Backlog.Load() > 1000 })
				c.Send(publish(0, 0, "t", "not read"))
				c.Write([]byte(last.bytes)...)
				_ = c.Conn.Close()
				if end == "takeover" {
					_ = b.join(packet.V5, "d").Conn.Close()
				} else {
					b.shutdown()
				}
				b.sink.Set(func(s *mqtttest.Sink) { s.Full = false })
				mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Sessions.Load() == 0 })
				b.shutdown()
				if err := b.registry.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
				var topics []string
				for _, m := range b.sink.Wait(b.sink.Count()) {
					topics = append(topics, m.Topic)
				}
				if want := fmt.Sprint(strings.Fields(strings.Repeat("will ", last.wills))); fmt.Sprint(topics) != want {
					t.Errorf("got messages on %v, want %s", topics, want)
				}
			})
		}
	}
}
