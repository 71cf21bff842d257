package packet

import "encoding/binary"

// Publish is a PUBLISH.
type Publish struct {
	Topic      string // empty only with a topic alias
	Payload    []byte
	PacketID   uint16 // QoS 1 and 2 only
	QoS        byte
	Dup        bool
	Retain     bool
	Properties Properties
}

// The flags of a PUBLISH [MQTT 3.3.1].
const (
	retainFlag = 0b0001
	qosShift   = 1
	dupFlag    = 0b1000
)

// Decode reads a PUBLISH. It allocates nothing.
func (p *Publish) Decode(v Version, r Raw) error {
	p.QoS, p.Dup, p.Retain = r.Header>>qosShift&3, r.Header&dupFlag != 0, r.Header&retainFlag != 0
	if r.padded || p.QoS == 3 || p.Dup && p.QoS == 0 || r.Type() != PUBLISH {
		if err := r.checkPublish(v); err != nil {
			return err
		}
	}
	topic, b, err := cutData(r.Body)
	if err != nil {
		return err
	}
	p.PacketID = 0
	if p.QoS > 0 {
		if p.PacketID, b, err = cutPacketID(b); err != nil {
			return err
		}
	}
	if v == V5 {
		if b, err = p.Properties.decode(b, PUBLISH); err != nil {
			return err
		}
	} else {
		p.Properties.Reset()
	}
	if len(topic) == 0 && v == V5 {
		if !p.Properties.Has(TopicAlias) {
			return protocol("MQTT5 3.3.2.1", "neither topic name nor topic alias")
		}
	} else if err := checkTopicName(topic); err != nil {
		return err
	}
	p.Topic, p.Payload = borrow(topic), b
	return nil
}

// checkPublish says what is wrong with the fixed header of a PUBLISH, if anything is.
func (r Raw) checkPublish(v Version) error {
	switch qos := r.Header >> qosShift & 3; {
	case r.Type() != PUBLISH:
		return malformed("MQTT5 2.1.2", "not a PUBLISH")
	case qos == 3:
		return malformed("MQTT-3.3.1-4", "QoS 3")
	case qos == 0 && r.Header&dupFlag != 0:
		return malformed("MQTT-3.3.1-2", "DUP with QoS 0")
	}
	return r.minimal(v)
}

// Size returns how many bytes Append adds, and more than [MaxSize] if p cannot be written.
func (p *Publish) Size(v Version) int {
	remaining, _ := p.size(v)
	return int(min(1+sized(remaining), MaxSize+1))
}

// size is the remaining length, and how much of it the properties are without their length.
func (p *Publish) size(v Version) (remaining, properties int64) {
	remaining = fieldSize(len(p.Topic)) + int64(len(p.Payload))
	if p.QoS > 0 {
		remaining += 2
	}
	if v == V5 {
		properties = p.Properties.size()
		remaining += sized(properties)
	}
	return remaining, properties
}

// Append adds p to the end of dst.
func (p *Publish) Append(dst []byte, v Version) []byte {
	remaining, properties := p.size(v)
	if remaining > maxRemaining {
		return dst
	}
	header := byte(PUBLISH)<<4 | p.QoS<<qosShift
	if p.Dup {
		header |= dupFlag
	}
	if p.Retain {
		header |= retainFlag
	}
	dst = appendField(appendHeader(dst, header, remaining), p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = p.Properties.append(dst, properties)
	}
	return append(dst, p.Payload...)
}
