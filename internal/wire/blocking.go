package wire

// Without a way to wait for a socket and then read it, a connection at rest keeps its buffer, and writing is always left to a
// goroutine that may block. So it is on systems other than Unix, and with connections that are not the system's.

// block reads into the connection's input, and waits for bytes if there are none. Along with io.EOF, or an error of WebSocket, there
// may be bytes that came before it.
func (c *Conn) block() error {
	in := c.Input()
	p := in.space(c.Need)
	if len(in.buf) > len(in.fixed) { // it is kept while nothing comes
		c.claim(len(in.buf))
	}
	n, err := c.readPlain(p)
	in.w += n
	c.s.stats.BytesIn.Add(uint64(n))
	return err
}
