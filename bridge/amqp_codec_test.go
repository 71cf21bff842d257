package bridge

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
)

// everything is a bare message with all that AMQP has: each type in each section that takes it [AMQP 3.2, 1.6].
func everything(to string) []byte {
	id := frame.AppendUUID(nil, [16]byte{7})
	uuid, _ := frame.ParseValue(id)
	p := frame.Properties{
		Present: true, MessageID: uuid, UserID: []byte{0xff}, To: frame.Some(to), Subject: frame.Some("sübject"), ReplyTo: frame.Some("answers"), CorrelationID: uuid,
		ContentType: frame.Some[frame.Symbol]("a/b"), ContentEncoding: frame.Some[frame.Symbol]("gzip"), AbsoluteExpiryTime: frame.Some[int64](4e12), CreationTime: frame.Some[int64](1),
		GroupID: frame.Some("g"), GroupSequence: frame.Some[uint32](9), ReplyToGroupID: frame.Some("r"),
	}
	simple := [][]byte{
		frame.AppendNull(nil), frame.AppendBool(nil, true), frame.AppendUbyte(nil, 255), frame.AppendUshort(nil, 65535), frame.AppendUint(nil, 1<<31), frame.AppendUlong(nil, 1<<63),
		frame.AppendByte(nil, -128), frame.AppendShort(nil, -32768), frame.AppendInt(nil, -1<<31), frame.AppendLong(nil, -1<<63), frame.AppendFloat(nil, 1.5), frame.AppendDouble(nil, 0.1),
		{0x74, 1, 2, 3, 4}, {0x84, 1, 2, 3, 4, 5, 6, 7, 8}, append([]byte{0x94}, make([]byte, 16)...), frame.AppendChar(nil, '🚢'), frame.AppendTimestamp(nil, 1_700_000_000_000), id,
		frame.AppendBinary(nil, "\x00\xff"), frame.AppendString(nil, "tëxt\x00"), frame.AppendSymbol(nil, "symbol"),
	}
	b := frame.AppendDescriptor(p.Append(nil), frame.CodeApplicationProperties)
	at := len(b)
	b = frame.BeginMap(b)
	for i, v := range simple {
		b = append(frame.AppendString(b, fmt.Sprint("p", i)), v...)
	}
	b = frame.AppendDescriptor(frame.EndMap(b, at, len(simple)), frame.CodeValue)
	at = len(b)
	b = frame.BeginList(b)
	for _, v := range simple {
		b = append(b, v...)
	}
	b = append(b, 0xf0, 0, 0, 0, 13, 0, 0, 0, 2, 0x71, 0, 0, 0, 1, 0, 0, 0, 2) // an array
	inner := len(b)
	b = frame.EndMap(frame.AppendString(frame.AppendInt(frame.BeginMap(b), 1), "one"), inner, 1)
	b = frame.AppendString(frame.AppendSymbol(append(b, 0), "described"), "x")
	return frame.EndList(b, at, len(simple)+3)
}

// Every type and section comes from one client through Kafka to another byte for byte, whatever the codec (AKB-A11).
func TestEverythingThroughKafka(t *testing.T) {
	t.Parallel()
	codecs := []string{"native", "default", "json", "raw"}
	text := "routes:\n"
	for _, name := range codecs {
		text += fmt.Sprintf("  - {from: amqp:%s, to: kafka:%[1]s, codec: %[1]s}\n", name)
	}
	r := start(t, parse(t, amqpEndpoint+`kafka: {embedded: {dir: `+t.TempDir()+`, listen: "127.0.0.1:0", partitions: 1}}`+"\n"+text))
	c := r.app()
	for _, name := range codecs {
		header := (&frame.Header{Present: true, Durable: true, Priority: frame.Some[uint8](7)}).Append(nil)
		if got := c.Sender(name).Send(append(header, everything(name)...)); got.Kind != frame.Accepted {
			t.Fatalf("%s: %+v", name, got)
		}
	}
	receivers := map[string]*amqptest.Receiver{}
	for _, name := range codecs {
		receivers[name] = c.Receiver(name+"/ConsumerGroups/g/Partitions/0", 1)
	}
	for _, name := range codecs {
		want, got := everything(name), receivers[name].Receive()
		got.Accept()
		m := decode(t, got)
		if h := m.Header; !h.Durable || h.Priority.V != 7 {
			t.Errorf("%s: %+v", name, h)
		}
		if at := bytes.Index(got.Payload, want); at < 0 || at+len(want) != len(got.Payload) {
			t.Errorf("%s:\ngot  %x\nwant %x", name, got.Payload, want)
		}
	}
	document := values(t, cluster(t, r.Kafka...), "json")[0]
	if want := `{"properties":{"messageId":"07000000-0000-0000-0000-000000000000","to":"json","subject":"sübject","replyTo":"answers",`; !strings.HasPrefix(document, want) {
		t.Errorf("got %s", document)
	}
}
