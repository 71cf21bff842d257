package envelope

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// through reads what became of m on the wire.
func through(t testing.TB, m *linkspan.Message) *linkspan.Message {
	t.Helper()
	var out, in packet.Publish
	out.Topic = "t"
	Write(&out.Properties, m)
	raw, _, _, err := packet.Cut(out.Append(nil, packet.V5), 0)
	if err == nil {
		err = in.Decode(packet.V5, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	back := new(linkspan.Message)
	if !Read(back, &in.Properties, len(m.UserProperties)) {
		t.Fatal("more user properties than there were")
	}
	return back
}

// [MQTT-3.3.2-4], [MQTT-3.3.2-15] to [MQTT-3.3.2-20]: what is sent along arrives as it was, and absent is not empty.
func TestThereAndBack(t *testing.T) {
	for _, m := range []linkspan.Message{
		{},
		{PayloadFormat: linkspan.PayloadBytes},
		{PayloadFormat: linkspan.PayloadUTF8, ContentType: "text/plain", ResponseTopic: "r", CorrelationData: []byte{1, 0}},
		{CorrelationData: []byte{}},
		{UserProperties: []linkspan.Property{{Key: "k", Value: "v"}, {}, {Key: "k", Value: "w"}}},
	} {
		if got := through(t, &m); !reflect.DeepEqual(*got, m) {
			t.Errorf("%+v became %+v", m, *got)
		}
	}
}

func FuzzThereAndBack(f *testing.F) {
	f.Add(byte(1), "text/plain", "r", []byte("c"), "k", "v")
	f.Add(byte(0), "", "", []byte{}, "", "")
	f.Fuzz(func(t *testing.T, format byte, content, response string, correlation []byte, key, value string) {
		m := linkspan.Message{PayloadFormat: linkspan.PayloadFormat(format % 3), ContentType: content, ResponseTopic: response,
			CorrelationData: correlation, UserProperties: []linkspan.Property{{Key: key, Value: value}, {Key: value, Value: key}}}
		for _, text := range []string{content, response, key, value} {
			if packet.ValidText(text) != nil || len(correlation) > math.MaxUint16 {
				t.Skip()
			}
		}
		if response != "" && packet.ValidTopicName(response) != nil {
			t.Skip()
		}
		if got := through(t, &m); !reflect.DeepEqual(*got, m) {
			t.Errorf("%+v became %+v", m, *got)
		}
	})
}

// What a was used for before is not sent along.
func TestNothingIsLeftOver(t *testing.T) {
	var a packet.Properties
	Write(&a, &linkspan.Message{PayloadFormat: linkspan.PayloadUTF8, ContentType: "c", ResponseTopic: "r", CorrelationData: []byte{1},
		UserProperties: []linkspan.Property{{Key: "k", Value: "v"}}})
	WriteExpiry(&a, time.Second)
	Write(&a, new(linkspan.Message))
	var m linkspan.Message
	if ok := Read(&m, &a, 0); !ok || !reflect.DeepEqual(m, linkspan.Message{}) || a.Has(packet.MessageExpiry) {
		t.Errorf("%v %+v %+v", ok, m, a)
	}
}

func TestTooManyUserProperties(t *testing.T) {
	var a packet.Properties
	for i := range 3 {
		a.AddUserProperty("k", fmt.Sprint(i))
	}
	for most, want := range map[int]bool{0: false, 2: false, 3: true, math.MaxInt: true} {
		var m linkspan.Message
		if ok := Read(&m, &a, most); ok != want || len(m.UserProperties) != min(most, 3) {
			t.Errorf("at most %d: %v, %d", most, ok, len(m.UserProperties))
		}
	}
}

// [MQTT-3.3.2-5], [MQTT-3.3.2-6]: a message is of use for as long as it was, in seconds, and what has no expiry gets none.
func TestExpiry(t *testing.T) {
	for left, want := range map[time.Duration]time.Duration{
		-time.Hour: 0, 0: 0, 1: time.Second, time.Second: time.Second, time.Minute + 1: time.Minute + time.Second,
		math.MaxInt64 - time.Second: math.MaxUint32 * time.Second,
	} {
		var a packet.Properties
		WriteExpiry(&a, left)
		m := linkspan.Message{Received: time.Unix(100, 0)}
		if ReadExpiry(&m, &a); m.Expires.Sub(m.Received) != want {
			t.Errorf("%v became %v", left, m.Expires.Sub(m.Received))
		}
	}
	var m linkspan.Message
	if ReadExpiry(&m, new(packet.Properties)); !m.Expires.IsZero() {
		t.Errorf("expires at %v", m.Expires)
	}
}

// rich has all that may be sent along.
func rich() *linkspan.Message {
	return &linkspan.Message{PayloadFormat: linkspan.PayloadUTF8, ContentType: "text/plain", ResponseTopic: "r", CorrelationData: []byte{1},
		UserProperties: []linkspan.Property{{Key: "site", Value: "hall-1"}, {Key: "line", Value: "7"}}}
}

// The path per message needs no memory of its own.
func TestNoAllocation(t *testing.T) {
	m, back := rich(), new(linkspan.Message)
	var a packet.Properties
	there := func() {
		Write(&a, m)
		WriteExpiry(&a, time.Minute)
		back.Reset()
		_ = Read(back, &a, math.MaxInt)
		ReadExpiry(back, &a)
	}
	if got := testing.AllocsPerRun(100, there); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkThereAndBack(b *testing.B) {
	m, back := rich(), new(linkspan.Message)
	var a packet.Properties
	b.ReportAllocs()
	for b.Loop() {
		Write(&a, m)
		back.Reset()
		_ = Read(back, &a, math.MaxInt)
	}
}

// ENM-A7, P2: every permanent error has a reason, also behind words of others.
func TestRefusal(t *testing.T) {
	for err, want := range map[error]packet.Reason{
		linkspan.ErrNoRoute:                       packet.TopicNameInvalid,
		linkspan.ErrInvalidTopic:                  packet.TopicNameInvalid,
		linkspan.ErrTooManyTopics:                 packet.QuotaExceeded,
		linkspan.ErrQuota:                         packet.QuotaExceeded,
		linkspan.ErrTooLarge:                      packet.QuotaExceeded,
		linkspan.ErrLoop:                          packet.ImplementationSpecificError,
		linkspan.ErrNotAuthorized:                 packet.NotAuthorized,
		ErrUserProperties:                         packet.QuotaExceeded,
		linkspan.Permanent(errors.New("no idea")): packet.UnspecifiedError,
	} {
		reason, text := Refusal(fmt.Errorf("send: %w", err))
		if reason != want || (text == "") != (want == packet.UnspecifiedError) || !linkspan.IsPermanent(err) {
			t.Errorf("%v: %v %q", err, reason, text)
		}
	}
}
