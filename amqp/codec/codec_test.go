package codec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/route"
)

func codecs() []Codec { return []Codec{Native, Default, JSON, Raw} }

// kafka is the way of a message through Kafka and back, headers and all.
func kafka(t testing.TB, m *linkspan.Message) *linkspan.Message {
	t.Helper()
	table, err := route.New([]route.Config{{From: "amqp:#", To: "kafka:k"}, {From: "mqtt:#", To: "kafka:k", Key: new("")}}, route.Options{
		Endpoints: []route.Endpoint{{Name: "apps", Protocol: "amqp"}, {Name: "devices", Protocol: "mqtt"}}, CacheSize: 2,
	})
	if err != nil {
		t.Fatal(err)
	}
	if m.Endpoint == "" {
		m.Endpoint = "apps"
	}
	if ok, err := table.Up(m); !ok || err != nil {
		t.Fatal(ok, err)
	}
	sent := m.Clone()
	fetched := &linkspan.Message{Payload: sent.Payload, Record: sent.Record}
	if fetched.Record.Tombstone {
		fetched.Payload = nil
	}
	fetched.Record.Partition, fetched.Record.Offset = 3, 42
	if left := table.Restore(fetched); left != 0 {
		t.Errorf("%d headers say nothing: %v", left, headers(sent))
	}
	return fetched
}

func headers(m *linkspan.Message) (list []string) {
	for _, h := range m.Record.Headers {
		list = append(list, fmt.Sprintf("%s=%q", h.Key, h.Value))
	}
	return list
}

// through returns what a receiver gets of a message.
func through(t testing.TB, c Codec, payload []byte) []byte {
	t.Helper()
	return c.Append(nil, kafka(t, read(t, c, payload)), Annotate{Position: true})
}

// bare returns the bare message [AMQP 3.2] and the footer: what no node changes.
func bare(t testing.TB, payload []byte) []byte {
	t.Helper()
	for len(payload) > 0 {
		kind, err := frame.DescriptorOf(payload)
		if err != nil {
			t.Fatal(err)
		}
		if kind >= frame.CodeProperties {
			break
		}
		if _, payload, err = frame.CutValue(payload); err != nil {
			t.Fatal(err)
		}
	}
	return payload
}

// describe writes types and values, whatever the constructors.
func describe(v frame.Value) string {
	var b strings.Builder
	b.WriteString(v.Type().String() + "(")
	switch v.Type() {
	case frame.List, frame.Array:
		for e := range v.Elements() {
			b.WriteString(describe(e) + ",")
		}
	case frame.MapType:
		for key, value := range v.Pairs() {
			b.WriteString(describe(key) + ":" + describe(value) + ",")
		}
	case frame.Described:
		descriptor, value, _ := v.Described()
		b.WriteString(describe(descriptor) + " " + describe(value))
	default:
		text, _ := appendText(nil, v)
		b.Write(text)
	}
	return b.String() + ")"
}

func describeBody(t testing.TB, payload []byte) string {
	t.Helper()
	var m frame.Message
	if err := m.Decode(payload); err != nil {
		t.Fatalf("%v in %x", err, payload)
	}
	var b strings.Builder
	for _, s := range m.Body {
		fmt.Fprintf(&b, "%x %s;", s.Kind, describe(s.Value))
	}
	return b.String()
}

// values are encoded values: each constructor [AMQP 1.6] at least once, and what is odd about them.
func values(t testing.TB) map[string][]byte {
	all := map[string]string{
		"null": "40", "true": "41", "false": "42", "boolean true": "5601", "boolean false": "5600",
		"ubyte": "50ff", "ushort": "60ffff", "uint0": "43", "smalluint": "5207", "uint": "70ffffffff", "uint, not the shortest": "7000000007",
		"ulong0": "44", "smallulong": "5307", "ulong": "80ffffffffffffffff", "ulong, not the shortest": "800000000000000007",
		"byte": "5180", "short": "618000", "smallint": "54ff", "int": "7180000000", "int, not the shortest": "7100000001",
		"smalllong": "55ff", "long": "818000000000000000", "long, not the shortest": "810000000000000001",
		"float": "723fc00000", "float infinite": "72ff800000", "float nan": "727fc00000", "float other nan": "727fc00001", "float -0": "7280000000",
		"float least": "7200000001", "double": "82400921fb54442d18", "double infinite": "827ff0000000000000", "double nan": "827ff8000000000001",
		"double large": "827fefffffffffffff", "decimal32": "7422500000", "decimal64": "842234000000000001", "decimal128": "94220800000000000000000000000000ff",
		"char": "7300000041", "char 0": "7300000000", "char of four bytes": "730001f600", "timestamp": "830000018bcfe56800", "timestamp before 1970": "83ffffffffffffffff",
		"uuid": "98f81d4fae7dec11d0a76500a0c91e6bf6", "binary8": "a00200ff", "binary32": "b00000000200ff", "binary empty": "a000",
		"string8": "a10368c3a9", "string32": "b1000000026869", "string empty": "a100", "string with null": "a103610062", "string quoted": "a1065c220a09c3a9",
		"symbol8": "a303732d31", "symbol32": "b300000003732d31", "list0": "45", "list8": "c0050254075405", "list8 empty": "c00100",
		"list32": "d0000000080000000254075405", "map8": "c1050254015402", "map empty": "c10100", "map32": "d1000000080000000254015402",
		"map with text keys": "c10c04a10161a10178a1016255ff", "map with a list for a key": "c103024540",
		"array8 of int": "e004025401ff", "array32 of uint": "f00000000d00000002700000000100000002",
		"array of string": "e00702a10161026263", "array of symbol": "e00702a30161026263", "array of binary": "e00702a001610262ff",
		"array of list": "f00000000a00000002c00201400100", "array of map": "e00801c1050254015402", "array of array": "e00701e00402500102",
		"array of described": "e0080200a30161500102", "array of null": "e0020340", "array empty": "e0020055",
		"described": "00a303666f6f5405", "described by number": "00534645",
	}
	out := map[string][]byte{}
	for name, text := range all {
		raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(name, err)
		}
		out[name] = raw
	}
	for _, b := range [][]byte{{0x51, 1, 2}, {0x55, 1, 2}, {0x60, 0, 1, 0, 2}, {0x61, 0, 1, 0, 2}, {0x53, 1, 2}, {0x52, 1, 2}, {0x41}, {0x72, 0, 0, 0, 1, 0, 0, 0, 2},
		{0x82, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}, {0x83, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2}, {0x73, 0, 0, 0, 65, 0, 0, 0, 66}, {0x45}} {
		out[fmt.Sprintf("array of code %x", b[0])] = append([]byte{0xe0, byte(len(b) + 1), 2}, b...)
	}
	long := strings.Repeat("x", 300)
	out["binary long"], out["string long"], out["symbol long"] = frame.AppendBinary(nil, long), frame.AppendString(nil, long), frame.AppendSymbol(nil, long)
	list := frame.BeginList(nil)
	n := 0
	for _, name := range slices.Sorted(maps.Keys(out)) {
		list = append(list, out[name]...)
		n++
	}
	out["list of all"] = frame.EndList(list, 0, n)
	for name, raw := range out {
		if _, err := frame.ParseValue(raw); err != nil {
			t.Fatalf("%s: %v in %x", name, err, raw)
		}
	}
	return out
}

func section(kind frame.Descriptor, value []byte) []byte {
	return append(frame.AppendDescriptor(nil, kind), value...)
}

// pairs encodes a map of text keys and encoded values.
func pairs(key func([]byte, string) []byte, all ...any) []byte {
	b := frame.BeginMap(nil)
	for i := 0; i < len(all); i += 2 {
		b = append(key(b, all[i].(string)), all[i+1].([]byte)...)
	}
	return frame.EndMap(b, 0, len(all)/2)
}

// messages are bare messages with everything that they can have.
func messages(t testing.TB) map[string][]byte {
	out := map[string][]byte{}
	for name, raw := range values(t) {
		v := value(raw)
		out["value: "+name] = section(frame.CodeValue, raw)
		if v.Type() == frame.List {
			out["sequence: "+name] = append(section(frame.CodeSequence, raw), section(frame.CodeSequence, []byte{0x45})...)
		}
		if v.Type() == frame.Binary {
			out["data: "+name] = section(frame.CodeData, raw)
			out["data twice: "+name] = append(section(frame.CodeData, raw), section(frame.CodeData, raw)...)
		}
		if v.Type() < frame.List {
			m := pairs(frame.AppendString[string], "a", []byte{0xa1, 1, 'x'}, "b", raw, "", []byte{0xa1, 0}, "linkspan.forged", []byte{0x41})
			out["application property: "+name] = append(section(frame.CodeApplicationProperties, m), section(frame.CodeData, []byte{0xa0, 0})...)
		}
		switch v.Type() {
		case frame.Ulong, frame.UUID, frame.Binary, frame.String:
			for i := range 6 {
				fields := bytes.Repeat([]byte{0x40}, i%2*5)
				fields = append(append(fields, raw...), bytes.Repeat([]byte{0x40}, i/2)...)
				list := append(frame.BeginList(nil), fields...)
				out[fmt.Sprintf("identifier: %s %d", name, i)] = section(frame.CodeProperties, frame.EndList(list, 0, 1+i%2*5+i/2))
			}
		}
	}
	for name, id := range map[string]string{"like a uuid": "uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "like a number": "ulong:7", "like bytes": "binary:00",
		"like a string": "string:x", "almost a uuid": "uuid:7", "not UTF-8": "x"} {
		for _, encoded := range [][]byte{frame.AppendString(nil, id), frame.AppendBinary(nil, id), frame.AppendBinary(nil, id+"\xff")} {
			list := append(append(frame.BeginList(nil), encoded...), 0x40, 0x40, 0x40, 0x40)
			out["identifier "+name+fmt.Sprintf(" %x", encoded)] = section(frame.CodeProperties, frame.EndList(append(list, encoded...), 0, 6))
		}
	}
	all := frame.Properties{
		Present: true, MessageID: value(frame.AppendString(nil, "id")), UserID: []byte{0, 0xff}, To: frame.Some("to/x"), Subject: frame.Some("sübject"), ReplyTo: frame.Some("a/b"),
		CorrelationID: value(frame.AppendUlong(nil, 300)), ContentType: frame.Some[frame.Symbol]("text/plain"), ContentEncoding: frame.Some[frame.Symbol]("gzip"),
		AbsoluteExpiryTime: frame.Some[int64](1_700_000_060_500), CreationTime: frame.Some[int64](-5), GroupID: frame.Some("g"), GroupSequence: frame.Some[uint32](0),
		ReplyToGroupID: frame.Some(""),
	}
	out["all properties"] = all.Append(nil)
	all.ReplyTo, all.UserID, all.ContentType, all.To = frame.Some("a/+/#"), []byte{}, frame.Some[frame.Symbol](""), frame.Some("")
	out["empty properties"] = all.Append(nil)
	all.ReplyTo, all.Subject = frame.Some("a\x00"), frame.Some(strings.Repeat("s", 70000))
	out["long properties"] = all.Append(nil)
	out["no body, no properties"] = nil
	out["properties: list0"] = section(frame.CodeProperties, []byte{0x45})
	out["properties: list8 without fields"] = section(frame.CodeProperties, []byte{0xc0, 1, 0})
	out["properties: list32 without fields"] = section(frame.CodeProperties, []byte{0xd0, 0, 0, 0, 4, 0, 0, 0, 0})
	out["properties: only nulls"] = section(frame.CodeProperties, []byte{0xc0, 3, 2, 0x40, 0x40})
	out["properties: list32"] = section(frame.CodeProperties, []byte{0xd0, 0, 0, 0, 10, 0, 0, 0, 4, 0xa1, 1, 'i', 0x40, 0x40, 0x40})
	out["properties: a long text for a short one"] = section(frame.CodeProperties, []byte{0xc0, 7, 1, 0xb1, 0, 0, 0, 1, 'i'})
	out["properties: descriptor as a symbol"] = append(append([]byte{0}, frame.AppendSymbol(nil, "amqp:properties:list")...), 0xc0, 4, 1, 0xa1, 1, 'i')
	out["properties: long descriptor"] = []byte{0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x73, 0xc0, 4, 1, 0xa1, 1, 'i'}
	for name, m := range map[string][]byte{
		"none": {0xc1, 1, 0}, "none, wide": {0xd1, 0, 0, 0, 4, 0, 0, 0, 0}, "wide": {0xd1, 0, 0, 0, 10, 0, 0, 0, 2, 0xa1, 1, 'k', 0xa1, 1, 'v'},
		"wide key":  {0xc1, 10, 2, 0xb1, 0, 0, 0, 1, 'k', 0xa1, 1, 'v'},
		"null key":  pairs(frame.AppendString[string], "k\x00", []byte{0x41}, "b", []byte{0xa1, 1, 'v'}),
		"many":      many(300),
		"some more": many(40),
		"too many":  many(maxUserProperties + 1),
		"long":      pairs(frame.AppendString[string], "k", frame.AppendString(nil, strings.Repeat("v", 70000)), "b", []byte{0x41}),
	} {
		out["application properties: "+name] = append(section(frame.CodeApplicationProperties, m), section(frame.CodeData, []byte{0xa0, 0})...)
	}
	footer := section(frame.CodeFooter, pairs(frame.AppendSymbol[string], "crc", []byte{0x54, 5}))
	out["footer"] = append(section(frame.CodeData, []byte{0xa0, 1, 'x'}), footer...)
	out["several data"] = slices.Concat(section(frame.CodeData, []byte{0xa0, 1, 'x'}), section(frame.CodeData, []byte{0xa0, 0}), section(frame.CodeData, []byte{0xa0, 2, 'y', 'z'}))
	return out
}

func many(n int) []byte {
	b := frame.BeginMap(nil)
	for i := range n {
		b = frame.AppendInt(frame.AppendString(b, fmt.Sprintf("key-%d", i)), int32(i))
	}
	return frame.EndMap(b, 0, n)
}

// TestBareMessagesStayTheSame: whatever a sender sends, the receiver behind Kafka gets the bare message and the footer byte for byte
// (AKB-A11, AKB-W5); with the codecs that write JSON the body has the same values of the same types.
func TestBareMessagesStayTheSame(t *testing.T) {
	for name, message := range messages(t) {
		for _, c := range codecs() {
			got := bare(t, through(t, c, message))
			if bytes.Equal(got, message) {
				continue
			}
			m := read(t, c, message)
			form, _, _ := strings.Cut(string(collect(m.AMQP).body), "-")
			if form != bodyJSON && !strings.HasPrefix(form, bodyDocument) || describeBody(t, got) != describeBody(t, message) {
				t.Errorf("%s, %v:\ngot  %x\nwant %x\nheaders %s", name, c, got, message, headers(kafka(t, m)))
			}
		}
	}
}

// TestHeaderAndAnnotations: durable and priority go along, and so do annotations that mean nothing to us; ttl becomes what is left of
// it. What belongs to one hop does not.
func TestHeaderAndAnnotations(t *testing.T) {
	others := pairs(frame.AppendSymbol[string], "x-opt-jms-msg-type", []byte{0x51, 5}, "x-opt-bridge.key", []byte{0xa1, 1, 'k'}, "x-opt-list", []byte{0x45},
		"x-opt-mqtt-qos", []byte{0x54, 2}, "x-opt-retain-message", []byte{0x41}, "x-opt-bridge.partition", []byte{0x40})
	for _, c := range codecs() {
		for _, h := range []frame.Header{{}, {Durable: true}, {Priority: frame.Some[uint8](0)}, {Durable: true, Priority: frame.Some[uint8](9), FirstAcquirer: true, DeliveryCount: 3}} {
			h.Present = true
			message := slices.Concat(h.Append(nil), section(frame.CodeDeliveryAnnotations, pairs(frame.AppendSymbol[string], "x-opt-hop", []byte{0x41})),
				section(frame.CodeMessageAnnotations, others), section(frame.CodeData, []byte{0xa0, 1, 'x'}))
			m := kafka(t, read(t, c, message))
			if m.QoS != 2 || !m.Retain || string(m.Record.Key) != "k" {
				t.Errorf("%v: QoS %d, retain %v, key %q", c, m.QoS, m.Retain, m.Record.Key)
			}
			var got frame.Message
			if err := got.Decode(c.Append(nil, m, Annotate{Position: true, Count: 2})); err != nil {
				t.Fatal(err)
			}
			want := frame.Header{Present: true, Durable: h.Durable, Priority: h.Priority, DeliveryCount: 2}
			if got.Header != want || got.DeliveryAnnotations != nil {
				t.Errorf("%v: got %+v, want %+v", c, got.Header, want)
			}
			text := describe(got.MessageAnnotations.Value())
			for _, part := range []string{"symbol(x-opt-jms-msg-type):byte(5)", "symbol(x-opt-list):list()", "symbol(x-opt-mqtt-qos):int(2)", "symbol(x-opt-retain-message):boolean(true)",
				"symbol(x-opt-bridge.topic):string(k)", "symbol(x-opt-bridge.partition):int(3)", "symbol(x-opt-bridge.offset):long(42)", "symbol(x-opt-bridge.key):string(k)",
				"symbol(x-opt-offset):string(42)", "symbol(x-opt-sequence-number):long(42)", "symbol(x-opt-enqueued-time):timestamp(1700000000000)", "symbol(x-opt-partition-key):string(k)"} {
				if strings.Count(text, part) != 1 {
					t.Errorf("%v: no %s in %s", c, part, text)
				}
			}
			if got.MessageAnnotations.Len() != 12 {
				t.Errorf("%v: got %s", c, text)
			}
		}
	}
}

// TestNoPosition: what goes to a broker says nothing of where it was in Kafka but its key, which is null or binary where it is no text.
func TestNoPosition(t *testing.T) {
	for _, c := range []struct {
		key      []byte
		position bool
		want     string
	}{
		{nil, false, "absent()"}, {[]byte("k"), false, "map(symbol(x-opt-partition-key):string(k),)"},
		{[]byte{0xff}, false, "map(symbol(x-opt-partition-key):binary(/w==),)"},
		{nil, true, "symbol(x-opt-bridge.key):null()"}, {[]byte{0xff}, true, "symbol(x-opt-bridge.key):binary(/w==)"},
	} {
		var m frame.Message
		if err := m.Decode(Native.Append(nil, &linkspan.Message{Record: linkspan.Record{Key: c.key}}, Annotate{Position: c.position})); err != nil {
			t.Fatal(err)
		}
		if got := describe(m.MessageAnnotations.Value()); got != c.want && !(c.position && strings.Contains(got, c.want)) {
			t.Errorf("%q: got %s, want %s", c.key, got, c.want)
		}
	}
}

// TestWhatSendersAsk: key and partition in the forms of AKB-A2, and of event hubs.
func TestWhatSendersAsk(t *testing.T) {
	for name, c := range map[string]struct {
		annotations []byte
		key         string
		partition   int32
	}{
		"neither":         {pairs(frame.AppendSymbol[string]), "", linkspan.AnyPartition},
		"an int":          {pairs(frame.AppendSymbol[string], annotationPartition, []byte{0x54, 7}), "", 7},
		"a large int":     {pairs(frame.AppendSymbol[string], annotationPartition, frame.AppendInt(nil, 1<<30)), "", 1 << 30},
		"a ulong":         {pairs(frame.AppendSymbol[string], annotationPartition, []byte{0x44}), "", 0},
		"null":            {pairs(frame.AppendSymbol[string], annotationPartition, []byte{0x40}, annotationKey, []byte{0x40}), "", linkspan.AnyPartition},
		"a string":        {pairs(frame.AppendSymbol[string], annotationKey, []byte{0xa1, 1, 'k'}), "k", linkspan.AnyPartition},
		"a symbol":        {pairs(frame.AppendSymbol[string], annotationKey, []byte{0xa3, 1, 'k'}), "k", linkspan.AnyPartition},
		"binary":          {pairs(frame.AppendSymbol[string], annotationPartitionKey, []byte{0xa0, 1, 0xff}), "\xff", linkspan.AnyPartition},
		"both, the first": {pairs(frame.AppendSymbol[string], annotationPartitionKey, []byte{0xa1, 1, 'x'}, annotationKey, []byte{0xa1, 1, 'k'}), "k", linkspan.AnyPartition},
		"key, partition":  {pairs(frame.AppendSymbol[string], annotationKey, []byte{0xa1, 1, 'k'}, annotationPartition, []byte{0x50, 2}), "k", 2},
	} {
		for _, codec := range codecs() {
			m := read(t, codec, append(section(frame.CodeMessageAnnotations, c.annotations), section(frame.CodeData, []byte{0xa0, 0})...))
			if string(m.Record.Key) != c.key || m.Record.Key == nil != (c.key == "") || m.Record.Partition != c.partition {
				t.Errorf("%s, %v: key %q, partition %d", name, codec, m.Record.Key, m.Record.Partition)
			}
		}
	}
}

// TestWrongAnnotationsAreRefused: a value that is none for its annotation is told to the sender as that (AKB-W7).
func TestWrongAnnotationsAreRefused(t *testing.T) {
	for name, wrong := range map[string][][]byte{
		annotationPartition:    {{0xa1, 1, '1'}, {0x54, 0xff}, {0x82, 0, 0, 0, 0, 0, 0, 0, 0}, frame.AppendLong(nil, 1<<31), frame.AppendUlong(nil, 1<<63), {0x45}},
		annotationKey:          {{0x54, 1}, {0x41}, {0x45}},
		annotationPartitionKey: {{0x54, 1}},
		annotationQoS:          {{0x54, 3}, {0x54, 0xff}, {0xa1, 1, '1'}},
		annotationRetain:       {{0x54, 1}, {0xa1, 1, '1'}},
	} {
		for _, value := range wrong {
			for _, c := range codecs() {
				payload := append(section(frame.CodeMessageAnnotations, pairs(frame.AppendSymbol[string], name, value)), section(frame.CodeData, []byte{0xa0, 0})...)
				var msg frame.Message
				if err := msg.Decode(payload); err != nil {
					t.Fatal(err)
				}
				var m linkspan.Message
				m.Reset()
				err := c.Read(&msg, payload, &m)
				var condition *frame.Error
				if !linkspan.IsPermanent(err) || !errors.As(err, &condition) || condition.Condition != frame.InvalidField || !strings.Contains(err.Error(), name) {
					t.Errorf("%s = %x, %v: got %v", name, value, c, err)
				}
			}
		}
	}
}

// TestExpiry: ttl and absolute-expiry-time are when the message is of no more use, the earlier of both.
func TestExpiry(t *testing.T) {
	received := time.UnixMilli(1_700_000_000_000)
	for _, c := range []struct {
		ttl      frame.Opt[uint32]
		absolute frame.Opt[int64]
		want     time.Time
	}{
		{}, {absolute: frame.Some[int64](0)},
		{ttl: frame.Some[uint32](1500), want: received.Add(1500 * time.Millisecond)},
		{absolute: frame.Some(received.UnixMilli() + 7), want: received.Add(7 * time.Millisecond)},
		{frame.Some[uint32](1500), frame.Some(received.UnixMilli() + 7), received.Add(7 * time.Millisecond)},
		{frame.Some[uint32](5), frame.Some(received.UnixMilli() + 7), received.Add(5 * time.Millisecond)},
	} {
		message := (&frame.Header{Present: true, TTL: c.ttl}).Append(nil)
		message = (&frame.Properties{Present: true, AbsoluteExpiryTime: c.absolute}).Append(message)
		m := read(t, Native, frame.AppendData(message, ""))
		if !m.Expires.Equal(c.want) {
			t.Errorf("%+v: expires %v, want %v", c, m.Expires, c.want)
		}
		var out frame.Message
		if err := out.Decode(Native.Append(nil, m, Annotate{})); err != nil {
			t.Fatal(err)
		}
		if out.Header.TTL.OK != !c.want.IsZero() || out.Header.TTL.OK && out.Header.TTL.V != 1 { // it has expired long ago
			t.Errorf("%+v: ttl %+v", c, out.Header.TTL)
		}
	}
	var out frame.Message
	m := &linkspan.Message{Expires: time.Now().Add(time.Hour)}
	if err := out.Decode(Native.Append(nil, m, Annotate{})); err != nil || out.Header.TTL.V == 0 || out.Header.TTL.V > 3_600_000 || out.Properties.AbsoluteExpiryTime.V != m.Expires.UnixMilli() {
		t.Errorf("%v: got %+v", err, out)
	}
}
