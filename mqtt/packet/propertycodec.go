package packet

import (
	"encoding/binary"
	"math/bits"
)

// kind is how the value of a property is written.
type kind byte

const (
	_          kind = iota
	kindFlag        // one byte, 0 or 1
	kindOctet       // one byte
	kindShort       // two bytes
	kindLong        // four bytes
	kindVarint      // variable byte integer
	kindText
	kindData
	kindPair // two texts
)

// propertyTable says of each property how its value is written, between which bounds a number may be, and which section
// of the specification says so and that it may not be repeated.
var propertyTable = [64]struct {
	kind        kind
	least, most uint32
	rule        string
}{
	PayloadFormat:            {kindOctet, 0, 1, "MQTT5 3.3.2.3.2"},
	MessageExpiry:            {kindLong, 0, 1<<32 - 1, "MQTT5 3.3.2.3.3"},
	ContentType:              {kind: kindText, rule: "MQTT5 3.3.2.3.9"},
	ResponseTopic:            {kind: kindText, rule: "MQTT5 3.3.2.3.5"},
	CorrelationData:          {kind: kindData, rule: "MQTT5 3.3.2.3.6"},
	SubscriptionID:           {kindVarint, 1, maxRemaining, "MQTT5 3.8.2.1.2"},
	SessionExpiry:            {kindLong, 0, 1<<32 - 1, "MQTT5 3.1.2.11.2"},
	AssignedClientID:         {kind: kindText, rule: "MQTT5 3.2.2.3.7"},
	ServerKeepAlive:          {kindShort, 0, 1<<16 - 1, "MQTT5 3.2.2.3.14"},
	AuthMethod:               {kind: kindText, rule: "MQTT5 3.1.2.11.9"},
	AuthData:                 {kind: kindData, rule: "MQTT5 3.1.2.11.10"},
	RequestProblemInfo:       {kindFlag, 0, 1, "MQTT5 3.1.2.11.7"},
	WillDelay:                {kindLong, 0, 1<<32 - 1, "MQTT5 3.1.3.2.2"},
	RequestResponseInfo:      {kindFlag, 0, 1, "MQTT5 3.1.2.11.6"},
	ResponseInfo:             {kind: kindText, rule: "MQTT5 3.2.2.3.15"},
	ServerReference:          {kind: kindText, rule: "MQTT5 3.2.2.3.16"},
	ReasonString:             {kind: kindText, rule: "MQTT5 3.2.2.3.9"},
	ReceiveMaximum:           {kindShort, 1, 1<<16 - 1, "MQTT5 3.1.2.11.3"},
	TopicAliasMaximum:        {kindShort, 0, 1<<16 - 1, "MQTT5 3.1.2.11.5"},
	TopicAlias:               {kindShort, 0, 1<<16 - 1, "MQTT5 3.3.2.3.4"},
	MaximumQoS:               {kindOctet, 0, 1, "MQTT5 3.2.2.3.4"},
	RetainAvailable:          {kindFlag, 0, 1, "MQTT5 3.2.2.3.5"},
	UserProperty:             {kind: kindPair},
	MaximumPacketSize:        {kindLong, 1, 1<<32 - 1, "MQTT5 3.1.2.11.4"},
	WildcardAvailable:        {kindFlag, 0, 1, "MQTT5 3.2.2.3.11"},
	SubscriptionIDsAvailable: {kindFlag, 0, 1, "MQTT5 3.2.2.3.12"},
	SharedAvailable:          {kindFlag, 0, 1, "MQTT5 3.2.2.3.13"},
}

// will stands for the properties of a will, as packet type 0 is free.
const will Type = 0

const (
	inMessage   = 1<<PayloadFormat | 1<<MessageExpiry | 1<<ContentType | 1<<ResponseTopic | 1<<CorrelationData | 1<<UserProperty
	inAnyAnswer = 1<<ReasonString | 1<<UserProperty
)

// allowed is the set of properties that a packet may have, by packet type [MQTT 2.2.2.2].
var allowed = [16]uint64{
	will: inMessage | 1<<WillDelay,
	CONNECT: 1<<SessionExpiry | 1<<ReceiveMaximum | 1<<MaximumPacketSize | 1<<TopicAliasMaximum | 1<<RequestResponseInfo |
		1<<RequestProblemInfo | 1<<UserProperty | 1<<AuthMethod | 1<<AuthData,
	CONNACK: inAnyAnswer | 1<<SessionExpiry | 1<<ReceiveMaximum | 1<<MaximumQoS | 1<<RetainAvailable | 1<<MaximumPacketSize |
		1<<AssignedClientID | 1<<TopicAliasMaximum | 1<<WildcardAvailable | 1<<SubscriptionIDsAvailable | 1<<SharedAvailable |
		1<<ServerKeepAlive | 1<<ResponseInfo | 1<<ServerReference | 1<<AuthMethod | 1<<AuthData,
	PUBLISH:     inMessage | 1<<TopicAlias | 1<<SubscriptionID,
	PUBACK:      inAnyAnswer,
	PUBREC:      inAnyAnswer,
	PUBREL:      inAnyAnswer,
	PUBCOMP:     inAnyAnswer,
	SUBSCRIBE:   1<<SubscriptionID | 1<<UserProperty,
	SUBACK:      inAnyAnswer,
	UNSUBSCRIBE: 1 << UserProperty,
	UNSUBACK:    inAnyAnswer,
	DISCONNECT:  inAnyAnswer | 1<<SessionExpiry | 1<<ServerReference,
	AUTH:        inAnyAnswer | 1<<AuthMethod | 1<<AuthData,
}

// repeatable is the set of properties that packets of type t may have more than once; they are the ones in lists.
func repeatable(t Type) uint64 {
	if t == PUBLISH {
		return 1<<UserProperty | 1<<SubscriptionID
	}
	return 1 << UserProperty
}

// decode replaces p by the properties at the start of b, with their length before them, of a packet of type t.
func (p *Properties) decode(b []byte, t Type) (rest []byte, err error) {
	p.Reset()
	if len(b) > 0 && b[0] == 0 {
		return b[1:], nil
	}
	length, b, err := cutVarint(b)
	if err != nil {
		return nil, err
	}
	if int(length) > len(b) {
		return nil, malformed("MQTT5 2.2.2.1", "property length goes past the end of the packet")
	}
	section, rest := b[:length], b[length:]
	first, last := len(section), 0
	listed := 0
	for at := 0; at < len(section); {
		id := PropertyID(section[at])
		bit := uint64(1) << id
		if allowed[t]&bit == 0 {
			return nil, malformed("MQTT5 2.2.2.2", "property not allowed in this packet")
		}
		if p.set&bit != 0 && repeatable(t)&bit == 0 {
			return nil, protocol(propertyTable[id].rule, "property given twice")
		}
		p.set |= bit // also of one that is no good, so that the next Reset removes it
		n, err := p.decodeValue(id, section[at+1:])
		if err != nil {
			return nil, err
		}
		if id == UserProperty || id == SubscriptionID {
			first, last = min(first, at), at+1+n
			listed += 1 + n
		}
		at += 1 + n
	}
	if listed > 0 {
		p.lists, p.listed, p.own = section[first:last], listed, false
	}
	return rest, nil
}

// decodeValue reads the value of property id at the start of b, which n bytes of b are.
func (p *Properties) decodeValue(id PropertyID, b []byte) (n int, err error) {
	property := &propertyTable[id]
	n = valueSize(property.kind, b)
	if n > len(b) {
		return 0, malformed("MQTT5 2.2.2.1", "property goes past the property length")
	}
	b = b[:n:n]
	var v uint32
	switch property.kind {
	case kindText, kindData, kindPair:
		return n, p.decodeBytes(id, property.kind, b)
	case kindFlag, kindOctet:
		v = uint32(b[0])
	case kindShort:
		v = uint32(binary.BigEndian.Uint16(b))
	case kindLong:
		v = binary.BigEndian.Uint32(b)
	case kindVarint:
		if v, _, err = cutVarint(b); err != nil {
			return 0, err
		}
	}
	if v < property.least || v > property.most {
		return 0, protocol(property.rule, "value of a property out of range")
	}
	switch property.kind {
	case kindFlag:
		*p.flag(id) = v == 1
	case kindOctet:
		*p.octet(id) = byte(v)
	case kindShort:
		*p.short(id) = uint16(v)
	case kindLong:
		*p.long(id) = v
	}
	return n, nil
}

// decodeBytes sets property id to the strings or the binary value that b holds and nothing else.
func (p *Properties) decodeBytes(id PropertyID, k kind, b []byte) (err error) {
	switch {
	case k == kindPair:
		_, value, err := cutText(b)
		if err != nil {
			return err
		}
		return checkText(value[2:])
	case k == kindData:
		*p.data(id) = b[2:]
		return nil
	case id == ResponseTopic:
		err = checkTopicName(b[2:])
	default:
		err = checkText(b[2:])
	}
	*p.text(id) = borrow(b[2:])
	return err
}

// valueSize is how many bytes of b the value of a property takes, more than len(b) if b ends before that is known. A
// variable byte integer that is too long counts as four bytes.
func valueSize(k kind, b []byte) int {
	switch k {
	case kindFlag, kindOctet:
		return 1
	case kindShort:
		return 2
	case kindLong:
		return 4
	case kindVarint:
		if _, n := varint(b); n > 0 {
			return n
		}
		return 4
	}
	if len(b) < 2 {
		return 2
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	if k == kindPair {
		if len(b) < n+2 {
			return n + 2
		}
		n += 2 + int(binary.BigEndian.Uint16(b[n:]))
	}
	return n
}

// encodedSize is how many bytes of b, which was checked before, the first property takes.
func encodedSize(b []byte) int { return 1 + valueSize(propertyTable[b[0]].kind, b[1:]) }

// size is how many bytes the properties take without their length, more than [MaxSize] if one is too long.
func (p *Properties) size() int64 {
	n := int64(p.listed)
	for set := p.set; set != 0; set &= set - 1 {
		id := PropertyID(bits.TrailingZeros64(set))
		switch propertyTable[id].kind {
		case kindFlag, kindOctet:
			n += 2
		case kindShort:
			n += 3
		case kindLong:
			n += 5
		case kindText:
			n += 1 + fieldSize(len(*p.text(id)))
		case kindData:
			n += 1 + fieldSize(len(*p.data(id)))
		}
	}
	return n
}

// sized is size with the length before it.
func sized(size int64) int64 { return size + varintSize(size) }

// append adds the properties to dst, with their length before them, which is size.
func (p *Properties) append(dst []byte, size int64) []byte {
	if size == 0 {
		return append(dst, 0)
	}
	dst = appendVarint(dst, uint32(size))
	for set := p.set; set != 0; set &= set - 1 {
		id := PropertyID(bits.TrailingZeros64(set))
		switch propertyTable[id].kind {
		case kindFlag:
			dst = append(dst, byte(id), 0)
			if *p.flag(id) {
				dst[len(dst)-1] = 1
			}
		case kindOctet:
			dst = append(dst, byte(id), *p.octet(id))
		case kindShort:
			dst = binary.BigEndian.AppendUint16(append(dst, byte(id)), *p.short(id))
		case kindLong:
			dst = binary.BigEndian.AppendUint32(append(dst, byte(id)), *p.long(id))
		case kindText:
			dst = appendField(append(dst, byte(id)), *p.text(id))
		case kindData:
			dst = appendField(append(dst, byte(id)), *p.data(id))
		}
	}
	if p.listed == len(p.lists) {
		return append(dst, p.lists...)
	}
	for b := p.lists; len(b) > 0; b = b[encodedSize(b):] {
		if id := PropertyID(b[0]); id == UserProperty || id == SubscriptionID {
			dst = append(dst, b[:encodedSize(b)]...)
		}
	}
	return dst
}

func (p *Properties) flag(id PropertyID) *bool {
	switch id {
	case RequestProblemInfo:
		return &p.RequestProblemInfo
	case RequestResponseInfo:
		return &p.RequestResponseInfo
	case RetainAvailable:
		return &p.RetainAvailable
	case WildcardAvailable:
		return &p.WildcardAvailable
	case SubscriptionIDsAvailable:
		return &p.SubscriptionIDsAvailable
	case SharedAvailable:
		return &p.SharedAvailable
	}
	return nil
}

func (p *Properties) octet(id PropertyID) *byte {
	if id == MaximumQoS {
		return &p.MaximumQoS
	}
	return &p.PayloadFormat
}

func (p *Properties) short(id PropertyID) *uint16 {
	switch id {
	case ServerKeepAlive:
		return &p.ServerKeepAlive
	case ReceiveMaximum:
		return &p.ReceiveMaximum
	case TopicAliasMaximum:
		return &p.TopicAliasMaximum
	case TopicAlias:
		return &p.TopicAlias
	}
	return nil
}

func (p *Properties) long(id PropertyID) *uint32 {
	switch id {
	case MessageExpiry:
		return &p.MessageExpiry
	case SessionExpiry:
		return &p.SessionExpiry
	case WillDelay:
		return &p.WillDelay
	case MaximumPacketSize:
		return &p.MaximumPacketSize
	}
	return nil
}

func (p *Properties) text(id PropertyID) *string {
	switch id {
	case ContentType:
		return &p.ContentType
	case ResponseTopic:
		return &p.ResponseTopic
	case AssignedClientID:
		return &p.AssignedClientID
	case AuthMethod:
		return &p.AuthMethod
	case ResponseInfo:
		return &p.ResponseInfo
	case ServerReference:
		return &p.ServerReference
	case ReasonString:
		return &p.ReasonString
	}
	return nil
}

func (p *Properties) data(id PropertyID) *[]byte {
	if id == AuthData {
		return &p.AuthData
	}
	return &p.CorrelationData
}
