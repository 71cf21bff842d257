package packet

import "slices"

// MaxSize is the size in bytes of the largest packet that MQTT can carry: five bytes of fixed header and the largest
// remaining length.
const MaxSize = 5 + maxRemaining

const maxRemaining = 1<<28 - 1

// Raw is one whole packet, not yet decoded. It borrows the buffer that it was cut from.
type Raw struct {
	Header byte   // packet type and flags
	padded bool   // the remaining length took more bytes than it needs
	Body   []byte // all after the remaining length
}

// Type returns the packet's type.
func (r Raw) Type() Type { return Type(r.Header >> 4) }

// Flags returns the four flag bits of the header.
func (r Raw) Flags() byte { return r.Header & 0x0F }

// Cut takes the first packet off b, which n bytes of b are. n == 0 without an error means that b does not hold a whole
// packet yet; need is then the size of the whole packet in bytes if that is known already, else 0.
//
// max bounds the whole packet in bytes, 0 means [MaxSize]. A longer one is an error with the reason [PacketTooLarge] as
// soon as its length is known. Cut never reads past the packet.
func Cut(b []byte, max int) (r Raw, n, need int, err error) {
	if len(b) > 0 && b[0]>>4 == 0 {
		return Raw{}, 0, 0, malformed("MQTT5 2.1.2", "packet type 0 is reserved")
	}
	if len(b) < 2 {
		return Raw{}, 0, 0, nil
	}
	remaining, width := varint(b[1:])
	if width <= 0 {
		if width < 0 {
			err = malformed("MQTT5 2.1.4", "remaining length of more than four bytes")
		}
		return Raw{}, 0, 0, err
	}
	head := 1 + width
	n = head + int(remaining)
	if max <= 0 {
		max = MaxSize
	}
	if n > max {
		return Raw{}, 0, 0, &Error{PacketTooLarge, "MQTT-3.2.2-15", "packet longer than the maximum packet size"}
	}
	if n > len(b) {
		return Raw{}, 0, n, nil
	}
	return Raw{b[0], padded(b[1:head]), b[head:n:n]}, n, 0, nil
}

// check checks the fixed header of a packet of type t, which has no flags of its own. In MQTT 3.1 those that are
// answered have a DUP flag [MQTT 3.1, 2.1].
func (r Raw) check(t Type, v Version) error {
	want, have := t.header(), r.Header
	if v == V31 && want&0x0F != 0 {
		have &^= dupFlag
	}
	if have != want {
		return malformed("MQTT-2.1.3-1", "wrong packet type or flags")
	}
	return r.minimal(v)
}

// minimal refuses a remaining length with needless bytes: MQTT 3 lets them pass, and some small devices depend on it.
func (r Raw) minimal(v Version) error {
	if r.padded && v == V5 {
		return malformed("MQTT-1.5.5-1", "remaining length takes more bytes than it needs")
	}
	return nil
}

// appendHeader adds a fixed header to dst and makes room for the rest of the packet.
func appendHeader(dst []byte, header byte, remaining int64) []byte {
	dst = append(slices.Grow(dst, 5+int(remaining)), header)
	return appendVarint(dst, uint32(remaining))
}

// varint reads a variable byte integer and returns how many bytes it takes: 0 if b ends within it, -1 if it
// has more than four [MQTT 1.5.5].
func varint(b []byte) (value uint32, width int) {
	for i, c := range b {
		value |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			return value, i + 1
		}
		if i == 3 {
			return 0, -1
		}
	}
	return 0, 0
}

// padded reports whether a variable byte integer takes more bytes than it needs.
func padded(b []byte) bool { return len(b) > 1 && b[len(b)-1] == 0 }

// cutVarint takes a variable byte integer off b, which must be of the fewest bytes.
func cutVarint(b []byte) (value uint32, rest []byte, err error) {
	value, width := varint(b)
	switch {
	case width == 0:
		return 0, nil, errShort
	case width < 0:
		return 0, nil, malformed("MQTT5 1.5.5", "variable byte integer of more than four bytes")
	case padded(b[:width]):
		return 0, nil, malformed("MQTT-1.5.5-1", "variable byte integer takes more bytes than it needs")
	}
	return value, b[width:], nil
}

func appendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// varintSize is how many bytes v takes as a variable byte integer.
func varintSize(v int64) int64 {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}
