package frame

// list writes the fields of a described list in their order. Absent ones at the end are left out.
type list struct {
	b     []byte
	at    int // where the list's constructor is
	n     int // how many fields there are
	nulls int // how many absent ones are behind those
}

func newList(b []byte, d Descriptor) list {
	b = append(b, codeDescribed, codeSmallUlong, byte(d), codeList8, 0, 0)
	return list{b: b, at: len(b) - 3}
}

// next makes room for one more field.
func (l *list) next() []byte {
	for ; l.nulls > 0; l.nulls-- {
		l.b = append(l.b, codeNull)
		l.n++
	}
	l.n++
	return l.b
}

func (l *list) null() { l.nulls++ }

func (l *list) end() []byte { return EndList(l.b, l.at, l.n) }

func (l *list) bool(v, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendBool(l.next(), v)
}

// flag writes a boolean that is false by default.
func (l *list) flag(v bool) { l.bool(v, v) }

func (l *list) ubyte(v uint8, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendUbyte(l.next(), v)
}

func (l *list) ushort(v uint16, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendUshort(l.next(), v)
}

func (l *list) uint(v uint32, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendUint(l.next(), v)
}

func (l *list) optUint(v Opt[uint32]) { l.uint(v.V, v.OK) }

func (l *list) ulong(v uint64, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendUlong(l.next(), v)
}

func (l *list) timestamp(v Opt[int64]) {
	if !v.OK {
		l.null()
		return
	}
	l.b = AppendTimestamp(l.next(), v.V)
}

func (l *list) binary(v []byte) {
	if v == nil {
		l.null()
		return
	}
	l.b = AppendBinary(l.next(), v)
}

func (l *list) text(v string, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendString(l.next(), v)
}

func (l *list) optText(v Opt[string]) { l.text(v.V, v.OK) }

func (l *list) symbol(v Symbol, present bool) {
	if !present {
		l.null()
		return
	}
	l.b = AppendSymbol(l.next(), v)
}

func (l *list) symbols(v []Symbol) {
	if len(v) == 0 {
		l.null()
		return
	}
	l.b = AppendSymbols(l.next(), v)
}

func (l *list) value(v Value) {
	if v.IsNull() {
		l.null()
		return
	}
	l.b = v.Append(l.next())
}

func (l *list) mapping(m Map) {
	if m == nil {
		l.null()
		return
	}
	l.b = append(l.next(), m...)
}
