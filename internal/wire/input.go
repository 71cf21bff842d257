package wire

import "io"

const (
	readSize  = 32 << 10 // bytes read at a time
	smallRest = 2 << 10  // up to here a part of a packet is copied out of the shared buffer and back
)

// Input is what a connection has while there is something to do: a read buffer, and what the protocol decodes into. A
// connection at rest has none, so that memory goes with what happens and not with how many are connected.
type Input struct {
	// Scratch is what Config.Scratch has made. It goes from connection to connection.
	Scratch any

	fixed []byte // readSize bytes
	buf   []byte // fixed, or the connection's own for a packet that is longer
	r, w  int    // buf[r:w] is read and not yet consumed
}

// Unread returns the bytes that are read and not consumed. They are borrowed until Receive, Rest or Park.
func (in *Input) Unread() []byte { return in.buf[in.r:in.w] }

// Consume takes n bytes away, no more than are unread.
func (in *Input) Consume(n int) { in.r += n }

// space returns where to read to, never empty. need is the size of the packet that buf begins with, 0 if that is not
// known. A longer packet than buf is made room for as it arrives, at most twofold: a length that a peer only
// announces reserves nothing.
func (in *Input) space(need int) []byte {
	if in.w < len(in.buf) {
		return in.buf[in.w:]
	}
	if in.r > 0 {
		in.w = copy(in.buf, in.Unread())
		in.r = 0
		return in.buf[in.w:]
	}
	size := 2 * len(in.buf)
	if need > len(in.buf) {
		size = min(size, need)
	}
	larger := make([]byte, size)
	copy(larger, in.buf)
	in.buf = larger
	return in.buf[in.w:]
}

// claim says how many bytes the connection holds of a packet that is not whole yet. All connections together have
// MaxPartialTotal; the one that wants more ends.
func (c *Conn) claim(n int) {
	more := n - c.claimed
	if more == 0 {
		return
	}
	c.claimed = n
	if total := c.s.stats.Partial.Add(int64(more)); more > 0 && total > int64(c.s.cfg.MaxPartialTotal) {
		c.protocol.Stop(ErrCrowded)
	}
}

// Input gives the connection its input, with the bytes that were left when it last rested.
func (c *Conn) Input() *Input {
	if c.input != nil {
		return c.input
	}
	in := c.s.inputs.Get().(*Input)
	in.buf, in.r, in.w = in.fixed, 0, len(c.rest)
	if len(c.rest) > smallRest {
		in.buf = c.rest[:cap(c.rest)]
	} else {
		copy(in.buf, c.rest)
	}
	c.rest, c.input = nil, in
	return in
}

// Rest takes the input away again, and keeps the bytes that are unread.
func (c *Conn) Rest() {
	in := c.input
	if in == nil {
		return
	}
	c.input = nil
	if left := in.Unread(); len(left) > 0 {
		if own := &in.buf[0] != &in.fixed[0]; own && len(left) > cap(in.buf)/2 {
			copy(in.buf, left)
			c.rest = in.buf[:len(left)]
		} else {
			c.rest = append(make([]byte, 0, len(left)), left...)
		}
	}
	if c.Undigested { // whole packets, which are bounded elsewhere
		c.claim(0)
	} else {
		c.claim(cap(c.rest))
	}
	in.buf = nil
	c.s.inputs.Put(in)
}

// readPlain reads what is there of the protocol.
func (c *Conn) readPlain(p []byte) (int, error) {
	if c.ws != nil {
		return c.readWS(p)
	}
	return c.readStream(p)
}

// readStream reads what is there of the byte stream that carries the protocol or WebSocket.
func (c *Conn) readStream(p []byte) (int, error) {
	if c.tls != nil {
		return c.readTLS(p)
	}
	return c.sock.readNow(p)
}

// readWS reads what is there into p, and answers control frames.
func (c *Conn) readWS(p []byte) (int, error) {
	n, err := c.readStream(p)
	if c.ws.Closed() {
		return 0, io.EOF
	}
	n, bad := c.ws.Unframe(p[:n])
	if answer := c.ws.Answer(); answer != nil {
		c.out.mu.Lock()
		if c.out.shut {
			c.out.mu.Unlock()
		} else {
			c.out.control = append(c.out.control, answer...)
			c.ring()
		}
	}
	if bad != nil {
		err = bad
	}
	return n, err
}
