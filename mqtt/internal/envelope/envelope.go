// Package envelope is what MQTT 5 says of a message besides its payload: what goes along from end to end, as properties and as
// fields of a [linkspan.Message], and why it is refused. It is the same whether we are the server or the client.
package envelope

import (
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// Read fills m from a, borrowed, but for the expiry [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17],
// [MQTT-3.3.2-18], [MQTT-3.3.2-20]. m has been reset. ok is false if there are more than most user properties.
func Read(m *linkspan.Message, a *packet.Properties, most int) (ok bool) {
	if a.Has(packet.PayloadFormat) {
		m.PayloadFormat = linkspan.PayloadFormat(a.PayloadFormat) + linkspan.PayloadBytes
	}
	m.ContentType, m.ResponseTopic = a.ContentType, a.ResponseTopic
	if a.Has(packet.CorrelationData) {
		m.CorrelationData = a.CorrelationData
	}
	if a.Has(packet.UserProperty) {
		for k, v := range a.UserProperties() {
			if len(m.UserProperties) == most {
				return false
			}
			m.UserProperties = append(m.UserProperties, linkspan.Property{Key: k, Value: v})
		}
	}
	return true
}

// ReadExpiry counts the expiry in a, if there is one, from when m was received.
func ReadExpiry(m *linkspan.Message, a *packet.Properties) {
	if a.Has(packet.MessageExpiry) {
		m.Expires = m.Received.Add(time.Duration(a.MessageExpiry) * time.Second)
	}
}

// Write makes a of what Read fills, and of nothing else. It borrows from m.
func Write(a *packet.Properties, m *linkspan.Message) {
	a.Reset()
	if m.PayloadFormat != linkspan.PayloadFormatAbsent {
		a.PayloadFormat = byte(m.PayloadFormat - linkspan.PayloadBytes)
		a.Set(packet.PayloadFormat)
	}
	if m.ContentType != "" {
		a.ContentType = m.ContentType
		a.Set(packet.ContentType)
	}
	if m.ResponseTopic != "" {
		a.ResponseTopic = m.ResponseTopic
		a.Set(packet.ResponseTopic)
	}
	if m.CorrelationData != nil {
		a.CorrelationData = m.CorrelationData
		a.Set(packet.CorrelationData)
	}
	for _, u := range m.UserProperties {
		a.AddUserProperty(u.Key, u.Value)
	}
}

// WriteExpiry adds for how much longer a message is of use [MQTT-3.3.2-6]. It rounds up, so that one that has not expired is
// not said to have.
func WriteExpiry(a *packet.Properties, left time.Duration) {
	a.MessageExpiry = uint32(min(max(0, (left+time.Second-1)/time.Second), 1<<32-1))
	a.Set(packet.MessageExpiry)
}
