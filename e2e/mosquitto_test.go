package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// tool runs a command with the text as its standard input, and returns what it prints. It fails the test if the command
// does.
func tool(t *testing.T, input string, name string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdin, cmd.Stdout = strings.NewReader(input), &out
	p, err := harness.Start(name, cmd, filepath.Join(t.TempDir(), "log"))
	must(t, err)
	code, err := p.Wait(deadline(t))
	p.Kill()
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, out.String(), p.Log())
	}
	return out.String()
}

// mosquittoSub starts mosquitto_sub, waits until it has subscribed, and returns a function that waits for n lines.
func mosquittoSub(t *testing.T, args ...string) func(n int) []string {
	t.Helper()
	log := filepath.Join(t.TempDir(), "mosquitto_sub.log")
	p, err := harness.Start("mosquitto_sub", exec.Command("stdbuf", append([]string{"-oL", "mosquitto_sub", "-d"}, args...)...), log)
	must(t, err)
	t.Cleanup(p.Kill)
	must(t, harness.Until(deadline(t), func() error {
		if !p.Running() {
			return harness.Final(errors.New(p.Log()))
		}
		if !strings.Contains(p.Log(), "Subscribed (mid") {
			return fmt.Errorf("not subscribed: %s", p.Log())
		}
		return nil
	}))
	return func(n int) []string {
		t.Helper()
		var lines []string
		must(t, harness.Until(deadline(t), func() error {
			lines = lines[:0]
			for line := range strings.Lines(p.Log()) {
				rest, ours := strings.CutPrefix(line, "> ")
				if rest, whole := strings.CutSuffix(rest, "\n"); ours && whole {
					lines = append(lines, rest)
				}
			}
			if len(lines) < n {
				return fmt.Errorf("%d of %d lines: %s", len(lines), n, p.Log())
			}
			return nil
		}))
		return lines
	}
}

// The commands of the README, with mosquitto's and kcat's tools, on Kafka itself and on the embedded broker.
func TestQuickstart(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"apache", "embedded"} {
		t.Run(kind, func(t *testing.T) {
			kafka := world.kafka.Addrs()[0]
			l := start(t, 2, func(p []int) string { // the default routes
				section := fmt.Sprintf("kafka: {brokers: [%s]}\n", kafka)
				if kind == "embedded" {
					kafka = harness.Loopback(p[1])
					section = fmt.Sprintf("kafka:\n  embedded: {dir: data, listen: %q}\n", kafka)
				}
				return section + fmt.Sprintf("endpoints:\n  devices: {listen: \"mqtt://%s\"}\n", harness.Loopback(p[0]))
			})
			port := fmt.Sprint(l.Ports[0])
			lines := mosquittoSub(t, "-p", port, "-q", "1", "-t", "#", "-F", "> %t %q %p")
			tool(t, "", "mosquitto_pub", "-p", port, "-i", "t7", "-t", "sensors/hall-1/t7/temp", "-m", "21.5", "-q", "1")
			if got, want := lines(1)[0], "sensors/hall-1/t7/temp 1 21.5"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			out := strings.TrimSpace(tool(t, "", "kcat", "-b", kafka, "-C", "-q", "-e", "-t", "mqtt.messages", "-f", "%k|%h|%s\n"))
			parts := strings.Split(out[strings.LastIndexByte(out, '\n')+1:], "|") // a test that runs twice writes two
			if len(parts) != 3 || parts[0] != "sensors/hall-1/t7/temp" || parts[2] != "21.5" || !strings.Contains(parts[1], "mqtt.client=t7") {
				t.Errorf("kcat read %q", out)
			}
			tool(t, "hall-1/t7:open\n", "kcat", "-b", kafka, "-P", "-t", "mqtt.commands", "-K:")
			if got, want := lines(2)[1], "hall-1/t7 1 open"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// mosquitto_pub and mosquitto_sub: all versions and QoS, with and without TLS.
func TestMosquitto(t *testing.T) {
	t.Parallel()
	c := newCall(t, "mosquitto")
	for _, version := range []string{"mqttv31", "mqttv311", "mqttv5"} {
		for _, scheme := range []string{"mqtt", "mqtts"} {
			t.Run(version+"/"+scheme, func(t *testing.T) {
				name := version + "-" + scheme
				common := []string{"-V", version, "-p", c.urls[scheme][strings.LastIndex(c.urls[scheme], ":")+1:]}
				if scheme == "mqtts" {
					common = append(common, "--cafile", world.certs.CA)
				}
				lines := mosquittoSub(t, append(common, "-q", "2", "-t", "down/"+name+"/+", "-F", "> %t %q %p")...)
				for qos := range byte(3) {
					to := fmt.Sprintf("up/%s/%d", name, qos)
					tool(t, "", "mosquitto_pub", append(common, "-i", name, "-q", fmt.Sprint(qos), "-t", to, "-m", "höhe")...)
					r := c.tap.wait(t, fromTopic(to))
					if string(r.Value) != "höhe" || string(r.Key) != name || header(r, "mqtt.qos") != fmt.Sprint(qos) {
						t.Errorf("QoS %d: %s %s %v", qos, r.Key, r.Value, r.Headers)
					}
					must(t, c.client.ProduceSync(deadline(t), record(c.down, fmt.Sprintf("%s/%d", name, qos), []byte("tiefe"))).FirstErr())
					if got, want := lines(int(qos) + 1)[qos], fmt.Sprintf("down/%s/%d 2 tiefe", name, qos); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				}
			})
		}
	}
}
