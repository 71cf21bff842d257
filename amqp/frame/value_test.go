package frame

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
)

// show writes a value for people, all that is in it.
func show(v Value) string {
	var s string
	switch v.Type() {
	case Absent, Null:
	case Boolean:
		x, _ := v.Bool()
		s = fmt.Sprint(x)
	case Ubyte, Ushort, Uint, Ulong:
		x, _ := v.Uint()
		s = fmt.Sprint(x)
	case Byte, Short, Int, Long:
		x, _ := v.Int()
		s = fmt.Sprint(x)
	case Float, Double:
		x, _ := v.Float()
		s = fmt.Sprint(x)
	case Decimal32, Decimal64, Decimal128:
		x, _ := v.Decimal()
		s = fmt.Sprintf("%x", x)
	case Char:
		x, _ := v.Char()
		s = string(x)
	case Timestamp:
		x, _ := v.Timestamp()
		s = fmt.Sprint(x)
	case UUID:
		x, _ := v.UUID()
		s = fmt.Sprintf("%x", x)
	case Binary:
		x, _ := v.Binary()
		s = fmt.Sprintf("%x", x)
	case String:
		s, _ = v.Text()
	case SymbolType:
		x, _ := v.Symbol()
		s = string(x)
	case List, Array:
		var parts []string
		for e := range v.Elements() {
			parts = append(parts, show(e))
		}
		s = strings.Join(parts, " ")
	case MapType:
		var parts []string
		for k, e := range v.Pairs() {
			parts = append(parts, show(k)+"="+show(e))
		}
		s = strings.Join(parts, " ")
	case Described:
		d, e, _ := v.Described()
		s = show(d) + " " + show(e)
	}
	return strings.TrimSuffix(v.Type().String()+"("+s+")", "()")
}

// values has every constructor [AMQP 1.6], at its least, its most and in between.
var values = []struct{ wire, want string }{
	{"40", "null"},
	{"41", "boolean(true)"},
	{"42", "boolean(false)"},
	{"5600", "boolean(false)"},
	{"5601", "boolean(true)"},
	{"50ff", "ubyte(255)"},
	{"60ffff", "ushort(65535)"},
	{"43", "uint(0)"},
	{"52ff", "uint(255)"},
	{"70ffffffff", "uint(4294967295)"},
	{"7000000000", "uint(0)"},
	{"44", "ulong(0)"},
	{"53ff", "ulong(255)"},
	{"80ffffffffffffffff", "ulong(18446744073709551615)"},
	{"5180", "byte(-128)"},
	{"618000", "short(-32768)"},
	{"5480", "int(-128)"},
	{"547f", "int(127)"},
	{"7180000000", "int(-2147483648)"},
	{"55ff", "long(-1)"},
	{"818000000000000000", "long(-9223372036854775808)"},
	{"723fc00000", "float(1.5)"},
	{"827ff0000000000000", "double(+Inf)"},
	{"82c0934a456d5cfaad", "double(-1234.5678)"},
	{"7422500001", "decimal32(22500001)"},
	{"842234000000000001", "decimal64(2234000000000001)"},
	{"9422080000000000000000000000000001", "decimal128(22080000000000000000000000000001)"},
	{"730001f600", "char(😀)"},
	{"730010ffff", "char(\U0010ffff)"},
	{"83ffffffffffffffff", "timestamp(-1)"},
	{"98000102030405060708090a0b0c0d0e0f", "uuid(000102030405060708090a0b0c0d0e0f)"},
	{"a000", "binary"},
	{"a002ff00", "binary(ff00)"},
	{"b000000001ff", "binary(ff)"},
	{"a100", "string"},
	{"a105 'h\u00e4rz'", "string(härz)"},
	{"b100000003 'abc'", "string(abc)"},
	{"a101 00", "string(\x00)"},
	{"a303 'abc'", "symbol(abc)"},
	{"b300000003 'abc'", "symbol(abc)"},
	{"45", "list"},
	{"c00100", "list"},
	{"c00402 41 5201", "list(boolean(true) uint(1))"},
	{"d0000000060000000240 45", "list(null list)"},
	{"c10100", "map"},
	{"c10804 a3016b 41 5201 40", "map(symbol(k)=boolean(true) uint(1)=null)"},
	{"d10000000900000002 a1016b 5501", "map(string(k)=long(1))"},
	{"c10904 a10161 40 a30161 40", "map(string(a)=null symbol(a)=null)"}, // keys of other types are others
	{"e00503 56 010001", "array(boolean(true) boolean(false) boolean(true))"},
	{"e0020041", "array"},
	{"e0020341", "array(boolean(true) boolean(true) boolean(true))"},
	{"f00000000d00000002 71 0000000180000000", "array(int(1) int(-2147483648))"},
	{"e00602 a3 0161 0162", "array(symbol(a) symbol(b))"},
	{"f00000000c 00000001 b1 00000003 'abc'", "array(string(abc))"},
	{"e00a02 e0 0402 50 0102 0200 40", "array(array(ubyte(1) ubyte(2)) array)"},
	{"e00902 c0 0201 41 0301 5209", "array(list(boolean(true)) list(uint(9)))"},
	{"e00602 c1 0100 0100", "array(map map)"},
	{"e00a02 00 a30178 a1 0161 0162", "array(described(symbol(x) string(a)) described(symbol(x) string(b)))"},
	{"00 5377 a10161", "described(ulong(119) string(a))"},
	{"00 a30161 00 5301 40", "described(symbol(a) described(ulong(1) null))"},
	{"00 00 5301 5302 45", "described(described(ulong(1) ulong(2)) list)"},
	{"00 80 0000468c00000004 a10161", "described(ulong(77567109365764) string(a))"},
	{"00 c00201 41 c10100", "described(list(boolean(true)) map)"},
}

// Every type goes round byte for byte, and is read as what it is.
func TestValues(t *testing.T) {
	for _, c := range values {
		wire := unhex(t, c.wire)
		v, rest, err := CutValue(append(bytes.Clone(wire), 0xFF))
		if err != nil || len(rest) != 1 {
			t.Errorf("% x: %v, %d bytes more", wire, err, len(rest))
			continue
		}
		if got := show(v); got != c.want {
			t.Errorf("% x: got %s, want %s", wire, got, c.want)
		}
		if got := v.Append([]byte("b")); string(got) != "b"+string(wire) {
			t.Errorf("% x was written as % x", wire, got[1:])
		}
		if !bytes.Equal(v.Raw(), wire) {
			t.Errorf("% x: raw % x", wire, v.Raw())
		}
		for i := range wire {
			if _, _, err := CutValue(wire[:i:i]); err == nil {
				t.Errorf("% x of % x is a value", wire[:i], wire)
			}
		}
	}
}

// An element of an array has the array's constructor, and can be taken out of it.
func TestElementsStandAlone(t *testing.T) {
	array := value(t, unhex(t, "e00a02 00 a30178 a1 0161 0162"))
	want := []string{"00 a30178 a1 0161", "00 a30178 a1 0162"}
	i := 0
	for e := range array.Elements() {
		if got, want := e.Raw(), unhex(t, want[i]); !bytes.Equal(got, want) {
			t.Errorf("got % x, want % x", got, want)
		}
		if _, inner, _ := e.Described(); inner.Type() != String || !bytes.Equal(inner.Raw(), unhex(t, want[i][9:])) {
			t.Errorf("got % x of % x", inner.Raw(), e.Raw())
		}
		i++
	}
	if i != 2 || array.Len() != 2 {
		t.Errorf("%d elements, %d said", i, array.Len())
	}
	if inner := value(t, unhex(t, "00 5377 a10161")); true {
		_, v, ok := inner.Described()
		if !ok || !bytes.Equal(v.Raw(), unhex(t, "a10161")) {
			t.Errorf("got % x", v.Raw())
		}
	}
}

// What is written takes the fewest bytes.
func TestAppend(t *testing.T) {
	uuid := [16]byte{1, 15: 2}
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		got  []byte
		want string
	}{
		{AppendNull(nil), "40"},
		{AppendBool(nil, true), "41"},
		{AppendBool(nil, false), "42"},
		{AppendUbyte(nil, 1), "5001"},
		{AppendUshort(nil, 1), "600001"},
		{AppendUint(nil, 0), "43"},
		{AppendUint(nil, 255), "52ff"},
		{AppendUint(nil, 256), "7000000100"},
		{AppendUlong(nil, 0), "44"},
		{AppendUlong(nil, 255), "53ff"},
		{AppendUlong(nil, 256), "800000000000000100"},
		{AppendByte(nil, -1), "51ff"},
		{AppendShort(nil, -1), "61ffff"},
		{AppendInt(nil, -128), "5480"},
		{AppendInt(nil, 128), "7100000080"},
		{AppendLong(nil, 127), "557f"},
		{AppendLong(nil, -129), "81ffffffffffffff7f"},
		{AppendFloat(nil, 1.5), "723fc00000"},
		{AppendDouble(nil, math.Inf(1)), "827ff0000000000000"},
		{AppendChar(nil, '😀'), "730001f600"},
		{AppendTimestamp(nil, -1), "83ffffffffffffffff"},
		{AppendUUID(nil, uuid), "9801000000000000000000000000000002"},
		{AppendBinary(nil, []byte{9}), "a00109"},
		{AppendString(nil, "a"), "a10161"},
		{AppendSymbol(nil, Symbol("a")), "a30161"},
		{AppendString(nil, long), "b100000100 '" + long + "'"},
		{AppendSymbols(nil, []Symbol{"a", "bc"}), "e00702 a3 0161 02 'bc'"},
		{AppendSymbols(nil, []Symbol{"a", Symbol(long)}), "f00000010e 00000002 b3 0000000161 00000100 '" + long + "'"},
		{EndList(BeginList(nil), 0, 0), "45"},
		{EndList(AppendNull(BeginList([]byte{9})), 1, 1), "09 c0020140"},
		{EndMap(BeginMap(nil), 0, 0), "c10100"},
		{EndList(AppendString(BeginList(nil), long), 0, 1), "d000000109 00000001 b100000100 '" + long + "'"},
		{AppendData(nil, "a"), "005375 a00161"},
	} {
		want := unhex(t, c.want)
		if !bytes.Equal(c.got, want) {
			t.Errorf("got % x, want % x", c.got, want)
		}
	}
}

func TestMap(t *testing.T) {
	m := Map(unhex(t, "c11006 a3016b 5201 a1016c 5202 5301 a10178")) // symbol, string, ulong
	if m.Len() != 3 {
		t.Errorf("%d pairs", m.Len())
	}
	for name, want := range map[string]string{"k": "uint(1)", "l": "uint(2)", "x": "absent", "": "absent"} {
		if got := show(m.Get(name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if Map(nil).Len() != 0 || Map(nil).Get("k").Type() != Absent {
		t.Error("no map has something")
	}
}

// An accessor of another type says so.
func TestAccessorsKnowTheirType(t *testing.T) {
	all := []string{"40", "41", "5001", "5101", "723fc00000", "7422500001", "7300000061", "830000000000000001",
		"9801000000000000000000000000000002", "a00109", "a10161", "a30161", "45", "c10100", "e0020041", "00 5301 41",
		"00 5301 a10161", "00 5301 a00161", "00 5301 a30161", "00 5301 5201"}
	for _, wire := range all {
		v := value(t, unhex(t, wire))
		var is []Type
		add := func(ok bool, types ...Type) {
			if ok {
				is = append(is, types...)
			}
		}
		_, ok := v.Bool()
		add(ok, Boolean)
		_, ok = v.Uint()
		add(ok, Ubyte)
		_, ok = v.Int()
		add(ok, Byte)
		_, ok = v.Float()
		add(ok, Float)
		_, ok = v.Decimal()
		add(ok, Decimal32)
		_, ok = v.Char()
		add(ok, Char)
		_, ok = v.Timestamp()
		add(ok, Timestamp)
		_, ok = v.UUID()
		add(ok, UUID)
		_, ok = v.Binary()
		add(ok, Binary)
		_, ok = v.Text()
		add(ok, String)
		_, ok = v.Symbol()
		add(ok, SymbolType)
		_, _, ok = v.Described()
		add(ok, Described)
		switch v.Type() {
		case Null, List, MapType, Array:
			if len(is) != 0 {
				t.Errorf("%s is %v", show(v), is)
			}
		default:
			if len(is) != 1 || is[0] != v.Type() {
				t.Errorf("%s is %v", show(v), is)
			}
		}
	}
}

func TestIntern(t *testing.T) {
	buffer := []byte("x-opt-partition-key")
	s := Symbol(borrow(buffer)).Intern()
	buffer[0] = '?'
	if s != "x-opt-partition-key" {
		t.Error("borrows")
	}
}

// A key that comes twice is found among many, too [AMQP 1.6.23].
func TestManyKeys(t *testing.T) {
	for _, n := range []int{15, 16, 17, 18, 1000} {
		b := BeginMap(nil)
		for i := range n {
			b = AppendNull(AppendUint(b, uint32(i)))
		}
		m := EndMap(b, 0, n)
		if v, err := ParseValue(m); err != nil || v.Len() != n {
			t.Errorf("%d keys: %v", n, err)
		}
		for _, twice := range []uint32{0, uint32(n - 1)} {
			b = AppendNull(AppendUint(BeginMap(nil), twice))
			for i := range n {
				b = AppendNull(AppendUint(b, uint32(i)))
			}
			if _, err := ParseValue(EndMap(b, 0, n+1)); err != errDuplicate {
				t.Errorf("%d keys and %d again: %v", n, twice, err)
			}
		}
	}
}
