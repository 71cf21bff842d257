package route

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// An Error is one mistake in a route, with its place.
type Error struct {
	Route int    // index in `routes`, -1 for `default_route`
	Key   string // the setting: "from", "headers.site" ...
	Err   error  // what is wrong, and the remedy
}

// Error tells place and mistake, such as: routes[2].to: there is no {devcie} here; did you mean device?
func (e *Error) Error() string {
	if e.Route < 0 {
		return fmt.Sprintf("default_route.%s: %v", e.Key, e.Err)
	}
	return fmt.Sprintf("routes[%d].%s: %v", e.Route, e.Key, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// A route is one compiled entry of the configuration.
type route struct {
	index  int
	name   string
	config Config
	down   bool
	rule   naming

	// Way up: what is taken from which endpoints.
	endpoints    []string
	filter       *filter
	skipRetained bool
	// Way down: what is taken, and the one endpoint that it is for, "" for all.
	pattern   *pattern
	target    string
	listeners []string // the endpoints that it reaches, by their kind
	clients   []string
	located   bool // it goes to the one of them where the device is
	unknown   Unknown

	topic     *template // of the topic on the other side
	key       *template // nil: no key
	ownKey    bool      // the route itself says which; else an AMQP sender does
	partition *template // nil: the partitioner's choice
	device    *template // nil: it does not tell
	offline   []string  // payloads that say that the device has left
	facts     facts
	headers   []header
	seed      maphash.Seed
	names     [64]atomic.Pointer[userName] // of headers of user properties

	topics *topicSet // the Kafka topics of a `to` with placeholders; nil: it is one
	counts *counts
}

// A header is one that the route itself writes.
type header struct {
	name  string
	value *template
}

// A topicSet is the Kafka topics that a route has made or found.
type topicSet struct {
	mu    sync.RWMutex
	names map[string]string // to itself, so that a name in a buffer finds its string
}

// A compiler turns one Config into a route, and collects what is wrong with it.
type compiler struct {
	index     int
	config    *Config
	endpoints []Endpoint
	errs      []error
}

// fail notes a mistake; nil is none.
func (c *compiler) fail(key string, err error) bool {
	if err != nil {
		c.errs = append(c.errs, &Error{c.index, key, err})
	}
	return err != nil
}

func (c *compiler) compile() *route {
	r := &route{index: c.index, name: c.config.Name, config: *c.config, counts: new(counts), seed: maphash.MakeSeed()}
	if r.name == "" {
		r.name = "route-" + strconv.Itoa(c.index+1)
	}
	var err error
	r.rule, err = newNaming(c.config.Names)
	c.fail("names", err)
	if c.config.Expiry < 0 || c.config.Expiry > math.MaxUint32*time.Second || c.config.Expiry%time.Second != 0 {
		c.fail("expiry", fmt.Errorf("%v is no expiry: whole seconds, 0 for none, at most %d", c.config.Expiry, uint32(math.MaxUint32)))
	}
	if c.config.Partitions < 0 || c.config.Replication < 0 {
		c.fail("partitions", errors.New("partitions and replication are 0 (as Kafka is configured) or more"))
	}
	from, fromRest, okFrom := c.split("from", c.config.From)
	to, toRest, okTo := c.split("to", c.config.To)
	switch {
	case !okFrom || !okTo:
	case from == "kafka" && to == "kafka":
		c.fail("to", errors.New("a route joins Kafka with devices: one of from and to names a protocol or an endpoint"))
	case from != "kafka" && to != "kafka":
		c.fail("to", errors.New("a route joins devices with Kafka: write one to kafka:TOPIC and one from it; devices reach each other through Kafka"))
	case to == "kafka":
		c.up(r, from, fromRest, toRest)
	default:
		c.down(r, fromRest, to, toRest)
	}
	return r
}

// split cuts "kafka:rest" in two.
func (c *compiler) split(key, text string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(text, ":")
	switch {
	case text == "":
		c.fail(key, errors.New("it is missing: write mqtt:FILTER, ENDPOINT:FILTER or kafka:TOPIC"))
	case !ok:
		c.fail(key, fmt.Errorf("%q does not say of what: write mqtt:%[1]s, ENDPOINT:%[1]s or kafka:%[1]s", text))
	case strings.HasPrefix(rest, "//") && !slices.ContainsFunc(c.endpoints, func(e Endpoint) bool { return e.Name == scheme }):
		ok = !c.fail(key, fmt.Errorf("%q is a URL: write the endpoint's name, or its protocol, and a topic; the name, if the topic begins with //", text))
	}
	return scheme, rest, ok && text != ""
}

// resolve returns the endpoints that a protocol or name stands for.
func (c *compiler) resolve(key, scheme string) (names []string) {
	known := []string{"mqtt", amqp, "kafka"}
	for _, e := range c.endpoints {
		if e.Name == scheme || e.Protocol == scheme {
			names = append(names, e.Name)
		}
		known = append(known, e.Name)
	}
	if names == nil && scheme != "mqtt" && scheme != amqp {
		c.fail(key, fmt.Errorf("there is no endpoint %q%s (%s)", scheme, meant(scheme, known), strings.Join(known, ", ")))
	}
	return names
}

// refuse reports the settings that make no sense in this direction.
func (c *compiler) refuse(way string, set map[string]bool) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if set[key] {
			c.fail(key, fmt.Errorf("it means nothing on the way %s: take it away", way))
		}
	}
}

func (c *compiler) up(r *route, from, filter, to string) {
	c.refuse("up", map[string]bool{
		"qos": c.config.QoS != nil, "retain": c.config.Retain != nil, "unknown": c.config.Unknown != "", "park_for": c.config.ParkFor != 0,
	})
	c.presence(r)
	c.retained(r, from)
	if c.index < 0 {
		for _, e := range c.endpoints {
			r.endpoints = append(r.endpoints, e.Name)
		}
	} else {
		r.endpoints = c.resolve("from", from)
	}
	c.codec(from, r.endpoints)
	var err error
	if r.filter, err = c.filter(from, filter); c.fail("from", err) {
		return
	}
	if strings.HasPrefix(filter, "$share/") {
		c.fail("from", errors.New("how a subscription is shared is up to the endpoint: write the filter that comes after $share/GROUP/"))
	}
	sc := scope{captures: r.filter.captures}
	c.device(r, sc)
	if r.topic, err = newTemplate(to, sc); !c.fail("to", err) {
		c.kafkaTarget(r)
	}
	key := "{topic}"
	if r.ownKey = c.config.Key != nil; r.ownKey {
		key = *c.config.Key
	}
	if key != "" {
		r.key, err = newTemplate(key, sc)
		c.fail("key", err)
	}
	if c.config.Partition != "" {
		r.partition, err = newTemplate(c.config.Partition, sc)
		c.fail("partition", err)
		if text, fixed := r.partition.literal(); err == nil && fixed {
			if _, err := parsePartition(text); err != nil {
				c.fail("partition", fmt.Errorf("%q is no number of a partition: 0 or more, or a template such as {partition client 12}", text))
			}
		}
	}
	r.facts, err = newFacts(c.config.Facts)
	c.fail("facts", err)
	for _, name := range slices.Sorted(maps.Keys(c.config.Headers)) {
		if name == "" || reserved(name) {
			c.fail("headers."+name, errors.New("names that begin with mqtt., amqp. or linkspan. are written by Linkspan alone: choose another"))
		}
		value, err := newTemplate(c.config.Headers[name], sc)
		c.fail("headers."+name, err)
		r.headers = append(r.headers, header{name, value})
	}
}

// kafkaTarget checks the template of a Kafka topic, and whether it stands for one or many.
func (c *compiler) kafkaTarget(r *route) {
	for _, o := range r.topic.ops {
		if o.kind != opLiteral {
			r.topics = &topicSet{names: make(map[string]string)}
		}
	}
	for _, o := range r.topic.ops {
		switch {
		case o.kind == opLiteral && strings.ContainsAny(o.text, "+#*"):
			c.fail("to", errors.New("a target is one topic and has no wildcards: name the level in from, as {name}, and write {name} here"))
		case o.kind == opLiteral && (r.topics == nil || o.text != "." && o.text != ".."):
			c.fail("to", checkKafkaName(o.text))
		}
	}
	switch {
	case len(r.topic.ops) == 0:
		c.fail("to", checkKafkaName(""))
	case r.topics != nil && r.topic.ops[0].kind == opLiteral && internal(r.topic.ops[0].text):
		c.fail("to", errors.New("topics that begin with __ or _linkspan. are internal: no placeholder makes one"))
	case c.config.MaxTopics < 0:
		c.fail("max_topics", errors.New("it is 1 or more"))
	case r.topics == nil && c.config.MaxTopics != 0:
		c.fail("max_topics", errors.New("`to` is one Kafka topic, without placeholders: take max_topics away"))
	case c.config.MaxTopics == 0:
		r.config.MaxTopics = defaultMaxTopics
	}
}

func (c *compiler) down(r *route, from, scheme, to string) {
	r.down = true
	c.refuse("down", map[string]bool{
		"key": c.config.Key != nil, "partition": c.config.Partition != "", "facts": c.config.Facts != nil,
		"headers": c.config.Headers != nil, "max_topics": c.config.MaxTopics != 0, "presence": c.config.Presence != nil,
		"retained": c.config.Retained != "", "ack": c.config.Ack != "", "full": c.config.Full != "",
	})
	if q := c.config.QoS; q != nil && (*q < 0 || *q > 2) {
		c.fail("qos", fmt.Errorf("%d is no quality of service: 0, 1 or 2", *q))
	}
	c.location(r, scheme)
	c.codec(scheme, everywhere(c.endpoints))
	var err error
	if r.pattern, err = newPattern(from); c.fail("from", err) {
		return
	}
	sc := scope{captures: r.pattern.captures, down: true}
	c.device(r, sc)
	if r.topic, err = newTemplate(to, sc); c.fail("to", err) {
		return
	}
	if len(r.topic.ops) == 0 {
		c.fail("to", errors.New("the topic or address is missing: write mqtt:devices/{key}/commands, or mqtt:{key}"))
	}
	for _, o := range r.topic.ops {
		if o.kind == opLiteral && strings.ContainsAny(o.text, "+#") {
			c.fail("to", errors.New("a target is one topic and has no wildcards [MQTT-3.3.2-2]: write {name} for a part that is known from the record"))
		} else if o.kind == opLiteral {
			c.fail("to", checkTopicText(o.text))
		}
	}
}

// parsePartition reads a partition's number.
func parsePartition(text string) (int32, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int32(n), err
}

// qos returns the quality of service of a message on the way down that says given.
func (r *route) qos(given linkspan.QoS, known bool) linkspan.QoS {
	switch {
	case r.config.QoS != nil:
		return linkspan.QoS(*r.config.QoS)
	case known:
		return given
	}
	return defaultQoS
}
