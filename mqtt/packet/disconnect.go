package packet

// Disconnect is a DISCONNECT. In MQTT 3 it says nothing more, and only clients send it.
type Disconnect struct {
	Reason     Reason
	Properties Properties
}

// Decode reads a DISCONNECT.
func (d *Disconnect) Decode(v Version, r Raw) error { panic("soon") }

// Append adds d to the end of dst.
func (d *Disconnect) Append(dst []byte, v Version) []byte { panic("soon") }

// Auth is an AUTH, which only MQTT 5 has.
type Auth struct {
	Reason     Reason
	Properties Properties
}

// Decode reads an AUTH.
func (a *Auth) Decode(v Version, r Raw) error { panic("soon") }

// Append adds a to the end of dst.
func (a *Auth) Append(dst []byte) []byte { panic("soon") }

// DecodePing checks a PINGREQ or PINGRESP, which have no content.
func DecodePing(v Version, r Raw) error { panic("soon") }

// AppendPing adds a PINGREQ or PINGRESP to the end of dst.
func AppendPing(dst []byte, t Type) []byte { return append(dst, t.header(), 0) }
