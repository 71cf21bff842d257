package client_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// FuzzBroker lets a broker send anything after CONNACK: the connection ends or goes on, every message is done once, and Run ends.
func FuzzBroker(f *testing.F) {
	for _, v := range everyVersion {
		var all []byte
		for _, p := range []mqtttest.Packet{publish(1, 1, "a", "x"), dup(publish(2, 2, "a", "x")), &packet.Ack{Type: packet.PUBREL, PacketID: 2},
			puback(1), &packet.Ack{Type: packet.PUBREC, PacketID: 1}, &packet.Ack{Type: packet.PUBCOMP, PacketID: 1},
			&packet.Suback{PacketID: 1, Reasons: []packet.Reason{0, 1}}, &packet.Unsuback{PacketID: 1, Reasons: []packet.Reason{0}}} {
			all = p.Append(all, v)
			f.Add(byte(v), p.Append(nil, v))
		}
		f.Add(byte(v), all)
	}
	f.Add(byte(5), (&packet.Disconnect{Reason: packet.SessionTakenOver}).Append(nil, packet.V5))
	f.Add(byte(5), []byte{0xD0, 0})
	f.Add(byte(5), []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F})
	f.Fuzz(func(t *testing.T, v byte, sent []byte) {
		version := packet.Version(3 + v%3)
		cfg := client.DefaultConfig()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg.Dial, cfg.Version, cfg.DrainTimeout = []string{"mqtt://" + ln.Addr().String()}, version.String(), time.Nanosecond
		c := client.New(cfg, []string{"a/+", "+/b"}, nil, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		var running, done sync.WaitGroup
		running.Go(func() {
			_ = c.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }))
		})
		for qos := range byte(3) {
			done.Add(1)
			m := down(qos, "t", "x")
			c.Send(ctx, &m, func(error) { done.Done() }) // a second call panics
		}
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(mqtttest.Patience))
		if _, err := nc.Read(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		_, _ = nc.Write(append((&packet.Connack{}).Append(nil, version), sent...))
		_ = nc.(*net.TCPConn).CloseWrite()
		for b := make([]byte, 10_000); err == nil; _, err = nc.Read(b) { // until the client has seen the end
		}
		cancel()
		_ = nc.Close()
		_ = ln.Close()
		running.Wait()
		done.Wait()
	})
}

// FuzzWebSocket lets a server send any frames.
func FuzzWebSocket(f *testing.F) {
	f.Add([]byte{0x82, 4, 0x20, 3, 0, 0, 0x02, 1, 0})
	f.Add([]byte{0x89, 0, 0x02, 2, 0x20, 3, 0x80, 3, 0, 0, 0})
	f.Add([]byte{0x88, 2, 3, 0xE8})
	f.Add([]byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0, 1, 0x20})
	f.Fuzz(func(t *testing.T, sent []byte) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		cfg := client.DefaultConfig()
		cfg.Dial, cfg.Version = []string{"ws://" + ln.Addr().String()}, "5"
		var running sync.WaitGroup
		running.Go(func() { _, _ = client.Probe(context.Background(), cfg) })
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_ = nc.SetDeadline(time.Now().Add(mqtttest.Patience))
		upgraded(t, nc)
		_, _ = nc.Write(sent)
		_ = nc.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, nc)
		_ = nc.Close()
		_ = ln.Close()
		running.Wait()
	})
}

// Garbage in place of packets ends the connection, and the next one serves.
func TestGarbage(t *testing.T) {
	for _, v := range everyVersion {
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, version(v.String()))
		for _, garbage := range [][]byte{{0}, {0x10, 0}, {0x36, 5, 0, 1, 'a', 0, 1}, {0x40, 2, 0, 0}, {0x82, 0}, {0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1}} {
			p := b.welcome(packet.Connack{})
			p.Write(garbage...)
			if _, err := p.Next(); err == nil && v < packet.V5 {
				t.Errorf("% x goes on", garbage)
			}
			_ = p.Conn.Close()
		}
		p := b.welcome(resumed)
		c := r.send(down(1, "t", "x"))
		p.Send(puback(p.expect("x").PacketID))
		delivered(t, c)
		if n := r.Stats().Losses[client.CauseProtocol].Load(); n != 6 {
			t.Errorf("%d protocol errors", n)
		}
	}
}

// P6: max_packet_size is kept, and a length that is only announced reserves nothing.
func TestMaxPacketSize(t *testing.T) {
	b := newBroker(t)
	start(t, "mqtt://"+b.addr, version("5"), config(func(c *client.Config) { c.MaxPacketSize = 1000 }))
	p := b.welcome(packet.Connack{})
	if p.hello.Properties.MaximumPacketSize != 1000 {
		t.Errorf("%+v", p.hello)
	}
	p.Send(publish(0, 0, "a", strings.Repeat("x", 1000)))
	p.ExpectDisconnect(packet.PacketTooLarge)
}

// P2: a message may come for what a probe subscribes to.
func TestProbeGetsMessage(t *testing.T) {
	b := newBroker(t)
	cfg := client.DefaultConfig()
	cfg.Dial, cfg.Version = []string{"mqtt://" + b.addr}, "3.1.1"
	ended := make(chan error, 1)
	go func() { _, err := client.Probe(context.Background(), cfg); ended <- err }()
	p := b.welcome(packet.Connack{})
	p.Send(publish(0, 0, "linkspan/probe", "x"))
	p.subscribed()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
