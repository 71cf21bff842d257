package bridge

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/route"
)

func TestDefaults(t *testing.T) {
	cfg, err := Parse("", nil, []string{"HOME=/home/ada"})
	if err != nil {
		t.Fatal(err)
	}
	devices, apps := cfg.Endpoints["devices"].Listener, cfg.Endpoints["apps"].AMQPListener
	if len(cfg.Endpoints) != 2 || devices.URL != "mqtt://127.0.0.1:1883" || apps.URL != "amqp://127.0.0.1:5672" || apps.Credit == 0 {
		t.Errorf("endpoints %+v", cfg.Endpoints)
	}
	if len(cfg.Routes) != len(route.DefaultRoutes()) || cfg.Kafka.Brokers != nil || cfg.Kafka.Embedded.Listen != "127.0.0.1:9092" {
		t.Errorf("%+v", cfg)
	}
	if cfg.Kafka.Embedded.Dir != "/home/ada/.local/share/linkspan" {
		t.Errorf("data in %s", cfg.Kafka.Embedded.Dir)
	}
	if cfg, _ := Parse("", nil, []string{"HOME=/home/ada", "XDG_DATA_HOME=/data"}); cfg.Kafka.Embedded.Dir != "/data/linkspan" {
		t.Errorf("data in %s", cfg.Kafka.Embedded.Dir)
	}
	if _, err := Parse("", nil, nil); err == nil || !strings.Contains(err.Error(), "kafka.embedded.dir") {
		t.Errorf("without a home: %v", err)
	}
}

// The example of the design is read as it is written, and the environment goes over the file.
func TestFileAndEnvironment(t *testing.T) {
	text := `
kafka:
  brokers: [kafka-1:9092]
endpoints:
  devices: {listen: "mqtt://:1883"}
routes:
  - from: mqtt:sensors/{site}/{device}/+
    to: kafka:sensors.{site}
    key: "{device}"
  - from: kafka:commands
    to: mqtt:devices/{key}/commands
    qos: 1
drain_timeout: ${DRAIN:-5s}
`
	cfg, err := Parse("l.yaml", []byte(text), []string{
		"LINKSPAN_KAFKA_BROKERS=a:1,b:2", "LINKSPAN_ENDPOINTS_DEVICES_MAX_CONNECTIONS=9", "LINKSPAN_ADMIN_LISTEN=off", "LINKSPAN_CONFIG=l.yaml",
		"LINKSPAN_ENDPOINTS_WEB_LISTEN=ws://:8080", "HOME=/home/ada",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Kafka.Brokers, " "); got != "a:1 b:2" {
		t.Errorf("brokers %s", got)
	}
	if e := cfg.Endpoints["devices"]; e.Listener.URL != "mqtt://:1883" || e.Listener.MaxConnections != 9 || e.Listener.ReceiveMaximum != 1024 {
		t.Errorf("devices %+v", e)
	}
	if e := cfg.Endpoints["web"]; e.Listener.URL != "ws://:8080" || e.Listener.ReceiveMaximum != 1024 {
		t.Errorf("web %+v", e)
	}
	if cfg.Admin.Listen != "off" || cfg.DrainTimeout != 5*time.Second || len(cfg.Routes) != 2 || *cfg.Routes[1].QoS != 1 {
		t.Errorf("%+v", cfg)
	}
}

// The same words mean what the kind of endpoint makes of them, wherever they are said; `dial` is one URL or several.
func TestEndpointsThatDial(t *testing.T) {
	text := `
fleet: {name: ferry}
endpoints:
  plant-a: {tls: {ca: /ca.pem}, dial: "mqtts://a:8883", password: "${SECRET}", username: u}
  plant-b:
    dial: [mqtt://b-1, mqtt://b-2]
    client_id: mine
    mode: all
  door: {listen: "mqtt://:1883", receive_maximum: 5}
routes: [{from: "mqtt:#", to: kafka:all}]
`
	cfg, err := Parse("l.yaml", []byte(text), []string{
		"HOME=/h", "SECRET=hunter2", "LINKSPAN_ENDPOINTS_PLANT_A_RECEIVE_MAXIMUM=7", "LINKSPAN_ENDPOINTS_PLANT_C_WORKERS=2", "HOSTNAME=pod/1",
		"LINKSPAN_ENDPOINTS_PLANT_C_DIAL=mqtt://c-1,mqtt://c-2", "LINKSPAN_ENDPOINTS_PLANT_C_MODE=all",
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := cfg.Endpoints["plant-a"].Client, cfg.Endpoints["plant-b"].Client, cfg.Endpoints["plant_c"].Client
	if strings.Join(a.Dial, " ") != "mqtts://a:8883" || a.ReceiveMaximum != 7 || string(a.Password) != "hunter2" || a.ClientID != "ferry-plant-a" {
		t.Errorf("%+v", a)
	}
	if strings.Join(b.Dial, " ") != "mqtt://b-1 mqtt://b-2" || b.ClientID != "mine" || b.Share != "ferry-plant-b" {
		t.Errorf("%+v", b)
	}
	if strings.Join(c.Dial, " ") != "mqtt://c-1 mqtt://c-2" || c.Workers != 2 || c.ClientID != "ferry-plant_c-pod-1" || c.Share != "ferry-plant_c" {
		t.Errorf("%+v", c)
	}
	if l := cfg.Endpoints["door"].Listener; l.ReceiveMaximum != 5 || cfg.Endpoints["door"].Client != nil {
		t.Errorf("%+v", l)
	}
	if printed := fmt.Sprintf("%+v %+v", *a, cfg); strings.Contains(printed, "hunter2") {
		t.Error("the password can be seen")
	}
}

// The scheme of the URL decides what an endpoint speaks, from a variable, too; what AMQP clients send goes to the topic of their address
// where no route says otherwise.
func TestEndpointsThatSpeakAMQP(t *testing.T) {
	text := `
endpoints:
  apps: {credit: 7, listen: "${AT}", sasl: {users: {ada: "${SECRET}"}}}
  devices: {listen: "mqtt://:1883"}
routes: [{from: "mqtt:#", to: kafka:all}]
`
	cfg, err := Parse("l.yaml", []byte(text), []string{
		"HOME=/h", "SECRET=hunter2", "AT=amqp://:5672", "LINKSPAN_ENDPOINTS_APPS_CODEC=json", "LINKSPAN_ENDPOINTS_MORE_SURPLUS=detach", "LINKSPAN_ENDPOINTS_MORE_LISTEN=amqpws://:81/amqp",
	})
	if err != nil {
		t.Fatal(err)
	}
	apps, more := cfg.Endpoints["apps"].AMQPListener, cfg.Endpoints["more"].AMQPListener
	if apps.URL != "amqp://:5672" || apps.Credit != 7 || apps.Codec != "json" || apps.SASL.Users["ada"] != "hunter2" || cfg.Endpoints["apps"].Listener != nil {
		t.Errorf("%+v", apps)
	}
	if more.URL != "amqpws://:81/amqp" || more.Surplus != "detach" || more.Credit != 1000 {
		t.Errorf("%+v", more)
	}
	if n := len(cfg.Routes); n != 2 || !strings.HasPrefix(cfg.Routes[1].From, "amqp:") {
		t.Errorf("%+v", cfg.Routes)
	}
	if printed := fmt.Sprintf("%+v %+v", *apps, cfg); strings.Contains(printed, "hunter2") {
		t.Error("the password can be seen")
	}
}

// Each mistake has its line, and says what to do.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"kafka:\n  broker: x", "l.yaml:2:3: kafka.broker: unknown key; did you mean brokers?"},
		{"kafka: {brokers: [a:b]}", "l.yaml:1:19: kafka.brokers[0]: "},
		{"kafka: {brokers: [a:1], embedded: {dir: /d}}", "l.yaml:1:9: kafka.brokers: the embedded broker of l.yaml:1:25 would not be started"},
		{"kafka: {producer: {compression: rar}}", `l.yaml:1:20: kafka.producer.compression: "rar" is none of none, gzip`},
		{"endpoints: {a: {dial: http://b:1883}}", "l.yaml:1:17: endpoints.a.dial: "},
		{"endpoints: {a: {dial: '10.0.0.5:1883'}}", "l.yaml:1:17: endpoints.a.dial: this is no address; write mqtt://HOST:1883"},
		{"endpoints: {a: {dial: 'mqtt://b:99999'}}", `l.yaml:1:17: endpoints.a.dial: "mqtt://b:99999": there is no port 99999`},
		{"endpoints: {a: {dial: [mqtt://b, nowhere]}}", "l.yaml:1:17: endpoints.a.dial: "},
		{"endpoints: {a: {listen: mqtt://:1883, dial: mqtt://b}}", "l.yaml:1:39: endpoints.a.dial: stands beside listen, and only one of the two can be"},
		{"endpoints: {a: {client_id: x, listen: mqtt://:1883}}", "l.yaml:1:17: endpoints.a.client_id: goes with dial, and this section has listen"},
		{"endpoints: {a: {dial: mqtt://b, origins: [x]}}", "l.yaml:1:33: endpoints.a.origins: goes with listen, and this section has dial"},
		{"endpoints: {a: {dial: mqtt://b, worker: 3}}", "l.yaml:1:33: endpoints.a.worker: unknown key; did you mean workers?"},
		{"endpoints: {a: {dial: mqtt://b, workers: 0}}", "l.yaml:1:33: endpoints.a.workers: "},
		{"endpoints: {a: {dial: mqtt://b, client_id: x}, b: {client_id: x, dial: mqtt://b}}", "l.yaml:1:52: endpoints.b.client_id: a has x at mqtt://b already"},
		{"endpoints: {a: {dial: mqtt://b, workers: 2}, a-2: {dial: mqtt://b}}", "l.yaml:1:46: endpoints.a-2.client_id: a has linkspan-a-2 at mqtt://b already"},
		{"fleet: {lanes: 0}", "l.yaml:1:9: fleet.lanes: "},
		{"dead_letter: {topic: a b}", `l.yaml:1:15: dead_letter.topic: "a b" is no name that Kafka takes`},
		{"endpoints: {a: {max_connections: 1}}", "l.yaml:1:13: endpoints.a: says neither where to listen nor what to dial; add listen:"},
		{"endpoints: {a: {listen: http://x}}", `l.yaml:1:17: endpoints.a.listen: "http://x": it has none of the schemes`},
		{"endpoints: {a: {listen: ':1884'}}", `l.yaml:1:17: endpoints.a.listen: ":1884" is no address; write mqtt://:1883`},
		{"endpoints: {a: {listen: 'localhost:1884'}}", `l.yaml:1:17: endpoints.a.listen: "localhost:1884": it has none of the schemes mqtt, mqtts, ws, wss; write mqtt://:1883`},
		{"endpoints: {a: {listen: 'mqtt://:99999'}}", `l.yaml:1:17: endpoints.a.listen: "mqtt://:99999": there is no port 99999`},
		{"endpoints: {a: {listen: amq://:1}}", `l.yaml:1:17: endpoints.a.listen: "amq://:1": it has none of the schemes mqtt, mqtts, ws, wss, amqp, amqps, amqpws, amqpwss`},
		{"endpoints: {a: {dial: [amqp://b, mqtt://c]}}", "l.yaml:1:17: endpoints.a.dial: "},
		{"endpoints: {a: {dial: amqp://b, workers: 2}}", "l.yaml:1:33: endpoints.a.workers: goes with dial, and this section has dial: amqp; remove it"},
		{"endpoints: {a: {dial: amqp://b, container_id: x}, b: {container_id: x, dial: amqp://b}}", "endpoints.b.container_id: a has x at amqp://b already"},
		{"endpoints: {a: {listen: amqp://:1, receive_maximum: 5}}", "l.yaml:1:36: endpoints.a.receive_maximum: goes with listen, and this section has listen: amqp; remove it"},
		{"endpoints: {a: {credit: 5, listen: mqtt://:1}}", "l.yaml:1:17: endpoints.a.credit: goes with listen: amqp, and this section has listen; remove it"},
		{"endpoints: {a: {listen: amqp://:1, credit: 0}}", "l.yaml:1:36: endpoints.a.credit: 0 is less than 1"},
		{"endpoints: {a: {listen: amqps://:1}}", "endpoints.a.tls"},
		{"endpoints: {a: {listen: amqp://:1}, b: {listen: mqtt://127.0.0.1:1}}", "endpoints.b.listen: port 1 is that of endpoints.a.listen already"},
		{"endpoints: {a: {listen: amqp://:1, sasl: {users: {ada: ''}}}}", "endpoints.a.sasl.users: "},
		{"endpoints: {amqpws: {listen: mqtt://:1}}", "l.yaml:1:13: endpoints.amqpws: in a route that name would look like a protocol"},
		{"endpoints: {amqp: {listen: amqp://:1}}", "l.yaml:1:13: endpoints.amqp: in a route that name means"},
		{"endpoints:\n\ta: {}", "l.yaml:2:1: not YAML: found character that cannot start any token; indent with spaces, not tabs"},
		{"endpoints: {a: {listen: mqtts://:1}}", "l.yaml:1:13: endpoints.a.tls"},
		{"endpoints: {kafka: {listen: mqtt://:1}}", "l.yaml:1:13: endpoints.kafka: in a route that name means"},
		{"endpoints: {a b: {listen: mqtt://:1}}", "l.yaml:1:13: endpoints.a b: a name has letters"},
		{"endpoints: {a: {listen: mqtt://:1}, b: {listen: ws://127.0.0.1:1}}", "l.yaml:1:41: endpoints.b.listen: port 1 is that of endpoints.a.listen already"},
		{"endpoints: {a: {listen: 'ws://'}, b: {listen: mqtt://127.0.0.1:80}}", "l.yaml:1:39: endpoints.b.listen: port 80 is that of endpoints.a.listen already"},
		{`{admin: {listen: ":9092"}}`, "l.yaml:1:10: admin.listen: port 9092 is that of kafka.embedded.listen already"},
		{"endpoints: {}", "l.yaml:1:1: endpoints: the section is empty"},
		{"routes: []", "l.yaml:1:1: routes: the list is empty"},
		{"routes:\n- {from: mqtt:a, to: kafka:b}\n- {from: mqtt:c, to: mqtt:d}", "l.yaml:3:18: routes[1].to: "},
		{"routes:\n- from: mqtt:{a}/#\n  to: kafka:{b}", "l.yaml:3:3: routes[0].to: "},
		{"routes:\n- from: mqtt:a\n  to: kafka:b\n  key: {a}", "l.yaml:4:8: routes[0].key: must be a single value, not a section with keys; a text that begins with { needs quotes"},
		{"routes:\n- from: nowhere:a\n  to: kafka:b", "l.yaml:2:3: routes[0].from: "},
		{"default_route: {to: mqtt:a}", "l.yaml:1:17: default_route.to: "},
		{"sessions: {max_queued: 0}", "l.yaml:1:12: sessions.max_queued: "},
		{"admin: {listen: x}", `l.yaml:1:9: admin.listen: "x" is not host:port`},
		{"log: {level: loud}", `l.yaml:1:7: log.level: "loud" is none of trace, debug, info, warn, error`},
		{"log: {format: xml}", `l.yaml:1:7: log.format: "xml" is none of text, json`},
		{"drain_timeout: 0s", "l.yaml:1:1: drain_timeout: must be positive"},
		{"drain_timeout: 10", `l.yaml:1:16: drain_timeout: "10" is not a duration`},
	} {
		_, err := Parse("l.yaml", []byte(c.text), []string{"HOME=/h"})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
	_, err := Parse("l.yaml", []byte("drain_timeout: 0s\nlog: {level: x}\nadmin: {listen: y}"), []string{"HOME=/h", "LINKSPAN_LOG_FORMAT=z"})
	if n := len(unjoin(err)); n != 4 || !strings.Contains(err.Error(), "LINKSPAN_LOG_FORMAT: log.format: ") {
		t.Errorf("%d mistakes, want 4:\n%v", n, err)
	}
}

func TestConfigurationThatCannotBeRead(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "missing.yaml"), nil)
	if err == nil || !strings.Contains(err.Error(), "missing.yaml") {
		t.Error(err)
	}
}

// Whatever prints or logs a configuration does not show its secrets (CON-A10, KAL-W10).
func TestSecretsAreNotPrinted(t *testing.T) {
	cfg, err := Parse("l.yaml", []byte("kafka: {brokers: [a:1], sasl: {mechanism: plain, username: u, password: \"${PW}\"}}"), []string{"PW=hunter2", "HOME=/home/ada"})
	if err != nil {
		t.Fatal(err)
	}
	if string(cfg.Kafka.SASL.Password) != "hunter2" {
		t.Fatal("the password is not there")
	}
	cfg.origin = nil
	var logged bytes.Buffer
	NewLogger(LogConfig{Level: "trace", Format: "json"}, &logged).Info("configuration", "kafka", cfg.Kafka, "sasl", *cfg.Kafka.SASL)
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", cfg, cfg, *cfg.Kafka.SASL), logged.String()} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "redacted") {
			t.Errorf("shown: %s", text)
		}
	}
}

func TestLogLevels(t *testing.T) {
	for name, lines := range map[string]int{"trace": 5, "debug": 4, "info": 3, "warn": 2, "error": 1} {
		var b bytes.Buffer
		log := NewLogger(LogConfig{Level: name, Format: "text"}, &b)
		for _, l := range levels() {
			log.Log(t.Context(), l, "x")
		}
		if n := strings.Count(b.String(), "\n"); n != lines || name == "trace" && !strings.Contains(b.String(), "level=TRACE") {
			t.Errorf("%s logs %d lines, want %d:\n%s", name, n, lines, &b)
		}
	}
}

// Files that a configuration names are looked at before anything starts, and told with the line that names them.
func TestCheckReadsFiles(t *testing.T) {
	text := "kafka:\n  brokers: [a:1]\n  tls: {ca: /no/such/ca.pem}\nendpoints:\n  a:\n    listen: mqtts://:1\n    tls: {cert: /no/such/cert.pem, key: /no/such/key.pem}\n"
	cfg, err := Parse("l.yaml", []byte(text), []string{"HOME=/home/ada"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Check(cfg)
	for _, want := range []string{"l.yaml:3:9: kafka.tls.ca: ", "l.yaml:7:5: endpoints.a.tls: ", "/no/such/ca.pem", "/no/such/cert.pem"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant it to say %s", err, want)
		}
	}
}

func TestExplain(t *testing.T) {
	cfg, err := Parse("l.yaml", []byte(`
routes:
  - {name: readings, from: "mqtt:sensors/{site}/{device}/{kind}", to: "kafka:sensors.{kind}", key: "{device}", headers: {site: "{site}"}}
  - {name: orders, from: "kafka:commands", to: "mqtt:devices/{key}/commands", qos: 2}
`), []string{"HOME=/h"})
	if err != nil {
		t.Fatal(err)
	}
	key := "pump-4"
	for _, c := range []struct {
		q    Question
		want []string
	}{
		{Question{Topic: "sensors/hall-1/t7/temp", Client: "c7", QoS: 1, Payload: "21.5", Headers: [][2]string{{"unit", "C"}}},
			[]string{"readings", "takes it", "sensors.temp", "t7", "site: hall-1", "mqtt.client: c7", "21.5", "unit", "Kafka record"}},
		{Question{Topic: "other"}, []string{"readings", "no: ", "refused to the device: no route matches the topic"}},
		{Question{Down: true, Topic: "commands", Key: &key, Payload: "on", Headers: [][2]string{{"trace", "1"}}},
			[]string{"no: it takes messages of devices", "orders", "takes it", "devices/pump-4/commands", "2, or", "MQTT message", "on", "trace: 1"}},
		{Question{Down: true, Topic: "else"}, []string{"no route takes it"}},
	} {
		got, err := Explain(cfg, c.q)
		if err != nil {
			t.Errorf("%+v: %v", c.q, err)
		}
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%+v: it does not say %q:\n%s", c.q, want, got)
			}
		}
	}
	for _, q := range []Question{{Topic: "a", QoS: 3}, {Topic: "a", Endpoint: "nowhere"}, {Topic: "a/+"}, {Topic: ""}} {
		if _, err := Explain(cfg, q); err == nil {
			t.Errorf("%+v: no error", q)
		}
	}
}

// Any text is either a configuration or a list of mistakes.
func FuzzParse(f *testing.F) {
	examples, _ := filepath.Glob("../examples/*/linkspan.yaml")
	for _, name := range examples {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Parse("l.yaml", []byte(text), []string{"HOME=/h", "KAFKA_PASSWORD=x"})
		if err == nil {
			if _, err := cfg.table(nil); err != nil {
				t.Errorf("valid, but: %v", err)
			}
		}
	})
}
