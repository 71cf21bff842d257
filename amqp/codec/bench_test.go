package codec

import (
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/frame"
)

// small is the message of the figures: 100 bytes of data, with the header that most senders write.
func small() []byte {
	b := (&frame.Header{Present: true, Durable: true}).Append(nil)
	return frame.AppendData(b, make([]byte, 100))
}

// usual is a message as a library sends it, with properties of both kinds.
func usual() []byte {
	b := (&frame.Header{Present: true, Durable: true}).Append(nil)
	b = (&frame.Properties{
		Present: true, MessageID: value(frame.AppendString(nil, "7f3a")), To: frame.Some("orders"), ContentType: frame.Some[frame.Symbol]("text/plain"),
	}).Append(b)
	b = frame.AppendDescriptor(b, frame.CodeApplicationProperties)
	at := len(b)
	b = frame.BeginMap(b)
	b = frame.AppendString(frame.AppendString(b, "shop"), "lyon")
	b = frame.AppendInt(frame.AppendString(b, "items"), 3)
	b = frame.EndMap(b, at, 2)
	return frame.AppendData(b, make([]byte, 100))
}

func value(raw []byte) frame.Value {
	v, err := frame.ParseValue(raw)
	if err != nil {
		panic(err)
	}
	return v
}

func BenchmarkRead(b *testing.B) {
	for name, payload := range map[string][]byte{"data": small(), "properties": usual()} {
		b.Run(name, func(b *testing.B) {
			var msg frame.Message
			var m linkspan.Message
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if err := msg.Decode(payload); err != nil {
					b.Fatal(err)
				}
				m.Reset()
				m.Topic, m.Received, m.Scratch = "orders", now, m.Scratch[:0]
				if err := Native.Read(&msg, payload, &m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	for name, payload := range map[string][]byte{"data": small(), "properties": usual(), "mqtt": nil} {
		b.Run(name, func(b *testing.B) {
			m := &linkspan.Message{Topic: "orders", QoS: 1, Payload: make([]byte, 100)}
			if payload != nil {
				m = read(b, Native, payload)
			}
			m.Record = linkspan.Record{Topic: "orders", Partition: 3, Offset: 123456, Timestamp: time.Now(), Key: []byte("lyon")}
			var out []byte
			b.ReportAllocs()
			for b.Loop() {
				out = Native.Append(out[:0], m, Annotate{Position: true})
			}
		})
	}
}

// read returns what a codec makes of a message.
func read(t testing.TB, c Codec, payload []byte) *linkspan.Message {
	t.Helper()
	var msg frame.Message
	if err := msg.Decode(payload); err != nil {
		t.Fatal(err)
	}
	m := &linkspan.Message{}
	m.Reset()
	m.Topic, m.Received = "a/b", time.UnixMilli(1_700_000_000_000)
	if err := c.Read(&msg, payload, m); err != nil {
		t.Fatal(err)
	}
	return m
}
