package migrate

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/bridge/internal/strict"
)

// unsSettings is settings.yaml and .secrets.yaml of the UNS Kafka mapper.
type unsSettings struct {
	MQTT  unsMQTT `yaml:"mqtt"`
	Kafka struct {
		Config map[string]string `yaml:"config"`
	} `yaml:"kafka"`
	Merge pythonBool `yaml:"dynaconf_merge"`
}

type unsMQTT struct {
	Host        string              `yaml:"host"`
	Port        uint16              `yaml:"port"`
	Username    string              `yaml:"username"`
	Password    string              `yaml:"password"`
	Topics      []string            `yaml:"topics"`
	QoS         int                 `yaml:"qos"`
	KeepAlive   int                 `yaml:"keep_alive"`
	Version     int                 `yaml:"version"`
	Transport   string              `yaml:"transport"`
	Clean       pythonBool          `yaml:"clean_session"`
	Reconnect   pythonBool          `yaml:"reconnect_on_failure"`
	Ignored     map[string][]string `yaml:"ignored_attributes"`
	TimestampAt string              `yaml:"timestamp_attribute"`
	TLS         unsTLS              `yaml:"tls"`
}

type unsTLS struct {
	CACerts     string     `yaml:"ca_certs"`
	CertFile    string     `yaml:"certfile"`
	KeyFile     string     `yaml:"keyfile"`
	KeyPassword string     `yaml:"keyfile_password"`
	Ciphers     string     `yaml:"ciphers"`
	CertReqs    pythonBool `yaml:"cert_reqs"`
	AnyName     pythonBool `yaml:"insecure_cert"`
}

// A pythonBool is a truth value as Python's YAML has it, or nothing.
type pythonBool string

func (b *pythonBool) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "true", "yes", "on", "1":
		*b = "true"
	case "false", "no", "off", "0":
		*b = "false"
	default:
		return errors.New("must be true or false")
	}
	return nil
}

type uns struct {
	page
	problems
	unsSettings
}

// UNS makes a configuration from settings.yaml and .secrets.yaml of the UNS Kafka mapper (github.com/mkashwin/unifiednamespace); the
// second may be empty. Variables of environ that begin with UNS_ are put over both, as there: UNS_mqtt__host is mqtt.host.
func UNS(settings, secrets File, environ []string) (Result, error) {
	var u uns
	u.MQTT = unsMQTT{Port: 1883, QoS: 2, KeepAlive: 60, Version: 5, Transport: "tcp"} // its code's defaults
	d := &strict.Decoder{Verbatim: true}
	for _, f := range []File{settings, secrets} {
		if f.Name != "" {
			d.File(f.Name, f.Text, &u.unsSettings)
		}
	}
	d.Environ("UNS_", unsVariables(environ), &u.unsSettings)
	if err := d.Err(); err != nil {
		return Result{}, err
	}
	u.check()
	u.comment("Linkspan's configuration for " + settings.Name + " of the UNS Kafka mapper.")
	u.blank()
	u.section("kafka", func() { u.clientProperties("kafka.config.", u.Kafka.Config, &u.problems) })
	u.blank()
	u.section("endpoints", func() { u.section(endpoint, u.broker) })
	u.blank()
	u.section("routes", u.routes)
	return u.done(), u.err()
}

// unsVariables writes the variables of the mapper as our own are: one underscore for a level, values without dynaconf's marks. Those
// of its sister programs, such as UNS_graphdb__url, are left out.
func unsVariables(environ []string) (out []string) {
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		name = strings.ToUpper(strings.ReplaceAll(name, "__", "_"))
		if !strings.HasPrefix(name, "UNS_MQTT_") && !strings.HasPrefix(name, "UNS_KAFKA_") {
			continue
		}
		for _, mark := range []string{"@json ", "@str ", "@int ", "@bool "} {
			value = strings.TrimPrefix(value, mark)
		}
		out = append(out, name+"="+value)
	}
	return out
}

func (u *uns) check() {
	m := &u.MQTT
	if m.Host == "" {
		u.problems.add("mqtt.host: is missing")
	}
	if m.QoS < 0 || m.QoS > 2 {
		u.problems.add("mqtt.qos: %d is none of 0, 1, 2", m.QoS)
	}
	if m.KeepAlive < 0 || m.KeepAlive > math.MaxUint16 {
		u.problems.add("mqtt.keep_alive: %d is not between 0 and 65535", m.KeepAlive)
	}
	if m.Version < 3 || m.Version > 5 {
		u.problems.add("mqtt.version: %d is none of 3 (MQTT 3.1), 4 (MQTT 3.1.1), 5", m.Version)
	}
	if m.Transport != "tcp" && m.Transport != "websockets" {
		u.problems.add("mqtt.transport: %q is none of tcp, websockets", m.Transport)
	}
	if len(m.Topics) == 0 {
		m.Topics = []string{"#"}
	}
}

func (u *uns) broker() {
	m := &u.MQTT
	encrypted := m.TLS.CACerts != ""
	scheme := "mqtt"
	if m.Transport == "websockets" {
		scheme = "ws"
	}
	if encrypted {
		scheme += "s"
	}
	u.set("dial", scheme+"://"+net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port))))
	u.set("version", map[int]string{3: "3.1", 4: "3.1.1", 5: "5"}[m.Version])
	if m.Username != "" {
		u.set("username", m.Username)
		if m.Password != "" {
			u.secret("password", "MQTT_PASSWORD")
		}
	} else if m.Password != "" {
		u.note("mqtt.password: left out, because there is no mqtt.username.")
	}
	if encrypted {
		u.section("tls", u.tls)
	} else if m.TLS != (unsTLS{}) {
		u.note("mqtt.tls: left out. Without ca_certs the mapper did not encrypt; write dial: mqtts://... and tls: here to do so.")
	}
	u.plain("qos", strconv.Itoa(m.QoS))
	if m.KeepAlive == 0 {
		u.note("mqtt.keep_alive: 0, no keep-alive, is left out; Linkspan finds a dead connection by its own, 30s.")
	} else {
		u.plain("keep_alive", strconv.Itoa(m.KeepAlive)+"s")
	}
	u.sessions()
}

// sessions says how the broker keeps a session. The mapper has a new client identifier at each start, and so none.
func (u *uns) sessions() {
	u.comment("The client identifier is a fixed one, so that the broker keeps what it has for Linkspan while it is away. The mapper's was new at each start.")
	switch clean := u.MQTT.Clean; {
	case clean != "" && u.MQTT.Version == 5:
		u.note("mqtt.clean_session: left out; with MQTT 5 the mapper did not use it either.")
	case clean == "true":
		u.note("mqtt.clean_session: what is published while Linkspan is not connected is lost, as it says; leave out clean_start and session_expiry to keep it.")
		u.plain("clean_start", "true")
		u.plain("session_expiry", "0s")
	}
	if u.MQTT.Reconnect == "false" {
		u.note("mqtt.reconnect_on_failure: left out. Linkspan connects again, always.")
	}
}

func (u *uns) tls() {
	t := &u.MQTT.TLS
	u.set("ca", t.CACerts)
	if (t.CertFile == "") != (t.KeyFile == "") {
		u.problems.add("mqtt.tls.certfile, keyfile: one without the other; set both, to the same file if it holds both")
	}
	u.set("cert", t.CertFile)
	u.set("key", t.KeyFile)
	if t.KeyPassword != "" {
		u.secret("key_password", "MQTT_KEY_PASSWORD")
	}
	u.ciphers(t.Ciphers)
	if t.AnyName == "true" {
		u.comment("insecure_cert: the broker's certificate may have any name.")
		u.plain("any_name", "true")
	}
	if t.CertReqs == "" {
		u.note("mqtt.tls.cert_reqs is not set, and so the mapper did not verify the broker's certificate. Linkspan does, with ca; insecure: true would turn that off.")
	}
}

// ciphers translates OpenSSL's names into those of the registry.
func (u *uns) ciphers(text string) {
	var names []string
	known := cipherNames()
	for name := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		switch iana := known[name]; {
		case strings.HasPrefix(name, "TLS_"):
			u.note("mqtt.tls.ciphers: " + name + " is left out; those of TLS 1.3 are always available.")
		case iana != "":
			names = append(names, iana)
		default:
			u.problems.add("mqtt.tls.ciphers: %s is not available; those that are: %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
	u.list("ciphers", names)
}

func cipherNames() map[string]string {
	return map[string]string{
		"ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
		"ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
		"ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		"ECDHE-RSA-AES128-GCM-SHA256":   "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
		"ECDHE-RSA-AES256-GCM-SHA384":   "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		"ECDHE-RSA-CHACHA20-POLY1305":   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
		"ECDHE-ECDSA-AES128-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
		"ECDHE-ECDSA-AES256-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
		"ECDHE-RSA-AES128-SHA":          "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
		"ECDHE-RSA-AES256-SHA":          "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
		"AES128-GCM-SHA256":             "TLS_RSA_WITH_AES_128_GCM_SHA256",
		"AES256-GCM-SHA384":             "TLS_RSA_WITH_AES_256_GCM_SHA384",
		"AES128-SHA":                    "TLS_RSA_WITH_AES_128_CBC_SHA",
		"AES256-SHA":                    "TLS_RSA_WITH_AES_256_CBC_SHA",
	}
}

func (u *uns) routes() {
	u.comment("/ in the MQTT topic is . in the name of the Kafka topic. Records have the MQTT topic as their key and in the header mqtt.topic; payloads are carried as they are.")
	for _, filter := range u.MQTT.Topics {
		u.entry(func() {
			u.set("from", endpoint+":"+verbatim(filter))
			u.set("to", "kafka:{topic}")
			u.plain("names", "dot")
		})
	}
	sparkplug := slices.ContainsFunc(u.MQTT.Topics, func(f string) bool { return overlap(f, "spBv1.0/#") })
	if sparkplug {
		u.note("Sparkplug: payloads of spBv1.0/# are carried as they are, in protobuf. The mapper wrote them as text.")
	}
	for _, filter := range slices.Sorted(maps.Keys(u.MQTT.Ignored)) {
		u.note(fmt.Sprintf("mqtt.ignored_attributes: %s of %s: not taken out. Payloads are carried as they are.", list(u.MQTT.Ignored[filter]), filter))
	}
	if at := u.MQTT.TimestampAt; at != "" {
		u.comment("mqtt.timestamp_attribute: left out. The Kafka mapper did not use it; the record's timestamp is the time when the message came in.")
	}
}
