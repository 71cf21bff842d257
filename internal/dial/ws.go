package dial

import (
	"bufio"
	"cmp"
	"errors"
	"net"
	"net/url"
	"sync"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
)

// upgrade asks for a WebSocket that carries protocol [RFC 6455, 4].
func upgrade(nc net.Conn, t Target, protocol string) (net.Conn, error) {
	scheme := "ws://"
	if t.TLS {
		scheme = "wss://"
	}
	u, err := url.Parse(scheme + t.HostPort() + t.Path)
	if err != nil {
		return nil, err
	}
	br, shake, err := ws.Dialer{Protocols: []string{protocol}}.Upgrade(nc, u)
	if err != nil {
		return nil, err
	}
	if shake.Protocol != protocol {
		return nil, errors.New("the server does not speak " + protocol + " on " + t.Path)
	}
	return &webSocket{Conn: nc, rest: br, frames: websocket.NewReader(websocket.Client)}, nil
}

// largeBuffer is the size from which a buffer is not kept for what comes later.
const largeBuffer = 1 << 20

// webSocket carries a byte stream in binary frames: one is written for each Write.
type webSocket struct {
	net.Conn
	rest   *bufio.Reader // what came with the answer to the upgrade; nil: nothing
	frames *websocket.Reader

	writing sync.Mutex
	frame   []byte // being written
}

// Read returns payload bytes. It may return none without an error.
func (s *webSocket) Read(p []byte) (int, error) {
	n, err := s.fill(p)
	n, bad := s.frames.Unframe(p[:n])
	if answer := s.frames.Answer(); answer != nil {
		bad = cmp.Or(bad, s.send(answer))
	}
	return n, cmp.Or(bad, err)
}

func (s *webSocket) fill(p []byte) (int, error) {
	if s.rest == nil {
		return s.Conn.Read(p)
	}
	n := min(s.rest.Buffered(), len(p))
	if n > 0 {
		return s.rest.Read(p[:n])
	}
	s.rest = nil
	return s.Conn.Read(p)
}

// Write writes p in one frame.
func (s *webSocket) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.frame = websocket.Client.Append(s.frame[:0], ws.OpBinary, p)
	_, err := s.Conn.Write(s.frame)
	if cap(s.frame) > largeBuffer {
		s.frame = nil
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// send writes frames as they are.
func (s *webSocket) send(frames []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	_, err := s.Conn.Write(frames)
	return err
}

// Close says goodbye and closes.
func (s *webSocket) Close() error {
	_ = s.send(websocket.Client.AppendClose(nil, ws.StatusNormalClosure))
	return s.Conn.Close()
}
