package codec

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"strconv"

	"github.com/linkspan/linkspan/amqp/frame"
)

// appendJSON writes v as JSON at the end of b, and the letters of its types at the end of types. ok is false for what has no such form:
// a key of a map that is no simple value, an array that is empty or one of described values.
func appendJSON(b, types []byte, v frame.Value) (_, _ []byte, ok bool) {
	t := v.Type()
	types = append(types, letters[t])
	switch t {
	case frame.List, frame.Array:
		b, ok = append(b, '['), t == frame.List || v.Len() > 0
		first := true
		for e := range v.Elements() {
			if !first {
				b = append(b, ',')
			}
			var fits bool
			b, types, fits = appendJSON(b, types, e)
			first, ok = false, ok && fits && (t == frame.List || e.Type() != frame.Described)
		}
		return append(b, ']'), types, ok
	case frame.MapType:
		b, ok = append(b, '{'), true
		first := true
		for key, value := range v.Pairs() {
			if !first {
				b = append(b, ',')
			}
			var text, fits bool
			types = append(types, letters[key.Type()])
			if b, text = appendQuoted(b, key); text {
				b, types, fits = appendJSON(append(b, ':'), types, value)
			}
			first, ok = false, ok && fits
		}
		return append(b, '}'), types, ok
	case frame.Described:
		descriptor, value, _ := v.Described()
		var fits bool
		b, types, ok = appendJSON(append(b, `{"descriptor":`...), types, descriptor)
		b, types, fits = appendJSON(append(b, `,"value":`...), types, value)
		return append(b, '}'), types, ok && fits
	}
	b, ok = appendSimple(b, v)
	return b, types, ok
}

// appendSimple writes a simple value as JSON.
func appendSimple(b []byte, v frame.Value) (_ []byte, ok bool) {
	switch t := v.Type(); {
	case t == frame.Null:
		return append(b, "null"...), true
	case t <= frame.Long || t == frame.Timestamp:
		return appendText(b, v)
	case t == frame.Float || t == frame.Double:
		at := len(b)
		if b, ok = appendText(b, v); !json.Valid(b[at:]) {
			b, ok = appendQuoted(b[:at], v)
		}
		return b, ok
	}
	return appendQuoted(b, v)
}

// appendQuoted writes the text of a simple value as a JSON string.
func appendQuoted(b []byte, v frame.Value) (_ []byte, ok bool) {
	if text, is := v.Text(); is {
		return appendString(b, text), true
	}
	var space [64]byte
	text, ok := appendText(space[:0], v)
	return appendString(b, borrow(text)), ok
}

// appendString writes text, which is UTF-8, as a JSON string.
func appendString(b []byte, text string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// A jsonReader turns JSON into values: of the types that letters tell, or of those that JSON itself knows.
type jsonReader struct {
	tokens *json.Decoder
	typed  bool
	types  string // of what is to come
	depth  int
}

// appendFromJSON adds the value that text is to b. types are its letters, nil if they are not known. ok is false for what is no
// such value.
func appendFromJSON(b, text, types []byte) (_ []byte, ok bool) {
	r := jsonReader{tokens: json.NewDecoder(bytes.NewReader(text)), typed: types != nil, types: borrow(types)}
	r.tokens.UseNumber()
	if b, _, ok = r.value(b); !ok || r.types != "" {
		return b, false
	}
	_, err := r.tokens.Token()
	return b, err == io.EOF
}

// value reads one value, and returns its type.
func (r *jsonReader) value(b []byte) (_ []byte, t frame.Type, ok bool) {
	token, err := r.tokens.Token()
	if err != nil {
		return b, t, false
	}
	if t, ok = r.typeOf(token); !ok {
		return b, t, false
	}
	if delim, opens := token.(json.Delim); opens != (t >= frame.List) || opens && (delim == '{') != (t == frame.MapType || t == frame.Described) {
		return b, t, false
	}
	if t < frame.List {
		b, ok = appendScalar(b, t, textOf(token))
		return b, t, ok
	}
	if r.depth++; r.depth > frame.MaxDepth {
		return b, t, false
	}
	switch t {
	case frame.List:
		b, ok = r.list(b)
	case frame.MapType:
		b, ok = r.pairs(b)
	case frame.Array:
		b, ok = r.array(b)
	default:
		b, ok = r.described(b)
	}
	r.depth--
	return b, t, ok
}

// typeOf returns the type of the value that begins with token.
func (r *jsonReader) typeOf(token json.Token) (t frame.Type, ok bool) {
	if r.typed {
		return r.letter()
	}
	switch token := token.(type) {
	case nil:
		return frame.Null, true
	case bool:
		return frame.Boolean, true
	case json.Number:
		if _, err := strconv.ParseInt(token.String(), 10, 64); err == nil {
			return frame.Long, true
		}
		return frame.Double, true
	case string:
		return frame.String, true
	case json.Delim:
		if token == '{' {
			return frame.MapType, true
		}
		return frame.List, token == '['
	}
	return t, false
}

func (r *jsonReader) letter() (t frame.Type, ok bool) {
	if r.types == "" {
		return t, false
	}
	t = typeByLetter(r.types[0])
	r.types = r.types[1:]
	return t, t != frame.Absent
}

// textOf returns a simple token as [appendText] writes it.
func textOf(token json.Token) string {
	switch token := token.(type) {
	case bool:
		return strconv.FormatBool(token)
	case json.Number:
		return token.String()
	case string:
		return token
	}
	return ""
}

// close reads the end of a list or object.
func (r *jsonReader) close() bool {
	_, err := r.tokens.Token()
	return err == nil
}

func (r *jsonReader) list(b []byte) (_ []byte, ok bool) {
	at, n := len(b), 0
	for b = frame.BeginList(b); r.tokens.More(); n++ {
		if b, _, ok = r.value(b); !ok {
			return b, false
		}
	}
	return frame.EndList(b, at, n), r.close()
}

func (r *jsonReader) pairs(b []byte) (_ []byte, ok bool) {
	at, n := len(b), 0
	for b = frame.BeginMap(b); r.tokens.More(); n++ {
		t := frame.String
		if r.typed {
			if t, ok = r.letter(); !ok {
				return b, false
			}
		}
		key, err := r.tokens.Token()
		if err != nil {
			return b, false
		}
		if b, ok = appendScalar(b, t, textOf(key)); ok {
			b, _, ok = r.value(b)
		}
		if !ok {
			return b, false
		}
	}
	b = frame.EndMap(b, at, n)
	_, err := frame.ParseValue(b[at:]) // JSON may have a key twice
	return b, err == nil && r.close()
}

func (r *jsonReader) described(b []byte) (_ []byte, ok bool) {
	b = append(b, 0)
	for _, name := range [...]string{"descriptor", "value"} {
		if key, err := r.tokens.Token(); err != nil || key != name {
			return b, false
		}
		if b, _, ok = r.value(b); !ok {
			return b, false
		}
	}
	return b, r.close()
}

// array reads the elements of an array, which have one constructor: the widest of their type.
func (r *jsonReader) array(b []byte) (_ []byte, ok bool) {
	var all []byte
	var code byte
	n := 0
	for ; r.tokens.More(); n++ {
		one, _, ok := r.value(nil)
		if !ok {
			return b, false
		}
		v, err := frame.ParseValue(one)
		if err != nil {
			return b, false
		}
		wide, data := widen(v)
		if wide == 0 || n > 0 && wide != code {
			return b, false
		}
		code, all = wide, append(all, data...)
	}
	if n == 0 {
		return b, false
	}
	b = binary.BigEndian.AppendUint32(append(b, 0xf0), uint32(5+len(all)))
	b = append(binary.BigEndian.AppendUint32(b, uint32(n)), code)
	return append(b, all...), r.close()
}

// widen returns the widest constructor of v's type, and what follows it; 0 for a described value.
func widen(v frame.Value) (code byte, data []byte) {
	raw := v.Raw()
	switch v.Type() {
	case frame.Boolean:
		set, _ := v.Bool()
		return 0x56, []byte{frame.AppendBool(nil, set)[0] & 1}
	case frame.Uint:
		n, _ := v.Uint()
		return 0x70, binary.BigEndian.AppendUint32(nil, uint32(n))
	case frame.Ulong:
		n, _ := v.Uint()
		return 0x80, binary.BigEndian.AppendUint64(nil, n)
	case frame.Int:
		n, _ := v.Int()
		return 0x71, binary.BigEndian.AppendUint32(nil, uint32(n))
	case frame.Long:
		n, _ := v.Int()
		return 0x81, binary.BigEndian.AppendUint64(nil, uint64(n))
	case frame.Described:
		return 0, nil
	}
	code = raw[0]
	switch {
	case code == 0x45: // the empty list
		return 0xd0, []byte{0, 0, 0, 4, 0, 0, 0, 0}
	case code >= 0xe0 || code>>4 == 0xb || code>>4 == 0xd: // wide already
		return code, raw[1:]
	case code >= 0xc0: // a size of one byte, and a count
		data = binary.BigEndian.AppendUint32(data, uint32(raw[1])+3)
		data = binary.BigEndian.AppendUint32(data, uint32(raw[2]))
		return code | 0x10, append(data, raw[3:]...)
	case code >= 0xa0:
		return code | 0x10, append(binary.BigEndian.AppendUint32(data, uint32(raw[1])), raw[2:]...)
	}
	return code, raw[1:]
}
