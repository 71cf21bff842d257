package linkspan

import (
	"slices"
	"strings"
	"time"
)

// QoS is a quality of service as MQTT means it [MQTT 4.3]: 0 at most once, 1 at least once, 2 exactly once.
type QoS = byte

// A Message is one message on its way between a device and Kafka, in either direction. It has two faces: what the
// device sees, and in Record what Kafka sees. A route computes one from the other.
//
// Strings and slices of a Message may point into a read buffer. They are valid until the call that the message was
// handed to returns; what is kept longer is a [Message.Clone]. Fields that do not follow this rule say so.
type Message struct {
	// Topic is the MQTT topic name or AMQP address; it has no wildcards.
	Topic   string
	Payload []byte
	QoS     QoS
	Retain  bool

	// What MQTT 5 sends along with a message, end to end [MQTT-3.3.2.3].

	PayloadFormat   PayloadFormat
	ContentType     string     // "": absent
	ResponseTopic   string     // "": absent
	CorrelationData []byte     // nil: absent
	UserProperties  []Property // in the order of the sender, names may repeat
	Expires         time.Time  // when the message is of no more use; zero: never

	// AMQP is what only AMQP 1.0 says of the message, as the headers that Kafka has of it: names begin with "amqp.". In the
	// order of the sender. MQTT passes it by.
	AMQP []Header

	// Where it came from.

	Endpoint string    // name of the endpoint, as configured; never borrowed
	Client   string    // client identifier of the device
	Username string    // "": none given
	Received time.Time // when the endpoint read it
	// Mute says that the sender has no ears for a refusal: MQTT 3, QoS 0, a will, a broker. What nobody takes of such is
	// a dead letter.
	Mute bool

	// Tries is how often the holder has handed the message over before, in vain.
	Tries int

	// Record is the message as Kafka sees it.
	Record Record

	// Hops counts how often the message had come up to Kafka before: 0 for what a device publishes.
	Hops uint8

	// Device is the device that the route found the message to be from, or to be for; "" where the route does not tell.
	Device string
	// Left says of a message on the way up that Device has gone from the endpoint.
	Left bool

	// Route is the name of the route that the message took, "" before there was one; never borrowed.
	Route string
	// Target is the name of the one endpoint that the route sends the message down to, "" for all; never borrowed.
	Target string

	// Scratch is space for values that are computed for this message, such as a header's digits: append to it and use
	// the part appended. It lives as long as the message.
	Scratch []byte
}

// PayloadFormat says whether a sender declared its payload to be text [MQTT-3.3.2.3.2].
type PayloadFormat byte

// The payload formats. The wire's value is one less; absent and unspecified mean the same to MQTT, but a bridge passes on
// what was said [MQTT-3.3.2-4].
const (
	PayloadFormatAbsent PayloadFormat = iota
	PayloadBytes
	PayloadUTF8
)

// A Property is one user property [MQTT-3.3.2.3.7].
type Property struct{ Key, Value string }

// A Record is the Kafka face of a message.
type Record struct {
	Topic     string    // never borrowed
	Partition int32     // on the way up: AnyPartition for the partitioner's choice; a source may ask for one, as for a Key
	Offset    int64     // on the way down only
	Timestamp time.Time // zero on the way up: the time of sending
	Key       []byte    // nil: no key
	Headers   []Header
	Tombstone bool // it has no value, which deletes its key from a compacted topic; an empty Payload alone is an empty value
}

// AnyPartition leaves the choice of partition to the partitioner: by key where there is one.
const AnyPartition int32 = -1

// A Header is a Kafka record header. Names may repeat.
type Header struct {
	Key   string // never borrowed: there are few, and they come again
	Value []byte
}

// Header returns the value of the last header of that name, nil where there is none.
func (r *Record) Header(name string) []byte {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return r.Headers[i].Value
		}
	}
	return nil
}

// Reset empties m for the next message. Slices keep their memory.
func (m *Message) Reset() {
	user, amqp, headers, scratch := m.UserProperties[:0], m.AMQP[:0], m.Record.Headers[:0], m.Scratch[:0]
	*m = Message{}
	m.UserProperties, m.AMQP, m.Record.Headers, m.Scratch = user, amqp, headers, scratch
	m.Record.Partition = AnyPartition
}

// Expired reports whether m is of no more use at now [MQTT-3.3.2-5].
func (m *Message) Expired(now time.Time) bool { return !m.Expires.IsZero() && !now.Before(m.Expires) }

// Clone returns a copy of m that borrows nothing and is never written again by its owner, so that many may read it.
func (m *Message) Clone() *Message {
	c := *m
	c.Topic, c.ContentType, c.ResponseTopic = strings.Clone(m.Topic), strings.Clone(m.ContentType), strings.Clone(m.ResponseTopic)
	c.Client, c.Username, c.Device = strings.Clone(m.Client), strings.Clone(m.Username), strings.Clone(m.Device)
	c.Payload, c.CorrelationData, c.Record.Key = slices.Clone(m.Payload), slices.Clone(m.CorrelationData), slices.Clone(m.Record.Key)
	c.UserProperties, c.AMQP, c.Record.Headers, c.Scratch = nil, nil, nil, nil
	for _, p := range m.UserProperties {
		c.UserProperties = append(c.UserProperties, Property{strings.Clone(p.Key), strings.Clone(p.Value)})
	}
	c.AMQP, c.Record.Headers = cloneHeaders(m.AMQP), cloneHeaders(m.Record.Headers)
	return &c
}

func cloneHeaders(headers []Header) (c []Header) {
	for _, h := range headers {
		c = append(c, Header{h.Key, slices.Clone(h.Value)})
	}
	return c
}
