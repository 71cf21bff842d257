package packet

import (
	"bytes"
	"slices"
	"testing"
)

// properties returns what set makes.
func properties(set func(p *Properties)) Properties {
	var p Properties
	set(&p)
	return p
}

// vectors are packets and their bytes. Those of the specifications' own examples say so.
var vectors = []struct {
	name   string
	v      Version
	packet codec
	header byte
	body   string
}{
	{"CONNECT, the example of MQTT 5 3.1.2.12", V5, connectCodec{&Connect{Version: V5, CleanStart: true, KeepAlive: 10, ClientID: "c",
		Will: &Will{Topic: "t", Payload: []byte("m"), QoS: 1}, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p"),
		Properties: properties(func(p *Properties) { p.SessionExpiry = 10; p.Set(SessionExpiry) })}},
		0x10, "0004 4d515454 05 ce 000a 05 11 0000000a 'c' 00 't' 'm' 'u' 'p'"},
	{"CONNECT, the example of MQTT 3.1.1 3.1.2.11", V311, connectCodec{&Connect{Version: V311, CleanStart: true, KeepAlive: 10, ClientID: "c",
		Will: &Will{Topic: "t", Payload: []byte("m"), QoS: 1}, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")}},
		0x10, "0004 4d515454 04 ce 000a 'c' 't' 'm' 'u' 'p'"},
	{"CONNECT, the example of MQTT 3.1 3.1", V31, connectCodec{&Connect{Version: V31, CleanStart: true, KeepAlive: 10, ClientID: "c",
		Will: &Will{Topic: "t", Payload: []byte("m"), QoS: 1}, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")}},
		0x10, "0006 4d5149736470 03 ce 000a 'c' 't' 'm' 'u' 'p'"},
	{"CONNECT with nothing", V5, connectCodec{&Connect{Version: V5}}, 0x10, "'MQTT' 05 00 0000 00 ''"},
	{"CONNECT with a password alone", V5, connectCodec{&Connect{Version: V5, HasPassword: true, Password: []byte{0, 255}}},
		0x10, "'MQTT' 05 40 0000 00 '' 0002 00ff"},
	{"CONNECT with a retained will and its properties", V5, connectCodec{&Connect{Version: V5, ClientID: "c",
		Will: &Will{Topic: "t", QoS: 2, Retain: true, Properties: properties(func(p *Properties) { p.WillDelay = 5; p.Set(WillDelay) })}}},
		0x10, "'MQTT' 05 34 0000 00 'c' 05 18 00000005 't' 0000"},
	{"CONNACK", V5, &Connack{}, 0x20, "00 00 00"},
	{"CONNACK with properties", V5, &Connack{SessionPresent: true, Properties: properties(func(p *Properties) {
		p.AssignedClientID, p.ServerKeepAlive, p.ReceiveMaximum, p.TopicAliasMaximum = "x", 60, 100, 16
		p.Set(AssignedClientID, ServerKeepAlive, ReceiveMaximum, TopicAliasMaximum, SharedAvailable)
	})}, 0x20, "01 00 0f 12 'x' 13 003c 21 0064 22 0010 2a 00"},
	{"CONNACK for a bad password", V311, &Connack{Reason: BadUsernameOrPassword}, 0x20, "00 04"},
	{"CONNACK with a session", V311, &Connack{SessionPresent: true}, 0x20, "01 00"},
	{"CONNACK", V31, &Connack{Reason: NotAuthorized}, 0x20, "00 05"},
	{"PUBLISH, the example of MQTT 5 3.3.2", V5, &Publish{Topic: "a/b", QoS: 1, PacketID: 10}, 0x32, "0003 612f62 000a 00"},
	{"PUBLISH, the example of MQTT 3.1.1 3.3.2", V311, &Publish{Topic: "a/b", QoS: 1, PacketID: 10}, 0x32, "0003 612f62 000a"},
	{"PUBLISH, the string of MQTT 5 1.5.4", V311, &Publish{Topic: "A\U0002A6D4", Payload: []byte("m")}, 0x30, "0005 41 f0aa9b94 6d"},
	{"PUBLISH with a byte order mark [MQTT-1.5.4-3]", V311, &Publish{Topic: "\uFEFFa"}, 0x30, "0004 efbbbf 61"},
	{"PUBLISH with all flags", V31, &Publish{Topic: "a", QoS: 2, Dup: true, Retain: true, PacketID: 65535, Payload: []byte{0}}, 0x3d, "'a' ffff 00"},
	{"PUBLISH with an alias alone", V5, &Publish{Properties: properties(func(p *Properties) { p.TopicAlias = 1; p.Set(TopicAlias) })},
		0x30, "'' 03 23 0001"},
	{"PUBLISH with alias 0, which the session refuses", V5, &Publish{Topic: "a", Properties: properties(func(p *Properties) { p.Set(TopicAlias) })},
		0x30, "'a' 03 23 0000"},
	{"PUBLISH with every property", V5, &Publish{Topic: "a", Payload: []byte("m"), Properties: properties(func(p *Properties) {
		p.PayloadFormat, p.MessageExpiry, p.ContentType, p.ResponseTopic, p.CorrelationData, p.TopicAlias = 1, 300, "t", "r", []byte{7}, 2
		p.Set(PayloadFormat, MessageExpiry, ContentType, ResponseTopic, CorrelationData, TopicAlias)
		p.AddSubscriptionID(1)
		p.AddSubscriptionID(268435455)
		p.AddUserProperty("k", "v")
		p.AddUserProperty("k", "")
	})}, 0x30, "'a' 2a 01 01 02 0000012c 03 't' 08 'r' 09 0001 07 23 0002 0b 01 0b ffffff7f 26 'k' 'v' 26 'k' '' 6d"},
	{"PUBACK", V311, &Ack{Type: PUBACK, PacketID: 10}, 0x40, "000a"},
	{"PUBACK", V5, &Ack{Type: PUBACK, PacketID: 10}, 0x40, "000a"},
	{"PUBACK with a reason", V5, &Ack{Type: PUBACK, PacketID: 10, Reason: NoMatchingSubscribers}, 0x40, "000a 10"},
	{"PUBREC with a reason string", V5, &Ack{Type: PUBREC, PacketID: 10, Reason: QuotaExceeded,
		Properties: properties(func(p *Properties) { p.ReasonString = "full"; p.Set(ReasonString) })}, 0x50, "000a 97 07 1f 'full'"},
	{"PUBREL", V311, &Ack{Type: PUBREL, PacketID: 10}, 0x62, "000a"},
	{"PUBCOMP for nothing", V5, &Ack{Type: PUBCOMP, PacketID: 10, Reason: PacketIdentifierNotFound}, 0x70, "000a 92"},
	{"PUBACK that succeeds with a user property", V5, &Ack{Type: PUBACK, PacketID: 1,
		Properties: properties(func(p *Properties) { p.AddUserProperty("k", "v") })}, 0x40, "0001 00 07 26 'k' 'v'"},
	{"SUBSCRIBE, the example of MQTT 5 3.8.3", V5, &Subscribe{PacketID: 10, Filters: []Subscription{{Filter: "a/b", QoS: 1}, {Filter: "c/d", QoS: 2}}},
		0x82, "000a 00 0003 612f62 01 0003 632f64 02"},
	{"SUBSCRIBE, the example of MQTT 3.1.1 3.8.3", V311, &Subscribe{PacketID: 10, Filters: []Subscription{{Filter: "a/b", QoS: 1}, {Filter: "c/d", QoS: 2}}},
		0x82, "000a 0003 612f62 01 0003 632f64 02"},
	{"SUBSCRIBE with all options", V5, &Subscribe{PacketID: 1, Filters: []Subscription{{Filter: "+/#", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2}},
		Properties: properties(func(p *Properties) { p.AddSubscriptionID(128) })}, 0x82, "0001 03 0b 8001 '+/#' 2e"},
	{"SUBACK, the example of MQTT 3.1.1 3.9.3", V311, &Suback{PacketID: 10, Reasons: []Reason{0, 2, 0x80}}, 0x90, "000a 00 02 80"},
	{"SUBACK", V5, &Suback{PacketID: 10, Reasons: []Reason{GrantedQoS1, SharedSubscriptionsNotSupported}}, 0x90, "000a 00 01 9e"},
	{"UNSUBSCRIBE, the example of MQTT 3.1.1 3.10.3", V311, &Unsubscribe{PacketID: 10, Filters: []string{"a/b", "c/d"}},
		0xa2, "000a 0003 612f62 0003 632f64"},
	{"UNSUBSCRIBE", V5, &Unsubscribe{PacketID: 10, Filters: []string{"a/b"}}, 0xa2, "000a 00 'a/b'"},
	{"UNSUBACK", V311, &Unsuback{PacketID: 10}, 0xb0, "000a"},
	{"UNSUBACK", V5, &Unsuback{PacketID: 10, Reasons: []Reason{Success, NoSubscriptionExisted}}, 0xb0, "000a 00 00 11"},
	{"PINGREQ", V311, &ping{PINGREQ}, 0xc0, ""},
	{"PINGRESP", V5, &ping{PINGRESP}, 0xd0, ""},
	{"DISCONNECT", V311, &Disconnect{}, 0xe0, ""},
	{"DISCONNECT", V5, &Disconnect{}, 0xe0, ""},
	{"DISCONNECT with will", V5, &Disconnect{Reason: DisconnectWithWill}, 0xe0, "04"},
	{"DISCONNECT with properties", V5, &Disconnect{Properties: properties(func(p *Properties) { p.SessionExpiry = 1; p.Set(SessionExpiry) })},
		0xe0, "00 05 11 00000001"},
	{"AUTH", V5, authCodec{&Auth{}}, 0xf0, ""},
	{"AUTH with a challenge", V5, authCodec{&Auth{Reason: ContinueAuthentication, Properties: properties(func(p *Properties) {
		p.AuthMethod, p.AuthData = "m", []byte{1}
		p.Set(AuthMethod, AuthData)
	})}}, 0xf0, "18 08 15 'm' 16 0001 01"},
}

func TestVectors(t *testing.T) {
	for _, c := range vectors {
		t.Run(c.name+"/"+c.v.String(), func(t *testing.T) {
			want := wire(t, c.header, c.body)
			if got := c.packet.Append([]byte("before"), c.v); string(got) != "before"+string(want) {
				t.Errorf("encoded\n% x, want\n% x", got[len("before"):], want)
			}
			got, err := decode(c.v, want)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := describe(got), describe(c.packet); got != want {
				t.Errorf("decoded\n%s, want\n%s", got, want)
			}
		})
	}
}

// TestShortForms decodes the forms that Append never writes, since it writes shorter ones.
func TestShortForms(t *testing.T) {
	for _, c := range []struct {
		header   byte
		long     string
		shortest string
	}{
		{0x40, "0001 00", "0001"}, // [MQTT 3.4.2.1]
		{0x40, "0001 00 00", "0001"},
		{0x40, "0001 10 00", "0001 10"},
		{0xe0, "00", ""}, // [MQTT 3.14.2.1]
		{0xe0, "00 00", ""},
		{0xe0, "8b 00", "8b"},
	} {
		p, err := decode(V5, wire(t, c.header, c.long))
		if err != nil {
			t.Errorf("%s: %v", c.long, err)
			continue
		}
		if got, want := p.Append(nil, V5), wire(t, c.header, c.shortest); !bytes.Equal(got, want) {
			t.Errorf("%s: encoded % x, want % x", c.long, got, want)
		}
	}
}

// TestVersion31 decodes what MQTT 3.1 allows and its successors do not.
func TestVersion31(t *testing.T) {
	for _, c := range []struct {
		name   string
		header byte
		body   string
	}{
		{"SUBSCRIBE sent again", 0x8a, "0001 'a' 01"},
		{"UNSUBSCRIBE sent again", 0xaa, "0001 'a'"},
		{"PUBREL sent again", 0x6a, "0001"},
		{"user name and password missing", 0x10, "'MQIsdp' 03 c2 0000 'c'"},
		{"password missing", 0x10, "'MQIsdp' 03 c2 0000 'c' 'u'"},
		{"flags of a will that is not there", 0x10, "'MQIsdp' 03 3a 0000 'c'"},
		{"reserved connect flag", 0x10, "'MQIsdp' 03 03 0000 'c'"},
		{"client identifier of 24 characters", 0x10, "'MQIsdp' 03 02 0000 'abcdefghijklmnopqrstuvwx'"},
		{"reserved acknowledge flags", 0x20, "ff 00"},
	} {
		if _, err := decode(V31, wire(t, c.header, c.body)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	got, err := decode(V31, wire(t, 0x10, "'MQIsdp' 03 c2 0000 'c' 'u'"))
	if err != nil {
		t.Fatal(err)
	}
	if c := got.(connectCodec); !c.HasUsername || c.Username != "u" || c.HasPassword {
		t.Errorf("user name and password are %+v", c.Connect)
	}
	// A failed subscription has no code: the server grants it [MQTT 3.1, 3.8].
	s := Suback{PacketID: 1, Reasons: []Reason{GrantedQoS1, NotAuthorized}}
	if got, want := s.Append(nil, V31), wire(t, 0x90, "0001 01 00"); !bytes.Equal(got, want) {
		t.Errorf("SUBACK % x, want % x", got, want)
	}
}

// TestLenient311 decodes what only MQTT 5 forbids.
func TestLenient311(t *testing.T) {
	for _, c := range []struct{ name, wire string }{
		{"remaining length with needless bytes", "30 84 80 00 0001 61 62"},
		{"malformed shared subscription, an ordinary filter", "82 0c 0001 0007 24 73 68 61 72 65 2f 00"},
	} {
		if _, err := decode(V311, unhex(t, c.wire)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := decode(V5, unhex(t, "30 84 80 00 0001 61 00"))
	wantError(t, err, "MQTT-1.5.5-1", MalformedPacket)
	_, err = decode(V5, unhex(t, "c0 80 00"))
	wantError(t, err, "MQTT-1.5.5-1", MalformedPacket)
}

// TestReasonsForVersion3 proves that each reason of a CONNACK has a return code [MQTT 3.1.1 3.2.2.3].
func TestReasonsForVersion3(t *testing.T) {
	want := map[Reason]byte{Success: 0, UnsupportedProtocolVersion: 1, ClientIdentifierNotValid: 2, BadUsernameOrPassword: 4, NotAuthorized: 5, Banned: 5}
	for r := range 256 {
		if !Reason(r).in(CONNACK) {
			continue
		}
		code, listed := want[Reason(r)]
		if !listed {
			code = 3
		}
		for _, v := range []Version{V31, V311} {
			if got := (&Connack{Reason: Reason(r)}).Append(nil, v); !slices.Equal(got, []byte{0x20, 2, 0, code}) {
				t.Errorf("%v: % x, want return code %d", Reason(r), got, code)
			}
		}
	}
	s := Suback{PacketID: 1, Reasons: []Reason{GrantedQoS2, NotAuthorized, TopicFilterInvalid}}
	if got, want := s.Append(nil, V311), wire(t, 0x90, "0001 02 80 80"); !bytes.Equal(got, want) {
		t.Errorf("SUBACK % x, want % x", got, want)
	}
}
