// Package amqptest is an AMQP 1.0 client for tests, on the engine: it does one thing after the other, and waits for what has to come of it.
package amqptest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
)

// Patience is how long a client waits for anything before it fails its test.
const Patience = 20 * time.Second

// A Client is one connection with one session. Its methods fail the test that it belongs to, and are for that test's goroutine.
type Client struct {
	t       testing.TB
	conn    net.Conn
	engine  *engine.Conn
	session *engine.Session
	opened  chan struct{} // closed when the peer's open has come
	wake    chan struct{} // holds one: there is output
	quit    chan struct{} // closed when the test ends
	ended   chan struct{} // closed when the connection is over, after
	err     error         // that says why; nil: it was closed in order
	links   int
}

// Dial connects by TCP to HOST:PORT, as anybody, and a container of its own. The connection is closed when the test ends.
func Dial(t testing.TB, addr string) *Client {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, Patience)
	if err != nil {
		t.Fatal(err)
	}
	return New(t, nc, engine.Config{ContainerID: t.Name() + " " + nc.LocalAddr().String(), Credentials: &sasl.Credentials{}})
}

// New opens a connection over nc, which is closed when the test ends, and begins a session.
func New(t testing.TB, nc net.Conn, cfg engine.Config) *Client {
	t.Helper()
	c := &Client{t: t, conn: nc, opened: make(chan struct{}), wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
	cfg.Wake = c.stir
	c.engine = engine.NewClient(cfg, handler{c})
	var err error
	if c.session, err = c.engine.Begin(); err != nil {
		t.Fatal(err)
	}
	in := make(chan []byte)
	var running sync.WaitGroup
	running.Go(func() { c.read(in) })
	running.Go(func() { c.drive(in) })
	t.Cleanup(func() {
		close(c.quit)
		_ = nc.Close()
		running.Wait()
	})
	return c
}

// Open waits until the peer has answered the open.
func (c *Client) Open() *Client {
	c.t.Helper()
	wait(c, c.opened, "open")
	return c
}

// Remote returns the peer's open.
func (c *Client) Remote() *frame.Open { return c.engine.Remote() }

// Engine returns the engine, which is the client's all the same.
func (c *Client) Engine() *engine.Conn { return c.engine }

// Close closes the connection in order.
func (c *Client) Close() {
	c.t.Helper()
	c.engine.Close(nil)
	wait(c, c.ended, "close")
}

// Kill ends the connection without a word.
func (c *Client) Kill() {
	_ = c.conn.Close()
	<-c.ended
}

// Ended waits until the peer has closed the connection, and returns with which error; nil: none.
func (c *Client) Ended() error {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(Patience):
		c.t.Fatal("the connection does not end")
	}
	return c.err
}

func (c *Client) stir() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// read hands what comes to the driver.
func (c *Client) read(in chan<- []byte) {
	defer close(in)
	for {
		b := make([]byte, 16<<10)
		n, err := c.conn.Read(b)
		if err != nil {
			return
		}
		select {
		case in <- b[:n]:
		case <-c.quit:
			return
		case <-c.ended:
			return
		}
	}
}

// drive runs the engine until the connection is over.
func (c *Client) drive(in <-chan []byte) {
	defer close(c.ended)
	tick := time.NewTicker(time.Second) // heartbeats
	defer tick.Stop()
	var buf []byte
	for {
		if out := c.engine.Output(nil); len(out) > 0 {
			_ = c.conn.SetWriteDeadline(time.Now().Add(Patience))
			_, _ = c.conn.Write(out)
			c.engine.Resume()
			continue
		}
		select {
		case b, ok := <-in:
			if !ok {
				c.engine.Lost(io.ErrUnexpectedEOF)
				return
			}
			buf = append(buf, b...)
			n, _, err := c.engine.Input(buf, time.Now())
			buf = buf[n:]
			if err != nil {
				_, _ = c.conn.Write(c.engine.Output(nil))
				_ = c.conn.Close()
				return
			}
		case <-c.wake:
		case now := <-tick.C:
			_, _ = c.engine.Tick(now)
		}
	}
}

// wait waits for something that has to come, and fails the test when it does not, or the connection ends before.
func wait[T any](c *Client, from <-chan T, what string) (v T) {
	c.t.Helper()
	select {
	case v = <-from:
		return v
	default:
	}
	late := time.NewTimer(Patience)
	defer late.Stop()
	select {
	case v = <-from:
	case <-c.ended:
		select {
		case v = <-from:
		default:
			c.t.Fatalf("waiting for %s: the connection has ended: %v", what, c.err)
		}
	case <-late.C:
		c.t.Fatalf("never: %s", what)
	}
	return v
}

// handler is the client as the engine sees it.
type handler struct{ c *Client }

func (h handler) Opened(*engine.Conn) error { close(h.c.opened); return nil }

func (h handler) Attaching(*engine.Link) engine.LinkHandler { return nil }

func (h handler) Ended(*engine.Session, *frame.Error) {}

func (h handler) Closed(err error) {
	if !errors.Is(err, io.EOF) {
		h.c.err = err
	}
}

// name returns a name for the next link.
func (c *Client) name() string {
	c.links++
	return fmt.Sprintf("link-%d", c.links)
}
