package packet

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP. MQTT 3 has no reason codes in them: there it is always [Success].
type Ack struct {
	Type       Type
	PacketID   uint16
	Reason     Reason
	Properties Properties
}

// Decode reads any of the four.
func (a *Ack) Decode(v Version, r Raw) error { panic("soon") }

// Append adds a to the end of dst.
func (a *Ack) Append(dst []byte, v Version) []byte { panic("soon") }
