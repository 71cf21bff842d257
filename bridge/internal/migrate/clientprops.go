package migrate

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/nearest"
)

// A property is what a setting of Apache Kafka's Java clients or of librdkafka is here.
type property struct {
	key    string                            // in the section kafka
	value  func(text string) (string, error) // as YAML; nil: the text itself
	secret string                            // the variable that holds it instead
}

func properties() map[string]property {
	return map[string]property{
		"bootstrap.servers":                   {key: "brokers", value: asList},
		"metadata.broker.list":                {key: "brokers", value: asList},
		"client.id":                           {key: "client_id"},
		"client.rack":                         {key: "rack"},
		"ssl.ca.location":                     {key: "tls.ca"},
		"ssl.certificate.location":            {key: "tls.cert"},
		"ssl.key.location":                    {key: "tls.key"},
		"enable.ssl.certificate.verification": {key: "tls.insecure", value: asOpposite},
		"sasl.mechanism":                      {key: "sasl.mechanism", value: asMechanism},
		"sasl.mechanisms":                     {key: "sasl.mechanism", value: asMechanism},
		"sasl.username":                       {key: "sasl.username"},
		"sasl.password":                       {key: "sasl.password", secret: "KAFKA_PASSWORD"},
		"sasl.oauthbearer.client.id":          {key: "sasl.oauth.client_id"},
		"sasl.oauthbearer.client.secret":      {key: "sasl.oauth.client_secret", secret: "KAFKA_CLIENT_SECRET"},
		"sasl.oauthbearer.token.endpoint.url": {key: "sasl.oauth.token_endpoint"},
		"sasl.oauthbearer.scope":              {key: "sasl.oauth.scope"},
		"socket.timeout.ms":                   {key: "request_timeout", value: asMillis},
		"request.timeout.ms":                  {key: "request_timeout", value: asMillis},
		"retry.backoff.ms":                    {key: "retry_interval", value: asMillis},
		"compression.type":                    {key: "producer.compression"},
		"compression.codec":                   {key: "producer.compression"},
		"linger.ms":                           {key: "producer.linger", value: asMillis},
		"queue.buffering.max.ms":              {key: "producer.linger", value: asMillis},
		"queue.buffering.max.kbytes":          {key: "producer.max_buffered_bytes", value: asKiB},
		"buffer.memory":                       {key: "producer.max_buffered_bytes", value: asNumber},
		"message.max.bytes":                   {key: "producer.max_message_bytes", value: asNumber},
		"max.request.size":                    {key: "producer.max_message_bytes", value: asNumber},
		"partitioner":                         {key: "producer.partitioner", value: asPartitioner},
	}
}

// layout is the order in which the keys of the section kafka are written.
func layout() []string {
	return []string{
		"brokers", "client_id", "rack", "tls.ca", "tls.cert", "tls.key", "tls.insecure",
		"sasl.mechanism", "sasl.username", "sasl.password", "sasl.oauth.token_endpoint", "sasl.oauth.client_id", "sasl.oauth.client_secret", "sasl.oauth.scope",
		"request_timeout", "retry_interval",
		"producer.compression", "producer.linger", "producer.max_buffered_bytes", "producer.max_message_bytes", "producer.partitioner",
	}
}

// settled are properties for which Linkspan has no setting, because it always does the same: the values that mean this.
func settled() map[string][]string {
	return map[string][]string{
		"enable.idempotence":                    {"true"},
		"acks":                                  {"all", "-1"},
		"request.required.acks":                 {"all", "-1"},
		"allow.auto.create.topics":              {"true"},
		"security.protocol":                     {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"},
		"sasl.oauthbearer.method":               {"oidc", "default"},
		"ssl.endpoint.identification.algorithm": {"https"},
	}
}

// tuning are properties that change nothing of what arrives. Linkspan finds these things out by itself.
func tuning() []string {
	return strings.Fields(`retries message.send.max.retries delivery.timeout.ms message.timeout.ms batch.size batch.num.messages
		queue.buffering.max.messages queue.buffering.backpressure.threshold max.in.flight max.in.flight.requests.per.connection
		retry.backoff.max.ms reconnect.backoff.ms reconnect.backoff.max.ms compression.level sticky.partitioning.linger.ms
		socket.keepalive.enable socket.nagle.disable socket.send.buffer.bytes socket.receive.buffer.bytes socket.max.fails
		socket.connection.setup.timeout.ms connections.max.idle.ms send.buffer.bytes receive.buffer.bytes max.block.ms
		broker.address.ttl broker.address.family client.dns.lookup metadata.max.age.ms topic.metadata.refresh.interval.ms
		topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.sparse topic.metadata.propagation.max.ms
		api.version.request api.version.request.timeout.ms api.version.fallback.ms broker.version.fallback
		debug log_level log.connection.close log.queue log.thread.name statistics.interval.ms delivery.report.only.error
		key.serializer value.serializer enable.gapless.guarantee queuing.strategy`)
}

// remedies are for properties that are refused, where there is another way.
func remedies() map[string]string {
	return map[string]string{
		"ssl.key.password":        "Linkspan reads keys that are not encrypted: decrypt it with `openssl pkey -in KEY -out PLAIN-KEY`, and name that file",
		"ssl.key.pem":             "put it into a file and name that: ssl.key.location",
		"ssl.certificate.pem":     "put it into a file and name that: ssl.certificate.location",
		"ssl.ca.pem":              "put it into a file and name that: ssl.ca.location",
		"ssl.keystore.location":   "Linkspan reads PEM: convert it with `openssl pkcs12 -in STORE -out PEM -nodes`, and name that: ssl.certificate.location and ssl.key.location",
		"ssl.truststore.location": "Linkspan reads PEM: convert it with `openssl pkcs12` or `keytool -exportcert -rfc`, and name that: ssl.ca.location",
		"sasl.jaas.config":        "write sasl.username and sasl.password, or sasl.oauthbearer.client.id and .client.secret, in its place",
		"transactional.id":        "Linkspan writes idempotently, not in transactions",
	}
}

// clientProperties writes the section kafka for the properties of a Kafka client. where is what messages about them begin with.
func (p *page) clientProperties(where string, given map[string]string, errs *problems) {
	known, always, remedy := properties(), settled(), remedies()
	names := slices.Concat(slices.Collect(maps.Keys(known)), slices.Collect(maps.Keys(always)), tuning())
	values, secrets, unused := map[string]string{}, map[string]string{}, []string{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		text := given[name]
		is, ok := known[name]
		switch {
		case text == "":
		case ok && is.secret != "":
			secrets[is.key] = is.secret
		case ok:
			v, err := is.yaml(text)
			if err != nil {
				errs.add("%s%s: %q is %v", where, name, text, err)
			}
			values[is.key] = v
		case always[name] != nil:
			if !slices.Contains(always[name], strings.ToLower(text)) {
				p.differs(where+name, text, errs)
			}
		case slices.Contains(tuning(), name):
			unused = append(unused, name)
		case remedy[name] != "":
			errs.add("%s%s: has no equivalent; %s", where, name, remedy[name])
		default:
			hint := "take it out"
			if near, ok := nearest.To(name, names); ok {
				hint = "did you mean " + near + "?"
			}
			errs.add("%s%s: Linkspan has no setting that does what this does; %s", where, name, hint)
		}
	}
	encrypted, login := security(given["security.protocol"])
	p.unusedLogin(where, values, secrets, login)
	if len(unused) > 0 {
		p.note(where + list(unused) + ": left out. Records are sent again until they are stored, and the rest Linkspan finds out by itself.")
	}
	p.kafka(values, secrets, encrypted)
	if login && values["sasl.mechanism"] == "" {
		errs.add("%ssasl.mechanism: is missing; one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER", where)
	}
	if values["brokers"] == "" {
		errs.add("%sbootstrap.servers: is missing", where)
	}
}

// security reads security.protocol.
func security(protocol string) (encrypted, login bool) {
	protocol = strings.ToLower(protocol)
	return strings.HasSuffix(protocol, "ssl"), strings.HasPrefix(protocol, "sasl_")
}

// differs is for a property that asks for something else than what Linkspan always does.
func (p *page) differs(name, text string, errs *problems) {
	switch {
	case strings.HasSuffix(name, "security.protocol"), strings.HasSuffix(name, "sasl.oauthbearer.method"):
		errs.add("%s: %q is not available", name, text)
	case strings.HasSuffix(name, "identification.algorithm"):
		p.note(name + ": left out. The name in the brokers' certificates is verified; kafka.tls.server_name says which it is.")
	case strings.HasSuffix(name, "allow.auto.create.topics"):
		p.note(name + ": left out. Linkspan creates the topics that its routes need; topics: {create: false} under kafka turns that off.")
	default:
		p.note(name + ": " + text + " is left out. Linkspan writes idempotently and waits for all in-sync replicas, always: an ack means stored.")
	}
}

// unusedLogin drops a login that the client would not have used, and says so.
func (p *page) unusedLogin(where string, values, secrets map[string]string, login bool) {
	if login {
		return
	}
	said := false
	for _, m := range []map[string]string{values, secrets} {
		for key := range m {
			if strings.HasPrefix(key, "sasl.") {
				delete(m, key)
				said = true
			}
		}
	}
	if said {
		p.note(where + "sasl.*: left out. security.protocol is not SASL_SSL or SASL_PLAINTEXT, so the client did not log in either.")
	}
}

// kafka writes what was found, in the order of the layout.
func (p *page) kafka(values, secrets map[string]string, encrypted bool) {
	hasTLS := slices.ContainsFunc(slices.Collect(maps.Keys(values)), func(key string) bool { return strings.HasPrefix(key, "tls.") })
	if hasTLS && !encrypted {
		p.note("kafka: the settings ssl.* are left out. security.protocol is not SSL or SASL_SSL, so the client did not encrypt either.")
	}
	var walk func(prefix string)
	walk = func(prefix string) {
		done := map[string]bool{}
		for _, path := range layout() {
			rest, ok := strings.CutPrefix(path, prefix)
			key, _, deeper := strings.Cut(rest, ".")
			switch {
			case !ok || done[key]:
			case key == "tls" && !encrypted:
			case key == "tls" && !hasTLS:
				p.plain("tls", "{}")
				done[key] = true
			case deeper:
				p.section(key, func() { walk(prefix + key + ".") })
				done[key] = true
			case secrets[path] != "":
				p.secret(key, secrets[path])
			case values[path] != "":
				p.plain(key, values[path])
			}
		}
	}
	walk("")
}

func (is property) yaml(text string) (string, error) {
	if is.value == nil {
		return quote(literal(text)), nil
	}
	return is.value(text)
}

func asList(text string) (string, error) {
	var quoted []string
	for _, part := range splitList(text) {
		quoted = append(quoted, quote(literal(part)))
	}
	return "[" + strings.Join(quoted, ", ") + "]", nil
}

func asNumber(text string) (string, error) {
	if _, err := strconv.ParseUint(text, 10, 31); err != nil {
		return "", fmt.Errorf("not a whole number up to 2147483647")
	}
	return text, nil
}

func asKiB(text string) (string, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return "", fmt.Errorf("not a whole number up to 2147483647")
	}
	return strconv.FormatUint(n<<10, 10), nil
}

func asMillis(text string) (string, error) {
	ms, err := strconv.ParseFloat(text, 64)
	if err != nil || ms < 0 || ms > 1e9 {
		return "", fmt.Errorf("not a number of milliseconds")
	}
	return time.Duration(ms * float64(time.Millisecond)).String(), nil
}

func asOpposite(text string) (string, error) {
	v, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return "", fmt.Errorf("neither true nor false")
	}
	if v {
		return "", nil
	}
	return "true", nil
}

func asMechanism(text string) (string, error) {
	mechanism := strings.ToLower(text)
	if !slices.Contains([]string{"plain", "scram-sha-256", "scram-sha-512", "oauthbearer"}, mechanism) {
		return "", fmt.Errorf("none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER")
	}
	return mechanism, nil
}

func asPartitioner(text string) (string, error) {
	switch text {
	case "consistent", "consistent_random":
		return "crc32", nil
	case "murmur2", "murmur2_random":
		return "murmur2", nil
	}
	return "", fmt.Errorf("none of consistent, consistent_random, murmur2, murmur2_random")
}

// A strimziConfig is application.properties of the Strimzi MQTT bridge.
type strimziConfig struct {
	name       string
	host, port string
	maxBytes   string
	fallback   string
	kafka      map[string]string
}

// readProperties reads the file. Without one, the bridge's defaults hold.
func readProperties(f File) (strimziConfig, error) {
	c := strimziConfig{name: f.Name, host: "0.0.0.0", port: "1883", fallback: strimziDefault, kafka: map[string]string{"bootstrap.servers": "localhost:9092"}}
	var p problems
	lines := bufio.NewScanner(bytes.NewReader(f.Text))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		i := strings.IndexAny(line, "=:")
		if i < 0 {
			p.add("%s:%d: not KEY=VALUE", f.Name, number)
			continue
		}
		key, value := strings.TrimSpace(line[:i]), strings.TrimSpace(line[i+1:])
		kafka, isKafka := strings.CutPrefix(key, "kafka.")
		switch {
		case key == "bridge.id":
			c.kafka["client.id"] = value
		case key == "bridge.topic.default":
			c.fallback = value
		case key == "mqtt.server.host" || key == "mqtt.host":
			c.host = value
		case key == "mqtt.server.port" || key == "mqtt.port":
			c.port = value
		case key == "mqtt.max.bytes.message":
			c.maxBytes = value
		case isKafka:
			c.kafka[strings.TrimPrefix(kafka, "producer.")] = value
		default:
			p.add("%s:%d: %s is not a setting of the Strimzi MQTT bridge", f.Name, number, key)
		}
	}
	if lines.Err() != nil {
		p.add("%s: %v", f.Name, lines.Err())
	}
	return c, p.err()
}
