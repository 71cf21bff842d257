//go:build !unix

package wire

import "net"

// blockingReads: a read waits for bytes where there are none.
const blockingReads = true

// Without a way to wait for a socket and then read it, a connection at rest keeps its buffer, and writing is always left
// to a goroutine that may block.
type socket struct{ net.Conn }

func (s *socket) open(nc net.Conn, _ *Conn) error {
	s.Conn = nc
	return nil
}

// poll calls Run.
func (c *Conn) poll() error { return c.protocol.Run() }

// look has nothing to tell: no read tells of what came before its deadline once that has passed.
func (c *Conn) look() error { return errWouldBlock }

// Receive reads into the connection's input, and waits for bytes if there are none. Along with io.EOF, or an error of WebSocket,
// there may be bytes that came before it.
func (c *Conn) Receive(bool) error {
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

func (s *socket) readNow(p []byte) (int, error) { return s.Read(p) }

func (s *socket) writeNow([]byte) (int, error) { return 0, errWouldBlock }
