package mqtt_test

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/internal/custody"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// P1, P2, P3, P4, P8: the listener keeps the contract of every source.
func TestCustody(t *testing.T) { custody.TestSource(t, near) }

// near is a listener with one device, which publishes with QoS 1, and with MQTT 5: others are not refused a message, but the connection.
func near(t *testing.T) *custody.Near {
	const v = packet.V5
	cfg := mqtt.DefaultListenerConfig()
	cfg.URL = "mqtt://127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	registry := session.NewRegistry(session.DefaultConfig(), log)
	l, err := mqtt.Listen(cfg, registry, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = registry.Close(context.Background()) })
	var device *mqtttest.Client
	var acks atomic.Int64
	connect := func() *mqtttest.Client {
		device := mqtttest.Dial(t, l.Addr().String(), v).Join("d1")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				r, err := device.Next()
				if err != nil {
					_ = device.Conn.Close()
					return
				}
				var a packet.Ack
				if r.Type() == packet.PUBACK && a.Decode(v, r) == nil && a.Reason == packet.Success {
					acks.Add(1)
				}
			}
		}()
		t.Cleanup(func() {
			_ = device.Conn.Close()
			<-ended
		})
		return device
	}
	return &custody.Near{
		Source:  l,
		Settled: func() int { return int(acks.Load()) },
		Window:  int(cfg.ReceiveMaximum),
		Feed: func(i int) {
			if device == nil {
				device = connect()
			}
			device.Send(publish(1, uint16(i+1), "t", custody.Payload(i)))
		},
	}
}
