package websocket

import (
	"encoding/binary"
	"io"

	"github.com/gobwas/ws"
)

// A Reader takes the frames off what the other end sends. One goroutine's alone.
type Reader struct {
	role   Role
	closed bool
	answer []byte

	header     [ws.MaxHeaderSize]byte // of a frame, its first have bytes
	have       int
	code       ws.OpCode
	mask       [4]byte
	pos        int    // in the mask
	left       uint64 // payload bytes of the frame that have not come yet
	fragmented bool   // the message goes on in another frame
	control    []byte // payload of a control frame
}

// NewReader returns a reader for our end of the connection.
func NewReader(r Role) *Reader { return &Reader{role: r} }

// Closed reports whether the other end has said that it closes.
func (r *Reader) Closed() bool { return r.closed }

// Answer returns the frames that control frames since the last call want to be answered with, nil for none. They are the
// caller's.
func (r *Reader) Answer() []byte {
	b := r.answer
	r.answer = nil
	return b
}

// An Error says which rule the other end has broken.
type Error struct {
	Code ws.StatusCode // for the close frame
	Text string
}

func (e *Error) Error() string { return "websocket: " + e.Text }

// Unframe replaces p, the next bytes of the stream, by the payload in it, and returns its length. It returns io.EOF after a
// close frame, and an [Error] for a frame that is not allowed.
func (r *Reader) Unframe(p []byte) (n int, err error) {
	for at := 0; at < len(p); {
		if r.left == 0 {
			used, whole, err := r.readHeader(p[at:])
			if err != nil || !whole {
				return n, err
			}
			at += used
			continue
		}
		k := int(min(r.left, uint64(len(p)-at)))
		body := p[at : at+k]
		at += k
		if r.role == Server {
			ws.Cipher(body, r.mask, r.pos)
			r.pos = (r.pos + k) % len(r.mask)
		}
		r.left -= uint64(k)
		if !r.code.IsControl() {
			n += copy(p[n:], body)
			continue
		}
		r.control = append(r.control, body...)
		if r.left == 0 {
			if err := r.obey(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// readHeader takes a frame's header from p. whole is false as long as it has not come.
func (r *Reader) readHeader(p []byte) (used int, whole bool, err error) {
	for used < len(p) {
		r.header[r.have] = p[used]
		r.have++
		used++
		if r.have >= 2 && r.have == headerSize(r.header[1]) {
			h := r.header[:r.have]
			r.have = 0
			return used, true, r.begin(h)
		}
	}
	return used, false, nil
}

// headerSize returns the size of the header whose second byte is b.
func headerSize(b byte) int {
	n := 2 + lengthBytes(b)
	if b&maskBit != 0 {
		n += len(ws.Header{}.Mask)
	}
	return n
}

// lengthBytes returns how many bytes of length follow the second byte of a header.
func lengthBytes(b byte) int {
	switch b &^ maskBit {
	case 126:
		return 2
	case 127:
		return 8
	}
	return 0
}

// begin begins the frame of that header.
func (r *Reader) begin(h []byte) error {
	code, fin, masked := ws.OpCode(h[0]&0x0F), h[0]&finBit != 0, h[1]&maskBit != 0
	switch lengthBytes(h[1]) {
	case 0:
		r.left = uint64(h[1] &^ maskBit)
	case 2:
		r.left = uint64(binary.BigEndian.Uint16(h[2:]))
	case 8:
		r.left = binary.BigEndian.Uint64(h[2:])
	}
	switch {
	case h[0]&0x70 != 0:
		return &Error{ws.StatusProtocolError, "reserved bits are set"}
	case masked != (r.role == Server): // [RFC 6455, 5.1]
		return &Error{ws.StatusProtocolError, "a frame of a client that is not masked, or one of a server that is"}
	case r.left > 1<<62:
		return &Error{ws.StatusProtocolError, "length of frame"}
	case code.IsControl() && (!fin || r.left > 125):
		return &Error{ws.StatusProtocolError, "control frame is too long or fragmented"}
	case code.IsControl() && code != ws.OpClose && code != ws.OpPing && code != ws.OpPong,
		code == ws.OpContinuation && !r.fragmented, code == ws.OpBinary && r.fragmented:
		return &Error{ws.StatusProtocolError, "unexpected frame"}
	case !code.IsControl() && code != ws.OpBinary && code != ws.OpContinuation: // [MQTT-6.0.0-1], [AMQP WebSocket 2.4]
		return &Error{ws.StatusUnsupportedData, "a frame that is not binary"}
	}
	if !code.IsControl() {
		r.fragmented = !fin
	}
	if r.code = code; masked {
		r.mask, r.pos = [4]byte(h[len(h)-4:]), 0
	}
	if r.left == 0 && code.IsControl() {
		return r.obey()
	}
	return nil
}

// obey does what a control frame says.
func (r *Reader) obey() error {
	payload := r.control
	r.control = r.control[:0]
	switch r.code {
	case ws.OpPing:
		r.answer = r.role.Append(r.answer, ws.OpPong, payload)
	case ws.OpClose:
		r.closed = true
		code, _ := ws.ParseCloseFrameDataUnsafe(payload)
		if code.Empty() {
			code = ws.StatusNormalClosure
		}
		r.answer = r.role.AppendClose(r.answer, code)
		return io.EOF
	}
	return nil
}
