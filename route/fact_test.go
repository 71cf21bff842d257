package route

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkspan/linkspan"
)

// drawMessage draws any message that a device can publish.
func drawMessage(t *rapid.T) *linkspan.Message {
	text := rapid.StringN(0, 12, 40).Filter(validText)
	received := time.UnixMilli(rapid.Int64Range(1, 4e12).Draw(t, "received"))
	m := &linkspan.Message{
		Topic: legalTopic(t), Payload: []byte("21.5"), Endpoint: "devices", Received: received,
		QoS:           rapid.ByteRange(0, 2).Draw(t, "qos"),
		Retain:        rapid.Bool().Draw(t, "retain"),
		PayloadFormat: linkspan.PayloadFormat(rapid.ByteRange(0, 2).Draw(t, "format")),
		ContentType:   text.Draw(t, "content type"),
		Client:        text.Draw(t, "client"),
		Username:      text.Draw(t, "username"),
		Hops:          rapid.Uint8Range(0, 6).Draw(t, "hops"),
	}
	if rapid.Bool().Draw(t, "has response topic") {
		m.ResponseTopic = legalTopic(t)
	}
	if rapid.Bool().Draw(t, "has correlation data") {
		m.CorrelationData = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "correlation data")
	}
	if rapid.Bool().Draw(t, "expires") {
		m.Expires = received.Add(time.Duration(rapid.Uint32().Draw(t, "expiry")) * time.Second)
	}
	name := rapid.OneOf(text, rapid.SampledFrom([]string{
		"", "mqtt.client", "mqtt.user.x", "mqtt.", "linkspan.hops", "linkspan.origin", "mqtt.user.mqtt.user.", "MQTT.client",
	}))
	for range rapid.IntRange(0, 5).Draw(t, "user properties") {
		m.UserProperties = append(m.UserProperties, linkspan.Property{Key: name.Draw(t, "name"), Value: text.Draw(t, "value")})
	}
	return m
}

// fetched returns the record of m as a consumer hands it over.
func fetched(m *linkspan.Message) *linkspan.Message {
	c := m.Clone()
	return &linkspan.Message{Payload: c.Payload, Record: c.Record}
}

// TestHeadersAreReversible: whatever a device says of a message is the same after the way to Kafka and back: nothing of it is
// lost, the topic, the device and the time among it (CON-W8, UNS-W6).
func TestHeadersAreReversible(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), devices())
	rapid.Check(t, func(t *rapid.T) {
		sent := drawMessage(t)
		if _, err := table.Up(sent); err != nil {
			t.Fatal(err)
		}
		got := fetched(sent)
		p := table.planDown(got.Record.Topic)
		if leftOut, err := table.fillDown(got, p); err != nil || leftOut != 0 {
			t.Fatal(leftOut, err)
		}
		sent.Hops++ // it has come up once more
		sent.Route, sent.Record, sent.Scratch = "messages-down", got.Record, got.Scratch
		if len(sent.UserProperties) == 0 {
			got.UserProperties = sent.UserProperties
		}
		if !reflect.DeepEqual(got, sent) {
			t.Fatalf("\ngot  %+v\nwant %+v", got, sent)
		}
	})
}

func TestReservedHeadersCannotBeForged(t *testing.T) {
	table := mustNew(t, []Config{{From: "mqtt:#", To: "kafka:k", Headers: map[string]string{"site": "real"}}}, devices())
	m := published("a/b")
	for _, name := range []string{"mqtt.client", "mqtt.topic", "mqtt.username", "linkspan.origin", "linkspan.hops", "site"} {
		m.UserProperties = append(m.UserProperties, linkspan.Property{Key: name, Value: "forged"})
	}
	if _, err := table.Up(m); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"mqtt.client": "t7", "mqtt.topic": "a/b", "linkspan.origin": "devices", "site": "real"} {
		var got []string
		for _, h := range m.Record.Headers {
			if h.Key == name {
				got = append(got, string(h.Value))
			}
		}
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q once", name, got, want)
		}
	}
	for _, name := range []string{"mqtt.username", "linkspan.hops"} {
		if v := m.Record.Header(name); v != nil {
			t.Errorf("%s: got %q from a user property", name, v)
		}
	}
	if got := string(m.Record.Header("mqtt.user.mqtt.client")); got != "forged" {
		t.Errorf("the user property itself is kept apart, got %q", got)
	}
}

// TestForeignHeaders: what other programs write is taken as far as MQTT has a form for it; the rest is left out and counted.
func TestForeignHeaders(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), devices())
	m := &linkspan.Message{Record: linkspan.Record{
		Topic: "mqtt.commands", Key: []byte("valve/1"), Timestamp: time.UnixMilli(5000),
		Headers: []linkspan.Header{
			{Key: "trace", Value: []byte("abc")},
			{Key: "null"},
			{Key: "binary", Value: []byte{0xff}},
			{Key: "zero", Value: []byte{0}},
			{Key: "bad\xff", Value: []byte("x")},
			{Key: "huge", Value: []byte(strings.Repeat("x", 65536))},
			{Key: "mqtt.qos", Value: []byte("3")},
			{Key: "mqtt.retain", Value: []byte("yes")},
			{Key: "mqtt.expiry", Value: []byte("-1")},
			{Key: "mqtt.payload-format", Value: []byte("2")},
			{Key: "mqtt.received", Value: []byte("now")},
			{Key: "mqtt.response-topic", Value: []byte("a/#")},
			{Key: "mqtt.content-type", Value: []byte{0xc0}},
			{Key: "mqtt.topic", Value: nil},
			{Key: "mqtt.of-a-later-version", Value: []byte("x")},
			{Key: "linkspan.of-a-later-version", Value: []byte("x")},
			{Key: "mqtt.correlation-data"},
		},
	}}
	ok, err := table.Down(m)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := &linkspan.Message{
		Topic: "valve/1", QoS: 1, Received: time.UnixMilli(5000), Route: "commands", CorrelationData: []byte{},
		UserProperties: []linkspan.Property{{Key: "trace", Value: "abc"}, {Key: "null"}},
		Record:         m.Record, Scratch: m.Scratch,
	}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("\ngot  %+v\nwant %+v", m, want)
	}
	if got := table.Stats().Routes[2].HeadersLeftOut; got != 12 {
		t.Errorf("%d headers left out, want 12", got)
	}
}

func TestFactsThatAreWritten(t *testing.T) {
	for _, c := range []struct {
		facts []string
		want  string
	}{
		{nil, "mqtt.topic linkspan.origin mqtt.client mqtt.received mqtt.qos mqtt.retain u"},
		{[]string{"all"}, "mqtt.topic linkspan.origin mqtt.client mqtt.received mqtt.qos mqtt.retain u"},
		{[]string{"none"}, "linkspan.origin"},
		{[]string{"client", "user"}, "linkspan.origin mqtt.client u"},
	} {
		table := mustNew(t, []Config{{From: "mqtt:#", To: "kafka:k", Facts: c.facts}}, devices())
		m := published("a")
		m.Retain, m.UserProperties = true, []linkspan.Property{{Key: "u", Value: "v"}}
		if _, err := table.Up(m); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range m.Record.Headers {
			got = append(got, h.Key)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v: got %s, want %s", c.facts, strings.Join(got, " "), c.want)
		}
	}
}

// TestExpiry: the time that a message has waited is taken off, as its deadline does not move [MQTT-3.3.2-6].
func TestExpiry(t *testing.T) {
	received := time.Now().Add(24 * time.Hour).Truncate(time.Millisecond) // so that nothing expires on the way
	routes := []Config{
		{From: "mqtt:#", To: "kafka:k", Expiry: time.Hour},
		{From: "kafka:k", To: "mqtt:{key}", Expiry: time.Minute},
		{From: "kafka:plain", To: "mqtt:{key}"},
	}
	table := mustNew(t, routes, devices())
	for _, c := range []struct{ device, header, deadline time.Duration }{
		{0, time.Hour, time.Minute}, {30 * time.Second, 30 * time.Second, 30 * time.Second}, {2 * time.Hour, time.Hour, time.Minute},
	} {
		m := published("a")
		if m.Received = received; c.device > 0 {
			m.Expires = received.Add(c.device)
		}
		if _, err := table.Up(m); err != nil {
			t.Fatal(err)
		}
		if got, want := string(m.Record.Header("mqtt.expiry")), c.header/time.Second; got != strconv.Itoa(int(want)) {
			t.Errorf("%v: header %s, want %d", c.device, got, want)
		}
		got := fetched(m)
		if ok, err := table.Down(got); !ok || err != nil || !got.Expires.Equal(received.Add(c.deadline)) {
			t.Errorf("%v: %v %v, expires %v after it was received, want %v", c.device, ok, err, got.Expires.Sub(received), c.deadline)
		}
	}

	late := &linkspan.Message{Record: linkspan.Record{Topic: "plain", Key: []byte("a"), Timestamp: time.Unix(1000, 0),
		Headers: []linkspan.Header{{Key: "mqtt.expiry", Value: []byte("60")}}}}
	if ok, err := table.Down(late); ok || err != nil {
		t.Errorf("an expired record is done: %v %v", ok, err)
	}
	if !late.Expires.Equal(time.Unix(1060, 0)) {
		t.Errorf("without mqtt.received the record's timestamp counts, got %v", late.Expires)
	}
	late.Record.Headers = append(late.Record.Headers, linkspan.Header{Key: "mqtt.retain", Value: []byte("1")})
	if ok, err := table.Down(late); !ok || err != nil || !late.Retain || late.Topic != "a" {
		t.Errorf("an expired record that is to be retained takes the place of what is retained [MQTT-3.3.1-5]: %v %v", ok, err)
	}
	if table.DownAgain(late) {
		t.Error("no device gets it")
	}
	if got := table.Stats().Routes[2]; got.Expired != 2 || got.Messages != 0 {
		t.Errorf("%d expired, want 2, and %d went through", got.Expired, got.Messages)
	}
}
