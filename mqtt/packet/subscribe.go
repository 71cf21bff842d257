package packet

import "encoding/binary"

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
func (s *Subscribe) Decode(v Version, r Raw) (err error) {
	s.Filters = s.Filters[:0]
	var b []byte
	if s.PacketID, b, err = decodeRequest(v, r, SUBSCRIBE, &s.Properties); err != nil {
		return err
	}
	if len(b) == 0 {
		return protocol("MQTT-3.8.3-2", "SUBSCRIBE without topic filter")
	}
	for len(b) > 0 {
		var filter Subscription
		if filter.Filter, b, err = cutFilter(b, v); err != nil {
			return err
		}
		if len(b) == 0 {
			return errShort
		}
		if err = filter.decodeOptions(v, b[0]); err != nil {
			return err
		}
		s.Filters, b = append(s.Filters, filter), b[1:]
	}
	return nil
}

// The subscription options [MQTT 3.8.3.1].
const (
	noLocalFlag           = 0b0000_0100
	retainAsPublishedFlag = 0b0000_1000
	retainHandlingShift   = 4
	reservedOptions       = 0b1100_0000
)

func (s *Subscription) decodeOptions(v Version, options byte) error {
	s.QoS = options & 3
	if v != V5 {
		if options > 2 {
			return malformed("MQTT311-3.8.3-4", "QoS 3 or reserved bits in a subscription")
		}
		return nil
	}
	s.NoLocal, s.RetainAsPublished = options&noLocalFlag != 0, options&retainAsPublishedFlag != 0
	s.RetainHandling = options >> retainHandlingShift & 3
	switch {
	case options&reservedOptions != 0:
		return malformed("MQTT-3.8.3-5", "reserved bits in subscription options")
	case s.QoS == 3:
		return protocol("MQTT5 3.8.3.1", "subscription with QoS 3")
	case s.RetainHandling == 3:
		return protocol("MQTT5 3.8.3.1", "subscription with retain handling 3")
	case s.NoLocal && shared(s.Filter):
		return protocol("MQTT-3.8.3-4", "no local on a shared subscription")
	}
	return nil
}

// Append adds s to the end of dst.
func (s *Subscribe) Append(dst []byte, v Version) []byte {
	var content int64
	for i := range s.Filters {
		content += fieldSize(len(s.Filters[i].Filter)) + 1
	}
	dst, ok := appendRequest(dst, v, SUBSCRIBE, s.PacketID, &s.Properties, content)
	if !ok {
		return dst
	}
	for i := range s.Filters {
		filter := &s.Filters[i]
		dst = append(appendField(dst, filter.Filter), filter.options(v))
	}
	return dst
}

func (s *Subscription) options(v Version) byte {
	options := s.QoS
	if v == V5 {
		if s.NoLocal {
			options |= noLocalFlag
		}
		if s.RetainAsPublished {
			options |= retainAsPublishedFlag
		}
		options |= s.RetainHandling << retainHandlingShift
	}
	return options
}

// Suback is a SUBACK: one reason for each filter of the SUBSCRIBE.
//
// MQTT 3.1.1 has one word for all failures, 0x80. MQTT 3.1 has none: there a server grants what it refuses, and Append
// writes QoS 0 for it [MQTT 3.1, 3.8].
type Suback struct {
	PacketID   uint16
	Reasons    []Reason // at least one
	Properties Properties
}

// Decode reads a SUBACK.
func (s *Suback) Decode(v Version, r Raw) (err error) {
	s.Reasons = s.Reasons[:0]
	var b []byte
	if s.PacketID, b, err = decodeRequest(v, r, SUBACK, &s.Properties); err != nil {
		return err
	}
	if len(b) == 0 {
		return protocol("MQTT-3.8.4-6", "SUBACK without reason codes")
	}
	if v == V5 {
		s.Reasons, err = appendReasons(s.Reasons, b, SUBACK)
		return err
	}
	for _, c := range b {
		if c > 2 && (c != byte(UnspecifiedError) || v == V31) {
			return protocol("MQTT311-3.9.3-2", "return code not allowed in a SUBACK")
		}
		s.Reasons = append(s.Reasons, Reason(c))
	}
	return nil
}

// Append adds s to the end of dst.
func (s *Suback) Append(dst []byte, v Version) []byte {
	dst, ok := appendRequest(dst, v, SUBACK, s.PacketID, &s.Properties, int64(len(s.Reasons)))
	if !ok {
		return dst
	}
	for _, reason := range s.Reasons {
		if reason.Failed() {
			switch v {
			case V31:
				reason = GrantedQoS0
			case V311:
				reason = UnspecifiedError
			}
		}
		dst = append(dst, byte(reason))
	}
	return dst
}

// Unsubscribe is an UNSUBSCRIBE.
type Unsubscribe struct {
	PacketID   uint16
	Filters    []string // at least one
	Properties Properties
}

// Decode reads an UNSUBSCRIBE.
func (u *Unsubscribe) Decode(v Version, r Raw) (err error) {
	u.Filters = u.Filters[:0]
	var b []byte
	if u.PacketID, b, err = decodeRequest(v, r, UNSUBSCRIBE, &u.Properties); err != nil {
		return err
	}
	if len(b) == 0 {
		return protocol("MQTT-3.10.3-2", "UNSUBSCRIBE without topic filter")
	}
	for len(b) > 0 {
		var filter string
		if filter, b, err = cutFilter(b, v); err != nil {
			return err
		}
		u.Filters = append(u.Filters, filter)
	}
	return nil
}

// Append adds u to the end of dst.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte {
	var content int64
	for _, filter := range u.Filters {
		content += fieldSize(len(filter))
	}
	dst, ok := appendRequest(dst, v, UNSUBSCRIBE, u.PacketID, &u.Properties, content)
	if !ok {
		return dst
	}
	for _, filter := range u.Filters {
		dst = appendField(dst, filter)
	}
	return dst
}

// Unsuback is an UNSUBACK: one reason for each filter of the UNSUBSCRIBE, in MQTT 5 only.
type Unsuback struct {
	PacketID   uint16
	Reasons    []Reason // at least one in MQTT 5
	Properties Properties
}

// Decode reads an UNSUBACK.
func (u *Unsuback) Decode(v Version, r Raw) (err error) {
	u.Reasons = u.Reasons[:0]
	var b []byte
	if u.PacketID, b, err = decodeRequest(v, r, UNSUBACK, &u.Properties); err != nil {
		return err
	}
	if v != V5 {
		return end(b, nil)
	}
	if len(b) == 0 {
		return protocol("MQTT-3.11.3-1", "UNSUBACK without reason codes")
	}
	u.Reasons, err = appendReasons(u.Reasons, b, UNSUBACK)
	return err
}

// Append adds u to the end of dst.
func (u *Unsuback) Append(dst []byte, v Version) []byte {
	reasons := u.Reasons
	if v != V5 {
		reasons = nil
	}
	dst, ok := appendRequest(dst, v, UNSUBACK, u.PacketID, &u.Properties, int64(len(reasons)))
	if !ok {
		return dst
	}
	for _, reason := range reasons {
		dst = append(dst, byte(reason))
	}
	return dst
}

// decodeRequest reads what the four packets of this file start with, and returns the rest.
func decodeRequest(v Version, r Raw, t Type, p *Properties) (id uint16, rest []byte, err error) {
	p.Reset()
	if err := r.check(t, v); err != nil {
		return 0, nil, err
	}
	id, rest, err = cutPacketID(r.Body)
	if err == nil && v == V5 {
		rest, err = p.decode(rest, t)
	}
	return id, rest, err
}

// appendRequest writes what the four packets of this file start with, if the packet can be written with size bytes more.
func appendRequest(dst []byte, v Version, t Type, id uint16, p *Properties, size int64) (_ []byte, ok bool) {
	size += 2
	var properties int64
	if v == V5 {
		properties = p.size()
		size += sized(properties)
	}
	if size > maxRemaining {
		return dst, false
	}
	dst = binary.BigEndian.AppendUint16(appendHeader(dst, t.header(), size), id)
	if v == V5 {
		dst = p.append(dst, properties)
	}
	return dst, true
}

// cutFilter takes a topic filter off b.
func cutFilter(b []byte, v Version) (filter string, rest []byte, err error) {
	data, rest, err := cutData(b)
	if err == nil {
		err = checkFilter(data, v)
	}
	return borrow(data), rest, err
}

// appendReasons adds the reason codes of b, the rest of a packet of type t.
func appendReasons(reasons []Reason, b []byte, t Type) ([]Reason, error) {
	for len(b) > 0 {
		reason, rest, err := decodeReason(b, t)
		if err != nil {
			return reasons, err
		}
		reasons, b = append(reasons, reason), rest
	}
	return reasons, nil
}
