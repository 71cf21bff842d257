package frame

import (
	"bytes"
	"reflect"
	"testing"
)

// messages has every section [AMQP 3.2], with as little and as much as it can have.
var messages = []struct {
	name string
	m    Message
	wire string
}{
	{"nothing", Message{}, ""},
	{"data", Message{Body: []Section{{CodeData, Value{con: []byte{codeBinary8}, data: []byte("\x01d")}}}}, "005375 a00164"},
	{"empty sections", Message{Header: Header{Present: true}, DeliveryAnnotations: mapOf(), MessageAnnotations: mapOf(),
		Properties: Properties{Present: true}, ApplicationProperties: mapOf(), Footer: mapOf()},
		"00537045 005371c10100 005372c10100 00537345 005374c10100 005378c10100"},
	{"all of a header", Message{Header: Header{Present: true, Durable: true, Priority: Some(uint8(4)), TTL: Some(uint32(0)),
		FirstAcquirer: true, DeliveryCount: 300}}, "005370 c00b05 41 5004 43 41 700000012c"},
	{"all properties", Message{Properties: Properties{Present: true, MessageID: ulong(1), UserID: []byte{}, To: Some(""),
		Subject: Some("s"), ReplyTo: Some("r"), CorrelationID: ulong(300), ContentType: Some(Symbol("a/b")),
		ContentEncoding: Some(Symbol("")), AbsoluteExpiryTime: Some(int64(0)), CreationTime: Some(int64(-1)),
		GroupID: Some("g"), GroupSequence: Some(uint32(0)), ReplyToGroupID: Some("h")}},
		"005373 c0360d 5301 a000 a100 a10173 a10172 80000000000000012c a303'a/b' a300 830000000000000000 83ffffffffffffffff a10167 43 a10168"},
	{"last of the properties", Message{Properties: Properties{Present: true, ReplyToGroupID: Some("")}},
		"005373 c00f0d 40 40 40 40 40 40 40 40 40 40 40 40 a100"},
}

func ulong(n uint64) Value {
	v, _ := ParseValue(AppendUlong(nil, n))
	return v
}

func TestMessages(t *testing.T) {
	var back Message
	for _, c := range messages {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			if got := c.m.Append([]byte("b")); string(got) != "b"+string(wire) {
				t.Errorf("written as\n% x, want\n% x", got[1:], wire)
			}
			if err := back.Decode(wire); err != nil {
				t.Fatal(err)
			}
			if got := back.Append(nil); !bytes.Equal(got, wire) {
				t.Errorf("read and written as\n% x, want\n% x", got, wire)
			}
			if raw := back.Properties.Raw; back.Properties.Present != (raw != nil) || !bytes.Contains(wire, raw) {
				t.Errorf("raw properties % x", raw)
			}
			got := back
			got.Properties.Raw = nil
			if got.Body, c.m.Body = nil, nil; !reflect.DeepEqual(got, c.m) {
				t.Errorf("got\n%+v, want\n%+v", got, c.m)
			}
		})
	}
}

// Bodies and annotations of every type go round byte for byte, however they are spelt.
func TestMessagesKeepTheirBytes(t *testing.T) {
	for _, wire := range []string{
		"005375 a000",
		"005375 b00000000161 005375 a00162",
		"005376 45 005376 c00100 005376 c00201 41",
		"005377 40",
		"005377 00 a30178 e0020041",
		"005372 c10f06 a30161 7000000001 5301 5601 4440 005377 40",
		"005374 c11e08 a10161 82c0934a456d5cfaad a10162 7422500001 a10163 40 a10164 5600 005375 a000",
		"005375 a000 005378 d10000000a 00000002 a30161 c00100",
	} {
		in := unhex(t, wire)
		var m Message
		if err := m.Decode(in); err != nil {
			t.Errorf("% x: %v", in, err)
			continue
		}
		if got := m.Append(nil); !bytes.Equal(got, in) {
			t.Errorf("% x was written as % x", in, got)
		}
	}
	for _, v := range values {
		in := append([]byte{0, codeSmallUlong, byte(CodeValue)}, unhex(t, v.wire)...)
		var m Message
		if err := m.Decode(in); err != nil || len(m.Body) != 1 || !bytes.Equal(m.Append(nil), in) || show(m.Body[0].Value) != v.want {
			t.Errorf("% x: %+v, %v", in, m, err)
		}
	}
}

func TestData(t *testing.T) {
	var m Message
	if err := m.Decode(unhex(t, "005375 a00161 005375 b00000000162")); err != nil {
		t.Fatal(err)
	}
	if len(m.Body) != 2 || string(m.Body[0].Data()) != "a" || string(m.Body[1].Data()) != "b" {
		t.Errorf("%+v", m.Body)
	}
	if err := m.Decode(unhex(t, "005377 a00161")); err != nil || len(m.Body) != 1 || m.Body[0].Data() != nil {
		t.Errorf("%+v, %v", m.Body, err)
	}
}

// TestDecodeLeavesNothing: what was decoded before leaves nothing behind, be it refused in the middle.
func TestDecodeLeavesNothing(t *testing.T) {
	full := message(t)
	small := AppendData(nil, "x")
	bodies := [][]byte{full, small, full[:len(full)-150], (&Header{Present: true}).Append(nil)}
	var used Message
	for _, before := range bodies {
		for _, b := range bodies {
			var fresh Message
			_ = used.Decode(before)
			if got, want := used.Decode(b), fresh.Decode(b); got != want && got.Error() != want.Error() {
				t.Fatal(got, want)
			}
			if len(used.Body) == 0 {
				used.Body = nil
			}
			if !reflect.DeepEqual(used, fresh) {
				t.Errorf("got %+v, want %+v", used, fresh)
			}
		}
	}
	short := Transfer{Handle: 1, DeliveryID: Some(uint32(1)), DeliveryTag: []byte{1}, Payload: small}
	var transfer Transfer
	if err := transfer.Decode((&Transfer{Settled: true, More: true, State: State{Kind: Accepted}, Resume: true, Aborted: true, Batchable: true,
		ReceiverSettleMode: Some(ReceiveSecond)}).Append(nil)); err != nil {
		t.Fatal(err)
	}
	if err := transfer.Decode(short.Append(nil)); err != nil || !reflect.DeepEqual(transfer, short) {
		t.Errorf("%v, got %+v, want %+v", err, transfer, short)
	}
}
