package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A port of call is a Linkspan with a listener of each kind.
type call struct {
	urls     map[string]string // by scheme
	up, down string            // Kafka topics of up/{device}/... and down/{key}
	tap      *tap              // of up
	client   *kgo.Client
}

var schemes = []string{"mqtt", "mqtts", "ws", "wss"}

// newCall starts one. Kafka topics begin with name.
func newCall(t *testing.T, name string) *call {
	t.Helper()
	c := &call{urls: map[string]string{}, up: topic(t, world.kafka, name+"-up", 3), down: topic(t, world.kafka, name+"-down", 3)}
	l := start(t, len(schemes), func(ports []int) string {
		config := fmt.Sprintf("kafka: {brokers: [%s]}\nendpoints:\n", world.kafka.Addrs()[0])
		for i, scheme := range schemes {
			tls := ""
			if scheme == "mqtts" || scheme == "wss" {
				tls = fmt.Sprintf(", tls: {cert: %s, key: %s}", world.certs.ServerCert, world.certs.ServerKey)
			}
			config += fmt.Sprintf("  by-%s: {listen: \"%s://%s\"%s}\n", scheme, scheme, harness.Loopback(ports[i]), tls)
		}
		return config + fmt.Sprintf("routes:\n  - {from: \"mqtt:up/{device}/{rest...}\", to: \"kafka:%s\", key: \"{device}\"}\n"+
			"  - {from: \"kafka:%s\", to: \"mqtt:down/{key}\", qos: 2}\n", c.up, c.down)
	})
	for i, scheme := range schemes {
		c.urls[scheme] = scheme + "://" + l.Addr(i)
		if scheme == "ws" || scheme == "wss" {
			c.urls[scheme] += "/mqtt"
		}
	}
	c.tap, c.client = open(t, world.kafka, c.up), producer(t, world.kafka)
	return c
}

// dial connects a device of that make.
func (c *call) dial(t *testing.T, m harness.Make, version int, scheme, name string) harness.Device {
	t.Helper()
	o := harness.Options{URL: c.urls[scheme], Client: name, Version: version}
	if scheme == "mqtts" || scheme == "wss" {
		o.CA = world.certs.CA
	}
	return dial(t, m, o)
}

// KAL-A1, KAL-A2: every make of client, version of MQTT, QoS and transport, both ways: each message arrives once, byte
// for byte, with its QoS.
func TestClients_KAL_A1_A2(t *testing.T) {
	t.Parallel()
	c := newCall(t, "clients")
	published := 0
	for _, m := range makes {
		for _, version := range m.Versions {
			for _, scheme := range m.Schemes {
				published += 3
				t.Run(fmt.Sprintf("%s/%d/%s", m.Name, version, scheme), func(t *testing.T) {
					name := fmt.Sprintf("%s %d %s", m.Name, version, scheme)
					d := c.dial(t, m, version, scheme, name)
					for qos := range byte(3) {
						c.publishes(t, d, name, qos)
						c.receives(t, d, name, qos)
					}
				})
			}
		}
	}
	if got := len(c.tap.all(func(*kgo.Record) bool { return true })); got != published {
		t.Errorf("%d records of %d messages", got, published)
	}
}

// noise returns bytes that are no text. Of QoS 1 it is nearly as much as Kafka takes in one record by default.
func noise(qos byte) []byte {
	b := make([]byte, 1000)
	if qos == 1 {
		b = make([]byte, 999_000)
	}
	r := rand.NewChaCha8([32]byte{qos})
	_, _ = r.Read(b) // it never fails
	return b
}

// publishes checks the way up.
func (c *call) publishes(t *testing.T, d harness.Device, name string, qos byte) {
	t.Helper()
	to := fmt.Sprintf("up/%s/größe ⚓/%d", name, qos)
	publish(t, d, harness.Message{Topic: to, Payload: noise(qos), QoS: qos})
	r := c.tap.wait(t, fromTopic(to))
	if string(r.Key) != name || !bytes.Equal(r.Value, noise(qos)) {
		t.Errorf("QoS %d: key %q, %d bytes", qos, r.Key, len(r.Value))
	}
	if header(r, "mqtt.client") != name || header(r, "mqtt.qos") != fmt.Sprint(qos) {
		t.Errorf("QoS %d: headers %v", qos, r.Headers)
	}
}

// receives checks the way down. A subscription limits the QoS [MQTT-3.8.4-8].
func (c *call) receives(t *testing.T, d harness.Device, name string, qos byte) {
	t.Helper()
	key := fmt.Sprintf("%s/größe ⚓/%d", name, qos)
	subscribe(t, d, harness.Subscription{Filter: "down/" + name + "/+/" + fmt.Sprint(qos), QoS: qos})
	must(t, c.client.ProduceSync(deadline(t), record(c.down, key, noise(qos))).FirstErr())
	m := next(t, d)
	if m.Topic != "down/"+key || m.QoS != qos || m.Retain || !bytes.Equal(m.Payload, noise(qos)) {
		t.Errorf("QoS %d: got %s, QoS %d, retain %v, %d bytes", qos, m.Topic, m.QoS, m.Retain, len(m.Payload))
	}
}

// fives are the makes that speak MQTT 5.
func fives(t *testing.T, f func(t *testing.T, m harness.Make)) {
	for _, m := range makes {
		if m.Versions[len(m.Versions)-1] == 5 {
			t.Run(m.Name, func(t *testing.T) { f(t, m) })
		}
	}
}

// Every property of a message becomes a header, and headers become properties again [MQTT-3.3.2.3].
func TestProperties(t *testing.T) {
	t.Parallel()
	c := newCall(t, "properties")
	fives(t, func(t *testing.T, m harness.Make) {
		d := c.dial(t, m, 5, "mqtt", m.Name)
		sent := harness.Message{
			Topic: "up/" + m.Name + "/x", Payload: []byte("text"), QoS: 1, Format: 2, Expiry: 600, ContentType: "text/plain",
			ResponseTopic: "down/" + m.Name, Correlation: []byte{0, 0xff, 1},
			User: []harness.Pair{{Key: "unit", Value: "°C"}, {Key: "empty", Value: ""}},
		}
		publish(t, d, sent)
		r := c.tap.wait(t, fromTopic(sent.Topic))
		for name, want := range map[string]string{
			"mqtt.payload-format": "1", "mqtt.expiry": "600", "mqtt.content-type": "text/plain", "mqtt.response-topic": "down/" + m.Name,
			"mqtt.correlation-data": "\x00\xff\x01", "unit": "°C", "empty": "", "mqtt.client": m.Name,
		} {
			if got := header(r, name); got != want {
				t.Errorf("header %s: %q, want %q", name, got, want)
			}
		}

		subscribe(t, d, harness.Subscription{Filter: sent.ResponseTopic, QoS: 1})
		back := record(c.down, m.Name, sent.Payload)
		back.Headers = r.Headers
		must(t, c.client.ProduceSync(deadline(t), back).FirstErr())
		got := next(t, d)
		if got.Expiry == 0 || got.Expiry > 600 {
			t.Errorf("expiry %d, want what is left of 600", got.Expiry)
		}
		want := sent
		want.Topic, want.Expiry = sent.ResponseTopic, got.Expiry
		if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}
