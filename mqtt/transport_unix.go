//go:build unix

package mqtt

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// blockingReads: a read waits for bytes where there are none.
const blockingReads = false

// A socket is read and written without blocking in a system call, and waited for without a buffer.
type socket struct {
	net.Conn
	raw     syscall.RawConn
	attend  func(fd uintptr) bool // conn.attend, bound once
	fd      int                   // good while the reader polls, or with using
	verdict *ending               // of the last attend
	drained bool                  // there was no more to read since the last attend

	using  sync.Mutex // held by who writes, and to close: nobody else may have got the descriptor when it is written to
	closed bool
}

// open makes the socket of an accepted connection ready for c.
func (s *socket) open(nc net.Conn, c *conn) error {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return errNoSocket
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	s.Conn, s.raw, s.attend = nc, raw, c.attend
	return raw.Control(func(fd uintptr) { s.fd = int(fd) })
}

// Close closes the socket. It waits for the reader: nobody else may call it while there is one.
func (s *socket) Close() error {
	s.using.Lock()
	s.closed = true
	s.using.Unlock()
	return s.Conn.Close()
}

// poll calls run whenever there may be something to do, until it returns an end, or nil for a fresh stack. The error says that the
// deadline has passed, or that the socket is of no more use.
func (c *conn) poll() (*ending, error) {
	if err := c.sock.raw.Read(c.sock.attend); err != nil {
		return nil, err
	}
	return c.sock.verdict, nil
}

// attend is run for who polls: false says to call it again when something has come.
func (c *conn) attend(uintptr) bool {
	c.sock.drained = false
	e, err := c.run()
	c.sock.verdict = e
	return err == nil
}

// receive reads what is there into the connection's work, which it gives one only then.
//
// A read that leaves room has read all, and when more comes, the poller says so; but it does not say again that the stream ends, to who
// was told of bytes before it. So it takes one more read to hear of an end that came along with the last bytes. That is left
// out where an acknowledgement is on its way: if the device is gone, writing that finds out, or else rest does.
func (c *conn) receive() error {
	c.end()
	if c.sock.drained && c.inFlight.Load() > 0 {
		return errWouldBlock
	}
	w := c.begin()
	p := w.space(c.need)
	n, err := c.readPlain(p)
	if n == 0 && err == errWouldBlock {
		c.end()
		return err
	}
	if err == errWouldBlock {
		err = nil
	}
	c.sock.drained = n < len(p) && c.tls == nil && c.ws == nil // these may have more than the socket
	w.w += n
	return err
}

// readNow reads what is there, only while the reader polls. It returns errWouldBlock if that is nothing.
func (s *socket) readNow(p []byte) (int, error) {
	for {
		n, err := recv(s.fd, p)
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
func (s *socket) writeNow(p []byte) (written int, err error) {
	s.using.Lock()
	defer s.using.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	for written < len(p) {
		n, err := send(s.fd, p[written:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return written, errWouldBlock
		case err != nil:
			return written, err
		}
		written += n
	}
	return written, nil
}
