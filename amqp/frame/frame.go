package frame

import (
	"encoding/binary"
	"math"
)

// The protocol headers that open a connection, or one layer of it [AMQP 2.2, 5.2.1, 5.3.2].
const (
	ProtocolAMQP = "AMQP\x00\x01\x00\x00"
	ProtocolTLS  = "AMQP\x02\x01\x00\x00"
	ProtocolSASL = "AMQP\x03\x01\x00\x00"
)

// MinMaxFrameSize is the size in bytes of a frame that everybody takes, before anything was agreed: the largest of the
// SASL exchange, and the least that an open may allow [AMQP 2.4.1, 5.3.1].
const MinMaxFrameSize = 512

// The types of a frame [AMQP 2.3.1].
const (
	TypeAMQP byte = 0
	TypeSASL byte = 1
)

// headSize is the size of a frame's fixed header.
const headSize = 8

// Frame is one whole frame, not yet decoded. It borrows the buffer that it was cut from.
type Frame struct {
	Type    byte   // TypeAMQP or TypeSASL
	Channel uint16 // 0 in a SASL frame, whatever it says there
	Body    []byte // empty: a heartbeat
}

// Cut takes the first frame off b, which n bytes of b are. n == 0 without an error means that b does not hold a whole
// frame yet; need is then the size of the whole frame in bytes if that is known already, else 0.
//
// max bounds the whole frame in bytes, 0 means no bound. A longer one is an error as soon as its size is known. Cut never
// reads past the frame, and passes over an extended header.
func Cut(b []byte, max uint32) (f Frame, n, need int, err error) {
	if len(b) < 4 {
		return Frame{}, 0, 0, nil
	}
	size := binary.BigEndian.Uint32(b)
	switch {
	case size < headSize:
		return Frame{}, 0, 0, errFrameSmall
	case max > 0 && size > max, size > math.MaxInt32:
		return Frame{}, 0, 0, errFrameLarge
	case len(b) >= 6:
		if err := checkHead(b[4], b[5], size); err != nil {
			return Frame{}, 0, 0, err
		}
	}
	n = int(size)
	if len(b) < n {
		return Frame{}, 0, n, nil
	}
	f = Frame{Type: b[5], Body: b[4*int(b[4]) : n : n]}
	if f.Type == TypeAMQP {
		f.Channel = binary.BigEndian.Uint16(b[6:])
	}
	return f, n, 0, nil
}

// checkHead refuses a data offset or type that no frame has.
func checkHead(offset, kind byte, size uint32) error {
	switch {
	case offset < 2:
		return errOffsetSmall
	case 4*uint32(offset) > size:
		return errOffsetLarge
	case kind > TypeSASL:
		return errFrameType
	}
	return nil
}

// BeginFrame adds the header of a frame of that type and channel to b. [EndFrame] fills its size in.
func BeginFrame(b []byte, kind byte, channel uint16) []byte {
	return append(b, 0, 0, 0, 0, 2, kind, byte(channel>>8), byte(channel))
}

// EndFrame ends the frame that was begun when b was at bytes long, and goes to the end of b.
func EndFrame(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// AppendHeartbeat adds an empty frame, which tells the peer that we are there [AMQP 2.4.5].
func AppendHeartbeat(b []byte) []byte {
	at := len(b)
	return EndFrame(BeginFrame(b, TypeAMQP, 0), at)
}
