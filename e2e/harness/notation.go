package harness

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// This is AMQP's type system, as far as tests have to write and to compare it. It is written from the specification alone and
// shares no code with Linkspan.

// A Section of a message: its descriptor, and its value as it is encoded [AMQP 3.2].
type Section struct {
	Code byte
	Raw  []byte
}

// Descriptors of sections.
const (
	HeaderSection, DeliverySection, AnnotationSection, PropertySection            byte = 0x70, 0x71, 0x72, 0x73
	ApplicationSection, DataSection, SequenceSection, ValueSection, FooterSection byte = 0x74, 0x75, 0x76, 0x77, 0x78
)

// Encode returns the encoded message.
func Encode(sections ...Section) (b []byte) {
	for _, s := range sections {
		b = append(append(b, 0x00, 0x53, s.Code), s.Raw...)
	}
	return b
}

// Decode cuts an encoded message into its sections.
func Decode(message []byte) (all []Section, err error) {
	for b := message; len(b) > 0; {
		w := &walker{b: b}
		if w.next() != 0x00 || w.next() != 0x53 {
			return nil, fmt.Errorf("no section at byte %d", len(message)-len(b))
		}
		s := Section{Code: w.next()}
		from := w.b
		w.value(w.next())
		if w.short {
			return nil, errors.New("a section is too short")
		}
		s.Raw = from[:len(from)-len(w.b)]
		all, b = append(all, s), w.b
	}
	return all, nil
}

// Text returns the value as text that names each type, but not which of its encodings was taken.
func (s Section) Text() string {
	w := &walker{b: s.Raw}
	return w.value(w.next())
}

// Entries returns the keys and values of a section that is a map, or the numbers and values of the fields of a list, as text. Absent
// fields, those that are null, and those that are the default of a header, are left out.
func (s Section) Entries() map[string]string {
	w := &walker{b: s.Raw}
	code := w.next()
	body, n := w.compound(code)
	all := map[string]string{}
	for i := 0; i < n && !body.short; i++ {
		key := fmt.Sprint(i)
		if code == 0xc1 || code == 0xd1 {
			key = body.value(body.next())
			i++
		}
		if v := body.value(body.next()); v != "null" && !(s.Code == HeaderSection && (v == "boolean false" || v == "ubyte 4")) {
			all[key] = v
		}
	}
	return all
}

// walker reads values from its front.
type walker struct {
	b     []byte
	short bool // there was less than asked for
}

func (w *walker) take(n int) []byte {
	if n > len(w.b) || n < 0 {
		w.short, w.b = true, nil
		return make([]byte, 16)
	}
	taken := w.b[:n]
	w.b = w.b[n:]
	return taken
}

func (w *walker) next() byte { return w.take(1)[0] }

func (w *walker) uint(width int) (n uint64) {
	for _, b := range w.take(width) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (w *walker) int(width int) int64 {
	return int64(w.uint(width)) << (64 - 8*width) >> (64 - 8*width)
}

// compound returns what is in a list, map or array, and how many.
func (w *walker) compound(code byte) (body *walker, n int) {
	width := 4
	switch {
	case code == 0x45:
		return &walker{}, 0
	case code < 0xd0 || code >= 0xe0 && code < 0xf0:
		width = 1
	}
	body = &walker{b: w.take(int(w.uint(width)))}
	return body, int(body.uint(width))
}

// value returns the value behind a constructor [AMQP 1.6].
func (w *walker) value(code byte) string {
	if w.short {
		return ""
	}
	switch code {
	case 0x00:
		descriptor := w.value(w.next())
		return fmt.Sprintf("(%s) %s", descriptor, w.value(w.next()))
	case 0x40:
		return "null"
	case 0x41, 0x42:
		return fmt.Sprint("boolean ", code == 0x41)
	case 0x56:
		return fmt.Sprint("boolean ", w.next() == 1)
	case 0x50:
		return fmt.Sprint("ubyte ", w.uint(1))
	case 0x60:
		return fmt.Sprint("ushort ", w.uint(2))
	case 0x43, 0x52, 0x70:
		return fmt.Sprint("uint ", w.uint(map[byte]int{0x43: 0, 0x52: 1, 0x70: 4}[code]))
	case 0x44, 0x53, 0x80:
		return fmt.Sprint("ulong ", w.uint(map[byte]int{0x44: 0, 0x53: 1, 0x80: 8}[code]))
	case 0x51:
		return fmt.Sprint("byte ", w.int(1))
	case 0x61:
		return fmt.Sprint("short ", w.int(2))
	case 0x54, 0x71:
		return fmt.Sprint("int ", w.int(map[byte]int{0x54: 1, 0x71: 4}[code]))
	case 0x55, 0x81:
		return fmt.Sprint("long ", w.int(map[byte]int{0x55: 1, 0x81: 8}[code]))
	case 0x72:
		return fmt.Sprintf("float %x", math.Float32frombits(uint32(w.uint(4))))
	case 0x82:
		return fmt.Sprintf("double %x", math.Float64frombits(w.uint(8)))
	case 0x74, 0x84, 0x94:
		return fmt.Sprintf("decimal %x", w.take(map[byte]int{0x74: 4, 0x84: 8, 0x94: 16}[code]))
	case 0x73:
		return fmt.Sprintf("char %U", w.uint(4))
	case 0x83:
		return fmt.Sprint("timestamp ", w.int(8))
	case 0x98:
		return fmt.Sprintf("uuid %x", w.take(16))
	case 0xa0, 0xb0:
		return fmt.Sprintf("binary %x", w.variable(code))
	case 0xa1, 0xb1:
		return fmt.Sprintf("string %q", w.variable(code))
	case 0xa3, 0xb3:
		return fmt.Sprintf("symbol %q", w.variable(code))
	case 0x45, 0xc0, 0xd0:
		return "list" + w.elements(code)
	case 0xc1, 0xd1:
		return "map" + w.elements(code) // by the text of the keys: not all libraries keep an order
	case 0xe0, 0xf0:
		return "array" + w.elements(code)
	}
	w.short = true
	return fmt.Sprintf("a constructor %#x that is none", code)
}

func (w *walker) variable(code byte) []byte {
	if code < 0xb0 {
		return w.take(int(w.uint(1)))
	}
	return w.take(int(w.uint(4)))
}

func (w *walker) elements(code byte) string {
	body, n := w.compound(code)
	var all []string
	if code >= 0xe0 { // one constructor for all
		prefix := ""
		code = body.next()
		if code == 0x00 {
			prefix = fmt.Sprintf("(%s) ", body.value(body.next()))
			code = body.next()
		}
		for i := 0; i < n && !body.short; i++ {
			all = append(all, prefix+body.value(code))
		}
	} else {
		for i := 0; i < n && !body.short; i++ {
			all = append(all, body.value(body.next()))
		}
	}
	if code == 0xc1 || code == 0xd1 {
		var pairs []string
		for pair := range slices.Chunk(all, 2) {
			pairs = append(pairs, strings.Join(pair, ": "))
		}
		slices.Sort(pairs)
		all = pairs
	}
	w.short = w.short || body.short || len(body.b) > 0
	return "[" + strings.Join(all, ", ") + "]"
}

// String, Symbol, Binary, Uint, Ulong, Int and Long encode one value each.

func String(s string) []byte { return variable(0xb1, s) }
func Symbol(s string) []byte { return variable(0xb3, s) }
func Binary(s string) []byte { return variable(0xb0, s) }
func Uint(n uint32) []byte   { return binary.BigEndian.AppendUint32([]byte{0x70}, n) }
func Ulong(n uint64) []byte  { return binary.BigEndian.AppendUint64([]byte{0x80}, n) }
func Int(n int32) []byte     { return binary.BigEndian.AppendUint32([]byte{0x71}, uint32(n)) }
func Long(n int64) []byte    { return binary.BigEndian.AppendUint64([]byte{0x81}, uint64(n)) }
func Double(v float64) []byte {
	return binary.BigEndian.AppendUint64([]byte{0x82}, math.Float64bits(v))
}

func variable(code byte, s string) []byte {
	if len(s) < 256 {
		return append([]byte{code &^ 0x10, byte(len(s))}, s...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{code}, uint32(len(s))), s...)
}

// Null is the value of an absent field.
var Null = []byte{0x40}

// List encodes a list of encoded values; Map a map of keys and values in turn.
func List(items ...[]byte) []byte { return compound(0xd0, items) }
func Map(items ...[]byte) []byte  { return compound(0xd1, items) }

func compound(code byte, items [][]byte) []byte {
	var body []byte
	for _, item := range items {
		body = append(body, item...)
	}
	b := binary.BigEndian.AppendUint32([]byte{code}, uint32(len(body)+4))
	return append(binary.BigEndian.AppendUint32(b, uint32(len(items))), body...)
}

// Data returns a message that is nothing but these bytes.
func Data(payload []byte) []byte { return Encode(Section{DataSection, Binary(string(payload))}) }

// Body returns the bytes of the data sections of a message.
func Body(message []byte) (body []byte, err error) {
	all, err := Decode(message)
	for _, s := range all {
		if s.Code == DataSection {
			w := &walker{b: s.Raw}
			body = append(body, w.variable(w.next())...)
		}
	}
	return body, err
}
