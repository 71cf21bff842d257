package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// An outage is a bridge whose Kafka has gone while devices publish: three messages of route a and two of route b are in its spool.
type outage struct {
	t       *testing.T
	environ []string // of the bridge, and of commands that ask it
	dir     string   // of the spool
	kafka   []string // of Kafka, to start it anew
	bridge  *process
	device  *mqtttest.Client
}

const outageRoutes = `LINKSPAN_ROUTES=[{name: a, from: "mqtt:a/+", to: "kafka:up", key: "{topic}"}, {name: b, from: "mqtt:b", to: "kafka:up.b"}]`

func newOutage(t *testing.T) *outage {
	t.Helper()
	o := &outage{t: t, dir: filepath.Join(t.TempDir(), "spool"), kafka: append(freePorts(), "XDG_DATA_HOME="+t.TempDir())}
	kafka := spawn(t, o.kafka, "run")
	addr := kafka.until(&kafka.stdout, `Kafka +(127\S+)\n`)[1]
	o.kafka = append(o.kafka, "LINKSPAN_KAFKA_EMBEDDED_LISTEN="+addr)
	o.environ = []string{"LINKSPAN_KAFKA_BROKERS=" + addr, "LINKSPAN_SPOOL_DIR=" + o.dir, "LINKSPAN_SPOOL_SEGMENT_BYTES=1048576", "LINKSPAN_SPOOL_AFTER=800ms", outageRoutes}
	o.run()
	o.send("a/1", "before")
	o.direct("it is in Kafka") // a slow machine may have had it take the other way
	kafka.signal(syscall.SIGKILL)
	kafka.exit()
	for _, m := range [][2]string{{"a/1", "one"}, {"b", "\xff\x00"}, {"a/2", "two"}, {"b", "four"}, {"a/1", "three"}} {
		o.send(m[0], m[1])
	}
	return o
}

// run starts the bridge.
func (o *outage) run() {
	o.t.Helper()
	o.bridge = spawn(o.t, append(freePorts()[1:], o.environ...), "run")
	addr := o.bridge.until(&o.bridge.stdout, `devices +mqtt://(\S+) `)[1]
	o.environ = append(o.environ, "LINKSPAN_ADMIN_LISTEN="+o.bridge.until(&o.bridge.stdout, `admin +http://(\S+) `)[1])
	o.device = mqtttest.Dial(o.t, addr, packet.V5).Join("d")
}

// send publishes a message and waits for its acknowledgement.
func (o *outage) send(topic, payload string) {
	o.t.Helper()
	o.device.Send(&packet.Publish{Topic: topic, Payload: []byte(payload), QoS: 1, PacketID: 1})
	o.device.ExpectAck(packet.PUBACK, 1, packet.Success)
}

// direct waits until nothing of route a is in the spool.
func (o *outage) direct(what string) {
	o.t.Helper()
	o.bridge.eventually(what, func() bool {
		return regexp.MustCompile(`(?m)^a +\S+ +direct +0 `).MatchString(o.spool("status"))
	})
}

// spool runs a command that is to end well, and returns what it printed.
func (o *outage) spool(args ...string) string {
	o.t.Helper()
	code, out, err := call(o.environ, append([]string{"spool"}, args...)...)
	if code != 0 {
		o.t.Errorf("%v: exit %d\n%s%s", args, code, out, err)
	}
	return out
}

// seqs returns the numbers of what ls shows of a route.
func (o *outage) seqs(route string) (all []string) {
	o.t.Helper()
	for _, m := range regexp.MustCompile(`(?m)^(\d+) .* `+route+` `).FindAllStringSubmatch(o.spool("ls"), -1) {
		all = append(all, m[1])
	}
	return all
}

func lines(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !regexp.MustCompile(`(?m)^` + w + `$`).MatchString(text) {
			t.Errorf("no line %q in\n%s", w, text)
		}
	}
}

// Beside the bridge that runs, operators see what waits, take it out and drop it; what is left is in Kafka when that is back (CON-A4, A12).
func TestSpoolBesideTheBridge(t *testing.T) {
	t.Parallel() // it waits more than it works
	o := newOutage(t)
	lines(t, o.spool("status"), "spool "+o.dir, `as told by the process at 127.*`, `state degraded: .*`, `disk \S+ \S+ in 1 file of at most 10.0 GiB.*`,
		`ROUTE +ACK +WAY +MESSAGES +SIZE +OLDEST.*NOT KEPT`, `a +kafka-else-spool +spooling +3 .* 0`, `b +kafka-else-spool +spooling +2 .* 0`)
	var status struct {
		Live    bool
		Verdict string
		Lanes   []struct {
			Name       string
			Messages   int
			SinceStart struct{ Spooled int } `json:"since_start"`
		}
	}
	if err := json.Unmarshal([]byte(o.spool("status", "--json")), &status); err != nil || !status.Live || status.Verdict != "degraded" || len(status.Lanes) != 3 {
		t.Errorf("%+v %v", status, err)
	}

	ls := o.spool("ls")
	lines(t, ls, `SEQ +WRITTEN +ROUTE +TOPIC +KAFKA TOPIC +KEY +SIZE`, `\d+ +\d{4}-\S+Z +a +a/1 +up +a/1 +3`, `\d+ +\S+ +b +b +up.b +b +2`)
	if got := o.spool("ls", "--route", "b", "--limit", "1"); strings.Count(got, "\n") != 2 {
		t.Errorf("limited to one:\n%s", got)
	}
	if _, _, err := call(o.environ, "spool", "ls", "--since", "2100-01-01"); err != "no messages\n" {
		t.Errorf("%q", err)
	}
	a, b := o.seqs("a"), o.seqs("b")
	if len(a) != 3 || len(b) != 2 {
		t.Fatalf("%q %q in\n%s", a, b, ls)
	}
	if got := o.spool("cat", a[1]); got != "two" {
		t.Errorf("%q", got)
	}
	if got := o.spool("cat", b[0]); got != "\xff\x00" {
		t.Errorf("%q", got)
	}
	lines(t, o.spool("cat", a[1], "--headers"), "seq +"+a[1], "route +a", "topic +a/2", "kafka topic +up", "key +a/2", "header +mqtt.client: d", "two")

	file := filepath.Join(t.TempDir(), "backlog.jsonl")
	o.spool("export", "-o", file)
	exported(t, file)
	if code, _, err := call(o.environ, "spool", "export", "-o", file); code != exitWrong || !strings.Contains(err, "exists; choose another name") {
		t.Errorf("exit %d %s", code, err)
	}
	if got := o.spool("export", "--route", "b"); strings.Count(got, "\n") != 2 || !strings.Contains(got, `"payload_base64":"/wA="`) {
		t.Errorf("%s", got)
	}

	code, _, err := call(o.environ, "spool", "cat", a[2]+"000")
	if code != exitFailed || !strings.Contains(err, "there is no message "+a[2]+"000 in the spool in "+o.dir+": it has some of "+a[0]+" to "+a[2]) {
		t.Errorf("exit %d %s", code, err)
	}

	lines(t, o.spool("drop", "--route", "a", "--up-to", a[0], "--yes"), `1 message \(.*\) dropped`)
	o.bridge.eventually("the files, which a slow disk brings up to date a little later, have only the others of a", func() bool {
		return fmt.Sprint(o.seqs("a")) == fmt.Sprint(a[1:])
	})

	kafka := spawn(t, o.kafka, "run")
	kafka.until(&kafka.stdout, `Kafka +(127\S+)\n`)
	o.bridge.eventually("all is delivered", func() bool {
		return regexp.MustCompile(`(?m)^a +\S+ +direct +0 .*\nb +\S+ +direct +0 `).MatchString(o.spool("status"))
	})
	_ = o.device.Conn.Close()
	o.bridge.signal(os.Interrupt)
	if code := o.bridge.exit(); code != 0 {
		t.Errorf("exit %d\n%s", code, &o.bridge.stderr)
	}
}

// exported checks the lines of a whole export.
func exported(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var payloads []string
	for line := range bytes.Lines(text) {
		var e struct {
			Seq                  uint64
			Route, Payload, Key  string
			PayloadBase64        []byte `json:"payload_base64"`
			Topic                string `json:"mqtt_topic"`
			KafkaTopic, Endpoint string
			Headers              []struct{ Name, Value string }
		}
		if err := json.Unmarshal(line, &e); err != nil || e.Seq == 0 || e.Key != e.Topic || len(e.Headers) < 4 || e.Headers[0].Name != "mqtt.topic" || e.Headers[0].Value != e.Topic {
			t.Errorf("%v in %s", err, line)
		}
		payloads = append(payloads, e.Route+":"+e.Payload+string(e.PayloadBase64))
	}
	if got := strings.Join(payloads, " "); got != "a:one b:\xff\x00 a:two b:four a:three" {
		t.Errorf("%q", got)
	}
}

// Without a bridge the same commands work on the files; nothing is dropped that was not meant; and the next bridge has the rest (CON-A7).
func TestSpoolWithoutABridge(t *testing.T) {
	t.Parallel() // it waits more than it works
	o := newOutage(t)
	o.bridge.signal(syscall.SIGKILL)
	o.bridge.exit()
	lines(t, o.spool("status"), "spool "+o.dir, `as told by the files alone, since no process tells: .*refused`, `disk \S+ \S+ in 1 file of at most 10.0 GiB`,
		`ROUTE +MESSAGES +SIZE +OLDEST`, `a +3 +\S+ \S+ +\S+`, `b +2 +\S+ \S+ +\S+`)
	lines(t, o.spool("status", "--dir", o.dir), "spool "+o.dir)
	a := o.seqs("a")
	if len(a) != 3 || o.spool("cat", a[2], "--dir", o.dir) != "three" {
		t.Fatalf("%q", a)
	}

	drop := func(answer string, args ...string) (code int, out, errs string) {
		var o1, o2 bytes.Buffer
		p := &program{stdout: &o1, stderr: &o2, environ: append([]string{"HOME=/home/ada"}, o.environ...)}
		if answer != "" {
			p.terminal = strings.NewReader(answer)
		}
		code = execute(p, append([]string{"spool", "drop"}, args...))
		return code, o1.String(), o2.String()
	}
	for _, c := range []struct {
		answer string
		args   []string
		code   int
		want   string
	}{
		{"n\n", []string{"--route", "a", "--all"}, exitFailed, `Drop 3 messages \(.*\) of route a, which have been acknowledged and will be lost\? \[y/N\] linkspan: nothing was done`},
		{"\n", []string{"--route", "a", "--all"}, exitFailed, "nothing was done"},
		{"", []string{"--route", "a", "--all"}, exitWrong, `no terminal to ask on: say --yes`},
		{"", []string{"--route", "c", "--all", "--yes"}, exitFailed, `nothing of a route "c" was ever in the spool in .*; there are .*a.*b`},
		{"", []string{"--route", "a", "--yes"}, exitWrong, "say which: --all, --before TIME or --up-to SEQ"},
		{"", []string{"--route", "a", "--all", "--up-to", "1", "--yes"}, exitWrong, "one of them"},
		{"", []string{"--all", "--yes"}, exitWrong, "missing flags: --route"},
		{"", []string{"--route", "a", "--before", "yesterday"}, exitWrong, `"yesterday" is no time`},
		{"", []string{"--route", "a", "--before", "2020-01-01", "--yes"}, 0, "0 messages dropped"},
		{"y\n", []string{"--route", "a", "--up-to", a[0]}, 0, `1 message \(.*\) dropped`},
		{"", []string{"--route", "b", "--before", "2100-01-01", "-y"}, 0, `2 messages \(.*\) dropped`},
	} {
		if code, out, errs := drop(c.answer, c.args...); code != c.code || !regexp.MustCompile(c.want).MatchString(out+errs) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
	if got := o.seqs("[ab]"); fmt.Sprint(got) != fmt.Sprint(a[1:]) {
		t.Errorf("%q is left, of %q", got, a)
	}

	kafka := spawn(t, o.kafka, "run")
	kafka.until(&kafka.stdout, `Kafka +(127\S+)\n`)
	o.run()
	o.direct("all is delivered")
	lines(t, o.spool("status", "--json"), ` +"drained": 2,`)
}

// What is not there is told with what to do, and the exit code says who has to do it.
func TestSpoolMistakes(t *testing.T) {
	brokers := "LINKSPAN_KAFKA_BROKERS=127.0.0.1:1"
	empty := t.TempDir()
	for _, c := range []struct {
		environ, args []string
		code          int
		want          string
	}{
		{nil, []string{"status"}, exitFailed, "the configuration has no spool"},
		{nil, []string{"ls", "--dir", filepath.Join(empty, "none")}, exitFailed, "there is no spool in .*none: linkspan run makes one"},
		{nil, []string{"ls", "--dir", empty}, exitFailed, "there is no spool in " + empty},
		{[]string{brokers}, []string{"status"}, exitFailed, "there is no spool in /home/ada/.local/share/linkspan/spool"},
		{[]string{brokers}, []string{"status", "-c", "missing.yaml"}, exitWrong, "missing.yaml"},
		{nil, []string{"cat"}, exitWrong, "expected \"<seq>\""},
		{nil, []string{"cat", "one"}, exitWrong, "seq"},
		{nil, []string{}, exitWrong, "expected one of"},
	} {
		code, out, err := call(append(c.environ, "LINKSPAN_ADMIN_LISTEN=off"), append([]string{"spool"}, c.args...)...)
		if code != c.code || !regexp.MustCompile(c.want).MatchString(err) {
			t.Errorf("%q: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, out, err)
		}
	}
}

// What devices have written does not reach the terminal as it is: no escape sequence, and no line that looks like another message.
func TestShown(t *testing.T) {
	for text, want := range map[string]string{
		"": "-", "a/b": "a/b", "größe/{x}": "größe/{x}", `say "hi"`: `say "hi"`, "a\x1b[2J": `"a\x1b[2J"`, "a\n4711  all": `"a\n4711  all"`,
		"a\tb": `"a\tb"`, "\u202ea": `"\u202ea"`, "\u009b2J": `"\u009b2J"`, "\x9b2J": `"\x9b2J"`,
	} {
		if got := dash(text); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
