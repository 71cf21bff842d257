package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A berth is a broker with a way to connect to it.
type berth struct {
	site, scheme string
	version      string // that Linkspan is told
	found        string // that it connects with
	make         string // of the device on the broker
	device       int    // the device's version
	publishQoS   byte   // the highest that the broker takes
	grantQoS     byte   // the highest that it grants
}

func (b berth) name() string {
	return fmt.Sprintf("%s-%s-%s", b.site, b.scheme, strings.ReplaceAll(b.version, ".", ""))
}

var berths = []berth{
	{"mosquitto", "mqtt", "auto", "5", "paho-go-5", 5, 2, 2},
	{"mosquitto", "mqtt", "3.1.1", "3.1.1", "paho-go-3", 4, 2, 2},
	{"mosquitto", "mqtt", "3.1", "3.1", "paho-go-3", 3, 2, 2},
	{"mosquitto", "mqtts", "5", "5", "paho-go-5", 5, 2, 2},
	{"mosquitto", "mqtts", "3.1.1", "3.1.1", "paho-go-3", 4, 2, 2},
	{"mosquitto", "ws", "5", "5", "paho-python", 5, 2, 2},
	{"mosquitto", "ws", "3.1.1", "3.1.1", "mqtt.js", 4, 2, 2},
	{"mosquitto", "wss", "auto", "5", "paho-python", 5, 2, 2},
	{"rabbitmq", "mqtt", "auto", "3.1.1", "paho-go-3", 4, 1, 1},
	{"rabbitmq", "mqtt", "3.1", "3.1", "paho-go-3", 3, 1, 1},
	{"activemq", "mqtt", "auto", "3.1.1", "paho-go-3", 4, 2, 2},
	{"activemq", "mqtt", "3.1", "3.1", "paho-go-3", 3, 2, 2},
	{"artemis", "mqtt", "auto", "5", "paho-go-5", 5, 2, 2},
	{"artemis", "mqtt", "3.1.1", "3.1.1", "paho-go-3", 4, 2, 2},
	{"hivemq", "mqtt", "auto", "5", "paho-go-5", 5, 2, 2},
	{"hivemq", "mqtt", "3.1.1", "3.1.1", "paho-go-3", 4, 2, 2},
	{"hivemq", "mqtt", "3.1", "3.1", "paho-go-3", 3, 2, 2},
}

// UNS-A8, KAL-A1, KAL-A14: one Linkspan beside five makes of broker, seventeen connections over TCP, TLS and WebSocket
// with MQTT 3.1, 3.1.1 and 5. Both ways each message of each QoS arrives once, byte for byte, and `version: auto` finds
// the highest version that the broker has.
func TestBrokers_UNS_A8(t *testing.T) {
	t.Parallel()
	together(t, func() error { return first(shared["mosquitto"]()) }, func() error { return first(shared["rabbitmq"]()) },
		func() error { return first(shared["activemq"]()) }, func() error { return first(shared["artemis"]()) },
		func() error { return first(shared["hivemq"]()) })
	up, down := topic(t, world.kafka, "brokers-up", 3), topic(t, world.kafka, "brokers-down", 3)
	c := newCrossing(t, world.kafka, "routes:\n")
	c.calm = true
	for _, b := range berths {
		url := sharedSite(t, b.site).URL(b.scheme)
		c.endpoints = append(c.endpoints, fmt.Sprintf("%s: {dial: %q, version: %q, client_id: %q, qos: %d%s}",
			b.name(), url, b.version, b.name()[:min(23, len(b.name()))], b.grantQoS, trusting(b.scheme)))
		c.routes += fmt.Sprintf("  - {from: \"%s:up/%[1]s/{device}/{rest...}\", to: \"kafka:%s\", key: \"{device}\"}\n"+
			"  - {from: \"kafka:%s-%[1]s\", to: \"%[1]s:down/%[1]s/{key}\"}\n", b.name(), up, down)
		must(t, harness.CreateTopic(deadline(t), world.kafka.Addrs(), down+"-"+b.name(), 1, nil))
	}
	l := c.member(t)
	records, client := open(t, world.kafka, up), producer(t, world.kafka)
	for _, b := range berths {
		t.Run(b.name(), func(t *testing.T) {
			connected(t, l, b.name())
			_, body, err := l.Get(t.Context(), "/readyz")
			must(t, err)
			if want := fmt.Sprintf("%s: connected to %s with MQTT %s", b.name(), sharedSite(t, b.site).URL(b.scheme), b.found); !strings.Contains(body, want) {
				t.Errorf("/readyz does not say %q:\n%s", want, body)
			}
			o := harness.Options{URL: sharedSite(t, b.site).URL(b.scheme), Client: "d-" + b.name(), Version: b.device}
			if strings.HasSuffix(b.scheme, "s") && b.scheme != "ws" {
				o.CA = world.certs.CA
			}
			d := dial(t, made(b.make), o)
			b.uplink(t, d, records)
			b.downlink(t, d, client, down+"-"+b.name())
		})
	}
}

// payload returns up to a megabyte, but for WebSocket, where Mosquitto reads 40 KB a second.
func (b berth) payload(qos byte) []byte {
	p := noise(qos)
	if b.scheme == "ws" || b.scheme == "wss" {
		p = p[:1000]
	}
	return p
}

func first[T any](_ T, err error) error { return err }

// trusting is the YAML that an endpoint with TLS needs.
func trusting(scheme string) string {
	if scheme == "mqtts" || scheme == "wss" {
		return fmt.Sprintf(", tls: {ca: %q}", world.certs.CA)
	}
	return ""
}

// uplink checks the way up.
func (b berth) uplink(t *testing.T, d harness.Device, records *tap) {
	t.Helper()
	for qos := range b.publishQoS + 1 {
		to := fmt.Sprintf("up/%s/vessel/größe ⚓/%d", b.name(), qos)
		publish(t, d, harness.Message{Topic: to, Payload: b.payload(qos), QoS: qos})
		r := records.wait(t, fromTopic(to))
		if string(r.Key) != "vessel" || !bytes.Equal(r.Value, b.payload(qos)) {
			t.Errorf("QoS %d: key %q, %d bytes", qos, r.Key, len(r.Value))
		}
		if got, want := header(r, "mqtt.qos"), fmt.Sprint(min(qos, b.grantQoS)); got != want {
			t.Errorf("QoS %d arrived as %s", qos, got)
		}
		if n := len(records.all(fromTopic(to))); n != 1 {
			t.Errorf("QoS %d: %d records", qos, n)
		}
	}
}

// downlink checks the way down.
func (b berth) downlink(t *testing.T, d harness.Device, client *kgo.Client, topic string) {
	t.Helper()
	subscribe(t, d, harness.Subscription{Filter: "down/" + b.name() + "/#", QoS: b.grantQoS})
	for qos := range b.grantQoS + 1 {
		key := fmt.Sprintf("größe ⚓/%d", qos)
		must(t, client.ProduceSync(deadline(t), record(topic, key, b.payload(qos), "mqtt.qos", fmt.Sprint(qos))).FirstErr())
		m := next(t, d)
		if m.Topic != "down/"+b.name()+"/"+key || m.QoS != qos || !bytes.Equal(m.Payload, b.payload(qos)) {
			t.Errorf("QoS %d: got %s, QoS %d, %d bytes", qos, m.Topic, m.QoS, len(m.Payload))
		}
	}
}
