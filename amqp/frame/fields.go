package frame

import "encoding/binary"

// Opt is a field that may be absent, where that is not the same as a default.
type Opt[T any] struct {
	V  T
	OK bool // it is there
}

// Some returns a field that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{v, true} }

// Or returns the field, or what absence means.
func (o Opt[T]) Or(absent T) T {
	if o.OK {
		return o.V
	}
	return absent
}

// fields reads the fields of a described list in their order [AMQP 1.4]. Fields at the end may be left out. The first
// error stays.
type fields struct {
	b   []byte // the fields that are to come
	n   uint32 // how many those are
	err error
	of  string // what has the fields, for errors
}

// open begins with the list that b is the start of, and returns what follows it.
func open(b []byte, want Descriptor, of string) (f fields, rest []byte) {
	f.of = of
	d, b, err := cutDescriptor(b)
	switch {
	case err != nil:
		f.err = err
	case d != want:
		f.err = errDescriptor
	case len(b) == 0:
		f.err = errShort
	}
	if f.err != nil {
		return f, nil
	}
	code, b := b[0], b[1:]
	if code == codeList0 {
		return f, b
	}
	if code != codeList8 && code != codeList32 {
		f.err = errList
		return f, nil
	}
	n := width(code, b)
	if n < 0 {
		f.err = errShort
		return f, nil
	}
	var ok bool
	if f.n, f.b, ok = elements(code, b[:n]); !ok {
		f.err = errShort
	}
	return f, b[n:]
}

// openAll is open for a list that nothing follows.
func openAll(b []byte, want Descriptor, of string) fields {
	f, rest := open(b, want, of)
	if f.err == nil {
		f.err = end(rest)
	}
	return f
}

// done returns the first error. Fields that nobody asked for are one.
func (f *fields) done() error {
	if f.err != nil {
		return f.err
	}
	if f.n > 0 {
		return malformed("1.4", f.of+" with more fields than it has")
	}
	return end(f.b)
}

// next begins the next field. ok is false if it is absent, else there is at least its constructor.
func (f *fields) next() (code byte, ok bool) {
	if f.n == 0 || f.err != nil {
		return 0, false
	}
	f.n--
	if len(f.b) == 0 {
		f.err = errShort
		return 0, false
	}
	code = f.b[0]
	if code == codeNull {
		f.b = f.b[1:]
		return 0, false
	}
	return code, true
}

// take returns the n bytes of data behind a constructor.
func (f *fields) take(n int) []byte {
	if len(f.b) < 1+n {
		f.err = errShort
		return nil
	}
	data := f.b[1 : 1+n]
	f.b = f.b[1+n:]
	return data
}

func (f *fields) wrong(name string) { f.err = malformed("1.4", f.of+"."+name+" of a wrong type") }

// refuse says that the value of a field cannot be.
func (f *fields) refuse(name, why string) {
	if f.err == nil {
		f.err = invalid("1.4", f.of+"."+name+" "+why)
	}
}

// need refuses the absence of a mandatory field.
func (f *fields) need(name string, ok bool) {
	if !ok && f.err == nil {
		f.err = invalid("1.4", f.of+"."+name+" is mandatory")
	}
}

func (f *fields) bool(name string) (v, ok bool) {
	code, ok := f.next()
	if !ok {
		return false, false
	}
	switch code {
	case codeTrue, codeFalse:
		f.take(0)
		return code == codeTrue, true
	case codeBoolean:
		if data := f.take(1); data != nil {
			if data[0] > 1 {
				f.err = errBool
			}
			return data[0] == 1, true
		}
		return false, false
	}
	f.wrong(name)
	return false, false
}

func (f *fields) flag(name string) bool {
	v, _ := f.bool(name)
	return v
}

func (f *fields) ubyte(name string) (v uint8, ok bool) {
	code, ok := f.next()
	if !ok {
		return 0, false
	}
	if code != codeUbyte {
		f.wrong(name)
		return 0, false
	}
	if data := f.take(1); data != nil {
		return data[0], true
	}
	return 0, false
}

func (f *fields) ushort(name string) (v uint16, ok bool) {
	code, ok := f.next()
	if !ok {
		return 0, false
	}
	if code != codeUshort {
		f.wrong(name)
		return 0, false
	}
	if data := f.take(2); data != nil {
		return binary.BigEndian.Uint16(data), true
	}
	return 0, false
}

func (f *fields) uint(name string) (v uint32, ok bool) {
	code, ok := f.next()
	if !ok {
		return 0, false
	}
	switch code {
	case codeUint0:
		f.take(0)
		return 0, true
	case codeSmallUint:
		if data := f.take(1); data != nil {
			return uint32(data[0]), true
		}
	case codeUint:
		if data := f.take(4); data != nil {
			return binary.BigEndian.Uint32(data), true
		}
	default:
		f.wrong(name)
	}
	return 0, false
}

func (f *fields) ulong(name string) (v uint64, ok bool) {
	code, ok := f.next()
	if !ok {
		return 0, false
	}
	switch code {
	case codeUlong0:
		f.take(0)
		return 0, true
	case codeSmallUlong:
		if data := f.take(1); data != nil {
			return uint64(data[0]), true
		}
	case codeUlong:
		if data := f.take(8); data != nil {
			return binary.BigEndian.Uint64(data), true
		}
	default:
		f.wrong(name)
	}
	return 0, false
}

func (f *fields) optUint(name string) Opt[uint32] {
	v, ok := f.uint(name)
	return Opt[uint32]{v, ok}
}

func (f *fields) timestamp(name string) (v Opt[int64]) {
	code, ok := f.next()
	if !ok {
		return v
	}
	if code != codeTimestamp {
		f.wrong(name)
		return v
	}
	if data := f.take(8); data != nil {
		v = Some(int64(binary.BigEndian.Uint64(data)))
	}
	return v
}

// variable returns the content of a binary, string or symbol: short is its code with a size of one byte.
func (f *fields) variable(name string, short byte) (data []byte, ok bool) {
	code, ok := f.next()
	if !ok {
		return nil, false
	}
	if code&^0x10 != short {
		f.wrong(name)
		return nil, false
	}
	n := width(code, f.b[1:])
	if n < 0 {
		f.err = errShort
		return nil, false
	}
	data = content(code, f.b[1:1+n:1+n])
	f.b = f.b[1+n:]
	return data, true
}

// binary returns nil for an absent field, and never for an empty one.
func (f *fields) binary(name string) []byte {
	data, _ := f.variable(name, codeBinary8)
	return data
}

func (f *fields) text(name string) (v string, ok bool) {
	data, ok := f.variable(name, codeString8)
	if ok {
		f.err = checkText(data)
	}
	return borrow(data), ok && f.err == nil
}

func (f *fields) optText(name string) Opt[string] {
	v, ok := f.text(name)
	return Opt[string]{v, ok}
}

func (f *fields) symbol(name string) (v Symbol, ok bool) {
	data, ok := f.variable(name, codeSymbol8)
	if ok {
		f.err = checkSymbol(data)
	}
	return Symbol(borrow(data)), ok && f.err == nil
}

// value returns a field of any type, checked.
func (f *fields) value() (v Value) {
	if _, ok := f.next(); ok {
		v = f.cut()
	}
	return v
}

// cut takes the field that next has begun, of whatever type.
func (f *fields) cut() (v Value) {
	v, f.b, f.err = CutValue(f.b)
	return v
}

// mapping returns a map, checked.
func (f *fields) mapping(name string) Map {
	v := f.value()
	switch v.Type() {
	case Absent:
		return nil
	case MapType:
		return Map(v.Raw())
	}
	f.wrong(name)
	return nil
}

// symbolMap is a map whose keys are symbols [AMQP 2.8.13, 3.5.8].
func (f *fields) symbolMap(name string) Map {
	m := f.mapping(name)
	for k := range m.All() {
		if k.Type() != SymbolType {
			f.refuse(name, "has a key that is not a symbol")
			return nil
		}
	}
	return m
}

// maxSymbols is how many symbols a field may have.
const maxSymbols = 1024

// symbols returns those of a field that may have several: one, or an array of them [AMQP 1.4]. It appends to buf.
func (f *fields) symbols(name string, buf []Symbol) []Symbol {
	buf = buf[:0]
	v := f.value()
	if one, ok := v.Symbol(); ok {
		return append(buf, one)
	}
	if v.Type() == Absent {
		return buf
	}
	if v.Type() != Array || v.Len() > maxSymbols {
		f.wrong(name)
		return buf
	}
	for e := range v.Elements() {
		s, ok := e.Symbol()
		if !ok {
			f.wrong(name)
			return buf[:0]
		}
		buf = append(buf, s)
	}
	return buf
}
