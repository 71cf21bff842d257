package wire

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
)

// A Conn is one peer's connection. What does not say otherwise is the reader's. It is part of the protocol's side, made by
// Config.New, and must not be copied.
type Conn struct {
	// Need is the size of the packet that the unread bytes begin with, as the protocol has found; 0: not known.
	Need int
	// Undigested: the unread bytes hold whole packets, which wait for something else than more bytes.
	Undigested bool
	stack      atomic.Int32 // of the reader: small, grown, unused, abandoned

	s        *Server
	protocol Protocol
	sock     socket
	tls      *tls.Conn         // nil: none
	ws       *websocket.Reader // nil: none
	born     time.Duration     // since the server was made

	input   *Input // while there is something to do
	rest    []byte // read and not consumed, while there is not
	claimed int    // bytes that the connection holds of a packet that is not whole yet

	out out

	parking atomic.Pointer[chan struct{}] // wakes a parked reader; nil: never parked
}

var (
	// ErrNotRead says that the peer has taken nothing for Config.WriteTimeout.
	ErrNotRead = errors.New("the peer reads nothing")
	// ErrCrowded says that all connections together hold too many bytes of packets that are not whole.
	ErrCrowded = errors.New("too many packets that are not whole")
)

// past is a deadline that has passed: setting it wakes who waits.
var past = time.Unix(1, 0)

// lingering bounds how long a connection that is told why it ends stays open to hear it.
const lingering = 2 * time.Second

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// NothingYet reports whether err, of Receive, says that nothing has come: Run returns it, and is called again.
func NothingYet(err error) bool { return err == errWouldBlock || isTimeout(err) }

// Protocol returns the protocol's side, as Config.New has.
func (c *Conn) Protocol() Protocol { return c.protocol }

// Born returns when the connection was accepted.
func (c *Conn) Born() time.Time { return c.s.born.Add(c.born) }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.sock.RemoteAddr() }

// TLS returns what TLS knows of the connection, such as the peer's certificates; nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

// SetReadDeadline sets by when Late is called; zero: never. Any bytes that come before do not move it.
func (c *Conn) SetReadDeadline(t time.Time) { _ = c.sock.SetReadDeadline(t) }

// open does the handshakes. It has a goroutine of its own so that the stack they need is gone when the connection lives on.
func (c *Conn) open() {
	limit := c.Born().Add(c.s.cfg.ConnectTimeout)
	_ = c.sock.SetDeadline(limit)
	if c.s.Draining() { // and perhaps the wake was before the deadline
		c.Wake()
	}
	var err error
	var rw io.ReadWriter = c.sock.Conn
	var under *underTLS
	if c.s.tls != nil {
		under, err = c.handshakeTLS()
		rw = c.tls
	}
	if err == nil && c.s.cfg.At.WebSocket {
		err = c.upgrade(rw)
	}
	if err != nil {
		c.s.stats.Failed.Add(1)
		c.s.log.Debug("connection not established", "remote", c.sock.RemoteAddr(), "err", err)
		_ = c.sock.Close()
		c.s.forget(c)
		return
	}
	if under != nil {
		under.live = true
	}
	_ = c.sock.SetDeadline(time.Time{})
	_ = c.sock.SetReadDeadline(limit)
	c.s.running.Go(c.serve)
}

// serve is the reader. It moves on to a new goroutine now and then: see rest.go.
func (c *Conn) serve() {
	for {
		err := c.poll()
		if isTimeout(err) {
			err = c.look() // what came while the whole machine stood still is not late
		}
		switch {
		case err == nil:
			c.s.running.Go(c.serve)
			return
		case NothingYet(err):
			if err = c.protocol.Late(); err == nil {
				continue
			}
		}
		c.protocol.Close(err)
		return
	}
}

// Wake has the reader look around, from wherever it waits: Run or Late is called, or Park returns. Any goroutine; never
// blocks.
func (c *Conn) Wake() {
	if p := c.parking.Load(); p != nil {
		select {
		case *p <- struct{}{}:
		default:
		}
	}
	_ = c.sock.SetReadDeadline(past)
}

// Park waits for Wake, or until then if that is not zero, without reading. It may return for no reason.
func (c *Conn) Park(until time.Time) {
	c.Rest()
	p := c.parking.Load()
	if p == nil {
		ch := make(chan struct{}, 1)
		c.parking.Store(&ch)
		return // whoever came before the channel was there has changed what the reader looks at
	}
	if until.IsZero() {
		<-*p
		return
	}
	late := time.NewTimer(time.Until(until))
	defer late.Stop()
	select {
	case <-*p:
	case <-late.C:
	}
}

// A Farewell is how a connection ends.
type Farewell struct {
	// Goodbye appends the last packet to b; nil: there is none. It is called with the lock. An [Outputter] has none: its Output is
	// called instead, for the last time.
	Goodbye func(b []byte) []byte
	// Code closes a WebSocket whose peer has not closed it.
	Code ws.StatusCode
	// Linger: the peer may still be sending, and is to hear Goodbye all the same.
	Linger bool
}

// Finish writes what waits, the farewell as the last of all, and closes the connection. It is the last call of the reader.
func (c *Conn) Finish(f Farewell) {
	c.Rest()
	c.rest = nil
	c.claim(0)
	deadline := time.NewTimer(min(lingering, c.s.cfg.WriteTimeout))
	defer deadline.Stop()
	c.farewell(f)
	c.drain(deadline.C)
	if c.tls != nil {
		_ = c.tls.CloseWrite() // adds the alert to what waits
		c.drain(deadline.C)
	}
	if f.Linger {
		c.linger()
	}
	_ = c.sock.Close()
	c.s.forget(c)
}

// farewell adds the last packet, and lets nothing come after it.
func (c *Conn) farewell(f Farewell) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut, o.held = true, false
	if _, ok := c.protocol.(Outputter); ok {
		o.rung = true
	}
	if f.Goodbye != nil {
		b := c.Buffer()
		if b.B = f.Goodbye(b.B); len(b.B) == 0 {
			o.plain = nil
		}
	}
	if c.ws != nil && !c.ws.Closed() {
		o.control = websocket.Server.AppendClose(o.control, f.Code)
	}
}

// sever ends the traffic and leaves the socket open: it is the reader's to close.
func (c *Conn) sever() {
	if t, ok := c.sock.Conn.(*net.TCPConn); ok {
		_ = t.CloseRead()
		_ = t.CloseWrite()
	}
}

// linger waits until the peer has closed its side, or a moment. A socket that is closed with unread bytes in it takes
// back what was written last.
func (c *Conn) linger() {
	if t, ok := c.sock.Conn.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(lingering))
	b := newBuffer()
	defer b.free()
	for read := 0; read < 1<<20; {
		n, err := c.sock.Read(b.B[:cap(b.B)])
		if err != nil {
			return
		}
		read += n
	}
}
