package e2e

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// importUNS has Linkspan write a configuration for settings of the UNS Kafka mapper. It returns that, what is said on standard
// error, and the exit code.
func importUNS(t *testing.T, settings, secrets string, env ...string) (config, says string, code int) {
	t.Helper()
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "settings.yaml"), filepath.Join(dir, ".secrets.yaml")}
	for i, text := range []string{settings, secrets} {
		must(t, os.WriteFile(files[i], []byte(text), 0o600))
	}
	var out, err bytes.Buffer
	cmd := exec.CommandContext(deadline(t), world.binary, "import", "uns", files[0], "--secrets", files[1])
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), &out, &err
	_ = cmd.Run() // its exit code tells
	return out.String(), err.String(), cmd.ProcessState.ExitCode()
}

// UNS-A12: settings from a file, a file of secrets, and the environment above both.
// UNS-A9: settings of the Kafka client come through; one that is unknown is refused, by name.
// UNS-A8: TLS to the broker with its keys, verification on.
// UNS-A1: a/b/c becomes a.b.c.
func TestUNS_A8_A9_A12(t *testing.T) {
	t.Parallel()
	site := withLogin(t)
	u, err := url.Parse(site.URL("mqtts"))
	must(t, err)
	name := topic(t, world.kafka, "uns", 1)
	settings := fmt.Sprintf(`mqtt:
  host: nowhere.example.org
  port: %s
  topics: ["%s/a/#", "%[2]s/b"]
  qos: 1
kafka:
  config: {bootstrap.servers: "%s", enable.idempotence: true, linger.ms: 2, compression.type: gzip, ssl.ca.location: "%s"}
`, u.Port(), name, world.kafka.SCRAM, world.certs.CA)
	secrets := fmt.Sprintf(`mqtt: {username: walton, password: "12345678", tls: {ca_certs: "%s", cert_reqs: true}}
kafka: {config: {security.protocol: SASL_SSL, sasl.mechanisms: SCRAM-SHA-256, sasl.username: bridge, sasl.password: bridge-secret}}
dynaconf_merge: true
`, world.certs.CA)
	config, says, code := importUNS(t, settings, secrets, "UNS_mqtt__host=localhost")
	if code != 0 || strings.Contains(config, "12345678") || strings.Contains(config, "bridge-secret") {
		t.Fatalf("exit code %d\n%s\n%s", code, says, config)
	}
	l := start(t, 0, func([]int) string {
		return config + fmt.Sprintf("fleet: {name: %s, topic_prefix: \"_%[1]s.\", lanes: 4}\ndead_letter: {topic: %[1]s.dead}\n", name)
	}, "MQTT_PASSWORD=12345678", "KAFKA_PASSWORD=bridge-secret")
	connected(t, l, "broker")
	d := dial(t, made("paho-go-3"), harness.Options{URL: site.URL("mqtt"), Client: "d", Version: 4})
	payload := `{"value": 21.5, "name": "größe"}`
	for _, to := range []string{name + "/a/x/temp", name + "/b"} {
		publish(t, d, harness.Message{Topic: to, Payload: []byte(payload), QoS: 1})
		in := strings.ReplaceAll(to, "/", ".")
		if r := open(t, world.kafka, in).wait(t, fromTopic(to)); string(r.Value) != payload || r.Topic != in {
			t.Errorf("%s: %s in %s", to, r.Value, r.Topic)
		}
	}

	_, says, code = importUNS(t, settings+"    \n", strings.Replace(secrets, "sasl.username", "no.such.setting: 1, sasl.username", 1))
	if code != 2 || !strings.Contains(says, "no.such.setting") {
		t.Errorf("exit code %d: %s", code, says)
	}
}
