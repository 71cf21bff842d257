package packet

import "testing"

// benchPublish is a PUBLISH to a topic of 31 characters, of 162 bytes where its properties leave room for a payload. Other
// codecs have been measured with the like.
func benchPublish(v Version, userProperties int) (*Publish, []byte) {
	p := &Publish{Topic: "plant/hall-1/line-4/press-7/tem", QoS: 1, PacketID: 4711}
	for range userProperties {
		p.Properties.AddUserProperty("trace-id", "4bf92f3577b34da6a3ce929d0e0e4736")
	}
	if userProperties > 0 {
		p.Properties.MessageExpiry, p.Properties.ContentType = 3600, "application/json"
		p.Properties.Set(MessageExpiry, ContentType)
	}
	for p.Size(v) < 162 {
		p.Payload = append(p.Payload, 'x')
	}
	return p, p.Append(nil, v)
}

var publishCases = []struct {
	name string
	v    Version
	user int
}{{"3.1.1", V311, 0}, {"5", V5, 0}, {"5 with four properties", V5, 2}}

func BenchmarkPublishDecode(b *testing.B) {
	for _, c := range publishCases {
		b.Run(c.name, func(b *testing.B) {
			_, wire := benchPublish(c.v, c.user)
			raw, _, _, err := Cut(wire, 0)
			if err != nil {
				b.Fatal(err)
			}
			var p Publish
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				if err := p.Decode(c.v, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPublishCutAndDecode(b *testing.B) {
	_, wire := benchPublish(V311, 0)
	var p Publish
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		raw, _, _, err := Cut(wire, 0)
		if err == nil {
			err = p.Decode(V311, raw)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishAppend(b *testing.B) {
	for _, c := range publishCases {
		b.Run(c.name, func(b *testing.B) {
			p, wire := benchPublish(c.v, c.user)
			dst := make([]byte, 0, len(wire))
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				dst = p.Append(dst[:0], c.v)
			}
		})
	}
}

func BenchmarkPubackDecode(b *testing.B) {
	raw, _, _, _ := Cut((&Ack{Type: PUBACK, PacketID: 9}).Append(nil, V5), 0)
	var a Ack
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Decode(V5, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPubackAppend(b *testing.B) {
	a := Ack{Type: PUBACK, PacketID: 9}
	dst := make([]byte, 0, 8)
	b.ReportAllocs()
	for b.Loop() {
		dst = a.Append(dst[:0], V5)
	}
}

func BenchmarkUserProperties(b *testing.B) {
	p, _ := benchPublish(V5, 4)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for k, v := range p.Properties.UserProperties() {
			n += len(k) + len(v)
		}
	}
}

func BenchmarkValidTopicName(b *testing.B) {
	for _, topic := range []string{"a/b", "plant/hall-1/line-4/press-7/tem", "werk/halle-1/straße-4/wärme/soll"} {
		b.Run(topic, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := ValidTopicName(topic); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
