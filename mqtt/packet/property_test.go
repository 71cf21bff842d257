package packet

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// collect returns the user properties of p as "key=value".
func collect(p *Properties) (all []string) {
	for k, v := range p.UserProperties() {
		all = append(all, k+"="+v)
	}
	return all
}

func TestListsAmongOthers(t *testing.T) {
	// User properties and subscription identifiers, with others before, between and after them.
	packet := wire(t, 0x30, "'t' 21 01 01 26 'a' '1' 02 00000005 0b 07 26 'a' '2' 03 'c' 0b 8001 23 0009 6d")
	p, err := decode(V5, packet)
	if err != nil {
		t.Fatal(err)
	}
	publish := p.(*Publish)
	if got, want := collect(&publish.Properties), []string{"a=1", "a=2"}; !slices.Equal(got, want) {
		t.Errorf("user properties %q, want %q", got, want)
	}
	if got, want := slices.Collect(publish.Properties.SubscriptionIDs()), []uint32{7, 128}; !slices.Equal(got, want) {
		t.Errorf("subscription identifiers %d, want %d", got, want)
	}
	for range publish.Properties.UserProperties() {
		break // early, which the iterator must bear
	}
	for range publish.Properties.SubscriptionIDs() {
		break
	}
	want := wire(t, 0x30, "'t' 21 01 01 02 00000005 03 'c' 23 0009 26 'a' '1' 0b 07 26 'a' '2' 0b 8001 6d")
	if got := publish.Append(nil, V5); !slices.Equal(got, want) {
		t.Errorf("written\n% x, want\n% x", got, want)
	}
}

// TestAddToDecoded proves that adding to what was decoded leaves the read buffer alone.
func TestAddToDecoded(t *testing.T) {
	packet := wire(t, 0x30, "'t' 0e 26 'a' '1' 26 'b' '2' 6d6d6d6d6d6d6d6d")
	before := slices.Clone(packet)
	raw, _, _, err := Cut(packet, 0)
	if err != nil {
		t.Fatal(err)
	}
	var p Publish
	for range 3 {
		if err := p.Decode(V5, raw); err != nil {
			t.Fatal(err)
		}
		p.Properties.AddUserProperty("c", "3")
		if got, want := collect(&p.Properties), []string{"a=1", "b=2", "c=3"}; !slices.Equal(got, want) {
			t.Errorf("user properties %q, want %q", got, want)
		}
		if err := p.Decode(V5, raw); err != nil {
			t.Fatal(err)
		}
		p.Properties.Reset()
		p.Properties.AddUserProperty("d", "4")
		if got, want := collect(&p.Properties), []string{"d=4"}; !slices.Equal(got, want) {
			t.Errorf("user properties after Reset %q, want %q", got, want)
		}
	}
	if !slices.Equal(packet, before) {
		t.Errorf("the read buffer is\n% x, was\n% x", packet, before)
	}
}

// TestDataEndsWhereItEnds proves that appending to decoded values cannot write over what follows them in the buffer.
func TestDataEndsWhereItEnds(t *testing.T) {
	p, err := decode(V5, wire(t, 0x10, "'MQTT' 05 c6 0000 08 15 'm' 16 'd' 'c' 04 09 'd' 't' 'm' 'u' 'p'"))
	if err != nil {
		t.Fatal(err)
	}
	connect := p.(connectCodec)
	for _, data := range [][]byte{connect.Properties.AuthData, connect.Will.Properties.CorrelationData, connect.Will.Payload, connect.Password} {
		if len(data) != 1 || cap(data) != 1 {
			t.Errorf("%q has length %d, capacity %d", data, len(data), cap(data))
		}
	}
}

// TestNothingStays proves that a Decode leaves nothing of the one before it, even of one that failed half-way.
func TestNothingStays(t *testing.T) {
	var p Publish
	for _, first := range []string{
		"'t' 15 01 01 03 'c' 08 'r' 09 'd' 0b 01 26 'k' 'v' 6d",
		"'t' 15 01 01 03 'c' 08 'r' 09 'd' 0b 01 26 'k' 0001 ff 6d",
		"'t' 04 03 0001 ff",
		"'t' 02 01 02",
	} {
		raw, _, _, _ := Cut(wire(t, 0x30, first), 0)
		_ = p.Decode(V5, raw)
		for _, v := range all {
			raw, _, _, _ = Cut(wire(t, 0x30, "'t' 00"), 0)
			if err := p.Decode(v, raw); err != nil {
				t.Fatal(err)
			}
			want := Publish{Topic: "t"}
			if v != V5 {
				want.Payload = []byte{0}
			}
			if got, want := describe(&p), describe(&want); got != want {
				t.Errorf("after %s in version %v:\n%s, want\n%s", first, v, got, want)
			}
		}
	}
}

func TestAddUserPropertyRefuses(t *testing.T) {
	long := strings.Repeat("x", 65536)
	var p Properties
	for _, c := range [][2]string{{"\xff", "v"}, {"k", "\x00"}, {long, "v"}, {"k", long}} {
		if p.AddUserProperty(c[0], c[1]) {
			t.Errorf("%.10q=%.10q was added", c[0], c[1])
		}
	}
	if p.Has(UserProperty) || p.size() != 0 {
		t.Error("something was added")
	}
	if !p.AddUserProperty(long[1:], "") || !slices.Equal(collect(&p), []string{long[1:] + "="}) {
		t.Error("the longest key was not added")
	}
}

// TestUnwritable proves that what MQTT cannot carry is not written in part.
func TestUnwritable(t *testing.T) {
	long := strings.Repeat("x", 65536)
	huge := make([]byte, maxRemaining) // never touched, so that it takes no memory
	set := func(id PropertyID) (p Properties) {
		if propertyTable[id].kind == kindText {
			*p.text(id) = long
		} else {
			*p.data(id) = []byte(long)
		}
		p.Set(id)
		return p
	}
	packets := map[string]codec{
		"topic":            &Publish{Topic: long},
		"content type":     &Publish{Topic: "t", Properties: set(ContentType)},
		"correlation data": &Publish{Topic: "t", Properties: set(CorrelationData)},
		"payload":          &Publish{Topic: "t", Payload: huge},
		"client id":        connectCodec{&Connect{Version: V5, ClientID: long}},
		"will topic":       connectCodec{&Connect{Version: V5, Will: &Will{Topic: long}}},
		"will payload":     connectCodec{&Connect{Version: V5, Will: &Will{Topic: "t", Payload: []byte(long)}}},
		"will properties":  connectCodec{&Connect{Version: V5, Will: &Will{Topic: "t", Properties: set(ResponseTopic)}}},
		"user name":        connectCodec{&Connect{Version: V5, HasUsername: true, Username: long}},
		"password":         connectCodec{&Connect{Version: V5, HasPassword: true, Password: []byte(long)}},
		"auth method":      connectCodec{&Connect{Version: V5, Properties: set(AuthMethod)}},
		"CONNACK":          &Connack{Properties: set(ReasonString)},
		"PUBACK":           &Ack{Type: PUBACK, Properties: set(ReasonString)},
		"SUBSCRIBE":        &Subscribe{Filters: []Subscription{{Filter: long}}},
		"SUBACK":           &Suback{Properties: set(ReasonString)},
		"UNSUBSCRIBE":      &Unsubscribe{Filters: []string{long}},
		"UNSUBACK":         &Unsuback{Properties: set(ReasonString)},
		"DISCONNECT":       &Disconnect{Properties: set(ReasonString)},
		"AUTH":             authCodec{&Auth{Properties: set(AuthData)}},
	}
	for _, name := range slices.Sorted(maps.Keys(packets)) {
		if got := packets[name].Append([]byte{1}, V5); len(got) != 1 {
			t.Errorf("%s: %d bytes were written", name, len(got)-1)
		}
		if p, ok := packets[name].(*Publish); ok && p.Size(V5) != MaxSize+1 {
			t.Errorf("%s: size %d", name, p.Size(V5))
		}
	}
	largest := Publish{Topic: "t", Payload: huge[3:]}
	if got := largest.Size(V311); got != MaxSize {
		t.Errorf("the largest packet has size %d, want %d", got, MaxSize)
	}
}
