package packet

import "strconv"

// Version is a protocol version as CONNECT numbers it.
type Version byte

// The versions of MQTT.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// String returns the version as people write it: "3.1.1".
func (v Version) String() string {
	switch v {
	case V31:
		return "3.1"
	case V311:
		return "3.1.1"
	case V5:
		return "5"
	}
	return "unknown(" + strconv.Itoa(int(v)) + ")"
}

// Type is the kind of a packet: the high half of its first byte [MQTT 2.1.2].
type Type byte

// The packet types. 0 is reserved.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH // MQTT 5 only
)

var typeNames = [16]string{"RESERVED", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// String returns the name that the specification prints.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "unknown(" + strconv.Itoa(int(t)) + ")"
}

// header is the first byte of a packet of type t that has no flags of its own [MQTT-2.1.3-1].
func (t Type) header() byte {
	h := byte(t) << 4
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		h |= 0b0010
	}
	return h
}
