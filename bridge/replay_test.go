package bridge

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/twmb/franz-go/pkg/kfake"
)

// letterbox is a cluster with a dead letter topic, and topics to replay to, of one partition each but down, which has three.
type letterbox struct {
	*testing.T
	cfg    Config
	client *kafka.Client
}

const letterRoutes = `
kafka: {brokers: ["%s"], retry_interval: 10ms, topics: {create: false}}
spool: {dir: "off"}
endpoints:
  devices: {listen: "mqtt://127.0.0.1:1883"}
  plant-a: {dial: "mqtt://127.0.0.1:1", client_id: a}
  plant-b: {dial: "mqtt://127.0.0.1:1", client_id: b}
  senders: {listen: "amqp://127.0.0.1:5672"}
routes:
  - {name: up, from: "mqtt:site/{device}", to: kafka:up, key: "{device}"}
  - {name: dead, from: "mqtt:dead/+", to: kafka:linkspan.deadletter}
  - {name: down, from: kafka:down, to: "mqtt:cmd/{key}"}
  - {name: located, from: kafka:located, to: "mqtt:cmd/{key}", device: "{key}"}
`

func newLetterbox(t *testing.T) *letterbox {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "linkspan.deadletter", "up", "located"), kfake.SeedTopics(3, "down"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg, err := Parse("test.yaml", fmt.Appendf(nil, letterRoutes, c.ListenAddrs()[0]), []string{"HOME=/"})
	if err != nil {
		t.Fatal(err)
	}
	return &letterbox{t, cfg, cluster(t, c.ListenAddrs()...)}
}

// put writes a record into the dead letter topic. headers are names and values in turn.
func (b *letterbox) put(key, payload string, headers ...string) {
	b.Helper()
	m := &linkspan.Message{Payload: []byte(payload), Record: linkspan.Record{Topic: "linkspan.deadletter", Partition: 0, Key: []byte(key)}}
	for i := 0; i < len(headers); i += 2 {
		m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	done := make(chan error, 1)
	b.client.Producer().Send(b.Context(), m, func(err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}

// replay runs one, and returns what it told, a line each.
func (b *letterbox) replay(r Replay) (total ReplayTotal, lines []string) {
	b.Helper()
	r.Patience = time.Minute
	if r.Confirm == nil {
		r.Confirm = func(int, int) bool { return true }
	}
	r.Tell = func(r Replayed) {
		line := fmt.Sprintf("%v→%s", r.Letter.At(), r.To)
		if r.Err != nil {
			line += ": " + r.Err.Error()
		}
		lines = append(lines, line)
	}
	total, err := ReplayDeadLetters(b.Context(), b.cfg, r, logger(b.T))
	if err != nil {
		b.Fatal(err)
	}
	return total, lines
}

// in returns the records of a partition.
func (b *letterbox) in(topic string, partition int32) (all []*linkspan.Message) {
	b.Helper()
	for next := int64(0); ; {
		from := next
		var err error
		next, err = b.client.ReadAt(b.Context(), topic, partition, from, 1<<20, func(m *linkspan.Message) { all = append(all, m.Clone()) })
		if err != nil {
			b.Fatal(err)
		}
		if next == from {
			return all
		}
	}
}

func headersOf(m *linkspan.Message) (all []string) {
	for _, h := range m.Record.Headers {
		all = append(all, h.Key+"="+string(h.Value))
	}
	return all
}

// What came up goes where the routes of now send it, with what its route of then made of it or, if there was none, with what the one of
// now does; once, whatever is asked for afterwards, and dead letters of later (P2).
func TestReplayUp(t *testing.T) {
	b := newLetterbox(t)
	b.put("then", "a", "linkspan.origin", "plant-a", "mqtt.topic", "site/1", "mqtt.received", "1700000000000", "custom", "c",
		"linkspan.reason", "the record is too large", "linkspan.route", "old", "linkspan.endpoint", "plant-a", "linkspan.topic", "site/1", "linkspan.attempts", "1")
	b.put("", "b", "linkspan.reason", linkspan.ErrNoRoute.Error(), "linkspan.endpoint", "devices", "linkspan.topic", "site/2")

	if total, lines := b.replay(Replay{DryRun: true}); total != (ReplayTotal{Sent: 2}) || !slices.Equal(lines, []string{"0:0→up", "0:1→up"}) || b.in("up", 0) != nil {
		t.Errorf("dry run: %+v %q", total, lines)
	}
	if total, lines := b.replay(Replay{Confirm: func(n, size int) bool { return n != 2 || size != 2 }}); total != (ReplayTotal{}) || lines != nil || b.in("up", 0) != nil {
		t.Errorf("declined: %+v %q", total, lines)
	}
	if total, lines := b.replay(Replay{Letters: Letters{Reason: "no_route"}}); total != (ReplayTotal{Sent: 1}) || !slices.Equal(lines, []string{"0:1→up"}) {
		t.Errorf("one by its reason: %+v %q", total, lines)
	}
	if total, lines := b.replay(Replay{}); total != (ReplayTotal{Sent: 1, Before: 1}) || !slices.Equal(lines, []string{"0:0→up"}) {
		t.Errorf("the rest: %+v %q", total, lines)
	}
	if total, _ := b.replay(Replay{Letters: Letters{One: true, Place: Place{0, 0}}}); total != (ReplayTotal{Before: 1}) {
		t.Errorf("sent again already: %+v", total)
	}
	got := b.in("up", 0)
	if len(got) != 2 {
		t.Fatalf("%d records", len(got))
	}
	if m := got[0]; string(m.Payload) != "b" || string(m.Record.Key) != "2" || !slices.Contains(headersOf(m), "mqtt.topic=site/2") || !slices.Contains(headersOf(m), "linkspan.replayed=0:1") {
		t.Errorf("%q %q %q", m.Record.Key, m.Payload, headersOf(m))
	}
	want := []string{"linkspan.origin=plant-a", "mqtt.topic=site/1", "mqtt.received=1700000000000", "custom=c", "linkspan.replayed=0:0"}
	if m := got[1]; string(m.Payload) != "a" || string(m.Record.Key) != "then" || !slices.Equal(headersOf(m), want) || !m.Record.Timestamp.Equal(time.UnixMilli(1700000000000)) {
		t.Errorf("%q %q %v %q", m.Record.Key, m.Payload, m.Record.Timestamp, headersOf(m))
	}

	b.put("", "c", "linkspan.reason", "refused again", "linkspan.endpoint", "devices", "linkspan.topic", "site/3", "linkspan.replayed", "0:1")
	if total, lines := b.replay(Replay{}); total != (ReplayTotal{Sent: 1, Before: 2}) || len(lines) != 1 {
		t.Errorf("a letter of a replayed message is one: %+v %q", total, lines)
	}
}

// What an AMQP sender asked for counts again, key and partition, and not for others (AKB-A2).
func TestReplayOfWhatWasAskedFor(t *testing.T) {
	b := newLetterbox(t)
	asked := func(endpoint string) []string {
		return []string{"linkspan.reason", "the record is too large", "linkspan.endpoint", endpoint, "linkspan.topic", "down", "linkspan.partition", "2"}
	}
	b.put("order", "asked", asked("senders")...)
	if total, lines := b.replay(Replay{}); total != (ReplayTotal{Sent: 1}) || !slices.Equal(lines, []string{"0:0→down"}) {
		t.Fatalf("%+v %q", total, lines)
	}
	if got := b.in("down", 2); len(got) != 1 || string(got[0].Record.Key) != "order" || string(got[0].Payload) != "asked" {
		t.Errorf("%+v", got)
	}
}

// What came down goes to the topic and partition that it came from, for the endpoint that it was for; with a device, to where that is.
func TestReplayDown(t *testing.T) {
	b := newLetterbox(t)
	down := func(endpoint, topic, partition string) []string {
		return []string{"h", "v", "linkspan.hops", "1", "linkspan.reason", "the broker says no", "linkspan.route", "x", "linkspan.endpoint", endpoint, "linkspan.topic", topic,
			"linkspan.partition", partition, "linkspan.offset", "17", "linkspan.for", "old", "linkspan.replayed", "0:99"}
	}
	b.put("pump", "open", down("plant-b", "down", "2")...)
	b.put("pump", "shut", down("plant-a", "located", "0")...)
	b.put("pump", "stop", down("", "located", "0")...)
	b.put("order", "rejected", append(down("apps", "located", "0"), "linkspan.address", "located/group.id/g")...) // no route leads to a receiver
	if total, lines := b.replay(Replay{}); total != (ReplayTotal{Sent: 4}) {
		t.Fatalf("%+v %q", total, lines)
	}
	for _, c := range []struct {
		topic     string
		partition int32
		payloads  string
		to        []string
	}{{"down", 2, "open", []string{"plant-b"}}, {"located", 0, "shut stop rejected", []string{"plant-a", "", "apps"}}} {
		var payloads []string
		for i, m := range b.in(c.topic, c.partition) {
			payloads = append(payloads, string(m.Payload))
			got := headersOf(m)
			if len(got) != 4 || got[0] != "h=v" || got[1] != "linkspan.hops=1" || got[2] != "linkspan.for="+c.to[i] || !strings.HasPrefix(got[3], "linkspan.replayed=0:") || len(m.Record.Key) < 4 {
				t.Errorf("%s %q", m.Record.Key, got)
			}
		}
		if strings.Join(payloads, " ") != c.payloads {
			t.Errorf("%s: %q", c.topic, payloads)
		}
	}
	if total, _ := b.replay(Replay{}); total != (ReplayTotal{Before: 4}) {
		t.Errorf("again: %+v", total)
	}
}

// What cannot be sent stays where it is, and it says why; what goes round in a loop does not go round once more.
func TestReplayThatCannotBe(t *testing.T) {
	b := newLetterbox(t)
	up := func(reason, endpoint, topic string, more ...string) []string {
		return append([]string{"linkspan.reason", reason, "linkspan.endpoint", endpoint, "linkspan.topic", topic}, more...)
	}
	down := func(endpoint, topic, partition string, more ...string) []string {
		return up("no", endpoint, topic, append([]string{"linkspan.partition", partition, "linkspan.offset", "0"}, more...)...)
	}
	for _, c := range []struct {
		key     string
		headers []string
		want    string
	}{
		{"k", []string{"mqtt.topic", "x"}, "it is no dead letter of Linkspan"},
		{"k", up("too large", "devices", "site/1", "linkspan.size", "100000"), "only the first 4 of its 100000 bytes"},
		{"k", up(linkspan.ErrLoop.Error(), "plant-a", "site/1"), "it would go round again"},
		{"k", up("no route", "devices", "nowhere"), "no route matches the topic"},
		{"k", up("no", "gone", "site/1"), `the endpoint "gone", which the configuration does not have`},
		{"k", up("no", "devices", "dead/1"), "the dead letter topic itself"},
		{"k", down("plant-a", "elsewhere", "0"), "no route matches"},
		{"k", down("gone", "down", "0"), `the route down does not go to the endpoint "gone" any more`},
		{"k", down("", "down", "0"), "it had not got to an endpoint, and the route down asks for no device"},
		{"", down("plant-a", "located", "0"), "does not name the device"},
		{"k", down("plant-a", "down", "one"), "linkspan.partition is no number"},
		{"k", down("plant-a", "down", "3"), "has no such partition"},
		{"k", down("plant-a", "down", "0", "mqtt.received", "1700000000000", "mqtt.expiry", "1"), "it has expired"},
	} {
		b.put(c.key, "text", c.headers...)
		all := b.in("linkspan.deadletter", 0)
		at := Place{0, all[len(all)-1].Record.Offset}
		total, lines := b.replay(Replay{Letters: Letters{One: true, Place: at}})
		if total != (ReplayTotal{Left: 1}) || len(lines) != 1 || !strings.Contains(lines[0], c.want) {
			t.Errorf("%q: %+v %q, want %q", c.headers, total, lines, c.want)
		}
	}
	for _, topic := range []string{"up", "down", "located"} {
		if got := b.in(topic, 0); got != nil {
			t.Errorf("%s has %d records", topic, len(got))
		}
	}
}

// The list has the newest letters, which of them were sent again, and nothing else of the topic.
func TestListDeadLetters(t *testing.T) {
	b := newLetterbox(t)
	for i := range 10 {
		b.put("k", strings.Repeat("x", i), "linkspan.reason", fmt.Sprintf("reason %d: %v", i, linkspan.ErrTooLarge), "linkspan.route", fmt.Sprint("r", i%2), "linkspan.endpoint", "devices",
			"linkspan.topic", "site/1", "linkspan.attempts", "3", "linkspan.time", fmt.Sprintf("2026-11-22T10:00:%02d.000Z", i))
	}
	list := func(q Letters, limit int) (offsets []int64) {
		t.Helper()
		q.Patience = time.Minute
		all, err := ListDeadLetters(t.Context(), b.cfg, q, limit, logger(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range all {
			offsets = append(offsets, l.Offset)
		}
		return offsets
	}
	if total, _ := b.replay(Replay{Letters: Letters{One: true, Place: Place{0, 8}}}); total.Sent != 1 {
		t.Fatal(total)
	}
	for _, c := range []struct {
		q     Letters
		limit int
		want  []int64
	}{
		{Letters{}, 3, []int64{7, 8, 9}},
		{Letters{}, 0, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{Letters{Route: "r1"}, 2, []int64{7, 9}},
		{Letters{Reason: "REASON 4"}, 0, []int64{4}},
		{Letters{Reason: "too_large"}, 1, []int64{9}},
		{Letters{Reason: "no_route"}, 0, nil},
		{Letters{Endpoint: "plant-a"}, 0, nil},
		{Letters{Since: time.Now().Add(time.Hour)}, 0, nil},
	} {
		if got := list(c.q, c.limit); !slices.Equal(got, c.want) {
			t.Errorf("%+v, %d: %v, want %v", c.q, c.limit, got, c.want)
		}
	}
	all, err := ListDeadLetters(t.Context(), b.cfg, Letters{Patience: time.Minute}, 2, logger(t))
	if err != nil || !all[0].Replayed || all[1].Replayed || all[1].Size != 9 || all[1].Attempts != "3" || all[1].Time.Second() != 9 {
		t.Errorf("%+v %v", all, err)
	}
}

// Each mistake says what to do.
func TestDeadLettersThatAreNotThere(t *testing.T) {
	b := newLetterbox(t)
	list := func(cfg Config, q Letters, want string) {
		t.Helper()
		if _, err := ListDeadLetters(t.Context(), cfg, q, 0, logger(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	list(b.cfg, Letters{Patience: time.Minute, One: true, Place: Place{1, 0}}, "has nothing at 1:0")
	list(b.cfg, Letters{Patience: time.Minute, One: true, Place: Place{0, 0}}, "has nothing at 0:0")
	other := b.cfg
	other.DeadLetter.Topic = "other"
	list(other, Letters{Patience: time.Minute}, "there is no dead letter topic other")
	other.Kafka.Brokers = []string{"127.0.0.1:1"}
	list(other, Letters{Patience: 50 * time.Millisecond}, "127.0.0.1:1")
	other.Kafka.Brokers, other.Kafka.Embedded.Listen = nil, "127.0.0.1:1"
	list(other, Letters{Patience: 50 * time.Millisecond}, "while linkspan run is")
	for text, want := range map[string]bool{"0:17": true, "3:0": true, "17": false, "a:1": false, "1:-1": false, "": false} {
		if _, err := ParsePlace(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Who stops a replay is told that it is not over, and what was not marked goes once more.
func TestReplayThatIsStopped(t *testing.T) {
	b := newLetterbox(t)
	b.put("k", "x", "linkspan.reason", "no", "linkspan.endpoint", "devices", "linkspan.topic", "site/1")
	ctx, stop := context.WithCancel(t.Context())
	_, err := ReplayDeadLetters(ctx, b.cfg, Replay{
		Letters: Letters{Patience: time.Minute}, Confirm: func(int, int) bool { stop(); return true }, Tell: func(Replayed) {},
	}, logger(t))
	if err == nil {
		t.Error("no error")
	}
	if total, _ := b.replay(Replay{}); total != (ReplayTotal{Sent: 1}) {
		t.Errorf("%+v", total)
	}
}
