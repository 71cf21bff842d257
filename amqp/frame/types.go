package frame

import "strconv"

// Type is a type of values [AMQP 1.6]. Several constructors may have the same.
type Type byte

// The types. A zero [Value] is Absent.
const (
	Absent Type = iota
	Null
	Boolean
	Ubyte
	Ushort
	Uint
	Ulong
	Byte
	Short
	Int
	Long
	Float
	Double
	Decimal32
	Decimal64
	Decimal128
	Char
	Timestamp
	UUID
	Binary
	String
	SymbolType
	List
	MapType
	Array
	Described
)

var typeNames = [...]string{"absent", "null", "boolean", "ubyte", "ushort", "uint", "ulong", "byte", "short", "int", "long",
	"float", "double", "decimal32", "decimal64", "decimal128", "char", "timestamp", "uuid", "binary", "string", "symbol", "list",
	"map", "array", "described"}

// String returns the name that the specification prints.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown(" + strconv.Itoa(int(t)) + ")"
}

// The constructors [AMQP 1.6]. The high half of each tells how many bytes follow: see width.
const (
	codeDescribed  = 0x00
	codeNull       = 0x40
	codeTrue       = 0x41
	codeFalse      = 0x42
	codeUint0      = 0x43
	codeUlong0     = 0x44
	codeList0      = 0x45
	codeUbyte      = 0x50
	codeByte       = 0x51
	codeSmallUint  = 0x52
	codeSmallUlong = 0x53
	codeSmallInt   = 0x54
	codeSmallLong  = 0x55
	codeBoolean    = 0x56
	codeUshort     = 0x60
	codeShort      = 0x61
	codeUint       = 0x70
	codeInt        = 0x71
	codeFloat      = 0x72
	codeChar       = 0x73
	codeDecimal32  = 0x74
	codeUlong      = 0x80
	codeLong       = 0x81
	codeDouble     = 0x82
	codeTimestamp  = 0x83
	codeDecimal64  = 0x84
	codeDecimal128 = 0x94
	codeUUID       = 0x98
	codeBinary8    = 0xA0
	codeString8    = 0xA1
	codeSymbol8    = 0xA3
	codeBinary32   = 0xB0
	codeString32   = 0xB1
	codeSymbol32   = 0xB3
	codeList8      = 0xC0
	codeMap8       = 0xC1
	codeList32     = 0xD0
	codeMap32      = 0xD1
	codeArray8     = 0xE0
	codeArray32    = 0xF0
)

// typeOf is the type of each constructor, Absent where there is none.
var typeOf = [256]Type{
	codeDescribed: Described,
	codeNull:      Null,
	codeTrue:      Boolean, codeFalse: Boolean, codeBoolean: Boolean,
	codeUbyte: Ubyte, codeUshort: Ushort,
	codeUint0: Uint, codeSmallUint: Uint, codeUint: Uint,
	codeUlong0: Ulong, codeSmallUlong: Ulong, codeUlong: Ulong,
	codeByte: Byte, codeShort: Short,
	codeSmallInt: Int, codeInt: Int,
	codeSmallLong: Long, codeLong: Long,
	codeFloat: Float, codeDouble: Double,
	codeDecimal32: Decimal32, codeDecimal64: Decimal64, codeDecimal128: Decimal128,
	codeChar: Char, codeTimestamp: Timestamp, codeUUID: UUID,
	codeBinary8: Binary, codeBinary32: Binary,
	codeString8: String, codeString32: String,
	codeSymbol8: SymbolType, codeSymbol32: SymbolType,
	codeList0: List, codeList8: List, codeList32: List,
	codeMap8: MapType, codeMap32: MapType,
	codeArray8: Array, codeArray32: Array,
}
