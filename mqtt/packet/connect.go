package packet

// Connect is a CONNECT.
type Connect struct {
	Version    Version
	CleanStart bool   // "clean session" in MQTT 3
	KeepAlive  uint16 // s; 0: none
	ClientID   string
	Will       *Will // nil: none; Decode reuses the one that it made before

	HasUsername, HasPassword bool
	Username                 string
	Password                 []byte

	Properties Properties
}

// Will is the message that a server publishes for a client that is gone.
type Will struct {
	Topic      string
	Payload    []byte
	QoS        byte
	Retain     bool
	Properties Properties
}

// Decode reads a CONNECT of any version.
//
// After an error Version says how to answer: it is the version whose CONNACK the client will understand best, and 0 if
// this is no CONNECT of any MQTT, where closing says enough. A version that is not known is an error with the reason
// [UnsupportedProtocolVersion].
func (c *Connect) Decode(r Raw) error { panic("soon") }

// Append adds c to the end of dst, in the format of c.Version.
func (c *Connect) Append(dst []byte) []byte { panic("soon") }

// Connack is a CONNACK.
//
// MQTT 3 has six return codes. Decode turns them into their reason codes of MQTT 5, and Append turns reason codes
// into the return code that comes closest: there is always one.
type Connack struct {
	SessionPresent bool // not in MQTT 3.1
	Reason         Reason
	Properties     Properties
}

// Decode reads a CONNACK.
func (c *Connack) Decode(v Version, r Raw) error { panic("soon") }

// Append adds c to the end of dst.
func (c *Connack) Append(dst []byte, v Version) []byte { panic("soon") }
