package mqtt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/websocket"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// flaky is a socket that has no file descriptors left, several times.
type flaky struct {
	net.Listener
	failures int
	closed   chan struct{}
	once     sync.Once
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures > 0 {
		f.failures--
		return nil, errors.New("too many open files")
	}
	<-f.closed
	return nil, net.ErrClosed
}

func (f *flaky) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Listener.Close()
}

// A system without file descriptors is waited for, and said once.
func TestAcceptGoesOn(t *testing.T) {
	var log mqtttest.Log
	logger := slog.New(slog.NewTextHandler(&log, nil))
	cfg := DefaultListenerConfig()
	cfg.URL = "mqtt://127.0.0.1:0"
	l, err := Listen(cfg, session.NewRegistry(session.DefaultConfig(), logger), logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tired := make(chan struct{})
	f := &flaky{Listener: l.socket, failures: 4, closed: make(chan struct{})}
	l.socket = f
	go func() {
		defer close(tired)
		if err := l.Run(ctx, linkspan.SinkFunc(nil)); err != nil {
			t.Error(err)
		}
	}()
	mqtttest.Until(t, "it is said", func() bool { return log.Count("cannot accept") > 0 })
	cancel()
	<-tired
	if n := log.Count("cannot accept"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// Packets leave in one frame, with control frames behind it; no packets leave in none.
func TestFrame(t *testing.T) {
	bye := websocket.Server.AppendClose(nil, ws.StatusNormalClosure)
	one := websocket.Server.Append(nil, ws.OpBinary, []byte("packets"))
	for _, test := range []struct {
		plain   *buffer
		control []byte
		want    []byte
	}{
		{&buffer{b: []byte("packets")}, bye, append(one, bye...)},
		{&buffer{b: []byte("packets")}, nil, one},
		{new(buffer), bye, bye},
		{nil, bye, bye},
	} {
		if got := frame(test.plain, test.control); !bytes.Equal(got.b, test.want) {
			t.Errorf("got %q, want %q", got.b, test.want)
		}
	}
	if got := frame(nil, nil); got != nil {
		t.Errorf("got %q for nothing", got.b)
	}
}

// Packets longer than the shared buffer get room as they come, at most twice what is there, and what is left of a
// buffer survives rest.
func TestWorkGrowsWithWhatArrives(t *testing.T) {
	c := &conn{need: 1 << 20, l: &Listener{cfg: DefaultListenerConfig()}}
	total := 0
	for total < 300_000 {
		w := c.begin()
		p := w.space(c.need)
		n := min(len(p), 1400)
		for i := range n {
			p[i] = byte(total + i)
		}
		w.w += n
		total += n
		if len(w.buf) > max(readSize, 2*total) {
			t.Fatalf("%d bytes for %d", len(w.buf), total)
		}
		c.end()
		if len(c.rest) != total || cap(c.rest) > 2*max(total, smallRest) {
			t.Fatalf("%d of %d bytes kept in %d", len(c.rest), total, cap(c.rest))
		}
	}
	for i, b := range c.rest {
		if b != byte(i) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

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
		}
		<-settled
	}
}

// full is a sink that has no room.
type full struct{ linkspan.SinkFunc }

func (full) Room(*linkspan.Message) bool { return false }

// A connection that ends while the sink has no room is not kept for when it has.
func TestPressureForgets(t *testing.T) {
	cfg := DefaultListenerConfig()
	cfg.URL = "mqtt://127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := Listen(cfg, session.NewRegistry(session.DefaultConfig(), log), log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := l.Run(ctx, full{}); err != nil {
			t.Error(err)
		}
	}()
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
		l.each(func(c *conn) { c.stop(endStopping) })
		_ = c.Close()
		wait(func() bool { return l.stats.Open.Load() == 0 })
	}
	l.pressure.mu.Lock()
	if n := len(l.pressure.waiting); n != 0 {
		t.Errorf("%d connections kept", n)
	}
	l.pressure.mu.Unlock()
	cancel()
	<-ended
}
