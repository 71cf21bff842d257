package codec

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/linkspan/linkspan/amqp/frame"
)

// letters are what the types are called in headers, in the order of the constants of package frame.
const letters = "-noBHILbhilfd368ctuxsy[{@#"

// typeByName returns the simple type that the specification calls name.
func typeByName(name string) (frame.Type, bool) {
	for t := frame.Null; t <= frame.SymbolType; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return frame.Absent, false
}

// typeByLetter returns the type that a letter stands for, Absent for none.
func typeByLetter(c byte) frame.Type {
	return frame.Type(max(strings.IndexByte(letters, c), 0))
}

// appendText writes a simple value as text; ok is false for the others. What [appendScalar] makes of it is the same value, but for some of the
// ways to encode one and to say "not a number".
func appendText(b []byte, v frame.Value) (_ []byte, ok bool) {
	switch t := v.Type(); t {
	case frame.Null:
	case frame.Boolean:
		set, _ := v.Bool()
		b = strconv.AppendBool(b, set)
	case frame.Ubyte, frame.Ushort, frame.Uint, frame.Ulong:
		n, _ := v.Uint()
		b = strconv.AppendUint(b, n, 10)
	case frame.Byte, frame.Short, frame.Int, frame.Long:
		n, _ := v.Int()
		b = strconv.AppendInt(b, n, 10)
	case frame.Float, frame.Double:
		n, _ := v.Float()
		b = appendFloat(b, n, t)
	case frame.Decimal32, frame.Decimal64, frame.Decimal128:
		bits, _ := v.Decimal()
		b = hex.AppendEncode(b, bits)
	case frame.Char:
		r, _ := v.Char()
		b = utf8.AppendRune(b, r)
	case frame.Timestamp:
		ms, _ := v.Timestamp()
		b = strconv.AppendInt(b, ms, 10)
	case frame.UUID:
		id, _ := v.UUID()
		b = appendUUID(b, id)
	case frame.Binary:
		data, _ := v.Binary()
		b = base64.StdEncoding.AppendEncode(b, data)
	case frame.String:
		text, _ := v.Text()
		b = append(b, text...)
	case frame.SymbolType:
		symbol, _ := v.Symbol()
		b = append(b, symbol...)
	default:
		return b, false
	}
	return b, true
}

func appendFloat(b []byte, n float64, t frame.Type) []byte {
	switch {
	case math.IsNaN(n):
		return append(b, "NaN"...)
	case math.IsInf(n, 1):
		return append(b, "Infinity"...)
	case math.IsInf(n, -1):
		return append(b, "-Infinity"...)
	case t == frame.Float:
		return strconv.AppendFloat(b, n, 'g', -1, 32)
	}
	return strconv.AppendFloat(b, n, 'g', -1, 64)
}

func appendUUID(b []byte, id [16]byte) []byte {
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

// parseUUID reads what [appendUUID] writes.
func parseUUID(text string) (id [16]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	digits := make([]byte, 0, 32)
	for _, part := range [...]string{text[:8], text[9:13], text[14:18], text[19:23], text[24:]} {
		digits = append(digits, part...)
	}
	_, err := hex.Decode(id[:], digits)
	return id, err == nil
}

// appendScalar adds a simple value of type t to b, in the fewest bytes, which [appendText] wrote as text. ok is false for what that
// never writes.
func appendScalar(b []byte, t frame.Type, text string) (_ []byte, ok bool) {
	switch t {
	case frame.Null:
		return frame.AppendNull(b), text == ""
	case frame.Boolean:
		return frame.AppendBool(b, text == "true"), text == "true" || text == "false"
	case frame.Ubyte, frame.Ushort, frame.Uint, frame.Ulong:
		return appendUnsigned(b, t, text)
	case frame.Byte, frame.Short, frame.Int, frame.Long:
		return appendSigned(b, t, text)
	case frame.Float:
		n, err := strconv.ParseFloat(text, 32)
		return frame.AppendFloat(b, float32(n)), err == nil
	case frame.Double:
		n, err := strconv.ParseFloat(text, 64)
		return frame.AppendDouble(b, n), err == nil
	case frame.Decimal32, frame.Decimal64, frame.Decimal128:
		size := t - frame.Decimal32 // 0: four bytes, and twice as many each
		b, err := hex.AppendDecode(append(b, 0x74+byte(size)<<4), []byte(text))
		return b, err == nil && len(text) == 8<<size
	case frame.Char:
		r, n := utf8.DecodeRuneInString(text)
		return frame.AppendChar(b, r), n == len(text) && n > 0 && (r != utf8.RuneError || n > 1)
	case frame.Timestamp:
		ms, err := strconv.ParseInt(text, 10, 64)
		return frame.AppendTimestamp(b, ms), err == nil
	case frame.UUID:
		id, ok := parseUUID(text)
		return frame.AppendUUID(b, id), ok
	case frame.Binary:
		data, err := base64.StdEncoding.DecodeString(text)
		return frame.AppendBinary(b, data), err == nil
	case frame.String:
		return frame.AppendString(b, text), utf8.ValidString(text)
	case frame.SymbolType:
		return frame.AppendSymbol(b, text), isASCII(text)
	}
	return b, false
}

func appendUnsigned(b []byte, t frame.Type, text string) ([]byte, bool) {
	bits := 8 << (t - frame.Ubyte)
	n, err := strconv.ParseUint(text, 10, bits)
	switch t {
	case frame.Ubyte:
		b = frame.AppendUbyte(b, uint8(n))
	case frame.Ushort:
		b = frame.AppendUshort(b, uint16(n))
	case frame.Uint:
		b = frame.AppendUint(b, uint32(n))
	default:
		b = frame.AppendUlong(b, n)
	}
	return b, err == nil
}

func appendSigned(b []byte, t frame.Type, text string) ([]byte, bool) {
	bits := 8 << (t - frame.Byte)
	n, err := strconv.ParseInt(text, 10, bits)
	switch t {
	case frame.Byte:
		b = frame.AppendByte(b, int8(n))
	case frame.Short:
		b = frame.AppendShort(b, int16(n))
	case frame.Int:
		b = frame.AppendInt(b, int32(n))
	default:
		b = frame.AppendLong(b, n)
	}
	return b, err == nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// borrow returns a string that shares the memory of b.
func borrow(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// lend returns bytes that share the memory of s, and are not to be written.
func lend(s string) []byte {
	if s == "" {
		return []byte{} // and not nil, which Kafka knows as no value
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// maxText is the length of the longest text of MQTT in bytes [MQTT 1.5.4].
const maxText = 65535

// validText reports whether s may be text of MQTT, as headers have it [MQTT 1.5.4].
func validText(s string) bool {
	return len(s) <= maxText && strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// validTopic reports whether s is an MQTT topic name [MQTT 4.7].
func validTopic(s string) bool { return s != "" && !strings.ContainsAny(s, "+#") && validText(s) }
