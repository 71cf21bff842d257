package linkspan

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

func full() *Message {
	return &Message{
		Topic: "sensors/hall-1/t7/temp", Payload: []byte("21.5"), QoS: 1, Retain: true,
		PayloadFormat: PayloadUTF8, ContentType: "text/plain", ResponseTopic: "reply", CorrelationData: []byte{1, 2},
		UserProperties: []Property{{"a", "1"}, {"a", "2"}}, Expires: time.Unix(100, 0),
		AMQP: []Header{{"amqp.subject", []byte("s")}}, Endpoint: "devices", Client: "t7", Username: "u", Received: time.Unix(50, 0), Mute: true, Tries: 2, Hops: 1,
		Device: "t7", Left: true, Route: "1", Target: "devices",
		Record: Record{Topic: "k", Partition: 3, Offset: 9, Timestamp: time.Unix(50, 0), Key: []byte("key"),
			Headers: []Header{{"h", []byte("v")}, {"h", []byte("w")}}},
	}
}

// TestCloneBorrowsNothing overwrites everything that the original points to.
func TestCloneBorrowsNothing(t *testing.T) {
	m := full()
	c := m.Clone()
	for _, b := range [][]byte{m.Payload, m.CorrelationData, m.Record.Key, m.AMQP[0].Value, m.Record.Headers[0].Value} {
		clear(b)
	}
	m.UserProperties[0].Key, m.Record.Headers[1].Key = "!", "!"
	if want := full(); !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// TestCloneCopiesEveryField fails when a field is added to Message and Clone forgets it.
func TestCloneCopiesEveryField(t *testing.T) {
	v := reflect.ValueOf(*full().Clone())
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() && name != "Scratch" {
			t.Errorf("%s is empty in the clone", name)
		}
	}
}

func TestResetKeepsMemoryOnly(t *testing.T) {
	m := full()
	m.Reset()
	if len(m.UserProperties)+len(m.AMQP)+len(m.Record.Headers) != 0 || cap(m.UserProperties) == 0 || cap(m.Record.Headers) == 0 {
		t.Error("slices should be empty and keep their memory")
	}
	m.UserProperties, m.AMQP, m.Record.Headers = nil, nil, nil
	if !reflect.DeepEqual(m, &Message{Record: Record{Partition: AnyPartition}}) {
		t.Errorf("left over: %+v", m)
	}
}

func TestExpired(t *testing.T) {
	m := &Message{}
	if m.Expired(time.Unix(1<<40, 0)) {
		t.Error("a message without expiry never expires")
	}
	m.Expires = time.Unix(100, 0)
	if m.Expired(time.Unix(99, 0)) || !m.Expired(time.Unix(100, 0)) {
		t.Error("a message expires when its interval has passed [MQTT-3.3.2-5]")
	}
}

func TestHeaderIsTheLast(t *testing.T) {
	r := full().Record
	if got := string(r.Header("h")); got != "w" {
		t.Errorf("got %q, want the last of two", got)
	}
	if r.Header("none") != nil {
		t.Error("a missing header has no value")
	}
}

func TestPermanent(t *testing.T) {
	base := errors.New("base")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false}, {base, false}, {ErrClosed, false}, {Permanent(nil), false},
		{Permanent(base), true}, {fmt.Errorf("send to t: %w", Permanent(base)), true}, {ErrNoRoute, true},
	} {
		if got := IsPermanent(c.err); got != c.want {
			t.Errorf("IsPermanent(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if !errors.Is(Permanent(base), base) || !errors.Is(fmt.Errorf("x: %w", ErrTooLarge), ErrTooLarge) {
		t.Error("a permanent error must still be recognised for what it is")
	}
}
