package frame

import (
	"encoding/binary"
	"iter"
	"math"
	"unique"
)

// Symbol is a name out of a set that both sides know, ASCII [AMQP 1.6.21].
type Symbol string

// Intern returns s without the buffer it may borrow. It allocates only for what has not come for a while.
func (s Symbol) Intern() Symbol { return Symbol(unique.Make(string(s)).Value()) }

// Value is one value of any type, still encoded; the zero Value is none at all. It borrows what it was read from.
type Value struct {
	// con is the constructor: a format code, or for a described type 0, descriptor and constructor of the value. It has
	// the capacity for data where that follows it in memory; to the elements of an array it does not.
	con  []byte
	data []byte
}

// CutValue takes a value off b and checks all of it.
func CutValue(b []byte) (v Value, rest []byte, err error) {
	var c checker
	con, n, err := c.value(b)
	if err != nil {
		return Value{}, nil, err
	}
	return Value{b[:con:n], b[con:n:n]}, b[n:], nil
}

// ParseValue reads the one value that b is.
func ParseValue(b []byte) (Value, error) {
	v, rest, err := CutValue(b)
	if err == nil {
		err = end(rest)
	}
	return v, err
}

// next takes a value off b that was checked already. ok is false if it was not, and cannot be read.
func next(b []byte) (v Value, rest []byte, ok bool) {
	con := conSize(b, MaxDepth)
	if con < 0 {
		return Value{}, nil, false
	}
	n := width(b[con-1], b[con:])
	if n < 0 {
		return Value{}, nil, false
	}
	n += con
	return Value{b[:con:n], b[con:n:n]}, b[n:], true
}

// conSize returns the length of the constructor that b begins with, -1 if there is none. depth bounds the descriptors
// within descriptors.
func conSize(b []byte, depth int) int {
	if len(b) == 0 || depth < 0 {
		return -1
	}
	if b[0] != codeDescribed {
		return 1
	}
	con := conSize(b[1:], depth-1)
	if con < 0 {
		return -1
	}
	n := width(b[con], b[1+con:])
	if n < 0 {
		return -1
	}
	inner := conSize(b[1+con+n:], depth-1)
	if inner < 0 {
		return -1
	}
	return 1 + con + n + inner
}

// Append adds the encoded value to b, as it came. A Value of none adds a null.
func (v Value) Append(b []byte) []byte {
	if len(v.con) == 0 {
		return append(b, codeNull)
	}
	return append(append(b, v.con...), v.data...)
}

// Raw returns the encoded value, borrowed. That of an array's element is put together anew.
func (v Value) Raw() []byte {
	if n := len(v.con) + len(v.data); cap(v.con) == n {
		return v.con[:n]
	}
	return v.Append(nil)
}

// code is the constructor of a value that is not described, 0 for others.
func (v Value) code() byte {
	if len(v.con) != 1 {
		return 0
	}
	return v.con[0]
}

// Type returns the type, Described for every described value.
func (v Value) Type() Type {
	if len(v.con) == 0 {
		return Absent
	}
	return typeOf[v.con[0]]
}

// IsNull reports whether v is null, or none at all.
func (v Value) IsNull() bool { return v.Type() <= Null }

// Bool returns a boolean.
func (v Value) Bool() (value, ok bool) {
	switch v.code() {
	case codeTrue:
		return true, true
	case codeFalse:
		return false, true
	case codeBoolean:
		return v.data[0] != 0, true
	}
	return false, false
}

// Uint returns a value of the types Ubyte, Ushort, Uint and Ulong.
func (v Value) Uint() (value uint64, ok bool) {
	if t := v.Type(); t < Ubyte || t > Ulong {
		return 0, false
	}
	return v.bits(), true
}

// Int returns a value of the types Byte, Short, Int and Long.
func (v Value) Int() (value int64, ok bool) {
	if t := v.Type(); t < Byte || t > Long {
		return 0, false
	}
	unused := 64 - 8*len(v.data)
	return int64(v.bits()<<unused) >> unused, true
}

// bits is the number that up to eight bytes of data are.
func (v Value) bits() (n uint64) {
	for _, c := range v.data {
		n = n<<8 | uint64(c)
	}
	return n
}

// Float returns a value of the types Float and Double.
func (v Value) Float() (value float64, ok bool) {
	switch v.code() {
	case codeFloat:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v.data))), true
	case codeDouble:
		return math.Float64frombits(binary.BigEndian.Uint64(v.data)), true
	}
	return 0, false
}

// Decimal returns the bits of a decimal of 4, 8 or 16 bytes, IEEE 754-2008 in its binary encoding.
func (v Value) Decimal() (bits []byte, ok bool) {
	switch v.code() {
	case codeDecimal32, codeDecimal64, codeDecimal128:
		return v.data, true
	}
	return nil, false
}

// Char returns a char.
func (v Value) Char() (value rune, ok bool) {
	if v.code() != codeChar {
		return 0, false
	}
	return rune(v.bits()), true
}

// Timestamp returns a timestamp, in milliseconds since 1970 in UTC.
func (v Value) Timestamp() (ms int64, ok bool) {
	if v.code() != codeTimestamp {
		return 0, false
	}
	return int64(v.bits()), true
}

// UUID returns a UUID.
func (v Value) UUID() (value [16]byte, ok bool) {
	if v.code() != codeUUID {
		return value, false
	}
	return [16]byte(v.data), true
}

// Binary returns a binary, borrowed and never nil.
func (v Value) Binary() (value []byte, ok bool) {
	if v.code() == 0 || v.Type() != Binary {
		return nil, false
	}
	return content(v.con[0], v.data), true
}

// Text returns a string, borrowed.
func (v Value) Text() (value string, ok bool) {
	if v.code() == 0 || v.Type() != String {
		return "", false
	}
	return borrow(content(v.con[0], v.data)), true
}

// Symbol returns a symbol, borrowed.
func (v Value) Symbol() (value Symbol, ok bool) {
	if v.code() == 0 || v.Type() != SymbolType {
		return "", false
	}
	return Symbol(borrow(content(v.con[0], v.data))), true
}

// Described returns the parts of a described value. The value may be described again.
func (v Value) Described() (descriptor, value Value, ok bool) {
	if v.Type() != Described {
		return Value{}, Value{}, false
	}
	descriptor, con, ok := next(v.con[1:])
	if !ok {
		return Value{}, Value{}, false
	}
	return descriptor, Value{con, v.data}, true
}

// Len returns how many elements a list or array has, and how many pairs a map has; 0 for other types.
func (v Value) Len() int {
	count, _, ok := v.elements()
	switch {
	case !ok:
		return 0
	case v.Type() == MapType:
		return int(count / 2)
	}
	return int(count)
}

// elements returns the count of a list, map or array and what follows it.
func (v Value) elements() (count uint32, rest []byte, ok bool) {
	if code := v.code(); code >= codeList8 {
		return elements(code, v.data)
	}
	return 0, nil, false
}

// Elements goes through a list or an array. Of other types there are none.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) { v.eachElement(yield) } // this short, it needs no memory
}

func (v Value) eachElement(yield func(Value) bool) {
	count, b, ok := v.elements()
	if !ok {
		return
	}
	switch v.Type() {
	case List:
		for ; count > 0; count-- {
			var e Value
			if e, b, ok = next(b); !ok || !yield(e) {
				return
			}
		}
	case Array:
		con := conSize(b, MaxDepth)
		if con < 0 || uint64(count) > uint64(max(len(b), maxShared)) {
			return
		}
		e := Value{con: b[:con:con]}
		for b = b[con:]; count > 0; count-- {
			n := width(e.con[con-1], b)
			if n < 0 {
				return
			}
			if e.data, b = b[:n:n], b[n:]; !yield(e) {
				return
			}
		}
	}
}

// Pairs goes through a map, in the order of the wire. Other types have none.
func (v Value) Pairs() iter.Seq2[Value, Value] {
	return func(yield func(key, value Value) bool) { v.eachPair(yield) }
}

func (v Value) eachPair(yield func(key, value Value) bool) {
	count, b, ok := v.elements()
	if !ok || v.Type() != MapType {
		return
	}
	for ; count > 1; count -= 2 {
		var key, value Value
		if key, b, ok = next(b); !ok {
			return
		}
		if value, b, ok = next(b); !ok || !yield(key, value) {
			return
		}
	}
}

// Map is an encoded map, constructor first; nil is none at all. It borrows what it was read from.
type Map []byte

// Value returns the map as a value.
func (m Map) Value() Value {
	v, _, _ := next(m)
	return v
}

// Len returns how many pairs m has.
func (m Map) Len() int { return m.Value().Len() }

// All goes through the pairs, in the order of the wire.
func (m Map) All() iter.Seq2[Value, Value] {
	return func(yield func(key, value Value) bool) { m.Value().eachPair(yield) }
}

// Get returns the value of the key that is a symbol or a string of that name, none if there is no such key.
func (m Map) Get(name string) Value {
	for k, v := range m.All() {
		text, ok := k.Text()
		if !ok {
			var symbol Symbol
			symbol, ok = k.Symbol()
			text = string(symbol)
		}
		if ok && text == name {
			return v
		}
	}
	return Value{}
}
