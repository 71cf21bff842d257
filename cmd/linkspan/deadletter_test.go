package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// What was refused for good and a device of MQTT 3 could not be told of is listed, and, once its route is mended, sent again: once.
func TestDeadLetters(t *testing.T) {
	t.Parallel() // it waits more than it works
	const down = `{from: "kafka:found", to: "mqtt:found/{key}"}`
	onePartition := "LINKSPAN_KAFKA_EMBEDDED_PARTITIONS=1" // one order for all
	bridge := spawn(t, append(freePorts(), onePartition, `LINKSPAN_ROUTES=[{name: few, from: "mqtt:+/{n}", to: "kafka:few.{n}", max_topics: 1}, `+down+`]`), "run")
	addr := bridge.until(&bridge.stdout, `devices +mqtt://(\S+) `)[1]
	environ := []string{"LINKSPAN_KAFKA_BROKERS=" + bridge.until(&bridge.stdout, `Kafka +(127\S+)\n`)[1]}
	bridge.until(&bridge.stdout, `Ctrl-C`)
	sub := mqtttest.Dial(t, addr, packet.V5).Join("sub")
	sub.Subscribe(1, packet.Subscription{Filter: "found/#", QoS: 1})
	d := mqtttest.Dial(t, addr, packet.V311).Join("d")
	for _, topic := range []string{"lost/0", "lost/1", "lost/2", "elsewhere/3"} {
		d.Send(&packet.Publish{Topic: topic, Payload: []byte("in " + topic), QoS: 1, PacketID: 1})
		d.ExpectAck(packet.PUBACK, 1, packet.Success)
	}

	run := func(args ...string) (code int, out, err string) {
		return call(environ, append([]string{"deadletter"}, args...)...)
	}
	code, out, errs := run("ls")
	if code != 0 {
		t.Errorf("exit %d %s", code, errs)
	}
	lines(t, out, `TIME +PLACE +WAY +ROUTE +ENDPOINT +TOPIC +SIZE +REASON`, `\S+Z +\d:\d +up +few +devices +lost/1 +9 +the route has reached its max_topics`, `.* elsewhere/3 .*`)
	if _, out, _ = run("ls", "--limit", "1"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "elsewhere/3") {
		t.Errorf("the newest:\n%s", out)
	}
	_, out, _ = run("ls", "--json", "--since", "1h", "--reason", "too_many_topics", "--endpoint", "devices")
	for line := range strings.Lines(out) {
		var l struct {
			Topic, Reason string
			Time          time.Time
			Down          bool
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Topic == "" || l.Reason == "" || l.Down || l.Time.IsZero() {
			t.Errorf("%s %v", line, err)
		}
	}
	if strings.Count(out, "\n") != 3 {
		t.Error(out)
	}
	if code, out, errs = run("ls", "--route", "other"); code != 0 || out != "" || errs != "no dead letters\n" {
		t.Errorf("exit %d %q %q", code, out, errs)
	}

	environ = append(environ, `LINKSPAN_ROUTES=[{from: "mqtt:lost/{n}", to: "kafka:found", key: "{n}"}, `+down+`]`)
	code, out, errs = run("replay", "--all", "--dry-run")
	if code != exitFailed || !strings.Contains(errs, "1 dead letter could not be sent") {
		t.Errorf("exit %d %s", code, errs)
	}
	lines(t, out, `\d:\d  up  lost/1 → found  would be sent`, `\d:\d  up  elsewhere/3  left: no route matches the topic`, "2 would be sent, 1 left, 0 sent again before")
	if code, _, errs = run("replay", "--all"); code != exitWrong || !strings.Contains(errs, "Send 3 dead letters (32 bytes) again?") {
		t.Errorf("exit %d %s", code, errs)
	}
	var answer bytes.Buffer
	p := &program{stdout: &answer, stderr: &answer, environ: append([]string{"HOME=/"}, environ...), terminal: strings.NewReader("y\n")}
	if code = execute(p, []string{"deadletter", "replay", "--all"}); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	lines(t, answer.String(), `.*\d:\d  up  lost/1 → found  sent`, `\d:\d  up  lost/2 → found  sent`, "2 sent, 1 left, 0 sent again before")
	for _, want := range []string{"found/1", "found/2"} {
		var got packet.Publish
		sub.Expect(packet.PUBLISH, &got)
		if got.Topic != want || string(got.Payload) != "in lost/"+want[6:] {
			t.Errorf("%s %q", got.Topic, got.Payload)
		}
		sub.Send(&packet.Ack{Type: packet.PUBACK, PacketID: got.PacketID})
	}
	if code, out, _ = run("replay", "--route", "few", "--yes"); code != exitFailed || !strings.HasSuffix(out, "0 sent, 1 left, 2 sent again before\n") {
		t.Errorf("exit %d %s", code, out)
	}
	_, out, _ = run("ls")
	lines(t, out, `.* lost/1 .* \(sent again\) the route has .*`, `.* elsewhere/3 +14 +the route .*`)
	bridge.signal(os.Interrupt)
	if code := bridge.exit(); code != 0 {
		t.Errorf("exit %d\n%s", code, &bridge.stderr)
	}
}

// What is not said, or is not there, is told with what to do.
func TestDeadLetterMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"replay"}, exitWrong, "say which: --partition P --offset O"},
		{[]string{"replay", "--all", "--since", "2h"}, exitWrong, "--all is all of them"},
		{[]string{"replay", "--partition", "1"}, exitWrong, "go together"},
		{[]string{"ls", "--since", "soon"}, exitWrong, `"soon" is no time: write how long ago`},
		{[]string{"ls", "--timeout", "50ms"}, exitFailed, "127.0.0.1:1"},
		{[]string{"replay", "--all", "--yes", "--timeout", "50ms"}, exitFailed, "127.0.0.1:1"},
		{[]string{"ls", "-c", "missing.yaml"}, exitWrong, "missing.yaml"},
	} {
		code, _, err := call([]string{"LINKSPAN_KAFKA_BROKERS=127.0.0.1:1"}, append([]string{"deadletter"}, c.args...)...)
		if code != c.code || !strings.Contains(err, c.want) {
			t.Errorf("%q: exit %d, want %d and %q:\n%s", c.args, code, c.code, c.want, err)
		}
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.FixedZone("", 3600))
	for text, want := range map[string]time.Time{
		"90m": now.Add(-90 * time.Minute), "2h": now.Add(-2 * time.Hour), "3d": now.Add(-72 * time.Hour), "0s": now,
		"2026-11-22T08:00:00Z": now.Add(-time.Hour), "2026-11-22 09:30": now.Add(-30 * time.Minute), "2026-11-22T09:00:01": now.Add(-time.Hour + time.Second),
		"2026-11-22": now.Add(-10 * time.Hour), "2026-11-22 09:00:00": now.Add(-time.Hour),
	} {
		var m moment
		if err := m.read(text, now); err != nil || !m.Equal(want) {
			t.Errorf("%s: %v %v, want %v", text, m.Time, err, want)
		}
	}
	for _, text := range []string{"", "-2h", "d", "22.11.2026", "2h ago"} {
		var m moment
		if err := m.read(text, now); err == nil {
			t.Errorf("%q is %v", text, m.Time)
		}
	}
}
