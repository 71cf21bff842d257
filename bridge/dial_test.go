package bridge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// produce writes a record and returns when it is stored.
func produce(t *testing.T, k *kafka.Client, topic, key, value string) {
	t.Helper()
	m := linkspan.Message{Payload: []byte(value), Record: linkspan.Record{Topic: topic, Partition: linkspan.AnyPartition, Key: []byte(key)}}
	stored := make(chan error, 1)
	k.Producer().Send(t.Context(), &m, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

// values returns the values of all records of a topic of one partition.
func values(t *testing.T, k *kafka.Client, topic string) (all []string) {
	t.Helper()
	for _, m := range records(t, k, topic) {
		all = append(all, string(m.Payload))
	}
	return all
}

// connected waits until the session of that client at the site is connected and subscribed.
func (s *site) connected(id string) {
	s.t.Helper()
	eventually(s.t, id+" is connected", func() bool { _, ok := s.waiting(id); return ok })
}

const plantRoutes = `
routes:
- {from: "plant:site/#", to: kafka:up}
- {from: kafka:down, to: "plant:{key}"}
`

// A broker that is already there: what its devices publish is in Kafka before the broker gets its ack (P1), what is written to
// Kafka is at the broker, in order (P3, KAL-A1), and a goodbye keeps the session (P8). Both ways, and every version: CON-W9, UNS-W9.
func TestDial(t *testing.T) {
	for _, version := range []packet.Version{packet.V5, packet.V311, packet.V31} {
		t.Run(version.String(), func(t *testing.T) {
			t.Parallel()
			plant := newSite(t, version)
			r := start(t, parse(t, `endpoints: {plant: {dial: "`+plant.url()+`"}}`+plantRoutes))
			plant.connected("linkspan-plant")
			k := cluster(t, r.Kafka...)
			const n = 50
			var want []string
			for i := range n {
				want = append(want, fmt.Sprint(i))
				plant.publish("site/a", want[i])
				produce(t, k, "down", "valve/1", want[i])
			}
			eventually(t, "all is acknowledged", func() bool { n, _ := plant.waiting("linkspan-plant"); return n == 0 })
			if got := values(t, k, "up"); !slices.Equal(got, want) {
				t.Errorf("in Kafka: %v", got)
			}
			eventually(t, "all is at the broker", func() bool { return len(plant.payloads("valve/1")) == n })
			if got := plant.payloads("valve/1"); !slices.Equal(got, want) {
				t.Errorf("at the broker: %v", got)
			}
			eventually(t, "counted", func() bool {
				return r.metric(`linkspan_client_acked_messages_total{endpoint="plant",qos="1"}`) == fmt.Sprint(n) &&
					r.metric(`linkspan_client_delivered_messages_total{endpoint="plant",qos="1"}`) == fmt.Sprint(n) &&
					r.metric(`linkspan_client_lag_records{endpoint="plant",way="direct"}`) == "0"
			})
			if status, body := r.get("/readyz"); status != 200 || !strings.Contains(body, "\nplant: connected to "+plant.url()+" with MQTT ") {
				t.Errorf("readyz: %d %s", status, body)
			}
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			plant.publish("site/a", "kept")
			if n, connected := plant.waiting("linkspan-plant"); n != 1 || connected {
				t.Errorf("after the stop %d wait, connected: %v", n, connected)
			}
		})
	}
}

// A payload is in Kafka as it was, to the byte, whether it is JSON (UNS-W1) or not, and what is not ends nothing (UNS-W2).
func TestPayloadsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	plant := newSite(t, packet.V5)
	r := start(t, parse(t, `endpoints: {plant: {dial: "`+plant.url()+`"}}`+plantRoutes))
	plant.connected("linkspan-plant")
	want := []string{`{"value": 21.50, "ok": true, "none": null, "name": "größe"}`, `{'ok': True, 'cut'`, "\xff\x00", `[1, 2]`}
	for _, payload := range want {
		plant.publish("site/a", payload)
	}
	eventually(t, "all is acknowledged", func() bool { n, _ := plant.waiting("linkspan-plant"); return n == 0 })
	if got := values(t, cluster(t, r.Kafka...), "up"); !slices.Equal(got, want) {
		t.Errorf("in Kafka: %q", got)
	}
}
