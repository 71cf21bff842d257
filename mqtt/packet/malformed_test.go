package packet

import (
	"errors"
	"slices"
	"testing"
)

// malformedCases are packets that must be refused, with the rule that they break. Body is in the notation of wire.
var malformedCases = []struct {
	name   string
	v      []Version
	header byte
	body   string
	rule   string
	reason Reason
}{
	// Strings [MQTT 1.5.4].
	{"surrogate", all, 0x30, "0003 ed a0 80 00", "MQTT-1.5.4-1", MalformedPacket},
	{"overlong slash", all, 0x30, "0002 c0 af 00", "MQTT-1.5.4-1", MalformedPacket},
	{"overlong null", all, 0x30, "0002 c0 80 00", "MQTT-1.5.4-1", MalformedPacket},
	{"above U+10FFFF", all, 0x30, "0004 f4 90 80 80 00", "MQTT-1.5.4-1", MalformedPacket},
	{"cut character", all, 0x30, "0002 61 c3 00", "MQTT-1.5.4-1", MalformedPacket},
	{"lone continuation", all, 0x30, "0009 61 61 61 61 61 61 61 61 80 00", "MQTT-1.5.4-1", MalformedPacket},
	{"null", all, 0x30, "0003 61 00 62 00", "MQTT-1.5.4-2", MalformedPacket},
	{"null in a long topic", all, 0x30, "000a 61 62 63 64 65 66 67 68 69 00 00", "MQTT-1.5.4-2", MalformedPacket},
	{"null in a client identifier", v5, 0x10, "'MQTT' 05 02 0000 00 0001 00", "MQTT-1.5.4-2", MalformedPacket},
	{"ill-formed user name", v311, 0x10, "'MQTT' 04 82 0000 'c' 0001 ff", "MQTT-1.5.4-1", MalformedPacket},
	{"ill-formed filter", all311, 0x82, "0001 0001 ff 00", "MQTT-1.5.4-1", MalformedPacket},
	{"ill-formed content type", v5, 0x30, "'a' 04 03 0001 ff", "MQTT-1.5.4-1", MalformedPacket},
	{"ill-formed key of user property", v5, 0x30, "'a' 07 26 0001 ff 'v'", "MQTT-1.5.4-1", MalformedPacket},
	{"ill-formed value of user property", v5, 0x30, "'a' 07 26 'k' 0001 ff", "MQTT-1.5.4-1", MalformedPacket},
	{"null in a value of user property", v5, 0x30, "'a' 07 26 'k' 0001 00", "MQTT-1.5.4-2", MalformedPacket},

	// Variable byte integers [MQTT 1.5.5].
	{"padded property length", v5, 0x30, "'a' 80 00", "MQTT-1.5.5-1", MalformedPacket},
	{"endless property length", v5, 0x30, "'a' ff ff ff ff 01", "MQTT5 1.5.5", MalformedPacket},
	{"padded subscription identifier", v5, 0x30, "'a' 03 0b 81 00", "MQTT-1.5.5-1", MalformedPacket},
	{"endless subscription identifier", v5, 0x30, "'a' 06 0b ff ff ff ff 01", "MQTT5 1.5.5", MalformedPacket},

	// Flags of the fixed header [MQTT-2.1.3-1].
	{"CONNECT with flags", all311, 0x11, "'MQTT' 04 02 0000 'c'", "MQTT-2.1.3-1", MalformedPacket},
	{"CONNACK with flags", all, 0x22, "00 00", "MQTT-2.1.3-1", MalformedPacket},
	{"PUBACK with flags", all, 0x42, "0001", "MQTT-2.1.3-1", MalformedPacket},
	{"PUBREC with flags", all, 0x58, "0001", "MQTT-2.1.3-1", MalformedPacket},
	{"PUBREL without flags", all, 0x60, "0001", "MQTT-2.1.3-1", MalformedPacket},
	{"PUBREL sent again", v311and5, 0x6a, "0001", "MQTT-2.1.3-1", MalformedPacket},
	{"PUBCOMP with flags", all, 0x71, "0001", "MQTT-2.1.3-1", MalformedPacket},
	{"SUBSCRIBE without flags", all, 0x80, "0001 'a' 00", "MQTT-2.1.3-1", MalformedPacket},
	{"SUBSCRIBE sent again", v311and5, 0x8a, "0001 00 'a' 00", "MQTT-2.1.3-1", MalformedPacket},
	{"SUBACK with flags", all, 0x92, "0001 00", "MQTT-2.1.3-1", MalformedPacket},
	{"UNSUBSCRIBE with all flags", all, 0xaf, "0001 'a'", "MQTT-2.1.3-1", MalformedPacket},
	{"UNSUBACK with flags", all, 0xb4, "0001", "MQTT-2.1.3-1", MalformedPacket},
	{"PINGREQ with flags", all, 0xc1, "", "MQTT-2.1.3-1", MalformedPacket},
	{"PINGRESP with flags", all, 0xd8, "", "MQTT-2.1.3-1", MalformedPacket},
	{"DISCONNECT with flags", all, 0xe1, "", "MQTT-2.1.3-1", MalformedPacket},
	{"AUTH with flags", v5, 0xf2, "", "MQTT-2.1.3-1", MalformedPacket},
	{"QoS 3", all, 0x36, "'a' 0001 00", "MQTT-3.3.1-4", MalformedPacket},
	{"DUP with QoS 0", all, 0x38, "'a' 00", "MQTT-3.3.1-2", MalformedPacket},
	{"AUTH before MQTT 5", v31and311, 0xf0, "", "MQTT5 3.15", ProtocolError},

	// A remaining length that does not fit the content [MQTT 2.1.4].
	{"empty PUBLISH", all, 0x30, "", "MQTT5 2.1.4", MalformedPacket},
	{"cut length of a topic", all, 0x30, "00", "MQTT5 2.1.4", MalformedPacket},
	{"cut topic", all, 0x30, "0003 61 62", "MQTT5 2.1.4", MalformedPacket},
	{"no packet identifier", all, 0x32, "'a' 01", "MQTT5 2.1.4", MalformedPacket},
	{"no properties", v5, 0x30, "'a'", "MQTT5 2.1.4", MalformedPacket},
	{"cut property length", v5, 0x30, "'a' 80", "MQTT5 2.1.4", MalformedPacket},
	{"empty PUBACK", all, 0x40, "", "MQTT5 2.1.4", MalformedPacket},
	{"cut PUBACK", all, 0x40, "00", "MQTT5 2.1.4", MalformedPacket},
	{"long PUBACK", v31and311, 0x40, "0001 00", "MQTT5 2.1.4", MalformedPacket},
	{"PUBACK with a tail", v5, 0x40, "0001 00 00 00", "MQTT5 2.1.4", MalformedPacket},
	{"empty CONNECT", all311, 0x10, "", "MQTT5 2.1.4", MalformedPacket},
	{"CONNECT without version", all311, 0x10, "'MQTT'", "MQTT5 2.1.4", MalformedPacket},
	{"CONNECT without keep alive", all311, 0x10, "'MQTT' 04 02 00", "MQTT5 2.1.4", MalformedPacket},
	{"CONNECT without client identifier", all311, 0x10, "'MQTT' 04 02 0000", "MQTT5 2.1.4", MalformedPacket},
	{"CONNECT with a tail", all311, 0x10, "'MQTT' 04 02 0000 'c' 00", "MQTT5 2.1.4", MalformedPacket},
	{"CONNACK of one byte", all, 0x20, "00", "MQTT5 2.1.4", MalformedPacket},
	{"CONNACK with a tail", v31and311, 0x20, "00 00 00", "MQTT5 2.1.4", MalformedPacket},
	{"CONNACK without properties", v5, 0x20, "00 00", "MQTT5 2.1.4", MalformedPacket},
	{"SUBSCRIBE without options", all311, 0x82, "0001 'a'", "MQTT5 2.1.4", MalformedPacket},
	{"UNSUBACK with a tail", v31and311, 0xb0, "0001 00", "MQTT5 2.1.4", MalformedPacket},
	{"PINGREQ with content", all, 0xc0, "00", "MQTT5 2.1.4", MalformedPacket},
	{"PINGRESP with content", all, 0xd0, "00", "MQTT5 2.1.4", MalformedPacket},
	{"DISCONNECT with content", v31and311, 0xe0, "00", "MQTT5 2.1.4", MalformedPacket},
	{"DISCONNECT with a tail", v5, 0xe0, "00 00 00", "MQTT5 2.1.4", MalformedPacket},
	{"AUTH of one byte", v5, 0xf0, "18", "MQTT5 2.1.4", MalformedPacket},

	// Packet identifiers [MQTT 2.2.1].
	{"PUBLISH with packet identifier 0", all, 0x32, "'a' 0000 00", "MQTT-2.2.1-3", ProtocolError},
	{"PUBACK with packet identifier 0", all, 0x40, "0000", "MQTT-2.2.1-3", ProtocolError},
	{"SUBSCRIBE with packet identifier 0", all, 0x82, "0000 00 'a' 00", "MQTT-2.2.1-3", ProtocolError},
	{"UNSUBSCRIBE with packet identifier 0", all, 0xa2, "0000 00 'a'", "MQTT-2.2.1-3", ProtocolError},
	{"SUBACK with packet identifier 0", all, 0x90, "0000 00", "MQTT-2.2.1-3", ProtocolError},

	// Properties [MQTT 2.2.2].
	{"properties longer than the packet", v5, 0x30, "'a' 05 01 00", "MQTT5 2.2.2.1", MalformedPacket},
	{"number longer than the properties", v5, 0x30, "'a' 03 02 0000 0000", "MQTT5 2.2.2.1", MalformedPacket},
	{"string longer than the properties", v5, 0x30, "'a' 03 03 'xyz'", "MQTT5 2.2.2.1", MalformedPacket},
	{"length longer than the properties", v5, 0x30, "'a' 02 03 00 00", "MQTT5 2.2.2.1", MalformedPacket},
	{"pair longer than the properties", v5, 0x30, "'a' 05 26 'k' 00", "MQTT5 2.2.2.1", MalformedPacket},
	{"integer longer than the properties", v5, 0x30, "'a' 02 0b 80 01", "MQTT5 2.2.2.1", MalformedPacket},
	{"property without value", v5, 0x30, "'a' 01 01 00", "MQTT5 2.2.2.1", MalformedPacket},
	{"property 0", v5, 0x30, "'a' 02 00 00", "MQTT5 2.2.2.2", MalformedPacket},
	{"property 43", v5, 0x30, "'a' 02 2b 00", "MQTT5 2.2.2.2", MalformedPacket},
	{"property 64", v5, 0x30, "'a' 02 40 00", "MQTT5 2.2.2.2", MalformedPacket},
	{"property 255", v5, 0x30, "'a' 02 ff 01", "MQTT5 2.2.2.2", MalformedPacket},
	{"payload format 2", v5, 0x30, "'a' 02 01 02", "MQTT5 3.3.2.3.2", ProtocolError},
	{"subscription identifier 0", v5, 0x82, "0001 02 0b 00 'a' 00", "MQTT5 3.8.2.1.2", ProtocolError},
	{"two subscription identifiers", v5, 0x82, "0001 04 0b 01 0b 02 'a' 00", "MQTT5 3.8.2.1.2", ProtocolError},
	{"receive maximum 0", v5, 0x10, "'MQTT' 05 02 0000 03 21 0000 'c'", "MQTT5 3.1.2.11.3", ProtocolError},
	{"maximum packet size 0", v5, 0x10, "'MQTT' 05 02 0000 05 27 00000000 'c'", "MQTT5 3.1.2.11.4", ProtocolError},
	{"request response information 2", v5, 0x10, "'MQTT' 05 02 0000 02 19 02 'c'", "MQTT5 3.1.2.11.6", ProtocolError},
	{"request problem information 2", v5, 0x10, "'MQTT' 05 02 0000 02 17 02 'c'", "MQTT5 3.1.2.11.7", ProtocolError},
	{"maximum QoS 2", v5, 0x20, "00 00 02 24 02", "MQTT5 3.2.2.3.4", ProtocolError},
	{"retain available 2", v5, 0x20, "00 00 02 25 02", "MQTT5 3.2.2.3.5", ProtocolError},
	{"wildcards available 2", v5, 0x20, "00 00 02 28 02", "MQTT5 3.2.2.3.11", ProtocolError},
	{"subscription identifiers available 255", v5, 0x20, "00 00 02 29 ff", "MQTT5 3.2.2.3.12", ProtocolError},
	{"shared available 2", v5, 0x20, "00 00 02 2a 02", "MQTT5 3.2.2.3.13", ProtocolError},
	{"wildcard in a response topic", v5, 0x30, "'a' 06 08 'a/+'", "MQTT-3.3.2-2", TopicNameInvalid},
	{"empty response topic", v5, 0x30, "'a' 03 08 ''", "MQTT-4.7.3-1", TopicNameInvalid},
	{"will delay of a PUBLISH", v5, 0x30, "'a' 05 18 00000001", "MQTT5 2.2.2.2", MalformedPacket},
	{"topic alias of a will", v5, 0x10, "'MQTT' 05 06 0000 00 'c' 03 23 0001 't' 'm'", "MQTT5 2.2.2.2", MalformedPacket},
	{"payload format of a will", v5, 0x10, "'MQTT' 05 06 0000 00 'c' 02 01 02 't' 'm'", "MQTT5 3.3.2.3.2", ProtocolError},

	// CONNECT [MQTT 3.1].
	{"wrong protocol name", all311, 0x10, "'HTTP' 04 02 0000 'c'", "MQTT-3.1.2-1", UnsupportedProtocolVersion},
	{"lower case protocol name", all311, 0x10, "'mqtt' 04 02 0000 'c'", "MQTT-3.1.2-1", UnsupportedProtocolVersion},
	{"version 6", all311, 0x10, "'MQTT' 06 02 0000 'c'", "MQTT-3.1.2-2", UnsupportedProtocolVersion},
	{"version 3 with the new name", all311, 0x10, "'MQTT' 03 02 0000 'c'", "MQTT-3.1.2-2", UnsupportedProtocolVersion},
	{"version 4 with the old name", all311, 0x10, "'MQIsdp' 04 02 0000 'c'", "MQTT-3.1.2-2", UnsupportedProtocolVersion},
	{"reserved connect flag", v311, 0x10, "'MQTT' 04 03 0000 'c'", "MQTT-3.1.2-3", MalformedPacket},
	{"reserved connect flag", v5, 0x10, "'MQTT' 05 03 0000 00 'c'", "MQTT-3.1.2-3", MalformedPacket},
	{"will QoS without will", v5, 0x10, "'MQTT' 05 0a 0000 00 'c'", "MQTT-3.1.2-11", MalformedPacket},
	{"will retain without will", v311, 0x10, "'MQTT' 04 22 0000 'c'", "MQTT-3.1.2-13", MalformedPacket},
	{"will QoS 3", v311, 0x10, "'MQTT' 04 1e 0000 'c' 't' 'm'", "MQTT-3.1.2-12", MalformedPacket},
	{"will QoS 3", v31, 0x10, "'MQIsdp' 03 1e 0000 'c' 't' 'm'", "MQTT-3.1.2-12", MalformedPacket},
	{"will without topic", v311, 0x10, "'MQTT' 04 06 0000 'c'", "MQTT5 2.1.4", MalformedPacket},
	{"will without payload", v311, 0x10, "'MQTT' 04 06 0000 'c' 't'", "MQTT5 2.1.4", MalformedPacket},
	{"will without properties", v5, 0x10, "'MQTT' 05 06 0000 00 'c'", "MQTT5 2.1.4", MalformedPacket},
	{"empty will topic", v311, 0x10, "'MQTT' 04 06 0000 'c' '' 'm'", "MQTT-4.7.3-1", TopicNameInvalid},
	{"wildcard in a will topic", v311, 0x10, "'MQTT' 04 06 0000 'c' 'a/#' 'm'", "MQTT-3.3.2-2", TopicNameInvalid},
	{"user name missing", v311, 0x10, "'MQTT' 04 82 0000 'c'", "MQTT5 2.1.4", MalformedPacket},
	{"password missing", v5, 0x10, "'MQTT' 05 42 0000 00 'c'", "MQTT5 2.1.4", MalformedPacket},
	{"password without user name", v311, 0x10, "'MQTT' 04 42 0000 'c' 'p'", "MQTT311-3.1.2-22", MalformedPacket},
	{"password without user name", v31, 0x10, "'MQIsdp' 03 42 0000 'c' 'p'", "MQTT311-3.1.2-22", MalformedPacket},
	{"user name without its flag", v311, 0x10, "'MQTT' 04 02 0000 'c' 'u'", "MQTT5 2.1.4", MalformedPacket},
	{"empty client identifier", v31, 0x10, "'MQIsdp' 03 02 0000 ''", "MQTT31 3.1", ClientIdentifierNotValid},
	{"empty client identifier for a session", v311, 0x10, "'MQTT' 04 00 0000 ''", "MQTT311-3.1.3-8", ClientIdentifierNotValid},
	{"authentication data without method", v5, 0x10, "'MQTT' 05 02 0000 04 16 'x' 'c'", "MQTT5 3.1.2.11.10", ProtocolError},

	// CONNACK [MQTT 3.2].
	{"reserved acknowledge flags", v311, 0x20, "02 00", "MQTT-3.2.2-1", MalformedPacket},
	{"reserved acknowledge flags", v5, 0x20, "80 00 00", "MQTT-3.2.2-1", MalformedPacket},
	{"session present in a refusal", v311, 0x20, "01 05", "MQTT-3.2.2-6", ProtocolError},
	{"session present in a refusal", v5, 0x20, "01 87 00", "MQTT-3.2.2-6", ProtocolError},
	{"return code 6", v31and311, 0x20, "00 06", "MQTT311 3.2.2.3", ProtocolError},
	{"reason of another packet", v5, 0x20, "00 8e 00", "MQTT-3.2.2-8", ProtocolError},

	// PUBLISH and its answers [MQTT 3.3 to 3.7].
	{"plus in a topic name", all, 0x30, "'a/+/b' 00", "MQTT-3.3.2-2", TopicNameInvalid},
	{"hash in a topic name", all, 0x30, "'a/b/c/d/e/f/g/#' 00", "MQTT-3.3.2-2", TopicNameInvalid},
	{"empty topic name", v31and311, 0x30, "''", "MQTT-4.7.3-1", TopicNameInvalid},
	{"neither topic name nor alias", v5, 0x30, "'' 00", "MQTT5 3.3.2.1", ProtocolError},
	{"reason of another packet", v5, 0x40, "0001 92", "MQTT-3.4.2-1", ProtocolError},
	{"unknown reason", v5, 0x50, "0001 01", "MQTT-3.5.2-1", ProtocolError},
	{"reason of another packet", v5, 0x62, "0001 10", "MQTT-3.6.2-1", ProtocolError},
	{"unknown reason", v5, 0x70, "0001 ff", "MQTT-3.7.2-1", ProtocolError},

	// SUBSCRIBE and UNSUBSCRIBE with their answers [MQTT 3.8 to 3.11].
	{"SUBSCRIBE without filter", v31and311, 0x82, "0001", "MQTT-3.8.3-2", ProtocolError},
	{"SUBSCRIBE without filter", v5, 0x82, "0001 00", "MQTT-3.8.3-2", ProtocolError},
	{"reserved options", v5, 0x82, "0001 00 'a' 40", "MQTT-3.8.3-5", MalformedPacket},
	{"reserved options", v31and311, 0x82, "0001 'a' 04", "MQTT311-3.8.3-4", MalformedPacket},
	{"subscription with QoS 3", v31and311, 0x82, "0001 'a' 03", "MQTT311-3.8.3-4", MalformedPacket},
	{"subscription with QoS 3", v5, 0x82, "0001 00 'a' 03", "MQTT5 3.8.3.1", ProtocolError},
	{"retain handling 3", v5, 0x82, "0001 00 'a' 30", "MQTT5 3.8.3.1", ProtocolError},
	{"no local on a shared subscription", v5, 0x82, "0001 00 '$share/g/a' 04", "MQTT-3.8.3-4", ProtocolError},
	{"second filter bad", v5, 0x82, "0001 00 'a' 01 'a#' 01", "MQTT-4.7.1-1", TopicFilterInvalid},
	{"reason of another packet", v5, 0x90, "0001 00 11", "MQTT-3.9.3-2", ProtocolError},
	{"return code 3", v311, 0x90, "0001 03", "MQTT311-3.9.3-2", ProtocolError},
	{"failure before 3.1.1", v31, 0x90, "0001 80", "MQTT311-3.9.3-2", ProtocolError},
	{"SUBACK without reasons", v311, 0x90, "0001", "MQTT-3.8.4-6", ProtocolError},
	{"UNSUBSCRIBE without filter", v31and311, 0xa2, "0001", "MQTT-3.10.3-2", ProtocolError},
	{"UNSUBSCRIBE without filter", v5, 0xa2, "0001 00", "MQTT-3.10.3-2", ProtocolError},
	{"reason of another packet", v5, 0xb0, "0001 00 01", "MQTT-3.11.3-2", ProtocolError},
	{"UNSUBACK without reasons", v5, 0xb0, "0001 00", "MQTT-3.11.3-1", ProtocolError},

	// DISCONNECT and AUTH [MQTT 3.14, 3.15].
	{"unknown reason", v5, 0xe0, "03", "MQTT-3.14.2-1", ProtocolError},
	{"receive maximum in DISCONNECT", v5, 0xe0, "00 03 21 0001", "MQTT5 2.2.2.2", MalformedPacket},
	{"unknown reason", v5, 0xf0, "80 00", "MQTT-3.15.2-1", ProtocolError},
	{"AUTH without method", v5, 0xf0, "18 00", "MQTT5 3.15.2.2.2", ProtocolError},
}

var (
	v31       = []Version{V31}
	v311      = []Version{V311}
	v5        = []Version{V5}
	all311    = v311 // of packets where the version does not matter
	v31and311 = []Version{V31, V311}
	v311and5  = []Version{V311, V5}
	all       = []Version{V31, V311, V5}
)

func TestMalformed(t *testing.T) {
	for _, c := range malformedCases {
		for _, v := range c.v {
			t.Run(c.rule+"/"+c.name+"/"+v.String(), func(t *testing.T) {
				_, err := decode(v, wire(t, c.header, c.body))
				wantError(t, err, c.rule, c.reason)
			})
		}
	}
}

func wantError(t *testing.T, err error, rule string, reason Reason) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an error of %s", err, rule)
	}
	if e.Rule != rule || e.Reason != reason {
		t.Errorf("got %v, want %v by %s", e, reason, rule)
	}
}

// TestPropertiesWhereTheyBelong tries every property in every packet: once where it is allowed, twice, and where it is
// not [MQTT 2.2.2.2].
func TestPropertiesWhereTheyBelong(t *testing.T) {
	values := map[kind]string{kindFlag: "01", kindOctet: "01", kindShort: "0001", kindLong: "00000001", kindVarint: "01", kindText: "'t'", kindData: "'d'", kindPair: "'k' 'v'"}
	before := map[Type]string{will: "", CONNECT: "'MQTT' 05 02 0000", CONNACK: "00 00", PUBLISH: "'a'", PUBACK: "0001 00", PUBREC: "0001 00",
		PUBREL: "0001 00", PUBCOMP: "0001 00", SUBSCRIBE: "0001", SUBACK: "0001", UNSUBSCRIBE: "0001", UNSUBACK: "0001", DISCONNECT: "00", AUTH: "18"}
	after := map[Type]string{CONNECT: "'c'", SUBSCRIBE: "'a' 00", SUBACK: "00", UNSUBSCRIBE: "'a'", UNSUBACK: "00"}
	// AUTH needs a method and CONNECT one for its data.
	with := func(typ Type, id PropertyID, property []byte) []byte {
		if typ == AUTH && id != AuthMethod || typ == CONNECT && id == AuthData {
			return append(unhex(t, "15 'm'"), property...)
		}
		return property
	}
	for typ, prefix := range before {
		for id := range PropertyID(64) {
			value, known := values[propertyTable[id].kind]
			if !known {
				value = "00"
			}
			one := append([]byte{byte(id)}, unhex(t, value)...)
			try := func(properties []byte) error {
				if typ == will {
					var p Properties
					_, err := p.decode(append(appendVarint(nil, uint32(len(properties))), properties...), will)
					return err
				}
				b := append(appendVarint(unhex(t, prefix), uint32(len(properties))), properties...)
				b = append(b, unhex(t, after[typ])...)
				_, err := decode(V5, append(appendVarint([]byte{typ.header()}, uint32(len(b))), b...))
				return err
			}
			err := try(with(typ, id, one))
			if allowed[typ]>>id&1 == 0 {
				wantError(t, err, "MQTT5 2.2.2.2", MalformedPacket)
				continue
			}
			if err != nil {
				t.Errorf("%v with property %d: %v", typ, id, err)
			}
			err = try(with(typ, id, slices.Concat(one, one)))
			if id == UserProperty || id == SubscriptionID && typ == PUBLISH {
				if err != nil {
					t.Errorf("%v with property %d twice: %v", typ, id, err)
				}
			} else {
				wantError(t, err, propertyTable[id].rule, ProtocolError)
			}
		}
	}
}

// TestConnectVersionForTheAnswer proves that after a failed Decode the right CONNACK can be sent [MQTT-3.1.2-2].
func TestConnectVersionForTheAnswer(t *testing.T) {
	for _, c := range []struct {
		body string
		want Version
	}{
		{"'MQTT' 06 02 0000 'c'", V5},
		{"'MQTT' 7f", V5},
		{"'MQTT' 05 03 0000 00 'c'", V5},
		{"'MQTT' 05", V5},
		{"'MQTT' 04 03 0000 'c'", V311},
		{"'MQTT' 03 02 0000 'c'", V311},
		{"'MQTT' 84 02 0000 'c'", V311}, // a Mosquitto bridge that asks for its own extension
		{"'MQIsdp' 83 02 0000 'c'", V31},
		{"'MQIsdp' 03 02 0000 ''", V31},
		{"'MQ' 04 02 0000 'c'", 0},
		{"'MQTT'", 0},
		{"", 0},
	} {
		raw, _, _, err := Cut(wire(t, 0x10, c.body), 0)
		if err != nil {
			t.Fatal(err)
		}
		connect := Connect{Version: 9}
		if err := connect.Decode(raw); err == nil {
			t.Errorf("%s: no error", c.body)
		}
		if connect.Version != c.want {
			t.Errorf("%s: answer in version %d, want %d", c.body, connect.Version, c.want)
		}
	}
	var connect Connect
	wantError(t, connect.Decode(Raw{Header: 0xc0}), "MQTT-3.1.0-1", ProtocolError)
}

func TestErrorText(t *testing.T) {
	err := malformed("MQTT-1.5.4-1", "ill-formed UTF-8")
	if got, want := err.Error(), "malformed packet: ill-formed UTF-8 [MQTT-1.5.4-1]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
