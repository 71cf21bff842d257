package frame

import (
	"encoding/binary"
	"math"
)

// AppendNull adds a null to b.
func AppendNull(b []byte) []byte { return append(b, codeNull) }

// AppendBool adds a boolean to b.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

// AppendUbyte adds a ubyte to b.
func AppendUbyte(b []byte, v uint8) []byte { return append(b, codeUbyte, v) }

// AppendUshort adds a ushort to b.
func AppendUshort(b []byte, v uint16) []byte {
	return binary.BigEndian.AppendUint16(append(b, codeUshort), v)
}

// AppendUint adds a uint to b.
func AppendUint(b []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(b, codeUint0)
	case v <= math.MaxUint8:
		return append(b, codeSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, codeUint), v)
}

// AppendUlong adds a ulong to b.
func AppendUlong(b []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(b, codeUlong0)
	case v <= math.MaxUint8:
		return append(b, codeSmallUlong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeUlong), v)
}

// AppendByte adds a byte, which has a sign, to b.
func AppendByte(b []byte, v int8) []byte { return append(b, codeByte, byte(v)) }

// AppendShort adds a short to b.
func AppendShort(b []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(append(b, codeShort), uint16(v))
}

// AppendInt adds an int to b.
func AppendInt(b []byte, v int32) []byte {
	if v == int32(int8(v)) {
		return append(b, codeSmallInt, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, codeInt), uint32(v))
}

// AppendLong adds a long to b.
func AppendLong(b []byte, v int64) []byte {
	if v == int64(int8(v)) {
		return append(b, codeSmallLong, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeLong), uint64(v))
}

// AppendFloat adds a float to b.
func AppendFloat(b []byte, v float32) []byte {
	return binary.BigEndian.AppendUint32(append(b, codeFloat), math.Float32bits(v))
}

// AppendDouble adds a double to b.
func AppendDouble(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, codeDouble), math.Float64bits(v))
}

// AppendChar adds a char to b.
func AppendChar(b []byte, v rune) []byte {
	return binary.BigEndian.AppendUint32(append(b, codeChar), uint32(v))
}

// AppendTimestamp adds a timestamp to b, in milliseconds since 1970 in UTC.
func AppendTimestamp(b []byte, ms int64) []byte {
	return binary.BigEndian.AppendUint64(append(b, codeTimestamp), uint64(ms))
}

// AppendUUID adds a UUID to b.
func AppendUUID(b []byte, v [16]byte) []byte { return append(append(b, codeUUID), v[:]...) }

// AppendBinary adds a binary to b.
func AppendBinary[T ~string | ~[]byte](b []byte, v T) []byte { return appendData(b, codeBinary8, v) }

// AppendString adds a string to b, which must be UTF-8.
func AppendString[T ~string | ~[]byte](b []byte, v T) []byte { return appendData(b, codeString8, v) }

// AppendSymbol adds a symbol to b, which must be ASCII.
func AppendSymbol[T ~string | ~[]byte](b []byte, v T) []byte { return appendData(b, codeSymbol8, v) }

// appendData adds data of variable width. code is that of a size of one byte.
func appendData[T ~string | ~[]byte](b []byte, code byte, v T) []byte {
	if len(v) <= math.MaxUint8 {
		b = append(b, code, byte(len(v)))
	} else {
		b = binary.BigEndian.AppendUint32(append(b, code|0x10), uint32(len(v)))
	}
	return append(b, v...)
}

// AppendSymbols adds an array of symbols to b.
func AppendSymbols(b []byte, symbols []Symbol) []byte {
	code, longest := byte(codeSymbol8), 0
	for _, s := range symbols {
		longest = max(longest, len(s))
	}
	if longest > math.MaxUint8 {
		code = codeSymbol32
	}
	at := len(b)
	b = append(b, codeArray8, 0, 0, code)
	for _, s := range symbols {
		if code == codeSymbol8 {
			b = append(b, byte(len(s)))
		} else {
			b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		}
		b = append(b, s...)
	}
	return endCompound(b, at, len(symbols))
}

// BeginMap begins a map at the end of b. What is appended next are keys and values in turn; [EndMap] ends it.
func BeginMap(b []byte) []byte { return append(b, codeMap8, 0, 0) }

// EndMap ends the map of that many pairs that was begun when b was at bytes long, and goes to the end of b.
func EndMap(b []byte, at, pairs int) []byte { return endCompound(b, at, 2*pairs) }

// BeginList begins a list at the end of b. What is appended next are its elements; [EndList] ends it.
func BeginList(b []byte) []byte { return append(b, codeList8, 0, 0) }

// EndList ends the list of that many elements that was begun when b was at bytes long, and goes to the end of b.
func EndList(b []byte, at, elements int) []byte {
	if elements == 0 {
		return append(b[:at], codeList0)
	}
	return endCompound(b, at, elements)
}

// AppendDescriptor begins a described value at the end of b: the value is what is appended next.
func AppendDescriptor(b []byte, d Descriptor) []byte {
	return AppendUlong(append(b, codeDescribed), uint64(d))
}

// endCompound fills in size and count of the compound or array that begins at at, with a byte each. Those that are too
// large for that make room for four.
func endCompound(b []byte, at, count int) []byte {
	size := len(b) - at - 2
	if size <= math.MaxUint8 && count <= math.MaxUint8 {
		b[at+1], b[at+2] = byte(size), byte(count)
		return b
	}
	b = append(b, 0, 0, 0, 0, 0, 0)
	copy(b[at+9:], b[at+3:len(b)-6])
	b[at] |= 0x10
	binary.BigEndian.PutUint32(b[at+1:], uint32(size+3))
	binary.BigEndian.PutUint32(b[at+5:], uint32(count))
	return b
}
