package migrate

import (
	"strings"
	"testing"
)

// uns makes a configuration from the text of a settings file.
func unsOf(text string, environ ...string) (Result, error) {
	return UNS(File{"settings.yaml", []byte(text)}, File{}, environ)
}

const unsLeast = "mqtt: {host: h}\nkafka: {config: {bootstrap.servers: k}}\n"

// Unknown settings of the Kafka client are refused by name, with a guess or a remedy (UNS-A9).
func TestUnknownClientProperties(t *testing.T) {
	for property, want := range map[string]string{
		"linger.m: 5":                                "kafka.config.linger.m: Linkspan has no setting that does what this does; did you mean linger.ms?",
		"ssl.crl.location: /x":                       "kafka.config.ssl.crl.location: Linkspan has no setting",
		"ssl.key.password: hidden":                   "kafka.config.ssl.key.password: has no equivalent; Linkspan reads keys that are not encrypted",
		"transactional.id: t":                        "not in transactions",
		"linger.ms: soon":                            `kafka.config.linger.ms: "soon" is not a number of milliseconds`,
		"buffer.memory: -1":                          "not a whole number",
		"queue.buffering.max.kbytes: x":              "not a whole number",
		"partitioner: random":                        "none of consistent",
		"enable.ssl.certificate.verification: maybe": "neither true nor false",
		"security.protocol: sasl_ssl":                "kafka.config.sasl.mechanism: is missing",
		"security.protocol: tls":                     `kafka.config.security.protocol: "tls" is not available`,
		"sasl.mechanism: GSSAPI":                     "none of PLAIN",
	} {
		_, err := unsOf(unsLeast + "    ")
		if err != nil {
			t.Fatal(err)
		}
		_, err = UNS(File{"settings.yaml", []byte(unsLeast)}, File{"more.yaml", []byte("kafka: {config: {" + property + "}}")}, nil)
		says(t, err, want)
		if err != nil && strings.Contains(err.Error(), "hidden") {
			t.Error(err)
		}
	}
	_, err := unsOf("mqtt: {host: h}")
	says(t, err, "kafka.config.bootstrap.servers: is missing")
}

// What the client would not have used is not used either, and that is said.
func TestClientPropertiesWithoutEffect(t *testing.T) {
	for property, want := range map[string]string{
		"sasl.username: u":                "kafka.config.sasl.*: left out",
		"sasl.password: hidden":           "kafka.config.sasl.*: left out",
		"ssl.ca.location: /x":             "the settings ssl.* are left out",
		"enable.idempotence: false":       "enable.idempotence: false is left out",
		"allow.auto.create.topics: false": "topics: {create: false}",
		"debug: all":                      "kafka.config.debug: left out",
	} {
		r, err := UNS(File{"settings.yaml", []byte(unsLeast)}, File{"more.yaml", []byte("kafka: {config: {" + property + "}}")}, nil)
		if err != nil || len(r.Notes) == 0 || !strings.Contains(r.Notes[0], want) || strings.Contains(r.Text, "sasl:") || strings.Contains(r.Text, "tls:") || len(r.Variables) > 0 {
			t.Errorf("%s: %v, %q\n%s", property, err, r.Notes, r.Text)
		}
	}
}

// Every mistake of the files is told with file, line and key.
func TestUNSMistakes(t *testing.T) {
	_, err := unsOf("mqtt:\n  hots: h\n  qos: high\nkafka: {config: {}}\n")
	says(t, err, "settings.yaml:2:3: mqtt.hots: unknown key; did you mean host?", "settings.yaml:3:8: mqtt.qos")
	_, err = unsOf("mqtt: {qos: 3, version: 6, transport: udp, keep_alive: -1, tls: {ca_certs: c, certfile: f, ciphers: RC4-MD5}}\nkafka: {config: {bootstrap.servers: k}}")
	says(t, err, "mqtt.host: is missing", "mqtt.qos: 3", "mqtt.version: 6", "mqtt.transport: \"udp\"", "mqtt.keep_alive: -1", "mqtt.tls.certfile, keyfile", "mqtt.tls.ciphers: RC4-MD5")
}

// Versions, transports and encryption (UNS-A8).
func TestUNSTransports(t *testing.T) {
	for settings, want := range map[string]string{
		"{host: h, version: 3}":                                 "dial: mqtt://h:1883\n    version: 3.1\n",
		"{host: h, version: 4, port: 2883}":                     "dial: mqtt://h:2883\n    version: 3.1.1\n",
		"{host: h}":                                             "dial: mqtt://h:1883\n    version: 5\n",
		"{host: h, transport: websockets}":                      "dial: ws://h:1883\n",
		"{host: h, tls: {ca_certs: /c, cert_reqs: True}}":       "dial: mqtts://h:1883\n    version: 5\n    tls:\n      ca: /c\n    qos: 2\n",
		"{host: h, transport: websockets, tls: {ca_certs: /c}}": "dial: wss://h:1883\n",
		"{host: h, tls: {certfile: /c}}":                        "dial: mqtt://h:1883\n",
		"{host: h, qos: 0, version: 4, clean_session: false}":   "qos: 0\n",
		"{host: h, username: u}":                                "username: u\n    qos",
		"{host: h, topics: 'a/#'}":                              "- from: \"broker:a/#\"\n",
		"{host: h, topics: ['{x}/+']}":                          "- from: \"broker:{{x}}/+\"\n",
	} {
		r, err := unsOf("mqtt: " + settings + "\nkafka: {config: {bootstrap.servers: k}}")
		if err != nil || !strings.Contains(r.Text, want) || strings.Contains(r.Text, "insecure:") && !strings.Contains(r.Text, "insecure: true would") {
			t.Errorf("%s: %v\n%s", settings, err, r.Text)
		}
	}
}

// The environment wins over the files, as with dynaconf (UNS-A12).
func TestUNSEnvironment(t *testing.T) {
	r, err := unsOf(unsLeast, "UNS_mqtt__host=other", "UNS_MQTT__PORT=2883", `UNS_mqtt__topics=@json ["x/#", "y"]`,
		`UNS_kafka__config=@json {"client.id": "me", "bootstrap.servers": "k2"}`, "UNS_graphdb__url=bolt://x", "OTHER=1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mqtt://other:2883", "broker:x/#", "from: broker:y\n", "client_id: me\n", "brokers: [k2]"} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("no %s in\n%s", want, r.Text)
		}
	}
	_, err = unsOf(unsLeast, "UNS_mqtt__hots=x")
	says(t, err, "did you mean UNS_MQTT_HOST?")
}

// rulesOf makes a configuration from rules.
func rulesOf(rules, properties string) (Result, error) {
	return Strimzi(File{"rules.json", []byte(rules)}, File{"application.properties", []byte(properties)})
}

func TestStrimziMistakes(t *testing.T) {
	for rules, want := range map[string]string{
		`{`:                         "rules.json:1: not a list",
		"[\n{\"mqtTopic\": \"a\"}]": "unknown field",
		`[] []`:                     "there is more after",
		`[{"mqttTopic": "a"}]`:      "rule 1: mqttTopic and kafkaTopic are both needed",
	} {
		_, err := rulesOf(rules, "")
		says(t, err, want)
	}
	for properties, want := range map[string]string{
		"mqtt.server.port=x":          "mqtt.server.port: \"x\" is no port",
		"mqtt.max.bytes.message=many": "mqtt.max.bytes.message: \"many\"",
		"mqtt.sever.port=1":           "application.properties:1: mqtt.sever.port is not a setting",
		"# x\n\nnonsense":             "application.properties:3: not KEY=VALUE",
		"kafka.producer.lingerr.ms=1": "kafka.lingerr.ms",
		"kafka.bootstrap.servers=":    "kafka.bootstrap.servers: is missing",
	} {
		_, err := rulesOf("[]", properties)
		says(t, err, want)
	}
}

// A rule that cannot be said is left out, in the place where it would be, and said so.
func TestStrimziRulesWithoutRoute(t *testing.T) {
	for rule, want := range map[string]string{
		`{"mqttTopic": "a/.*/b", "kafkaTopic": "k"}`:                   "beyond what topic filters can say",
		`{"mqttTopic": "a/(.+)b", "kafkaTopic": "k"}`:                  "beyond what topic filters can say",
		`{"mqttTopic": "a(?=b)", "kafkaTopic": "k"}`:                   "not understood",
		`{"mqttTopic": "a/([^/]+)", "kafkaTopic": "k$2"}`:              "$2 is not a group of mqttTopic",
		`{"mqttTopic": "a/r-(\\d+)", "kafkaTopic": "k$1"}`:             "$1 is not one whole level",
		`{"mqttTopic": "{a}/+", "kafkaTopic": "k", "kafkaKey": "{b}"}`: "{b} is not in mqttTopic",
	} {
		r, err := rulesOf("["+rule+"]", "")
		if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], want) || !strings.Contains(r.Notes[0], "rules.json: rule 1") || strings.Contains(r.Text, "from:") {
			t.Errorf("%s: %v, %q\n%s", rule, err, r.Notes, r.Text)
		}
	}
	r, err := rulesOf("[]", "bridge.topic.default=d")
	if err != nil || !strings.Contains(r.Text, "- from: \"mqtt:#\"\n    to: kafka:d\n") || strings.Contains(r.Text, "default_route") {
		t.Errorf("%v\n%s", err, r.Text)
	}
}
