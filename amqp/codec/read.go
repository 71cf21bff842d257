package codec

import (
	"bytes"
	"strconv"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A reader turns an AMQP message into one of ours.
type reader struct {
	m   *linkspan.Message
	msg *frame.Message

	key, partitionKey []byte // that annotations ask for
	qos               bool   // an annotation says which
	shape             layout
}

// say adds one of our headers.
func (r *reader) say(header, value string) { r.sayBytes(header, lend(value)) }

func (r *reader) sayBytes(header string, value []byte) {
	r.m.AMQP = append(r.m.AMQP, linkspan.Header{Key: header, Value: value})
}

// sayText adds a header of text that write appends to what it is given.
func (r *reader) sayText(header string, write func([]byte) []byte) {
	from := len(r.m.Scratch)
	r.m.Scratch = write(r.m.Scratch)
	r.sayBytes(header, r.m.Scratch[from:len(r.m.Scratch):len(r.m.Scratch)])
}

func (r *reader) sayNumber(header string, n int64) {
	from := len(r.m.Scratch)
	r.m.Scratch = strconv.AppendInt(r.m.Scratch, n, 10)
	r.sayBytes(header, r.m.Scratch[from:len(r.m.Scratch):len(r.m.Scratch)])
}

func (r *reader) sayOptional(header string, text frame.Opt[string]) {
	if text.OK {
		r.say(header, text.V)
	}
}

// header reads what is for the next node, as far as it concerns those behind.
func (r *reader) header() {
	m, h, p := r.m, &r.msg.Header, &r.msg.Properties
	if !r.qos {
		if m.QoS = 0; h.Durable {
			m.QoS = 1 // ENM-A1
		}
	}
	if durable := m.QoS > 0; durable != h.Durable {
		r.say(headerDurable, digit(h.Durable))
	}
	if h.Priority.OK {
		r.sayNumber(headerPriority, int64(h.Priority.V))
	}
	if h.TTL.OK && !m.Received.IsZero() {
		m.Expires = m.Received.Add(time.Duration(h.TTL.V) * time.Millisecond)
	}
	if at := p.AbsoluteExpiryTime; at.OK && at.V > 0 {
		if last := time.UnixMilli(at.V); m.Expires.IsZero() || last.Before(m.Expires) {
			m.Expires = last
		}
	}
}

func digit(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// properties reads the section of that name. If the headers would not give the same back, it goes along as it is.
func (r *reader) properties() {
	p, m := &r.msg.Properties, r.m
	if !p.Present {
		return
	}
	r.identifier(headerMessageID, p.MessageID)
	if p.UserID != nil {
		r.sayBytes(headerUserID, p.UserID)
	}
	r.sayOptional(headerTo, p.To)
	r.sayOptional(headerSubject, p.Subject)
	if topic := p.ReplyTo.V; validTopic(topic) {
		m.ResponseTopic = topic
	} else {
		r.sayOptional(headerReplyTo, p.ReplyTo)
	}
	r.correlation(p.CorrelationID)
	if text := string(p.ContentType.V); validText(text) {
		m.ContentType = text
	}
	if p.ContentEncoding.OK {
		r.say(headerContentEncoding, string(p.ContentEncoding.V))
	}
	if p.AbsoluteExpiryTime.OK {
		r.sayNumber(headerAbsoluteExpiry, p.AbsoluteExpiryTime.V)
	}
	if p.CreationTime.OK {
		r.sayNumber(headerCreationTime, p.CreationTime.V)
	}
	r.sayOptional(headerGroupID, p.GroupID)
	if p.GroupSequence.OK {
		r.sayNumber(headerGroupSequence, int64(p.GroupSequence.V))
	}
	r.sayOptional(headerReplyToGroupID, p.ReplyToGroupID)

	shape, ok := propertiesLayout(p)
	r.shape = shape
	w := writer{m: m, said: collect(m.AMQP), shape: r.shape}
	from := len(m.Scratch)
	m.Scratch = w.properties(m.Scratch)
	if !r.was(from, p.Raw) || !ok {
		r.shape = layout{}
		r.sayBytes(headerProperties, p.Raw)
	}
}

// was takes off the scratch space what was tried there, and reports whether it is what came.
func (r *reader) was(from int, came []byte) bool {
	tried := r.m.Scratch[from:]
	r.m.Scratch = r.m.Scratch[:from]
	return bytes.Equal(tried, came)
}

// identifier keeps a message-id.
func (r *reader) identifier(header string, id frame.Value) {
	if text, ok := id.Text(); ok && !prefixed(text) {
		r.say(header, text)
	} else if !id.IsNull() {
		r.sayText(header, func(b []byte) []byte { return appendIdentifier(b, id) })
	}
}

// correlation keeps a correlation-id where MQTT has it, so that a device that answers with what it got answers with this.
func (r *reader) correlation(id frame.Value) {
	if id.IsNull() {
		return
	}
	m := r.m
	if data, ok := id.Binary(); ok {
		m.CorrelationData = data
	} else if text, ok := id.Text(); ok {
		m.CorrelationData = lend(text)
	} else {
		from := len(m.Scratch)
		m.Scratch = appendIdentifier(m.Scratch, id)
		m.CorrelationData = m.Scratch[from:len(m.Scratch):len(m.Scratch)]
	}
	if len(m.CorrelationData) > maxText {
		m.CorrelationData = nil
	}
	from := len(m.Scratch)
	m.Scratch = parseIdentifier(m.Scratch, borrow(m.CorrelationData))
	if !r.was(from, id.Raw()) {
		r.sayText(headerCorrelationID, func(b []byte) []byte { return appendIdentifier(b, id) })
	}
}

// maxUserProperties is how many application properties become user properties, since each takes more memory than its bytes (P6).
const maxUserProperties = 1000

// application reads the application properties: as user properties, simple values as text, and the letters of their types.
func (r *reader) application() {
	all, m := r.msg.ApplicationProperties, r.m
	if all == nil {
		return
	}
	if all.Len() > maxUserProperties {
		r.sayBytes(headerApplicationProps, all)
		return
	}
	from, whole, strings := len(m.Scratch), true, true
	for _, value := range all.All() {
		m.Scratch = append(m.Scratch, letters[value.Type()])
		strings = strings && value.Type() == frame.String
	}
	if types := m.Scratch[from:len(m.Scratch):len(m.Scratch)]; !strings {
		r.sayBytes(headerPropertyTypes, types)
	}
	for key, value := range all.All() {
		name, _ := key.Text()
		text, is := value.Text()
		if !is {
			from := len(m.Scratch)
			m.Scratch, _ = appendText(m.Scratch, value)
			text = borrow(m.Scratch[from:])
		}
		if whole = whole && validText(name) && validText(text); validText(name) && validText(text) {
			m.UserProperties = append(m.UserProperties, linkspan.Property{Key: name, Value: text})
		}
	}
	r.shape.application = applicationLayout(all)
	w := writer{m: m, said: collect(m.AMQP), shape: r.shape}
	from = len(m.Scratch)
	m.Scratch = w.pairs(m.Scratch)
	if !r.was(from, all) || !whole {
		r.shape.application = 0
		r.sayBytes(headerApplicationProps, all)
	}
}
