package mqtt

import (
	"context"
	"log/slog"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// [MQTT-3.3.4-9]: a QoS 2 message that is settled while it is counted for the Receive Maximum counts once.
func TestUnansweredCountsOnce(t *testing.T) {
	var c conn
	for range 3000 {
		c.unsolved.Store(0)
		c.inFlight.Store(1)
		settled := make(chan struct{})
		go func() {
			c.inFlight.Add(-1)
			c.unsolved.Add(1)
			close(settled)
		}()
		for c.unsolved.Load() == 0 {
			if n := c.unanswered(); n > 1 {
				t.Fatalf("%d of one message", n)
			}
			runtime.Gosched() // there may be one processor only
		}
		<-settled
	}
}

// run runs a listener until stop.
func run(t *testing.T, to linkspan.Sink, cfg ListenerConfig) (l *Listener, stop func()) {
	t.Helper()
	cfg.URL = "mqtt://127.0.0.1:0"
	log := slog.New(slog.DiscardHandler)
	l, err := Listen(cfg, session.NewRegistry(session.DefaultConfig(), log), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx, to); err != nil {
			t.Error(err)
		}
	}()
	return l, func() {
		cancel()
		<-ended
	}
}

// full is a sink that has no room.
type full struct{ linkspan.SinkFunc }

func (full) Room(*linkspan.Message) bool { return false }

// A connection that ends while the sink has no room is not kept for when it has.
func TestPressureForgets(t *testing.T) {
	l, stop := run(t, full{}, DefaultListenerConfig())
	wait := func(f func() bool) {
		for !f() {
			<-time.After(time.Millisecond)
		}
	}
	var p []byte
	p = (&packet.Connect{Version: packet.V311, ClientID: "d", CleanStart: true}).Append(p)
	p = (&packet.Publish{Topic: "t"}).Append(p, packet.V311)
	for range 3 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		wait(func() bool { return l.stats.Backlog.Load() > 0 })
		_ = c.(*net.TCPConn).SetLinger(0)
		l.server.Each(func(c *wire.Conn) { c.Protocol().Stop(endStopping) })
		_ = c.Close()
		wait(func() bool { return l.stats.Open.Load() == 0 })
	}
	if n := l.server.Pressure().Waiting(); n != 0 {
		t.Errorf("%d connections kept", n)
	}
	stop()
}

// P6: a device that only asks is not read any more, and if it takes nothing for long it is cut off.
func TestFloodWithoutReading(t *testing.T) {
	cfg := DefaultListenerConfig()
	cfg.WriteTimeout = 50 * time.Millisecond
	l, stop := run(t, full{}, cfg)
	defer stop()
	served, device := wiretest.Pair(t)
	l.server.Admit(served)
	flood := (&packet.Connect{Version: packet.V5, ClientID: "d", CleanStart: true}).Append(nil)
	for range 10_000 {
		flood = packet.AppendPing(flood, packet.PINGREQ)
	}
	for err := error(nil); err == nil; flood = flood[len(flood)-20_000:] {
		_, err = device.Write(flood)
	}
	mqtttest.Until(t, "it is cut off", func() bool { return l.stats.Open.Load() == 0 })
	if n := l.stats.Ended[packet.UnspecifiedError].Load(); n != 1 {
		t.Errorf("%d cut off", n)
	}
	if n := l.stats.BytesIn.Load(); n > 16<<20 {
		t.Errorf("%d bytes were read", n)
	}
}
