package codec

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/amqp/frame"
)

// The constructors that lists, maps and the bodies of messages can have [AMQP 1.6].
const (
	codeList0, codeList8, codeList32 = 0x45, 0xc0, 0xd0
	codeMap8, codeMap32              = 0xc1, 0xd1
)

// A layout is how a sender encoded what can be encoded in several ways: constructors, 0 for the one that takes the fewest bytes.
type layout struct {
	properties  byte // of the list
	fields      int  // that the list has, absent ones at its end, too; 0: up to the last that is there
	application byte // of the map
	body        byte // of a value that is binary, string or symbol
}

// propertiesLayout returns how properties are encoded. ok is false for a way that it has no words for.
func propertiesLayout(p *frame.Properties) (l layout, ok bool) {
	raw := p.Raw
	if len(raw) < 4 || raw[0] != 0 || raw[1] != 0x53 {
		return l, false
	}
	count := 0
	switch l.properties = raw[3]; {
	case l.properties == codeList8:
		l.properties, count = 0, int(raw[5])
	case l.properties == codeList32:
		count = int(binary.BigEndian.Uint32(raw[8:]))
		if len(raw)-12+1 > 255 {
			l.properties = 0
		}
	}
	if present := fieldCount(p); count > present || present == 0 {
		l.fields = count
	}
	if l == (layout{}) && count == 0 {
		l.properties = codeList8 // an empty list, and no other way to tell
	}
	return l, true
}

// fieldCount returns the number of the last field that is there, counted from 1.
func fieldCount(p *frame.Properties) int {
	there := [...]bool{!p.MessageID.IsNull(), p.UserID != nil, p.To.OK, p.Subject.OK, p.ReplyTo.OK, !p.CorrelationID.IsNull(), p.ContentType.OK,
		p.ContentEncoding.OK, p.AbsoluteExpiryTime.OK, p.CreationTime.OK, p.GroupID.OK, p.GroupSequence.OK, p.ReplyToGroupID.OK}
	n := len(there)
	for n > 0 && !there[n-1] {
		n--
	}
	return n
}

// applicationLayout returns how application properties are encoded.
func applicationLayout(m frame.Map) byte {
	content, n := 0, m.Len()
	if m[0] == codeMap32 {
		content = len(m) - 9
	}
	switch {
	case n == 0:
		return m[0]
	case m[0] == codeMap32 && content+1 <= 255 && 2*n <= 255:
		return codeMap32
	}
	return 0
}

// layout adds the header, where there is something to say.
func (r *reader) layout() {
	l := r.shape
	if l == (layout{}) {
		return
	}
	r.sayText(headerLayout, func(b []byte) []byte {
		from := len(b)
		word := func(name string, code byte) {
			if len(b) > from {
				b = append(b, ' ')
			}
			b = strconv.AppendUint(append(append(b, name...), '='), uint64(code), 16)
		}
		if l.properties != 0 || l.fields != 0 {
			word("properties", l.properties)
			b = strconv.AppendInt(append(b, '/'), int64(l.fields), 10)
		}
		if l.application != 0 {
			word("application", l.application)
		}
		if l.body != 0 {
			word("body", l.body)
		}
		return b
	})
}

// parseLayout reads the header. What it does not know, it leaves out.
func parseLayout(text string) (l layout) {
	for text != "" {
		var word string
		word, text, _ = strings.Cut(text, " ")
		name, value, _ := strings.Cut(word, "=")
		value, fields, _ := strings.Cut(value, "/")
		code, _ := strconv.ParseUint(value, 16, 8)
		switch c := byte(code); {
		case name == "properties" && (c == 0 || c == codeList0 || c == codeList8 || c == codeList32):
			n, _ := strconv.ParseUint(fields, 10, 4)
			l.properties, l.fields = c, min(int(n), 13)
		case name == "application" && (c == codeMap8 || c == codeMap32):
			l.application = c
		case name == "body" && c>>4 == 0xb:
			l.body = c
		}
	}
	return l
}

// begin begins a list or map of that constructor, or of the shortest: end ends it.
func begin(b []byte, code, shortest byte) []byte {
	if code == codeList32 || code == codeMap32 {
		return append(b, code, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return append(b, shortest, 0, 0)
}

// end ends a list or map that was begun when b was at bytes long: of that many elements, keys and values counted alike.
func end(b []byte, at, elements int, code byte) []byte {
	switch {
	case code == codeList32 || code == codeMap32:
		binary.BigEndian.PutUint32(b[at+1:], uint32(len(b)-at-5))
		binary.BigEndian.PutUint32(b[at+5:], uint32(elements))
		return b
	case b[at] == codeMap8:
		return frame.EndMap(b, at, elements/2)
	case elements == 0 && code == codeList8:
		b[at+1] = 1
		return b
	}
	return frame.EndList(b, at, elements)
}

// appendWide adds data of variable width to b behind the constructor wide if that is the one of the same type with a size of four bytes,
// or else the shortest.
func appendWide[T ~string | ~[]byte](b []byte, wide, shortest byte, data T) []byte {
	switch {
	case wide == shortest|0x10:
		b = binary.BigEndian.AppendUint32(append(b, wide), uint32(len(data)))
		return append(b, data...)
	case shortest == 0xa0:
		return frame.AppendBinary(b, data)
	case shortest == 0xa1:
		return frame.AppendString(b, data)
	}
	return frame.AppendSymbol(b, data)
}
