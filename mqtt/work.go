package mqtt

import (
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

const (
	readSize  = 32 << 10 // bytes read at a time
	smallRest = 2 << 10  // up to here a part of a packet is copied out of the shared buffer and back
)

// work is what a connection needs while it has something to do: a read buffer, and packets and a message to decode into.
// A connection at rest has none, so that memory goes with what happens and not with how many are connected.
type work struct {
	fixed []byte // readSize bytes
	buf   []byte // fixed, or the connection's own for a packet that is longer
	r, w  int    // buf[r:w] is read and not yet digested
	now   time.Time

	publish     packet.Publish
	ack         packet.Ack
	subscribe   packet.Subscribe
	unsubscribe packet.Unsubscribe
	message     linkspan.Message
}

var works = sync.Pool{New: func() any { return &work{fixed: make([]byte, readSize)} }}

// unread returns the bytes that are read and not digested.
func (w *work) unread() []byte { return w.buf[w.r:w.w] }

// space returns where to read to, never empty. need is the size of the packet that buf begins with, 0 if that is not
// known. A longer packet than buf is made room for as it arrives, at most twofold: a length that a peer only
// announces reserves nothing.
func (w *work) space(need int) []byte {
	if w.w < len(w.buf) {
		return w.buf[w.w:]
	}
	if w.r > 0 {
		w.w = copy(w.buf, w.unread())
		w.r = 0
		return w.buf[w.w:]
	}
	size := 2 * len(w.buf)
	if need > len(w.buf) {
		size = min(size, need)
	}
	larger := make([]byte, size)
	copy(larger, w.buf)
	w.buf = larger
	return w.buf[w.w:]
}

// space returns where w reads to.
func (c *conn) space(w *work) []byte {
	p := w.space(c.need)
	if len(w.buf) > len(w.fixed) {
		c.claim(len(w.buf))
	}
	return p
}

// claim says how many bytes the connection holds of a packet that is not whole yet. All connections together have
// MaxPartialTotal; the one that wants more ends.
func (c *conn) claim(n int) {
	more := n - c.claimed
	if more == 0 {
		return
	}
	c.claimed = n
	if total := c.l.stats.Partial.Add(int64(more)); more > 0 && total > int64(c.l.cfg.MaxPartialTotal) {
		c.stop(endCrowded)
	}
}

// begin gives the connection its work, with the bytes that were left when it last rested.
func (c *conn) begin() *work {
	if c.work != nil {
		return c.work
	}
	w := works.Get().(*work)
	w.buf, w.r, w.w = w.fixed, 0, len(c.rest)
	if len(c.rest) > smallRest {
		w.buf = c.rest[:cap(c.rest)]
	} else {
		copy(w.buf, c.rest)
	}
	c.rest, c.work = nil, w
	return w
}

// end takes the work away again, and keeps the bytes of a packet that is not whole yet.
func (c *conn) end() {
	w := c.work
	if w == nil {
		return
	}
	c.work = nil
	if left := w.unread(); len(left) > 0 {
		if own := &w.buf[0] != &w.fixed[0]; own && len(left) > cap(w.buf)/2 {
			copy(w.buf, left)
			c.rest = w.buf[:len(left)]
		} else {
			c.rest = append(make([]byte, 0, len(left)), left...)
		}
	}
	if c.undigested { // whole packets, which wait for the backlog
		c.claim(0)
	} else {
		c.claim(cap(c.rest))
	}
	w.buf = nil
	works.Put(w)
}
