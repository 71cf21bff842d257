package wire

import (
	"crypto/tls"
	"net"
)

// errWouldBlock says that there is nothing to read, or no room to write, at this moment. It is a temporary net.Error: a
// tls.Conn that meets it keeps the part of a record that it has, and can be read again.
var errWouldBlock error = wouldBlock{}

type wouldBlock struct{}

func (wouldBlock) Error() string   { return "nothing at this moment" }
func (wouldBlock) Timeout() bool   { return true }
func (wouldBlock) Temporary() bool { return true }

// underTLS is the connection below a tls.Conn. In the handshake it blocks as any other. After that it reads only what is
// there, and what it is to write waits with the connection's other bytes; so TLS neither holds a buffer while it waits
// for the peer, nor blocks whoever writes.
type underTLS struct {
	net.Conn
	c    *Conn
	live bool // the handshakes are over
}

func (u *underTLS) Read(p []byte) (int, error) {
	if u.live {
		return u.c.sock.readNow(p)
	}
	return u.Conn.Read(p)
}

func (u *underTLS) Write(p []byte) (int, error) {
	if u.live {
		u.c.encrypted(p)
		return len(p), nil
	}
	return u.Conn.Write(p)
}

// handshakeTLS does the TLS handshake, bounded by the connection's deadline. What it returns blocks until it is told that
// it is live.
func (c *Conn) handshakeTLS() (*underTLS, error) {
	under := &underTLS{Conn: c.sock.Conn, c: c}
	c.tls = tls.Server(under, c.s.tls)
	return under, c.tls.Handshake()
}

// readTLS reads what is there into p, record by record.
func (c *Conn) readTLS(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = c.tls.Read(p[n:])
		n += m
		if c.sock.blocks() {
			break
		}
	}
	if n > 0 && err == errWouldBlock {
		err = nil
	}
	return n, err
}

// encrypted adds TLS records to what is to be written.
func (c *Conn) encrypted(p []byte) {
	c.out.mu.Lock()
	if c.out.sealed == nil {
		c.out.sealed = newBuffer()
	}
	c.out.sealed.B = append(c.out.sealed.B, p...)
	c.out.mu.Unlock()
}
