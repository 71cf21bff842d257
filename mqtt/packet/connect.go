package packet

import "encoding/binary"

// Connect is a CONNECT.
type Connect struct {
	Version    Version
	CleanStart bool   // "clean session" in MQTT 3
	KeepAlive  uint16 // s; 0: none
	ClientID   string // of any length, empty if the server is to choose one
	Will       *Will  // nil: none

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

// The flags of a CONNECT [MQTT 3.1.2.3].
const (
	reservedConnectFlag = 0b0000_0001
	cleanStartFlag      = 0b0000_0010
	willFlag            = 0b0000_0100
	willQoSShift        = 3
	willRetainFlag      = 0b0010_0000
	passwordFlag        = 0b0100_0000
	usernameFlag        = 0b1000_0000
)

// Decode reads a CONNECT of any version.
//
// After an error Version says how to answer: it is the version whose CONNACK the client will understand best, and 0 if
// this is no CONNECT of any MQTT, where closing says enough. A version that is not known is an error with the reason
// [UnsupportedProtocolVersion].
func (c *Connect) Decode(r Raw) error {
	*c = Connect{}
	if r.Type() != CONNECT {
		return protocol("MQTT-3.1.0-1", "not a CONNECT")
	}
	b, err := c.decodeVersion(r.Body)
	if err != nil {
		return err
	}
	if err := r.check(CONNECT, c.Version); err != nil {
		return err
	}
	if len(b) < 3 {
		return errShort
	}
	flags := b[0]
	c.CleanStart, c.KeepAlive = flags&cleanStartFlag != 0, binary.BigEndian.Uint16(b[1:])
	if err := c.checkFlags(flags); err != nil {
		return err
	}
	b = b[3:]
	if c.Version == V5 {
		if b, err = c.Properties.decode(b, CONNECT); err != nil {
			return err
		}
		if c.Properties.Has(AuthData) && !c.Properties.Has(AuthMethod) {
			return protocol("MQTT5 3.1.2.11.10", "authentication data without a method")
		}
	}
	if c.ClientID, b, err = cutText(b); err != nil {
		return err
	}
	if c.ClientID == "" {
		if err := c.checkNoClientID(); err != nil {
			return err
		}
	}
	if flags&willFlag != 0 {
		c.Will = &Will{QoS: flags >> willQoSShift & 3, Retain: flags&willRetainFlag != 0}
		if b, err = c.Will.decode(b, c.Version); err != nil {
			return err
		}
	}
	// In MQTT 3.1 the end of the packet counts more than these two flags [MQTT 3.1, 3.1].
	missing := func() bool { return c.Version == V31 && len(b) == 0 }
	if flags&usernameFlag != 0 && !missing() {
		c.HasUsername = true
		if c.Username, b, err = cutText(b); err != nil {
			return err
		}
	}
	if flags&passwordFlag != 0 && !missing() {
		c.HasPassword = true
		c.Password, b, err = cutData(b)
	}
	return end(b, err)
}

// decodeVersion reads the protocol's name and version at the start of a CONNECT.
func (c *Connect) decodeVersion(b []byte) (rest []byte, err error) {
	name, b, err := cutData(b)
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return nil, errShort
	}
	level := Version(b[0])
	switch string(name) {
	case "MQIsdp":
		c.Version = V31
		if level == V31 {
			return b[1:], nil
		}
	case "MQTT":
		c.Version = V311
		if level >= V5 && level < 0x80 { // above are private versions, of bridges that speak 3.1 and 3.1.1
			c.Version = V5
		}
		if level == V311 || level == V5 {
			return b[1:], nil
		}
	default:
		return nil, &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-1", "protocol name is not MQTT"}
	}
	return nil, &Error{UnsupportedProtocolVersion, "MQTT-3.1.2-2", "unknown protocol version"}
}

// checkFlags refuses connect flags that contradict each other. MQTT 3.1 disregards those that mean nothing.
func (c *Connect) checkFlags(flags byte) error {
	qos := flags >> willQoSShift & 3
	switch hasWill := flags&willFlag != 0; {
	case hasWill && qos == 3:
		return malformed("MQTT-3.1.2-12", "will with QoS 3")
	case c.Version != V5 && flags&passwordFlag != 0 && flags&usernameFlag == 0:
		return malformed("MQTT311-3.1.2-22", "password without user name")
	case c.Version == V31:
		return nil
	case flags&reservedConnectFlag != 0:
		return malformed("MQTT-3.1.2-3", "reserved connect flag")
	case !hasWill && qos != 0:
		return malformed("MQTT-3.1.2-11", "will QoS without will")
	case !hasWill && flags&willRetainFlag != 0:
		return malformed("MQTT-3.1.2-13", "will retain without will")
	}
	return nil
}

// checkNoClientID refuses an empty client identifier where the server cannot assign one.
func (c *Connect) checkNoClientID() error {
	switch {
	case c.Version == V31:
		return &Error{ClientIdentifierNotValid, "MQTT31 3.1", "empty client identifier"}
	case c.Version == V311 && !c.CleanStart:
		return &Error{ClientIdentifierNotValid, "MQTT311-3.1.3-8", "empty client identifier without clean session"}
	}
	return nil
}

func (w *Will) decode(b []byte, v Version) (rest []byte, err error) {
	if v == V5 {
		if b, err = w.Properties.decode(b, will); err != nil {
			return nil, err
		}
	}
	topic, b, err := cutData(b)
	if err != nil {
		return nil, err
	}
	if err := checkTopicName(topic); err != nil {
		return nil, err
	}
	w.Topic = borrow(topic)
	w.Payload, b, err = cutData(b)
	return b, err
}

// Append adds c to the end of dst, in the format of c.Version.
func (c *Connect) Append(dst []byte) []byte {
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	size, properties, willProperties := c.size(name)
	if size > maxRemaining {
		return dst
	}
	dst = appendField(appendHeader(dst, CONNECT.header(), size), name)
	dst = append(dst, byte(c.Version), c.flags())
	dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = c.Properties.append(dst, properties)
	}
	dst = appendField(dst, c.ClientID)
	if c.Will != nil {
		if c.Version == V5 {
			dst = c.Will.Properties.append(dst, willProperties)
		}
		dst = appendField(appendField(dst, c.Will.Topic), c.Will.Payload)
	}
	if c.HasUsername {
		dst = appendField(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendField(dst, c.Password)
	}
	return dst
}

// size is the remaining length, and the parts that are properties without their length.
func (c *Connect) size(name string) (remaining, properties, willProperties int64) {
	remaining = fieldSize(len(name)) + 4 + fieldSize(len(c.ClientID))
	if c.Version == V5 {
		properties = c.Properties.size()
		remaining += sized(properties)
	}
	if c.Will != nil {
		remaining += fieldSize(len(c.Will.Topic)) + fieldSize(len(c.Will.Payload))
		if c.Version == V5 {
			willProperties = c.Will.Properties.size()
			remaining += sized(willProperties)
		}
	}
	if c.HasUsername {
		remaining += fieldSize(len(c.Username))
	}
	if c.HasPassword {
		remaining += fieldSize(len(c.Password))
	}
	return remaining, properties, willProperties
}

func (c *Connect) flags() (flags byte) {
	if c.CleanStart {
		flags |= cleanStartFlag
	}
	if c.Will != nil {
		flags |= willFlag | c.Will.QoS<<willQoSShift
		if c.Will.Retain {
			flags |= willRetainFlag
		}
	}
	if c.HasPassword {
		flags |= passwordFlag
	}
	if c.HasUsername {
		flags |= usernameFlag
	}
	return flags
}
