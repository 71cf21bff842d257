package amqp

import (
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/pressure"
	"github.com/linkspan/linkspan/internal/wire"
)

// A conn is one client's connection. One goroutine, its reader, reads and drives the engine, and everything here that does not
// say otherwise is the reader's. What others make the engine say is written by the flushers of package wire.
//
//	wire ─ Run ─ engine.Input ─► Attaching, and the handlers of links: sender, receiver, live
//	                                                   │ any goroutine
//	wire ◄─ Output ◄─ engine ◄─ Settle, Send, Grant ◄──┘
type conn struct {
	wire.Conn
	l    *Listener
	amqp *engine.Conn // nil: not begun
	work *work        // while the engine may call

	container string // from the client's open
	username  string
	opened    bool
	links     int

	next    time.Time     // when the clock is to be looked at
	relook  bool          // earlier than that, perhaps
	over    error         // of the socket, behind what was read before
	drains  []drain       // first due first
	waiting []*sender     // with a backlog
	backlog int           // bytes of theirs
	turned  time.Duration // until it asks for room again

	entered   int64        // messages that went into the windows of senders
	uncounted tally        // what of them the stats do not have yet
	unsettled atomic.Int64 // sent to receivers of groups and not settled
	busy      atomic.Bool  // the reader will look at the engine before it waits
	blocked   atomic.Bool  // the reader waits for room in the engine's output
	stopped   atomic.Pointer[error]

	joins joins
	left  []*suspended // links, some of which the client may have again

	_       [64]byte     // who settles is on another processor, and writes below
	settled atomic.Int64 // of entered
}

var (
	_ wire.Protocol   = (*conn)(nil)
	_ wire.Outputter  = (*conn)(nil)
	_ pressure.Waiter = (*conn)(nil)
)

// work is what a connection needs while it has something to do.
type work struct {
	amqp    frame.Message
	message linkspan.Message
	now     time.Time
}

var (
	// errStopping: the listener stops.
	errStopping error = refuse(frame.ConnectionForced, "The listener is stopping")
	// errSlow: no open in time.
	errSlow = errors.New("no open frame in time")
)

// start makes the engine, when TLS knows who the client is.
func (c *conn) start() {
	cfg := c.l.engine
	cfg.Wake = c.Ring
	if state := c.TLS(); state != nil && len(state.PeerCertificates) > 0 {
		subject := state.PeerCertificates[0].Subject
		if cfg.External = subject.CommonName; cfg.External == "" {
			cfg.External = subject.String()
		}
	}
	c.amqp = engine.NewServer(cfg, c)
	c.relook = true
}

// Run does what there is to do.
func (c *conn) Run() error {
	if c.amqp == nil {
		c.start()
	}
	for {
		c.busy.Store(true)
		if err := c.look(); err != nil {
			return err
		}
		switch {
		case c.MoveOn():
			return nil
		case !c.mayRead():
			c.Park(c.next)
			c.amqp.Listen(time.Now()) // a client that is not read is not silent
			c.relook = true
			continue
		}
		c.busy.Store(false)
		if c.amqp.Stirred() {
			continue
		}
		if !c.Undigested {
			err := c.Receive(false)
			switch {
			case err != nil && wire.NothingYet(err):
				return err
			case err != nil:
				c.over = err
			}
		}
		if err := c.digest(); err != nil {
			return err
		}
		if c.over != nil && !c.Undigested {
			return c.over
		}
	}
}

// look does what others want of the reader, and what is due.
func (c *conn) look() error {
	if err := c.stopped.Load(); err != nil {
		return *err
	}
	if c.relook {
		if err := c.tick(time.Time{}); err != nil { // what the client has said meanwhile is not read yet
			return err
		}
	}
	if c.amqp.Stirred() || len(c.waiting) > 0 {
		c.begin()
		c.Hold()
		c.amqp.Resume()
		c.workOff()
		c.write()
	}
	if c.l.server.Draining() && c.settledAll() {
		return errStopping
	}
	return nil
}

// mayRead reports whether there is room for what the client may send, and for the answers. If not, the reader is woken when
// there is.
func (c *conn) mayRead() bool {
	if c.full() {
		return false
	}
	c.blocked.Store(true)
	if c.amqp.Blocked() {
		return false
	}
	c.blocked.Store(false)
	return c.MayRead()
}

// begin returns what the engine's handlers need.
func (c *conn) begin() *wire.Input {
	in := c.Input()
	c.work = in.Scratch.(*work)
	c.work.now = time.Now()
	c.Worked()
	return in
}

// digest takes the whole frames off what was read. What they cause to be written leaves in one write at the end.
func (c *conn) digest() error {
	in := c.begin()
	c.Hold()
	defer c.write()
	n, need, err := c.amqp.Input(in.Unread(), c.work.now)
	in.Consume(n)
	c.Need = need
	c.Undigested = len(in.Unread()) > 0 && c.amqp.Blocked()
	return err
}

// A tally is what is counted here first, since to count in the stats of all connections takes as long for one message as for many.
type tally struct{ entered, received int }

// write ends Hold, and writes what came of it: the engine rings for nothing while it runs.
func (c *conn) write() {
	if n := c.uncounted; n != (tally{}) {
		c.l.stats.InFlight.In(int64(n.entered))
		c.l.stats.Received.Add(uint64(n.received))
		c.uncounted = tally{}
	}
	if c.amqp.Pending() {
		c.Ring()
	}
	c.Release()
}

// Output is what the engine has to say.
func (c *conn) Output(b []byte) []byte {
	if c.amqp == nil {
		return b
	}
	b = c.amqp.Output(b)
	if c.blocked.Swap(false) || !c.busy.Load() && c.amqp.Stirred() {
		c.Wake()
	}
	return b
}

// Late looks at the clock.
func (c *conn) Late() error {
	if c.amqp == nil {
		c.start()
	}
	return c.tick(time.Now())
}

// tick does what is due, and sets when the next is. Until seen all that came is read and digested.
func (c *conn) tick(seen time.Time) error {
	c.relook = false
	now := time.Now()
	limit := c.Born().Add(c.l.cfg.ConnectTimeout)
	if !c.opened && !seen.Before(limit) {
		return errSlow
	}
	next, err := c.amqp.Tick(now, seen)
	if err != nil {
		return err
	}
	next = sooner(next, c.drained(now))
	if grace := c.l.grace(); now.Before(grace) {
		next = sooner(next, grace)
	}
	if !c.opened {
		next = sooner(next, limit)
	}
	c.next = next
	c.SetReadDeadline(next)
	if c.amqp.Pending() {
		c.Ring()
	}
	return nil
}

// sooner returns the earlier of two times that may be zero for never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// settledAll reports whether there is nothing to wait for before the connection ends: what the sink has is settled, and the client
// has had a moment to settle what it has.
func (c *conn) settledAll() bool {
	grace := c.l.grace()
	return c.settled.Load() == c.entered && (c.unsettled.Load() == 0 || !grace.IsZero() && !time.Now().Before(grace))
}

// Stop ends the connection from outside. The first reason counts. Any goroutine; never blocks.
func (c *conn) Stop(err error) {
	c.stopped.CompareAndSwap(nil, &err)
	c.Wake()
}

// Room is for who has called Starve: nobody does, as the engine knows what it holds.
func (c *conn) Room() {}

// Ready reports whether the connection would go on if the sink had room.
func (c *conn) Ready() bool { return true }

// Close says why, where the protocol can, and ends the connection.
func (c *conn) Close(err error) {
	code := ws.StatusNormalClosure
	if c.amqp != nil {
		c.begin()
		switch {
		case err == errStopping:
			c.amqp.Close(refuse(frame.ConnectionForced, "The listener is stopping"))
			code = ws.StatusGoingAway
		case errors.Is(err, wire.ErrCrowded):
			c.amqp.Close(refuse(frame.ResourceLimitExceeded, err.Error()))
		}
		c.amqp.Lost(err)
	} else {
		c.l.stats.Failed.Add(1)
	}
	c.l.server.Pressure().Forget(c)
	c.Finish(wire.Farewell{Code: code, Linger: err != io.EOF})
}

// workOff hands on what waits, as far as there is room: there may be for one link, and not for another.
func (c *conn) workOff() {
	if c.waiting = slices.DeleteFunc(c.waiting, (*sender).workOff); len(c.waiting) == 0 {
		c.waiting = nil
	}
}

// holds counts bytes that wait for room.
func (c *conn) holds(n int) {
	c.backlog += n
	c.l.stats.Backlog.Add(int64(n))
}

// full reports whether the backlog takes no more.
func (c *conn) full() bool {
	return c.backlog > 0 && (c.backlog >= c.l.cfg.MaxBacklog || c.l.stats.Backlog.Load() >= int64(c.l.cfg.MaxBacklogTotal))
}

// await has the reader woken when there may be room.
func (c *conn) await() {
	c.l.server.Pressure().Wait(c, c.turned)
	c.turned = pressure.Patience(c.turned)
}

// A drain is a link that gives up its credit, and when.
type drain struct {
	link *engine.Link
	due  time.Time
}

// drainPatience is how long a receiver that wants what is there, and no credit to stay, waits for what Kafka has.
const drainPatience = 200 * time.Millisecond

// drainSoon has the credit of a link given up in a while.
func (c *conn) drainSoon(link *engine.Link) {
	if !slices.ContainsFunc(c.drains, func(d drain) bool { return d.link == link }) {
		c.drains = append(c.drains, drain{link, time.Now().Add(drainPatience)})
		c.relook = true
	}
}

// drained gives up what is due, and returns when more is; zero: never.
func (c *conn) drained(now time.Time) (next time.Time) {
	for len(c.drains) > 0 {
		if d := c.drains[0]; now.Before(d.due) {
			return d.due
		}
		c.drains[0].link.Drained()
		c.drains = slices.Delete(c.drains, 0, 1)
	}
	return next
}

// joins are the receivers that wait for Kafka to say what there is to receive.
type joins struct {
	mu      sync.Mutex
	list    []*receiver // first come, first served
	running bool
}
