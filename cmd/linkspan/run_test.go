package main

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A process is the program itself, as users run it.
type process struct {
	*exec.Cmd
	t              *testing.T
	stdout, stderr output
	ended          chan struct{} // closed when it has ended
}

// output is what a process has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// spawn starts the program with the variables given and no others, in a directory of its own.
func spawn(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command(os.Args[0], args...), t: t, ended: make(chan struct{})}
	p.Env = append([]string{"BE_LINKSPAN=1", "XDG_DATA_HOME=" + t.TempDir(), "GORACE=atexit_sleep_ms=10"}, environ...) // else each would take a second to end
	p.Stdout, p.Stderr = &p.stdout, &p.stderr
	p.Dir = t.TempDir()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// until waits until the process has printed something that matches, and returns the match's groups.
func (p *process) until(o *output, expr string) []string {
	p.t.Helper()
	re := regexp.MustCompile(expr)
	var m []string
	p.eventually("it printed "+expr, func() bool {
		m = re.FindStringSubmatch(o.String())
		return m != nil
	})
	return m
}

func (p *process) eventually(what string, holds func() bool) {
	p.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(mqtttest.Patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-late:
			p.t.Fatalf("never: %s\n%s%s", what, &p.stdout, &p.stderr)
		}
	}
}

// exit waits for the end and returns the exit code, -1 for a signal.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(mqtttest.Patience):
		p.t.Fatalf("it did not end\n%s%s", &p.stdout, &p.stderr)
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// freePorts are the variables that let several bridges run at a time, and come back where they were.
func freePorts() []string {
	any := wiretest.Loopback()
	return []string{
		"LINKSPAN_KAFKA_EMBEDDED_LISTEN=" + any, "LINKSPAN_ENDPOINTS_DEVICES_LISTEN=mqtt://127.0.0.1:0", "LINKSPAN_ADMIN_LISTEN=" + any,
	}
}

// Without a file it says what runs where and what to try, takes messages, and ends with 0 on SIGTERM. What was
// acknowledged is there after a kill -9, too (P5).
func TestRunWithoutAFile(t *testing.T) {
	t.Parallel() // it waits more than it works
	data := "XDG_DATA_HOME=" + t.TempDir()
	first := spawn(t, append(freePorts(), data, "LINKSPAN_ENDPOINTS_APPS_LISTEN=amqp://127.0.0.1:0"), "run")
	addr := first.until(&first.stdout, `devices +mqtt://(\S+) `)[1]
	for _, want := range []string{`data +\S+/linkspan\n`, `admin +http://127`, `route +mqtt:# → kafka:mqtt.messages`, `route +amqp:{address...} → kafka:{address}`, `AMQP +amqp://127\S+ \(endpoint apps\)`,
		`C\('amqp://127\S+'\).create_receiver\('orders/group.id/billing'\)`, `not for: production`, `mosquitto_pub -p \d+ -t`, `kcat -b 127\S+ -C -t mqtt.messages`, `Ctrl-C`} {
		first.until(&first.stdout, want)
	}
	d := mqtttest.Dial(t, addr, packet.V5).Join("d")
	d.Send(&packet.Publish{Topic: "t", Payload: []byte("x"), QoS: 1, PacketID: 1})
	d.ExpectAck(packet.PUBACK, 1, packet.Success)
	first.signal(syscall.SIGKILL)
	first.exit()

	second := spawn(t, append(freePorts(), data), "run")
	kafka := second.until(&second.stdout, `Kafka +(127\S+)\n`)[1]
	again := spawn(t, freePorts()[1:], "check", "--connect")
	if again.exit() != 0 {
		t.Errorf("check --connect of an embedded one: %s", &again.stderr)
	}
	reached := spawn(t, []string{"LINKSPAN_KAFKA_BROKERS=" + kafka}, "check", "--connect")
	if code := reached.exit(); code != 0 || !strings.Contains(reached.stdout.String(), "topic mqtt.messages is there") {
		t.Errorf("exit %d\n%s%s", code, &reached.stdout, &reached.stderr)
	}
	second.signal(syscall.SIGTERM)
	if code := second.exit(); code != 0 || !strings.Contains(second.stderr.String(), "msg=stopped") {
		t.Errorf("exit %d\n%s", code, &second.stderr)
	}
}

// The second signal does not wait for the drain (P8).
func TestSecondSignalExitsAtOnce(t *testing.T) {
	t.Parallel() // it waits more than it works
	broker := spawn(t, freePorts(), "run")
	kafka := broker.until(&broker.stdout, `Kafka +(127\S+)\n`)[1]
	p := spawn(t, append(freePorts()[1:], "LINKSPAN_KAFKA_BROKERS="+kafka, "LINKSPAN_SPOOL_DIR=off", "LINKSPAN_DRAIN_TIMEOUT=1h", "LINKSPAN_ENDPOINTS_DEVICES_DRAIN_TIMEOUT=1h"), "run")
	addr, admin := p.until(&p.stdout, `devices +mqtt://(\S+) `)[1], p.until(&p.stdout, `admin +(http://\S+) `)[1]
	d := mqtttest.Dial(t, addr, packet.V5).Join("d")
	broker.signal(syscall.SIGKILL)
	broker.exit()
	d.Send(&packet.Publish{Topic: "t", Payload: []byte("x"), QoS: 1, PacketID: 1})
	p.eventually("a message is on its way", func() bool {
		return strings.Contains(get(t, admin+"/metrics"), "\nlinkspan_kafka_in_flight_records 1\n")
	})
	p.signal(os.Interrupt)
	p.until(&p.stderr, "msg=stopping")
	p.eventually("not ready", func() bool { return strings.HasPrefix(get(t, admin+"/readyz"), "stopping\n") })
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "second signal") {
		t.Errorf("exit %d\n%s", code, &p.stderr)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What cannot run says why, with the key to change, before any device was let in.
func TestRunThatCannotStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		variable string
		code     int
		want     string
	}{
		{"LINKSPAN_ENDPOINTS_DEVICES_LISTEN=mqtt://" + taken.Addr().String(), exitFailed, "endpoints.devices.listen: "},
		{"LINKSPAN_KAFKA_EMBEDDED_DIR=" + file, exitFailed, "kafka.embedded.dir: "},
		{"LINKSPAN_KAFKA_EMBEDDED_MIN_FREE=4611686018427387904", exitFailed, "full"},
		{"LINKSPAN_KAFKA_TLS_CA=" + file, exitWrong, "LINKSPAN_KAFKA_TLS_CA: kafka.tls.ca: no certificate in"},
		{"LINKSPAN_KAFKA_BROKER=a:1", exitWrong, "LINKSPAN_KAFKA_BROKER: unknown variable; did you mean LINKSPAN_KAFKA_BROKERS?"},
	} {
		environ := append(freePorts(), c.variable)
		if strings.Contains(c.variable, "TLS") {
			environ = append(environ[1:], "LINKSPAN_KAFKA_BROKERS=127.0.0.1:1")
		}
		p := spawn(t, environ, "run")
		if code := p.exit(); code != c.code || !strings.Contains(p.stderr.String(), c.want) || strings.Contains(p.stderr.String(), "msg=listening") {
			t.Errorf("%s: exit %d, want %d and %q:\n%s", c.variable, code, c.code, c.want, &p.stderr)
		}
	}
}

// check --connect tells a cluster that is not there from a configuration that is wrong.
func TestCheckConnectWithoutKafka(t *testing.T) {
	p := spawn(t, []string{"LINKSPAN_KAFKA_BROKERS=127.0.0.1:1"}, "check", "--connect", "--timeout", "50ms")
	if code := p.exit(); code != exitFailed || !strings.Contains(p.stderr.String(), "127.0.0.1:1") {
		t.Errorf("exit %d\n%s%s", code, &p.stdout, &p.stderr)
	}
}
