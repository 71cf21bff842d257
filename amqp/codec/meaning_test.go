package codec

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

func decode(t testing.TB, payload []byte) (m frame.Message) {
	t.Helper()
	if err := m.Decode(payload); err != nil {
		t.Fatalf("%v in %x", err, payload)
	}
	return m
}

// published is what an MQTT device says, all of it.
func published() *linkspan.Message {
	received := time.Now().Truncate(time.Millisecond)
	return &linkspan.Message{
		Topic: "sensors/t7", Payload: []byte("21.5 °C"), QoS: 2, Retain: true, Endpoint: "devices", Client: "t7", Received: received,
		PayloadFormat: linkspan.PayloadUTF8, ContentType: "text/plain", ResponseTopic: "answers/t7", CorrelationData: []byte("42"), Expires: received.Add(time.Hour),
		UserProperties: []linkspan.Property{{Key: "unit", Value: "K"}, {Key: "room", Value: "7"}, {Key: "unit", Value: "C"}},
	}
}

// TestFromMQTT: what an MQTT device publishes keeps its meaning for an AMQP receiver (ENM-A1).
func TestFromMQTT(t *testing.T) {
	for _, c := range codecs() {
		m := kafka(t, published())
		got := decode(t, c.Append(nil, m, Annotate{Position: true}))
		if h := got.Header; !h.Durable || h.TTL.V > 3_600_000 || h.TTL.V < 1 || h.Priority.OK {
			t.Errorf("%v: header %+v", c, h)
		}
		p := got.Properties
		if p.To.V != "sensors/t7" || p.ReplyTo.V != "answers/t7" || p.ContentType.V != "text/plain" || describe(p.CorrelationID) != "string(42)" ||
			p.AbsoluteExpiryTime.V != m.Expires.UnixMilli() || p.MessageID.Type() != frame.Absent {
			t.Errorf("%v: properties %+v", c, p)
		}
		if text := describe(got.ApplicationProperties.Value()); text != "map(string(room):string(7),string(unit):string(C),)" {
			t.Errorf("%v: the last of one name counts: %s", c, text)
		}
		if text := describe(got.MessageAnnotations.Value()); !strings.Contains(text, "symbol(x-opt-mqtt-qos):int(2)") || !strings.Contains(text, "symbol(x-opt-retain-message):boolean(true)") {
			t.Errorf("%v: annotations %s", c, text)
		}
		want := "75 binary(MjEuNSDCsEM=);"
		if c == Native {
			want = "77 string(21.5 °C);"
		}
		if body := describeBody(t, c.Append(nil, m, Annotate{})); body != want {
			t.Errorf("%v: body %s, want %s", c, body, want)
		}
	}
}

// TestFromElsewhere: a record of another program is its value, whatever the codec, where it is no document or message of that codec.
func TestFromElsewhere(t *testing.T) {
	for _, c := range codecs() {
		for _, r := range []struct {
			m    linkspan.Message
			want string
		}{
			{linkspan.Message{Payload: []byte("{}")}, "75 binary(e30=);"},
			{linkspan.Message{Payload: []byte("\x00Sp")}, "75 binary(AFNw);"},
			{linkspan.Message{}, "75 binary();"},
			{linkspan.Message{Payload: []byte{0xff}, PayloadFormat: linkspan.PayloadUTF8}, "75 binary(/w==);"},
			{linkspan.Message{Record: linkspan.Record{Tombstone: true}}, "77 null();"},
		} {
			if got := describeBody(t, c.Append(nil, &r.m, Annotate{})); got != r.want {
				t.Errorf("%v, %q: got %s, want %s", c, r.m.Payload, got, r.want)
			}
		}
	}
	many := &linkspan.Message{}
	for range 100 {
		many.UserProperties = append(many.UserProperties, linkspan.Property{Key: "n", Value: "1"}, linkspan.Property{Key: "n", Value: "2"})
	}
	if got := decode(t, Native.Append(nil, many, Annotate{})); describe(got.ApplicationProperties.Value()) != "map(string(n):string(2),)" {
		t.Errorf("got %s", describe(got.ApplicationProperties.Value()))
	}
}

// TestToMQTT: what an AMQP client sends keeps its meaning for an MQTT device (ENM-A1): durable is QoS 1 where nothing says more.
func TestToMQTT(t *testing.T) {
	sent := frame.Properties{
		Present: true, To: frame.Some("a/b"), ReplyTo: frame.Some("answers/7"), CorrelationID: value(frame.AppendUUID(nil, [16]byte{1})), ContentType: frame.Some[frame.Symbol]("text/plain"),
	}
	message := sent.Append((&frame.Header{Present: true, Durable: true}).Append(nil))
	message = append(message, section(frame.CodeApplicationProperties, pairs(frame.AppendString[string], "unit", frame.AppendSymbol(nil, "C"), "room", []byte{0x54, 7}))...)
	message = append(message, section(frame.CodeValue, frame.AppendString(nil, "21.5 °C"))...)
	m := kafka(t, read(t, Native, message))
	if m.Topic != "a/b" || m.QoS != 1 || m.Retain || string(m.Payload) != "21.5 °C" || m.PayloadFormat != linkspan.PayloadUTF8 || m.ContentType != "text/plain" || m.ResponseTopic != "answers/7" ||
		string(m.CorrelationData) != "uuid:01000000-0000-0000-0000-000000000000" || !slices.Equal(m.UserProperties, []linkspan.Property{{Key: "unit", Value: "C"}, {Key: "room", Value: "7"}}) {
		t.Errorf("got %+v", m)
	}
	for name, c := range map[string]struct {
		body    []byte
		payload string
	}{
		"double": {frame.AppendDouble(nil, 21.5), "21.5"}, "boolean": {[]byte{0x41}, "true"}, "timestamp": {frame.AppendTimestamp(nil, 5), "5"}, "binary": {frame.AppendBinary(nil, "\xff"), "\xff"},
		"uuid": {frame.AppendUUID(nil, [16]byte{15: 1}), "00000000-0000-0000-0000-000000000001"}, "null": {[]byte{0x40}, ""},
	} {
		if m := kafka(t, read(t, Native, section(frame.CodeValue, c.body))); string(m.Payload) != c.payload || m.QoS != 0 {
			t.Errorf("%s: got %q, QoS %d", name, m.Payload, m.QoS)
		}
	}
}

// TestRequestAndAnswer: an MQTT device that sends its correlation data back answers an AMQP request, whatever the type of its identifier;
// bytes that are text come back as that.
func TestRequestAndAnswer(t *testing.T) {
	for _, id := range [][]byte{frame.AppendUlong(nil, 7), frame.AppendUUID(nil, [16]byte{7}), frame.AppendString(nil, "7"), frame.AppendBinary(nil, "\xff")} {
		request := read(t, Native, frame.AppendData((&frame.Properties{Present: true, CorrelationID: value(id)}).Append(nil), ""))
		answer := kafka(t, &linkspan.Message{Topic: "answers", Endpoint: "devices", CorrelationData: request.CorrelationData})
		got := decode(t, Native.Append(nil, answer, Annotate{}))
		if describe(got.Properties.CorrelationID) != describe(value(id)) {
			t.Errorf("asked %s, answered %s", describe(value(id)), describe(got.Properties.CorrelationID))
		}
	}
}

// TestHopsPassEncodedProperties: the count of the loop guard gets through a broker even beside properties that go along as they were.
func TestHopsPassEncodedProperties(t *testing.T) {
	sent := pairs(frame.AppendString[string], "k\x00", []byte{0x41}, hops, frame.AppendString(nil, "1"))
	m := read(t, Native, append(section(frame.CodeApplicationProperties, sent), section(frame.CodeData, []byte{0xa0, 0})...))
	if !slices.Contains(m.UserProperties, linkspan.Property{Key: hops, Value: "1"}) {
		t.Fatalf("got %v", m.UserProperties)
	}
	if m := read(t, Native, append(section(frame.CodeApplicationProperties, many(maxUserProperties+1)), section(frame.CodeData, []byte{0xa0, 0})...)); len(m.UserProperties) > 0 {
		t.Errorf("%d user properties", len(m.UserProperties))
	}
	m.UserProperties = []linkspan.Property{{Key: hops, Value: "2"}}
	got := decode(t, Native.Append(nil, m, Annotate{}))
	if text := describe(got.ApplicationProperties.Value()); text != "map(string(k\x00):boolean(true),string(linkspan-hops):string(2),)" {
		t.Errorf("got %q", text)
	}
}

// TestDocuments: the bodies of SPK-A3 give the document of the Kafka bridge and the Spark connector (SPK-A2), base64 once.
func TestDocuments(t *testing.T) {
	properties := (&frame.Properties{
		Present: true, MessageID: value(frame.AppendString(nil, "7")), To: frame.Some("orders"), Subject: frame.Some("new"), ReplyTo: frame.Some("answers"), CorrelationID: value(frame.AppendUlong(nil, 42)),
		UserID: []byte("not in it"),
	}).Append(nil)
	list := frame.AppendInt(frame.AppendString(frame.BeginList(nil), "a\"\n"), 5)
	for _, c := range []struct {
		body []byte
		want string
	}{
		{section(frame.CodeValue, frame.AppendString(nil, "hällo")), `{"type":"amqpValue","section":"hällo"}`},
		{section(frame.CodeValue, frame.EndList(list, 0, 2)), `{"type":"amqpValue","section":["a\"\u000a",5]}`},
		{section(frame.CodeValue, pairs(frame.AppendString[string], "x", frame.AppendDouble(nil, 17.5), "y", []byte{0x41})), `{"type":"amqpValue","section":{"x":17.5,"y":true}}`},
		{section(frame.CodeValue, []byte{0xe0, 4, 2, 0x54, 1, 2}), `{"type":"amqpValue","section":[1,2]}`},
		{section(frame.CodeData, frame.AppendBinary(nil, "\x00\xff")), `{"type":"data","section":"AP8="}`},
		{section(frame.CodeSequence, []byte{0x45}), `{"type":"amqpSequence","section":[[]]}`},
	} {
		message := append(section(frame.CodeMessageAnnotations, pairs(frame.AppendSymbol[string], annotationKey, frame.AppendString(nil, "lyon"))), properties...)
		message = append(message, section(frame.CodeApplicationProperties, pairs(frame.AppendString[string], "shop", frame.AppendString(nil, "lyon"), "items", []byte{0x54, 3}))...)
		m := read(t, JSON, append(message, c.body...))
		want := `{"properties":{"messageId":"7","to":"orders","subject":"new","replyTo":"answers","correlationId":"42"},"applicationProperties":{"shop":"lyon","items":3},` +
			`"messageAnnotations":{"x-opt-bridge.key":"lyon"},"body":` + c.want + `}`
		if string(m.Payload) != want {
			t.Errorf("got  %s\nwant %s", m.Payload, want)
		}
	}
}

// TestForeignDocuments: a document that another program wrote is the message that it says (AKB-A11).
func TestForeignDocuments(t *testing.T) {
	for text, want := range map[string]string{
		`{"properties":{"messageId":"7","subject":"s"},"applicationProperties":{"n":3,"s":"x"},"messageAnnotations":{"x-opt-a":1.5},"body":{"type":"amqpValue","section":{"a":[1,null,false,2.5,"x"]}}}`: "77 map(string(a):list(long(1),null(),boolean(false),double(2.5),string(x),),);" +
			" string(7) s map(string(n):long(3),string(s):string(x),) map(symbol(x-opt-a):double(1.5),)",
		`{"body":{"type":"data","section":"AP8="}}`:             "75 binary(AP8=); absent()  absent() absent()",
		`{"body":{"type":"amqpSequence","section":[[1],[]]}}`:   "76 list(long(1),);76 list(); absent()  absent() absent()",
		`{"body":{"type":"amqpSequence","section":[]}}`:         "",
		`{"body":{"type":"amqpValue","section":{"a":1,"a":2}}}`: "",
		`{"body":{"type":"data","section":"!"}}`:                "",
		`{"body":{"type":"other","section":1}}`:                 "",
		`{"body":{"type":"amqpValue"}}`:                         "",
		`{"properties":{}}`:                                     "",
		`{"body":{"type":"amqpValue","section":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`: "",
	} {
		message := JSON.Append(nil, &linkspan.Message{Payload: []byte(text)}, Annotate{})
		m := decode(t, message)
		got := describeBody(t, message) + " " + describe(m.Properties.MessageID) + " " + m.Properties.Subject.V + " " + describe(m.ApplicationProperties.Value()) + " " + describe(m.MessageAnnotations.Value())
		if want == "" {
			want = describeBody(t, frame.AppendData(nil, text)) + " absent()  absent() absent()"
		}
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// TestForeignMessages: with the codec raw the value of any program is the whole message, if it is one.
func TestForeignMessages(t *testing.T) {
	message := usual()
	got := Raw.Append(nil, &linkspan.Message{Payload: message}, Annotate{Position: true})
	if string(bare(t, got)) != string(bare(t, message)) || !decode(t, got).Header.Durable {
		t.Errorf("got %x\nof  %x", got, message)
	}
}

// TestHeadersThatLie: a value that is not what the headers of another program say of it is handed on as it is.
func TestHeadersThatLie(t *testing.T) {
	const document = `{"body":{"type":"amqpValue","section":`
	for _, c := range [][3]string{
		{"unheard-of", "", "x"}, {"int", "", "x"}, {"string", "", "\xff"}, {"symbol", "", "ü"}, {"data 3", "", "x"}, {"data x", "", "x"}, {"data 1", "", "xy"}, {"encoded", "", "x"}, {"message", "", "x"},
		{"uuid", "", "f81d4fae7dec11d0a76500a0c91e6bf6"}, {"char", "", "ab"}, {"decimal32", "", "00"}, {"boolean", "", "yes"}, {"null", "", "x"},
		{"json", "", "[1]"}, {"json", "[", "[1]"}, {"json", "i", "[1]"}, {"json", "[i", "1"}, {"json", "[ii", "[1]"}, {"json", "[i", "[1"}, {"json", "[i", "[1]]"}, {"json", "[?", "[1]"}, {"json", "[i", "[300000000000]"},
		{"json", "{", `{"a":1}`}, {"json", "{s", `{"a":1}`}, {"json", "{si", `{"a":x}`}, {"json", "{ii", `{"a":1}`}, {"json", "{sisi", `{"a":1,"a":2}`}, {"json", "{si", "[1]"}, {"json", "#si", `{"value":1}`},
		{"json", "#si", `{"descriptor":"a","value":"x"}`}, {"json", "@", "[]"}, {"json", "@is", `[1,"x"]`}, {"json", "@i", `["x"]`}, {"json", "@#sini", `[{"descriptor":"a","value":1}]`},
		{"json-sequence", "i", "1"}, {"json-sequence", "[", "[]"}, {"json-sequence", "[i", "[1]"}, {"json-sequence", "x", "["},
		{"document", "i", "{"}, {"document", "i", "{}"}, {"document", "", document + "1}}"}, {"document", "i", document + `"x"}}`}, {"document 3", "", `{"body":{"type":"data","section":"AP8="}}`},
	} {
		m := &linkspan.Message{Payload: []byte(c[2]), AMQP: []linkspan.Header{{Key: headerBody, Value: []byte(c[0])}, {Key: headerBodyTypes, Value: []byte(c[1])}, {Key: "amqp.later", Value: nil}}}
		if got, want := describeBody(t, Native.Append(nil, m, Annotate{})), describeBody(t, frame.AppendData(nil, c[2])); got != want {
			t.Errorf("%q: got %s", c, got)
		}
	}
	m := &linkspan.Message{Payload: []byte("x"), AMQP: []linkspan.Header{{Key: headerBody, Value: []byte(bodyDocument)}, {Key: headerBodyEncoded, Value: []byte("x")}}}
	if got := describeBody(t, JSON.Append(nil, m, Annotate{})); got != "75 binary(eA==);" {
		t.Errorf("got %s", got)
	}
}

// TestNames: the codecs have names, and there are no others.
func TestNames(t *testing.T) {
	for _, c := range codecs() {
		if got, err := ByName(c.String()); got != c || err != nil {
			t.Errorf("%v: %v %v", c, got, err)
		}
	}
	if c, err := ByName(""); c != Native || err != nil {
		t.Error(c, err)
	}
	if _, err := ByName("xml"); err == nil || !strings.Contains(err.Error(), "native, default, json, raw") {
		t.Error(err)
	}
}

// TestMappingDocument: docs/mapping.md has every header, form, letter and annotation, and no other header.
func TestMappingDocument(t *testing.T) {
	data, err := os.ReadFile("../../docs/mapping.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(data), "\n## AMQP\n")
	if !ok {
		t.Fatal("there is no section AMQP")
	}
	want := []string{bodyData, bodyNone, bodyEncoded, bodyJSON, bodyJSONSequence, bodyDocument, bodyMessage, annotationTopic, annotationPartition, annotationOffset, annotationKey,
		annotationStreamOffset, annotationSequenceNumber, annotationEnqueuedTime, annotationPartitionKey, annotationQoS, annotationRetain}
	for _, c := range codecs() {
		want = append(want, c.String())
	}
	for _, word := range want {
		if !strings.Contains(text, "`"+word+"`") {
			t.Errorf("%s is not in the document", word)
		}
	}
	for kind := frame.Null; kind <= frame.Described; kind++ {
		if !strings.Contains(text, "| `"+letters[kind:kind+1]+"` | "+kind.String()) {
			t.Errorf("%v is not in the document", kind)
		}
	}
	var s said
	documented := map[string]bool{}
	for _, word := range strings.Split(text, "`") {
		if strings.HasPrefix(word, "amqp.") && word != "amqp.…" {
			if documented[word] = true; s.at(word) == nil {
				t.Errorf("the document has %s, and the code has not", word)
			}
		}
	}
	if n := 23; len(documented) != n {
		t.Errorf("the document has %d headers, the code %d: %v", len(documented), n, documented)
	}
}

// TestRefusals: what a sink says of a message has a condition of AMQP; an error that has one already keeps it.
func TestRefusals(t *testing.T) {
	own := &frame.Error{Condition: "io.example:own"}
	for err, want := range map[error]frame.Symbol{
		linkspan.ErrNoRoute: frame.NotFound, linkspan.ErrInvalidTopic: frame.InvalidField, linkspan.ErrLoop: frame.PreconditionFailed, linkspan.ErrTooManyTopics: frame.ResourceLimitExceeded,
		linkspan.ErrQuota: frame.ResourceLimitExceeded, linkspan.ErrTooLarge: frame.MessageSizeExceeded, linkspan.ErrNotAuthorized: frame.UnauthorizedAccess,
		linkspan.Permanent(os.ErrInvalid): "other", linkspan.Permanent(own): own.Condition,
	} {
		if got := Refusal(err, "other"); got.Condition != want || got != own && got.Description != err.Error() {
			t.Errorf("%v: got %+v, want %s", err, got, want)
		}
	}
}
