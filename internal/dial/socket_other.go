//go:build !unix

package dial

import "net"

// A socket is a TCP connection: here no read tells of what came before its deadline once that has passed.
type socket struct {
	net.Conn
	live bool
}

func newSocket(nc net.Conn) (*socket, error) { return &socket{Conn: nc}, nil }
