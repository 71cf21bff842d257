package client

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"

	"math/rand/v2"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// upgrade asks for a WebSocket [MQTT 6].
func upgrade(nc net.Conn, t target, v packet.Version) (net.Conn, error) {
	protocol := "mqtt" // [MQTT-6.0.0-3]
	if v == packet.V31 {
		protocol = "mqttv3.1"
	}
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
	w := &webSocket{Conn: nc, rest: br}
	return w, nil
}

// webSocket carries a byte stream in binary frames [RFC 6455]. MQTT does not care where frames begin and end
// [MQTT-6.0.0-2]: one is written for each Write, and those read are never put together.
type webSocket struct {
	net.Conn
	rest *bufio.Reader // what came with the answer to the upgrade; nil: nothing

	// The reader's.

	header     [ws.MaxHeaderSize]byte // of a frame, its first have bytes
	have       int
	code       ws.OpCode
	left       uint64 // payload bytes of the frame that have not come yet
	fragmented bool   // the message goes on in another frame
	control    []byte // payload of a control frame

	writing sync.Mutex
	frame   []byte // being written
}

// Read returns payload bytes. It may return none without an error.
func (s *webSocket) Read(p []byte) (int, error) {
	n, err := s.fill(p)
	n, bad := s.unframe(p[:n])
	if bad != nil {
		return n, bad
	}
	return n, err
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

// unframe replaces p by the payload in it and returns its length. It returns io.EOF after a close frame.
func (s *webSocket) unframe(p []byte) (n int, err error) {
	for r := 0; r < len(p); {
		if s.left == 0 {
			used, whole, err := s.readHeader(p[r:])
			if err != nil || !whole {
				return n, err
			}
			r += used
			continue
		}
		k := int(min(s.left, uint64(len(p)-r)))
		body := p[r : r+k]
		r += k
		s.left -= uint64(k)
		if !s.code.IsControl() {
			n += copy(p[n:], body)
			continue
		}
		s.control = append(s.control, body...)
		if s.left == 0 {
			if err := s.obey(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// readHeader takes a frame's header from p. whole is false as long as it has not come.
func (s *webSocket) readHeader(p []byte) (used int, whole bool, err error) {
	for used < len(p) {
		s.header[s.have] = p[used]
		s.have++
		used++
		if s.have >= 2 && s.have == 2+lengthBytes(s.header[1]) {
			h := s.header[:s.have]
			s.have = 0
			return used, true, s.begin(h)
		}
	}
	return used, false, nil
}

// lengthBytes returns how many bytes of length follow the second byte of a header.
func lengthBytes(b byte) int {
	switch b & 0x7F {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

// begin begins the frame of that header.
func (s *webSocket) begin(h []byte) error {
	code, fin := ws.OpCode(h[0]&0x0F), h[0]&0x80 != 0
	switch len(h) {
	case 2:
		s.left = uint64(h[1] & 0x7F)
	case 4:
		s.left = uint64(binary.BigEndian.Uint16(h[2:]))
	default:
		s.left = binary.BigEndian.Uint64(h[2:])
	}
	switch {
	case h[0]&0x70 != 0 || h[1]&0x80 != 0 || s.left > 1<<62:
		return errFrame // [RFC 6455, 5.1]: no extensions, and servers do not mask
	case code.IsControl() && (!fin || s.left > 125 || code > ws.OpPong):
		return errFrame
	case code == ws.OpContinuation && !s.fragmented, code == ws.OpBinary && s.fragmented:
		return errFrame
	case !code.IsControl() && code != ws.OpBinary && code != ws.OpContinuation: // [MQTT-6.0.0-1]
		return errFrame
	}
	if !code.IsControl() {
		s.fragmented = !fin
	}
	s.code = code
	if s.left == 0 && code.IsControl() {
		return s.obey()
	}
	return nil
}

var errFrame = errors.New("websocket: a frame that MQTT does not have, or a server may not send")

// obey does what a control frame says.
func (s *webSocket) obey() error {
	payload := s.control
	s.control = s.control[:0]
	switch s.code {
	case ws.OpPing:
		return s.writeFrame(ws.OpPong, payload)
	case ws.OpClose:
		_ = s.writeFrame(ws.OpClose, payload[:min(len(payload), 2)])
		return io.EOF
	}
	return nil
}

// Write writes p in one frame.
func (s *webSocket) Write(p []byte) (int, error) {
	if err := s.writeFrame(ws.OpBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeFrame writes a whole frame, masked [RFC 6455, 5.3].
func (s *webSocket) writeFrame(code ws.OpCode, p []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	b := append(s.frame[:0], 0x80|byte(code))
	switch n := len(p); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], rand.Uint32())
	b = append(b, mask[:]...)
	head := len(b)
	b = append(b, p...)
	ws.Cipher(b[head:], mask, 0)
	_, err := s.Conn.Write(b)
	if s.frame = b; cap(b) > largeBuffer {
		s.frame = nil
	}
	return err
}

// Close says goodbye and closes.
func (s *webSocket) Close() error {
	_ = s.writeFrame(ws.OpClose, []byte{0x03, 0xE8}) // 1000, normal
	return s.Conn.Close()
}
