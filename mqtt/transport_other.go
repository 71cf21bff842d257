//go:build !unix

package mqtt

import "net"

// blockingReads: a read waits for bytes where there are none.
const blockingReads = true

// Without a way to wait for a socket and then read it, a connection at rest keeps its buffer, and writing is always left
// to a goroutine that may block.
type socket struct{ net.Conn }

func (s *socket) open(nc net.Conn, _ *conn) error {
	s.Conn = nc
	return nil
}

// poll calls run.
func (c *conn) poll() (*ending, error) { return c.run() }

// receive reads into the connection's work.
func (c *conn) receive() error {
	w := c.begin()
	n, err := c.readPlain(c.space(w))
	w.w += n
	return err
}

func (s *socket) readNow(p []byte) (int, error) { return s.Read(p) }

func (s *socket) writeNow([]byte) (int, error) { return 0, errWouldBlock }
