package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// An archipelago is three brokers that know nothing of each other, between which devices move, and as many Linkspans.
type archipelago struct {
	*crossing
	sites   []*harness.Site // of the endpoints isle-0, isle-1, ...
	members []*harness.Linkspan

	up, down, presence string // Kafka topics
}

// newArchipelago starts one, whose processes live unless they are to be killed. unknown is what becomes of records for devices that nobody has seen.
func newArchipelago(t *testing.T, unknown string, killed bool) *archipelago {
	t.Helper()
	a := &archipelago{up: topic(t, world.kafka, "isles-up", 3), down: topic(t, world.kafka, "isles-down", 3), presence: topic(t, world.kafka, "isles-presence", 3)}
	a.crossing = newCrossing(t, world.kafka, fmt.Sprintf(`routes:
  - {from: "mqtt:presence/{device}", to: "kafka:%s", key: "{device}", device: "{device}", presence: {offline: ["gone"]}}
  - {from: "mqtt:load/{device}", to: "kafka:%s", key: "{device}", device: "{device}"}
  - {from: "mqtt:to/{receiver}/from/{device}", to: "kafka:%s", key: "{receiver}", device: "{device}", headers: {sender: "{device}"}}
  - {from: "kafka:%[3]s", to: "mqtt:devices/{key}/commands", qos: 1, device: "{key}", unknown: %s}
`, a.presence, a.up, a.down, unknown))
	a.calm = !killed
	for i, name := range names("isle", 3) {
		a.sites = append(a.sites, ownSite(t, "mosquitto", ""))
		a.endpoints = append(a.endpoints, dialTo(name, a.sites[i].URL("mqtt"), "reconnect: {max: 1s}"))
	}
	a.members = a.crossing.members(t, 3)
	for _, name := range names("isle", 3) {
		owner(t, a.members, name)
	}
	return a
}

// exactly waits until the broker of an isle has acknowledged that many messages, and no more.
func (a *archipelago) exactly(t *testing.T, isle int, want float64) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		sum := 0.0
		for _, l := range a.members {
			sum += gauge(t, l, "linkspan_client_delivered_messages_total", fmt.Sprintf("isle-%d", isle))
		}
		switch {
		case sum > want:
			return harness.Final(fmt.Errorf("the broker of isle %d got %v messages, want %v", isle, sum, want))
		case sum < want:
			return fmt.Errorf("the broker of isle %d got %v messages, want %v", isle, sum, want)
		}
		return nil
	}))
}

// arrive connects a device at an isle, subscribes it to its commands and lets it greet. It returns when Kafka knows.
func (a *archipelago) arrive(t *testing.T, records *tap, name string, isle int, greeting string) harness.Device {
	t.Helper()
	o := harness.Options{URL: a.sites[isle].URL("mqtt"), Client: name, Version: 5}
	o.Will = &harness.Message{Topic: "presence/" + name, Payload: []byte("gone"), QoS: 1}
	d := dial(t, made("paho-go-5"), o)
	subscribe(t, d, harness.Subscription{Filter: "devices/" + name + "/commands", QoS: 1})
	publish(t, d, harness.Message{Topic: "presence/" + name, Payload: []byte(greeting), QoS: 1})
	records.wait(t, saying(name, greeting))
	return d
}

// saying matches records of that key and value.
func saying(key, value string) func(*kgo.Record) bool {
	return func(r *kgo.Record) bool { return string(r.Key) == key && string(r.Value) == value }
}

func (a *archipelago) command(t *testing.T, device, text string) {
	t.Helper()
	must(t, producer(t, world.kafka).ProduceSync(deadline(t), record(a.down, device, []byte(text))).FirstErr())
}

// commanded fails unless the next message of the device is that command.
func commanded(t *testing.T, d harness.Device, name, text string) {
	t.Helper()
	if m := next(t, d); m.Topic != "devices/"+name+"/commands" || string(m.Payload) != text {
		t.Errorf("%s got %q on %s, want %q", name, m.Payload, m.Topic, text)
	}
}

// KAL-A2: a record for a device comes to the broker that the device is on, and to no other.
// KAL-A3: device to Kafka to device, from broker to broker.
// KAL-A8: a device moves to another broker. What comes after its greeting there arrives there, also after its will from
// the old broker.
// KAL-A9: its broker dies. The device goes to another and has its messages there; a message for one that waits for its
// broker to come back waits too.
func TestArchipelago_KAL_A2_A3_A8_A9(t *testing.T) {
	t.Parallel()
	a := newArchipelago(t, "park", false)
	presence := open(t, world.kafka, a.presence)
	anne := a.arrive(t, presence, "anne", 0, "here")
	bob := a.arrive(t, presence, "bob", 1, "here")
	a.command(t, "anne", "one")
	commanded(t, anne, "anne", "one")
	a.command(t, "bob", "one")
	commanded(t, bob, "bob", "one")
	for isle, want := range []float64{1, 1, 0} {
		a.exactly(t, isle, want)
	}

	publish(t, anne, harness.Message{Topic: "to/bob/from/anne", Payload: []byte("ahoy"), QoS: 1})
	commanded(t, bob, "bob", "ahoy")

	moved := a.arrive(t, presence, "anne", 2, "moved")
	a.command(t, "anne", "two")
	commanded(t, moved, "anne", "two")
	publish(t, dial(t, made("paho-go-3"), harness.Options{URL: a.sites[0].URL("mqtt"), Client: "undertaker", Version: 4}),
		harness.Message{Topic: "presence/anne", Payload: []byte("gone"), QoS: 1}) // as the old broker does when it notices
	presence.wait(t, saying("anne", "gone"))
	a.command(t, "anne", "three")
	commanded(t, moved, "anne", "three")

	a.sites[1].Kill()
	back := a.arrive(t, presence, "bob", 0, "rescued")
	a.command(t, "bob", "two")
	commanded(t, back, "bob", "two")

	var ledger harness.Ledger
	subscriber(t, a.sites[2].Addr, "carol", 1, &ledger)
	publish(t, moved, harness.Message{Topic: "presence/carol", Payload: []byte("here"), QoS: 1})
	presence.wait(t, saying("carol", "here"))
	must(t, a.sites[2].Stop(deadline(t)))
	client := producer(t, world.kafka)
	must(t, command(deadline(t), client, &ledger, a.down, []listener{{name: "carol"}}, 20, 0))
	must(t, a.sites[2].Start(deadline(t)))
	settled(t, &ledger, false)
}

// KAL-W3, P3: records for a device that nobody has seen wait, and come in order as soon as it is seen, those that are written
// while they are released too.
func TestParked_KAL_W3(t *testing.T) {
	t.Parallel()
	const n = 200
	a := newArchipelago(t, "park", false)
	var ledger harness.Ledger
	client := producer(t, world.kafka)
	devices := []listener{{name: "late-0"}, {name: "late-1"}}
	ctx := deadline(t)
	must(t, command(ctx, client, &ledger, a.down, devices, n, 0))
	for i, d := range devices {
		subscriber(t, a.sites[i].Addr, d.name, 1, &ledger)
	}
	more := make(chan error, 1)
	go func() { more <- commandFrom(ctx, client, &ledger, a.down, devices, n+2, 2*n) }()
	for i, d := range devices {
		greeter := dial(t, made("paho-go-3"), harness.Options{URL: a.sites[i].URL("mqtt"), Client: "greeter", Version: 4})
		publish(t, greeter, harness.Message{Topic: "presence/" + d.name, Payload: []byte("here"), QoS: 1})
	}
	must(t, <-more)
	settled(t, &ledger, false)
}

// commandFrom writes commands number first to last for each device.
func commandFrom(ctx context.Context, client *kgo.Client, ledger *harness.Ledger, topic string, devices []listener, first, last int) error {
	for i := uint64(first); i <= uint64(last); i++ {
		for _, d := range devices {
			ledger.Sent(d.name, i)
			if err := client.ProduceSync(ctx, record(topic, d.name, harness.Payload(d.name, i, 100))).FirstErr(); err != nil {
				return err
			}
			ledger.Acked(d.name, i)
		}
	}
	return nil
}

// A record for a device that nobody has seen goes to all brokers, or to the dead letter topic with the reason, as the route says.
func TestUnknown(t *testing.T) {
	t.Parallel()
	t.Run("flood", func(t *testing.T) {
		a := newArchipelago(t, "flood", false)
		var all []harness.Device
		for i, site := range a.sites {
			d := dial(t, made("paho-go-3"), harness.Options{URL: site.URL("mqtt"), Client: fmt.Sprint("d-", i), Version: 4})
			subscribe(t, d, harness.Subscription{Filter: "devices/nemo/commands", QoS: 1})
			all = append(all, d)
		}
		a.command(t, "nemo", "surface")
		for _, d := range all {
			commanded(t, d, "nemo", "surface")
		}
	})
	t.Run("dead-letter", func(t *testing.T) {
		a := newArchipelago(t, "dead-letter", false)
		a.command(t, "nemo", "surface")
		r := open(t, world.kafka, a.deadLetters()).wait(t, saying("nemo", "surface"))
		if header(r, "linkspan.reason") == "" || header(r, "linkspan.topic") != a.down || header(r, "linkspan.offset") != "0" {
			t.Errorf("headers %v", r.Headers)
		}
	})
}

// KAL-A11, KAL-A7: 3 devices on 3 brokers, 3 processes. Of 1000 records each from Kafka exactly 1000 arrive at each, in order; 3000
// publishes make 3000 records.
func TestBulkBehindBrokers_KAL_A11(t *testing.T) {
	t.Parallel()
	const n = 1000
	a := newArchipelago(t, "park", false)
	var up, down harness.Ledger
	land(t, world.kafka, &up, a.up)
	devices := names("bulk", 3)
	var waits []func()
	var all []listener
	for i, name := range devices {
		subscriber(t, a.sites[i].Addr, name, 1, &down)
		waits = append(waits, publishers(t, &up, byte(1+i%2), n, 20, 0, a.sites[i].Addr, name))
		all = append(all, listener{name: name})
	}
	for _, wait := range waits {
		wait()
	}
	if report := settled(t, &up, false); report.Arrived != 3*n {
		t.Errorf("want %d records", 3*n)
	}
	must(t, command(deadline(t), producer(t, world.kafka), &down, a.down, all, n-1, 0)) // and one more
	if report := settled(t, &down, false); report.Arrived != 3*n {
		t.Errorf("want %d messages", 3*n)
	}
	for isle := range 3 {
		a.exactly(t, isle, n)
	}
}

// KAL-A10, P3, P5: records for devices behind three brokers, while the processes that route and deliver them are killed one after the
// other.
func TestLocatedKilled_KAL_A10(t *testing.T) {
	t.Parallel()
	const n = 400
	a := newArchipelago(t, "park", true)
	var ledger harness.Ledger
	presence := open(t, world.kafka, a.presence)
	var all []listener
	for i, name := range names("hardy", 3) {
		subscriber(t, a.sites[i].Addr, name, 1, &ledger)
		greeter := dial(t, made("paho-go-3"), harness.Options{URL: a.sites[i].URL("mqtt"), Client: "greeter", Version: 4})
		publish(t, greeter, harness.Message{Topic: "presence/" + name, Payload: []byte("here"), QoS: 1})
		presence.wait(t, saying(name, "here"))
		all = append(all, listener{name: name})
	}
	written := make(chan error, 1)
	client, ctx := producer(t, world.kafka), deadline(t)
	go func() { written <- command(ctx, client, &ledger, a.down, all, n, 20*time.Millisecond) }()
	for i, l := range a.members[:2] {
		arrived(t, &ledger, 300*(i+1))
		l.Kill()
		must(t, l.Start(deadline(t)))
	}
	must(t, <-written)
	settled(t, &ledger, true)
}

// KAL-A4, KAL-A6: routes are ordered and captures usable in topic, key and partition; the partition is that of Kalinka's vectors.
// KAL-A5: what no route takes goes to the dead letter topic, with the reason.
func TestRules_KAL_A4_A5_A6(t *testing.T) {
	t.Parallel()
	three := topic(t, world.kafka, "rules", 3)
	first := topic(t, world.kafka, "rules-first", 1)
	site := sharedSite(t, "mosquitto")
	prefix := first // of topics on the shared broker
	c := newCrossing(t, world.kafka, fmt.Sprintf(`routes:
  - {from: "rules:%[1]s/special/{device}", to: "kafka:%[1]s", key: "{device}"}
  - {from: "rules:%[1]s/{kind}/{device}", to: "kafka:%[2]s", key: "{kind}.{device}", partition: "{partition device 3}"}
`, prefix, three), dialTo("rules", site.URL("mqtt"), fmt.Sprintf("subscribe: [%q]", prefix+"/#"), "client_id: "+prefix))
	connected(t, c.member(t), "rules")
	d := dial(t, made("paho-go-3"), harness.Options{URL: site.URL("mqtt"), Client: prefix + "-device", Version: 4})
	rest := open(t, world.kafka, three)
	for want, all := range [][]string{{"cyclops", "beast", "archangel", "mystique"}, {"pyro", "phoenix", "rouge", "colossus"}, {"wolverine", "iceman", "sabretooth", "jean"}} {
		for _, name := range all {
			to := prefix + "/x/" + name
			publish(t, d, harness.Message{Topic: to, Payload: []byte("hi"), QoS: 1})
			if r := rest.wait(t, fromTopic(to)); r.Partition != int32(want) || string(r.Key) != "x."+name {
				t.Errorf("%s: partition %d, want %d; key %s", name, r.Partition, want, r.Key)
			}
		}
	}
	publish(t, d, harness.Message{Topic: prefix + "/special/s", Payload: []byte("hi"), QoS: 1})
	open(t, world.kafka, first).wait(t, fromTopic(prefix+"/special/s"))
	publish(t, d, harness.Message{Topic: prefix + "/a/b/c", Payload: []byte("lost?"), QoS: 1})
	r := open(t, world.kafka, c.deadLetters()).wait(t, func(*kgo.Record) bool { return true })
	if string(r.Value) != "lost?" || header(r, "linkspan.topic") != prefix+"/a/b/c" || header(r, "linkspan.reason") == "" || header(r, "linkspan.endpoint") != "rules" {
		t.Errorf("dead letter %q, headers %v", r.Value, r.Headers)
	}
}
