package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

const migrateData = "../../bridge/internal/migrate/testdata/"

// connectorEnviron is an environment that connector starts with.
func connectorEnviron(more ...string) []string {
	return append([]string{
		"RUN_MODE=PRODUCTION", "MQTT_BROKER_URL=127.0.0.1", "MQTT_BROKER_PORT=1", "MQTT_CLIENT_ID=c", "MQTT_USER_NAME=u", "MQTT_USER_PASSWORD=hidden",
		"LOG_LVL=warn", "TOPIC_LIST=a:b", "INVOKE_LATENCY_SEC=1", "INVOKE_MAX_GOROUTINE=1000", "INVOKE_MIN_GOROUTINE=50", "KAFKA_BROKER=127.0.0.1:1",
	}, more...)
}

// The configuration goes to standard output, and what is different to standard error.
func TestImport(t *testing.T) {
	for _, c := range []struct {
		args       []string
		want, note string
	}{
		{[]string{"connector"}, "dial: mqtt://127.0.0.1:1\n", "note: put the secrets into these environment variables: MQTT_USER_PASSWORD"},
		{[]string{"uns", migrateData + "uns-secure.settings.yaml", "--secrets", migrateData + "uns-secure.secrets.yaml"}, "dial: wss://", "note: mqtt.ignored_attributes: x and y.z of a/+"},
		{[]string{"strimzi", migrateData + "strimzi-first.rules.json", "--properties", migrateData + "strimzi-first.properties"}, "listen: mqtt://127.0.0.1:2883", "rule 4"},
	} {
		code, out, err := call(connectorEnviron(), append([]string{"import"}, c.args...)...)
		if code != 0 || !strings.Contains(out, c.want) || !strings.Contains(err, c.note) || strings.Contains(out+err, "hidden") {
			t.Errorf("%v: exit %d\n%s%s", c.args, code, out, err)
		}
		code, _, err = call([]string{"MQTT_USER_PASSWORD=x", "MQTT_PASSWORD=x", "KAFKA_PASSWORD=x", "MQTT_KEY_PASSWORD=x"}, "explain", "-c", write(t, out), "a")
		if code != 0 {
			t.Errorf("%v: what came out is no configuration: %s", c.args, err)
		}
	}
}

func TestImportMistakes(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"import"}, "expected \"<from>"},
		{[]string{"import", "mosquitto"}, "must be one of"},
		{[]string{"import", "uns"}, "name the file: linkspan import uns FILE"},
		{[]string{"import", "connector", "x"}, "connector has no file"},
		{[]string{"import", "strimzi", "x", "--secrets", "y"}, "--secrets is for uns"},
		{[]string{"import", "uns", "x", "--properties", "y"}, "--properties is for strimzi"},
		{[]string{"import", "uns", "missing.yaml"}, "missing.yaml"},
		{[]string{"import", "strimzi", write(t, `[{"mqttTopic": "a/#/b", "kafkaTopic": "k"}]`)}, "the imported configuration:"},
		{[]string{"import", "connector"}, "KAFKA_BROKER: the environment has no such variable"},
		{[]string{"run", "--profile", "kalinka"}, "must be one of"},
		{[]string{"run", "--profile", "connector", "-c", "x"}, "--profile connector takes the place of --config"},
		{[]string{"check", "--profile", "connector"}, "MQTT_BROKER_URL: the environment has no such variable"},
	} {
		code, _, err := call([]string{"RUN_MODE=PRODUCTION"}, c.args...)
		if code != exitWrong || !strings.Contains(err, c.want) {
			t.Errorf("%v: exit %d, want 2 and %q:\n%s", c.args, code, c.want, err)
		}
	}
}

// check tells what is different; run says it in one line for each, at the level that connector has by default: loudly that without
// DB_PERSIST_PATH messages are in memory alone. It runs on while the MQTT broker is not there (CON-A1, A7, A8, A10).
func TestConnectorProfile(t *testing.T) {
	t.Parallel() // it waits more than it works
	code, out, err := call(connectorEnviron(), "check", "--profile", "connector")
	if code != 0 || !strings.Contains(out, "note: DB_PERSIST_PATH is not set: as with connector, a message is acknowledged when it is in memory") {
		t.Errorf("exit %d\n%s%s", code, out, err)
	}
	broker := spawn(t, freePorts(), "run")
	kafka := broker.until(&broker.stdout, `Kafka +(127\S+)\n`)[1]
	p := spawn(t, connectorEnviron("KAFKA_BROKER="+kafka, "LINKSPAN_ADMIN_LISTEN=127.0.0.1:0"), "run", "--profile", "connector")
	p.until(&p.stderr, `level=WARN msg=profile note="DB_PERSIST_PATH is not set.*lost with the process`)
	p.until(&p.stderr, `level=WARN msg=.*127\.0\.0\.1:1\b`) // the broker is not there; it tries again
	if strings.Contains(p.stderr.String(), "level=INFO") || strings.Contains(p.stderr.String(), "hidden") {
		t.Errorf("more than LOG_LVL=warn lets out:\n%s", &p.stderr)
	}
	p.signal(os.Interrupt)
	if code := p.exit(); code != 0 {
		t.Errorf("exit %d\n%s", code, &p.stderr)
	}
}

// With DB_PERSIST_PATH, what the MQTT broker gives while Kafka is away is on disk, also when Kafka was away from the start, and over a
// kill; and it is in Kafka, oldest first, when that is back (CON-A4, A5, A7).
func TestConnectorProfileStores(t *testing.T) {
	t.Parallel() // it waits more than it works
	broker := spawn(t, freePorts(), "run")
	host, port, _ := net.SplitHostPort(broker.until(&broker.stdout, `devices +mqtt://(\S+) `)[1])
	site := append(freePorts(), "XDG_DATA_HOME="+t.TempDir(), `LINKSPAN_ROUTES=[{from: "kafka:stored", to: "mqtt:out/{key}"}, {from: "mqtt:#", to: "kafka:any"}]`)
	kafka := spawn(t, site, "run")
	addr := kafka.until(&kafka.stdout, `Kafka +(127\S+)\n`)[1]
	kafka.signal(syscall.SIGKILL)
	kafka.exit()

	store := t.TempDir() + "/"
	environ := connectorEnviron("KAFKA_BROKER="+addr, "MQTT_BROKER_URL="+host, "MQTT_BROKER_PORT="+port, "LOG_LVL=info",
		"TOPIC_LIST=in/x:stored", "DB_PERSIST_PATH="+store, "LINKSPAN_SPOOL_SEGMENT_BYTES=1048576", "LINKSPAN_ADMIN_LISTEN=127.0.0.1:0")
	p := spawn(t, environ, "run", "--profile", "connector")
	p.until(&p.stderr, `msg=connected`)
	for i := range 3 {
		pub := spawn(t, nil, "pub", "in/x", "-b", "mqtt://"+net.JoinHostPort(host, port), "-m", fmt.Sprint("m", i))
		if code := pub.exit(); code != 0 {
			t.Fatal(&pub.stderr)
		}
	}
	p.eventually("all is on disk", func() bool {
		_, out, _ := call(environ, "spool", "ls", "--profile", "connector")
		return strings.Count(out, " in/x ") == 6 // the topic, and the key
	})
	p.signal(syscall.SIGKILL)
	p.exit()

	kafka = spawn(t, append(site, "LINKSPAN_KAFKA_EMBEDDED_LISTEN="+addr), "run")
	sub := spawn(t, nil, "sub", "out/#", "-b", "mqtt://"+kafka.until(&kafka.stdout, `devices +mqtt://(\S+) `)[1], "-n", "3", "-v")
	sub.until(&sub.stderr, `msg=connected`)
	p = spawn(t, environ, "run", "--profile", "connector")
	if code := sub.exit(); code != 0 || sub.stdout.String() != "out/in/x m0\nout/in/x m1\nout/in/x m2\n" {
		t.Errorf("exit %d %q\n%s%s", code, &sub.stdout, &sub.stderr, &p.stderr)
	}
}

// The profile does what connector did: what a broker has on the topics of the lists is in Kafka, in the topics that they say,
// the exact ones before the wildcards (CON-A1).
func TestConnectorProfileCarries(t *testing.T) {
	t.Parallel() // it waits more than it works
	// A broker, and on the way back from Kafka a window to look through.
	broker := spawn(t, append(freePorts(), `LINKSPAN_ROUTES=[{from: "mqtt:#", to: "kafka:all"}, {from: "kafka:all", to: "mqtt:{key}"}, `+
		`{from: "kafka:exact", to: "mqtt:out/exact/{key}"}, {from: "kafka:wild", to: "mqtt:out/wild/{key}"}]`), "run")
	addr := broker.until(&broker.stdout, `devices +mqtt://(\S+) `)[1]
	kafka := broker.until(&broker.stdout, `Kafka +(127\S+)\n`)[1]
	host, port, _ := net.SplitHostPort(addr)
	sub := spawn(t, nil, "sub", "out/#", "-b", "mqtt://"+addr, "-n", "2", "-v")
	sub.until(&sub.stderr, `msg=connected`)
	p := spawn(t, connectorEnviron("KAFKA_BROKER="+kafka, "MQTT_BROKER_URL="+host, "MQTT_BROKER_PORT="+port, "LOG_LVL=info",
		"TOPIC_LIST=in/x:exact", "WILDCARD_TOPIC_LIST=in/#:wild", "LINKSPAN_ADMIN_LISTEN=127.0.0.1:0"), "run", "--profile", "connector")
	p.until(&p.stderr, `msg=connected`)
	pub := spawn(t, nil, "pub", "in/x", "in/y", "-b", "mqtt://"+addr, "-n", "2")
	if code := pub.exit(); code != 0 {
		t.Fatal(&pub.stderr)
	}
	if code := sub.exit(); code != 0 {
		t.Errorf("exit %d\n%s", code, &sub.stderr)
	}
	got := sub.stdout.String()
	if !strings.Contains(got, "out/exact/in/x 1\n") || !strings.Contains(got, "out/wild/in/y 2\n") {
		t.Errorf("%q", got)
	}
	p.signal(os.Interrupt)
	if code := p.exit(); code != 0 {
		t.Errorf("exit %d\n%s", code, &p.stderr)
	}
}
