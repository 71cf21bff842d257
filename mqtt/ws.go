package mqtt

import (
	"encoding/binary"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// maxUpgrade is how many bytes a device may send as HTTP request for a WebSocket.
const maxUpgrade = 16 << 10

// upgrade answers the HTTP request that turns the connection into a WebSocket, bounded by the connection's deadline.
func (c *conn) upgrade(rw io.ReadWriter) error {
	var origin string
	var spoken bool
	u := ws.Upgrader{
		OnRequest: func(uri []byte) error {
			if path, _, _ := strings.Cut(string(uri), "?"); path != c.l.address.Path {
				return rejected(http.StatusNotFound, "not found")
			}
			return nil
		},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), "Origin") {
				origin = string(value)
			}
			return nil
		},
		Protocol: func(p []byte) bool { // [MQTT-6.0.0-4]
			spoken = string(p) == "mqtt" || string(p) == "mqttv3.1"
			return spoken
		},
		OnBeforeUpgrade: func() (ws.HandshakeHeader, error) {
			if !spoken { // [MQTT-6.0.0-3]
				return nil, rejected(http.StatusBadRequest, "no subprotocol mqtt")
			}
			if origin != "" && len(c.l.cfg.Origins) > 0 && !slices.Contains(c.l.cfg.Origins, origin) {
				return nil, rejected(http.StatusForbidden, "origin not allowed")
			}
			return nil, nil
		},
	}
	_, err := u.Upgrade(struct {
		io.Reader
		io.Writer
	}{io.LimitReader(rw, maxUpgrade), rw})
	if err == nil {
		c.ws = new(webSocket)
	}
	return err
}

// rejected is the answer to a request that gets no WebSocket.
func rejected(status int, why string) error {
	return ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(why))
}

// webSocket takes the frames off what a device sends [RFC 6455, 5]. MQTT packets do not care where frames begin and
// end [MQTT-6.0.0-2], so frames are never put together: their payload is moved to the front as it comes. The reader's
// alone.
type webSocket struct {
	header     [ws.MaxHeaderSize]byte // of a frame, its first have bytes
	have       int
	code       ws.OpCode
	mask       [4]byte
	pos        int    // in the mask
	left       uint64 // payload bytes of the frame that have not come yet
	fragmented bool   // the message goes on in another frame
	control    []byte // payload of a control frame
	answer     []byte // control frames to send
	closed     bool   // the device has said so
}

// unframe replaces p by the payload in it and returns its length. Answers to control frames are added to s.answer.
// It returns io.EOF after a close frame.
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
		ws.Cipher(body, s.mask, s.pos)
		s.pos = (s.pos + k) % 4
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
		if s.have >= 2 && s.have == headerSize(s.header[1]) {
			h := s.header[:s.have]
			s.have = 0
			return used, true, s.begin(h)
		}
	}
	return used, false, nil
}

// headerSize returns the size of the header whose second byte is b.
func headerSize(b byte) int {
	n := 2 + lengthBytes(b)
	if b&0x80 != 0 {
		n += len(ws.Header{}.Mask)
	}
	return n
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
	switch lengthBytes(h[1]) {
	case 0:
		s.left = uint64(h[1] & 0x7F)
	case 2:
		s.left = uint64(binary.BigEndian.Uint16(h[2:]))
	case 8:
		s.left = binary.BigEndian.Uint64(h[2:])
	}
	switch {
	case h[0]&0x70 != 0:
		return wsError(ws.StatusProtocolError, "reserved bits are set")
	case h[1]&0x80 == 0:
		return wsError(ws.StatusProtocolError, "frame is not masked")
	case s.left > 1<<62:
		return wsError(ws.StatusProtocolError, "length of frame")
	case code.IsControl() && (!fin || s.left > 125):
		return wsError(ws.StatusProtocolError, "control frame is too long or fragmented")
	case code.IsControl() && code != ws.OpClose && code != ws.OpPing && code != ws.OpPong,
		code == ws.OpContinuation && !s.fragmented, code == ws.OpBinary && s.fragmented:
		return wsError(ws.StatusProtocolError, "unexpected frame")
	case !code.IsControl() && code != ws.OpBinary && code != ws.OpContinuation: // [MQTT-6.0.0-1]
		return wsError(ws.StatusUnsupportedData, "MQTT needs binary frames")
	}
	if !code.IsControl() {
		s.fragmented = !fin
	}
	s.code, s.mask, s.pos = code, [4]byte(h[len(h)-4:]), 0
	if s.left == 0 && code.IsControl() {
		return s.obey()
	}
	return nil
}

// obey does what a control frame says.
func (s *webSocket) obey() error {
	payload := s.control
	s.control = s.control[:0]
	switch s.code {
	case ws.OpPing:
		s.answer = appendHeader(s.answer, ws.OpPong, len(payload))
		s.answer = append(s.answer, payload...)
	case ws.OpClose:
		s.closed = true
		code, _ := ws.ParseCloseFrameDataUnsafe(payload)
		if code.Empty() {
			code = ws.StatusNormalClosure
		}
		s.answer = appendClose(s.answer, code)
		return io.EOF
	}
	return nil
}

// wsError ends a connection that breaks the rules of WebSocket.
func wsError(code ws.StatusCode, text string) error {
	return &ending{reason: packet.ProtocolError, text: "websocket: " + text, closeCode: code}
}

func appendClose(b []byte, code ws.StatusCode) []byte {
	return binary.BigEndian.AppendUint16(appendHeader(b, ws.OpClose, 2), uint16(code))
}

// appendHeader adds the header of a frame from server to client: whole and not masked.
func appendHeader(b []byte, code ws.OpCode, n int) []byte {
	b = append(b, 0x80|byte(code))
	switch {
	case n < 126:
		return append(b, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
}

// frame puts packets into one binary frame [MQTT-6.0.0-1], and control frames behind it. It frees plain.
func frame(plain *buffer, control []byte) *buffer {
	if plain == nil && control == nil {
		return nil
	}
	b := newBuffer()
	if plain != nil && len(plain.b) > 0 {
		b.b = appendHeader(b.b, ws.OpBinary, len(plain.b))
		b.b = append(b.b, plain.b...)
	}
	plain.free()
	b.b = append(b.b, control...)
	return b
}

// readWS reads what is there into p, and answers control frames.
func (c *conn) readWS(p []byte) (int, error) {
	n, err := c.readStream(p)
	if c.ws.closed {
		return 0, io.EOF
	}
	n, bad := c.ws.unframe(p[:n])
	if answer := c.ws.answer; len(answer) > 0 {
		c.ws.answer = nil
		if c.out.open() != nil {
			c.out.control = append(c.out.control, answer...)
			c.added(0)
		}
	}
	if bad != nil {
		err = bad
	}
	return n, err
}
