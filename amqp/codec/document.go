package codec

import (
	"encoding/base64"
	"encoding/json"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// What the type of a document's body is.
const (
	sectionValue    = "amqpValue"
	sectionData     = "data"
	sectionSequence = "amqpSequence"
)

// document makes the message the document that the Kafka bridge and the Spark connector make of it (SPK-A2).
func (r *reader) document() {
	m, p := r.m, &r.msg.Properties
	b := append(make([]byte, 0, 256), `{"properties":{`...)
	o := object{b: b}
	o.value("messageId", p.MessageID)
	o.text("to", p.To)
	o.text("subject", p.Subject)
	o.text("replyTo", p.ReplyTo)
	o.value("correlationId", p.CorrelationID)
	b = append(o.b, '}')
	b = appendPairs(b, "applicationProperties", r.msg.ApplicationProperties)
	b = appendPairs(b, "messageAnnotations", r.msg.MessageAnnotations)
	if len(r.msg.Body) == 0 {
		r.say(headerBody, bodyNone)
	} else {
		b = r.section(b)
	}
	m.Payload, m.PayloadFormat = append(b, '}'), linkspan.PayloadUTF8
}

// section writes the body of the document, and says what it does not.
func (r *reader) section(b []byte) []byte {
	body := r.msg.Body
	if body[0].Kind == frame.CodeData {
		if len(body) == 1 && wide(body[0].Value) == 0 {
			r.say(headerBody, bodyDocument)
		} else {
			r.sayText(headerBody, func(b []byte) []byte { return appendLengths(append(b, bodyDocument...), body) })
		}
		b = append(b, `,"body":{"type":"`+sectionData+`","section":"`...)
		return append(base64.StdEncoding.AppendEncode(b, joined(body)), `"}`...)
	}
	r.say(headerBody, bodyDocument)
	kind := sectionValue
	if body[0].Kind == frame.CodeSequence {
		kind = sectionSequence
	}
	b = append(b, `,"body":{"type":"`+kind+`","section":`...)
	from := len(b)
	b, types, ok := appendSections(b, nil, body)
	if !ok {
		r.sayBytes(headerBodyEncoded, appendBody(nil, body))
		return append(b[:from], "null}"...)
	}
	r.sayBytes(headerBodyTypes, types)
	return append(b, '}')
}

// An object writes the members of a JSON object, without those that are absent.
type object struct {
	b    []byte
	some bool
}

func (o *object) name(name string) {
	if o.some {
		o.b = append(o.b, ',')
	}
	o.some = true
	o.b = append(appendString(o.b, name), ':')
}

func (o *object) text(name string, text frame.Opt[string]) {
	if text.OK {
		o.name(name)
		o.b = appendString(o.b, text.V)
	}
}

// value writes a simple value as a string.
func (o *object) value(name string, v frame.Value) {
	if !v.IsNull() {
		o.name(name)
		o.b, _ = appendQuoted(o.b, v)
	}
}

// appendPairs writes a map with keys that have a text as a member of the document. A value without a form in JSON is null.
func appendPairs(b []byte, name string, pairs frame.Map) []byte {
	if pairs == nil {
		return b
	}
	b = append(appendString(append(b, ','), name), ":{"...)
	first := true
	for key, value := range pairs.All() {
		if !first {
			b = append(b, ',')
		}
		first = false
		b, _ = appendQuoted(b, key)
		b = append(b, ':')
		from := len(b)
		var ok bool
		if b, _, ok = appendJSON(b, nil, value); !ok {
			b = append(b[:from], "null"...)
		}
	}
	return append(b, '}')
}

// A document is one that is read.
type document struct {
	Properties            map[string]any  `json:"properties"`
	ApplicationProperties json.RawMessage `json:"applicationProperties"`
	MessageAnnotations    json.RawMessage `json:"messageAnnotations"`
	Body                  *struct {
		Type    string          `json:"type"`
		Section json.RawMessage `json:"section"`
	} `json:"body"`
}

// documentBody writes the body of a document that we made. Its other parts are in the headers, as exactly as they were.
func (w *writer) documentBody(b []byte, lengths string) ([]byte, bool) {
	if w.said.bodyEncoded != nil {
		return appendEncoded(b, w.said.bodyEncoded)
	}
	var d document
	if json.Unmarshal(w.m.Payload, &d) != nil || d.Body == nil {
		return b, false
	}
	return w.sectionOf(b, &d, w.said.bodyTypes, lengths)
}

// sectionOf writes the body of a document.
func (w *writer) sectionOf(b []byte, d *document, types []byte, lengths string) ([]byte, bool) {
	switch d.Body.Type {
	case sectionData:
		var data []byte
		if json.Unmarshal(d.Body.Section, &data) != nil {
			return b, false
		}
		return w.data(b, data, lengths)
	case sectionValue, sectionSequence:
		return appendFromSections(b, d.Body.Section, types, d.Body.Type == sectionSequence)
	}
	return b, false
}

// document writes the message that a document of another program is (AKB-A11). ok is false if the value is none.
func (w *writer) document(b []byte) (_ []byte, ok bool) {
	var d document
	if json.Unmarshal(w.m.Payload, &d) != nil || d.Body == nil {
		return b, false
	}
	body, ok := w.sectionOf(nil, &d, nil, "")
	if !ok {
		return b, false
	}
	if given, ok := appendFromJSON(nil, d.MessageAnnotations, nil); ok {
		w.said.annotations = symbols(given)
	}
	for _, p := range [...][2]string{{"messageId", headerMessageID}, {"to", headerTo}, {"subject", headerSubject}, {"replyTo", headerReplyTo},
		{"correlationId", headerCorrelationID}} {
		if text, ok := d.Properties[p[0]].(string); ok {
			*w.said.at(p[1]) = lend(text)
		}
	}
	b = w.properties(w.annotations(w.header(b)))
	if given, ok := appendFromJSON(nil, d.ApplicationProperties, nil); ok {
		w.said.applicationProps = given
	}
	b = w.application(b)
	return append(b, body...), true
}

// symbols returns a map with the same values and symbols for keys.
func symbols(encoded []byte) []byte {
	b, n := frame.BeginMap(nil), 0
	for key, value := range frame.Map(encoded).All() {
		if text, ok := key.Text(); ok && isASCII(text) {
			b = value.Append(frame.AppendSymbol(b, text))
			n++
		}
	}
	return frame.EndMap(b, 0, n)
}
