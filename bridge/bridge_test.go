package bridge

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// An instance is a bridge that a test has started.
type instance struct {
	Status
	bridge *bridge
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
	err    error
}

// parse reads a configuration whose ports are free ones, and whose embedded broker and spool are in directories of the test.
func parse(t *testing.T, text string) Config {
	t.Helper()
	environ := []string{
		"LINKSPAN_ADMIN_LISTEN=127.0.0.1:0", "LINKSPAN_ENDPOINTS_DEVICES_LISTEN=mqtt://127.0.0.1:0",
	}
	if !strings.Contains(text, "brokers:") {
		environ = append(environ, "LINKSPAN_KAFKA_EMBEDDED_LISTEN=127.0.0.1:0", "LINKSPAN_KAFKA_EMBEDDED_PARTITIONS=1")
	}
	if strings.Contains(text, "brokers:") && !strings.Contains(text, "spool:") {
		environ = append(environ, "LINKSPAN_SPOOL_DIR="+t.TempDir())
	}
	if !strings.Contains(text, "brokers:") && !strings.Contains(text, "embedded:") {
		environ = append(environ, "LINKSPAN_KAFKA_EMBEDDED_DIR="+t.TempDir())
	}
	cfg, err := Parse("test.yaml", []byte(text), environ)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// start runs a bridge until the test ends, or is told to stop.
func start(t *testing.T, cfg Config) *instance { return startPatient(t, cfg, time.Minute) }

func startPatient(t *testing.T, cfg Config, patience time.Duration) *instance {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan Status, 1)
	b := &bridge{cfg: cfg, log: logger(t), patience: patience, joined: make(chan struct{})}
	r := &instance{bridge: b, t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- b.run(ctx, func(s Status) { up <- s }) }()
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stopped with %v", err)
		}
	})
	select {
	case r.Status = <-up:
	case err := <-r.ended:
		r.ended <- nil
		t.Fatalf("the bridge did not start: %v", err)
	}
	return r
}

// stop tells the bridge to stop and returns what Run returned.
func (r *instance) stop() error {
	r.once.Do(func() {
		r.cancel()
		r.err = <-r.ended
	})
	return r.err
}

// device connects an MQTT 5 device.
func (r *instance) device(id string) *mqtttest.Client {
	r.t.Helper()
	return mqtttest.Dial(r.t, r.at("mqtt://"), packet.V5).Join(id)
}

// at returns the address of the first endpoint that listens with such a URL.
func (r *instance) at(scheme string) string {
	r.t.Helper()
	for _, e := range r.Endpoints {
		if addr, ok := strings.CutPrefix(e.URL, scheme); ok {
			return addr
		}
	}
	r.t.Fatalf("no endpoint listens at %s", scheme)
	return ""
}

// get asks the admin port.
func (r *instance) get(path string) (status int, body string) {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	resp, err := client.Get("http://" + r.Admin + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// metric returns the value of one metric with its labels, as /metrics prints it; "" if there is none.
func (r *instance) metric(name string) string {
	r.t.Helper()
	_, body := r.get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// eventually waits until what holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(mqtttest.Patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// logger writes to the test's log.
func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// cluster returns a client of the cluster of a bridge.
func cluster(t *testing.T, brokers ...string) *kafka.Client {
	t.Helper()
	cfg := kafka.Default()
	cfg.Brokers = brokers
	c, err := kafka.New(cfg, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// records returns all records of partition 0 of a topic, "" for one that is not there.
func records(t *testing.T, c *kafka.Client, topic string) (all []*linkspan.Message) {
	t.Helper()
	for next := int64(0); ; {
		from := next
		var err error
		next, err = c.ReadAt(context.Background(), topic, 0, from, 1<<20, func(m *linkspan.Message) { all = append(all, m.Clone()) })
		if err != nil {
			t.Fatal(err)
		}
		if next == from {
			return all
		}
	}
}

func publish(topic, payload string, qos byte, id uint16) *packet.Publish {
	return &packet.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, PacketID: id}
}

// A message goes up, is in Kafka before its ack (P1), and reaches a subscriber; a command comes down.
func TestBothWays(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, ""))
	sub, pub := r.device("sub"), r.device("pub")
	if got := sub.Subscribe(1, packet.Subscription{Filter: "sensors/#", QoS: 1}, packet.Subscription{Filter: "hall-1/t7", QoS: 2}); got[0] > 2 || got[1] > 2 {
		t.Fatal(got)
	}
	k := cluster(t, r.Kafka...)
	for qos := range byte(3) {
		payload := fmt.Sprintf("with QoS %d", qos)
		pub.Send(publish("sensors/a", payload, qos, uint16(qos)))
		switch qos {
		case 1:
			pub.ExpectAck(packet.PUBACK, 1, packet.Success)
		case 2:
			pub.ExpectAck(packet.PUBREC, 2, packet.Success)
			pub.Send(&packet.Ack{Type: packet.PUBREL, PacketID: 2})
			pub.ExpectAck(packet.PUBCOMP, 2, packet.Success)
		}
		if qos > 0 { // P1: it is there now
			all := records(t, k, "mqtt.messages")
			last := all[len(all)-1]
			if string(last.Payload) != payload || string(last.Record.Key) != "sensors/a" || string(last.Record.Header("mqtt.client")) != "pub" {
				t.Errorf("QoS %d: acknowledged, and the last record is %s %s", qos, last.Record.Key, last.Payload)
			}
		}
		var got packet.Publish
		sub.Expect(packet.PUBLISH, &got)
		if got.Topic != "sensors/a" || string(got.Payload) != payload || got.QoS != min(qos, 1) {
			t.Errorf("received %+v", got)
		}
		if got.QoS == 1 {
			sub.Send(&packet.Ack{Type: packet.PUBACK, PacketID: got.PacketID})
		}
	}

	command := linkspan.Message{Payload: []byte("open"), Record: linkspan.Record{Topic: "mqtt.commands", Partition: linkspan.AnyPartition, Key: []byte("hall-1/t7")}}
	stored := make(chan error, 1)
	k.Producer().Send(context.Background(), &command, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	var got packet.Publish
	sub.Expect(packet.PUBLISH, &got)
	if got.Topic != "hall-1/t7" || string(got.Payload) != "open" || got.QoS != 1 {
		t.Errorf("the command came as %+v", got)
	}

	if status, body := r.get("/readyz"); status != 200 {
		t.Errorf("readyz: %d %s", status, body)
	}
	for name, want := range map[string]string{
		`linkspan_route_messages_total{direction="up",route="messages-up"}`:       "3",
		`linkspan_route_messages_total{direction="down",route="commands"}`:        "1",
		`linkspan_mqtt_acked_messages_total{endpoint="devices",qos="2"}`:          "1",
		`linkspan_mqtt_devices{endpoint="devices"}`:                               "2",
		`linkspan_subscriptions`:                                                  "2",
		`linkspan_kafka_connected`:                                                "1",
		`linkspan_kafka_acked_records_total`:                                      "3",
		`linkspan_unrouted_messages_total{direction="up",outcome="refused"}`:      "0",
		`linkspan_mqtt_sent_messages_total{endpoint="devices",qos="1"}`:           "3",
		`linkspan_mqtt_refused_messages_total{endpoint="devices",reason="quota"}`: "",
	} {
		if got := r.metric(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// What no route takes is refused to the device, and counted (P2).
func TestRefusal(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, `routes: [{from: "mqtt:sensors/#", to: "kafka:sensors"}]`))
	d := r.device("d")
	d.Send(publish("elsewhere", "x", 1, 7))
	d.ExpectAck(packet.PUBACK, 7, packet.TopicNameInvalid)
	if got := r.metric(`linkspan_unrouted_messages_total{direction="up",outcome="refused"}`); got != "1" {
		t.Errorf("counted %q", got)
	}
	d.Send(publish("sensors/a", "x", 1, 8))
	d.ExpectAck(packet.PUBACK, 8, packet.Success)
}

// A placeholder in `to` creates topics, as the route says, up to max_topics, also over a restart.
func TestTopicsOfPlaceholders(t *testing.T) {
	t.Parallel()
	cfg := `{kafka: {embedded: {dir: ` + t.TempDir() + `}}, routes: [{from: "mqtt:{kind}/#", to: "kafka:made.{kind}", max_topics: 2, partitions: 2}]}`
	r := start(t, parse(t, cfg))
	d := r.device("d")
	for i, topic := range []string{"a/1", "b/1", "c/1", "a/2"} {
		d.Send(publish(topic, "x", 1, uint16(i+1)))
		want := packet.Success
		if topic == "c/1" {
			want = packet.QuotaExceeded
		}
		d.ExpectAck(packet.PUBACK, uint16(i+1), want)
	}
	k := cluster(t, r.Kafka...)
	if err := k.EnsureTopics(t.Context(), []kafka.TopicSpec{{Name: "made.a", Partitions: 2, Strict: true}, {Name: "made.b", Partitions: 2, Strict: true}}); err != nil {
		t.Error(err)
	}
	d.Conn.Close()
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	d = start(t, parse(t, cfg)).device("d")
	d.Send(publish("d/1", "x", 1, 1))
	d.ExpectAck(packet.PUBACK, 1, packet.QuotaExceeded)
	d.Send(publish("a/3", "x", 1, 2))
	d.ExpectAck(packet.PUBACK, 2, packet.Success)
}

// P8: what is in flight at a stop is stored and acknowledged; what is not acknowledged is not lost silently, its sender has
// it. After a restart on the same directory all that was acknowledged is there, in order (P3, CON-W11).
func TestStopDrains(t *testing.T) {
	dir := t.TempDir()
	r := start(t, parse(t, "kafka: {embedded: {dir: "+dir+"}}"))
	d := r.device("d")
	const n = 500
	for i := range n {
		d.Send(publish("t", fmt.Sprint(i), 1, uint16(i+1)))
	}
	d.ExpectAck(packet.PUBACK, 1, packet.Success)
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	acked := 1
	for {
		raw, err := d.Next()
		var a packet.Ack
		if err != nil || raw.Type() != packet.PUBACK || a.Decode(packet.V5, raw) != nil {
			d.Conn.Close()
			break // DISCONNECT, or the end
		}
		acked++
		if int(a.PacketID) != acked {
			t.Fatalf("ack of %d after %d", a.PacketID, acked-1)
		}
	}
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
	again := start(t, parse(t, "kafka: {embedded: {dir: "+dir+"}}"))
	all := records(t, cluster(t, again.Kafka...), "mqtt.messages")
	if len(all) < acked {
		t.Fatalf("%d messages were acknowledged, %d are there", acked, len(all))
	}
	for i, m := range all {
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, m.Payload)
		}
	}
}

// Two bridges in one process share nothing but the cluster (P7).
func TestTwoBridges(t *testing.T) {
	one := start(t, parse(t, ""))
	two := start(t, parse(t, "kafka: {brokers: ["+one.Kafka[0]+"]}"))
	sub, pub := two.device("sub"), one.device("pub")
	sub.Subscribe(1, packet.Subscription{Filter: "#", QoS: 1})
	pub.Send(publish("from/one", "to two", 1, 1))
	pub.ExpectAck(packet.PUBACK, 1, packet.Success)
	var got packet.Publish
	sub.Expect(packet.PUBLISH, &got)
	if got.Topic != "from/one" || string(got.Payload) != "to two" {
		t.Errorf("received %+v", got)
	}
}

// A device that reads slowly is served from Kafka, misses nothing, and does not hold up others (P6).
func TestSlowDeviceIsServedFromKafka(t *testing.T) {
	t.Parallel()
	r := start(t, parse(t, "sessions: {max_queued: 5}"))
	slow := mqtttest.Dial(t, strings.TrimPrefix(r.Endpoints[0].URL, "mqtt://"), packet.V5)
	one := packet.Properties{ReceiveMaximum: 1}
	one.Set(packet.ReceiveMaximum)
	slow.Connect(packet.Connect{ClientID: "slow", CleanStart: true, Properties: one})
	slow.Subscribe(1, packet.Subscription{Filter: "#", QoS: 1})
	quick, pub := r.device("quick"), r.device("pub")
	quick.Subscribe(1, packet.Subscription{Filter: "#", QoS: 1})
	const n = 50
	for i := range n {
		pub.Send(publish("t", fmt.Sprint(i), 1, uint16(i+1)))
	}
	receive := func(d *mqtttest.Client) {
		t.Helper()
		for i := range n {
			var got packet.Publish
			d.Expect(packet.PUBLISH, &got)
			if string(got.Payload) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", got.Payload, i)
			}
			d.Send(&packet.Ack{Type: packet.PUBACK, PacketID: got.PacketID})
		}
	}
	receive(quick)
	eventually(t, "the slow one fell behind", func() bool { return r.metric("linkspan_sessions_fell_behind_total") != "0" })
	receive(slow)
	if r.metric("linkspan_session_replayed_messages_total") == "0" {
		t.Error("nothing was read back")
	}
}

// KAL-W6: what several devices send to one comes in the order in which it was acknowledged, though the topic has several
// partitions: the receiver is the key, so it is all in one (P3).
func TestOneOrderForOneReceiver(t *testing.T) {
	t.Parallel()
	const n = 30
	r := start(t, parse(t, `routes:
- {from: "mqtt:to/{receiver}", to: kafka:mail, key: "{receiver}", partitions: 3}
- {from: kafka:mail, to: "mqtt:inbox/{key}/from/{client}", qos: 1}`))
	bob := r.device("bob")
	bob.Subscribe(1, packet.Subscription{Filter: "inbox/bob/#", QoS: 1})
	names := []string{"alice", "carol", "dave"}
	var senders []*mqtttest.Client
	for _, name := range names {
		senders = append(senders, r.device(name))
	}
	for i := range n {
		d, id := senders[i%len(senders)], uint16(i+1)
		d.Send(publish("to/bob", fmt.Sprint(i), 1, id))
		d.ExpectAck(packet.PUBACK, id, packet.Success)
	}
	for i := range n {
		var got packet.Publish
		bob.Expect(packet.PUBLISH, &got)
		if string(got.Payload) != fmt.Sprint(i) || got.Topic != "inbox/bob/from/"+names[i%len(names)] {
			t.Fatalf("got %s on %s, want %d", got.Payload, got.Topic, i)
		}
		bob.Send(&packet.Ack{Type: packet.PUBACK, PacketID: got.PacketID})
	}
	k := cluster(t, r.Kafka...)
	for partition := range int32(3) {
		end, err := k.ReadAt(t.Context(), "mail", partition, 0, 1<<20, func(*linkspan.Message) {})
		if err != nil || end != 0 && end != n {
			t.Errorf("partition %d has %d records: %v", partition, end, err)
		}
	}
}
