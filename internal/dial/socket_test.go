//go:build unix

package dial

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/websocket"
)

// What has come is not late, however late it is looked at: of a machine that stands still the broker is not to blame. That there is nothing is
// said all the same, and the end of the stream, whatever carries it.
func TestComeBeforeTheDeadline(t *testing.T) {
	certified := httptest.NewUnstartedServer(nil)
	certified.StartTLS()
	defer certified.Close()
	for scheme, serve := range map[string]func(net.Conn) net.Conn{
		"mqtt":  func(nc net.Conn) net.Conn { return nc },
		"mqtts": func(nc net.Conn) net.Conn { return tls.Server(nc, certified.TLS) },
		"ws":    func(nc net.Conn) net.Conn { return nc },
		"wss":   func(nc net.Conn) net.Conn { return tls.Server(nc, certified.TLS) },
	} {
		t.Run(scheme, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			target, err := Parse(address.MQTT(), scheme+"://"+ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			hello, say, end := []byte("hello"), make(chan struct{}), make(chan struct{})
			if target.WebSocket {
				hello = websocket.Server.Append(nil, ws.OpBinary, hello)
			}
			over := make(chan error, 1)
			go func() { over <- greet(ln, serve, target.WebSocket, hello, say, end) }()
			nc, err := Open(t.Context(), target, &TLSConfig{Insecure: true}, "mqtt")
			if err != nil {
				t.Fatal(err)
			}
			_ = nc.SetReadDeadline(Past())
			b := make([]byte, 10)
			if n, err := nc.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("before anything has come: %d bytes, %v", n, err)
			}
			close(say)
			if n, err := comeTo(nc, b); err != nil || string(b[:n]) != "hello" {
				t.Errorf("when something has: %q, %v", b[:n], err)
			}
			close(end)
			if n, err := comeTo(nc, b); n != 0 || err != io.EOF {
				t.Errorf("when all has: %d bytes, %v", n, err)
			}
			_ = nc.Close()
			if n, err := nc.Read(b); n != 0 || err == nil {
				t.Errorf("when it is closed: %d bytes, %v", n, err)
			}
			if err := <-over; err != nil {
				t.Error(err)
			}
		})
	}
}

// comeTo reads until there is something but a timeout.
func comeTo(nc net.Conn, b []byte) (n int, err error) {
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
		if n, err = nc.Read(b); n > 0 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return n, err
}

// greet is the server of one connection.
func greet(ln net.Listener, serve func(net.Conn) net.Conn, webSocket bool, hello []byte, say, end chan struct{}) error {
	nc, err := ln.Accept()
	if err != nil {
		return err
	}
	nc = serve(nc)
	defer nc.Close()
	if webSocket {
		if _, err := (ws.Upgrader{Protocol: func([]byte) bool { return true }}).Upgrade(nc); err != nil {
			return err
		}
	} else if t, ok := nc.(*tls.Conn); ok {
		if err := t.Handshake(); err != nil {
			return err
		}
	}
	<-say
	_, err = nc.Write(hello)
	<-end
	return err
}
