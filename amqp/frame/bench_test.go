package frame

import "testing"

// message is one as a device may send it: 100 bytes with a few properties.
func message(t testing.TB) []byte {
	annotations := AppendSymbol(BeginMap(nil), "x-opt-partition-key")
	annotations = EndMap(AppendString(annotations, "device-17"), 0, 1)
	properties := BeginMap(nil)
	for _, name := range []string{"site", "unit", "firmware"} {
		properties = AppendString(AppendString(properties, name), "value of "+name)
	}
	m := Message{
		Header:             Header{Present: true, Durable: true, TTL: Some(uint32(60_000))},
		MessageAnnotations: annotations,
		Properties: Properties{Present: true, MessageID: value(t, AppendString(nil, "m-1234567")), To: Some("sensors"),
			ContentType: Some(Symbol("application/json")), CreationTime: Some(int64(1_700_000_000_000))},
		ApplicationProperties: EndMap(properties, 0, 3),
		Body:                  []Section{{CodeData, value(t, AppendBinary(nil, make([]byte, 100)))}},
	}
	return m.Append(nil)
}

func BenchmarkTransferDecode(b *testing.B) {
	in := Transfer{Handle: 1, DeliveryID: Some(uint32(70_000)), DeliveryTag: []byte{0, 0, 1, 2}, MessageFormat: Some(uint32(0)),
		Payload: make([]byte, 100)}
	wire := EndFrame(in.Append(BeginFrame(nil, TypeAMQP, 0)), 0)
	var t Transfer
	b.ReportAllocs()
	for b.Loop() {
		f, _, _, err := Cut(wire, 65536)
		if err == nil {
			err = t.Decode(f.Body)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTransferAppend(b *testing.B) {
	t := Transfer{Handle: 1, DeliveryID: Some(uint32(70_000)), DeliveryTag: []byte{0, 0, 1, 2}, MessageFormat: Some(uint32(0)),
		Payload: make([]byte, 100)}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = EndFrame(t.Append(BeginFrame(out[:0], TypeAMQP, 0)), 0)
	}
}

func BenchmarkDispositionDecode(b *testing.B) {
	in := Disposition{Role: Receiver, First: 70_000, Last: 70_100, Settled: true, State: State{Kind: Accepted}}
	body := in.Append(nil)
	var d Disposition
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDispositionAppend(b *testing.B) {
	d := Disposition{Role: Receiver, First: 70_000, Last: 70_100, Settled: true, State: State{Kind: Accepted}}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = EndFrame(d.Append(BeginFrame(out[:0], TypeAMQP, 0)), 0)
	}
}

func BenchmarkFlowDecode(b *testing.B) {
	in := Flow{NextIncomingID: Some(uint32(1)), IncomingWindow: 2048, NextOutgoingID: 1, OutgoingWindow: 2048,
		Handle: Some(uint32(0)), DeliveryCount: Some(uint32(9)), LinkCredit: Some(uint32(1000))}
	body := in.Append(nil)
	var w Flow
	b.ReportAllocs()
	for b.Loop() {
		if err := w.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageDecode(b *testing.B) {
	payload := message(b)
	var m Message
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Decode(payload); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMessageAppend(b *testing.B) {
	var m Message
	if err := m.Decode(message(b)); err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = m.Append(out[:0])
	}
}

func BenchmarkIntern(b *testing.B) {
	s := Symbol(borrow([]byte("x-opt-partition-key")))
	b.ReportAllocs()
	for b.Loop() {
		s.Intern()
	}
}
