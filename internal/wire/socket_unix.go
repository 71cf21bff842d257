//go:build unix

package wire

import (
	"io"
	"net"
	"sync"
	"syscall"
)

// A socket is read and written without blocking in a system call, and waited for without a buffer; one without a descriptor blocks:
// see blocking.go.
type socket struct {
	net.Conn
	raw     syscall.RawConn       // nil: no descriptor
	attend  func(fd uintptr) bool // Conn.attend, bound once
	verdict error                 // of the last attend
	fd      int32                 // good while the reader polls, or with using

	using   sync.Mutex // held by who writes, and to close: nobody else may have got the descriptor when it is written to
	closed  bool
	drained bool // the reader's: there was no more to read since the last attend
}

// open makes the socket of an accepted connection ready for c.
func (s *socket) open(nc net.Conn, c *Conn) error {
	s.Conn = nc
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	s.raw, s.attend = raw, c.attend
	return raw.Control(func(fd uintptr) { s.fd = int32(fd) })
}

// blocks reports whether a read waits for bytes where there are none.
func (s *socket) blocks() bool { return s.raw == nil }

// Close closes the socket. It waits for the reader: nobody else may call it while there is one.
func (s *socket) Close() error {
	s.using.Lock()
	s.closed = true
	s.using.Unlock()
	return s.Conn.Close()
}

// poll calls Run whenever there may be something to do, until it returns an end, or nil for a fresh stack. A timeout says
// that the deadline has passed, and any other error that the socket is of no more use.
func (c *Conn) poll() error {
	if c.sock.blocks() {
		return c.protocol.Run()
	}
	if err := c.sock.raw.Read(c.sock.attend); err != nil {
		return err
	}
	return c.sock.verdict
}

// attend is run for who polls: false says to call it again when something has come.
func (c *Conn) attend(uintptr) bool {
	c.sock.drained = false
	err := c.protocol.Run()
	c.sock.verdict = err
	return err != errWouldBlock
}

// look calls Run once, whatever the deadline. An error that is [NothingYet] says that all is done that there was to do.
func (c *Conn) look() error {
	if c.sock.blocks() {
		return errWouldBlock
	}
	if err := c.sock.raw.Control(func(fd uintptr) { c.attend(fd) }); err != nil {
		return err
	}
	return c.sock.verdict
}

// Receive reads what is there into the connection's input; an error that is [NothingYet] says that nothing was. Along with
// io.EOF, or an error of WebSocket, there may be bytes that came before it. answering: an answer is on its way to the peer, which
// most likely says nothing more before it has it.
//
// A read that leaves room has read all, and when more comes, the poller says so; but it does not say again that the stream ends, to who
// was told of bytes before it. So it takes one more read to hear of an end that came along with the last bytes. That is left
// out where the peer waits for an answer: if it is gone, writing that finds out, or else rest does. Where it may have said more meanwhile,
// the read that is left out would be another turn of the poller.
func (c *Conn) Receive(answering bool) error {
	if c.sock.blocks() {
		return c.block()
	}
	c.Rest()
	if c.sock.drained && answering {
		return errWouldBlock
	}
	in := c.Input()
	p := in.space(c.Need)
	n, err := c.readPlain(p)
	if n == 0 && err == errWouldBlock {
		c.Rest()
		return err
	}
	if err == errWouldBlock {
		err = nil
	}
	c.sock.drained = n < len(p) && c.tls == nil && c.ws == nil // these may have more than the socket
	in.w += n
	c.s.stats.BytesIn.Add(uint64(n))
	return err
}

// readNow reads what is there, only while the reader polls. It returns errWouldBlock if that is nothing.
func (s *socket) readNow(p []byte) (int, error) {
	if s.blocks() {
		return s.Read(p)
	}
	for {
		n, err := recv(int(s.fd), p)
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
	if s.blocks() {
		return 0, errWouldBlock
	}
	s.using.Lock()
	defer s.using.Unlock()
	if s.closed {
		return 0, net.ErrClosed
	}
	for written < len(p) {
		n, err := send(int(s.fd), p[written:])
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
