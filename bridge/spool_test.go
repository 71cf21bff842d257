package bridge

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/spool"
)

// A route that counts on a spool that is not there is told of (check's notes).
func TestNotesWithoutSpool(t *testing.T) {
	notes, err := Check(parse(t, `{kafka: {brokers: [k]}, spool: {dir: "off"}, routes: [{from: "mqtt:#", to: kafka:up, ack: kafka-else-spool, full: refuse}]}`))
	want := []string{"routes[0].ack: without a spool it means kafka; name spool.dir", "routes[0].full: there is no spool that could be full; name spool.dir, or take it away"}
	if err != nil || !slices.Equal(notes, want) {
		t.Errorf("%v %q", err, notes)
	}
}

// spooling returns a configuration with a cluster at addr and a spool in dir that takes over soon.
func spooling(addr, dir, more string) string {
	return fmt.Sprintf("kafka: {brokers: [%q]}\nspool: {dir: %s, after: 400ms, min_free: 0, max_bytes: 1048576, segment_bytes: 65536, drain: {max_in_flight: 4}}\n%s", addr, dir, more)
}

// numbers returns the payloads from..to-1.
func numbers(from, to int) (all []string) {
	for i := range to - from {
		all = append(all, strconv.Itoa(from+i))
	}
	return all
}

// publishAll publishes payloads to topic with QoS 1 and waits for their acknowledgements. Identifiers go on from first.
func publishAll(d *mqtttest.Client, topic string, first int, payloads []string) {
	for i, p := range payloads {
		d.Send(publish(topic, p, 1, uint16(first+i)))
	}
	for i := range payloads {
		d.ExpectAck(packet.PUBACK, uint16(first+i), packet.Success)
	}
}

// well waits until nothing is in the spool and all routes go their direct way. A slow machine may have had them take the other one.
func (r *instance) well() {
	r.t.Helper()
	eventually(r.t, "all is well", func() bool {
		_, body := r.get("/readyz")
		return strings.HasPrefix(body, "ok\n") && !strings.Contains(body, "\nroute ")
	})
}

// With Kafka away devices get their acknowledgements from the spool, those whose messages the producer has too. /readyz and the
// metrics tell what waits. When Kafka is back all is there, in order and once (P1, P3, CON-A4, CON-A5, CON-A12).
func TestSpoolInAnOutage(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	at := kafka.broker()
	kafka.lead(at)
	r := start(t, parse(t, spooling(kafka.addr(), t.TempDir(), "")))
	d := r.device("d")
	publishAll(d, "t", 1, []string{"0"})
	r.well()
	before := r.metric(`linkspan_spool_appended_messages_total{route="messages-up"}`)
	kafka.shut()
	publishAll(d, "t", 2, numbers(1, 11)) // taken over
	publishAll(d, "t", 12, numbers(11, 21))
	d.Ping()
	var status int
	var body string
	eventually(t, "it is told what waits", func() bool {
		status, body = r.get("/readyz")
		return strings.HasPrefix(body, "degraded: buffering 20 messages (")
	})
	if status != 200 || !strings.Contains(body, "\nroute messages-up: spooling, 20 messages (") {
		t.Errorf("%d %s", status, body)
	}
	for name, want := range map[string]string{
		`linkspan_spool_messages{route="messages-up"}`:           "20",
		`linkspan_spool_way{route="messages-up",way="spooling"}`: "1",
		`linkspan_spool_disk_failing`:                            "0",
	} {
		if got := r.metric(name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	if got := r.metric(`linkspan_spool_taken_over_messages_total{route="messages-up"}`); got == "0" {
		t.Error("none was taken over")
	}
	if got := r.metric(`linkspan_spool_appended_messages_total{route="messages-up"}`); got == before {
		t.Errorf("%s appended, as before", got)
	}
	kafka.lead(at)
	r.well()
	publishAll(d, "t", 22, []string{"21"})
	if got := values(t, cluster(t, at), "mqtt.messages"); !slices.Equal(got, numbers(0, 22)) {
		t.Errorf("in Kafka: %v", got)
	}
}

// A stop in an outage waits for nobody: what Kafka has not acknowledged is on disk (P8).
func TestSpoolStopsInAnOutage(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	at := kafka.broker()
	kafka.lead(at)
	r := start(t, parse(t, spooling(kafka.addr(), t.TempDir(), "drain_timeout: 1h")))
	d := r.device("d")
	publishAll(d, "t", 1, numbers(0, 5))
	r.well()
	kafka.shut()
	publishAll(d, "t", 6, numbers(5, 10))
	d.Send(&packet.Disconnect{})
	eventually(t, "it is known that Kafka is away", func() bool { return r.metric("linkspan_kafka_connected") == "0" })
	if err := r.stop(); err != nil { // else in an hour
		t.Error(err)
	}
}

// What is in the spool at a stop is there at the next start, and devices go on although Kafka is still away: a will, too. All comes to
// Kafka in order when it is back, and to whoever has subscribed meanwhile (P3, P5, P8, CON-A7).
func TestSpoolOverARestart(t *testing.T) {
	t.Parallel()
	kafka, dir := newDoor(t), t.TempDir()
	at := kafka.broker()
	kafka.lead(at)
	r := start(t, parse(t, spooling(kafka.addr(), dir, "drain_timeout: 2s")))
	d := r.device("d")
	publishAll(d, "t", 1, numbers(0, 5))
	r.well()
	kafka.shut()
	publishAll(d, "t", 6, numbers(5, 10))
	d.Send(&packet.Disconnect{})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	r = startPatient(t, parse(t, spooling(kafka.addr(), dir, "")), time.Millisecond)
	if got := r.metric(`linkspan_spool_messages{route="messages-up"}`); got != "5" {
		t.Errorf("%s messages in the spool after the restart", got)
	}
	status, body := r.get("/readyz")
	if status != 200 || !strings.HasPrefix(body, "degraded: Kafka cannot be reached yet; buffering 5 messages (") {
		t.Errorf("%d %s", status, body)
	}
	sub := r.device("sub")
	sub.Subscribe(1, packet.Subscription{Filter: "t", QoS: 0})
	d = mqtttest.Dial(t, strings.TrimPrefix(r.Endpoints[0].URL, "mqtt://"), packet.V5)
	d.Connect(packet.Connect{ClientID: "d", CleanStart: true, Will: &packet.Will{Topic: "t", Payload: []byte("15"), QoS: 1}})
	publishAll(d, "t", 1, numbers(10, 15))
	d.Conn.Close()
	eventually(t, "the will is in the spool", func() bool { return r.metric(`linkspan_wills_total{outcome="published"}`) == "1" })
	kafka.lead(at)
	for _, want := range numbers(5, 16) {
		var got packet.Publish
		sub.Expect(packet.PUBLISH, &got)
		if string(got.Payload) != want {
			t.Fatalf("received %s, want %s", got.Payload, want)
		}
	}
	if got := values(t, cluster(t, at), "mqtt.messages"); !slices.Equal(got, numbers(0, 16)) {
		t.Errorf("in Kafka: %v", got)
	}
	r.well()
}

// fullSpool starts a bridge with one route and room for some 15 payloads, of which one is in Kafka, and shuts the door to that.
func fullSpool(t *testing.T, full string) (r *instance, d *mqtttest.Client, kafka *door, at string) {
	kafka = newDoor(t)
	at = kafka.broker()
	kafka.lead(at)
	r = start(t, parse(t, spooling(kafka.addr(), t.TempDir(), `routes: [{name: up, from: "mqtt:t", to: kafka:up, full: `+full+`}]`)))
	d = r.device("d")
	publishAll(d, "t", 1, []string{heavy(0)})
	r.well()
	kafka.shut()
	return r, d, kafka, at
}

func heavy(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", 60_000)) }

// notReady reports whether /readyz says that the route goes that way, and is not green.
func (r *instance) notReady(way string) bool {
	status, body := r.get("/readyz")
	return status == 503 && strings.Contains(body, "\nroute up: "+way)
}

// A full spool holds devices back, and /readyz says so. Keep-alives are answered, and all comes to Kafka in order (P1, P2, P3, P6, CON-W10).
func TestSpoolFullHolds(t *testing.T) {
	t.Parallel()
	r, d, kafka, at := fullSpool(t, "hold")
	sent, held := 1, false
	for !held {
		d.Send(publish("t", heavy(sent), 1, uint16(sent+1)))
		sent++
		eventually(t, "it is taken, or held back", func() bool {
			held = r.notReady("holding")
			return held || r.metric(`linkspan_mqtt_acked_messages_total{endpoint="devices",qos="1"}`) == strconv.Itoa(sent)
		})
	}
	d.Send(publish("t", heavy(sent), 1, uint16(sent+1)))
	sent++
	d.Write(packet.AppendPing(nil, packet.PINGREQ)...)
	acked := 1
	for ; ; acked++ {
		raw, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		if raw.Type() == packet.PINGRESP {
			break
		}
	}
	if acked == sent {
		t.Error("the last one was acknowledged although there is no room")
	}
	kafka.lead(at)
	for ; acked < sent; acked++ {
		d.ExpectAck(packet.PUBACK, uint16(acked+1), packet.Success)
	}
	eventually(t, "it is drained", func() bool { return r.metric(`linkspan_spool_messages{route="up"}`) == "0" })
	got := values(t, cluster(t, at), "up")
	for i := range sent {
		if i >= len(got) || got[i] != heavy(i) {
			t.Fatalf("%d of %d are there, in order up to %d", len(got), sent, i)
		}
	}
	r.well()
}

// A full spool refuses or drops what the route lets it, counted, and /readyz is not green meanwhile. What was acknowledged and not
// dropped comes to Kafka in order (P1, P2, P3).
func TestSpoolFullLosesWhatItMay(t *testing.T) {
	for full, reason := range map[string]string{"refuse": "refused", "drop-oldest": "oldest", "drop-newest": "newest"} {
		t.Run(full, func(t *testing.T) {
			t.Parallel()
			const n = 30
			r, d, kafka, at := fullSpool(t, full)
			acked := []string{heavy(0)}
			for i := 1; i < n; i++ {
				d.Send(publish("t", heavy(i), 1, uint16(i+1)))
				var a packet.Ack
				d.Expect(packet.PUBACK, &a)
				switch {
				case int(a.PacketID) == i+1 && a.Reason == packet.Success:
					acked = append(acked, heavy(i))
				case int(a.PacketID) != i+1 || a.Reason != packet.QuotaExceeded || full != "refuse":
					t.Fatalf("ack of %d with %v, want %d", a.PacketID, a.Reason, i+1)
				}
			}
			dropped := func() string {
				return r.metric(`linkspan_spool_dropped_messages_total{reason="` + reason + `",route="up"}`)
			}
			eventually(t, "it is counted", func() bool { return dropped() != "0" })
			eventually(t, "/readyz says so", func() bool { return r.notReady("dropping") })
			kafka.lead(at)
			eventually(t, "it is drained", func() bool { return r.metric(`linkspan_spool_messages{route="up"}`) == "0" })
			got := values(t, cluster(t, at), "up")
			if len(got) == n || dropped() != fmt.Sprint(n-len(got)) {
				t.Errorf("%d of %d are there, %s dropped", len(got), n, dropped())
			}
			if full == "refuse" && len(got) != len(acked) {
				t.Errorf("%d acknowledged, %d there", len(acked), len(got))
			}
			next := 0 // in acked
			for _, v := range got {
				i := slices.Index(acked[next:], v)
				if i < 0 {
					t.Fatalf("%.5s is out of order, or was not acknowledged", v)
				}
				next += i + 1
			}
		})
	}
}

// A route that only Kafka may acknowledge holds its devices back in an outage, and no other route's (P1, P6).
func TestAckPoints(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	at := kafka.broker()
	kafka.lead(at)
	r := start(t, parse(t, spooling(kafka.addr(), t.TempDir(), `
admin: {stall_timeout: 1s}
routes: [{name: strict, from: "mqtt:strict", to: kafka:up, ack: kafka}, {from: "mqtt:disk", to: kafka:up, ack: spool}, {from: "mqtt:memory", to: kafka:up, ack: memory}]`)))
	strict, disk, memory := r.device("strict"), r.device("disk"), r.device("memory")
	publishAll(disk, "disk", 1, []string{"disk"})
	eventually(t, "it has passed through the spool", func() bool { return r.metric(`linkspan_spool_drained_messages_total{route="route-2"}`) == "1" })
	kafka.shut()
	strict.Send(publish("strict", "strict", 1, 1))
	publishAll(disk, "disk", 2, []string{"disk again"})
	publishAll(memory, "memory", 1, []string{"memory"})
	eventually(t, "/readyz tells of the route that waits", func() bool {
		status, body := r.get("/readyz")
		return status == 503 && strings.HasPrefix(body, "Kafka has not acknowledged a message for ")
	})
	strict.Ping() // no ack came before the answer
	kafka.lead(at)
	strict.ExpectAck(packet.PUBACK, 1, packet.Success)
	k := cluster(t, at)
	eventually(t, "all has arrived", func() bool {
		got := values(t, k, "up")
		slices.Sort(got)
		return slices.Equal(got, []string{"disk", "disk again", "memory", "strict"})
	})
}

// What Kafka refuses for good once it is asked, after the device has its acknowledgement from the spool, goes to the dead letter topic
// with its reason, and what comes after it goes on (P2, CON-A12, UNS-W2). The same for a device with MQTT 3 while Kafka is there: it is
// not disconnected for it.
func TestPoisonInTheSpool(t *testing.T) {
	t.Parallel()
	kafka := newDoor(t)
	at := kafka.broker()
	kafka.lead(at)
	cfg := parse(t, spooling(kafka.addr(), t.TempDir(), `routes: [{name: up, from: "mqtt:{n}", to: kafka:up, partition: "{n}"}]`))
	cfg.Kafka.Producer.MaxMessageBytes = 10_000
	r := start(t, cfg)
	d := mqtttest.Dial(t, strings.TrimPrefix(r.Endpoints[0].URL, "mqtt://"), packet.V311).Join("d")
	large := strings.Repeat("x", 20_000)
	publishAll(d, "0", 1, []string{"0"})
	publishAll(d, "9", 2, []string{"no such partition"})
	publishAll(d, "0", 3, []string{large, "1"})
	r.well()
	kafka.shut()
	publishAll(d, "0", 5, []string{"2"})
	publishAll(d, "9", 6, []string{"no such partition"})
	publishAll(d, "0", 7, []string{large, "3"})
	kafka.lead(at)
	eventually(t, "it is drained", func() bool { return r.metric(`linkspan_spool_messages{route="up"}`) == "0" })
	k := cluster(t, at)
	eventually(t, "the letters are there", func() bool { return len(records(t, k, "linkspan.deadletter")) == 4 })
	for i, l := range records(t, k, "linkspan.deadletter") {
		want := map[string]string{
			"linkspan.route": "up", "linkspan.endpoint": "devices", "linkspan.topic": "9", "linkspan.attempts": "1", "linkspan.size": "", "mqtt.client": "d",
		}
		payload, reason := "no such partition", "no such partition"
		if string(l.Record.Key) == "0" {
			want["linkspan.topic"], want["linkspan.size"] = "0", "20000"
			payload, reason = large[:5_000], "too large"
		}
		for name, value := range want {
			if got := string(l.Record.Header(name)); got != value {
				t.Errorf("%d: %s = %q, want %q", i, name, got, value)
			}
		}
		if string(l.Payload) != payload || string(l.Record.Key) != want["linkspan.topic"] || !strings.Contains(string(l.Record.Header("linkspan.reason")), reason) {
			t.Errorf("%d: %d bytes, key %s, %v", i, len(l.Payload), l.Record.Key, l.Record.Headers)
		}
	}
	eventually(t, "the others are there", func() bool { return slices.Equal(values(t, k, "up"), numbers(0, 4)) })
	for reason, want := range map[string]string{"too_large": "2", "refused": "2"} {
		eventually(t, reason+" is counted", func() bool {
			return r.metric(`linkspan_dead_letters_total{endpoint="devices",reason="`+reason+`"}`) == want
		})
	}
}

// A process that is alone dials its brokers although Kafka is away from its start: they get their acknowledgements from the spool, and
// so does what no route takes, as a dead letter. Both ways go on when Kafka is there (P1, P2, CON-A4).
func TestAloneWithoutKafka(t *testing.T) {
	t.Parallel()
	plant, kafka := newSite(t, packet.V5), newDoor(t)
	at := kafka.broker()
	cfg := parse(t, spooling(kafka.addr(), t.TempDir(), `
fleet: {alone: true}
endpoints: {plant: {dial: "`+plant.url()+`", subscribe: ["site/#", "other"]}, all: {dial: "`+plant.url()+`", mode: all}}
routes: [{name: up, from: "plant:site/{d}", to: kafka:up, device: "{d}"}, {from: kafka:down, to: "plant:{key}"}, {from: kafka:to, to: "mqtt:to/{key}", device: "{key}"}]`))
	delete(cfg.Endpoints, "devices")
	r := startPatient(t, cfg, time.Millisecond)
	plant.connected("linkspan-plant")
	plant.publish("site/a", "0")
	plant.publish("other", "nobody's")
	plant.publish("site/a", "1")
	eventually(t, "all is acknowledged", func() bool { n, _ := plant.waiting("linkspan-plant"); return n == 0 })
	status, body := r.get("/readyz")
	if status != 200 || !strings.HasPrefix(body, "degraded: Kafka cannot be reached yet; buffering 3 messages (") || !strings.Contains(body, "\nplant: connected to ") {
		t.Errorf("%d %s", status, body)
	}
	if got := r.metric(`linkspan_spool_messages{route="` + spool.DeadLetters + `"}`); got != "1" {
		t.Errorf("%s dead letters in the spool", got)
	}
	kafka.lead(at)
	eventually(t, "ready", func() bool { _, body := r.get("/readyz"); return strings.HasPrefix(body, "ok\n") })
	k := cluster(t, at)
	eventually(t, "what was spooled is in Kafka", func() bool { return slices.Equal(values(t, k, "up"), numbers(0, 2)) })
	eventually(t, "the dead letter, too", func() bool {
		return slices.Equal(values(t, k, "linkspan.deadletter"), []string{"nobody's"})
	})
	produce(t, k, "down", "valve", "open")
	produce(t, k, "to", "a", "find it")
	eventually(t, "records come down, those for a device as well", func() bool {
		return len(plant.payloads("valve")) == 1 && len(plant.payloads("to/a")) == 1
	})
}

// Whether there is a spool, and where.
func TestWhetherThereIsASpool(t *testing.T) {
	up := "endpoints: {devices: {listen: mqtt://}}\nroutes: [{from: mqtt:a, to: kafka:a, ack: %s}, {from: kafka:a, to: mqtt:a}]"
	for text, want := range map[string]string{
		"":                      "off",
		"kafka: {brokers: [a]}": "/home/ada/.local/share/linkspan/spool",
		"kafka: {brokers: [a]}\nspool: {dir: off}":                                          "off",
		"kafka: {brokers: [a]}\n" + fmt.Sprintf(up, "kafka"):                                "off",
		"kafka: {brokers: [a]}\ndefault_route: {to: kafka:b}\n" + fmt.Sprintf(up, "memory"): "/home/ada/.local/share/linkspan/spool",
		fmt.Sprintf(up, "spool"):                                                            "/home/ada/.local/share/linkspan/spool",
		"spool: {dir: /d}":                                                                  "/d",
	} {
		cfg, err := Parse("l.yaml", []byte(text), []string{"HOME=/home/ada"})
		if err != nil || cfg.Spool.Dir != want {
			t.Errorf("%s: %q %v, want %q", text, cfg.Spool.Dir, err, want)
		}
	}
}

// Mistakes about the spool are told with their place and what was meant.
func TestSpoolMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"routes: [{from: mqtt:a, to: kafka:a, ack: kafak}]":                      `l.yaml:1:38: routes[0].ack: "kafak" is none of kafka-else-spool, kafka, spool, memory; did you mean kafka?`,
		"routes: [{from: mqtt:a, to: kafka:a, full: drop}]":                      "did you mean drop-",
		"routes: [{from: kafka:a, to: mqtt:a, ack: kafka}]":                      "routes[0].ack: it means nothing on the way down",
		"routes: [{from: mqtt:a, to: kafka:a, ack: kafka, full: hold}]":          "routes[0].full: it says what happens when the spool is full, but with ack: kafka",
		"{spool: {dir: off}, routes: [{from: mqtt:a, to: kafka:a, ack: spool}]}": "routes[0].ack: spool needs ",
		"default_route: {to: kafka:a, ack: disk}":                                "default_route.ack: ",
		"routes: [{name: dead_letter!, from: mqtt:a, to: kafka:a}]":              "routes[0].name: ",
		"spool: {max_bytes: 1}":                                                  "spool.max_bytes: must be at least",
	} {
		_, err := Parse("l.yaml", []byte(text), []string{"HOME=/home/ada"})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if _, err := Parse("l.yaml", []byte("kafka: {brokers: [a]}"), nil); err == nil || !strings.Contains(err.Error(), "spool.dir: ") || !strings.Contains(err.Error(), "off") {
		t.Errorf("nowhere to put it: %v", err)
	}
}

// A spool that cannot be used ends the start, with what to do about it.
func TestSpoolThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	used := t.TempDir()
	start(t, parse(t, "spool: {dir: "+used+"}"))
	for name, c := range map[string]struct {
		change func(c *Config)
		want   []string
	}{
		"in use":       {func(c *Config) { c.Spool.Dir = used }, []string{"spool.dir: ", "in use by another process"}},
		"under a file": {func(c *Config) { c.Spool.Dir = filepath.Join(used, "lock", "spool") }, []string{"spool.dir: ", "cannot be used"}},
		"full disk":    {func(c *Config) { c.Spool.Dir, c.Spool.MinFree = t.TempDir(), 1<<62 }, []string{"spool.dir: ", "free"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := parse(t, "spool: {dir: "+t.TempDir()+"}")
			c.change(&cfg)
			err := refusal(t, cfg)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want it to say %q", err, want)
				}
			}
		})
	}
}

// check and explain name the ack point, and warn of what may be lost.
func TestCustodyIsTold(t *testing.T) {
	cfg := parse(t, `
spool: {dir: /d}
routes: [{from: mqtt:a, to: kafka:a}, {from: mqtt:b, to: kafka:b, ack: memory}, {from: mqtt:c, to: kafka:c, full: drop-oldest}, {from: mqtt:d, to: kafka:d}]`)
	lines := strings.Join(Custody(cfg), "\n")
	for _, want := range []string{
		"route-1, route-4, dead letters: a message is acknowledged when all in-sync replicas of Kafka have it, or, while Kafka is away, when it is synced to the spool; while the spool is full it stays",
		"route-2: a message is acknowledged AT ONCE", "route-3: ", "DROPPED", "spool: up to 10.0 GiB in /d",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, lines)
		}
	}
	notes, err := Check(cfg)
	all := strings.Join(notes, "\n")
	if err != nil || !strings.Contains(all, "routes[1].ack: memory: ") || !strings.Contains(all, "LOST") || !strings.Contains(all, "routes[2].full: drop-oldest: ") || len(notes) != 2 {
		t.Errorf("%v\n%s", err, all)
	}
	text, err := Explain(cfg, Question{Topic: "c"})
	if err != nil || !strings.Contains(text, "acknowledged     when all in-sync replicas") || !strings.Contains(text, "spool full       it is taken, and the route's OLDEST") {
		t.Errorf("%v\n%s", err, text)
	}
}
