package client

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/dial"
)

// A conn is one connection to the broker. Two goroutines serve it: the driver reads, and has the engine and all handlers to itself; the
// writer writes whatever waits in one go. The client's goroutine starts them, and waits for their end before it makes the next
// connection, so that messages keep their order (P3).
type conn struct {
	c       *Client
	nc      net.Conn
	target  dial.Target
	engine  *engine.Conn
	since   time.Time
	running sync.WaitGroup

	ring     chan struct{} // holds one: the writer is to look for output
	nudge    chan struct{} // holds one: the driver, which does not read, is to look around
	poked    atomic.Bool   // the driver is to look around before it waits
	draining atomic.Bool   // nothing is handed to the sink any more

	opened  chan struct{} // closed when the broker's open has come
	ended   chan struct{} // closed by fail
	failure error         // why; set before ended is closed
	once    sync.Once

	// The driver's.

	session *engine.Session
	in      []byte // in[:n] is read and not digested
	n       int
	limit   time.Time // of the broker's open
	now     time.Time // of the last read
	seen    time.Time // until when all that came is read and digested
	heeded  time.Time // since when it reads without a break
	stalled bool      // it does not read, since too much is held back
	held    int       // bytes of messages that are held back
	message linkspan.Message
	amqp    frame.Message
}

const (
	readSize = 64 << 10
	// largeBuffer is the size from which a buffer is not kept for what comes later.
	largeBuffer = 1 << 20
	// pressureInterval is how often the sink is asked for room while it has none.
	pressureInterval = 20 * time.Millisecond
	// farewell bounds how long a goodbye takes.
	farewell = time.Second
)

// open makes one connection, up to the broker's open frame.
func (c *Client) open(ctx context.Context, t dial.Target) (*conn, error) {
	bounded, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	nc, err := dial.Open(bounded, t, &c.cfg.TLS, "amqp") // [AMQP WebSocket 2.1]
	if err != nil {
		return nil, unreached(err)
	}
	_ = nc.SetDeadline(time.Time{})
	limit, _ := bounded.Deadline()
	conn := c.newConn(nc, t, limit)
	select {
	case <-conn.opened:
		return conn, nil
	case <-conn.ended:
	case <-ctx.Done():
		conn.fail(ctx.Err())
	}
	conn.finish()
	return nil, conn.failure
}

// newConn takes a byte stream into service. The broker has to answer before limit.
func (c *Client) newConn(nc net.Conn, t dial.Target, limit time.Time) *conn {
	conn := &conn{
		c: c, nc: nc, target: t, since: time.Now(), now: time.Now(), limit: limit, seen: time.Now(),
		ring: make(chan struct{}, 1), nudge: make(chan struct{}, 1), opened: make(chan struct{}), ended: make(chan struct{}),
		in: make([]byte, readSize),
	}
	cfg := engine.DefaultConfig()
	cfg.ContainerID, cfg.Hostname = c.cfg.ContainerID, c.cfg.Hostname
	if cfg.Hostname == "" {
		cfg.Hostname = t.Host
	}
	cfg.MaxFrameSize, cfg.MaxMessageSize, cfg.IdleTimeout = c.cfg.MaxFrameSize, uint64(c.cfg.MaxMessageSize), c.cfg.IdleTimeout
	cfg.MaxPartial = 2*c.cfg.MaxMessageSize + 8<<20
	cfg.HandleMax = uint32(min(len(c.receivers)+2*c.cfg.MaxLinks, 1<<16-1))
	cfg.Credentials = &sasl.Credentials{
		User: c.cfg.Username, Password: string(c.cfg.Password), Certificate: c.cfg.TLS.Cert != "" && t.TLS, Mechanisms: c.cfg.Mechanisms,
	}
	cfg.Wake = conn.look
	conn.engine = engine.NewClient(cfg, conn)
	conn.running.Go(func() { conn.fail(conn.drive()) })
	conn.running.Go(func() { conn.fail(conn.write()) })
	return conn
}

// fail ends the connection, the first time it is called with an error. Any goroutine; never blocks.
func (c *conn) fail(err error) {
	if err == nil {
		return
	}
	c.once.Do(func() {
		c.failure = c.why(err)
		close(c.ended)
		c.poke()
	})
}

// finish waits until all is over, and closes.
func (c *conn) finish() {
	c.fail(errGone)
	_ = c.nc.SetWriteDeadline(time.Now().Add(farewell))
	c.running.Wait()
	_ = c.nc.Close()
}

var errGone = errors.New("gone")

// leave says goodbye, and waits a moment for the broker's.
func (c *conn) leave() {
	c.engine.Close(nil)
	select {
	case <-c.ended:
	case <-time.After(farewell):
	}
}

// over reports whether the connection has ended.
func (c *conn) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// look has the writer look for output.
func (c *conn) look() {
	select {
	case c.ring <- struct{}{}:
	default:
	}
}

// poke has the driver look around. Any goroutine.
func (c *conn) poke() {
	c.poked.Store(true)
	_ = c.nc.SetReadDeadline(dial.Past())
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// write is the writer. It ends with the connection, after what the broker is told last.
func (c *conn) write() error {
	var buf []byte
	for last := false; ; {
		buf = c.engine.Output(buf[:0])
		if c.engine.Stirred() {
			c.poke()
		}
		switch {
		case len(buf) > 0:
			patience := c.c.cfg.AckTimeout
			if last {
				patience = farewell
			}
			_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
			n, err := c.nc.Write(buf)
			c.c.stats.BytesOut.Add(uint64(n))
			if err != nil {
				return err
			}
			if cap(buf) > largeBuffer {
				buf = nil
			}
			continue
		case last:
			return nil
		}
		_ = c.nc.SetWriteDeadline(time.Time{}) // WebSocket and TLS have answers of their own, which the driver writes
		select {
		case <-c.ring:
		case <-c.ended:
			last = true
		}
	}
}

// drive is the driver.
func (c *conn) drive() error {
	err := c.turns()
	c.engine.Close(nil)
	c.engine.Lost(err)
	return err
}

// turns reads and digests until the connection ends.
func (c *conn) turns() error {
	for {
		c.poked.Store(false)
		if c.over() {
			return c.failure
		}
		now := time.Now()
		if c.stalled {
			c.engine.Listen(now) // a broker that we do not listen to is not silent
			c.seen, c.heeded = now, now
		}
		c.engine.Resume()
		next, err := c.engine.Tick(now, c.seen)
		if err != nil {
			return err
		}
		due := c.attend(now)
		if next.IsZero() || due.Before(next) {
			next = due
		}
		if c.engine.Pending() {
			c.look()
		}
		if c.stalled = c.held > c.c.cfg.MaxBacklog || c.engine.Blocked(); c.stalled {
			c.pause(next)
			continue
		}
		if err := c.read(now, next); err != nil {
			return err
		}
	}
}

// pause waits without reading.
func (c *conn) pause(until time.Time) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.nudge:
	case <-c.ended:
	}
}

// read waits for bytes until that time at most, and has the engine digest them. One that finds nothing has seen all that came: until then,
// or until now if it was not to wait.
func (c *conn) read(now, until time.Time) error {
	_ = c.nc.SetReadDeadline(until)
	if c.poked.Load() {
		return nil
	}
	n, err := c.nc.Read(c.in[c.n:])
	c.now = time.Now()
	c.n += n
	c.c.stats.BytesIn.Add(uint64(n))
	if n > 0 || c.n > 0 {
		taken, need, err := c.engine.Input(c.in[:c.n], c.now)
		c.n = copy(c.in, c.in[taken:c.n])
		if err != nil {
			return err
		}
		c.makeRoom(need)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if c.seen = now; until.After(now) && !c.poked.Load() {
			c.seen = until
		}
		return nil
	}
	return err
}

// makeRoom sees to it that a frame of need bytes fits.
func (c *conn) makeRoom(need int) {
	switch {
	case c.n == len(c.in) || need > len(c.in):
		larger := make([]byte, max(need, 2*len(c.in)))
		copy(larger, c.in[:c.n])
		c.in = larger
	case c.n == 0 && len(c.in) > largeBuffer:
		c.in = make([]byte, readSize)
	}
}

// waited reports whether the broker has had more than AckTimeout for something since then, and has not said it.
func (c *conn) waited(since time.Time) bool {
	return c.seen.Sub(since) > c.c.cfg.AckTimeout && c.seen.Sub(c.heeded) > c.c.cfg.AckTimeout
}

// attend does what is due on the links, and returns when it wants to be called again.
func (c *conn) attend(now time.Time) time.Time {
	next := c.seen.Add(c.c.cfg.AckTimeout / 4) // to see whether there is more, however much comes
	if c.session == nil {
		if !c.seen.Before(c.limit) {
			c.fail(failed(CauseTimeout, "the broker does not answer within %v", c.c.cfg.ConnectTimeout))
		}
		return c.limit
	}
	for _, r := range c.c.receivers {
		if due := r.attend(c, now); due.Before(next) {
			next = due
		}
	}
	if due := c.c.out.attend(c, now); due.Before(next) {
		next = due
	}
	return next
}

var _ engine.Handler = (*conn)(nil)

// Opened begins the session. ActiveMQ and others announce with a property that their close comes next, with the reason.
func (c *conn) Opened(e *engine.Conn) error {
	if refused, _ := e.Remote().Properties.Get("amqp:connection-establishment-failed").Bool(); refused {
		return nil
	}
	var err error
	if c.session, err = e.Begin(); err == nil {
		close(c.opened)
	}
	return err
}

// Attaching refuses what the broker wants: we are not here to serve it.
func (c *conn) Attaching(*engine.Link) engine.LinkHandler { return nil }

// Ended is the end of the session, and without it the connection is of no use.
func (c *conn) Ended(_ *engine.Session, err *frame.Error) {
	if err != nil {
		c.fail(err)
	} else {
		c.fail(io.EOF)
	}
}

// Closed tells nothing that the driver does not know.
func (c *conn) Closed(error) {}
