package engine

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/linkspan/linkspan/amqp/frame"
)

// Conn is one side of a connection. Input, Tick, Resume and Lost belong to one goroutine, all else to any.
type Conn struct {
	// User is whatever the handler wants to find here again. The engine does not touch it.
	User any

	cfg    Config
	h      Handler
	client bool

	// Of the driver's goroutine.

	layer  layer
	asking *negotiation // while SASL lasts
	heard  time.Time    // of the last bytes
	ticked time.Time    // looked for output the last time
	over   error        // nothing comes any more
	spare  []event      // room for the events to come

	mu sync.Mutex // guards what follows, and all of sessions, links and deliveries that does not say otherwise

	out     []byte // frames that wait for Output; nil while there are none
	held    []byte // frames that wait for the end of SASL
	wrote   bool   // something since ticked
	due     []*Session
	events  []event
	running bool // the driver is in the engine, and takes the output afterwards
	woken   bool // the driver has been told that there is output
	clogged []*Link

	ready     bool // the layer of AMQP has begun
	openSent  bool
	openGot   bool
	closeSent bool
	closeGot  bool
	dead      bool // sessions and links are gone
	told      bool // the handler knows that it is closed

	user       string
	remote     *frame.Open
	remoteMax  int // size of the largest frame that the peer takes
	channelMax uint16
	heartbeat  time.Duration // the peer's idle time-out; 0: none

	local []*Session // by our channel
	peer  []*Session // by the peer's channel
	names map[linkKey]*Link
	links int // that there are
	stock stock
	kept  int // bytes of unfinished deliveries, and of what links are
}

// linkKey names a link among those between two containers.
type linkKey struct {
	name   string
	sender bool // we are
}

// layer is what the peer's next bytes are.
type layer uint8

const (
	atHeader     layer = iota // a protocol header, of any layer
	atSASL                    // frames of SASL
	atAMQPHeader              // the second header, after SASL
	atAMQP                    // frames of AMQP
)

// NewServer returns the side that was connected to. It waits for the peer.
func NewServer(cfg Config, h Handler) *Conn { return newConn(cfg, h, false) }

// NewClient returns the side that has connected. Its header, and without SASL its open, wait for Output at once. Sessions
// and links may be begun right away; they go out with the open.
func NewClient(cfg Config, h Handler) *Conn {
	c := newConn(cfg, h, true)
	if cfg.Credentials != nil {
		c.out = append(c.out, headerSASL...)
		return c
	}
	c.begin()
	return c
}

func newConn(cfg Config, h Handler, client bool) *Conn {
	cfg.complete()
	return &Conn{cfg: cfg, h: h, client: client, remoteMax: frame.MinMaxFrameSize, channelMax: cfg.ChannelMax}
}

// begin opens the layer of AMQP, as client. It needs mu, or nobody who knows c.
func (c *Conn) begin() {
	c.ready = true
	c.write(headerAMQP)
	c.open()
	c.out = append(c.out, c.held...)
	c.held = nil
}

// Remote returns the peer's open; nil before it has come. It must not be changed.
func (c *Conn) Remote() *frame.Open {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// Username returns who the peer of a server has proved to be; "": nobody.
func (c *Conn) Username() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.user
}

// open sends our open. It needs mu.
func (c *Conn) open() {
	c.openSent = true
	o := frame.Open{
		ContainerID:         c.cfg.ContainerID,
		Hostname:            c.hostname(),
		MaxFrameSize:        c.cfg.MaxFrameSize,
		ChannelMax:          c.cfg.ChannelMax,
		IdleTimeout:         uint32(min(c.cfg.IdleTimeout/2/time.Millisecond, 1<<32-1)), // [AMQP 2.4.5]
		OfferedCapabilities: c.cfg.OfferedCapabilities,
		DesiredCapabilities: c.cfg.DesiredCapabilities,
		Properties:          c.cfg.Properties,
	}
	c.emit(0, &o)
}

func (c *Conn) hostname() frame.Opt[string] {
	return frame.Opt[string]{V: c.cfg.Hostname, OK: c.cfg.Hostname != ""}
}

// opened takes the peer's open.
func (c *Conn) opened(o *frame.Open) error {
	patience := time.Duration(o.IdleTimeout) * time.Millisecond
	if patience != 0 && patience < minHeartbeat {
		return violation(frame.NotAllowed, "idle-time-out %s is too short for us", patience) // [AMQP 2.4.5]
	}
	c.mu.Lock()
	c.openGot = true
	c.remote = o
	c.remoteMax = int(min(o.MaxFrameSize, 1<<30))
	c.channelMax = min(c.channelMax, o.ChannelMax)
	c.heartbeat = patience
	c.mu.Unlock()

	err := c.h.Opened(c)

	c.mu.Lock()
	if !c.openSent {
		c.open()
	}
	c.mu.Unlock()
	return err
}

// Close ends the connection, in order: nothing can be sent afterwards, and Closed is called when the peer has answered. err
// is what the peer is told; nil: nothing. Before the layer of AMQP has begun it does nothing: the driver closes the socket.
func (c *Conn) Close(err *frame.Error) {
	c.mu.Lock()
	c.close(err)
	c.unlock()
}

// close needs mu. Without an open there is nothing to close: the socket is.
func (c *Conn) close(err *frame.Error) {
	if c.closeSent || !c.ready {
		return
	}
	if !c.openSent {
		c.open() // [AMQP 2.4.1]: the close comes after an open, even that of one that is not wanted
	}
	for _, s := range c.local {
		if s != nil {
			c.out = s.flush(c.out)
		}
	}
	c.emit(0, &frame.Close{Error: clip(err)})
	c.closeSent = true
}

// fail answers a violation of the peer, tells the handlers, and returns the error with which it is over.
func (c *Conn) fail(err error) error {
	c.mu.Lock()
	c.close(asError(err))
	c.mu.Unlock()
	c.finish(err)
	return err
}

// Lost is called by the driver when nothing comes from the peer any more: err is why. It tells the handlers, unless they
// know.
func (c *Conn) Lost(err error) { c.finish(err) }

// finish ends all that there is, and tells.
func (c *Conn) finish(err error) {
	c.mu.Lock()
	if c.over == nil {
		c.over = err
	}
	if c.over == nil {
		c.over = io.EOF
	}
	if !c.dead {
		c.dead = true
		var e *frame.Error
		errors.As(err, &e)
		for _, s := range c.local {
			if s != nil {
				s.kill(e)
			}
		}
	}
	told := c.told
	c.told = true
	c.mu.Unlock()
	c.run()
	if !told {
		c.h.Closed(err)
	}
}

// Done reports whether the connection is over: both sides have said close, or one has with an error.
func (c *Conn) Done() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}
