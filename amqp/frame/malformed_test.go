package frame

import (
	"bytes"
	"testing"
)

// Values that are none [AMQP 1.6].
func TestMalformedValues(t *testing.T) {
	for _, c := range []struct{ name, wire, section string }{
		{"nothing", "", "1.6"},
		{"unknown format code", "46", "1.2"},
		{"unknown format code of variable width", "a201 00", "1.2"},
		{"boolean 2", "5602", "1.6.2"},
		{"surrogate", "730000d800", "1.6.16"},
		{"above Unicode", "7300110000", "1.6.16"},
		{"char with the top bit", "73ffffffff", "1.6.16"},
		{"string that is not UTF-8", "a102 c328", "1.6.20"},
		{"string with a surrogate", "a103 eda080", "1.6.20"},
		{"string in overlong UTF-8", "a102 c0af", "1.6.20"},
		{"long string that is not UTF-8", "b10000000a '12345678' c328", "1.6.20"},
		{"symbol that is not ASCII", "a302 'ä'", "1.6.21"},
		{"long symbol that is not ASCII", "b30000000a '1234567' 80 '90'", "1.6.21"},
		{"binary that ends early", "a003 0102", "1.6"},
		{"binary of four gigabytes", "b0ffffffff 01", "1.6"},
		{"size that ends early", "b0000000", "1.6"},
		{"list without a count", "c000", "1.6"},
		{"list with half a count", "d000000003000000", "1.6"},
		{"list that ends early", "c00502 41", "1.6"},
		{"list with fewer elements than it counts", "c00202 41", "1.6"},
		{"list with more elements than it counts", "c00301 4141", "1.6"},
		{"list of four billion elements", "d000000005 ffffffff 41", "1.6"},
		{"element that is longer than its list", "c00301 a105 'abcde'", "1.6"},
		{"element of an unknown code", "c00201 01", "1.2"},
		{"map of one", "c10201 41", "1.6.23"},
		{"map of three", "c10403 414241", "1.6.23"},
		{"map with fewer pairs than it counts", "c10304 4140", "1.6"},
		{"map of two billion pairs", "d100000006 fffffffe 4141", "1.6"},
		{"map with more than it counts", "c10402 414040", "1.6"},
		{"map with a key twice", "c10904 a30161 40 a30161 41", "1.6.23"},
		{"map with a key twice, spelt otherwise", "c10c04 a30161 40 b300000001 61 41", "1.6.23"},
		{"map with null twice", "c10504 40414042", "1.6.23"},
		{"map with a described key twice", "c10b04 00530141 40 00530141 41", "1.6.23"},
		{"map with a broken value", "c10302 4146", "1.2"},
		{"array without a constructor", "e00100", "1.6"},
		{"array of an unknown code", "e0020101", "1.2"},
		{"array with fewer elements than it counts", "e0030250 01", "1.6"},
		{"array with more elements than it counts", "e0040150 0102", "1.6"},
		{"array of nulls with bytes", "e0030140 40", "1.6"},
		{"array with a broken element", "e0030156 02", "1.6.2"},
		{"array of four billion nulls", "f000000005 ffffffff 40", "1.6.24"},
		{"arrays of many nulls", "c01502 f0000000050002000040 f0000000050002000140", "1.6.24"},
		{"described nulls", "f0000000080001000100 530140", "1.6.24"},
		{"described by arrays of nulls", "f00000001000001000 00 f0000000050000100040 50", "1.6.24"},
		{"described by nothing", "00", "1.6"},
		{"described without a value", "005301", "1.6"},
		{"described by an unknown code", "0001 40", "1.2"},
		{"described with an unknown code", "00530101", "1.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := CutValue(unhex(t, c.wire))
			wantError(t, err, DecodeError, c.section)
		})
	}
	if _, err := ParseValue(unhex(t, "4141")); err != errLong {
		t.Errorf("two values for one: %v", err)
	}
}

// Nesting is bounded, however it is done.
func TestDepth(t *testing.T) {
	list := func(in []byte) []byte { return EndList(append(BeginList(nil), in...), 0, 1) }
	mapped := func(in []byte) []byte { return EndMap(append(AppendNull(BeginMap(nil)), in...), 0, 1) }
	// An array of arrays: what is in it is an array's data behind its constructor.
	array := func(in []byte) []byte {
		if in[0] != codeArray8 && in[0] != codeArray32 {
			in = []byte{codeArray8, 2, 1, codeNull}
		}
		return endCompound(append([]byte{codeArray8, 0, 0}, in...), 0, 1)
	}
	described := func(in []byte) []byte { return append([]byte{0, codeUlong0}, in...) }
	descriptor := func(in []byte) []byte { return append(append([]byte{0}, in...), codeNull) }
	for name, nest := range map[string]func([]byte) []byte{"list": list, "map": mapped, "array": array,
		"described": described, "descriptor": descriptor} {
		t.Run(name, func(t *testing.T) {
			b := []byte{codeNull}
			if name == "array" {
				b = []byte{codeArray8, 2, 1, codeNull}
			}
			for depth := range 10 * MaxDepth {
				v, err := ParseValue(b)
				switch {
				case depth < MaxDepth-1 && err != nil, depth > MaxDepth && err != errDepth:
					t.Fatalf("%d deep: %v", depth, err)
				case err == nil && !bytes.Equal(v.Append(nil), b):
					t.Fatalf("%d deep: changed", depth)
				}
				if depth > MaxDepth+2 && name != "list" && name != "map" {
					return // the sizes below are for lists and maps
				}
				if len(b) > 60000 {
					return
				}
				b = nest(b)
			}
		})
	}
}

// Frame bodies that no peer may send, though each value in them is well-formed but for the first few.
func TestMalformedPerformatives(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		condition  Symbol
		section    string
	}{
		{"nothing", "", DecodeError, "1.6"},
		{"not described", "45", DecodeError, "1.2"},
		{"not described, longer", "c00100", DecodeError, "1.2"},
		{"unknown symbol", "00 a304 'open' 45", DecodeError, "1.2"},
		{"descriptor of another type", "00 5210 45", DecodeError, "1.2"},
		{"no list", "005318", DecodeError, "1.6"},
		{"map for a list", "005318 c10100", DecodeError, "1.4"},
		{"null for a list", "005318 40", DecodeError, "1.4"},
		{"list that ends early", "005318 c00501", DecodeError, "1.6"},
		{"list without a count", "005318 c000", DecodeError, "1.6"},
		{"list with fewer fields than it counts", "005318 c00101", DecodeError, "1.6"},
		{"bytes behind the fields", "005318 c0020040", DecodeError, "1.6"},
		{"bytes behind the list", "005318 45 00", DecodeError, "1.6"},
		{"too many fields", "005318 c003024040", DecodeError, "1.4"},

		{"open without a container", "005310 45", InvalidField, "1.4"},
		{"open with a null container", "005310 c0020140", InvalidField, "1.4"},
		{"open with a symbol for a container", "005310 c00401 a30163", DecodeError, "1.4"},
		{"open with broken text", "005310 c00401 a101ff", DecodeError, "1.6.20"},
		{"open with text that ends early", "005310 c00401 a10963", DecodeError, "1.6"},
		{"max-frame-size 511", "005310 c00903 a100 40 70000001ff", InvalidField, "1.4"},
		{"max-frame-size of another type", "005310 c00703 a100 40 600fff", DecodeError, "1.4"},
		{"max-frame-size that ends early", "005310 c00703 a100 40 700fff", DecodeError, "1.6"},
		{"channel-max of another type", "005310 c00604 a100 40 40 43", DecodeError, "1.4"},
		{"capability of another type", "005310 c00c08 a100 40 40 40 40 40 40 a10161", DecodeError, "1.4"},
		{"capabilities of another type", "005310 c00e08 a100 40 40 40 40 40 40 e0030150 01", DecodeError, "1.4"},
		{"property with a string for a key", "005310 c0120a a100 40 40 40 40 40 40 40 40 c10502 a10161 40", InvalidField, "1.4"},
		{"list for properties", "005310 c00c0a a100 40 40 40 40 40 40 40 40 45", DecodeError, "1.4"},

		{"begin without a window", "005311 c00403 404343", InvalidField, "1.4"},
		{"remote channel of another type", "005311 c00504 43434343", DecodeError, "1.4"},

		{"attach without a name", "005312 c00403 404342", InvalidField, "1.4"},
		{"attach without a handle", "005312 c00603 a1016c 40 41", InvalidField, "1.4"},
		{"attach without a role", "005312 c00502 a1016c 43", InvalidField, "1.4"},
		{"role that is neither", "005312 c00703 a1016c 43 5602", DecodeError, "1.6.2"},
		{"role of another type", "005312 c00603 a1016c 43 43", DecodeError, "1.4"},
		{"sender without its count", "005312 c00603 a1016c 43 42", InvalidField, "1.4"},
		{"snd-settle-mode 3", "005312 c00804 a1016c 43 41 5003", InvalidField, "1.4"},
		{"rcv-settle-mode 2", "005312 c00905 a1016c 43 41 40 5002", InvalidField, "1.4"},
		{"snd-settle-mode of another type", "005312 c00804 a1016c 43 41 5201", DecodeError, "1.4"},
		{"snd-settle-mode that ends early", "005312 c00704 a1016c 43 41 50", DecodeError, "1.6"},
		{"source that is not described", "005312 c00906 a1016c 43 41 40 40 45", DecodeError, "1.2"},
		{"target for a source", "005312 c00c06 a1016c 43 41 40 40 00532945", DecodeError, "1.2"},
		{"durable 3", "005312 c01106 a1016c 43 41 40 40 005328 c0040240 5203", InvalidField, "1.4"},
		{"unknown expiry policy", "005312 c01306 a1016c 43 41 40 40 005328 c0060340 40 a30178", InvalidField, "1.4"},
		{"default outcome that is none", "005312 c01a06 a1016c 43 41 40 40 005328 c00d0940404040404040 40 00533345", InvalidField, "1.4"},
		{"address that is no string", "005312 c00f06 a1016c 43 41 40 40 005328 c0020141", DecodeError, "1.4"},
		{"unsettled with a string for a tag", "005312 c01008 a1016c 43 41 40 40 40 40 c10402 a100 40", InvalidField, "1.4"},
		{"unsettled with a state that is none", "005312 c01008 a1016c 43 41 40 40 40 40 c10402 a000 45", DecodeError, "1.2"},

		{"flow without a window", "005313 c00101", DecodeError, "1.6"},
		{"flow without next-outgoing-id", "005313 c00302 4043", InvalidField, "1.4"},
		{"drain of another type", "005313 c00a09 40 43 43 43 40 40 40 40 43", DecodeError, "1.4"},

		{"transfer without a handle", "005314 45", InvalidField, "1.4"},
		{"tag of 33 bytes", "005314 c02603 43 40 a021 '123456789012345678901234567890123'", InvalidField, "1.4"},
		{"tag of another type", "005314 c00403 43 40 43", DecodeError, "1.4"},
		{"unknown state", "005314 c00c08 43 40 40 40 40 40 40 00531045", DecodeError, "1.4"},
		{"received without an offset", "005314 c00f08 43 40 40 40 40 40 40 005323 c0020143", InvalidField, "1.4"},
		{"ulong that ends early", "005314 c01108 43 40 40 40 40 40 40 005323 c0040243 8000", DecodeError, "1.6"},
		{"rcv-settle-mode 2 of a transfer", "005314 c00907 43 40 40 40 40 40 5002", InvalidField, "1.4"},

		{"disposition without a role", "005315 c0030240 43", InvalidField, "1.4"},
		{"disposition without a first", "005315 c00201 41", InvalidField, "1.4"},
		{"accepted with a field", "005315 c00c05 41 43 40 40 005324 c0020141", DecodeError, "1.4"},
		{"rejected with no error", "005315 c00c05 41 43 40 40 005325 c0020141", DecodeError, "1.4"},
		{"error without a condition", "005315 c00f05 41 43 40 40 005325 c00501 00531d45", InvalidField, "1.4"},
		{"error with an empty condition", "005318 c00901 00531d c00301a300", InvalidField, "1.4"},
		{"error with a null condition", "005318 c00501 00531d45", InvalidField, "1.4"},
		{"detach without a handle", "005316 45", InvalidField, "1.4"},

		{"no mechanisms", "005340 45", InvalidField, "1.4"},
		{"empty array of mechanisms", "005340 c00501 e00200a3", InvalidField, "1.4"},
		{"init without a mechanism", "005341 45", InvalidField, "1.4"},
		{"challenge without one", "005342 45", InvalidField, "1.4"},
		{"response without one", "005343 c0020140", InvalidField, "1.4"},
		{"outcome without a code", "005344 45", InvalidField, "1.4"},
		{"outcome 5", "005344 c00301 5005", InvalidField, "1.4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := unhex(t, c.wire)
			d, err := DescriptorOf(body)
			if err == nil {
				err = newPerformative(d).Decode(body)
			}
			wantError(t, err, c.condition, c.section)
		})
	}
	if err := new(Open).Decode(unhex(t, "00531845")); err != errDescriptor {
		t.Errorf("a close for an open: %v", err)
	}
}

// Messages that nobody may send [AMQP 3.2].
func TestMalformedMessages(t *testing.T) {
	for _, c := range []struct{ name, wire, section string }{
		{"not a section", "a000", "1.2"},
		{"unknown section", "005310 45", "3.2"},
		{"header behind annotations", "005372 c10100 005370 45", "3.2"},
		{"header twice", "005370 45 005370 45", "3.2"},
		{"properties behind the body", "005375 a000 005373 45", "3.2"},
		{"two values", "005377 40 005377 40", "3.2"},
		{"data and a value", "005375 a000 005377 40", "3.2"},
		{"data behind a sequence", "005376 45 005375 a000", "3.2"},
		{"body behind the footer", "005378 c10100 005375 a000", "3.2"},
		{"footer twice", "005378 c10100 005378 c10100", "3.2"},
		{"data that is a string", "005375 a100", "3.2"},
		{"sequence that is a map", "005376 c10100", "3.2"},
		{"annotations that are a list", "005372 45", "1.4"},
		{"annotation with a string for a key", "005372 c10402 a100 40", "3.2.10"},
		{"delivery annotation with an int for a key", "005371 c10402 5400 40", "3.2.10"},
		{"footer with a uint for a key", "005378 c10302 43 40", "3.2.10"},
		{"property with a symbol for a key", "005374 c10402 a300 40", "3.2.5"},
		{"property that is a list", "005374 c10402 a100 45", "3.2.5"},
		{"property that is a map", "005374 c10602 a100 c10100", "3.2.5"},
		{"property that is an array", "005374 c10702 a100 e0020040", "3.2.5"},
		{"property that is described", "005374 c10702 a100 00530140", "3.2.5"},
		{"message-id of another type", "005373 c00201 43", "1.4"},
		{"correlation-id of another type", "005373 c00906 40 40 40 40 40 a30161", "1.4"},
		{"creation-time of another type", "005373 c00b0a 40 40 40 40 40 40 40 40 40 44", "1.4"},
		{"creation-time that ends early", "005373 c00c0a 40 40 40 40 40 40 40 40 40 8300", "1.6"},
		{"header with too much", "005370 c0070640404040 4040", "1.4"},
		{"priority of another type", "005370 c0030240 43", "1.4"},
		{"body that ends early", "005375 a005 'abc'", "1.6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, new(Message).Decode(unhex(t, c.wire)), DecodeError, c.section)
		})
	}
}
