//go:build unix

package client

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// still is a connection that nobody has the time to read, until something has come and its deadline has passed.
type still struct {
	net.Conn
	over chan struct{} // holds one: nobody stands still any more
}

func (s *still) Read(p []byte) (n int, err error) {
	if s.over == nil {
		return s.Conn.Read(p)
	}
	<-s.over
	s.over = nil
	for limit := time.Now().Add(mqtttest.Patience); n == 0 && time.Now().Before(limit); {
		_ = s.Conn.SetReadDeadline(dial.Past())
		n, err = s.Conn.Read(p)
	}
	return n, err
}

// What the broker has said in time counts, however late we read it [MQTT 3.1.2.10]: of a machine that stands still the broker is not to
// blame, and to be given up for it would have it publish our will, and send all again.
func TestComeWhileWeStoodStill(t *testing.T) {
	const half = 100 * time.Millisecond // of the keep-alive, and all else that the broker is given
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	target, err := dial.Parse(address.MQTT(), "mqtt://"+ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := dial.Open(t.Context(), target, nil, "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	broker := mqtttest.New(t, accepted, packet.V311)

	cfg := DefaultConfig()
	cfg.AckTimeout, cfg.ConnectTimeout = half, half
	client := New(cfg, nil, nil, slog.New(slog.DiscardHandler))
	w, over := client.workers[0], make(chan struct{}, 1)
	c := newConn(w, &still{nc, over}, target, packet.V311)
	c.limits = Limits{KeepAlive: 2 * half, ReceiveMaximum: 1, MaximumQoS: 2}
	c.start()
	defer c.finish()
	defer close(over)
	go func() { // that what follows does not wait for it
		<-c.ended
		_ = broker.Conn.Close()
	}()

	done := make(chan error, 1)
	client.Send(context.Background(), &linkspan.Message{Topic: "a", QoS: 1}, func(err error) { done <- err })
	subscribed := make(chan error, 1)
	go func() {
		s := packet.Subscribe{PacketID: w.requestID(), Filters: []packet.Subscription{{Filter: "a"}}}
		_, err := w.request(context.Background(), c, s.Append(nil, packet.V311), s.PacketID, packet.SUBACK)
		subscribed <- err
	}()
	var answers []byte
	for pings := 0; pings < 4; { // after the first, there has been time enough to judge
		raw, err := broker.Next()
		if err != nil {
			t.Fatalf("given up: %v", c.failure)
		}
		switch raw.Type() {
		case packet.PINGREQ:
			pings++
			answers = packet.AppendPing(answers, packet.PINGRESP)
		case packet.PUBLISH:
			var p packet.Publish
			if err := p.Decode(packet.V311, raw); err != nil {
				t.Fatal(err)
			}
			ack := packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID}
			answers = ack.Append(answers, packet.V311)
		case packet.SUBSCRIBE:
			var s packet.Subscribe
			if err := s.Decode(packet.V311, raw); err != nil {
				t.Fatal(err)
			}
			ack := packet.Suback{PacketID: s.PacketID, Reasons: make([]packet.Reason, 1)}
			answers = ack.Append(answers, packet.V311)
		}
	}
	if _, err := broker.Conn.Write(answers); err != nil {
		t.Fatal(err)
	}
	over <- struct{}{}
	patience := time.After(mqtttest.Patience) // it may be given up after that: there is only silence
	for what, answer := range map[string]chan error{"PUBACK": done, "SUBACK": subscribed} {
		select {
		case err := <-answer:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-patience:
			t.Fatalf("%s does not count", what)
		}
	}
	select {
	case <-c.pong:
	case <-patience:
		t.Error("PINGRESP does not count")
	}
}
