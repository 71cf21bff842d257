package route

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

func links() Options {
	return Options{Endpoints: []Endpoint{
		{Name: "artemis", Protocol: "amqp", Client: true}, {Name: "links", Protocol: "amqp"}, {Name: "devices", Protocol: "mqtt"},
	}}
}

// sent is a message of an AMQP sender, who asks for nothing.
func sent(address string) *linkspan.Message {
	m := published(address)
	m.Endpoint, m.Record.Partition = "links", linkspan.AnyPartition
	return m
}

// TestAddressesAreTopics: without a route of its own an address is the Kafka topic of that name, / and . alike, and none that Kafka
// does not take, or keeps for itself (AKB-A1).
func TestAddressesAreTopics(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), links())
	for address, want := range map[string]string{
		"t": "t", "a/b": "a.b", "a.b": "a.b", "a_b-c": "a_b-c", "a b": "", "a#": "", "__consumer_offsets": "", "_linkspan/sessions": "",
		"//consumer_offsets": "..consumer_offsets", "/": "",
	} {
		m := sent(address)
		ok, err := table.Up(m)
		if ok != (want != "") || ok && (m.Record.Topic != want || m.Record.Key != nil) || !ok && err != linkspan.ErrInvalidTopic {
			t.Errorf("%s: %v %v, topic %q, key %q", address, ok, err, m.Record.Topic, m.Record.Key)
		}
	}
	if m := published("a.b"); true {
		if _, err := table.Up(m); err != nil || m.Record.Topic != "mqtt.messages" || string(m.Record.Key) != "a.b" {
			t.Errorf("an MQTT device is routed as before: %v %+v", err, m.Record)
		}
	}
}

// TestComplete: an AMQP listener of which no route tells has the default; one that a route or a default route knows has not.
func TestComplete(t *testing.T) {
	for _, c := range []struct {
		routes []Config
		other  *Config
		e      Endpoint
		added  bool
	}{
		{[]Config{{From: "mqtt:#", To: "kafka:k"}}, nil, Endpoint{Name: "links", Protocol: "amqp"}, true},
		{[]Config{{From: "mqtt:#", To: "kafka:k"}}, &Config{To: "kafka:k"}, Endpoint{Name: "links", Protocol: "amqp"}, false},
		{[]Config{{From: "amqp:a", To: "kafka:k"}}, nil, Endpoint{Name: "links", Protocol: "amqp"}, false},
		{[]Config{{From: "links:a", To: "kafka:k"}}, nil, Endpoint{Name: "links", Protocol: "amqp"}, false},
		{[]Config{{From: "mqtt:#", To: "kafka:k"}}, nil, Endpoint{Name: "artemis", Protocol: "amqp", Client: true}, false},
		{[]Config{{From: "mqtt:#", To: "kafka:k"}}, nil, Endpoint{Name: "devices", Protocol: "mqtt"}, false},
		{DefaultRoutes(), nil, Endpoint{Name: "links", Protocol: "amqp"}, false},
	} {
		got := Complete(c.routes, c.other, []Endpoint{c.e})
		if added := len(got) == len(c.routes)+1 && got[len(got)-1].Name == "addresses"; added != c.added || !added && len(got) != len(c.routes) {
			t.Errorf("%+v, default %v, %s: got %+v", c.routes, c.other, c.e.Name, got)
		}
	}
}

// TestWhatSendersAsk: an AMQP sender's key and partition stand where the route has none of its own (AKB-A2). What an MQTT message happens
// to have there does not.
func TestWhatSendersAsk(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "amqp:own/#", To: "kafka:k", Key: new("{topic}"), Partition: "1"},
		{From: "amqp:none/#", To: "kafka:k", Key: new("")},
		{From: "amqp:{site}/#", To: "kafka:k"},
		{From: "mqtt:#", To: "kafka:k"},
	}, links())
	for _, c := range []struct {
		endpoint, topic string
		key             []byte
		partition       int32
	}{
		{"links", "hall/t", []byte("asked"), 7}, {"artemis", "hall", []byte("asked"), 7},
		{"links", "own/t", []byte("own/t"), 1}, {"links", "none/t", nil, 7}, {"devices", "hall/t", []byte("hall/t"), linkspan.AnyPartition},
	} {
		for range 2 { // sent again, it goes the same way
			m := sent(c.topic)
			m.Endpoint, m.Record.Key, m.Record.Partition = c.endpoint, []byte("asked"), 7
			if _, err := table.Up(m); err != nil || string(m.Record.Key) != string(c.key) || m.Record.Key == nil != (c.key == nil) || m.Record.Partition != c.partition {
				t.Errorf("%s of %s: %v, key %q, partition %d", c.topic, c.endpoint, err, m.Record.Key, m.Record.Partition)
			}
		}
	}
}

// TestOnlyAMQPSays: what only AMQP says of a message is in Kafka's headers as it is, and comes back (AKB-A11). No MQTT device can
// write such headers, and templates can name them.
func TestOnlyAMQPSays(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "amqp:#", To: "kafka:k", Key: new("{header.amqp.subject}")},
		{From: "mqtt:#", To: "kafka:k"},
		{From: "kafka:k", To: "mqtt:{topic}"},
	}, links())
	m := sent("a/b")
	m.AMQP = []linkspan.Header{{Key: "amqp.body", Value: []byte("data")}, {Key: "amqp.subject", Value: []byte("s")}, {Key: "amqp.later", Value: []byte{0, 0xff}}}
	if _, err := table.Up(m); err != nil || string(m.Record.Key) != "s" {
		t.Fatal(err, string(m.Record.Key))
	}
	got := fetched(m)
	if ok, err := table.Down(got); !ok || err != nil {
		t.Fatal(ok, err)
	}
	equal := func(x, y linkspan.Header) bool { return x.Key == y.Key && string(x.Value) == string(y.Value) }
	if !slices.EqualFunc(got.AMQP, m.AMQP, equal) || len(got.UserProperties) != 0 {
		t.Errorf("got %+v, and %+v", got.AMQP, got.UserProperties)
	}
	read := fetched(m)
	if left := table.Restore(read); left != 0 || read.Topic != "a/b" || !slices.EqualFunc(read.AMQP, m.AMQP, equal) || read.QoS != m.QoS {
		t.Errorf("without a route: %d left out, got %+v", left, read)
	}
	forged := published("a")
	forged.UserProperties = []linkspan.Property{{Key: "amqp.body", Value: "x"}}
	if _, err := table.Up(forged); err != nil || forged.Record.Header("amqp.body") != nil || string(forged.Record.Header("mqtt.user.amqp.body")) != "x" {
		t.Errorf("%v: got %+v", err, forged.Record.Headers)
	}
}

// TestCodecs: the codec is that of the route that takes the address, and of the one that takes the Kafka topic down; a topic that no
// such route takes is read as it is written.
func TestCodecs(t *testing.T) {
	options := links()
	options.Default = &Config{To: "kafka:rest", Codec: "default"}
	table := mustNew(t, []Config{
		{From: "amqp:raw/{x}", To: "kafka:raw.{x}", Codec: "raw"},
		{From: "links:json", To: "kafka:json", Codec: "json"},
		{From: "amqp:as-configured", To: "kafka:k"},
		{From: "kafka:down", To: "mqtt:{key}", Codec: "native"},
		{From: "kafka:json", To: "mqtt:{key}"},
	}, options)
	for _, c := range [][3]string{
		{"links", "raw/a", "raw"}, {"artemis", "raw/a", "raw"}, {"links", "json", "json"}, {"artemis", "json", "default"},
		{"links", "as-configured", ""}, {"links", "$none", ""},
	} {
		for range 2 {
			if got := table.CodecUp(c[0], c[1]); got != c[2] {
				t.Errorf("%s of %s: got %q, want %q", c[1], c[0], got, c[2])
			}
			m := sent(c[1])
			m.Endpoint = c[0]
			table.Up(m) // now the table remembers it
		}
	}
	for topic, want := range map[string]string{"raw.a": "raw", "raw": "", "json": "json", "down": "native", "k": "", "rest": "default"} {
		if got := table.CodecDown(topic); got != want {
			t.Errorf("%s: got %q, want %q", topic, got, want)
		}
	}
	if s := table.Stats(); s.Routes[0].KafkaTopics != 1 || s.Routes[0].Messages != 4 {
		t.Errorf("only messages are counted: %+v", s.Routes[0])
	}
}

// TestLive: an address is live where a route may deliver to it, at any listener.
func TestLive(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "kafka:commands.{site}", To: "mqtt:{site}/{partition key 3}/commands"},
		{From: "kafka:news", To: "links:news"},
		{From: "kafka:orders", To: "artemis:orders"},
		{From: "mqtt:up/#", To: "kafka:up"},
	}, links())
	for address, want := range map[string]bool{
		"hall/t1/commands": true, "hall/+/commands": true, "#": true, "hall/#": true, "hall/1/x/commands": false, "hall/t1": false,
		"news": true, "orders": false, "up/a": false, "": false, "a#": false, "{": false, "{x}/t1/commands": true,
	} {
		if got := table.Live(address); got != want {
			t.Errorf("%s: got %v", address, got)
		}
	}
}

// TestListenersShareLiveMessages: what goes down to one protocol reaches the subscribers of all listeners (ENM-A1), but of client endpoints those
// that speak it alone. A device is looked for there, too.
func TestListenersShareLiveMessages(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "kafka:mqtt", To: "mqtt:{key}", Device: "{key}"},
		{From: "kafka:amqp", To: "amqp:{key}"},
		{From: "kafka:devices", To: "devices:{key}"},
		{From: "kafka:artemis", To: "artemis:queues/{key}"},
	}, links())
	for topic, want := range map[string][]string{
		"mqtt": {"links", "devices"}, "amqp": {"links", "devices", "artemis"}, "devices": {"devices"}, "artemis": {"artemis"},
	} {
		m := &linkspan.Message{Record: linkspan.Record{Topic: topic, Key: []byte("k")}}
		e := table.ExplainDown(m)
		var got []string
		for _, w := range e.Ways {
			got = append(got, w.Endpoint)
		}
		if !slices.Equal(got, want) || e.Located != nil {
			t.Errorf("%s reaches %v, want %v; located: %v", topic, got, want, e.Located)
		}
	}
	m := &linkspan.Message{Record: linkspan.Record{Topic: "artemis", Key: []byte("k"), Timestamp: time.Now()}}
	table.DownlinkTo("artemis", linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
		if m.Topic != "queues/k" {
			t.Errorf("got %s", m.Topic)
		}
		done(nil)
	})).Send(t.Context(), m, func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
}

// TestBrokersAddresses: an AMQP broker's addresses are named one by one, as that broker spells them.
func TestBrokersAddresses(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "artemis:/exchanges/amq.topic/sensor.#", To: "kafka:sensors"},
		{From: "artemis:{{orders}}", To: "kafka:orders"},
		{From: "amqp:status/{x}", To: "kafka:status"},
		{From: "amqp:alarms", To: "kafka:alarms"},
	}, links())
	if got, want := table.Filters("artemis"), []string{"/exchanges/amq.topic/sensor.#", "{orders}", "alarms"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	m := sent("/exchanges/amq.topic/sensor.#")
	m.Endpoint = "artemis"
	if ok, err := table.Up(m); !ok || err != nil || m.Record.Topic != "sensors" {
		t.Errorf("%v %v, to %s", ok, err, m.Record.Topic)
	}
	for _, from := range []string{"artemis:{x}", "artemis:a/{x...}", "artemis:", "artemis:a\x00"} {
		if _, err := New([]Config{{From: from, To: "kafka:k"}}, links()); err == nil {
			t.Errorf("%q: no error", from)
		}
	}
}

func BenchmarkUplinkAMQP(b *testing.B) {
	table := mustNew(b, DefaultRoutes(), links())
	m := sent("plant/hall-1")
	m.AMQP = []linkspan.Header{{Key: "amqp.body", Value: []byte("data")}}
	b.ReportAllocs()
	for b.Loop() {
		m.Scratch = m.Scratch[:0]
		if ok, err := table.Up(m); !ok || err != nil {
			b.Fatal(err)
		}
	}
}
