package route

import (
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
)

// Header names that begin with these are ours. What a device sends under such a name is written behind userPrefix, so
// that nobody but Linkspan writes them.
const (
	mqttPrefix   = "mqtt."
	amqpPrefix   = "amqp."
	originPrefix = "linkspan."
	userPrefix   = "mqtt.user."
)

// Headers of the loop guard. They are written whatever the route says.
const (
	headerOrigin = "linkspan.origin" // name of the endpoint where the message came in
	headerHops   = "linkspan.hops"   // how often it had come up before; absent: never
)

// Headers of the facts: the table of docs/mapping.md.
const (
	headerTopic           = "mqtt.topic"
	headerClient          = "mqtt.client"
	headerUsername        = "mqtt.username"
	headerQoS             = "mqtt.qos"
	headerRetain          = "mqtt.retain"
	headerReceived        = "mqtt.received"
	headerPayloadFormat   = "mqtt.payload-format"
	headerContentType     = "mqtt.content-type"
	headerResponseTopic   = "mqtt.response-topic"
	headerCorrelationData = "mqtt.correlation-data"
	headerExpiry          = "mqtt.expiry"
)

func reserved(header string) bool {
	return strings.HasPrefix(header, mqttPrefix) || strings.HasPrefix(header, amqpPrefix) || strings.HasPrefix(header, originPrefix)
}

// facts is a set of the facts that a route writes into headers.
type facts uint16

const (
	factTopic facts = 1 << iota
	factClient
	factUsername
	factQoS
	factRetain
	factReceived
	factPayloadFormat
	factContentType
	factResponseTopic
	factCorrelationData
	factExpiry
	factUser
	factAMQP
	allFacts = 1<<iota - 1
)

func factNames() []string {
	return []string{"topic", "client", "username", "qos", "retain", "received", "payload-format", "content-type",
		"response-topic", "correlation-data", "expiry", "user", "amqp"} // in the order of the constants
}

// newFacts reads the setting `facts`.
func newFacts(names []string) (facts, error) {
	var set facts
	for _, name := range names {
		i := slices.Index(factNames(), name)
		switch {
		case i >= 0:
			set |= 1 << i
		case len(names) > 1 && (name == "all" || name == "none"):
			return 0, fmt.Errorf("%s stands alone", name)
		case name == "all":
			set = allFacts
		case name != "none":
			known := append(factNames(), "all", "none")
			return 0, fmt.Errorf("there is no fact %q%s (%s)", name, meant(name, known), strings.Join(known, ", "))
		}
	}
	if names == nil {
		set = allFacts
	}
	return set, nil
}

// maxMillis is the end of the year 9999, in Unix milliseconds.
const maxMillis = 253402300799999

// writeHeaders fills in m.Record.Headers, whose values it keeps in the message's scratch space.
func (r *route) writeHeaders(m *linkspan.Message, p *plan, v *values) {
	h, s := m.Record.Headers[:0], m.Scratch
	if r.facts&factTopic != 0 {
		h, s = text(h, s, headerTopic, p.topic)
	}
	h, s = text(h, s, headerOrigin, p.endpoint)
	if m.Hops > 0 {
		h, s = number(h, s, headerHops, int64(m.Hops))
	}
	if r.facts&factClient != 0 && m.Client != "" {
		h, s = text(h, s, headerClient, m.Client)
	}
	if r.facts&factUsername != 0 && m.Username != "" {
		h, s = text(h, s, headerUsername, m.Username)
	}
	if r.facts&factReceived != 0 && !m.Received.IsZero() {
		h, s = number(h, s, headerReceived, m.Received.UnixMilli())
	}
	if r.facts&factQoS != 0 {
		h, s = text(h, s, headerQoS, "012"[min(m.QoS, 2):][:1])
	}
	if r.facts&factRetain != 0 && m.Retain {
		h, s = text(h, s, headerRetain, "1")
	}
	h, s = r.properties(h, s, m)
	if r.facts&factAMQP != 0 {
		h = append(h, m.AMQP...)
	}
	for i := range r.headers {
		from := len(s)
		s = r.headers[i].value.append(s, v)
		h = append(h, linkspan.Header{Key: r.headers[i].name, Value: s[from:len(s):len(s)]})
	}
	m.Record.Headers, m.Scratch = h, s
}

// text appends one header and its value.
func text(h []linkspan.Header, s []byte, name, value string) ([]linkspan.Header, []byte) {
	from := len(s)
	s = append(s, value...)
	return append(h, linkspan.Header{Key: name, Value: s[from:len(s):len(s)]}), s
}

// number does the same in decimal.
func number(h []linkspan.Header, s []byte, name string, value int64) ([]linkspan.Header, []byte) {
	from := len(s)
	s = strconv.AppendInt(s, value, 10)
	return append(h, linkspan.Header{Key: name, Value: s[from:len(s):len(s)]}), s
}

// properties appends the headers of the MQTT 5 properties.
func (r *route) properties(h []linkspan.Header, s []byte, m *linkspan.Message) ([]linkspan.Header, []byte) {
	if r.facts&factPayloadFormat != 0 && m.PayloadFormat != linkspan.PayloadFormatAbsent {
		h, s = number(h, s, headerPayloadFormat, int64(m.PayloadFormat-linkspan.PayloadBytes))
	}
	if r.facts&factContentType != 0 && m.ContentType != "" {
		h, s = text(h, s, headerContentType, m.ContentType)
	}
	if r.facts&factResponseTopic != 0 && m.ResponseTopic != "" {
		h, s = text(h, s, headerResponseTopic, m.ResponseTopic)
	}
	if r.facts&factCorrelationData != 0 && m.CorrelationData != nil {
		h = append(h, linkspan.Header{Key: headerCorrelationData, Value: m.CorrelationData})
	}
	if r.facts&factExpiry != 0 && !m.Expires.IsZero() {
		seconds := (max(m.Expires.Sub(m.Received), 0) + time.Second - 1) / time.Second
		h, s = number(h, s, headerExpiry, min(int64(seconds), math.MaxUint32))
	}
	if r.facts&factUser != 0 {
		for _, p := range m.UserProperties {
			h, s = text(h, s, r.userHeader(p.Key), p.Value)
		}
	}
	return h, s
}

// userHeader is the header of a user property of that name. Names that are ours, or that this route writes itself, are
// set apart: a device cannot forge them.
func (r *route) userHeader(name string) string {
	slot := &r.names[maphash.String(r.seed, name)%uint64(len(r.names))]
	if u := slot.Load(); u != nil && u.name == name {
		return u.header
	}
	u := &userName{name: strings.Clone(name)}
	if u.header = u.name; name == "" || reserved(name) || r.writes(name) {
		u.header = userPrefix + name
	}
	if len(name) <= maxCached {
		slot.Store(u)
	}
	return u.header
}

// A userName is the name of a user property with that of its header. Devices send few and the same again, so each route
// remembers some, where a later one displaces an earlier one.
type userName struct{ name, header string }

func (r *route) writes(header string) bool {
	for i := range r.headers {
		if r.headers[i].name == header {
			return true
		}
	}
	return false
}

// A headerReader turns headers back into what they say of a message.
type headerReader struct {
	m       *linkspan.Message
	topic   string // the MQTT topic that the message was published to, "" where that is not known
	qos     bool   // m.QoS was given
	origin  bool
	expiry  int64 // seconds, -1: none
	leftOut uint64
}

// readHeaders fills in from the headers of m.Record everything that they say. Of headers with the same name the last
// counts, but all are user properties. A header that MQTT has no form for is left out and counted.
func readHeaders(m *linkspan.Message, endpoint func([]byte) string) headerReader {
	m.QoS, m.Retain, m.PayloadFormat, m.ContentType, m.ResponseTopic, m.CorrelationData = 0, false, 0, "", "", nil
	m.Endpoint, m.Client, m.Username, m.Hops = "", "", "", 0
	m.Received, m.Expires = m.Record.Timestamp, time.Time{}
	m.UserProperties, m.AMQP = m.UserProperties[:0], m.AMQP[:0]

	r := headerReader{m: m, expiry: -1}
	for i := range m.Record.Headers {
		h := &m.Record.Headers[i]
		ok := true
		switch {
		case strings.HasPrefix(h.Key, userPrefix):
			ok = r.user(h.Key[len(userPrefix):], h.Value)
		case strings.HasPrefix(h.Key, mqttPrefix):
			ok = r.fact(h.Key, h.Value)
		case strings.HasPrefix(h.Key, amqpPrefix):
			m.AMQP = append(m.AMQP, *h)
		case h.Key == headerOrigin:
			m.Endpoint, r.origin = endpoint(h.Value), true
		case h.Key == headerHops:
			m.Hops = uint8(r.number(h.Value, math.MaxUint8-1, &ok))
		case !strings.HasPrefix(h.Key, originPrefix):
			ok = r.user(h.Key, h.Value)
		}
		if !ok {
			r.leftOut++
		}
	}
	if r.origin {
		m.Hops++
	}
	if r.expiry >= 0 && !m.Received.IsZero() {
		m.Expires = m.Received.Add(time.Duration(r.expiry) * time.Second)
	}
	return r
}

// fact reads one header of the table. It returns false for a value that is none. Names that the table does not have
// are left for versions to come.
func (r *headerReader) fact(name string, value []byte) bool {
	m, ok, text := r.m, true, borrow(value)
	switch name {
	case headerTopic:
		if ok = validTopic(text); ok {
			r.topic = text
		}
	case headerClient:
		r.text(&m.Client, text, &ok)
	case headerUsername:
		r.text(&m.Username, text, &ok)
	case headerQoS:
		if n := r.number(value, 2, &ok); ok {
			m.QoS, r.qos = linkspan.QoS(n), true
		}
	case headerRetain:
		if n := r.number(value, 1, &ok); ok {
			m.Retain = n == 1
		}
	case headerReceived:
		if n := r.number(value, maxMillis, &ok); ok {
			m.Received = time.UnixMilli(n)
		}
	case headerPayloadFormat:
		if n := r.number(value, 1, &ok); ok {
			m.PayloadFormat = linkspan.PayloadBytes + linkspan.PayloadFormat(n)
		}
	case headerContentType:
		r.text(&m.ContentType, text, &ok)
	case headerResponseTopic:
		if ok = validTopic(text); ok { // [MQTT-3.3.2-14]
			m.ResponseTopic = text
		}
	case headerCorrelationData:
		if ok = len(value) <= 65535; ok {
			m.CorrelationData = value
			if value == nil {
				m.CorrelationData = []byte{} // Kafka's null is still a header
			}
		}
	case headerExpiry:
		if n := r.number(value, math.MaxUint32, &ok); ok {
			r.expiry = n
		}
	}
	return ok
}

func (r *headerReader) text(to *string, value string, ok *bool) {
	if *ok = validText(value); *ok {
		*to = value
	}
}

// number reads a decimal number from 0 to limit.
func (r *headerReader) number(value []byte, limit int64, ok *bool) int64 {
	n, err := strconv.ParseInt(borrow(value), 10, 64)
	if *ok = err == nil && 0 <= n && n <= limit; !*ok {
		return 0
	}
	return n
}

func (r *headerReader) user(name string, value []byte) bool {
	text := borrow(value)
	if !validText(name) || !validText(text) {
		return false
	}
	r.m.UserProperties = append(r.m.UserProperties, linkspan.Property{Key: name, Value: text})
	return true
}
