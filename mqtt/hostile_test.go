package mqtt_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// Whatever bytes come, before CONNECT or after it: the connection ends or goes on, and nobody else notices.
func TestGarbage(t *testing.T) {
	b := start(t)
	witness := b.dial(packet.V5)
	witness.Connect(packet.Connect{ClientID: "witness", CleanStart: true})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		c := b.dial(versions[i%3])
		if i%2 == 0 {
			c.Join("garbage")
		}
		p := make([]byte, 1+random.IntN(3000))
		for j := range p {
			p[j] = byte(random.Uint32())
		}
		_ = c.Conn.SetWriteDeadline(time.Now().Add(mqtttest.Patience))
		_, _ = c.Conn.Write(p)
		if i%3 == 0 {
			_ = c.Conn.(*net.TCPConn).SetLinger(0) // the end is a reset
		}
		_ = c.Conn.Close()
		witness.Ping()
	}
	mqtttest.Until(t, "all are gone", func() bool { return b.Stats().Open.Load() == 1 })
}

// A device is gone when its answer is written, which the reader itself does, in the middle of reading. It does not wait for
// itself, and what the device had sent counts (P1).
func TestResetBeforeTheAnswer(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		c := b.join(v, "d")
		b.sink.Set(func(s *mqtttest.Sink) {
			s.Answer = func(*linkspan.Message) error {
				_ = c.Conn.(*net.TCPConn).SetLinger(0)
				return c.Conn.Close()
			}
		})
		c.Send(publish(1, 1, "t", "last"))
		b.sink.Wait(1)
		mqtttest.Until(t, "the device is gone", func() bool { return b.Stats().Open.Load() == 0 })
		if gone := b.Stats().Gone.Load(); gone != 1 {
			t.Errorf("%d lost connections are counted", gone)
		}
	})
}

// A length that a device only announces reserves no memory.
func TestAnnouncedLengthReservesNothing(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxPacketSize = packet.MaxSize })
	before := heap()
	const n = 50
	for range n {
		c := b.join(packet.V5, "")
		c.Write(0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, 't') // 256 MiB
	}
	mqtttest.Until(t, "all has come", func() bool { return b.Stats().Sessions.Load() == n })
	if grown := heap() - before; grown > n*(128<<10) {
		t.Errorf("%d bytes a connection", grown/n)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A device that closes only its side of the connection is gone.
func TestHalfClose(t *testing.T) {
	b := start(t)
	c := b.join(packet.V5, "d1")
	c.Send(publish(0, 0, "t", "x"))
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.ExpectClosed()
	b.sink.Wait(1)
	mqtttest.Until(t, "it is counted", func() bool { return b.Stats().Gone.Load() == 1 })
}

// A device that is gone before its messages are settled leaves nothing behind.
func TestGoneBeforeSettled(t *testing.T) {
	b := start(t)
	b.sink.Hold = true
	c := b.join(packet.V5, "d1")
	c.Send(publish(1, 1, "t", "x"), publish(2, 2, "t", "x"))
	b.sink.Wait(2)
	_ = c.Conn.Close()
	mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Open.Load() == 0 })
	b.sink.Settle(0, nil)
	b.sink.Settle(1, nil)
	if n := b.Stats().InFlight.Load(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

func TestValidate(t *testing.T) {
	for _, test := range []struct {
		change func(*mqtt.ListenerConfig)
		want   string // "": valid
	}{
		{func(c *mqtt.ListenerConfig) {}, ""},
		{func(c *mqtt.ListenerConfig) { c.URL = "ws://:80/a/b" }, ""},
		{func(c *mqtt.ListenerConfig) { c.URL = "mqtt://[::1]" }, ""},
		{func(c *mqtt.ListenerConfig) { c.URL = "tcp://:1883" }, "none of the schemes"},
		{func(c *mqtt.ListenerConfig) { c.URL = "mqtt://:1883/x" }, "has a path"},
		{func(c *mqtt.ListenerConfig) { c.URL = "mqtt:1884" }, "no //"},
		{func(c *mqtt.ListenerConfig) { c.URL = "ws://:1883/x?y" }, "more than scheme"},
		{func(c *mqtt.ListenerConfig) { c.URL = "mqtt://a:b:c" }, "listen:"},
		{func(c *mqtt.ListenerConfig) { c.URL = "mqtts://:8883" }, "tls.cert"},
		{func(c *mqtt.ListenerConfig) { c.TLS.Cert = "x" }, "not encrypted"},
		{func(c *mqtt.ListenerConfig) { c.MaxPacketSize = 10 }, "max_packet_size"},
		{func(c *mqtt.ListenerConfig) { c.ReceiveMaximum = 0 }, "receive_maximum"},
		{func(c *mqtt.ListenerConfig) { c.MaxKeepAlive = time.Millisecond }, "max_keep_alive"},
		{func(c *mqtt.ListenerConfig) { c.ConnectTimeout = 0 }, "connect_timeout"},
		{func(c *mqtt.ListenerConfig) { c.WriteTimeout = 0 }, "write_timeout"},
		{func(c *mqtt.ListenerConfig) { c.DrainTimeout = -1 }, "drain_timeout"},
		{func(c *mqtt.ListenerConfig) { c.MaxOutgoing = 0 }, "max_outgoing"},
		{func(c *mqtt.ListenerConfig) { c.MaxBacklog = -1 }, "max_backlog"},
		{func(c *mqtt.ListenerConfig) { c.MaxBacklogTotal = -1 }, "max_backlog_total"},
		{func(c *mqtt.ListenerConfig) { c.MaxPartialTotal = 0 }, "max_partial_total"},
		{func(c *mqtt.ListenerConfig) { c.MaxUserProperties = -1 }, "max_user_properties"},
		{func(c *mqtt.ListenerConfig) { c.MaxConnections = -1 }, "max_connections"},
	} {
		c := mqtt.DefaultListenerConfig()
		test.change(&c)
		err := c.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v", test.want, err)
		}
	}
}

// What cannot be listened on is said before anything starts.
func TestListenErrors(t *testing.T) {
	b := start(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for want, change := range map[string]func(*mqtt.ListenerConfig){
		"address already in use": func(c *mqtt.ListenerConfig) { c.URL = "mqtt://" + b.addr },
		"write mqtt://:1883":     func(c *mqtt.ListenerConfig) { c.URL = "nonsense" },
		":1883\" is no address":  func(c *mqtt.ListenerConfig) { c.URL = ":1883" },
		"load certificate: open missing.pem": func(c *mqtt.ListenerConfig) {
			c.URL, c.TLS.Cert, c.TLS.Key = "mqtts://127.0.0.1:0", "missing.pem", "missing.pem"
		},
	} {
		cfg := mqtt.DefaultListenerConfig()
		change(&cfg)
		l, err := mqtt.Listen(cfg, b.registry, log)
		if err == nil {
			_ = l.Close()
			t.Error("listening on", cfg.URL)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A listener whose socket is taken away ends with an error.
func TestSocketLost(t *testing.T) {
	cfg := mqtt.DefaultListenerConfig()
	cfg.URL = "mqtt://127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := mqtt.Listen(cfg, session.NewRegistry(session.DefaultConfig(), log), log)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if err := l.Run(t.Context(), newSink()); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l, err = mqtt.Listen(cfg, session.NewRegistry(session.DefaultConfig(), log), log)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(ctx, newSink()); err != nil {
		t.Error(err)
	}
}
