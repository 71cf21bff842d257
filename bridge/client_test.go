package bridge

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A broker that is away stops nothing but itself: the others work, and /readyz names it (UNS-A11). When it is there it works.
func TestOneBrokerAway(t *testing.T) {
	t.Parallel()
	plant, late, away := newSite(t, packet.V5), newSite(t, packet.V5), newDoor(t)
	r := start(t, parse(t, `
endpoints:
  plant: {dial: "`+plant.url()+`"}
  away: {dial: "mqtt://`+away.addr()+`", reconnect: {min: 1ms, max: 5ms}}
routes: [{from: "mqtt:site/#", to: kafka:up}, {from: kafka:down, to: "mqtt:{key}"}]`))
	plant.connected("linkspan-plant")
	k := cluster(t, r.Kafka...)
	plant.publish("site/a", "1")
	produce(t, k, "down", "valve", "2")
	eventually(t, "the other works both ways", func() bool { return len(values(t, k, "up")) == 1 && len(plant.payloads("valve")) == 1 })
	eventually(t, "readyz names the one", func() bool {
		status, body := r.get("/readyz")
		return status == 200 && strings.Contains(body, "\naway: not connected") && strings.Contains(body, "\nplant: connected to ")
	})
	away.lead(strings.TrimPrefix(late.url(), "mqtt://"))
	late.connected("linkspan-away")
	eventually(t, "what was for it arrives", func() bool { return len(late.payloads("valve")) == 1 })
}

// A process without listeners is not ready while none of the brokers that it runs is connected.
func TestReadyWithBrokersAlone(t *testing.T) {
	t.Parallel()
	plant, door := newSite(t, packet.V5), newDoor(t)
	cfg := parse(t, `
endpoints: {plant: {dial: "mqtt://`+door.addr()+`", reconnect: {min: 1ms, max: 5ms}}}`+plantRoutes)
	delete(cfg.Endpoints, "devices")
	r := start(t, cfg)
	eventually(t, "not ready", func() bool {
		status, body := r.get("/readyz")
		return status == 503 && strings.HasPrefix(body, "no broker is connected of those that this process dials\nplant: not connected")
	})
	door.lead(strings.TrimPrefix(plant.url(), "mqtt://"))
	eventually(t, "ready", func() bool { status, _ := r.get("/readyz"); return status == 200 })
	door.shut()
	eventually(t, "not ready again", func() bool { status, _ := r.get("/readyz"); return status == 503 })
}

// A process that Kafka does not answer says so, and does not say that another process runs what nobody runs. With a spool it goes
// on with the brokers that it is connected to (KAL-W12, CON-W11).
func TestReadyWithoutKafka(t *testing.T) {
	for spool, want := range map[string]struct {
		status int
		body   string
	}{
		"off":       {503, "Kafka does not tell which brokers this process has to dial\n"},
		t.TempDir(): {200, "degraded: Kafka does not tell which brokers this process has to dial"},
	} {
		t.Run(filepath.Base(spool), func(t *testing.T) {
			t.Parallel()
			plant, kafka := newSite(t, packet.V5), newDoor(t)
			at := kafka.broker()
			kafka.lead(at)
			r := start(t, parse(t, `
kafka: {brokers: ["`+kafka.addr()+`"]}
spool: {dir: `+spool+`}
fleet: {session_timeout: 1s}
endpoints: {plant: {dial: "`+plant.url()+`"}, none: {dial: "mqtt://`+newDoor(t).addr()+`"}}`+plantRoutes))
			ready := func(want int, starts string) func() bool {
				return func() bool {
					status, body := r.get("/readyz")
					return status == want && strings.HasPrefix(body, starts) && !strings.Contains(body, "another process")
				}
			}
			eventually(t, "ready", ready(200, "ok\n"))
			kafka.shut()
			eventually(t, "it says that Kafka is away", ready(want.status, want.body))
			kafka.lead(at)
			eventually(t, "ready again", ready(200, "ok\n"))
		})
	}
}

// What the broker refuses, and what no route or topic can take, is in the dead letter topic with the reason, is settled then, and
// holds up nothing that comes after it (P2, P4).
func TestDeadLettersOfAnEndpoint(t *testing.T) {
	t.Parallel()
	plant := newSite(t, packet.V5)
	plant.refuse = "closed"
	r := start(t, parse(t, `
kafka: {producer: {max_message_bytes: 100_000}}
endpoints: {plant: {dial: "`+plant.url()+`", subscribe: ["site/#", "other/#"]}}`+plantRoutes))
	plant.connected("linkspan-plant")
	k := cluster(t, r.Kafka...)
	letters := func() map[string]string { // payload to reason
		all := map[string]string{}
		for _, l := range records(t, k, "linkspan.deadletter") {
			all[string(l.Payload[:min(len(l.Payload), 20)])] = string(l.Record.Header("linkspan.reason"))
		}
		return all
	}
	produce(t, k, "down", "closed", "refused")
	produce(t, k, "down", "a/+", "no topic")
	produce(t, k, "down", "open", "good")
	eventually(t, "what comes after arrives", func() bool { return len(plant.payloads("open")) == 1 })
	plant.publish("other/a", "no route")
	plant.publish("site/a", strings.Repeat("x", 200_000))
	plant.publish("site/a", "good")
	eventually(t, "all is acknowledged", func() bool { n, _ := plant.waiting("linkspan-plant"); return n == 0 && len(letters()) == 4 })
	for payload, reason := range map[string]string{
		"refused": "not authorized", "no topic": "no legal name", "no route": "no route matches", strings.Repeat("x", 20): "too large",
	} {
		if got := letters()[payload]; !strings.Contains(strings.ToLower(got), reason) {
			t.Errorf("%s: %q, want %q", payload, got, reason)
		}
	}
	if got := values(t, k, "up"); !slices.Equal(got, []string{"good"}) {
		t.Errorf("in Kafka: %d records", len(got))
	}
	for reason, want := range map[string]string{"refused": "1", "invalid_topic": "1", "no_route": "1", "too_large": "1"} {
		eventually(t, reason+" is counted", func() bool {
			return r.metric(`linkspan_dead_letters_total{endpoint="plant",reason="`+reason+`"}`) == want
		})
	}
}

// With mode all each process is connected and has a share of the messages, and of the partitions on the way down.
func TestModeAll(t *testing.T) {
	t.Parallel()
	at := embedded(t)
	k := cluster(t, at)
	plant := newSite(t, packet.V5)
	var both []*instance
	for i := range 2 {
		both = append(both, start(t, parse(t, fmt.Sprintf(`
kafka: {brokers: [%s]}
endpoints: {plant: {dial: %q, mode: all, client_id: p%d}}`+plantRoutes, at, plant.url(), i))))
		plant.connected(fmt.Sprint("p", i))
	}
	var want []string
	for i := range 40 {
		want = append(want, fmt.Sprintf("%02d", i))
		plant.publish("site/a", want[i])
		produce(t, k, "down", "valve", want[i])
	}
	eventually(t, "all has arrived", func() bool { return len(values(t, k, "up")) >= 40 && len(plant.payloads("valve")) >= 40 })
	got := values(t, k, "up")
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("in Kafka: %v", got)
	}
	if got := firsts(plant.payloads("valve")); !slices.Equal(got, want) {
		t.Errorf("at the broker: %v", got)
	}
	for i, r := range both {
		eventually(t, fmt.Sprintf("process %d has carried its share", i), func() bool {
			got := r.metric(`linkspan_client_acked_messages_total{endpoint="plant",qos="1"}`)
			return got != "0" && got != "40"
		})
	}
}

// Without an endpoint that dials nothing of the fleet is there.
func TestNoFleetWithoutClients(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, ""))
	names, err := cluster(t, r.Kafka...).Topics(t.Context())
	if err != nil || slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, "_linkspan") }) {
		t.Errorf("topics %v, %v", names, err)
	}
}

// A topic of the fleet that is there with other settings ends the start, with the remedy.
func TestFleetTopicWithOtherSettings(t *testing.T) {
	t.Parallel()
	at := embedded(t)
	if err := cluster(t, at).EnsureTopics(t.Context(), []kafka.TopicSpec{{Name: "_linkspan.shards", Partitions: 3}}); err != nil {
		t.Fatal(err)
	}
	err := refusal(t, parse(t, `
kafka: {brokers: [`+at+`]}
endpoints: {plant: {dial: "mqtt://127.0.0.1:1"}}`+plantRoutes))
	if !errors.Is(err, kafka.ErrTopicSettings) || !strings.Contains(err.Error(), "_linkspan.shards has 3 partitions, not 32") {
		t.Errorf("got %v", err)
	}
}

// check --connect tells what each broker can do, and check what is worth knowing of the configuration.
func TestCheckClients(t *testing.T) {
	t.Parallel()
	five, three, away := newSite(t, packet.V5), newSite(t, packet.V311), newDoor(t)
	cfg := parse(t, `
endpoints:
  five: {dial: "`+five.url()+`", session_expiry: 0s}
  three: {dial: "`+three.url()+`", mode: all, client_id: mine, version: 3.1.1}
  away: {dial: "mqtt://`+away.addr()+`"}
  idle: {dial: "mqtt://nowhere"}
routes: [{from: "five:a/#", to: kafka:up}, {from: kafka:up, to: "three:{key}"}, {from: "away:#", to: kafka:up}, {from: "three:a/#", to: kafka:up}]`)
	notes, err := Check(cfg)
	all := strings.Join(notes, "\n")
	for _, want := range []string{
		"endpoints.five: session_expiry is 0", "endpoints.three: several connections share", "endpoints.three: with version 3.1.1 not every broker has the shared subscriptions",
		"endpoints.three: mode all: mine is the client_id", "endpoints.idle: no route names it",
		"messages can go round: route-4 → route-2 → (three) → route-4",
	} {
		if err != nil || !strings.Contains(all, want) {
			t.Errorf("no %q in %v\n%s", want, err, all)
		}
	}
	delete(cfg.Endpoints, "idle")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lines, err := CheckClients(ctx, cfg)
	all = strings.Join(lines, "\n")
	for _, want := range []string{
		"endpoint five: " + five.url() + " answers with MQTT 5, takes 20 messages in flight, QoS up to 2, packets of any size",
		"endpoint five: the broker takes 20 messages in flight, and likely sends no more itself", "endpoint three: " + three.url() + " answers with MQTT 3.1.1",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if err == nil || !strings.HasPrefix(err.Error(), "endpoints.away: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// What is no mistake and yet cannot be meant is told before it costs a day.
func TestNotes(t *testing.T) {
	for routes, want := range map[string]string{
		`{from: kafka:down, to: "mqtt:{key}", device: "{key}"}, {from: "mqtt:s/{d}", to: kafka:up}`:                         "routes: records go to where their device is, but no route up tells",
		`{from: kafka:down, to: "mqtt:x/{key}", device: "{key}"}, {from: "mqtt:s/{d}", to: kafka:up, device: "{d}"}`:        "",
		`{from: kafka:down, to: "east:{key}", device: "{key}"}`:                                                             "",
		`{from: "mqtt:s/#", to: kafka:up, key: "{client}"}`:                                                                 "routes[0]: a broker does not tell who published",
		`{from: "mqtt:a", to: kafka:up}, {from: "east:s/#", to: "kafka:{partition client 2}.up"}`:                           "routes[1]: a broker does not tell who published",
		`{from: "door:s/#", to: kafka:up, key: "{client}"}, {from: "mqtt:s/{client_id}", to: kafka:up, key: "{client_id}"}`: "",
	} {
		notes, err := Check(parse(t, `
endpoints: {east: {dial: "mqtt://e"}, west: {dial: "mqtt://w"}, door: {listen: "mqtt://127.0.0.1:0"}}
routes: [`+routes+`]`))
		notes = slices.DeleteFunc(notes, func(n string) bool {
			return strings.HasSuffix(n, "no route names it, so nothing goes there or comes from there")
		})
		if got := strings.Join(notes, "\n"); err != nil || !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s:\n got %v %s\nwant %s", routes, err, got, want)
		}
	}
}

// explain tells of each endpoint whether and how a message gets there.
func TestExplainClients(t *testing.T) {
	t.Parallel()
	cfg := parse(t, `
endpoints: {east: {dial: "mqtt://e"}, west: {dial: "mqtt://w"}}
routes:
- {from: "mqtt:from/{device}", to: kafka:up, device: "{device}", presence: {offline: [gone]}, retained: skip}
- {from: kafka:commands, to: "mqtt:to/{key}", device: "{key}", unknown: flood}
- {from: kafka:mirror, to: "mqtt:from/{key}"}`)
	key := "t7"
	for _, c := range []struct {
		q    Question
		want []string
	}{
		{Question{Topic: "from/t7", Endpoint: "east"}, []string{"t7, which is at east"}},
		{Question{Topic: "from/t7", Endpoint: "devices", Client: "c7"}, []string{"mqtt.client: c7"}},
		{Question{Topic: "from/t7", Endpoint: "east", Payload: "gone"}, []string{"t7, which has left east"}},
		{Question{Topic: "from/t7", Endpoint: "east", Retain: true}, []string{"left alone: the broker had retained it"}},
		{Question{Topic: "else", Endpoint: "east"}, []string{"goes to the dead letter topic linkspan.deadletter: no route"}},
		{Question{Topic: "else", Endpoint: "devices"}, []string{"refused to the device: no route"}},
		{Question{Down: true, Topic: "commands", Key: &key}, []string{
			"subscribers on devices", `the broker of east, if device "t7" is there; if nobody knows where it is: sent there, too`, "the broker of west, if device"}},
		{Question{Down: true, Topic: "mirror", Key: &key, Headers: [][2]string{{"linkspan.origin", "east"}}}, []string{
			"the broker of east? no: it came from there", "the broker of west\n", "subscribers on devices"}},
	} {
		got, err := Explain(cfg, c.q)
		for _, want := range c.want {
			if err != nil || !strings.Contains(got, want) {
				t.Errorf("%+v: it does not say %q: %v\n%s", c.q, want, err, got)
			}
		}
	}
	if got, err := Explain(cfg, Question{Topic: "from/t7", Endpoint: "east", Client: "c7"}); err != nil || strings.Contains(got, "c7") {
		t.Errorf("a broker does not tell who published: %v\n%s", err, got)
	}
}
