package packet

// MaxSize is the size in bytes of the largest packet that MQTT can carry: five bytes of fixed header and the largest
// remaining length.
const MaxSize = 5 + maxRemaining

const maxRemaining = 1<<28 - 1

// Raw is one whole packet, not yet decoded. It borrows the buffer that it was cut from.
type Raw struct {
	Header byte   // packet type and flags
	Body   []byte // all after the remaining length

	padded bool // the remaining length took more bytes than it needs
}

// Type returns the packet's type.
func (r Raw) Type() Type { return Type(r.Header >> 4) }

// Flags returns the four flag bits of the header.
func (r Raw) Flags() byte { return r.Header & 0x0F }

// Cut takes the first packet off b, which n bytes of b are. n == 0 without an error means that b does not hold a whole
// packet yet; need is then the size of the whole packet in bytes if that is known already, else 0.
//
// max bounds the whole packet, 0 means [MaxSize]. A longer one is an error with the reason [PacketTooLarge] as soon as its
// length is known. Cut never reads past the packet.
func Cut(b []byte, max int) (r Raw, n, need int, err error) {
	panic("soon")
}
