package migrate

import (
	"slices"
	"strings"
	"testing"
)

// base is the least environment that connector starts with.
func base(more ...string) []string {
	return append([]string{
		"MQTT_BROKER_URL=broker", "MQTT_BROKER_PORT=1883", "MQTT_CLIENT_ID=c", "MQTT_USER_NAME=u", "MQTT_USER_PASSWORD=hidden",
		"KAFKA_BROKER=k:9092", "TOPIC_LIST=a:b", "INVOKE_LATENCY_SEC=10", "INVOKE_MAX_GOROUTINE=1000", "INVOKE_MIN_GOROUTINE=50",
	}, more...)
}

// says checks that an error tells all that is wanted, a line each.
func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%v\ndoes not say %q", err, w)
		}
	}
	if lines := strings.Count(err.Error(), "\n") + 1; lines != len(want) {
		t.Errorf("%d lines, want %d:\n%v", lines, len(want), err)
	}
}

// All that is wrong with connector's variables is told at once, by their names (CON-A1, A9).
func TestConnectorMistakes(t *testing.T) {
	_, err := Connector(nil)
	says(t, err, "TOPIC_LIST, WILDCARD_TOPIC_LIST: neither", "KAFKA_BROKER: the environment has no", "MQTT_BROKER_URL:", "MQTT_BROKER_PORT:",
		"MQTT_CLIENT_ID:", "MQTT_USER_NAME:", "MQTT_USER_PASSWORD:")
	_, err = Connector(base("SASL_SSL=true"))
	says(t, err, "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URI:", "SASL_OAUTHBEARER_CLIENT_ID:", "SASL_OAUTHBEARER_CLIENT_SECRET:")
	for variable, want := range map[string]string{
		"SASL_SSL=yes":              `SASL_SSL: "yes" is neither true nor false`,
		"SASL_SSL=":                 "SASL_SSL: is empty",
		"MQTT_BROKER_PORT=mqtt":     `MQTT_BROKER_PORT: "mqtt" is no port`,
		"MQTT_BROKER_PORT=70000":    "is no port",
		"MQTT_BROKER_URL=":          "MQTT_BROKER_URL: names no host",
		"MQTT_BROKER_URL=amqp://b":  "MQTT_BROKER_URL: amqp is none of",
		"KAFKA_BROKER= , ":          "KAFKA_BROKER: is empty",
		"INVOKE_LATENCY_SEC=10s":    `INVOKE_LATENCY_SEC: "10s" is not a whole number`,
		"INVOKE_MAX_GOROUTINE=many": "INVOKE_MAX_GOROUTINE:",
		"INVOKE_MIN_GOROUTINE=":     "INVOKE_MIN_GOROUTINE:",
	} {
		_, err := Connector(base(variable))
		says(t, err, want)
	}
}

// Each setting of the retry pump has one of ours that does what it did, or a note (CON-A6, A7).
func TestConnectorPump(t *testing.T) {
	for _, c := range []struct {
		variables []string
		want      []string
		notes     int
	}{
		{[]string{"DB_PERSIST_PATH=/data/"}, []string{"  dir: /data/spool\n", "    max_in_flight: 1000\n", "    refill: 50\n", "  retry_interval: 10s\n"}, 1},
		{[]string{"DB_PERSIST_PATH=/data/my_"}, []string{"  dir: /data/spool\n"}, 1},
		{[]string{"DB_PERSIST_PATH=store/"}, []string{"  dir: store/spool\n"}, 1},
		{[]string{"DB_PERSIST_PATH=/data/", "INVOKE_MAX_GOROUTINE=7", "INVOKE_MIN_GOROUTINE=0"}, []string{"max_in_flight: 7\n", "refill: 1\n"}, 1},
		{[]string{"DB_PERSIST_PATH=/data/", "INVOKE_MAX_GOROUTINE=7", "INVOKE_MIN_GOROUTINE=7"}, []string{"max_in_flight: 7\n", "refill: 6\n"}, 2},
		{[]string{"DB_PERSIST_PATH=/data/", "INVOKE_MAX_GOROUTINE=0", "INVOKE_MIN_GOROUTINE=-1"}, []string{"max_in_flight: 1\n", "refill: 0\n"}, 2},
		{[]string{"DB_PERSIST_PATH=/data/", "INVOKE_LATENCY_SEC=20"}, []string{"retry_interval: 20s\n", "unknown_topic_timeout: 20s\n"}, 1},
		{[]string{"DB_PERSIST_PATH=/data/", "INVOKE_LATENCY_SEC=301"}, []string{"retry_interval: 300s\n"}, 2},
		{[]string{"DB_PERSIST_PATH=/data/", "INVOKE_LATENCY_SEC=0"}, []string{"200ms are taken"}, 2},
		{[]string{"DB_PERSIST_PATH="}, []string{"  dir: \"off\"\n", "    ack: memory\n"}, 1},
		{nil, []string{"  dir: \"off\"\n", "    ack: memory\n", "  alone: true\n"}, 1},
	} {
		r, err := Connector(base(c.variables...))
		for _, want := range c.want {
			if err != nil || !strings.Contains(r.Text, want) {
				t.Errorf("%q: %v, no %q in\n%s", c.variables, err, want, r.Text)
			}
		}
		if len(r.Notes) != c.notes {
			t.Errorf("%q: notes %q", c.variables, r.Notes)
		}
		if stored := strings.Contains(r.Text, "drain:"); stored == strings.Contains(r.Text, "ack: memory") {
			t.Errorf("%q: stored %v\n%s", c.variables, stored, r.Text)
		}
	}
}

// Each of connector's seven levels has one of ours; none is warn, what is unknown is info (CON-A10).
func TestConnectorLevels(t *testing.T) {
	for level, want := range map[string]string{
		"panic": "error", "fatal": "error", "error": "error", "warn": "warn", "info": "info", "debug": "debug", "trace": "trace", "loud": "info", "": "info",
	} {
		r, err := Connector(base("LOG_LVL=" + level))
		if err != nil || !strings.Contains(r.Text, "\n  level: "+want+"\n") {
			t.Errorf("%s: %v\n%s", level, err, r.Text)
		}
	}
	if r, _ := Connector(base()); !strings.Contains(r.Text, "\n  level: warn\n") {
		t.Errorf("without LOG_LVL:\n%s", r.Text)
	}
}

func TestConnectorAddresses(t *testing.T) {
	for host, want := range map[string]string{
		"10.0.0.5": "mqtt://10.0.0.5:1883", "tcp://b": "mqtt://b:1883", "ssl://b": "mqtts://b:1883", "ws://b": "ws://b:1883", "[::1]": `"mqtt://[::1]:1883"`,
	} {
		r, err := Connector(base("MQTT_BROKER_URL=" + host))
		if err != nil || !strings.Contains(r.Text, "dial: "+want+"\n") {
			t.Errorf("%s: %v\n%s", host, err, r.Text)
		}
	}
}

// No secret is in what is made, or in what is said about it.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	var all []Result
	r, err := Connector(base("MQTT_USER_NAME=", "SASL_SSL=true", "SASL_OAUTHBEARER_CLIENT_SECRET=hidden", "SASL_OAUTHBEARER_CLIENT_ID=i", "SASL_OAUTHBEARER_TOKEN_ENDPOINT_URI=u"))
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, r)
	text := "mqtt: {host: h, username: u, password: hidden, tls: {ca_certs: c, certfile: f, keyfile: k, keyfile_password: hidden, cert_reqs: true}}\n" +
		"kafka: {config: {bootstrap.servers: k, security.protocol: sasl_ssl, sasl.mechanism: OAUTHBEARER, sasl.password: hidden, sasl.oauthbearer.client.secret: hidden}}"
	if r, err = UNS(File{"s", []byte(text)}, File{}, nil); err != nil {
		t.Fatal(err)
	}
	for _, r := range append(all, r) {
		if strings.Contains(r.Text+strings.Join(r.Notes, " "), "hidden") || len(r.Variables) == 0 {
			t.Errorf("%q\n%s", r.Notes, r.Text)
		}
	}
	if _, err := DotEnv(File{".env", []byte("A=1\nhidden\n")}); err == nil || strings.Contains(err.Error(), "hidden") || !strings.Contains(err.Error(), ".env:2") {
		t.Error(err)
	}
}

// A .env file means what it means to connector.
func TestDotEnv(t *testing.T) {
	got, err := DotEnv(File{".env", []byte("# all\n\nA=1 # one\nexport B = two\nC: three\nD=\"a#b\\nc\\\"\" # x\nE='$A \\n'\nF=$A-${B}\nG=\"\\$A\"\nH=a$b\r\nI=\n")})
	want := []string{"A=1", "B=two", "C=three", "D=a#b\nc\"", `E=$A \n`, "F=1-two", "G=$A", "H=a$b", "I="}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzDotEnv(f *testing.F) {
	f.Add("A=1\nB=\"$A\"\n'")
	f.Fuzz(func(t *testing.T, text string) {
		environ, err := DotEnv(File{".env", []byte(text)})
		for _, e := range environ {
			if name, _, ok := strings.Cut(e, "="); !ok || name == "" || strings.ContainsAny(name, " #\n") {
				t.Errorf("%q, %v", e, err)
			}
		}
	})
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a/+", "a/b", true}, {"a/#", "a", true}, {"a/#", "+", true}, {"a/+/c", "a/b/#", true}, {"+/b", "a/+", true}, {"#", "a", true}, {"a", "a", true},
		{"a/+", "a", false}, {"a/b", "a/c", false}, {"a/+", "a/b/c", false}, {"a/b/#", "a/c/#", false}, {"#", "$SYS/#", false}, {"+/a", "$x/a", false}, {"$x/#", "$x/a", true},
		{"a", "a/", false}, {"a/+", "a/", true},
	} {
		if overlap(c.a, c.b) != c.want || overlap(c.b, c.a) != c.want {
			t.Errorf("%s, %s: want %v", c.a, c.b, c.want)
		}
	}
}
