//go:build unix

package client

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/custody"
	"github.com/linkspan/linkspan/internal/dial"
)

// still is a connection that nobody has the time to read, until more has come than a heartbeat, and its deadline has passed.
type still struct {
	net.Conn
	stand, stands, over chan struct{}
}

func (s *still) Read(p []byte) (n int, err error) {
	select {
	case <-s.stand:
	default:
		return s.Conn.Read(p)
	}
	close(s.stands)
	<-s.over
	for limit := time.Now().Add(custody.Patience); n <= 8 && time.Now().Before(limit); {
		_ = s.Conn.SetReadDeadline(dial.Past())
		var m int
		m, err = s.Conn.Read(p[n:])
		n += m
	}
	return n, err
}

// What the broker has said in time counts, however late we read it [AMQP 2.4.5]: of a machine that stands still the broker is not to
// blame, and to be given up for it would have it send all again.
func TestComeWhileWeStoodStill(t *testing.T) {
	b := amqptest.NewBroker(t, engine.Config{})
	b.Set(amqptest.Hold)
	target, err := dial.Parse(address.AMQP(), b.URL())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := dial.Open(t.Context(), target, nil, "amqp")
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.IdleTimeout, cfg.AckTimeout = custody.Patience, custody.Patience
	c := New(cfg, nil, nil, slog.New(slog.DiscardHandler))
	s := &still{nc, make(chan struct{}, 1), make(chan struct{}), make(chan struct{})}
	conn := c.newConn(s, target, time.Now().Add(custody.Patience))
	until := func(what string, come <-chan struct{}) {
		t.Helper()
		select {
		case <-come:
		case <-conn.ended:
			t.Fatalf("%s: given up: %v", what, conn.failure)
		}
	}
	until("open", conn.opened)
	c.connected(conn)
	defer c.disconnected(conn)
	done := make(chan error, 1)
	m := &linkspan.Message{}
	m.Reset()
	m.Topic = "q"
	c.Send(context.Background(), m, func(err error) { done <- err })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(b.Stored("q")) == 0 && !conn.over() {
		<-tick.C
	}

	s.stand <- struct{}{}
	conn.poke()
	until("standing still", s.stands)
	long := time.Now().Add(-2 * custody.Patience) // that is how long it stands
	conn.seen = long
	conn.engine.Listen(long)
	c.out.mu.Lock()
	c.out.head.given = long
	c.out.mu.Unlock()
	b.Set(amqptest.Accept)
	close(s.over)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-conn.ended:
		t.Errorf("given up: %v", conn.failure)
	}
}

// While the broker is not read, it has no time to lose.
func TestWaited(t *testing.T) {
	now := time.Now()
	c := &conn{c: &Client{cfg: Config{AckTimeout: time.Second}}, seen: now}
	long := now.Add(-time.Minute)
	if !c.waited(long) || c.waited(now) {
		t.Error("what came is read")
	}
	if c.heeded = now.Add(-time.Millisecond); c.waited(long) {
		t.Error("it was not read")
	}
	if c.heeded, c.seen = long, long; c.waited(now.Add(-time.Second / 2)) {
		t.Error("it is not read yet")
	}
}
