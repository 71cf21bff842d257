package packet

// Subscribe is a SUBSCRIBE.
type Subscribe struct {
	PacketID   uint16
	Filters    []Subscription // at least one
	Properties Properties
}

// Subscription is one topic filter of a SUBSCRIBE with its options. MQTT 3 has only the QoS.
type Subscription struct {
	Filter            string
	QoS               byte // the highest that the subscriber wants
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte // retained messages are sent: 0 always, 1 if the subscription is new, 2 never
}

// Decode reads a SUBSCRIBE.
func (s *Subscribe) Decode(v Version, r Raw) error { panic("soon") }

// Append adds s to the end of dst.
func (s *Subscribe) Append(dst []byte, v Version) []byte { panic("soon") }

// Suback is a SUBACK: one reason for each filter of the SUBSCRIBE.
//
// MQTT 3.1.1 has one word for all failures, 0x80. MQTT 3.1 has none: there a server grants what it refuses, and Append
// writes QoS 0 for it [MQTT 3.1, 3.8].
type Suback struct {
	PacketID   uint16
	Reasons    []Reason
	Properties Properties
}

// Decode reads a SUBACK.
func (s *Suback) Decode(v Version, r Raw) error { panic("soon") }

// Append adds s to the end of dst.
func (s *Suback) Append(dst []byte, v Version) []byte { panic("soon") }

// Unsubscribe is an UNSUBSCRIBE.
type Unsubscribe struct {
	PacketID   uint16
	Filters    []string // at least one
	Properties Properties
}

// Decode reads an UNSUBSCRIBE.
func (u *Unsubscribe) Decode(v Version, r Raw) error { panic("soon") }

// Append adds u to the end of dst.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte { panic("soon") }

// Unsuback is an UNSUBACK: one reason for each filter of the UNSUBSCRIBE, in MQTT 5 only.
type Unsuback struct {
	PacketID   uint16
	Reasons    []Reason
	Properties Properties
}

// Decode reads an UNSUBACK.
func (u *Unsuback) Decode(v Version, r Raw) error { panic("soon") }

// Append adds u to the end of dst.
func (u *Unsuback) Append(dst []byte, v Version) []byte { panic("soon") }
