package codec

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// body reads the body into the record's value, and says what it was.
func (r *reader) body(c Codec) {
	m, sections := r.m, r.msg.Body
	switch {
	case c == JSON:
		r.document()
	case len(sections) == 0:
		r.say(headerBody, bodyNone)
	case len(sections) == 1 && sections[0].Kind == frame.CodeData:
		m.Payload = sections[0].Data()
		r.shape.body = wide(sections[0].Value)
		r.say(headerBody, bodyData)
	case sections[0].Kind == frame.CodeData && shortest(sections):
		m.Payload = joined(sections)
		r.sayText(headerBody, func(b []byte) []byte { return appendLengths(append(b, bodyData...), sections) })
	case sections[0].Kind == frame.CodeValue && r.simple(sections[0].Value):
	case c == Default && sections[0].Kind != frame.CodeData && r.json():
	default:
		m.Payload = appendBody(nil, sections)
		r.say(headerBody, bodyEncoded)
	}
}

// wide returns the constructor of a value with a size of four bytes where one is enough, 0 for others.
func wide(v frame.Value) byte {
	if raw := v.Raw(); raw[0]>>4 == 0xb && len(raw)-5 <= 255 {
		return raw[0]
	}
	return 0
}

func shortest(sections []frame.Section) bool {
	for _, s := range sections {
		if wide(s.Value) != 0 {
			return false
		}
	}
	return true
}

// joined returns the content of data sections, one behind the other.
func joined(sections []frame.Section) (data []byte) {
	for _, s := range sections {
		data = append(data, s.Data()...)
	}
	return data
}

func appendLengths(b []byte, sections []frame.Section) []byte {
	sep := byte(' ')
	for _, s := range sections {
		b = strconv.AppendInt(append(b, sep), int64(len(s.Data())), 10)
		sep = ','
	}
	return b
}

func appendBody(b []byte, sections []frame.Section) []byte {
	for _, s := range sections {
		b = s.Value.Append(frame.AppendDescriptor(b, s.Kind))
	}
	return b
}

// simple reads a value that has a text, or bytes, that gives it back.
func (r *reader) simple(v frame.Value) bool {
	m, t := r.m, v.Type()
	switch t {
	case frame.Null:
		m.Record.Tombstone = true
	case frame.Binary:
		m.Payload, _ = v.Binary()
	case frame.String:
		text, _ := v.Text()
		m.Payload = lend(text)
	case frame.SymbolType:
		symbol, _ := v.Symbol()
		m.Payload = lend(string(symbol))
	default:
		from := len(m.Scratch)
		text, ok := appendText(m.Scratch, v)
		m.Scratch = text
		text = text[from:len(text):len(text)]
		from = len(m.Scratch)
		m.Scratch, _ = appendScalar(m.Scratch, t, borrow(text))
		if !r.was(from, v.Raw()) || !ok {
			return false
		}
		m.Payload = text
	}
	if t >= frame.Binary {
		r.shape.body = wide(v)
	}
	if t != frame.Binary && t != frame.Null {
		m.PayloadFormat = linkspan.PayloadUTF8
	}
	r.say(headerBody, t.String())
	return true
}

// json reads a value or sequences as JSON, if they have that form.
func (r *reader) json() bool {
	text, types, ok := appendSections(nil, nil, r.msg.Body)
	if !ok {
		return false
	}
	r.m.Payload, r.m.PayloadFormat = text, linkspan.PayloadUTF8
	form := bodyJSON
	if r.msg.Body[0].Kind == frame.CodeSequence {
		form = bodyJSONSequence
	}
	r.say(headerBody, form)
	r.sayBytes(headerBodyTypes, types)
	return true
}

// appendSections writes a value, or a list of the lists that sequences are, as JSON. There is at least one section.
func appendSections(b, types []byte, sections []frame.Section) (_, _ []byte, ok bool) {
	if sections[0].Kind == frame.CodeValue {
		return appendJSON(b, types, sections[0].Value)
	}
	b, types = append(b, '['), append(types, letters[frame.List])
	for i, s := range sections {
		if i > 0 {
			b = append(b, ',')
		}
		if b, types, ok = appendJSON(b, types, s.Value); !ok {
			return b, types, false
		}
	}
	return append(b, ']'), types, true
}

// body writes the body that the record's value is.
func (w *writer) body(b []byte, c Codec) []byte {
	from, payload := len(b), w.m.Payload
	form, lengths, _ := strings.Cut(borrow(w.said.body), " ")
	ok := false
	switch form {
	case "":
		b, ok = w.foreign(b, c)
	case bodyNone:
		return b
	case bodyData:
		b, ok = w.data(b, payload, lengths)
	case bodyEncoded:
		b, ok = appendEncoded(b, payload)
	case bodyJSON, bodyJSONSequence:
		b, ok = appendFromSections(b, payload, w.said.bodyTypes, form == bodyJSONSequence)
	case bodyDocument:
		b, ok = w.documentBody(b, lengths)
	default:
		b, ok = w.simple(b, form)
	}
	if !ok { // the headers say what the value is not
		b = frame.AppendData(b[:from], payload)
	}
	return b
}

// foreign writes the body of what did not come over AMQP.
func (w *writer) foreign(b []byte, c Codec) ([]byte, bool) {
	m := w.m
	switch {
	case m.Record.Tombstone:
		return frame.AppendNull(frame.AppendDescriptor(b, frame.CodeValue)), true
	case c == Native && m.PayloadFormat == linkspan.PayloadUTF8 && utf8.Valid(m.Payload):
		return frame.AppendString(frame.AppendDescriptor(b, frame.CodeValue), m.Payload), true
	}
	return b, false
}

// data writes one data section, or those of these lengths.
func (w *writer) data(b, data []byte, lengths string) ([]byte, bool) {
	if lengths == "" {
		b = frame.AppendDescriptor(b, frame.CodeData)
		return appendWide(b, w.shape.body, 0xa0, data), true
	}
	for lengths != "" {
		var text string
		text, lengths, _ = strings.Cut(lengths, ",")
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n > uint64(len(data)) {
			return b, false
		}
		b, data = frame.AppendData(b, data[:n]), data[n:]
	}
	return b, len(data) == 0
}

// simple writes the value of the type of that name.
func (w *writer) simple(b []byte, name string) ([]byte, bool) {
	t, ok := typeByName(name)
	payload := w.m.Payload
	b = frame.AppendDescriptor(b, frame.CodeValue)
	switch {
	case !ok:
		return b, false
	case t == frame.Binary:
		return appendWide(b, w.shape.body, 0xa0, payload), true
	case t == frame.String:
		return appendWide(b, w.shape.body, 0xa1, payload), utf8.Valid(payload)
	case t == frame.SymbolType:
		return appendWide(b, w.shape.body, 0xa3, payload), isASCII(borrow(payload))
	}
	return appendScalar(b, t, borrow(payload))
}

// appendEncoded adds the sections of a body that are encoded already.
func appendEncoded(b, sections []byte) ([]byte, bool) {
	var m frame.Message
	if m.Decode(sections) != nil || len(m.Body) == 0 {
		return b, false
	}
	return appendBody(b, m.Body), true
}

// appendFromSections reads what [appendSections] wrote.
func appendFromSections(b, text, types []byte, sequence bool) ([]byte, bool) {
	if !sequence {
		return appendFromJSON(frame.AppendDescriptor(b, frame.CodeValue), text, types)
	}
	all, ok := appendFromJSON(nil, text, types)
	if !ok {
		return b, false
	}
	lists, err := frame.ParseValue(all)
	if err != nil || lists.Type() != frame.List || lists.Len() == 0 {
		return b, false
	}
	for list := range lists.Elements() {
		if list.Type() != frame.List {
			return b, false
		}
		b = list.Append(frame.AppendDescriptor(b, frame.CodeSequence))
	}
	return b, true
}

// encoded writes a message of which the value is the whole, with the annotations of this delivery. ok is false if it is none.
func (w *writer) encoded(b []byte) (_ []byte, ok bool) {
	var m frame.Message
	from, payload := len(b), w.m.Payload
	if m.Decode(payload) != nil || len(m.Body) == 0 && w.said.body == nil {
		return b, false
	}
	if m.Header.Priority.OK {
		w.said.priority = lend(strconv.Itoa(int(m.Header.Priority.V)))
	}
	w.said.durable, w.said.annotations = lend(digit(m.Header.Durable)), m.MessageAnnotations
	if w.said.body == nil {
		w.said.body = lend(bodyMessage)
	}
	b = w.annotations(w.header(b))
	bare := payload
	for len(bare) > 0 {
		kind, err := frame.DescriptorOf(bare)
		if err != nil {
			return b[:from], false
		}
		if kind >= frame.CodeProperties {
			break
		}
		if _, bare, err = frame.CutValue(bare); err != nil {
			return b[:from], false
		}
	}
	return append(b, bare...), true
}
