// Package wiretest is the other end of package wire in tests: certificates, and WebSockets of the client.
package wiretest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// patience is how long the request for a WebSocket may take; the deadline stays.
const patience = 2 * time.Minute

// WebSocket turns nc into a WebSocket for a protocol by a request for path, with more header lines if there are any. What is
// written is one binary frame a write; what is read is the payload of binary frames.
func WebSocket(t testing.TB, nc net.Conn, protocol, path string, headers ...string) net.Conn {
	t.Helper()
	speaks := "Sec-WebSocket-Protocol: " + protocol
	status := Upgrade(t, nc, path, append([]string{speaks}, headers...)...)
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") || !strings.Contains(status, "\r\n"+speaks+"\r\n") {
		t.Fatalf("upgrade: %q", status)
	}
	return &webSocket{Conn: nc}
}

// Upgrade sends the request for a WebSocket and returns the answer's head.
func Upgrade(t testing.TB, nc net.Conn, path string, headers ...string) string {
	t.Helper()
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, headers...)
	_ = nc.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(nc, strings.Join(lines, "\r\n")+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := nc.Read(one); err != nil {
			t.Fatalf("upgrade: %v after %q", err, head)
		}
		head = append(head, one...)
	}
	return string(head)
}

type webSocket struct {
	net.Conn
	left int64
}

// Write writes b in one masked binary frame.
func (w *webSocket) Write(b []byte) (int, error) {
	if err := ws.WriteFrame(w.Conn, ws.MaskFrame(ws.NewBinaryFrame(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Read returns what a binary frame holds, and io.EOF for a close frame.
func (w *webSocket) Read(b []byte) (int, error) {
	for w.left == 0 {
		h, err := ws.ReadHeader(w.Conn)
		switch {
		case err != nil:
			return 0, err
		case h.OpCode == ws.OpClose:
			return 0, io.EOF
		case h.OpCode != ws.OpBinary:
			if _, err := io.CopyN(io.Discard, w.Conn, h.Length); err != nil {
				return 0, err
			}
		default:
			w.left = h.Length
		}
	}
	n, err := w.Conn.Read(b[:min(int64(len(b)), w.left)])
	w.left -= int64(n)
	return n, err
}
