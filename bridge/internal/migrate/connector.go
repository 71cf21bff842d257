package migrate

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A mapping is one entry of connector's topic lists.
type mapping struct{ filter, topic string }

// connector is what its environment variables say.
type connector struct {
	page
	problems
	environ map[string]string
	exact   []mapping
	wild    []mapping // in the configured order
}

// Connector makes a configuration from the environment of connector (github.com/aiproshar/connector). environ has the form
// of os.Environ; of a variable that is there twice, the last counts.
func Connector(environ []string) (Result, error) {
	c := connector{environ: map[string]string{}}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		c.environ[name] = value
	}
	c.lists()
	c.comment("Linkspan's configuration for what connector's environment variables say.")
	c.blank()
	c.section("kafka", c.kafka)
	c.blank()
	c.section("endpoints", func() { c.section(endpoint, c.broker) })
	c.blank()
	c.section("spool", c.store)
	c.blank()
	c.section("routes", c.routes)
	c.blank()
	c.section("fleet", c.alone)
	c.blank()
	c.section("log", c.log)
	return c.done(), c.err()
}

// required returns a variable that connector does not start without; it may be empty.
func (c *connector) required(name string) string {
	value, ok := c.environ[name]
	if !ok {
		c.problems.add("%s: the environment has no such variable; connector requires it", name)
	}
	return value
}

// integer returns a variable that has to be a whole number; false if it is not there.
func (c *connector) integer(name string) (int, bool) {
	text, ok := c.environ[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		c.problems.add("%s: %q is not a whole number", name, text)
	}
	return n, err == nil
}

func (c *connector) kafka() {
	brokers := splitList(c.required("KAFKA_BROKER"))
	if _, ok := c.environ["KAFKA_BROKER"]; ok && len(brokers) == 0 {
		c.problems.add("KAFKA_BROKER: is empty; write host:port")
	}
	c.list("brokers", brokers)
	switch login := c.environ["SASL_SSL"]; login {
	case "", "false":
		if _, ok := c.environ["SASL_SSL"]; ok && login == "" {
			c.problems.add("SASL_SSL: is empty; write true or false")
		}
	case "true":
		c.plain("tls", "{}")
		c.section("sasl", func() {
			c.set("mechanism", "oauthbearer")
			c.section("oauth", func() {
				c.set("token_endpoint", c.required("SASL_OAUTHBEARER_TOKEN_ENDPOINT_URI"))
				c.set("client_id", c.required("SASL_OAUTHBEARER_CLIENT_ID"))
				c.required("SASL_OAUTHBEARER_CLIENT_SECRET")
				c.secret("client_secret", "SASL_OAUTHBEARER_CLIENT_SECRET")
			})
		})
	default:
		c.problems.add("SASL_SSL: %q is neither true nor false", login)
	}
	c.retry()
}

func (c *connector) broker() {
	c.set("dial", c.url(c.required("MQTT_BROKER_URL"), c.required("MQTT_BROKER_PORT")))
	id, user := c.required("MQTT_CLIENT_ID"), c.required("MQTT_USER_NAME")
	password := c.required("MQTT_USER_PASSWORD")
	c.set("client_id", id)
	if id == "" {
		c.note("MQTT_CLIENT_ID is empty; Linkspan chooses a fixed client identifier, so that the broker keeps what it sends while Linkspan is away.")
	}
	if user != "" {
		c.set("username", user)
		c.secret("password", "MQTT_USER_PASSWORD")
	} else if password != "" {
		c.note("MQTT_USER_PASSWORD is not used, because MQTT_USER_NAME is empty.")
	}
}

// maxRetry is the longest time between two attempts that Linkspan takes, and topicWait how long it waits for a topic where nothing
// is said; the first may not be longer than the second.
const (
	maxRetry  = 300
	topicWait = 15
)

// retry says how often Kafka is tried (CON-A6).
func (c *connector) retry() {
	seconds, ok := c.integer("INVOKE_LATENCY_SEC")
	switch {
	case !ok:
	case seconds < 1:
		c.note(fmt.Sprintf("INVOKE_LATENCY_SEC: %d is no time to wait; Linkspan's own 200ms are taken.", seconds))
	default:
		wait := min(seconds, maxRetry)
		c.comment("INVOKE_LATENCY_SEC: the least time between two attempts while Kafka is away.")
		c.plain("retry_interval", strconv.Itoa(wait)+"s")
		if wait > topicWait {
			c.section("producer", func() { c.plain("unknown_topic_timeout", strconv.Itoa(wait)+"s") })
		}
		if wait < seconds {
			c.note(fmt.Sprintf("INVOKE_LATENCY_SEC: %d is more than the longest that Linkspan takes, %d.", seconds, maxRetry))
		}
	}
}

// stored reports whether connector keeps on disk what Kafka did not take.
func (c *connector) stored() bool { return c.environ["DB_PERSIST_PATH"] != "" }

// store says where messages wait for Kafka, and how they are taken from there (CON-A4, A6, A7).
func (c *connector) store() {
	most, limited := c.integer("INVOKE_MAX_GOROUTINE")
	least, refilled := c.integer("INVOKE_MIN_GOROUTINE")
	if !c.stored() {
		c.note("DB_PERSIST_PATH is not set: as with connector, a message is acknowledged when it is in memory (ack: memory), and what Kafka does not have yet is lost with the process. " +
			"Set DB_PERSIST_PATH to a directory, and nothing that was acknowledged is. INVOKE_MAX_GOROUTINE and INVOKE_MIN_GOROUTINE are about what is stored on disk, and have nothing to do here.")
		c.plain("dir", `"off"`)
		return
	}
	dir := path.Join(path.Dir(c.environ["DB_PERSIST_PATH"]+"default.db"), "spool") // as connector puts the two together
	c.comment("DB_PERSIST_PATH: what Kafka does not take is on this disk before it is acknowledged.")
	c.set("dir", dir)
	c.section("drain", func() {
		if limited {
			c.comment("INVOKE_MAX_GOROUTINE: how many messages out of the store are on their way to Kafka at a time.")
			c.plain("max_in_flight", strconv.Itoa(max(most, 1)))
		}
		if refilled {
			c.comment("INVOKE_MIN_GOROUTINE: how few of them there are when more are read.")
			c.plain("refill", strconv.Itoa(min(max(least, 1), max(most, 1)-1)))
		}
	})
	if limited && refilled && (most < 1 || least < 0 || least >= most) {
		c.note("INVOKE_MAX_GOROUTINE, INVOKE_MIN_GOROUTINE: the first has to be at least 1, and the second less than the first; the nearest that is possible is taken.")
	}
	c.note(fmt.Sprintf("DB_PERSIST_PATH: the store is another one, in %s. What connector has left in default.db is not taken over: let connector empty it first.", dir))
}

// alone says that nobody else runs with these settings: connector knows no others.
func (c *connector) alone() {
	c.comment("One process: the broker is dialled also while Kafka is away from the start. Take this away before a second one runs beside it.")
	c.plain("alone", "true")
}

// url is where the broker is. connector takes a host and a port.
func (c *connector) url(host, port string) string {
	scheme := "mqtt"
	if u, err := url.Parse(host); err == nil && strings.Contains(host, "://") {
		schemes := map[string]string{"tcp": "mqtt", "mqtt": "mqtt", "ssl": "mqtts", "tls": "mqtts", "mqtts": "mqtts", "ws": "ws", "wss": "wss"}
		if scheme = schemes[u.Scheme]; scheme == "" {
			c.problems.add("MQTT_BROKER_URL: %s is none of tcp, ssl, ws, wss; the host alone is enough", u.Scheme)
		}
		host = u.Hostname()
	}
	if _, ok := c.environ["MQTT_BROKER_URL"]; ok && host == "" {
		c.problems.add("MQTT_BROKER_URL: names no host")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
		if _, ok := c.environ["MQTT_BROKER_PORT"]; ok {
			c.problems.add("MQTT_BROKER_PORT: %q is no port", port)
		}
	}
	return scheme + "://" + net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// lists reads the two lists of topics.
func (c *connector) lists() {
	for _, name := range []string{"TOPIC_LIST", "WILDCARD_TOPIC_LIST"} {
		for i, entry := range strings.Split(c.environ[name], ",") {
			parts := strings.Split(entry, ":")
			switch {
			case entry == "" && c.environ[name] == "":
				continue
			case len(parts) < 2 || parts[0] == "" || parts[1] == "":
				c.tell(fmt.Sprintf("%s: entry %d, %q, is not MQTT-TOPIC:KAFKA-TOPIC and is passed over.", name, i+1, entry))
				continue
			case len(parts) > 2:
				c.tell(fmt.Sprintf("%s: entry %d, %q, has more than one colon; what follows the second is passed over.", name, i+1, entry))
			}
			m := mapping{parts[0], parts[1]}
			into := &c.exact
			if strings.ContainsAny(m.filter, "+#") {
				into = &c.wild
			}
			if slices.ContainsFunc(*into, func(o mapping) bool { return o.filter == m.filter }) {
				c.tell(fmt.Sprintf("%s: %s is there twice; the first one counts.", name, m.filter))
				continue
			}
			*into = append(*into, m)
		}
	}
	if len(c.exact)+len(c.wild) == 0 {
		c.problems.add("TOPIC_LIST, WILDCARD_TOPIC_LIST: neither maps a topic; write TOPIC_LIST=MQTT-TOPIC:KAFKA-TOPIC,...")
	}
}

// routes writes the exact topics before the wildcards, so that exact ones win (CON-A1), and the wildcards in the order in which they
// were configured, so that the first of several wins (CON-A2).
func (c *connector) routes() {
	c.comment("The first route that matches takes a message. Records have the MQTT topic as their key, so that each topic keeps its order, and in the header mqtt.topic.")
	for _, m := range slices.Concat(c.exact, c.wild) {
		c.entry(func() {
			c.set("from", endpoint+":"+verbatim(m.filter))
			c.set("to", "kafka:"+verbatim(m.topic))
			if !c.stored() {
				c.plain("ack", "memory")
			}
		})
	}
	var overlaps []string
	for i, m := range c.wild {
		var later []string
		for _, o := range c.wild[i+1:] {
			if overlap(m.filter, o.filter) {
				later = append(later, o.filter)
			}
		}
		if later != nil {
			overlaps = append(overlaps, fmt.Sprintf("%s (to %s) before %s", m.filter, m.topic, list(later)))
		}
	}
	if overlaps != nil {
		c.note("WILDCARD_TOPIC_LIST: filters overlap. A topic that several match gives one record, by the first in the list: " + strings.Join(overlaps, "; ") + ".")
	}
}

// log maps the seven levels of connector (CON-A10). It logs nothing at panic and fatal but its own end.
func (c *connector) log() {
	level, ok := c.environ["LOG_LVL"]
	switch level {
	case "trace", "debug", "info", "warn", "error":
	case "panic", "fatal":
		c.comment("LOG_LVL=" + level + ": errors are the least that is logged.")
		level = "error"
	default:
		if !ok {
			level = "warn"
			break
		}
		c.note(fmt.Sprintf("LOG_LVL: %q is none of panic, fatal, error, warn, info, debug, trace; info is taken.", level))
		level = "info"
	}
	c.plain("level", level)
}

// list writes words as people do: a, b and c.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// splitList cuts at commas; spaces and empty parts are dropped.
func splitList(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}
