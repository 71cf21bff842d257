package mqtt

import (
	"net"
	"sync"
	"time"
)

// out is what waits to be written to one device. Any goroutine adds to it; whoever finds it without a writer, or the
// listener's flushers on its behalf, writes all of it at once. A connection with nothing to say holds no buffer.
type out struct {
	mu      sync.Mutex
	plain   *buffer // MQTT packets; nil: none
	control []byte  // WebSocket control frames
	sealed  *buffer // TLS records, ready for the wire
	flight  int     // bytes of MQTT on their way to the system
	packets uint64  // in plain

	writing bool          // somebody writes, and will see what is added
	queued  bool          // the flushers know
	held    bool          // the reader is at work, and flushes when it is done
	shut    bool          // nothing is added any more
	starved bool          // a delivery had no room: the session waits for Resume
	parked  bool          // the reader waits for room
	idle    chan struct{} // closed when writing ends; nil: nobody waits for that

	aliases map[string]uint16 // topic aliases that the device knows from us
}

// buffer is a pooled byte slice.
type buffer struct{ b []byte }

// largeBuffer is the size from which a buffer is not kept for others.
const largeBuffer = 128 << 10

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 1<<10)} }}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) free() {
	if b != nil && cap(b.b) <= largeBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// size returns how many bytes the device has yet to take. The caller has the lock.
func (o *out) size() int {
	n := o.flight + len(o.control)
	if o.plain != nil {
		n += len(o.plain.b)
	}
	return n
}

func (o *out) waiting() bool { return o.plain != nil || o.control != nil || o.sealed != nil }

// open locks o and returns the buffer to add whole packets to, or nil without the lock if nothing is taken any more.
func (o *out) open() *buffer {
	o.mu.Lock()
	if o.shut {
		o.mu.Unlock()
		return nil
	}
	if o.plain == nil {
		o.plain = newBuffer()
	}
	return o.plain
}

// encrypted adds TLS records.
func (o *out) encrypted(p []byte) {
	o.mu.Lock()
	if o.sealed == nil {
		o.sealed = newBuffer()
	}
	o.sealed.b = append(o.sealed.b, p...)
	o.mu.Unlock()
}

// added ends what out.open began: it unlocks, and sees to it that the packets are written.
func (c *conn) added(packets uint64) {
	o := &c.out
	o.packets += packets
	ring := !o.queued && !o.held && !o.writing
	if ring {
		o.queued = true
	}
	o.mu.Unlock()
	if ring {
		c.l.flushers.add(c)
	}
}

// hold leaves flushing to the reader until it calls release.
func (c *conn) hold() {
	c.out.mu.Lock()
	c.out.held = true
	c.out.mu.Unlock()
}

// release ends hold, and writes.
func (c *conn) release() {
	c.out.mu.Lock()
	c.out.held = false
	c.out.mu.Unlock()
	c.flush()
}

// flush writes what waits, unless somebody does already.
func (c *conn) flush() {
	o := &c.out
	o.mu.Lock()
	o.queued = false
	start := !o.writing && (o.waiting() || o.starved || o.parked)
	if start {
		o.writing = true
	} else if o.idle != nil && !o.writing {
		close(o.idle)
		o.idle = nil
	}
	o.mu.Unlock()
	if start {
		c.write()
	}
}

// writeRounds is how often a flusher writes to one connection before the others have their turn.
const writeRounds = 8

// write writes until nothing is left, and leaves a device that takes no more to a goroutine of its own. The caller has
// set writing.
func (c *conn) write() {
	for range writeRounds {
		b := c.take()
		if b == nil {
			return
		}
		n, err := c.sock.writeNow(b.b)
		switch {
		case err == errWouldBlock:
			c.l.running.Go(func() { c.writeSlowly(b, n) })
			return
		case err != nil:
			b.free()
			c.broken(endGone)
			return
		}
		b.free()
	}
	c.out.mu.Lock()
	c.out.writing, c.out.queued, c.out.flight = false, true, 0 // all of it is with the system
	c.out.mu.Unlock()
	c.l.flushers.add(c)
}

// writeSlowly writes b from n on and all that comes after it, at the pace of the device. It ends when nothing is left, or
// when the device takes nothing for WriteTimeout.
func (c *conn) writeSlowly(b *buffer, n int) {
	for b != nil {
		for p := b.b[n:]; len(p) > 0; {
			_ = c.sock.SetWriteDeadline(time.Now().Add(c.l.cfg.WriteTimeout))
			m, err := c.sock.Write(p)
			p = p[m:]
			if err != nil && !(isTimeout(err) && m > 0) {
				b.free()
				if isTimeout(err) {
					c.broken(endNotRead)
				} else {
					c.broken(endGone)
				}
				return
			}
		}
		b.free()
		_ = c.sock.SetWriteDeadline(time.Time{})
		b, n = c.take(), 0
	}
}

// take returns what is to be written next, in the form of the wire. When there is nothing it ends the writing and returns
// nil. It tells those who wait for room.
func (c *conn) take() *buffer {
	o := &c.out
	for told := false; ; told = true { // once: a message larger than the room that there is waits until nothing else does
		o.mu.Lock()
		o.flight = 0
		roomy := o.size() <= c.l.cfg.MaxOutgoing/2 && !told
		resume, wake := o.starved && roomy, o.parked && roomy
		o.starved, o.parked = o.starved && !resume, o.parked && !wake
		if resume || wake {
			o.mu.Unlock()
			if wake {
				c.wake()
			}
			if resume {
				c.session.Resume()
			}
			continue
		}
		if !o.waiting() {
			o.writing = false
			if o.idle != nil {
				close(o.idle)
				o.idle = nil
			}
			o.mu.Unlock()
			return nil
		}
		plain, control, packets := o.plain, o.control, o.packets
		o.plain, o.control, o.packets = nil, nil, 0
		if plain != nil {
			o.flight = len(plain.b)
		}
		o.mu.Unlock()
		if plain != nil {
			c.l.stats.BytesOut.Add(uint64(len(plain.b)))
			c.l.stats.PacketsOut.Add(packets)
		}
		return c.wrap(plain, control)
	}
}

// wrap turns packets into the bytes of the wire.
func (c *conn) wrap(b *buffer, control []byte) *buffer {
	if c.ws != nil {
		b = frame(b, control)
	}
	if c.tls == nil {
		return b
	}
	if b != nil {
		_, _ = c.tls.Write(b.b) // never fails below; a TLS error shows when reading
		b.free()
	}
	c.out.mu.Lock()
	b = c.out.sealed
	c.out.sealed = nil
	c.out.mu.Unlock()
	if b == nil {
		b = newBuffer()
	}
	return b
}

// broken ends a connection that cannot be written to. The caller was the writer.
func (c *conn) broken(e *ending) {
	o := &c.out
	o.mu.Lock()
	o.shut, o.writing, o.flight = true, false, 0
	o.plain, o.control, o.sealed, o.starved, o.parked = nil, nil, nil, false, false
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
	o.mu.Unlock()
	c.stop(e)
	c.sever()
}

// sever ends the traffic and leaves the socket open: it is the reader's to close.
func (c *conn) sever() {
	if t, ok := c.sock.Conn.(*net.TCPConn); ok {
		_ = t.CloseRead()
		_ = t.CloseWrite()
	}
}

// drain writes what waits and returns when it is written, or has failed, or at the deadline.
func (c *conn) drain(deadline <-chan time.Time) {
	c.flush()
	o := &c.out
	o.mu.Lock()
	var idle chan struct{}
	if o.writing || o.queued {
		if o.idle == nil {
			o.idle = make(chan struct{})
		}
		idle = o.idle
	}
	o.mu.Unlock()
	if idle != nil {
		select {
		case <-idle:
		case <-deadline:
		}
	}
}

// flushers write for connections whose bytes come from elsewhere than their own reader: a fixed number of goroutines, so
// that what many goroutines add meanwhile leaves in one write.
type flushers struct {
	mu     sync.Mutex
	some   sync.Cond
	list   []*conn // first come, first served, from next on
	next   int
	closed bool
}

func (f *flushers) add(c *conn) {
	f.mu.Lock()
	f.list = append(f.list, c)
	f.mu.Unlock()
	f.some.Signal()
}

// run flushes until close.
func (f *flushers) run() {
	for {
		f.mu.Lock()
		for f.next == len(f.list) && !f.closed {
			f.list, f.next = f.list[:0], 0
			f.some.Wait()
		}
		if f.next == len(f.list) {
			f.mu.Unlock()
			return
		}
		c := f.list[f.next]
		f.list[f.next] = nil
		if f.next++; f.next >= 1024 && f.next > len(f.list)/2 {
			n := copy(f.list, f.list[f.next:])
			clear(f.list[n:])
			f.list, f.next = f.list[:n], 0
		}
		f.mu.Unlock()
		c.flush()
	}
}

func (f *flushers) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.some.Broadcast()
}
