package frame

import (
	"bytes"
	"math"
	"reflect"
	"testing"
)

// performatives has each with as little and as much as it can have, and how that is written.
var performatives = []struct {
	name string
	p    performative
	wire string
}{
	{"open, least", &Open{MaxFrameSize: math.MaxUint32, ChannelMax: math.MaxUint16}, "005310 c00301 a100"},
	{"open", &Open{ContainerID: "c", Hostname: Some("h"), MaxFrameSize: 512, ChannelMax: 1, IdleTimeout: 300,
		OutgoingLocales: []Symbol{"o"}, IncomingLocales: []Symbol{"i", "j"}, OfferedCapabilities: []Symbol{"a"},
		DesiredCapabilities: []Symbol{"b"}, Properties: mapOf("k", "v")},
		"005310 c0370a a10163 a10168 7000000200 600001 700000012c e00401a3 016f e00602a3 0169 016a e00401a3 0161 e00401a3 0162 c10702 a3016b a10176"},
	{"begin, least", &Begin{HandleMax: math.MaxUint32}, "005311 c00504 40 43 43 43"},
	{"begin", &Begin{RemoteChannel: Some(uint16(0)), NextOutgoingID: 1, IncomingWindow: 2, OutgoingWindow: 3, HandleMax: 4,
		OfferedCapabilities: []Symbol{"a"}, DesiredCapabilities: []Symbol{"b"}, Properties: mapOf()},
		"005311 c01b08 600000 5201 5202 5203 5204 e00401a3 0161 e00401a3 0162 c10100"},
	{"attach, least of a receiver", &Attach{Name: "l", Role: Receiver, SenderSettleMode: SendMixed}, "005312 c00603 a1016c 43 41"},
	{"attach, least of a sender", &Attach{Name: "l", SenderSettleMode: SendMixed},
		"005312 c00d0a a1016c 43 42 40 40 40 40 40 40 43"},
	{"attach", &Attach{Name: "l", Handle: 1, SenderSettleMode: SendUnsettled, ReceiverSettleMode: ReceiveSecond,
		Source: &Source{Address: Some("s"), Durable: DurableState, ExpiryPolicy: ExpireNever, Timeout: 9, Dynamic: true,
			DynamicNodeProperties: mapOf("p", "q"), DistributionMode: DistributeCopy, Filter: mapOf("f", "g"),
			DefaultOutcome: State{Kind: Released}, Outcomes: []Symbol{"o"}, Capabilities: []Symbol{"c"}},
		Target: &Target{Address: Some(""), Durable: DurableConfiguration, ExpiryPolicy: ExpireLinkDetach, Timeout: 8,
			Dynamic: true, DynamicNodeProperties: mapOf("p", "q"), Capabilities: []Symbol{"c"}},
		Unsettled:           Map("\xc1\x0c\x04\xa0\x01t\x00\x53\x24\x45\xa0\x01u\x40"),
		IncompleteUnsettled: true, InitialDeliveryCount: 7, MaxMessageSize: 1 << 40,
		OfferedCapabilities: []Symbol{"a"}, DesiredCapabilities: []Symbol{"b"}, Properties: mapOf("k", "v")},
		"005312 c0a00e a1016c 5201 42 5000 5001" +
			"005328 c0380b a10173 5202 a305 'never' 5209 41 c10702a30170a10171 a304 'copy' c10702a30166a10167 00532645 e00401a3016f e00401a30163" +
			"005329 c02407 a100 5201 a30b 'link-detach' 5208 41 c10702a30170a10171 e00401a30163" +
			"c10c04 a00174 00532445 a00175 40 41 5207 800000010000000000 e00401a30161 e00401a30162 c10702a3016ba10176"},
	{"attach, coordinator", &Attach{Name: "l", SenderSettleMode: SendMixed, Coordinator: &Coordinator{[]Symbol{"amqp:local-transactions"}}},
		"005312 c02e0a a1016c 43 42 40 40 40 005330 c01d01 e01a01a3 17 'amqp:local-transactions' 40 40 43"},
	{"flow, least", &Flow{}, "005313 c00504 40 43 43 43"},
	{"flow", &Flow{NextIncomingID: Some(uint32(0)), IncomingWindow: 1, NextOutgoingID: 2, OutgoingWindow: 3, Handle: Some(uint32(0)),
		DeliveryCount: Some(uint32(math.MaxUint32)), LinkCredit: Some(uint32(0)), Available: Some(uint32(5)), Drain: true, Echo: true,
		Properties: mapOf("k", "v")},
		"005313 c01c0b 43 5201 5202 5203 43 70ffffffff 43 5205 41 41 c10702a3016ba10176"},
	{"transfer, least", &Transfer{}, "005314 c00201 43"},
	{"transfer", &Transfer{Handle: 1, DeliveryID: Some(uint32(0)), DeliveryTag: []byte{}, MessageFormat: Some(uint32(0)), Settled: true,
		More: true, ReceiverSettleMode: Some(ReceiveFirst), State: State{Kind: Received, SectionNumber: 1, SectionOffset: 300},
		Resume: true, Aborted: true, Batchable: true, Payload: []byte("payload")},
		"005314 c01f0b 5201 43 a000 43 41 41 5000 005323 c00c02 5201 80000000000000012c 41 41 41 'payload'"},
	{"disposition, least", &Disposition{}, "005315 c00302 42 43"},
	{"disposition", &Disposition{Role: Receiver, First: 1, Last: 9, Settled: true, State: State{Kind: Accepted}, Batchable: true},
		"005315 c00c06 41 5201 5209 41 00532445 41"},
	{"disposition, rejected", &Disposition{First: 1, Last: 1, State: State{Kind: Rejected, Error: Error{"a:b", "why", mapOf("k", "v")}}},
		"005315 c02505 42 5201 40 40 005325 c01a01 00531d c01403 a303 'a:b' a103 'why' c10702a3016ba10176"},
	{"disposition, rejected without a reason", &Disposition{State: State{Kind: Rejected}}, "005315 c00905 42 43 40 40 00532545"},
	{"disposition, modified", &Disposition{State: State{Kind: Modified, DeliveryFailed: true, UndeliverableHere: true, Annotations: mapOf("k", "v")}},
		"005315 c01605 42 43 40 40 005327 c00c03 41 41 c10702a3016ba10176"},
	{"disposition, transactional", &Disposition{State: State{Kind: Transactional, Raw: []byte("\x00\x53\x34\xc0\x04\x01\xa0\x01x")}},
		"005315 c00e05 42 43 40 40 005334 c00401 a00178"},
	{"detach, least", &Detach{}, "005316 c00201 43"},
	{"detach", &Detach{Handle: 300, Closed: true, Error: Error{Condition: Stolen}},
		"005316 c01f03 700000012c 41 00531d c01301 a310 'amqp:link:stolen'"},
	{"end, least", &End{}, "00531745"},
	{"end", &End{Error{Condition: "x", Description: "y"}}, "005317 c00d01 00531d c00702 a30178 a10179"},
	{"close, least", &Close{}, "00531845"},
	{"close", &Close{Error{Condition: "x", Info: mapOf()}}, "005318 c00e01 00531d c00803 a30178 40 c10100"},
	{"mechanisms", &SASLMechanisms{[]Symbol{"PLAIN"}}, "005340 c00b01 e00801a3 05 'PLAIN'"},
	{"init, least", &SASLInit{Mechanism: "ANONYMOUS"}, "005341 c00c01 a309 'ANONYMOUS'"},
	{"init", &SASLInit{"PLAIN", []byte("\x00a\x00b"), Some("h")}, "005341 c01103 a305 'PLAIN' a004 00610062 a10168"},
	{"init, empty response", &SASLInit{Mechanism: "EXTERNAL", InitialResponse: []byte{}}, "005341 c00d02 a308 'EXTERNAL' a000"},
	{"challenge", &SASLChallenge{[]byte("c")}, "005342 c00401 a00163"},
	{"response, empty", &SASLResponse{[]byte{}}, "005343 c00301 a000"},
	{"outcome, least", &SASLOutcome{}, "005344 c00301 5000"},
	{"outcome", &SASLOutcome{SASLSysTemp, []byte("v")}, "005344 c00602 5004 a00176"},
}

// Everything a performative can say goes round [AMQP 2.7, 3.4, 3.5, 4.5, 5.3.3], in the fewest bytes [AMQP 1.4].
func TestPerformatives(t *testing.T) {
	for _, c := range performatives {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			if got := c.p.Append([]byte("b")); string(got) != "b"+string(wire) {
				t.Errorf("written as\n% x, want\n% x", got[1:], wire)
			}
			d, err := DescriptorOf(wire)
			if err != nil {
				t.Fatal(err)
			}
			back := newPerformative(d)
			if err := back.Decode(wire); err != nil {
				t.Fatal(err)
			}
			if got := back.Append(nil); !bytes.Equal(got, wire) {
				t.Errorf("read and written as\n% x, want\n% x", got, wire)
			}
			if !same(back, c.p) {
				t.Errorf("got %+v, want %+v", back, c.p)
			}
		})
	}
}

// same compares what performatives say: no capabilities and an empty list of them are the same, and so are a session-end
// that was said and one that was not.
func same(a, b performative) bool {
	normal := func(p performative) performative {
		v := reflect.ValueOf(p).Elem()
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String && f.Len() == 0 {
				f.SetZero()
			}
		}
		if t, ok := p.(*Transfer); ok && len(t.Payload) == 0 {
			t.Payload = nil
		}
		return p
	}
	return reflect.DeepEqual(normal(a), normal(b))
}

// Nothing of what was decoded before is left.
func TestDecodeReplacesAll(t *testing.T) {
	for _, full := range performatives {
		d, _ := DescriptorOf(unhex(t, full.wire))
		for _, least := range performatives {
			wire := unhex(t, least.wire)
			if other, _ := DescriptorOf(wire); other != d {
				continue
			}
			p := newPerformative(d)
			if p.Decode(unhex(t, full.wire)) != nil || p.Decode(wire) != nil {
				t.Fatal("cannot be decoded")
			}
			if got := p.Append(nil); !bytes.Equal(got, wire) {
				t.Errorf("%s behind %s: % x, want % x", least.name, full.name, got, wire)
			}
		}
	}
}

// What other peers may write is understood: symbolic descriptors, sizes of four bytes, nulls at the end, booleans and
// numbers of any width, one symbol instead of several.
func TestOtherSpellings(t *testing.T) {
	for _, c := range []struct{ name, wire, want string }{
		{"symbolic descriptor", "00 a30f 'amqp:close:list' 45", "00531845"},
		{"symbolic descriptor, long", "00 b30000000f 'amqp:close:list' 45", "00531845"},
		{"descriptor of eight bytes", "00 800000000000000018 45", "00531845"},
		{"list of four bytes", "005318 d00000000400000000", "00531845"},
		{"list of no fields", "005318 c00100", "00531845"},
		{"null at the end", "005318 c00201 40", "00531845"},
		{"wide numbers", "005314 d00000000e00000002 7000000001 7000000000", "005314 c00402 5201 43"},
		{"boolean with a byte", "005315 c00704 5601 43 40 5600", "005315 c00302 41 43"},
		{"last is first", "005315 c00603 41 5201 5201", "005315 c00402 41 5201"},
		{"one symbol", "005340 c00801 a305 'PLAIN'", "005340 c00b01 e00801a3 05 'PLAIN'"},
		{"no symbols", "005310 c00b06 a100 40 40 40 40 e00200a3", "005310 c00301 a100"},
		{"the default, said", "005312 c00804 a1016c 43 41 5002", "005312 c00603 a1016c 43 41"},
		{"symbolic outcome", "005315 c01b05 42 43 40 40 00 a312 'amqp:accepted:list' 45", "005315 c00905 42 43 40 40 00532445"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			d, err := DescriptorOf(wire)
			if err != nil {
				t.Fatal(err)
			}
			p := newPerformative(d)
			if err := p.Decode(wire); err != nil {
				t.Fatal(err)
			}
			if got, want := p.Append(nil), unhex(t, c.want); !bytes.Equal(got, want) {
				t.Errorf("got % x, want % x", got, want)
			}
		})
	}
}

// Every symbolic descriptor stands for one number, which is another for each [AMQP 2.7, 3.2, 3.4, 3.5, 4.5, 5.3.3].
func TestDescriptors(t *testing.T) {
	seen := map[Descriptor]string{}
	for name, d := range descriptors {
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s are both %#x", name, other, d)
		}
		seen[d] = name
		for _, b := range [][]byte{AppendSymbol([]byte{0}, name), AppendDescriptor(nil, d)} {
			if got, err := DescriptorOf(b); err != nil || got != d {
				t.Errorf("%s: %#x, %v", name, got, err)
			}
		}
	}
	if len(seen) != 36 {
		t.Errorf("%d descriptors", len(seen))
	}
}
