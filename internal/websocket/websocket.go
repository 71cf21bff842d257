// Package websocket takes a byte stream out of the frames of a WebSocket, and puts it in [RFC 6455, 5]. What it carries does not
// care where frames begin and end [MQTT-6.0.0-2], so frames are never put together: their payload is moved to the front as it
// comes.
package websocket

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/gobwas/ws"
)

// A Role says which end of the connection is ours. What a client sends is masked, and what a server sends is not.
type Role bool

// The two ends.
const (
	Server Role = false
	Client Role = true
)

const (
	finBit  = 0x80 // in the first byte of a header
	maskBit = 0x80 // in the second
)

// Append adds a whole frame with payload p to b, as we send it. It copies p.
func (r Role) Append(b []byte, code ws.OpCode, p []byte) []byte {
	mask := byte(0)
	if r == Client {
		mask = maskBit
	}
	b = append(b, finBit|byte(code))
	switch n := len(p); {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if r == Server {
		return append(b, p...)
	}
	var key [4]byte // [RFC 6455, 5.3]
	binary.BigEndian.PutUint32(key[:], rand.Uint32())
	b = append(b, key[:]...)
	head := len(b)
	b = append(b, p...)
	ws.Cipher(b[head:], key, 0)
	return b
}

// AppendClose adds a close frame to b.
func (r Role) AppendClose(b []byte, code ws.StatusCode) []byte {
	return r.Append(b, ws.OpClose, binary.BigEndian.AppendUint16(nil, uint16(code)))
}
