package packet

import "strconv"

// Reason is an MQTT 5 reason code [MQTT 2.4]; from 0x80 on they are failures. MQTT 3 has fewer words; see [Connack] and [Suback].
type Reason byte

// The reason codes.
const (
	Success                             Reason = 0x00 // also normal disconnection
	GrantedQoS0                         Reason = 0x00
	GrantedQoS1                         Reason = 0x01
	GrantedQoS2                         Reason = 0x02
	DisconnectWithWill                  Reason = 0x04
	NoMatchingSubscribers               Reason = 0x10
	NoSubscriptionExisted               Reason = 0x11
	ContinueAuthentication              Reason = 0x18
	Reauthenticate                      Reason = 0x19
	UnspecifiedError                    Reason = 0x80
	MalformedPacket                     Reason = 0x81
	ProtocolError                       Reason = 0x82
	ImplementationSpecificError         Reason = 0x83
	UnsupportedProtocolVersion          Reason = 0x84
	ClientIdentifierNotValid            Reason = 0x85
	BadUsernameOrPassword               Reason = 0x86
	NotAuthorized                       Reason = 0x87
	ServerUnavailable                   Reason = 0x88
	ServerBusy                          Reason = 0x89
	Banned                              Reason = 0x8A
	ServerShuttingDown                  Reason = 0x8B
	BadAuthenticationMethod             Reason = 0x8C
	KeepAliveTimeout                    Reason = 0x8D
	SessionTakenOver                    Reason = 0x8E
	TopicFilterInvalid                  Reason = 0x8F
	TopicNameInvalid                    Reason = 0x90
	PacketIdentifierInUse               Reason = 0x91
	PacketIdentifierNotFound            Reason = 0x92
	ReceiveMaximumExceeded              Reason = 0x93
	TopicAliasInvalid                   Reason = 0x94
	PacketTooLarge                      Reason = 0x95
	MessageRateTooHigh                  Reason = 0x96
	QuotaExceeded                       Reason = 0x97
	AdministrativeAction                Reason = 0x98
	PayloadFormatInvalid                Reason = 0x99
	RetainNotSupported                  Reason = 0x9A
	QoSNotSupported                     Reason = 0x9B
	UseAnotherServer                    Reason = 0x9C
	ServerMoved                         Reason = 0x9D
	SharedSubscriptionsNotSupported     Reason = 0x9E
	ConnectionRateExceeded              Reason = 0x9F
	MaximumConnectTime                  Reason = 0xA0
	SubscriptionIdentifiersNotSupported Reason = 0xA1
	WildcardSubscriptionsNotSupported   Reason = 0xA2
)

// Failed reports whether r is a failure.
func (r Reason) Failed() bool { return r >= 0x80 }

// String returns the name of the specification's table, in lower case; "Reason(0x05)" where it has none.
func (r Reason) String() string {
	if name := reasons[r].name; name != "" {
		return name
	}
	return "Reason(0x" + strconv.FormatUint(0x100|uint64(r), 16)[1:] + ")"
}

// in reports whether packets of type t may carry r.
func (r Reason) in(t Type) bool { return reasons[r].packets>>t&1 == 1 }

const (
	inConnack    = 1 << CONNACK
	inPublishAck = 1<<PUBACK | 1<<PUBREC
	inRelease    = 1<<PUBREL | 1<<PUBCOMP
	inSuback     = 1 << SUBACK
	inUnsuback   = 1 << UNSUBACK
	inDisconnect = 1 << DISCONNECT
	inAuth       = 1 << AUTH
)

// reasons is the table of MQTT 2.4: which packets carry which reason code.
var reasons = [256]struct {
	name    string
	packets uint16
}{
	Success:                             {"success", inConnack | inPublishAck | inRelease | inSuback | inUnsuback | inDisconnect | inAuth},
	GrantedQoS1:                         {"granted QoS 1", inSuback},
	GrantedQoS2:                         {"granted QoS 2", inSuback},
	DisconnectWithWill:                  {"disconnect with will message", inDisconnect},
	NoMatchingSubscribers:               {"no matching subscribers", inPublishAck},
	NoSubscriptionExisted:               {"no subscription existed", inUnsuback},
	ContinueAuthentication:              {"continue authentication", inAuth},
	Reauthenticate:                      {"re-authenticate", inAuth},
	UnspecifiedError:                    {"unspecified error", inConnack | inPublishAck | inSuback | inUnsuback | inDisconnect},
	MalformedPacket:                     {"malformed packet", inConnack | inDisconnect},
	ProtocolError:                       {"protocol error", inConnack | inDisconnect},
	ImplementationSpecificError:         {"implementation specific error", inConnack | inPublishAck | inSuback | inUnsuback | inDisconnect},
	UnsupportedProtocolVersion:          {"unsupported protocol version", inConnack},
	ClientIdentifierNotValid:            {"client identifier not valid", inConnack},
	BadUsernameOrPassword:               {"bad user name or password", inConnack},
	NotAuthorized:                       {"not authorized", inConnack | inPublishAck | inSuback | inUnsuback | inDisconnect},
	ServerUnavailable:                   {"server unavailable", inConnack},
	ServerBusy:                          {"server busy", inConnack | inDisconnect},
	Banned:                              {"banned", inConnack},
	ServerShuttingDown:                  {"server shutting down", inDisconnect},
	BadAuthenticationMethod:             {"bad authentication method", inConnack | inDisconnect},
	KeepAliveTimeout:                    {"keep alive timeout", inDisconnect},
	SessionTakenOver:                    {"session taken over", inDisconnect},
	TopicFilterInvalid:                  {"topic filter invalid", inSuback | inUnsuback | inDisconnect},
	TopicNameInvalid:                    {"topic name invalid", inConnack | inPublishAck | inDisconnect},
	PacketIdentifierInUse:               {"packet identifier in use", inPublishAck | inSuback | inUnsuback},
	PacketIdentifierNotFound:            {"packet identifier not found", inRelease},
	ReceiveMaximumExceeded:              {"receive maximum exceeded", inDisconnect},
	TopicAliasInvalid:                   {"topic alias invalid", inDisconnect},
	PacketTooLarge:                      {"packet too large", inConnack | inDisconnect},
	MessageRateTooHigh:                  {"message rate too high", inDisconnect},
	QuotaExceeded:                       {"quota exceeded", inConnack | inPublishAck | inSuback | inDisconnect},
	AdministrativeAction:                {"administrative action", inDisconnect},
	PayloadFormatInvalid:                {"payload format invalid", inConnack | inPublishAck | inDisconnect},
	RetainNotSupported:                  {"retain not supported", inConnack | inDisconnect},
	QoSNotSupported:                     {"QoS not supported", inConnack | inDisconnect},
	UseAnotherServer:                    {"use another server", inConnack | inDisconnect},
	ServerMoved:                         {"server moved", inConnack | inDisconnect},
	SharedSubscriptionsNotSupported:     {"shared subscriptions not supported", inSuback | inDisconnect},
	ConnectionRateExceeded:              {"connection rate exceeded", inConnack | inDisconnect},
	MaximumConnectTime:                  {"maximum connect time", inDisconnect},
	SubscriptionIdentifiersNotSupported: {"subscription identifiers not supported", inSuback | inDisconnect},
	WildcardSubscriptionsNotSupported:   {"wildcard subscriptions not supported", inSuback | inDisconnect},
}
