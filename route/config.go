package route

import (
	"strings"
	"time"
)

// Config is one entry of `routes`: which messages it takes, and what becomes of them on the other side. Routes are
// ordered, and the first that matches takes the message. docs/mapping.md has the whole language.
type Config struct {
	// Name is what metrics, logs and `explain` call the route, and under which its messages wait in the spool. Default: "route-N",
	// counted from 1, which changes when a route is put before it.
	Name string `yaml:"name,omitempty"`
	// From says which messages the route takes. On the way up PROTOCOL:FILTER (mqtt:sensors/{site}/#) for all endpoints of
	// a protocol, or NAME:FILTER for one endpoint; on the way down kafka:TOPIC, kafka:sensors.{site} or kafka:/regexp/.
	From string `yaml:"from"`
	// To says where they go: kafka:TEMPLATE on the way up, PROTOCOL:TEMPLATE or NAME:TEMPLATE on the way down.
	To string `yaml:"to"`
	// Key is the template of the Kafka record's key. "" is no key: Kafka's partitioner chooses. Default: for MQTT "{topic}", which
	// keeps the messages of one topic in order; for AMQP the key that the sender asks for, else none. Way up only.
	Key *string `yaml:"key,omitempty"`
	// Partition is a template of the Kafka partition's number, such as "{partition client 12}". Default: the one that an AMQP sender
	// asks for, else by the key. Way up only.
	Partition string `yaml:"partition,omitempty"`
	// Facts are the facts that are written into headers: all, none, or some of topic, client, username, qos, retain,
	// received, payload-format, content-type, response-topic, correlation-data, expiry, user, amqp. Default: all. Way up only.
	Facts []string `yaml:"facts,omitempty"`
	// Headers are templates of further headers, by name. Way up only.
	Headers map[string]string `yaml:"headers,omitempty"`
	// Names is the rule by which an MQTT topic or AMQP address becomes a Kafka topic name, and back: dot, underscore, escape or plain.
	// Default: dot.
	Names string `yaml:"names,omitempty"`
	// Codec is the form that AMQP messages have in Kafka: native, default, json or raw; docs/mapping.md tells of each. Default: that of
	// the endpoint. MQTT knows only one form, and passes it by.
	Codec string `yaml:"codec,omitempty"`
	// QoS is the quality of service on the way down, 0 to 2, of which a subscription may ask for less. Default: that
	// of the record's mqtt.qos header, else 1. Way down only.
	QoS *int `yaml:"qos,omitempty"`
	// Retain says whether brokers keep the message for new subscribers. Default: as the record's mqtt.retain header says,
	// else false. Way down only.
	Retain *bool `yaml:"retain,omitempty"`
	// Device is a template of the name of the device that a message is from or for: on the way up such as "{device}" for a
	// level that from names, on the way down such as "{key}". What comes up tells where the device is; what goes down
	// to several endpoints, one of which dials a broker, goes only there. Listeners have it in any case: their
	// devices say themselves what they want. Default: "", the route does not tell.
	Device string `yaml:"device,omitempty"`
	// Presence says that the messages of the route tell whether their device is there. Needs device. Way up only.
	Presence *Presence `yaml:"presence,omitempty"`
	// Retained says what becomes of messages that a broker had retained from earlier: take or skip. They come again with
	// each new subscription to it. Default: take, with the header mqtt.retain. Way up only, from endpoints that dial.
	Retained string `yaml:"retained,omitempty"`
	// Unknown says what becomes of a record whose device nobody has seen: park (it waits until the device is seen), flood
	// (it goes to all endpoints of the route) or dead-letter. Default: park. Way down only, with device.
	Unknown string `yaml:"unknown,omitempty"`
	// ParkFor is how long a record waits for its device before it goes to the dead letter topic. Default: 0, as the fleet
	// is configured. Way down only, with device.
	ParkFor time.Duration `yaml:"park_for,omitempty"`
	// Expiry is the longest time for which a message is of use, counted from when it was received, in whole seconds. A
	// message that says less keeps its own. Default: 0, no limit.
	Expiry time.Duration `yaml:"expiry,omitempty"`
	// Ack says when a message is acknowledged to its sender: kafka-else-spool (all in-sync replicas of Kafka have it, or, while
	// Kafka does not answer, it is synced to the local disk), kafka (Kafka has it, and never before), spool (it is synced
	// to the local disk, through which every message goes) or memory (nobody but this process has it: what is not in Kafka yet is lost when
	// the process ends). Default: kafka-else-spool; without a spool that is kafka. Way up only.
	Ack string `yaml:"ack,omitempty"`
	// Full says what becomes of a message while the spool is full: hold (it stays with its sender, unacknowledged), refuse (the sender is
	// told: MQTT 5, quota exceeded), drop-oldest (the oldest messages of the route in the spool are dropped for it) or drop-newest
	// (it is acknowledged and dropped). What is dropped is counted, and /readyz says so. Default: hold. Way up only.
	Full string `yaml:"full,omitempty"`
	// MaxTopics is how many Kafka topics a `to` with placeholders may make: messages that need one more are refused.
	// Default: 1000. Way up only.
	MaxTopics int `yaml:"max_topics,omitempty"`
	// Partitions is how many partitions the Kafka topics get that have to be made. Default: 0, as Kafka is configured.
	Partitions int32 `yaml:"partitions,omitempty"`
	// Replication is how many replicas they get. Default: 0, as Kafka is configured.
	Replication int16 `yaml:"replication,omitempty"`
}

// Presence is how the messages of a route tell whether a device is there.
type Presence struct {
	// Offline are the payloads that say that the device has left, such as its will; "" is the empty one. Any other says
	// that it is there. Required.
	Offline []string `yaml:"offline"`
}

// Options are what the routes of a [Table] share.
type Options struct {
	// Endpoints are those that routes may name.
	Endpoints []Endpoint
	// Default takes what no other route takes, of all endpoints; its From stays empty. nil: such messages are refused with
	// [linkspan.ErrNoRoute].
	Default *Config
	// NewTopic is told of a Kafka topic that a `to` with placeholders needs, once and before the first record for it. It is
	// called on the way of a message and must not block. nil: nobody is told.
	NewTopic func(TopicSpec)
	// MaxHops is how often a message may come up to Kafka before it is taken for one that goes round. Default: 8.
	MaxHops int
	// CacheSize is how many topics each direction remembers, at about 400 bytes each. Default: 32,768.
	CacheSize int
}

// An Endpoint is a configured place where messages enter or leave.
type Endpoint struct {
	Name     string
	Protocol string // mqtt or amqp, whatever it runs over
	Client   bool   // it dials a broker; the others are listeners
}

// A TopicSpec is a Kafka topic that a route needs.
type TopicSpec struct {
	Name        string
	Partitions  int32 // 0: as Kafka is configured
	Replication int16 // 0: as Kafka is configured
}

// amqp is a protocol of endpoints.
const amqp = "amqp"

const (
	defaultMaxTopics = 1000
	defaultMaxHops   = 8
	defaultCacheSize = 32768
	defaultQoS       = 1
)

// DefaultRoutes returns the routes of a configuration that has none: everything published over MQTT goes to mqtt.messages with its
// topic as the key and reaches the subscribers from there, records of mqtt.commands go to the topic in their key, and what is sent
// over AMQP goes to the Kafka topic that its address names.
func DefaultRoutes() []Config {
	topic := "{topic}"
	return []Config{
		{Name: "messages-up", From: "mqtt:#", To: "kafka:mqtt.messages", Key: &topic},
		{Name: "messages-down", From: "kafka:mqtt.messages", To: "mqtt:{key}"},
		{Name: "commands", From: "kafka:mqtt.commands", To: "mqtt:{key}"},
		addressRoute(),
	}
}

// addressRoute has the address of an AMQP message name its Kafka topic, as it is, but for a slash, which is a dot there.
func addressRoute() Config {
	return Config{Name: "addresses", From: "amqp:{address...}", To: "kafka:{address}", Names: "plain"}
}

// Complete returns routes, and behind them the one of [DefaultRoutes] for AMQP if an AMQP listener is there and neither a route nor a
// default route says where its messages go.
func Complete(routes []Config, standard *Config, endpoints []Endpoint) []Config {
	if standard != nil {
		return routes
	}
	listens := false
	for _, e := range endpoints {
		if e.Protocol != amqp || e.Client {
			continue
		}
		listens = true
		for i := range routes {
			if from, _, _ := strings.Cut(routes[i].From, ":"); from == amqp || from == e.Name {
				return routes
			}
		}
	}
	if !listens {
		return routes
	}
	return append(routes[:len(routes):len(routes)], addressRoute())
}
