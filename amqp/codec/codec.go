// Package codec turns AMQP messages into [linkspan.Message]s and those into AMQP messages, so that nothing is lost on the way
// through Kafka, and what came over MQTT keeps its meaning. docs/mapping.md has the tables.
package codec

import (
	"fmt"
	"strings"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A Codec is a form that AMQP messages have in Kafka. The zero Codec is Native.
type Codec byte

const (
	// Native has the body as the record's value, and everything else in headers.
	Native Codec = iota
	// Default is Native, but lists, maps and the like are JSON.
	Default
	// JSON has a document of the whole message as the value, and what it does not say exactly in headers.
	JSON
	// Raw has the whole encoded message as the value.
	Raw
)

func names() []string { return []string{"native", "default", "json", "raw"} } // in the order of the constants

// String returns the word of the configuration.
func (c Codec) String() string { return names()[c] }

// ByName returns the codec that the configuration calls name; "" is Native.
func ByName(name string) (Codec, error) {
	for i, known := range names() {
		if name == known {
			return Codec(i), nil
		}
	}
	if name == "" {
		return Native, nil
	}
	return Native, fmt.Errorf("there is no codec %q (%s)", name, strings.Join(names(), ", "))
}

// Read fills in m from msg, which payload was decoded into: its payload, what MQTT knows of it, what only AMQP says, and in
// m.Record the key and the partition that the sender asks for, and whether there is a value at all. m was reset, and has its Topic
// and the time when it was Received, which this leaves alone. It borrows payload.
//
// An error is permanent and has a [*frame.Error] in it, which is for the sender: an annotation says what cannot be.
func (c Codec) Read(msg *frame.Message, payload []byte, m *linkspan.Message) error {
	r := reader{m: m, msg: msg}
	if err := r.annotations(); err != nil {
		return err
	}
	r.header()
	if c == Raw {
		m.Payload = payload
		r.say(headerBody, bodyMessage)
		return nil
	}
	r.body(c)
	r.properties()
	r.application()
	r.layout()
	if msg.Footer != nil {
		r.sayBytes(headerFooter, msg.Footer)
	}
	return nil
}

// Annotate says what a message carries of its way through Kafka.
type Annotate struct {
	// Position adds where the record is, in the words of the Kafka bridge and of event hubs.
	Position bool
	// Count is how often the message was delivered before, in vain.
	Count uint32
}

// Append adds to the end of b the AMQP message that m is: one out of Kafka, of which the headers have been read, or one that came over
// MQTT. What m says of its form in Kafka decides, and only where it says nothing the codec.
func (c Codec) Append(b []byte, m *linkspan.Message, a Annotate) []byte {
	w := writer{m: m, said: collect(m.AMQP), annotate: a}
	return w.message(b, c)
}
