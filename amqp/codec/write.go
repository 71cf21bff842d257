package codec

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A writer turns a message of ours into one of AMQP.
type writer struct {
	m        *linkspan.Message
	said     said
	annotate Annotate
	shape    layout
	digits   [20]byte
}

func (w *writer) decimal(n int64) string { return borrow(strconv.AppendInt(w.digits[:0], n, 10)) }

// message writes the whole message.
func (w *writer) message(b []byte, c Codec) []byte {
	w.shape = parseLayout(borrow(w.said.layout))
	if form := borrow(w.said.body); form == bodyMessage || form == "" && c == Raw {
		if again, ok := w.encoded(b); ok {
			return again
		}
	}
	if w.said.body == nil && c == JSON {
		if again, ok := w.document(b); ok {
			return again
		}
	}
	b = w.annotations(w.header(b))
	if known, ok := w.knownProperties(); ok {
		b = append(b, known...)
	} else {
		b = w.properties(b)
	}
	b = w.application(b)
	b = w.body(b, c)
	return w.footer(b)
}

// durable reports whether the message is.
func (w *writer) durable() bool {
	if text := w.said.durable; text != nil {
		return string(text) == "1"
	}
	return w.m.QoS > 0
}

// header writes what the next node is to know. Without anything to tell there is none.
func (w *writer) header(b []byte) []byte {
	h := frame.Header{Durable: w.durable(), DeliveryCount: w.annotate.Count}
	if text := w.said.priority; text != nil {
		n, err := strconv.ParseUint(borrow(text), 10, 8)
		h.Priority = frame.Opt[uint8]{V: uint8(n), OK: err == nil}
	}
	if !w.m.Expires.IsZero() {
		left := time.Until(w.m.Expires).Milliseconds()
		h.TTL = frame.Some(uint32(min(max(left, 1), math.MaxUint32)))
	}
	h.Present = h != (frame.Header{})
	return h.Append(b)
}

// knownProperties returns the section as the sender encoded it, where that is known.
func (w *writer) knownProperties() (section []byte, ok bool) {
	if w.said.properties == nil {
		return nil, false
	}
	var m frame.Message
	err := m.Decode(w.said.properties)
	return w.said.properties, err == nil && m.Properties.Present && len(m.Properties.Raw) == len(w.said.properties)
}

// properties writes the section, if there is anything in it.
func (w *writer) properties(b []byte) []byte {
	from, m, s := len(b), w.m, &w.said
	b = frame.AppendDescriptor(b, frame.CodeProperties)
	f := fieldWriter{b: b, at: len(b)}
	f.b = begin(f.b, w.shape.properties, codeList8)
	if f.next(s.messageID != nil) {
		f.b = parseIdentifier(f.b, borrow(s.messageID))
	}
	if f.next(s.userID != nil) {
		f.b = frame.AppendBinary(f.b, s.userID)
	}
	to := borrow(s.to)
	if s.to == nil && s.body == nil {
		to = m.Topic
	}
	f.text(to, s.to != nil || to != "")
	f.text(borrow(s.subject), s.subject != nil)
	replyTo := m.ResponseTopic
	if s.replyTo != nil {
		replyTo = borrow(s.replyTo)
	}
	f.text(replyTo, s.replyTo != nil || replyTo != "")
	correlation := s.correlationID
	if correlation == nil {
		correlation = m.CorrelationData
	}
	if f.next(correlation != nil) {
		f.b = parseIdentifier(f.b, borrow(correlation))
	}
	if f.next(m.ContentType != "" && isASCII(m.ContentType)) {
		f.b = frame.AppendSymbol(f.b, m.ContentType)
	}
	if f.next(s.contentEncoding != nil && isASCII(borrow(s.contentEncoding))) {
		f.b = frame.AppendSymbol(f.b, s.contentEncoding)
	}
	if s.body == nil && !m.Expires.IsZero() {
		f.next(true)
		f.b = frame.AppendTimestamp(f.b, m.Expires.UnixMilli())
	} else {
		f.scalar(frame.Timestamp, s.absoluteExpiry)
	}
	f.scalar(frame.Timestamp, s.creationTime)
	f.text(borrow(s.groupID), s.groupID != nil)
	f.scalar(frame.Uint, s.groupSequence)
	f.text(borrow(s.replyToGroupID), s.replyToGroupID != nil)
	if f.n == 0 && w.shape.properties == 0 && w.shape.fields == 0 {
		return b[:from]
	}
	for f.absent = 0; f.n < w.shape.fields; f.n++ {
		f.b = frame.AppendNull(f.b)
	}
	return end(f.b, f.at, f.n, w.shape.properties)
}

// A fieldWriter writes the fields of a list in their order. Absent ones at the end are left out.
type fieldWriter struct {
	b      []byte
	at     int
	n      int // written
	absent int // behind those
}

// next makes room for one more field if it is there.
func (f *fieldWriter) next(there bool) bool {
	if !there {
		f.absent++
		return false
	}
	for ; f.absent > 0; f.absent-- {
		f.b = frame.AppendNull(f.b)
		f.n++
	}
	f.n++
	return true
}

func (f *fieldWriter) text(text string, there bool) {
	if f.next(there && utf8.ValidString(text)) {
		f.b = frame.AppendString(f.b, text)
	}
}

// scalar writes what text says, if that is a value of type t.
func (f *fieldWriter) scalar(t frame.Type, text []byte) {
	if text == nil {
		f.next(false)
		return
	}
	var space [16]byte
	value, ok := appendScalar(space[:0], t, borrow(text))
	if f.next(ok) {
		f.b = append(f.b, value...)
	}
}

// application writes the application properties.
func (w *writer) application(b []byte) []byte {
	from := len(b)
	b = frame.AppendDescriptor(b, frame.CodeApplicationProperties)
	at := len(b)
	if known := w.said.applicationProps; known != nil {
		b = w.known(b, known)
		var m frame.Message
		if m.Decode(b[from:]) == nil && m.ApplicationProperties != nil {
			return b
		}
		b = b[:at]
	}
	if b = w.pairs(b); len(b) == at {
		return b[:from]
	}
	return b
}

// hops is the user property that counts how often a message has come up through a broker: see package route.
const hops = "linkspan-hops"

// known writes properties as the sender encoded them, but for the one that changes on the way.
func (w *writer) known(b []byte, encoded frame.Map) []byte {
	count := ""
	for _, p := range w.m.UserProperties {
		if p.Key == hops {
			count = p.Value
		}
	}
	if count == "" {
		return append(b, encoded...)
	}
	at, n := len(b), 1
	b = frame.BeginMap(b)
	for key, value := range encoded.All() {
		if name, _ := key.Text(); name != hops {
			b = value.Append(key.Append(b))
			n++
		}
	}
	b = frame.AppendString(frame.AppendString(b, hops), count)
	return frame.EndMap(b, at, n)
}

// pairs writes the user properties as a map, if there are any: each name once, as AMQP has it [AMQP 1.6.23].
func (w *writer) pairs(b []byte) []byte {
	from, n, all := len(b), 0, w.m.UserProperties
	b = begin(b, w.shape.application, codeMap8)
	last := lastOnes(all)
	for i := range all {
		p := &all[i]
		if last != nil && last[p.Key] != i || last == nil && again(all[i+1:], p.Key) || !utf8.ValidString(p.Key) {
			continue
		}
		t := frame.String
		if i < len(w.said.propertyTypes) {
			t = typeByLetter(w.said.propertyTypes[i])
		}
		b = frame.AppendString(b, p.Key)
		value := len(b)
		var ok bool
		if b, ok = appendScalar(b, t, p.Value); !ok {
			b = frame.AppendString(b[:value], strings.ToValidUTF8(p.Value, "\ufffd"))
		}
		n++
	}
	if n == 0 && w.shape.application == 0 {
		return b[:from]
	}
	return end(b, from, 2*n, w.shape.application)
}

// few is how many properties are compared one by one.
const few = 16

// lastOnes returns the last index of each name, nil if there are few.
func lastOnes(all []linkspan.Property) map[string]int {
	if len(all) <= few {
		return nil
	}
	last := make(map[string]int, len(all))
	for i := range all {
		last[all[i].Key] = i
	}
	return last
}

func again(rest []linkspan.Property, name string) bool {
	for i := range rest {
		if rest[i].Key == name {
			return true
		}
	}
	return false
}

func (w *writer) footer(b []byte) []byte {
	if w.said.footer == nil {
		return b
	}
	from := len(b)
	b = append(frame.AppendDescriptor(b, frame.CodeFooter), w.said.footer...)
	var m frame.Message
	if m.Decode(b[from:]) != nil || m.Footer == nil {
		return b[:from]
	}
	return b
}
