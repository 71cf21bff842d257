package wire

import (
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
)

// out is what waits to be written to one peer. Any goroutine adds to it; whoever finds it without a writer, or the
// server's flushers on its behalf, writes all of it at once. A connection with nothing to say holds no buffer.
type out struct {
	mu      sync.Mutex
	plain   *Buffer // packets; nil: none
	control []byte  // WebSocket control frames
	sealed  *Buffer // TLS records, ready for the wire
	flight  int     // bytes of packets on their way to the system
	packets uint64  // in plain

	writing bool          // somebody writes, and will see what is added
	queued  bool          // the flushers know
	held    bool          // the reader is at work, and flushes when it is done
	shut    bool          // nothing is added any more
	rung    bool          // the protocol, an Outputter, has more
	starved bool          // a delivery had no room: the protocol waits for Room
	parked  bool          // the reader waits for room
	idle    chan struct{} // closed when writing ends; nil: nobody waits for that
}

// Buffer is a pooled byte slice to append whole packets to.
type Buffer struct{ B []byte }

// largeBuffer is the size from which a buffer is not kept for others.
const largeBuffer = 128 << 10

var buffers = sync.Pool{New: func() any { return &Buffer{B: make([]byte, 0, 1<<10)} }}

func newBuffer() *Buffer { return buffers.Get().(*Buffer) }

func (b *Buffer) free() {
	if b != nil && cap(b.B) <= largeBuffer {
		b.B = b.B[:0]
		buffers.Put(b)
	}
}

// size returns how many bytes the peer has yet to take. The caller has the lock.
func (o *out) size() int {
	n := o.flight + len(o.control)
	if o.plain != nil {
		n += len(o.plain.B)
	}
	return n
}

func (o *out) waiting() bool { return o.plain != nil || o.control != nil || o.sealed != nil || o.rung }

// Lock locks what waits to be written, for [Conn.Buffer] and what else says so. What the protocol has to keep in order with its
// answers may be under this lock, too. Any goroutine; nothing that blocks may be done under it.
func (c *Conn) Lock() { c.out.mu.Lock() }

// Unlock ends Lock if nothing was added.
func (c *Conn) Unlock() { c.out.mu.Unlock() }

// IsShut reports whether nothing is taken any more. The caller has the lock.
func (c *Conn) IsShut() bool { return c.out.shut }

// Waiting returns how many bytes the peer has yet to take. The caller has the lock.
func (c *Conn) Waiting() int { return c.out.size() }

// Buffer returns the buffer to add whole packets to. The caller has the lock, has seen that it is not shut, and is to call
// Added.
func (c *Conn) Buffer() *Buffer {
	if c.out.plain == nil {
		c.out.plain = newBuffer()
	}
	return c.out.plain
}

// Starve has Room called when no more than half of Config.MaxOutgoing waits. The caller has the lock.
func (c *Conn) Starve() { c.out.starved = true }

// Shut lets nothing be added any more, but what Finish adds. The caller has the lock.
func (c *Conn) Shut() { c.out.shut = true }

// Open is Lock and Buffer; it returns nil without the lock if nothing is taken any more. Any goroutine.
func (c *Conn) Open() *Buffer {
	c.out.mu.Lock()
	if c.out.shut {
		c.out.mu.Unlock()
		return nil
	}
	return c.Buffer()
}

// Added ends what Open or Lock has begun: it unlocks, and sees to it that the packets, of which there are so many, are
// written.
func (c *Conn) Added(packets uint64) {
	c.out.packets += packets
	c.ring()
}

// Ring says that the protocol, an [Outputter], has something to be written. Any goroutine; never blocks.
func (c *Conn) Ring() {
	c.out.mu.Lock()
	if c.out.shut {
		c.out.mu.Unlock()
		return
	}
	c.out.rung = true
	c.ring()
}

// ring unlocks, and calls for a flusher unless there is a writer, or will be.
func (c *Conn) ring() {
	o := &c.out
	call := !o.queued && !o.held && !o.writing
	if call {
		o.queued = true
	}
	o.mu.Unlock()
	if call {
		c.s.flushers.add(c)
	}
}

// Hold leaves writing to the reader until it calls Release.
func (c *Conn) Hold() {
	c.out.mu.Lock()
	c.out.held = true
	c.out.mu.Unlock()
}

// Release ends Hold, and writes.
func (c *Conn) Release() {
	c.out.mu.Lock()
	c.out.held = false
	c.out.mu.Unlock()
	c.flush()
}

// MayRead reports whether there is room for answers to what the peer may send. If not, the reader is woken when there is.
func (c *Conn) MayRead() bool {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.parked = o.size() > c.s.cfg.MaxOutgoing
	return !o.parked
}

// flush writes what waits, unless somebody does already.
func (c *Conn) flush() {
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

// write writes until nothing is left, and leaves a peer that takes no more to a goroutine of its own. The caller has
// set writing.
func (c *Conn) write() {
	for range writeRounds {
		b := c.take()
		if b == nil {
			return
		}
		n, err := c.sock.writeNow(b.B)
		switch {
		case err == errWouldBlock:
			c.s.running.Go(func() { c.writeSlowly(b, n) })
			return
		case err != nil:
			b.free()
			c.broken(err)
			return
		}
		b.free()
	}
	c.out.mu.Lock()
	c.out.writing, c.out.queued, c.out.flight = false, true, 0 // all of it is with the system
	c.out.mu.Unlock()
	c.s.flushers.add(c)
}

// writeSlowly writes b from n on and all that comes after it, at the pace of the peer. It ends when nothing is left, or
// when the peer takes nothing for WriteTimeout.
func (c *Conn) writeSlowly(b *Buffer, n int) {
	for b != nil {
		for p := b.B[n:]; len(p) > 0; {
			_ = c.sock.SetWriteDeadline(time.Now().Add(c.s.cfg.WriteTimeout))
			m, err := c.sock.Write(p)
			p = p[m:]
			if err != nil && !(isTimeout(err) && m > 0) {
				b.free()
				if isTimeout(err) {
					err = ErrNotRead
				}
				c.broken(err)
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
func (c *Conn) take() *Buffer {
	o := &c.out
	for told := false; ; told = true { // once: a message larger than the room that there is waits until nothing else does
		o.mu.Lock()
		o.flight = 0
		roomy := o.size() <= c.s.cfg.MaxOutgoing/2 && !told
		resume, wake := o.starved && roomy, o.parked && roomy
		o.starved, o.parked = o.starved && !resume, o.parked && !wake
		if resume || wake {
			o.mu.Unlock()
			if wake {
				c.Wake()
			}
			if resume {
				c.protocol.Room()
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
		plain, control, packets, rung := o.plain, o.control, o.packets, o.rung
		o.plain, o.control, o.packets, o.rung = nil, nil, 0, false
		if plain != nil {
			o.flight = len(plain.B)
		}
		o.mu.Unlock()
		if rung {
			plain = c.pull(plain)
		}
		if plain != nil {
			c.s.stats.BytesOut.Add(uint64(len(plain.B)))
			c.s.stats.PacketsOut.Add(packets)
		}
		return c.wrap(plain, control)
	}
}

// pull adds to b, which may be nil, what the protocol has.
func (c *Conn) pull(b *Buffer) *Buffer {
	if b == nil {
		b = newBuffer()
	}
	b.B = c.protocol.(Outputter).Output(b.B)
	c.out.mu.Lock()
	c.out.flight = len(b.B)
	c.out.mu.Unlock()
	return b
}

// wrap turns packets into the bytes of the wire.
func (c *Conn) wrap(b *Buffer, control []byte) *Buffer {
	if c.ws != nil {
		b = enframe(b, control)
	}
	if c.tls == nil {
		return b
	}
	if b != nil {
		_, _ = c.tls.Write(b.B) // never fails below; a TLS error shows when reading
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

// enframe puts packets into one binary frame [MQTT-6.0.0-1], and control frames behind it. It frees plain.
func enframe(plain *Buffer, control []byte) *Buffer {
	if plain == nil && control == nil {
		return nil
	}
	b := newBuffer()
	if plain != nil && len(plain.B) > 0 {
		b.B = websocket.Server.Append(b.B, ws.OpBinary, plain.B)
	}
	plain.free()
	b.B = append(b.B, control...)
	return b
}

// broken ends a connection that cannot be written to. The caller was the writer.
func (c *Conn) broken(err error) {
	o := &c.out
	o.mu.Lock()
	o.shut, o.writing, o.flight = true, false, 0
	o.plain, o.control, o.sealed, o.rung, o.starved, o.parked = nil, nil, nil, false, false, false
	if o.idle != nil {
		close(o.idle)
		o.idle = nil
	}
	o.mu.Unlock()
	c.protocol.Stop(err)
	c.sever()
}

// drain writes what waits and returns when it is written, or has failed, or at the deadline.
func (c *Conn) drain(deadline <-chan time.Time) {
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
