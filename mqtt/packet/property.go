package packet

import (
	"encoding/binary"
	"iter"
	"slices"
)

// PropertyID names a property [MQTT 2.2.2.2].
type PropertyID byte

// The properties.
const (
	PayloadFormat            PropertyID = 1
	MessageExpiry            PropertyID = 2
	ContentType              PropertyID = 3
	ResponseTopic            PropertyID = 8
	CorrelationData          PropertyID = 9
	SubscriptionID           PropertyID = 11
	SessionExpiry            PropertyID = 17
	AssignedClientID         PropertyID = 18
	ServerKeepAlive          PropertyID = 19
	AuthMethod               PropertyID = 21
	AuthData                 PropertyID = 22
	RequestProblemInfo       PropertyID = 23
	WillDelay                PropertyID = 24
	RequestResponseInfo      PropertyID = 25
	ResponseInfo             PropertyID = 26
	ServerReference          PropertyID = 28
	ReasonString             PropertyID = 31
	ReceiveMaximum           PropertyID = 33
	TopicAliasMaximum        PropertyID = 34
	TopicAlias               PropertyID = 35
	MaximumQoS               PropertyID = 36
	RetainAvailable          PropertyID = 37
	UserProperty             PropertyID = 38
	MaximumPacketSize        PropertyID = 39
	WildcardAvailable        PropertyID = 40
	SubscriptionIDsAvailable PropertyID = 41
	SharedAvailable          PropertyID = 42
)

// Properties holds the properties of any packet, or of a will. The zero value has none.
//
// A field means something only if [Properties.Has] its id. A decoded field that is absent is zero, which is not
// always the default: what absence means is said at the field. To write a property set the field and call
// [Properties.Set]; which packet takes which property is for the specification to say and the caller to keep.
//
// A copy shares the memory of its user properties and subscription identifiers, as slices do: add to one of the two only.
type Properties struct {
	set uint64 // bit id: the property is there

	// Of a message or will.

	PayloadFormat   byte   // 0 bytes, 1 UTF-8 text; absent: bytes
	MessageExpiry   uint32 // s; absent: never
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	TopicAlias      uint16 // as sent, also 0, which is not allowed
	WillDelay       uint32 // s; absent: 0

	// Of a connection and its session.

	SessionExpiry       uint32 // s, 0xFFFFFFFF never; absent: 0, in CONNACK and DISCONNECT as CONNECT said
	ReceiveMaximum      uint16 // absent: 65,535
	MaximumPacketSize   uint32 // bytes; absent: no limit
	TopicAliasMaximum   uint16 // absent: 0
	RequestProblemInfo  bool   // absent: true
	RequestResponseInfo bool   // absent: false
	AuthMethod          string
	AuthData            []byte

	// What a server says about itself.

	AssignedClientID         string
	ServerKeepAlive          uint16 // s; absent: as the client said
	MaximumQoS               byte   // 0 or 1; absent: 2
	RetainAvailable          bool   // absent: true
	WildcardAvailable        bool   // absent: true
	SubscriptionIDsAvailable bool   // absent: true
	SharedAvailable          bool   // absent: true
	ResponseInfo             string
	ServerReference          string
	ReasonString             string

	// The properties that may be repeated stay as they are on the wire, in lists: user properties and subscription
	// identifiers, after a Decode also what came between them. listed is how many bytes are theirs alone. own says that the
	// memory is ours, not that of a read buffer.
	lists  []byte
	listed int
	own    bool
}

// Has reports whether the property is there.
func (p *Properties) Has(id PropertyID) bool { return p.set>>id&1 == 1 }

// Set marks properties as there; their fields hold the values. User properties and subscription identifiers have no
// fields: they are added with [Properties.AddUserProperty] and [Properties.AddSubscriptionID].
func (p *Properties) Set(ids ...PropertyID) {
	for _, id := range ids {
		p.set |= 1 << id
	}
}

// Reset makes all properties absent. It keeps the memory that was used for user properties.
func (p *Properties) Reset() {
	if p.set != 0 {
		p.clear()
	}
}

// clear is not inlined so that the many packets without properties do not pay for its size.
//
//go:noinline
func (p *Properties) clear() {
	if p.own {
		*p = Properties{lists: p.lists[:0], own: true}
	} else {
		*p = Properties{}
	}
}

// AddUserProperty adds a user property behind the others. It returns false, and adds nothing, if key or value is not a
// valid string of MQTT; see [ValidText].
func (p *Properties) AddUserProperty(key, value string) bool {
	if ValidText(key) != nil || ValidText(value) != nil {
		return false
	}
	p.lists = appendField(appendField(append(p.ownLists(), byte(UserProperty)), key), value)
	p.listed += 1 + 2 + len(key) + 2 + len(value)
	p.Set(UserProperty)
	return true
}

// AddSubscriptionID adds a subscription identifier, 1 to 268,435,455.
func (p *Properties) AddSubscriptionID(id uint32) {
	p.lists = appendVarint(append(p.ownLists(), byte(SubscriptionID)), id)
	p.listed += 1 + int(varintSize(int64(id)))
	p.Set(SubscriptionID)
}

// ownLists returns lists, moved to memory that may be appended to.
func (p *Properties) ownLists() []byte {
	if !p.own {
		p.lists, p.own = slices.Clone(p.lists), true
	}
	return p.lists
}

// UserProperties returns the user properties in the order of the sender; keys may repeat.
func (p *Properties) UserProperties() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) { p.eachUserProperty(yield) }
}

func (p *Properties) eachUserProperty(yield func(key, value string) bool) {
	for b := p.lists; len(b) > 0; {
		id, end := PropertyID(b[0]), encodedSize(b)
		if id == UserProperty {
			key := b[3 : 3+int(binary.BigEndian.Uint16(b[1:]))]
			if !yield(borrow(key), borrow(b[3+len(key)+2:end])) {
				return
			}
		}
		b = b[end:]
	}
}

// SubscriptionIDs returns the subscription identifiers: of a PUBLISH one for each subscription that matches, of a
// SUBSCRIBE one at most.
func (p *Properties) SubscriptionIDs() iter.Seq[uint32] {
	return func(yield func(uint32) bool) { p.eachSubscriptionID(yield) }
}

func (p *Properties) eachSubscriptionID(yield func(uint32) bool) {
	for b := p.lists; len(b) > 0; b = b[encodedSize(b):] {
		if PropertyID(b[0]) == SubscriptionID {
			if id, _ := varint(b[1:]); !yield(id) {
				return
			}
		}
	}
}
