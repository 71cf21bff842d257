package e2e

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// nodes starts n Linkspans with the same routes on one Kafka, which is all that they share (P7).
func nodes(t *testing.T, n int, routes string) []*harness.Linkspan {
	t.Helper()
	var all []*harness.Linkspan
	for range n {
		all = append(all, gateway(t, world.kafka, routes))
	}
	return all
}

// KAL-A1: a back end reads what a device published, byte for byte, with the device's identifier.
// KAL-A2: a record whose key is a device's identifier arrives at that device, whichever node it is connected to.
func TestNodes_KAL_A1_A2(t *testing.T) {
	t.Parallel()
	up, down := topic(t, world.kafka, "a1-up", 3), topic(t, world.kafka, "a2-down", 3)
	both := nodes(t, 2, fmt.Sprintf(`routes:
  - {from: "mqtt:up/{device}", to: "kafka:%s", key: "{device}"}
  - {from: "kafka:%s", to: "mqtt:down/{key}", qos: 1}
`, up, down))
	client, tap := producer(t, world.kafka), open(t, world.kafka, up)
	for i, name := range []string{"ship", "quay", "crane", "buoy"} {
		m := made("paho-go-5")
		d := dial(t, m, harness.Options{URL: "mqtt://" + both[i%2].Addr(0), Client: name, Version: 5})
		subscribe(t, d, harness.Subscription{Filter: "down/" + name, QoS: 1})
		payload := harness.Payload(name, uint64(i), 500)

		publish(t, d, harness.Message{Topic: "up/" + name, Payload: payload, QoS: 1})
		r := tap.wait(t, fromTopic("up/"+name))
		if string(r.Value) != string(payload) || string(r.Key) != name || header(r, "mqtt.client") != name {
			t.Errorf("%s: got record %v", name, r)
		}
		must(t, client.ProduceSync(deadline(t), record(down, name, payload)).FirstErr())
		if got := next(t, d); got.Topic != "down/"+name || string(got.Payload) != string(payload) {
			t.Errorf("%s: got message %+v", name, got)
		}
	}
}

// KAL-A3: device to Kafka to device, across two nodes; the receiver's topic contains the sender's identifier.
func TestDeviceToDevice_KAL_A3(t *testing.T) {
	t.Parallel()
	mail := topic(t, world.kafka, "a3", 3)
	both := nodes(t, 2, fmt.Sprintf(`routes:
  - {from: "mqtt:to/{receiver}", to: "kafka:%s", key: "{receiver}"}
  - {from: "kafka:%s", to: "mqtt:inbox/{key}/from/{client}", qos: 1}
`, mail, mail))
	sender := dial(t, made("paho-go-3"), harness.Options{URL: "mqtt://" + both[0].Addr(0), Client: "alice", Version: 4})
	receiver := dial(t, made("paho-go-3"), harness.Options{URL: "mqtt://" + both[1].Addr(0), Client: "bob", Version: 4})
	subscribe(t, receiver, harness.Subscription{Filter: "inbox/bob/#", QoS: 1})
	publish(t, sender, harness.Message{Topic: "to/bob", Payload: []byte("ahoy"), QoS: 1})
	if got := next(t, receiver); got.Topic != "inbox/bob/from/alice" || string(got.Payload) != "ahoy" {
		t.Errorf("got %+v", got)
	}
}

// KAL-A11: 3 devices on 3 nodes. Of 1000 records each from Kafka exactly 1000 arrive at each; 3000 publishes make 3000
// records.
func TestBulk_KAL_A11(t *testing.T) {
	t.Parallel()
	const n = 1000
	up, down := topic(t, world.kafka, "a11-up", 3), topic(t, world.kafka, "a11-down", 3)
	three := nodes(t, 3, loadRoutes(up)+fmt.Sprintf("  - {from: \"kafka:%s\", to: \"mqtt:devices/{key}/commands\", qos: 1}\n", down))
	var devices []listener
	for i, node := range three {
		devices = append(devices, listen(t, made("paho-go-5"), 5, node.Addr(0), fmt.Sprintf("device-%d", i), 1))
	}
	deliver(t, world.kafka, down, devices, n)

	var ledger harness.Ledger
	var all []func() error
	for i, node := range three {
		name := fmt.Sprintf("publisher-%d", i)
		p := &harness.Publisher{Addr: func() string { return node.Addr(0) }, Client: name, Topic: "load/" + name, QoS: byte(1 + i%2), Count: n, Window: 50, Ledger: &ledger}
		all = append(all, func() error { return p.Run(deadline(t)) })
	}
	together(t, all...)
	if report := balance(t, world.kafka.Addrs(), &ledger, false, up); report.Arrived != 3*n {
		t.Errorf("want %d records", 3*n)
	}
}
