package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// CON-A2: filters overlap, and a message that several match gives one record, by the first of them in the list; one line of
// the log names them. On MQTT 5 and before.
func TestOverlap_CON_A2(t *testing.T) {
	t.Parallel()
	site := sharedSite(t, "mosquitto")
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			at := topic(t, world.kafka, "overlap", 1) // its name is the prefix of this test's topics, too
			second, third := topic(t, world.kafka, "overlap-second", 1), topic(t, world.kafka, "overlap-third", 1)
			c := newCrossing(t, world.kafka, fmt.Sprintf(`routes:
  - {from: "mqtt:%[1]s/+/x", to: "kafka:%[1]s"}
  - {from: "mqtt:%[1]s/a/+", to: "kafka:%[2]s"}
  - {from: "mqtt:%[1]s/#", to: "kafka:%[3]s"}
`, at, second, third), dialTo("overlap", site.URL("mqtt"), fmt.Sprintf("version: %q", version), "client_id: "+at))
			l := c.member(t)
			connected(t, l, "overlap")
			records := []*tap{open(t, world.kafka, at), open(t, world.kafka, second), open(t, world.kafka, third)}
			d := dial(t, made("paho-go-3"), harness.Options{URL: site.URL("mqtt"), Client: at + "-device", Version: 4})
			for i := range 20 {
				for _, to := range []string{"a/x", "a/y", "b/y"} {
					publish(t, d, harness.Message{Topic: at + "/" + to, Payload: fmt.Append(nil, i), QoS: byte(i % 3)})
				}
			}
			publish(t, d, harness.Message{Topic: at, Payload: []byte("parent"), QoS: 1})
			records[2].wait(t, fromTopic(at)) // CON-A3: a/# includes a
			for route, tap := range records {
				must(t, harness.Until(deadline(t), func() error {
					n := len(tap.all(func(r *kgo.Record) bool { return string(r.Value) != "parent" }))
					if n > 20 {
						return harness.Final(fmt.Errorf("route %d gave %d records of 20 messages", route, n))
					}
					if n < 20 {
						return fmt.Errorf("route %d gave %d records of 20 messages", route, n)
					}
					return nil
				}))
			}
			warnings := 0
			for line := range l.Lines() {
				if strings.Contains(line, "topic filters overlap") {
					warnings++
					for _, filter := range []string{"/+/x", "/a/+", "/#"} {
						if !strings.Contains(line, at+filter) {
							t.Errorf("%s%s is not in %s", at, filter, line)
						}
					}
				}
			}
			if warnings != 1 {
				t.Errorf("%d warnings of filters that overlap:\n%s", warnings, l.Log())
			}
		})
	}
}

// CON-A3: every topic that MQTT allows arrives, and comes back.
func TestEveryTopic_CON_A3(t *testing.T) {
	t.Parallel()
	site := sharedSite(t, "mosquitto")
	at := topic(t, world.kafka, "every", 1)
	c := newCrossing(t, world.kafka, fmt.Sprintf(`routes:
  - {from: "mqtt:%[1]s/#", to: "kafka:%[1]s", key: "{topic}"}
  - {from: "kafka:%[1]s-back", to: "mqtt:{key}", qos: 1}
`, at), dialTo("every", site.URL("mqtt"), "client_id: "+at))
	must(t, harness.CreateTopic(deadline(t), world.kafka.Addrs(), at+"-back", 1, nil))
	connected(t, c.member(t), "every")
	records, client := open(t, world.kafka, at), producer(t, world.kafka)
	d := dial(t, made("paho-python"), harness.Options{URL: site.URL("mqtt"), Client: at + "-device", Version: 5})
	subscribe(t, d, harness.Subscription{Filter: "back/" + at + "/#", QoS: 1})
	long := strings.Repeat("länge/", 100) + strings.Repeat("ö", 30_000) // Mosquitto takes 200 levels
	for _, name := range []string{"", "/", "//", "/x", "x/", " ", "a b/c", "a:b,c;d", "größe/⚓/日本", "{device}", "$x", "a.b_c-d", `"quoted"\`, "%20", long} {
		to := at + "/" + name
		publish(t, d, harness.Message{Topic: to, Payload: []byte(name), QoS: 1})
		r := records.wait(t, fromTopic(to))
		if string(r.Key) != to || string(r.Value) != name {
			t.Errorf("%q: key %q, value %q", to, r.Key, r.Value)
		}
		must(t, client.ProduceSync(deadline(t), record(at+"-back", "back/"+to, r.Value)).FirstErr())
		if m := next(t, d); m.Topic != "back/"+to || string(m.Payload) != name {
			t.Errorf("%q came back as %q", to, m.Topic)
		}
	}
}

// A message that a broker had retained can be told from one that is new, and left alone by rule, also when Linkspan subscribes again.
func TestRetainedAtBroker(t *testing.T) {
	t.Parallel()
	site := ownSite(t, "mosquitto", "")
	take := topic(t, world.kafka, "retained", 1)
	skip := topic(t, world.kafka, "retained-skip", 1)
	c := newCrossing(t, world.kafka, fmt.Sprintf(`routes:
  - {from: "mqtt:take/#", to: "kafka:%s"}
  - {from: "mqtt:skip/#", to: "kafka:%s", retained: skip}
`, take, skip), dialTo("plant", site.URL("mqtt"), "version: 3.1.1"))
	d := dial(t, made("paho-go-3"), harness.Options{URL: site.URL("mqtt"), Client: "d", Version: 4})
	for _, to := range []string{"take/1", "skip/1"} {
		publish(t, d, harness.Message{Topic: to, Payload: []byte("old"), QoS: 1, Retain: true})
	}
	l := c.member(t)
	connected(t, l, "plant")
	taken, skipped := open(t, world.kafka, take), open(t, world.kafka, skip)
	if r := taken.wait(t, fromTopic("take/1")); header(r, "mqtt.retain") != "1" {
		t.Errorf("old: headers %v", r.Headers)
	}
	for _, to := range []string{"take/2", "skip/2"} {
		publish(t, d, harness.Message{Topic: to, Payload: []byte("new"), QoS: 1, Retain: true})
	}
	if r := taken.wait(t, fromTopic("take/2")); header(r, "mqtt.retain") == "1" {
		t.Errorf("new: headers %v", r.Headers)
	}
	skipped.wait(t, fromTopic("skip/2"))
	if n := len(skipped.all(fromTopic("skip/1"))); n > 0 {
		t.Errorf("the retained message came %d times", n)
	}
}

// The same broker on both sides of a mapping: of what goes down to topics that come up nothing comes up again, on MQTT 5 and before.
func TestNoEcho(t *testing.T) {
	t.Parallel()
	site := sharedSite(t, "mosquitto")
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			at := topic(t, world.kafka, "echo", 1)
			c := newCrossing(t, world.kafka, fmt.Sprintf(`routes:
  - {from: "mqtt:%[1]s/{rest...}", to: "kafka:%[1]s", key: "{rest}"}
  - {from: "kafka:%[1]s", to: "mqtt:%[1]s/{key}", qos: 1}
`, at), dialTo("echo", site.URL("mqtt"), fmt.Sprintf("version: %q", version), "client_id: "+at))
			l := c.member(t)
			connected(t, l, "echo")
			d := dial(t, made("paho-go-5"), harness.Options{URL: site.URL("mqtt"), Client: at + "-device", Version: 5})
			subscribe(t, d, harness.Subscription{Filter: at + "/#", QoS: 1, NoLocal: true})
			records, client := open(t, world.kafka, at), producer(t, world.kafka)
			const n = 50
			for i := range n {
				must(t, client.ProduceSync(deadline(t), record(at, "down", fmt.Append(nil, i))).FirstErr())
				publish(t, d, harness.Message{Topic: at + "/up", Payload: fmt.Append(nil, i), QoS: 1})
			}
			for i := range n { // what came down from Kafka; not what the device published itself
				if m := next(t, d); m.Topic != at+"/down" || string(m.Payload) != fmt.Sprint(i) {
					t.Fatalf("got %q on %s, want %d", m.Payload, m.Topic, i)
				}
			}
			publish(t, d, harness.Message{Topic: at + "/last", Payload: nil, QoS: 1})
			records.wait(t, fromTopic(at+"/last"))
			if got := len(records.all(func(*kgo.Record) bool { return true })); got != 2*n+1 {
				t.Errorf("%d records of %d messages", got, 2*n+1)
			}
		})
	}
}

// Two brokers are mirrored through Kafka, on MQTT 5 and before: each message makes one record, and arrives once at the other.
func TestMirror(t *testing.T) {
	t.Parallel()
	first, second := ownSite(t, "mosquitto", ""), ownSite(t, "mosquitto", "")
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			const n = 50
			mirror := topic(t, world.kafka, "mirror", 1)
			c := newCrossing(t, world.kafka, mirrorRoutes(mirror),
				dialTo("first", first.URL("mqtt"), fmt.Sprintf("version: %q", version)), dialTo("second", second.URL("mqtt"), fmt.Sprintf("version: %q", version)))
			connected(t, c.member(t), "first", "second")
			records := open(t, world.kafka, mirror)
			var devices []harness.Device
			for _, site := range []*harness.Site{first, second} {
				d := dial(t, made("paho-go-5"), harness.Options{URL: site.URL("mqtt"), Client: "d", Version: 5})
				subscribe(t, d, harness.Subscription{Filter: mirror + "/#", QoS: 1, NoLocal: true})
				devices = append(devices, d)
			}
			for i := range n {
				for side, d := range devices {
					publish(t, d, harness.Message{Topic: fmt.Sprintf("%s/%d", mirror, side), Payload: fmt.Append(nil, i), QoS: 1})
				}
			}
			for side, d := range devices {
				for i := range n {
					if m := next(t, d); m.Topic != fmt.Sprintf("%s/%d", mirror, 1-side) || string(m.Payload) != fmt.Sprint(i) {
						t.Fatalf("side %d got %q on %s, want %d", side, m.Payload, m.Topic, i)
					}
				}
			}
			quiet(t, records)
			if got := len(records.all(func(*kgo.Record) bool { return true })); got != 2*n {
				t.Errorf("%d records of %d messages", got, 2*n)
			}
		})
	}
}

func mirrorRoutes(topic string) string {
	return fmt.Sprintf("routes:\n  - {from: \"mqtt:%[1]s/#\", to: \"kafka:%[1]s\"}\n  - {from: \"kafka:%[1]s\", to: \"mqtt:{key}\", qos: 1}\n", topic)
}

// The mirrored brokers are bridged to each other behind our back besides, so that each message comes back by another way, and makes
// two. The count of hops ends it.
func TestLoopBehindOurBack(t *testing.T) {
	t.Parallel()
	first := ownSite(t, "mosquitto", "")
	second := ownSite(t, "mosquitto", fmt.Sprintf("connection first\naddress %s\nbridge_protocol_version mqttv50\ntopic # both 1\n", first.Addr()))
	mirror := topic(t, world.kafka, "loop", 1)
	c := newCrossing(t, world.kafka, mirrorRoutes(mirror), dialTo("first", first.URL("mqtt")), dialTo("second", second.URL("mqtt")))
	connected(t, c.member(t), "first", "second")
	d := dial(t, made("paho-go-3"), harness.Options{URL: first.URL("mqtt"), Client: "d", Version: 4})
	records := open(t, world.kafka, mirror)
	publish(t, d, harness.Message{Topic: mirror, Payload: []byte("once"), QoS: 1})
	dead := open(t, world.kafka, c.deadLetters())
	if r := dead.wait(t, func(*kgo.Record) bool { return true }); !strings.Contains(header(r, "linkspan.reason"), "loop") {
		t.Errorf("headers %v", r.Headers)
	}
	quiet(t, records)
	t.Logf("one message made %d records", len(records.all(func(*kgo.Record) bool { return true })))
}

// quiet waits until a topic has stopped growing: for as long as it had grown before, at least a second.
func quiet(t *testing.T, records *tap) {
	t.Helper()
	count := func() int { return len(records.all(func(*kgo.Record) bool { return true })) }
	begin := time.Now()
	last, since := count(), time.Now()
	must(t, harness.Until(deadline(t), func() error {
		if n := count(); n != last {
			last, since = n, time.Now()
		}
		if calm := time.Since(since); calm < max(2*time.Second, since.Sub(begin)) {
			return fmt.Errorf("%d records, the last one %v ago", last, calm)
		}
		return nil
	}))
}

// KAL-W3, P2: what a broker refuses for good goes to the dead letter topic with the broker's reason; what follows goes on.
func TestRefusedByBroker(t *testing.T) {
	t.Parallel()
	acl := filepath.Join(t.TempDir(), "acl")
	must(t, os.WriteFile(acl, []byte("topic read #\ntopic write ok/#\n"), 0o644))
	site := ownSite(t, "mosquitto", fmt.Sprintf("acl_file %s\n", acl))
	down := topic(t, world.kafka, "refused", 1)
	c := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"kafka:%s\", to: \"mqtt:{key}\", qos: 1}\n", down), dialTo("plant", site.URL("mqtt")))
	l := c.member(t)
	connected(t, l, "plant")
	d := dial(t, made("paho-go-5"), harness.Options{URL: site.URL("mqtt"), Client: "d", Version: 5})
	subscribe(t, d, harness.Subscription{Filter: "#", QoS: 1})
	client := producer(t, world.kafka)
	must(t, client.ProduceSync(deadline(t), record(down, "forbidden/x", []byte("no"), "unit", "°C"), record(down, "bad/#", []byte("never")), record(down, "ok/x", []byte("yes"))).FirstErr())
	if m := next(t, d); m.Topic != "ok/x" || string(m.Payload) != "yes" {
		t.Errorf("got %+v", m)
	}
	dead := open(t, world.kafka, c.deadLetters())
	for _, want := range []struct{ key, value, reason string }{{"forbidden/x", "no", "uthorized"}, {"bad/#", "never", "topic"}} {
		r := dead.wait(t, saying(want.key, want.value))
		if !strings.Contains(header(r, "linkspan.reason"), want.reason) || header(r, "linkspan.topic") != down || header(r, "linkspan.endpoint") != "plant" {
			t.Errorf("%s: headers %v", want.key, r.Headers)
		}
		t.Logf("%s: %s", want.key, header(r, "linkspan.reason"))
	}
	if r := dead.wait(t, saying("forbidden/x", "no")); header(r, "unit") != "°C" {
		t.Errorf("headers %v", r.Headers)
	}
}

// P2: workers with a shared subscription, changed from 1 to 3 and back while devices publish: nothing is lost, and nothing is left behind in
// sessions that nobody reads any more. Mosquitto gives each worker its part of what comes; HiveMQ keeps it in one queue for
// all, which goes with the last of them.
func TestWorkers(t *testing.T) {
	t.Parallel()
	for _, make := range []string{"mosquitto", "hivemq"} {
		t.Run(make, func(t *testing.T) {
			t.Parallel()
			changeWorkers(t, sharedSite(t, make))
		})
	}
}

func changeWorkers(t *testing.T, site *harness.Site) {
	const n = 600
	up := topic(t, world.kafka, "workers", 3)
	c := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"mqtt:load/%s/{device}\", to: \"kafka:%[1]s\", key: \"{device}\"}\n", up))
	var ledger harness.Ledger
	land(t, world.kafka, &ledger, up)
	var wait func()
	for i, workers := range []int{1, 3, 1} {
		c.endpoints = []string{dialTo("plant", site.URL("mqtt"), "client_id: "+up, fmt.Sprint("workers: ", workers))}
		l := c.member(t)
		must(t, harness.Until(deadline(t), func() error {
			if got := gauge(t, l, "linkspan_client_connections", "plant"); got != float64(workers) {
				return fmt.Errorf("%v connections, want %d", got, workers)
			}
			return nil
		}))
		if i == 0 {
			var all []*harness.Publisher
			for _, name := range names(up+"-publisher", 3) {
				all = append(all, &harness.Publisher{Addr: site.Addr, Client: name, Topic: "load/" + up + "/" + name, QoS: 1, Count: n,
					Window: 10, Pace: 15 * time.Millisecond, Ledger: &ledger})
			}
			wait = publishing(t, all...)
		}
		arrived(t, &ledger, 400*(i+1))
		if i < 2 {
			code, err := l.Stop(deadline(t))
			if must(t, err); code != 0 {
				t.Errorf("exit code %d", code)
			}
		}
	}
	wait()
	must(t, harness.Until(deadline(t), func() error {
		if missing := ledger.Missing(); missing > 0 {
			return fmt.Errorf("%d have not arrived", missing)
		}
		return nil
	}))
	t.Log(ledger.Report()) // the broker chooses who gets what, so there is no order to speak of
}
