package mqtttest

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

// WebSocket turns nc into a WebSocket for MQTT by a request for path, with more header lines if there are any. What is
// written is one binary frame a write; what is read is the payload of binary frames.
func WebSocket(t testing.TB, nc net.Conn, path string, headers ...string) net.Conn {
	t.Helper()
	status := Upgrade(t, nc, path, append([]string{"Sec-WebSocket-Protocol: mqtt"}, headers...)...)
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") || !strings.Contains(status, "\r\nSec-WebSocket-Protocol: mqtt\r\n") {
		t.Fatalf("upgrade: %q", status)
	}
	return &webSocket{Conn: nc}
}

// Upgrade sends the request for a WebSocket and returns the answer's head.
func Upgrade(t testing.TB, nc net.Conn, path string, headers ...string) string {
	t.Helper()
	lines := append([]string{"GET " + path + " HTTP/1.1", "Host: test", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}, headers...)
	_ = nc.SetDeadline(time.Now().Add(Patience))
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
