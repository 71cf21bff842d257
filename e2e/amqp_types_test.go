package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// encodings are values of every type, in every encoding that AMQP has for it [AMQP 1.6].
var encodings = map[string][]string{
	"null":      {"40"},
	"boolean":   {"5601", "5600", "41", "42"},
	"ubyte":     {"5000", "50ff"},
	"ushort":    {"600000", "60ffff"},
	"uint":      {"700000ffff", "52ff", "43"},
	"ulong":     {"80ffffffffffffffff", "53ff", "44"},
	"byte":      {"5180", "517f"},
	"short":     {"618000", "617fff"},
	"int":       {"7180000000", "5480", "547f"},
	"long":      {"818000000000000000", "5580", "557f"},
	"float":     {"723e200000", "72ff800000", "727fc00001"},
	"double":    {"823fc4000000000000", "82fff0000000000000", "827ff8000000000001"},
	"decimal":   {"7422500001", "842238000000000001", "9422080000000000000000000000000001"},
	"char":      {"7300000041", "730001f6a2"},
	"timestamp": {"8300000123456789ab", "83ffffffffffffffff"},
	"uuid":      {"98000102030405060708090a0b0c0d0e0f"},
	"binary":    {"a000", "a003ff0001", "b000000003ff0001"},
	"string":    {"a100", "a105e29a93c3b6", "b100000003e29a93"},
	"symbol":    {"a300", "a303782d79", "b300000003782d79"},
	"list":      {"45", "c00100", "c007035401a1016140", "d0000000080000000254015402", "c00702c00301540142"},
	"map":       {"c10100", "c10a04a1016b5401a1016c40", "d100000008000000025401a100", "c10702a1016bc10100"},
	"array":     {"e0050354010203", "e00602a101610162", "f00000000d0000000271000000010000ffff", "e0020056", "e00a0200a3036d7939540102"},
	"described": {"00a3036d793a5401", "005380a10178", "00800000013700000001a10178", "00a10161a10162", "0053100053115401"},
}

// malformed encodings stand in the table by mistake only: each must be read to its end.
func TestEncodings(t *testing.T) {
	for name, values := range encodings {
		for _, value := range values {
			if _, err := harness.Decode(harness.Encode(harness.Section{Code: harness.ValueSection, Raw: bin(value)})); err != nil {
				t.Errorf("%s %s: %v", name, value, err)
			}
		}
	}
}

func bin(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err) // the table is part of this file
	}
	return b
}

// A specimen is a message that shows one thing.
type specimen struct {
	name    string
	message []byte
}

// specimens are messages with each type as a body, and with every section.
func specimens(cannot ...string) (all []specimen) {
	add := func(name string, sections ...harness.Section) {
		all = append(all, specimen{name, harness.Encode(sections...)})
	}
	known := slices.Sorted(maps.Keys(encodings))
	known = slices.DeleteFunc(known, func(name string) bool { return slices.Contains(cannot, name) })
	body := harness.Section{Code: harness.DataSection, Raw: harness.Binary("body")}
	for _, name := range known {
		for _, value := range encodings[name] {
			add(fmt.Sprint(name, " ", value), harness.Section{Code: harness.ValueSection, Raw: bin(value)})
		}
	}
	add("two data sections", harness.Section{Code: harness.DataSection, Raw: bin("a003010203")}, harness.Section{Code: harness.DataSection, Raw: bin("b00000000104")})
	add("an empty data section", harness.Section{Code: harness.DataSection, Raw: bin("a000")})
	add("a sequence", harness.Section{Code: harness.SequenceSection, Raw: bin("c0080354015402a10161")})
	add("two sequences", harness.Section{Code: harness.SequenceSection, Raw: bin("c003015401")}, harness.Section{Code: harness.SequenceSection, Raw: bin("45")})
	add("a large body", harness.Section{Code: harness.DataSection, Raw: harness.Binary(string(noise(1)[:300_000]))})
	add("a header", harness.Section{Code: harness.HeaderSection, Raw: harness.List(bin("41"), bin("5009"))}, body)
	for i, id := range []string{"80ffffffffffffffff", "5307", "98000102030405060708090a0b0c0d0e0f", "a003ff0001", "a1066e756d626572", "a124" + hex.EncodeToString([]byte("00010203-0405-0607-0809-0a0b0c0d0e0f"))} {
		other := []string{"a1016b", "a0016b", "5308", "44", "98ffeeddccbbaa99887766554433221100", "a100"}[i]
		add("properties "+id, harness.Section{Code: harness.PropertySection, Raw: harness.List(bin(id), harness.Binary("user"), harness.Null, harness.String("subject ⚓"),
			harness.String("answers/to me"), bin(other), harness.Symbol("text/plain; charset=utf-8"), harness.Symbol("gzip"),
			bin("830000018bcfe56800"), bin("830000018bcfe56801"), harness.String("group"), bin("700000ffff"), harness.String("answers"))}, body)
	}
	add("no property", harness.Section{Code: harness.PropertySection, Raw: bin("45")}, body)
	var pairs [][]byte
	for _, name := range known {
		if name == "list" || name == "map" || name == "array" || name == "described" { // only simple types [AMQP 3.2.5]
			continue
		}
		for i, value := range encodings[name] {
			pairs = append(pairs, harness.String(fmt.Sprint(name, "-", i)), bin(value))
		}
	}
	add("application properties", harness.Section{Code: harness.ApplicationSection, Raw: harness.Map(pairs...)}, body)
	add("text properties", harness.Section{Code: harness.ApplicationSection, Raw: harness.Map(harness.String("b"), harness.String("größe"), harness.String("a"), harness.String(""), harness.String("amqp.to"), harness.String("forged"))}, body)
	add("annotations", harness.Section{Code: harness.AnnotationSection, Raw: harness.Map(harness.Symbol("x-opt-mine"), harness.String("v"), harness.Symbol("x-opt-list"), bin("c003015401"), harness.Symbol("x-other"), bin("5407"))}, body)
	add("a footer", body, harness.Section{Code: harness.FooterSection, Raw: harness.Map(harness.Symbol("x-opt-sum"), harness.Binary("\x01\x02"))})
	return all
}

// compare tells the test where a message that came differs from the one that was sent, but for what nodes may change: delivery annotations, what
// they add to the message annotations, and of the header all but durability and priority [AMQP 3.2.1, 3.2.2, 3.2.3]. exact: to the last bit, else
// in values and their types.
func compare(t *testing.T, name string, sent, got []byte, exact bool) {
	t.Helper()
	for _, code := range []byte{harness.PropertySection, harness.ApplicationSection, harness.DataSection, harness.SequenceSection, harness.ValueSection, harness.FooterSection} {
		want, have := sections(t, sent, code), sections(t, got, code)
		same := slices.EqualFunc(want, have, func(a, b harness.Section) bool {
			return bytes.Equal(a.Raw, b.Raw) || !exact && a.Text() == b.Text()
		})
		if !exact && (code == harness.PropertySection || code == harness.ApplicationSection) && len(want)+len(have) > 0 { // libraries write nulls, and order maps
			same = maps.Equal(entries(want), entries(have))
		}
		if !same {
			t.Errorf("%s: section %#x: sent %s, got %s", name, code, show(want), show(have))
		}
	}
	for _, code := range []byte{harness.HeaderSection, harness.AnnotationSection} {
		want, have := entries(sections(t, sent, code)), entries(sections(t, got, code))
		for key, value := range want {
			if have[key] != value && !(code == harness.HeaderSection && key > "1") {
				t.Errorf("%s: section %#x: %s: sent %s, got %s", name, code, key, value, have[key])
			}
		}
		if code == harness.HeaderSection && (want["0"] != have["0"] || want["1"] != have["1"]) {
			t.Errorf("%s: header: sent %v, got %v", name, want, have)
		}
	}
}

func sections(t *testing.T, message []byte, code byte) []harness.Section {
	t.Helper()
	all, err := harness.Decode(message)
	must(t, err)
	return slices.DeleteFunc(all, func(s harness.Section) bool { return s.Code != code })
}

// entries returns the entries of the first section, none if there is none.
func entries(all []harness.Section) map[string]string {
	if len(all) == 0 {
		return nil
	}
	return all[0].Entries()
}

func show(all []harness.Section) string {
	var b strings.Builder
	for _, s := range all {
		text := fmt.Sprintf("%x %s; ", s.Raw, s.Text())
		b.WriteString(text[:min(len(text), 600)])
	}
	return b.String()
}

// AKB-A11, AKB-W5: every type in every encoding, and every section, come out of Kafka as they went in, to the last bit, where bodies are
// native, and where they are raw.
func TestAMQP_EveryType_AKB_A11(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	for name, listener := range map[string]int{"native": byAMQP, "raw": byRaw} {
		t.Run(name, func(t *testing.T) {
			at := topic(t, world.kafka, "types", 1)
			p := meet(t, peerMade("proton"), harness.PeerOptions{URL: q.url(listener)})
			s := attach(t, p, harness.LinkOptions{Address: at, Raw: true})
			r := receiver(t, p, group(at, "g"), 1000)
			for _, one := range specimens() {
				if sent := send(t, s, one.message); !bytes.Equal(sent, one.message) {
					t.Fatalf("%s was changed by the client", one.name)
				}
				d := came(t, r)
				compare(t, one.name, one.message, d.Payload, true)
				settle(t, r, d, harness.Accepted)
			}
		})
	}
}

// beyondGoAMQP are the types that go-amqp cannot hold, or makes others of: symbols become strings, and of a null nothing is left.
var beyondGoAMQP = []string{"array", "char", "decimal", "described", "null", "symbol"}

// misses are what a library spoils: rhea writes a footer before the body, where none may be [AMQP 3.2], and null for a NaN.
var misses = map[string][]string{"rhea": {"a footer", "float 727fc00001", "double 827ff8000000000001"}}

// AKB-A11: what each library makes of every type and section reaches each other library with its values and types.
func TestAMQP_EachToEach_AKB_A11(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	eachPeer(t, func(t *testing.T, from harness.PeerMake) {
		at := topic(t, world.kafka, "each", 1)
		s := sender(t, q.meet(t, from), at)
		var sent []specimen
		for _, one := range specimens(beyondGoAMQP...) {
			if slices.Contains(misses[from.Name], one.name) {
				continue
			}
			sent = append(sent, specimen{one.name, send(t, s, one.message)})
		}
		for _, to := range peers {
			r := receiver(t, q.meet(t, to), group(at, to.Name), len(sent))
			for _, one := range sent {
				d := came(t, r)
				exact := d.Raw && from.Name != "go-amqp"                        // whose maps have no order
				if to.Name != "vertx" || !strings.HasPrefix(one.name, "two ") { // proton-j reads one section of a body
					compare(t, fmt.Sprintf("%s to %s: %s", from.Name, to.Name, one.name), one.message, d.Payload, exact)
				}
				settle(t, r, d, harness.Accepted)
			}
		}
	})
}

// AKB-A11, SPK-W2: with the codecs of the Strimzi bridge, which put the body where others read it, lists, maps, numbers, booleans and sequences
// come out of Kafka as what they were.
func TestAMQP_Codecs_AKB_A11(t *testing.T) {
	t.Parallel()
	q := sharedQuay(t)
	for name, listener := range map[string]int{"default": byDefault, "json": byJSON} {
		t.Run(name, func(t *testing.T) {
			at := topic(t, world.kafka, "codecs", 1)
			p := meet(t, peerMade("proton"), harness.PeerOptions{URL: q.url(listener)})
			s, r := attach(t, p, harness.LinkOptions{Address: at, Raw: true}), receiver(t, p, group(at, "g"), 1000)
			for _, one := range specimens() {
				send(t, s, one.message)
				d := came(t, r)
				compare(t, one.name, one.message, d.Payload, false)
				settle(t, r, d, harness.Accepted)
			}
		})
	}
}

// SPK-A2, SPK-A3: with the codec json each body of the Spark connector, sent by each library, is the document that the connector made of it, but for
// numbers, which are numbers; bytes are in base64, once.
func TestAMQP_Documents_SPK_A2(t *testing.T) {
	t.Parallel()
	q, at := sharedQuay(t), topic(t, world.kafka, "documents", 1)
	records, sent := open(t, world.kafka, at), 0
	eachPeer(t, func(t *testing.T, m harness.PeerMake) {
		s := sender(t, meet(t, m, harness.PeerOptions{URL: q.url(byJSON)}), at)
		for _, body := range []struct {
			kind    string
			code    byte
			value   []byte
			section string
		}{
			{"string", harness.ValueSection, harness.String("größe \"⚓\""), `{"type": "amqpValue", "section": "größe \"⚓\""}`},
			{"list", harness.ValueSection, bin("c007035401a1016141"), `{"type": "amqpValue", "section": [1, "a", true]}`},
			{"map", harness.ValueSection, bin("c10a04a1016b5401a1016c41"), `{"type": "amqpValue", "section": {"k": 1, "l": true}}`},
			{"array", harness.ValueSection, bin("e0050354010203"), `{"type": "amqpValue", "section": [1, 2, 3]}`},
			{"binary", harness.DataSection, bin("a003ff0001"), `{"type": "data", "section": "/wAB"}`},
		} {
			if m.Name == "go-amqp" && slices.Contains(beyondGoAMQP, body.kind) {
				continue
			}
			send(t, s, harness.Encode(
				harness.Section{Code: harness.AnnotationSection, Raw: harness.Map(harness.Symbol("x-opt-bridge.key"), harness.String("lyon"))},
				harness.Section{Code: harness.PropertySection, Raw: harness.List(harness.String("7"), harness.Null, harness.String(at), harness.String("new"),
					harness.String("answers"), harness.String("42"))},
				harness.Section{Code: harness.ApplicationSection, Raw: harness.Map(harness.String("shop"), harness.String("lyon"))},
				harness.Section{Code: body.code, Raw: body.value}))
			sent++
			var got, want any
			must(t, json.Unmarshal([]byte(fmt.Sprintf(`{"properties": {"messageId": "7", "to": %q, "subject": "new", "replyTo": "answers", "correlationId": "42"},
				"applicationProperties": {"shop": "lyon"}, "messageAnnotations": {"x-opt-bridge.key": "lyon"}, "body": %s}`, at, body.section)), &want))
			must(t, json.Unmarshal(records.number(t, sent).Value, &got))
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %v, want %v", body.kind, got, want)
			}
		}
	})
}
