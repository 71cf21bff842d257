//go:build unix

package mqtt

import (
	"io"
	"net"
	"syscall"
)

// blockingReads: a read waits for bytes where there are none.
const blockingReads = false

// A socket is read and written without blocking in a system call, and waited for without a buffer.
type socket struct {
	net.Conn
	raw      syscall.RawConn
	readable func(fd uintptr) bool // conn.poll, bound once
	writable func(fd uintptr) bool // socket.push, bound once

	fd      uintptr // the reader's, while it polls
	readErr error   // of the last poll

	// Of whoever writes.

	pushed   []byte
	written  int
	writeErr error
}

// open makes the socket of an accepted connection ready for c.
func (s *socket) open(nc net.Conn, c *conn) error {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return errNoSocket
	}
	raw, err := sc.SyscallConn()
	s.Conn, s.raw, s.readable, s.writable = nc, raw, c.poll, s.push
	return err
}

// receive waits until the connection can be read, and reads what is there into its work, which it gives one only then.
func (c *conn) receive() error {
	c.end()
	if err := c.sock.raw.Read(c.sock.readable); err != nil {
		return err
	}
	return c.sock.readErr
}

// poll reads what is there, or gives the work back and returns false to be called again when something is. It is called once
// more when all is read: the system tells the end of the stream to those who ask, and not again to those who were
// told of bytes before it.
func (c *conn) poll(fd uintptr) bool {
	w := c.begin()
	c.sock.fd = fd
	n, err := c.readPlain(w.space(c.need))
	if n == 0 && err == errWouldBlock {
		c.end()
		return false
	}
	if err == errWouldBlock {
		err = nil
	}
	w.w += n
	c.sock.readErr = err
	return true
}

// readNow reads what is there, only while the reader polls. It returns errWouldBlock if that is nothing.
func (s *socket) readNow(p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(s.fd), p)
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return 0, errWouldBlock
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// writeNow writes as much of p as the system takes at once. It returns errWouldBlock if that is not all.
func (s *socket) writeNow(p []byte) (int, error) {
	s.pushed, s.written, s.writeErr = p, 0, nil
	if err := s.raw.Write(s.writable); err != nil {
		return 0, err
	}
	s.pushed = nil
	return s.written, s.writeErr
}

func (s *socket) push(fd uintptr) bool {
	for s.written < len(s.pushed) {
		n, err := syscall.Write(int(fd), s.pushed[s.written:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			s.writeErr = errWouldBlock
			return true
		case err != nil:
			s.writeErr = err
			return true
		}
		s.written += n
	}
	return true
}
