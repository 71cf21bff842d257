package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestMain makes the test's binary the program itself when it is started as that.
func TestMain(m *testing.M) {
	if os.Getenv("BE_LINKSPAN") != "" {
		main()
	}
	flag.Parse()
	_ = flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))) // tests here wait more than they work
	os.Exit(m.Run())
}

// call runs one command line in this process.
func call(environ []string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = execute(&program{stdout: &out, stderr: &err, environ: append([]string{"HOME=/home/ada"}, environ...)}, args)
	return code, out.String(), err.String()
}

func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "linkspan.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestHelpTeaches(t *testing.T) {
	for _, args := range [][]string{{}, {"--help"}, {"run", "--help"}, {"check", "-h"}, {"explain", "--help"}, {"import", "--help"}, {"pub", "--help"}, {"sub", "--help"}, {"completion", "--help"},
		{"spool", "--help"}, {"spool", "status", "--help"}, {"spool", "ls", "--help"}, {"spool", "cat", "--help"}, {"spool", "export", "--help"}, {"spool", "drop", "--help"},
		{"deadletter", "--help"}, {"deadletter", "ls", "--help"}, {"deadletter", "replay", "--help"}} {
		code, out, err := call(nil, args...)
		if code != 0 || err != "" || !strings.Contains(out, "Usage: linkspan") || !strings.Contains(out, "    linkspan ") {
			t.Errorf("%v: exit %d, %q, no example in:\n%s", args, code, err, out)
		}
	}
}

func TestVersion(t *testing.T) {
	code, out, _ := call(nil, "version")
	if code != 0 || !regexp.MustCompile(`^linkspan \S+ go1\.\S+ \w+/\w+\n$`).MatchString(out) {
		t.Errorf("exit %d, %q", code, out)
	}
}

// A wrong command line or configuration is exit code 2, and the message has its place and the remedy.
func TestMistakesOfTheUser(t *testing.T) {
	broken := write(t, "kafka:\n  broker: [a:1]\nlog: {level: loud}\n")
	valid := write(t, "kafka: {brokers: [a:1]}\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"fly"}, "unexpected argument fly"},
		{[]string{"run", "--fast"}, "unknown flag --fast"},
		{[]string{"explain"}, "expected \"<topic>\""},
		{[]string{"completion", "powershell"}, "must be one of"},
		{[]string{"check", "-c", "missing.yaml"}, "missing.yaml"},
		{[]string{"check", "-c", broken}, "linkspan.yaml:2:3: kafka.broker: unknown key; did you mean brokers?"},
		{[]string{"run", "-c", broken}, "linkspan.yaml:2:3: kafka.broker: unknown key"},
		{[]string{"explain", "-c", broken, "a"}, "linkspan.yaml:2:3: kafka.broker: unknown key"},
		{[]string{"explain", "-c", valid, "a", "--qos", "3"}, "no QoS 3"},
		{[]string{"explain", "-c", valid, "a", "--header", "x"}, "--header x: write NAME=VALUE"},
	} {
		code, _, err := call(nil, c.args...)
		if code != exitWrong || !strings.Contains(err, c.want) {
			t.Errorf("%v: exit %d, want 2 and %q:\n%s", c.args, code, c.want, err)
		}
	}
}

func TestCheck(t *testing.T) {
	code, out, err := call(nil, "check")
	if code != 0 || !strings.HasPrefix(out, "the configuration is valid\n") || !strings.Contains(out, "a message is acknowledged when all in-sync replicas") {
		t.Errorf("exit %d, %q %q", code, out, err)
	}
	code, _, err = call([]string{"LINKSPAN_CONFIG=" + write(t, "admin: {listen: x}")}, "check")
	if code != exitWrong || !strings.Contains(err, "admin.listen") {
		t.Errorf("exit %d, %q: the file that LINKSPAN_CONFIG names was not read", code, err)
	}
	code, out, _ = call(nil, "check", "--connect")
	if code != 0 || !strings.Contains(out, "run starts an embedded Kafka in /home/ada/.local/share/linkspan") {
		t.Errorf("exit %d, %q", code, out)
	}
}

func TestExplain(t *testing.T) {
	code, out, _ := call(nil, "explain", "sensors/t7", "--client", "t7", "--header", "a=b,c=d")
	for _, want := range []string{"messages-up", "takes it", "mqtt.messages", "sensors/t7", "mqtt.client: t7", "b,c=d"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, no %q in:\n%s", code, want, out)
		}
	}
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"amqp:plant/orders", "--key", "7"}, []string{"received from there: live messages that go down to plant/orders", "addresses", "takes it", "plant.orders", "key              7"}},
		{[]string{"amqp:sensors/#"}, []string{"live messages that go down to sensors/#", "refused to the sender: ", "wildcards"}},
		{[]string{"orders/group.id/billing", "--endpoint", "apps"}, []string{"topic orders", "group billing"}},
	} {
		code, out, err := call(nil, append([]string{"explain"}, c.args...)...)
		for _, want := range c.want {
			if code != 0 || !strings.Contains(out, want) {
				t.Errorf("%v: exit %d, no %q in:\n%s%s", c.args, code, want, out, err)
			}
		}
	}
	code, out, _ = call(nil, "explain", "kafka:mqtt.commands", "--key", "hall-1/t7")
	if code != 0 || !strings.Contains(out, "MQTT message") || !strings.Contains(out, "hall-1/t7") {
		t.Errorf("exit %d:\n%s", code, out)
	}
}
