package frame

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// MaxDepth is how deep described types, lists, maps and arrays may nest in one another.
const MaxDepth = 32

// maxShared is how many bytes the arrays in one value may save. The elements of an array share its constructor: few bytes
// can be four billion nulls, or many elements with the same long descriptor.
const maxShared = 1 << 18

// width returns how many bytes of b the data behind a constructor takes, its size field included; -1 if b has not so many.
func width(code byte, b []byte) int {
	n := 0
	switch code >> 4 {
	case 0x4:
		return 0
	case 0x5:
		n = 1
	case 0x6:
		n = 2
	case 0x7:
		n = 4
	case 0x8:
		n = 8
	case 0x9:
		n = 16
	case 0xA, 0xC, 0xE:
		if len(b) == 0 {
			return -1
		}
		n = 1 + int(b[0])
	case 0xB, 0xD, 0xF:
		if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
			return -1
		}
		return 4 + int(binary.BigEndian.Uint32(b))
	}
	if n > len(b) {
		return -1
	}
	return n
}

// content returns data of variable width without its size field.
func content(code byte, data []byte) []byte {
	if code >= codeBinary32 && code&0x10 != 0 {
		return data[4:]
	}
	return data[1:]
}

// elements returns the count of a compound or an array, and what follows it. ok is false if there is no room for a count.
func elements(code byte, data []byte) (count uint32, rest []byte, ok bool) {
	b := content(code, data)
	if code&0x10 == 0 {
		if len(b) < 1 {
			return 0, nil, false
		}
		return uint32(b[0]), b[1:], true
	}
	if len(b) < 4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(b), b[4:], true
}

// checker checks one value, and all that is in it. Its zero value is ready.
type checker struct {
	depth  int
	shared uint64 // bytes that the arrays have saved
}

// value checks the value that b begins with. It returns the length of the constructor and of the whole.
func (c *checker) value(b []byte) (con, n int, err error) {
	if con, err = c.constructor(b); err != nil {
		return 0, 0, err
	}
	n, err = c.data(b[con-1], b[con:])
	return con, con + n, err
}

// constructor checks a constructor with its descriptors, the last byte of which is the format code.
func (c *checker) constructor(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, errShort
	}
	if b[0] != codeDescribed {
		if typeOf[b[0]] == Absent {
			return 0, errCode
		}
		return 1, nil
	}
	if c.depth++; c.depth > MaxDepth {
		return 0, errDepth
	}
	_, descriptor, err := c.value(b[1:])
	if err != nil {
		return 0, err
	}
	inner, err := c.constructor(b[1+descriptor:])
	c.depth--
	return 1 + descriptor + inner, err
}

// data checks what follows a constructor, and returns how many bytes of b that is.
func (c *checker) data(code byte, b []byte) (n int, err error) {
	if n = width(code, b); n < 0 {
		return 0, errShort
	}
	switch code {
	case codeBoolean:
		if b[0] > 1 {
			err = errBool
		}
	case codeChar:
		if r := binary.BigEndian.Uint32(b); r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			err = errChar
		}
	case codeString8, codeString32:
		err = checkText(content(code, b[:n]))
	case codeSymbol8, codeSymbol32:
		err = checkSymbol(content(code, b[:n]))
	case codeList8, codeList32, codeMap8, codeMap32, codeArray8, codeArray32:
		err = c.compound(code, b[:n])
	}
	return n, err
}

// compound checks a list, map or array, which data is the whole of.
func (c *checker) compound(code byte, data []byte) error {
	count, b, ok := elements(code, data)
	if !ok {
		return errShort
	}
	if c.depth++; c.depth > MaxDepth {
		return errDepth
	}
	var err error
	switch typeOf[code] {
	case List:
		err = c.list(count, b)
	case MapType:
		err = c.pairs(count, b)
	default:
		err = c.array(count, b)
	}
	c.depth--
	return err
}

func (c *checker) list(count uint32, b []byte) error {
	for ; count > 0; count-- {
		_, n, err := c.value(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return end(b)
}

func (c *checker) array(count uint32, b []byte) error {
	before := c.shared
	con, err := c.constructor(b)
	if err != nil {
		return err
	}
	code := b[con-1]
	if con > 1 || code>>4 == 0x4 {
		each := uint64(con) + c.shared - before
		if c.shared += each * uint64(count); c.shared > maxShared {
			return errShared
		}
	}
	b = b[con:]
	if code>>4 == 0x4 {
		return end(b)
	}
	for ; count > 0; count-- {
		n, err := c.data(code, b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return end(b)
}

// pairs checks the content of a map, in which no key comes twice [AMQP 1.6.23].
func (c *checker) pairs(count uint32, b []byte) error {
	if count%2 != 0 {
		return errOdd
	}
	if uint64(count) > uint64(len(b)) { // every key and value takes a byte
		return errShort
	}
	var seen keys
	for ; count > 0; count -= 2 {
		con, n, err := c.value(b)
		if err != nil {
			return err
		}
		if !seen.add(keyOf(b[:n], con)) {
			return errDuplicate
		}
		b = b[n:]
		if _, n, err = c.value(b); err != nil {
			return err
		}
		b = b[n:]
	}
	return end(b)
}

// keys is a set of a map's keys: as long as there are few, it needs no memory.
type keys struct {
	few  [16]key
	n    int // how many of few are used
	many map[key]struct{}
}

type key struct {
	kind Type
	text string
}

// add reports whether k is new to the set.
func (s *keys) add(k key) bool {
	if s.many == nil {
		for i := range s.few[:s.n] {
			if s.few[i] == k {
				return false
			}
		}
		if s.n < len(s.few) {
			s.few[s.n] = k
			s.n++
			return true
		}
		s.many = make(map[key]struct{}, 2*len(s.few))
		for _, have := range s.few {
			s.many[have] = struct{}{}
		}
	}
	had := len(s.many)
	s.many[k] = struct{}{}
	return len(s.many) > had
}

// keyOf returns what tells an encoded key from others: how its size is written does not.
func keyOf(raw []byte, con int) key {
	code := raw[con-1]
	if con == 1 && (code>>4 == 0xA || code>>4 == 0xB) {
		return key{typeOf[code], borrow(content(code, raw[1:]))}
	}
	return key{typeOf[raw[0]], borrow(raw)}
}

func end(b []byte) error {
	if len(b) > 0 {
		return errLong
	}
	return nil
}

// borrow returns b as a string that changes if b does.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

const tops = 0x8080808080808080

// ascii reports whether no byte of b has its top bit set.
func ascii(b []byte) bool {
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&tops != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

func checkText(b []byte) error {
	if ascii(b) || utf8.Valid(b) {
		return nil
	}
	return errText
}

func checkSymbol(b []byte) error {
	if ascii(b) {
		return nil
	}
	return errSymbol
}
