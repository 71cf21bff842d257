//go:build unix

package dial

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// A socket is a TCP connection whose reads, when it is live, look once more when their deadline has passed: what came while this process,
// or the whole machine, stood still is not late. So a timeout says that there is nothing.
type socket struct {
	net.Conn
	raw  syscall.RawConn
	live bool // the handshakes are over, which nothing but the deadline bounds
}

func newSocket(nc net.Conn) (*socket, error) {
	raw, err := nc.(syscall.Conn).SyscallConn()
	return &socket{Conn: nc, raw: raw}, err
}

// Read reads into p.
func (s *socket) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if !s.live || n > 0 || len(p) == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	late := err
	if closed := s.raw.Control(func(fd uintptr) { n, err = readNow(int(fd), p) }); closed != nil {
		return 0, closed
	}
	switch {
	case err == syscall.EAGAIN:
		return 0, late
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// readNow reads what is there.
func readNow(fd int, p []byte) (n int, err error) {
	for err = syscall.EINTR; err == syscall.EINTR; {
		n, err = syscall.Read(fd, p)
	}
	return max(n, 0), err
}
