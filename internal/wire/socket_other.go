//go:build !unix

package wire

import "net"

// A socket is any connection: see blocking.go.
type socket struct{ net.Conn }

func (s *socket) open(nc net.Conn, _ *Conn) error {
	s.Conn = nc
	return nil
}

// blocks reports whether a read waits for bytes where there are none.
func (*socket) blocks() bool { return true }

// poll calls Run.
func (c *Conn) poll() error { return c.protocol.Run() }

// look has nothing to tell: no read tells of what came before its deadline once that has passed.
func (c *Conn) look() error { return errWouldBlock }

// Receive reads into the connection's input, and waits for bytes if there are none.
func (c *Conn) Receive(bool) error { return c.block() }

func (s *socket) readNow(p []byte) (int, error) { return s.Read(p) }

func (s *socket) writeNow([]byte) (int, error) { return 0, errWouldBlock }
