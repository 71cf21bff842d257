package bridge

import (
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/mqtt/packet"
)

const amqpEndpoint = `endpoints: {apps: {listen: "amqp://127.0.0.1:0"}}` + "\n"

// app connects an AMQP client.
func (r *instance) app() *amqptest.Client {
	r.t.Helper()
	return amqptest.Dial(r.t, r.at("amqp://"))
}

// data is a message with nothing but a body.
func data(body string) []byte { return frame.AppendData(nil, body) }

// decode reads a message that has come.
func decode(t *testing.T, r *amqptest.Received) (m frame.Message) {
	t.Helper()
	if err := m.Decode(r.Payload); err != nil {
		t.Fatal(err)
	}
	return m
}

// body returns the data of a message that has come.
func body(t *testing.T, r *amqptest.Received) string {
	t.Helper()
	m := decode(t, r)
	if len(m.Body) != 1 {
		t.Fatalf("%d sections", len(m.Body))
	}
	return string(m.Body[0].Data())
}

// What a client sends is in Kafka when it is accepted (P1), and comes to a receiver of a group; what that accepts does not come again, to
// the next process either (P4).
func TestAMQPThroughKafka(t *testing.T) {
	t.Parallel()
	text := amqpEndpoint + `kafka: {embedded: {dir: ` + t.TempDir() + `, listen: "127.0.0.1:0", partitions: 1}}`
	r := start(t, parse(t, text))
	k := cluster(t, r.Kafka...)
	c := r.app()
	sender := c.Sender("plant/orders")
	if got := sender.Send(data("one")); got.Kind != frame.Accepted {
		t.Fatalf("%+v", got)
	}
	if got := values(t, k, "plant.orders"); len(got) != 1 || got[0] != "one" {
		t.Errorf("accepted, and in Kafka: %q", got)
	}
	receiver := c.Receiver("plant/orders/group.id/billing", 10)
	got := receiver.Receive()
	m := decode(t, got)
	if body(t, got) != "one" {
		t.Errorf("%s", got.Payload)
	}
	if v, _ := m.MessageAnnotations.Get("x-opt-bridge.topic").Text(); v != "plant.orders" {
		t.Errorf("x-opt-bridge.topic: %q", v)
	}
	if v := m.MessageAnnotations.Get("x-opt-offset"); v.IsNull() {
		t.Error("no x-opt-offset")
	}
	got.Accept()
	sender.Send(data("two"))
	got = receiver.Receive()
	if body(t, got) != "two" {
		t.Errorf("%s", got.Payload)
	}
	got.Release() // comes again, in order
	sender.Post(data("three"), true)
	for _, want := range []string{"two", "three"} {
		if got := receiver.Receive(); body(t, got) != want {
			t.Errorf("%s, want %s", got.Payload, want)
		} else {
			got.Accept()
		}
	}
	for name, want := range map[string]string{
		`linkspan_amqp_connections{endpoint="apps"}`:                                "1",
		`linkspan_amqp_links{endpoint="apps",kind="sender"}`:                        "1",
		`linkspan_amqp_links{endpoint="apps",kind="receiver"}`:                      "1",
		`linkspan_amqp_received_messages_total{endpoint="apps"}`:                    "3",
		`linkspan_amqp_received_outcomes_total{endpoint="apps",outcome="accepted"}`: "3",
		`linkspan_amqp_sent_messages_total{endpoint="apps"}`:                        "4",
		`linkspan_route_messages_total{direction="up",route="addresses"}`:           "3",
		`linkspan_group_receivers`:                                                  "1",
		`linkspan_amqp_links{endpoint="apps",kind="live"}`:                          "0",
		`linkspan_group_redelivered_messages_total`:                                 "1",
		`linkspan_amqp_connections_ended_total{endpoint="apps",how="error"}`:        "0",
	} {
		eventually(t, name+" is "+want, func() bool { return r.metric(name) == want })
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if err := c.Ended(); err == nil || !strings.Contains(err.Error(), string(frame.ConnectionForced)) {
		t.Errorf("the connection ended with %v", err)
	}

	r = start(t, parse(t, text))
	c = r.app()
	receiver = c.Receiver("plant/orders/ConsumerGroups/billing", 10)
	c.Sender("plant/orders").Send(data("four"))
	got = receiver.Receive()
	if body(t, got) != "four" {
		t.Errorf("after a restart: %s", got.Payload)
	}
	got.Accept()
}

// What a receiver rejects goes to the dead letter topic with the reason, the address and the endpoint, and the next record follows (P2, AKB-A9).
func TestRejectedIsADeadLetter(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, amqpEndpoint))
	k := cluster(t, r.Kafka...)
	c := r.app()
	sender := c.Sender("orders")
	sender.Send(data("bad"))
	sender.Send(data("good"))
	receiver := c.Receiver("orders/group.id/g", 1)
	receiver.Receive().Reject("shop:no-such-article", "article 7 is gone")
	receiver.Grant(1)
	if got := receiver.Receive(); body(t, got) != "good" {
		t.Errorf("%s", got.Payload)
	} else {
		got.Accept()
	}
	eventually(t, "the dead letter is written", func() bool { return len(values(t, k, "linkspan.deadletter")) == 1 })
	letter := records(t, k, "linkspan.deadletter")[0]
	for name, want := range map[string]string{
		headerReason: "article 7 is gone", headerAddress: "orders/group.id/g", headerEndpoint: "apps", headerTopic: "orders", headerOffset: "0",
	} {
		if got := string(letter.Record.Header(name)); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if string(letter.Payload) != "bad" {
		t.Errorf("%s", letter.Payload)
	}
	if got := r.metric(`linkspan_dead_letters_total{endpoint="apps",reason="rejected"}`); got != "1" {
		t.Errorf("counted %q", got)
	}
	if got := r.metric(`linkspan_amqp_sent_outcomes_total{endpoint="apps",outcome="rejected"}`); got != "1" {
		t.Errorf("counted %q", got)
	}
}

// AMQP and MQTT clients see what the others send to the same topic, with what each protocol has to say of it (ENM-A1).
func TestMQTTAndAMQP(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, amqpEndpoint+`routes:
  - {from: "mqtt:sensors/#", to: kafka:sensors, key: "{topic}"}
  - {from: "amqp:sensors/{rest...}", to: kafka:sensors, key: "sensors/{rest}"}
  - {from: kafka:sensors, to: "mqtt:{key}"}`))
	d, pub, c := r.device("d"), r.device("pub"), r.app()
	d.Subscribe(1, packet.Subscription{Filter: "sensors/+/temp", QoS: 2})
	receiver := c.Receiver("sensors/#", 10)
	reading := &packet.Publish{Topic: "sensors/a/temp", Payload: []byte("21.5"), QoS: 1, Retain: true, PacketID: 1}
	reading.Properties.ContentType = "text/plain"
	reading.Properties.Set(packet.ContentType)
	pub.Send(reading)
	pub.ExpectAck(packet.PUBACK, 1, packet.Success)
	var echo packet.Publish
	d.Expect(packet.PUBLISH, &echo)
	d.Send(&packet.Ack{Type: packet.PUBACK, PacketID: echo.PacketID})
	got := receiver.Receive()
	m := decode(t, got)
	qos, _ := m.MessageAnnotations.Get("x-opt-mqtt-qos").Int()
	retain, _ := m.MessageAnnotations.Get("x-opt-retain-message").Bool()
	if p := &m.Properties; body(t, got) != "21.5" || qos != 1 || !retain || p.To.V != "sensors/a/temp" || p.ContentType.V != "text/plain" || !m.Header.Durable {
		t.Errorf("%q qos %d retain %v %+v", got.Payload, qos, retain, m)
	}
	got.Accept()

	annotations := frame.EndMap(frame.AppendInt(frame.AppendSymbol(frame.BeginMap(nil), "x-opt-mqtt-qos"), 2), 0, 1)
	up := frame.Message{MessageAnnotations: annotations, Properties: frame.Properties{Present: true, ContentType: frame.Some[frame.Symbol]("application/json")}}
	if got := c.Sender("sensors/b/temp").Send(frame.AppendData(up.Append(nil), `{"t": 22}`)); got.Kind != frame.Accepted {
		t.Fatalf("%+v", got)
	}
	var down packet.Publish
	d.Expect(packet.PUBLISH, &down)
	if down.Topic != "sensors/b/temp" || string(down.Payload) != `{"t": 22}` || down.QoS != 2 || down.Properties.ContentType != "application/json" {
		t.Errorf("%+v", down)
	}
	if got := receiver.Receive(); body(t, got) != `{"t": 22}` {
		t.Errorf("%s", got.Payload)
	}
}

// What is refused tells why, and the connection goes on (AKB-A7).
func TestAMQPRefusals(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, amqpEndpoint+`routes: [{from: "amqp:orders", to: kafka:orders}]`))
	c := r.app()
	for address, want := range map[string]frame.Symbol{
		"nothing/of/the/kind":                   "io.strimzi:no-group-id",
		"/group.id/g":                           "io.strimzi:no-group-id",
		"orders/group.id/":                      "io.strimzi:no-group-id",
		"missing/group.id/g":                    frame.NotFound,
		"orders/ConsumerGroups/g/Partitions/77": "io.strimzi:partition-not-exists",
	} {
		_, err := c.TryReceiver(frame.Attach{Source: &frame.Source{Address: frame.Some(address)}})
		if err == nil || err.Condition != want {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	if got := r.metric(`linkspan_amqp_links_refused_total{endpoint="apps",reason="io.strimzi:no-group-id"}`); got != "3" {
		t.Errorf("%s counted", got)
	}
	if got := c.Sender("elsewhere").Send(data("x")); got.Kind != frame.Rejected || got.Error.Condition == "" {
		t.Errorf("no route: %+v", got)
	}
	if got := c.Sender("orders").Send(data("x")); got.Kind != frame.Accepted {
		t.Errorf("after all this: %+v", got)
	}
}

// A stop waits for what receivers have not settled, and for what Kafka has not stored, and closes the connection after that; what was settled
// is behind the position, and what was not comes again (P8, P4).
func TestAMQPStopDrains(t *testing.T) {
	t.Parallel()
	text := amqpEndpoint + `kafka: {embedded: {dir: ` + t.TempDir() + `, listen: "127.0.0.1:0", partitions: 1}}`
	r := start(t, parse(t, text))
	c := r.app()
	sender := c.Sender("orders")
	for _, v := range []string{"0", "1", "2"} {
		sender.Send(data(v))
	}
	receiver := c.Receiver("orders/group.id/g", 3)
	var got []*amqptest.Received
	for range 3 {
		got = append(got, receiver.Receive())
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	eventually(t, "it is stopping", func() bool { status, _ := r.get("/readyz"); return status != 200 })
	for _, d := range got {
		d.Accept()
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := c.Ended(); err == nil || !strings.Contains(err.Error(), string(frame.ConnectionForced)) {
		t.Errorf("the connection ended with %v", err)
	}
	r = start(t, parse(t, text))
	c = r.app()
	receiver = c.Receiver("orders/group.id/g", 3)
	c.Sender("orders").Send(data("3"))
	if got := receiver.Receive(); body(t, got) != "3" {
		t.Errorf("%s comes after a restart", got.Payload)
	}
}

// An endpoint that dials an AMQP broker, here another process of ours, pulls from it into Kafka, and sends to it from Kafka. Each side's
// position moves when the other has it (P1, P4, SPK-A1).
func TestAMQPClientEndpoint(t *testing.T) {
	t.Parallel()
	hub := start(t, parse(t, amqpEndpoint))
	cfg := parse(t, `
endpoints: {hub: {dial: "amqp://`+hub.at("amqp://")+`"}}
fleet: {alone: true}
routes:
  - {from: "hub:orders/group.id/us", to: kafka:pulled, key: "order"}
  - {from: kafka:replies, to: "hub:answers"}`)
	delete(cfg.Endpoints, "devices")
	sender := hub.app().Sender("orders")
	sender.Send(data("one"))
	r := start(t, cfg)
	ours, theirs := cluster(t, r.Kafka...), cluster(t, hub.Kafka...)
	eventually(t, "the message is pulled", func() bool { return len(values(t, ours, "pulled")) == 1 })
	sender.Send(data("two"))
	eventually(t, "and the next", func() bool { return slices.Equal(values(t, ours, "pulled"), []string{"one", "two"}) })
	eventually(t, "the hub has its outcomes", func() bool {
		return hub.metric(`linkspan_amqp_sent_outcomes_total{endpoint="apps",outcome="accepted"}`) == "2"
	})
	produce(t, ours, "replies", "k", "done")
	eventually(t, "the reply is at the hub", func() bool { return slices.Equal(values(t, theirs, "answers"), []string{"done"}) })
	eventually(t, "it is counted", func() bool {
		return r.metric(`linkspan_amqp_client_sent_outcomes_total{endpoint="hub",outcome="delivered"}`) == "1"
	})
	if status, text := r.get("/readyz"); status != 200 || !strings.Contains(text, "hub: connected to amqp://") || !strings.Contains(text, "attached to orders/group.id/us") {
		t.Errorf("%d %s", status, text)
	}
	lines, err := CheckClients(t.Context(), cfg)
	if err != nil || len(lines) != 1 || !strings.Contains(lines[0], "answers with AMQP 1.0") {
		t.Errorf("%q %v", lines, err)
	}
	if notes, err := Check(cfg); err != nil || len(notes) != 0 {
		t.Errorf("%q %v", notes, err)
	}
	if text, err := Explain(cfg, Question{AMQP: true, Topic: "orders/group.id/us"}); err != nil || !strings.Contains(text, "pulled") {
		t.Errorf("%s %v", text, err)
	}
}
