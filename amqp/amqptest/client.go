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
const Patience = 2 * time.Minute

// A Client is one connection with one session. Its methods fail the test that it belongs to, and are for that test's goroutine.
type Client struct {
	*pump
	t       testing.TB
	session *engine.Session
	opened  chan struct{} // closed when the peer's open has come
	err     error         // why the connection is over, once it has ended; nil: it was closed in order
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
	c := &Client{t: t, pump: newPump(nc), opened: make(chan struct{})}
	cfg.Wake = c.stir
	c.engine = engine.NewClient(cfg, handler{c})
	var err error
	if c.session, err = c.engine.Begin(); err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { c.run(func() {}) })
	t.Cleanup(func() {
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
	_ = c.nc.Close()
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
