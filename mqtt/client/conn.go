package client

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A conn is one connection to the broker, from CONNACK on. Three goroutines serve it: the reader decodes and hands on, the
// writer writes whatever waits in one go, the clock sends PINGREQ and looks for silence. Its worker's goroutine starts them, and
// waits for their end before it makes the next connection, so that messages keep their order (P3).
type conn struct {
	w       *worker
	nc      net.Conn
	target  dial.Target
	version packet.Version
	limits  Limits
	clean   bool // we asked for a new session
	present bool // the broker had the session
	since   time.Time
	// patience is how long the broker may take to acknowledge a message, or take none of the bytes that are written.
	patience time.Duration

	running sync.WaitGroup
	ended   chan struct{} // closed by fail
	failure *failure      // why; set before ended is closed
	once    sync.Once
	said    bool // our goodbye is written

	draining atomic.Bool   // nothing is handed to the sink any more
	wake     chan struct{} // ends the reader's wait for room
	replies  chan reply    // SUBACK and UNSUBACK
	pong     chan struct{} // PINGRESP
	table    atomic.Pointer[subscriptions]

	// The reader's.

	in      []byte // in[r:n] is read and not digested
	r, n    int
	now     time.Time // of the last read
	publish packet.Publish
	ack     packet.Ack
	message linkspan.Message
	full    bool // too many acknowledgements waited to be written

	// For the clock.

	heard    atomic.Int64 // when bytes came last, ns since 1970, or the reader did not listen
	listened atomic.Int64 // since when the reader listens without a break
	wrote    atomic.Int64 // when bytes went out last
	pinged   atomic.Int64 // when the PINGREQ went out that is not answered; 0: none is
	stalled  atomic.Bool  // the reader waits for room
	seen     atomic.Int64 // until when all that came is read and digested, ns since 1970

	// Guarded by w.mu.

	out       []byte      // packets that wait for the writer
	answers   int         // bytes of acknowledgements in out
	unwritten []*delivery // QoS 0 in out
	room      sync.Cond   // of the writer: there is something to write, or to end for
	idle      bool        // the writer waits
	held      bool        // the reader is at work, and wakes the writer when it is done
	shut      bool        // nothing is added to out any more
	closing   bool        // the writer ends when out is written
	broken    bool        // a message was not taken: nothing behind it is acknowledged
	blocked   bool        // the reader waits for the window
	sent      bool        // a message of QoS 1 or 2 was written
	acked     bool        // and one was acknowledged
	lowered   bool        // one was downgraded
}

// reply is a SUBACK or UNSUBACK.
type reply struct {
	kind    packet.Type
	id      uint16
	reasons []packet.Reason
}

const (
	readSize = 64 << 10
	// largeBuffer is the size from which a buffer is not kept for what comes later.
	largeBuffer = 1 << 20
)

func newConn(w *worker, nc net.Conn, t dial.Target, v packet.Version) *conn {
	c := &conn{
		w: w, nc: nc, target: t, version: v, since: time.Now(), patience: w.c.cfg.AckTimeout << w.late,
		ended:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		replies: make(chan reply, 1),
		pong:    make(chan struct{}, 1),
		in:      make([]byte, readSize),
	}
	c.room.L = &w.mu
	return c
}

// start takes the connection into service.
func (c *conn) start() {
	now := time.Now()
	c.heard.Store(now.UnixNano())
	c.listened.Store(now.UnixNano())
	c.wrote.Store(now.UnixNano())
	c.seen.Store(now.UnixNano())
	c.w.attach(c)
	c.running.Go(func() { c.fail(c.read()) })
	c.running.Go(func() { c.fail(c.write()) })
	c.running.Go(c.clock)
}

// fail ends the connection, the first time it is called with an error. Any goroutine, also with w.mu locked; never blocks.
func (c *conn) fail(err error) {
	if err == nil {
		return
	}
	c.once.Do(func() {
		c.failure = why(err)
		close(c.ended)
		_ = c.nc.SetReadDeadline(dial.Past())
	})
}

// finish waits until all is over, and closes.
func (c *conn) finish() {
	c.fail(errGone)
	c.w.mu.Lock()
	c.shut, c.closing = true, true
	c.goodbye()
	c.room.Broadcast()
	_ = c.nc.SetWriteDeadline(time.Now().Add(farewell))
	c.w.mu.Unlock()
	c.running.Wait()
	_ = c.nc.Close()
	c.w.detach(c)
}

var errGone = errors.New("gone")

// farewell bounds how long a broker is told why the connection ends.
const farewell = time.Second

// goodbye adds a DISCONNECT that names what the broker did wrong. The caller has w.mu.
func (c *conn) goodbye() {
	f := c.failure
	if c.version < packet.V5 || c.said || f.told || f.reason == 0 {
		return
	}
	d := packet.Disconnect{Reason: f.reason}
	c.out = d.Append(c.out, c.version)
}

// read is the reader. What came with CONNACK is there already. It looks up now and then: all that came until then is digested when a read
// finds nothing, and what the clock misses has not come.
func (c *conn) read() error {
	c.now = time.Now()
	until := c.lookUp()
	for {
		if err := c.digest(); err != nil {
			return err
		}
		c.catchUp()
		if c.over() {
			return nil
		}
		n, err := c.nc.Read(c.space())
		c.now = time.Now()
		switch {
		case n == 0 && errors.Is(err, os.ErrDeadlineExceeded):
			if !c.now.Before(until) { // else it is fail that wakes us
				c.seen.Store(until.UnixNano())
				until = c.lookUp()
			}
			continue
		case n == 0 && err != nil:
			return err
		}
		c.heard.Store(c.now.UnixNano())
		c.n += n
		c.w.c.stats.BytesIn.Add(uint64(n))
	}
}

// lookUp has a read end that finds nothing for an interval, and returns when that is.
func (c *conn) lookUp() time.Time {
	until := c.now.Add(c.interval())
	_ = c.nc.SetReadDeadline(until)
	return until
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

// maxAnswers is how many bytes of acknowledgements may wait to be written: more than what can be in flight asks for.
const maxAnswers = 1 << 20

// catchUp waits, and reads nothing, while the broker does not take the answers that it asks for (P6).
func (c *conn) catchUp() {
	if !c.behind() {
		return
	}
	c.stall()
	defer c.listen()
	for c.behind() {
		select {
		case <-c.wake:
		case <-c.ended:
			return
		}
	}
}

func (c *conn) behind() bool {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.answers > maxAnswers
}

// stall has the clock know that nothing is read until listen.
func (c *conn) stall() {
	c.w.c.stats.Stalled.Add(1)
	c.stalled.Store(true)
}

// listen ends stall.
func (c *conn) listen() {
	now := time.Now().UnixNano()
	c.heard.Store(now)
	c.listened.Store(now)
	c.stalled.Store(false)
}

// space returns where to read to, never empty. A packet that is longer than the buffer is made room for as it comes, at most
// twofold, so that a length that is only announced reserves nothing.
func (c *conn) space() []byte {
	if c.r == c.n {
		c.r, c.n = 0, 0
		if len(c.in) > largeBuffer {
			c.in = make([]byte, readSize)
		}
	}
	if c.n < len(c.in) {
		return c.in[c.n:]
	}
	if c.r > 0 {
		c.n = copy(c.in, c.in[c.r:c.n])
		c.r = 0
		return c.in[c.n:]
	}
	larger := make([]byte, 2*len(c.in))
	copy(larger, c.in)
	c.in = larger
	return c.in[c.n:]
}

// digest handles the whole packets that have come. What they cause to be written leaves in one write at the end.
func (c *conn) digest() error {
	c.hold()
	defer c.release()
	for {
		raw, n, _, err := packet.Cut(c.in[c.r:c.n], c.w.c.cfg.MaxPacketSize)
		if err != nil || n == 0 {
			return err
		}
		if err := c.handle(raw); err != nil {
			return err
		}
		c.r += n
	}
}

// handle does what one packet asks for.
func (c *conn) handle(raw packet.Raw) error {
	switch raw.Type() {
	case packet.PUBLISH:
		if err := c.publish.Decode(c.version, raw); err != nil {
			return err
		}
		return c.published(&c.publish)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		if err := c.ack.Decode(c.version, raw); err != nil {
			return err
		}
		if c.ack.Type == packet.PUBREL {
			c.w.release(c, c.ack.PacketID)
		} else {
			c.w.acknowledged(c, &c.ack)
		}
		return nil
	case packet.SUBACK:
		var s packet.Suback
		if err := s.Decode(c.version, raw); err != nil {
			return err
		}
		return c.replied(reply{packet.SUBACK, s.PacketID, s.Reasons})
	case packet.UNSUBACK:
		var u packet.Unsuback
		if err := u.Decode(c.version, raw); err != nil {
			return err
		}
		return c.replied(reply{packet.UNSUBACK, u.PacketID, u.Reasons})
	case packet.PINGRESP:
		if err := packet.DecodePing(c.version, raw); err != nil {
			return err
		}
		c.pinged.Store(0)
		select {
		case c.pong <- struct{}{}:
		default:
		}
		return nil
	case packet.DISCONNECT:
		return c.dismissed(raw)
	}
	return violation(packet.ProtocolError, "the broker sent a %v", raw.Type())
}

// replied hands a reply to the worker. One that nobody waits for is dropped: the answer to a request that was given up.
func (c *conn) replied(r reply) error {
	select {
	case c.replies <- r:
	default:
	}
	return nil
}

// dismissed returns why the broker ends the connection.
func (c *conn) dismissed(raw packet.Raw) error {
	if c.version < packet.V5 {
		return violation(0, "the broker sent a DISCONNECT, which MQTT %v has for clients only", c.version)
	}
	var d packet.Disconnect
	if err := d.Decode(c.version, raw); err != nil {
		return err
	}
	if d.Properties.Has(packet.ServerReference) {
		c.w.redirect(d.Reason, d.Properties.ServerReference, c.target)
	}
	return ended(&d)
}

// hold leaves waking the writer to the reader until it calls release.
func (c *conn) hold() {
	c.w.mu.Lock()
	c.held = true
	c.w.mu.Unlock()
}

// release ends hold.
func (c *conn) release() {
	c.w.mu.Lock()
	c.held = false
	c.kick()
	c.w.mu.Unlock()
}

// kick wakes the writer if there is something to write. The caller has w.mu.
func (c *conn) kick() {
	if c.idle && !c.held && len(c.out) > 0 {
		c.idle = false
		c.room.Signal()
	}
}

// write is the writer: it writes what waits, whole packets, until the end.
func (c *conn) write() error {
	w := c.w
	var spare []byte
	var spareQoS0 []*delivery
	for {
		w.mu.Lock()
		for len(c.out) == 0 && !c.closing {
			_ = c.nc.SetWriteDeadline(time.Time{}) // WebSocket and TLS have answers of their own, which the reader writes
			c.idle = true
			c.room.Wait()
		}
		c.idle = false
		if len(c.out) == 0 {
			w.mu.Unlock()
			return nil
		}
		batch, qos0 := c.out, c.unwritten
		c.out, c.unwritten, c.answers = spare[:0], spareQoS0[:0], 0
		w.in.written = w.in.settled
		now, patience := time.Now(), c.patience
		if c.closing {
			patience = farewell
		}
		_ = c.nc.SetWriteDeadline(now.Add(patience))
		w.mu.Unlock()

		c.awakeReader() // there is room for acknowledgements
		c.wrote.Store(now.UnixNano())
		n, err := c.nc.Write(batch)
		w.c.stats.BytesOut.Add(uint64(n))
		if err != nil {
			return err
		}
		w.written(qos0)
		clear(qos0)
		if spare, spareQoS0 = batch, qos0; cap(spare) > largeBuffer {
			spare = nil
		}
	}
}

// awakeReader ends the reader's wait for room, if it waits.
func (c *conn) awakeReader() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// clock looks after time until the connection ends.
func (c *conn) clock() {
	half := c.limits.KeepAlive / 2
	tick := time.NewTicker(c.interval())
	defer tick.Stop()
	for {
		select {
		case <-c.ended:
			return
		case now := <-tick.C:
			if c.stalled.Load() {
				c.heard.Store(now.UnixNano()) // a broker that we do not listen to is not silent
				c.listened.Store(now.UnixNano())
			}
			seen := time.Unix(0, c.seen.Load())
			c.ping(now, half)
			c.silence(seen, half)
			if c.w.overdue(seen.Add(-c.patience), time.Unix(0, c.listened.Load())) {
				c.fail(failed(CauseTimeout, "the broker has not acknowledged a message within %v", c.patience))
			}
		}
	}
}

// interval is how often the clock and the reader look up.
func (c *conn) interval() time.Duration {
	cfg := &c.w.c.cfg
	interval := min(cfg.AckTimeout, cfg.ConnectTimeout) / 4
	if half := c.limits.KeepAlive / 2; half > 0 {
		interval = min(interval, half/2)
	}
	return max(interval, 10*time.Millisecond)
}

// silence ends a connection on which nothing had come until seen for half of the keep-alive after a PINGREQ [MQTT 3.1.2.10], or for longer
// where the answer may be stuck behind a message that takes longer.
func (c *conn) silence(seen time.Time, half time.Duration) {
	patience := half
	if c.patience > c.w.c.cfg.AckTimeout {
		patience = max(half, c.patience)
	}
	limit, heard := seen.Add(-patience).UnixNano(), c.heard.Load()
	if at := c.pinged.Load(); half > 0 && at != 0 && at < limit && heard < limit {
		c.fail(failed(CauseTimeout, "the broker is silent: nothing came for %v", seen.Sub(time.Unix(0, heard)).Round(time.Millisecond)))
	}
}

// ping sends a PINGREQ when nothing was written or heard for half of the keep-alive [MQTT-3.1.2-20].
func (c *conn) ping(now time.Time, half time.Duration) {
	if half == 0 {
		return
	}
	quiet := now.Add(-half).UnixNano()
	if c.wrote.Load() > quiet && (c.heard.Load() > quiet || c.pinged.Load() != 0) {
		return
	}
	c.pingNow(now)
}

func (c *conn) pingNow(now time.Time) {
	c.pinged.CompareAndSwap(0, now.UnixNano())
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if !c.shut {
		c.out = packet.AppendPing(c.out, packet.PINGREQ)
		if c.idle { // also while the reader is at work: it may be long
			c.idle = false
			c.room.Signal()
		}
	}
}
