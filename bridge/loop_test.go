package bridge

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// settled waits until an endpoint has nothing under way in either direction.
func (r *instance) settled(endpoint string) {
	r.t.Helper()
	eventually(r.t, endpoint+" has nothing under way", func() bool {
		return r.metric(`linkspan_client_lag_records{endpoint="`+endpoint+`",way="direct"}`) == "0" &&
			r.metric(`linkspan_client_queued_messages{endpoint="`+endpoint+`"}`) == "0" &&
			r.metric(`linkspan_client_in_flight_messages{endpoint="`+endpoint+`"}`) == "0"
	})
}

// The same topics up and down, at one broker or mirrored between two: each message makes one record and gets to each other
// broker once, whoever began it and whatever version of MQTT the brokers speak. Kafka does not fill itself.
func TestLoopsDoNotGrow(t *testing.T) {
	for _, c := range []struct {
		name    string
		brokers []packet.Version
	}{
		{"MQTT 5", []packet.Version{packet.V5}}, {"MQTT 3.1.1", []packet.Version{packet.V311}},
		{"two of MQTT 5", []packet.Version{packet.V5, packet.V5}}, {"two of MQTT 3.1.1", []packet.Version{packet.V311, packet.V311}},
		{"one of each", []packet.Version{packet.V5, packet.V311}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := embedded(t)
			k := cluster(t, at)
			text := "kafka: {brokers: [" + at + "]}\nendpoints:\n"
			var sites []*site
			for i, v := range c.brokers {
				sites = append(sites, newSite(t, v))
				text += fmt.Sprintf("  s%d: {dial: %q}\n", i, sites[i].url())
			}
			r := start(t, parse(t, text+`routes: [{from: "mqtt:a/#", to: kafka:all}, {from: kafka:all, to: "mqtt:{key}"}]`))
			for i, s := range sites {
				s.connected(fmt.Sprintf("linkspan-s%d", i))
			}
			var want []string
			round := func() {
				for i, s := range sites {
					v := fmt.Sprintf("device %d at %d", len(want), i)
					want = append(want, v)
					s.publish("a/x", v)
				}
				v := fmt.Sprintf("back end %d", len(want))
				want = append(want, v)
				produce(t, k, "all", "a/x", v)
				eventually(t, "all is in Kafka", func() bool { return len(values(t, k, "all")) >= len(want) })
				for i := range sites {
					r.settled(fmt.Sprintf("s%d", i))
				}
			}
			for range 5 {
				round()
			}
			for i, s := range sites {
				n := len(want) - 5 // all but its own devices'
				eventually(t, "each broker has the others' messages", func() bool { return len(s.payloads("a/x")) >= n })
				r.settled(fmt.Sprintf("s%d", i))
				if got := s.payloads("a/x"); len(got) != n {
					t.Errorf("broker %d got %d messages, want %d: %q", i, len(got), n, got)
				}
			}
			got := values(t, k, "all")
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("in Kafka: %q", got)
			}
		})
	}
}

// A device passes on what comes down to where it goes up again, on another topic, so nothing but the count of hops can tell. It
// travels through the broker as a user property, is no header of its own in Kafka, and ends the loop with a dead letter (P2).
func TestHopsEndALoopThroughABroker(t *testing.T) {
	t.Parallel()
	plant := newSite(t, packet.V5)
	plant.onward = map[string]string{"sub/pub/x": "pub/x"}
	r := start(t, parse(t, `
endpoints: {plant: {dial: "`+plant.url()+`"}}
routes: [{from: "plant:pub/#", to: kafka:all}, {from: kafka:all, to: "plant:sub/{key}"}]`))
	plant.connected("linkspan-plant")
	k := cluster(t, r.Kafka...)
	plant.publish("pub/x", "1")
	eventually(t, "the loop ends", func() bool { return len(records(t, k, "linkspan.deadletter")) > 0 })
	r.settled("plant")
	if reason := records(t, k, "linkspan.deadletter")[0].Record.Header("linkspan.reason"); !strings.Contains(string(reason), "loop") {
		t.Errorf("the dead letter's reason is %q", reason)
	}
	all := records(t, k, "all")
	for i, m := range all {
		want := strings.TrimPrefix(strconv.Itoa(i), "0") // absent: never
		if got := string(m.Record.Header("linkspan.hops")); got != want {
			t.Errorf("record %d has %q hops", i, got)
		}
		if slices.ContainsFunc(m.Record.Headers, func(h linkspan.Header) bool { return strings.Contains(h.Key, "linkspan-hops") }) {
			t.Errorf("record %d has headers %v", i, m.Record.Headers)
		}
	}
	if len(all) != 8 {
		t.Errorf("%d records", len(all))
	}
}
