package packet

import "encoding/binary"

// Ack is a PUBACK, PUBREC, PUBREL or PUBCOMP. MQTT 3 has no reason codes in them: there it is always [Success].
type Ack struct {
	Type       Type
	PacketID   uint16
	Reason     Reason
	Properties Properties
}

// Decode reads any of the four.
func (a *Ack) Decode(v Version, r Raw) error {
	a.Type, a.Reason = r.Type(), Success
	a.Properties.Reset()
	if a.Type < PUBACK || a.Type > PUBCOMP {
		return malformed("MQTT5 2.1.2", "not an answer to a PUBLISH")
	}
	if err := r.check(a.Type, v); err != nil {
		return err
	}
	id, b, err := cutPacketID(r.Body)
	if err != nil {
		return err
	}
	a.PacketID = id
	if v == V5 && len(b) > 0 {
		a.Reason, b, err = decodeReason(b, a.Type)
		if err == nil && len(b) > 0 {
			b, err = a.Properties.decode(b, a.Type)
		}
	}
	return end(b, err)
}

// AppendAck adds an answer of type t that says nothing but yes to the end of dst. It is the same in all versions.
func AppendAck(dst []byte, t Type, id uint16) []byte {
	return append(dst, t.header(), 2, byte(id>>8), byte(id))
}

// Append adds a to the end of dst.
func (a *Ack) Append(dst []byte, v Version) []byte {
	if v != V5 || a.Reason == Success && a.Properties.set == 0 {
		return AppendAck(dst, a.Type, a.PacketID)
	}
	size, properties := answerSize(a.Reason, &a.Properties)
	if size > maxRemaining-2 {
		return dst
	}
	dst = appendHeader(dst, a.Type.header(), 2+size)
	dst = binary.BigEndian.AppendUint16(dst, a.PacketID)
	return appendAnswer(dst, a.Reason, &a.Properties, size, properties)
}

// decodeReason takes the reason code of a packet of type t off b.
func decodeReason(b []byte, t Type) (reason Reason, rest []byte, err error) {
	if len(b) == 0 {
		return 0, nil, errShort
	}
	if reason = Reason(b[0]); !reason.in(t) {
		return 0, nil, protocol(reasonRules[t], "reason code not allowed in this packet")
	}
	return reason, b[1:], nil
}

// reasonRules are the rules that name the reason codes of a packet.
var reasonRules = [16]string{CONNACK: "MQTT-3.2.2-8", PUBACK: "MQTT-3.4.2-1", PUBREC: "MQTT-3.5.2-1", PUBREL: "MQTT-3.6.2-1",
	PUBCOMP: "MQTT-3.7.2-1", SUBACK: "MQTT-3.9.3-2", UNSUBACK: "MQTT-3.11.3-2", DISCONNECT: "MQTT-3.14.2-1", AUTH: "MQTT-3.15.2-1"}

// end refuses what is left of a packet that has been read.
func end(b []byte, err error) error {
	if err == nil && len(b) > 0 {
		err = errLong
	}
	return err
}

// answerSize is how many bytes reason and properties take at the end of a packet where both are left out if they say
// nothing, and how many of these are the properties' without their length [MQTT 3.4.2.1].
func answerSize(reason Reason, p *Properties) (size, properties int64) {
	properties = p.size()
	switch {
	case properties > 0:
		return 1 + sized(properties), properties
	case reason != Success:
		return 1, 0
	}
	return 0, 0
}

// appendAnswer adds reason and properties in the sizes that answerSize gave.
func appendAnswer(dst []byte, reason Reason, p *Properties, size, properties int64) []byte {
	if size > 0 {
		dst = append(dst, byte(reason))
	}
	if properties > 0 {
		dst = p.append(dst, properties)
	}
	return dst
}
