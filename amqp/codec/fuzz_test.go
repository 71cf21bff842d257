package codec

import (
	"bytes"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// FuzzMessages: whatever a sender sends, a receiver can decode what it gets; the bare message is the same byte for byte, or with JSON the
// same values of the same types.
func FuzzMessages(f *testing.F) {
	for _, message := range messages(f) {
		for c := range codecs() {
			f.Add(byte(c), message)
		}
	}
	f.Add(byte(0), usual())
	f.Fuzz(func(t *testing.T, codec byte, payload []byte) {
		c := Codec(codec % 4)
		var msg frame.Message
		if msg.Decode(payload) != nil {
			return
		}
		var m linkspan.Message
		m.Reset()
		if c.Read(&msg, payload, &m) != nil {
			return
		}
		again := c.Append(nil, m.Clone(), Annotate{Position: true, Count: 1})
		var got frame.Message
		if err := got.Decode(again); err != nil {
			t.Fatalf("%v in %x", err, again)
		}
		want := bare(t, payload)
		if same := bare(t, again); bytes.Equal(same, want) {
			return
		}
		if c == Default || c == JSON || !shortDescriptors(payload) {
			if describeBody(t, again) != describeBody(t, payload) {
				t.Fatalf("%v: got %s, want %s", c, describeBody(t, again), describeBody(t, payload))
			}
			return
		}
		t.Fatalf("%v:\ngot  %x\nwant %x", c, bare(t, again), want)
	})
}

// shortDescriptors reports whether all sections have the descriptors that everybody writes; others become those.
func shortDescriptors(b []byte) bool {
	for len(b) > 0 {
		if b[1] != 0x53 {
			return false
		}
		_, rest, err := frame.CutValue(b)
		if err != nil {
			return false
		}
		b = rest
	}
	return true
}

// FuzzHeaders: whatever another program writes into the headers of a record, a receiver can decode what it gets.
func FuzzHeaders(f *testing.F) {
	for _, header := range []string{headerBody, headerBodyTypes, headerBodyEncoded, headerLayout, headerDurable, headerPriority, headerAnnotations, headerMessageID, headerUserID, headerTo,
		headerSubject, headerReplyTo, headerCorrelationID, headerContentEncoding, headerAbsoluteExpiry, headerCreationTime, headerGroupID, headerGroupSequence, headerReplyToGroupID,
		headerPropertyTypes, headerProperties, headerApplicationProps, headerFooter} {
		f.Add(byte(0), []byte("7"), header, []byte("\xff"), headerBody, []byte("data"), "name", "value")
		f.Add(byte(1), []byte("7"), header, section(frame.CodeValue, []byte{0x40}), headerBody, []byte("int"), "name\xff", "value\xff")
		f.Add(byte(2), []byte(`{"body":{"type":"amqpValue","section":[1]}}`), header, []byte("[i"), headerBody, []byte("document"), "a", "")
		f.Add(byte(3), []byte{0xc1, 1, 0}, header, []byte{0xc1, 1, 0}, headerBody, []byte("data 3,5"), "a", "b")
		f.Add(byte(0), []byte("x"), header, []byte("application=d1 properties=45/3 body=b1"), headerBody, []byte("symbol"), "a", "b")
	}
	f.Fuzz(func(t *testing.T, codec byte, payload []byte, name string, value []byte, name2 string, value2 []byte, key, property string) {
		m := &linkspan.Message{
			Payload: payload, Topic: strings.ToValidUTF8(property, ""), QoS: codec >> 6 % 3, ContentType: strings.ToValidUTF8(key, ""), CorrelationData: value,
			AMQP:           []linkspan.Header{{Key: name, Value: value}, {Key: name2, Value: value2}},
			UserProperties: []linkspan.Property{{Key: key, Value: property}, {Key: property, Value: key}, {Key: hops, Value: "3"}},
		}
		got := Codec(codec%4).Append(nil, m, Annotate{Position: codec&8 != 0})
		var out frame.Message
		if err := out.Decode(got); err != nil {
			t.Fatalf("%v in %x", err, got)
		}
	})
}

// FuzzJSON: what JSON of a value says with its letters is that value again.
func FuzzJSON(f *testing.F) {
	for _, raw := range values(f) {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := frame.ParseValue(raw)
		if err != nil {
			return
		}
		text, types, ok := appendJSON(nil, nil, v)
		if !ok {
			return
		}
		again, ok := appendFromJSON(nil, text, types)
		if !ok {
			t.Fatalf("%s with %s is no value", text, types)
		}
		got, err := frame.ParseValue(again)
		if err != nil || describe(got) != describe(v) {
			t.Fatalf("%v: %s with %s: got %s, want %s", err, text, types, describe(got), describe(v))
		}
	})
}
