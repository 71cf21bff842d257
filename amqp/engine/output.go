package engine

import (
	"sync"

	"github.com/linkspan/linkspan/amqp/frame"
)

// buffers are what output and unfinished messages are gathered in, so that an idle connection has none.
var buffers = sync.Pool{New: func() any { return new(buffer) }}

type buffer struct{ b []byte }

// maxPooled is the capacity in bytes of the largest buffer that is kept for others: output that has reached 64 KiB, as append rounds it up.
const maxPooled = 128 << 10

func getBuffer() []byte {
	h := buffers.Get().(*buffer)
	b := h.b
	h.b = nil
	holders.Put(h)
	return b[:0]
}

func putBuffer(b []byte) {
	if cap(b) == 0 || cap(b) > maxPooled {
		return
	}
	h := holders.Get().(*buffer)
	h.b = b
	buffers.Put(h)
}

// holders are empty buffers, so that putting one into the pool does not need memory either.
var holders = sync.Pool{New: func() any { return new(buffer) }}

// A performative is the body of a frame, without payload.
type performative interface{ Append(b []byte) []byte }

// emit writes one frame. It needs mu.
func (c *Conn) emit(channel uint16, p performative) {
	if !c.ready {
		c.held = appendFrame(c.held, channel, p)
		return
	}
	c.grab()
	c.out = appendFrame(c.out, channel, p)
}

func appendFrame(b []byte, channel uint16, p performative) []byte {
	at := len(b)
	b = frame.BeginFrame(b, frame.TypeAMQP, channel)
	b = p.Append(b)
	return frame.EndFrame(b, at)
}

// grab gets a buffer for out. It needs mu.
func (c *Conn) grab() {
	if c.out == nil {
		c.out = getBuffer()
	}
}

// write writes what is no frame of AMQP. It needs mu.
func (c *Conn) write(b []byte) {
	c.grab()
	c.out = append(c.out, b...)
}

// Pending reports whether Output has something.
func (c *Conn) Pending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending()
}

func (c *Conn) pending() bool { return len(c.out) > 0 || len(c.due) > 0 && c.ready }

// Blocked reports whether so much output waits that Input takes nothing: the peer sends but does not read.
func (c *Conn) Blocked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) > c.cfg.MaxOutput
}

// Output appends to b all that is to be written, which includes what is told by the latest state alone: dispositions, joined
// to ranges, and flows. The driver calls Resume afterwards. Any goroutine may call Output, but who writes what it
// gives must keep the order.
func (c *Conn) Output(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(b)
	b = append(b, c.out...)
	putBuffer(c.out)
	c.out = nil
	if c.ready && c.openSent {
		for i, s := range c.due {
			c.due[i] = nil
			b = s.flush(b)
			s.due = false
		}
		c.due = c.due[:0]
	}
	for i, l := range c.clogged {
		c.clogged[i] = nil
		l.clogged = false
		if l.refused {
			l.refused = false
			c.post(event{kind: flowed, l: l})
		}
	}
	c.clogged = c.clogged[:0]
	c.wrote = c.wrote || len(b) > before
	c.woken = false
	return b
}

// Resume tells the handlers what came up outside of Input: Flow of links whose Send was refused for want of room in the
// output. It is to be called after Output. The driver takes the output again afterwards, if there is some.
func (c *Conn) Resume() {
	c.enter()
	c.run()
	c.leave()
}

// enter says that the driver is in the engine: it takes the output when it comes out, and need not be woken.
func (c *Conn) enter() {
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
}

func (c *Conn) leave() {
	c.mu.Lock()
	c.running = false
	c.mu.Unlock()
}

// unlock unlocks mu, and wakes the driver if there is something for it.
func (c *Conn) unlock() {
	wake := !c.running && !c.woken && c.cfg.Wake != nil && (c.pending() || len(c.events) > 0)
	if wake {
		c.woken = true
	}
	c.mu.Unlock()
	if wake {
		c.cfg.Wake()
	}
}
