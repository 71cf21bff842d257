package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
)

// A rule is one topic mapping rule of the Strimzi MQTT bridge.
type rule struct {
	MQTTTopic  string  `json:"mqttTopic"`
	KafkaTopic string  `json:"kafkaTopic"`
	KafkaKey   *string `json:"kafkaKey"`
}

// strimziDefault is where what no rule takes goes.
const strimziDefault = "messages_default"

type strimzi struct {
	page
	problems
	file string
}

// Strimzi makes a configuration from the topic mapping rules (rules.json) of the Strimzi MQTT bridge
// (github.com/strimzi/strimzi-mqtt-bridge), and from its application.properties, which may be empty. It knows rules whose mqttTopic is a regular
// expression with $1, as the bridge has them now, and those with {placeholders}, + and #, as it had them first.
func Strimzi(rules, properties File) (Result, error) {
	s := strimzi{file: rules.Name}
	all, err := readRules(rules)
	if err != nil {
		return Result{}, err
	}
	set, err := readProperties(properties)
	if err != nil {
		return Result{}, err
	}
	s.comment("Linkspan's configuration for " + rules.Name + " of the Strimzi MQTT bridge.")
	s.blank()
	s.parts(set)
	s.section("routes", func() {
		s.comment("The first route that matches takes a message, as there. Where a rule has a group or a wildcard for one level, a level that is empty matches too.")
		for i, r := range all {
			s.rule(i, r)
		}
		if len(all) == 0 {
			s.comment("No rule: everything goes one way.")
			s.route(rule{KafkaTopic: set.fallback}, converted{filter: "#"})
		}
	})
	if len(all) > 0 {
		s.blank()
		s.section("default_route", func() { s.target(rule{KafkaTopic: set.fallback}, converted{}) })
	}
	return s.done(), s.err()
}

// readRules reads the JSON. A key that is not known is a mistake.
func readRules(f File) (rules []rule, err error) {
	dec := json.NewDecoder(bytes.NewReader(f.Text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rules); err != nil {
		line := 1 + bytes.Count(f.Text[:dec.InputOffset()], []byte("\n"))
		return nil, fmt.Errorf("%s:%d: not a list of topic mapping rules: %w", f.Name, line, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: there is more after the list of rules", f.Name)
	}
	return rules, nil
}

// rule writes the routes for one rule: several where it has alternatives, none where it cannot be said in filters.
func (s *strimzi) rule(i int, r rule) {
	where := fmt.Sprintf("%s: rule %d", s.file, i+1)
	if r.MQTTTopic == "" || r.KafkaTopic == "" {
		s.problems.add("%s: mqttTopic and kafkaTopic are both needed", where)
		return
	}
	var all []converted
	var err error
	if isFilter(r.MQTTTopic) {
		r = usable(r)
		all = []converted{{filter: r.MQTTTopic, named: true}}
	} else {
		all, err = convert(r.MQTTTopic)
	}
	for j := range all {
		err = errors.Join(err, all[j].fits(r))
	}
	if err != nil {
		s.note(fmt.Sprintf("%s, %q: no route, because %v. What it took goes to the next rule that matches, or to the default.", where, r.MQTTTopic, err))
		s.comment(fmt.Sprintf("kafkaTopic: %q", r.KafkaTopic))
		return
	}
	for j, c := range all {
		if j == 0 {
			s.comment("mqttTopic: " + strings.ReplaceAll(r.MQTTTopic, "\b", `\b`))
		}
		if c.wider != "" {
			s.note(fmt.Sprintf("%s: the filter %s takes more than the rule, which says %s.", where, c.filter, c.wider))
		}
		if c.narrower != "" {
			s.note(fmt.Sprintf("%s: the filter %s takes less than the rule: %s.", where, c.filter, c.narrower))
		}
		s.route(r, c)
	}
}

func (s *strimzi) route(r rule, c converted) {
	s.entry(func() {
		s.set("from", "mqtt:"+c.filter)
		s.target(r, c)
	})
}

// target writes where the messages of a rule go, and what the record has beside the payload.
func (s *strimzi) target(r rule, c converted) {
	s.set("to", "kafka:"+c.fill(r.KafkaTopic))
	key := `""`
	if r.KafkaKey != nil {
		key = quote(literal(c.fill(*r.KafkaKey)))
	}
	s.plain("key", key)
	s.plain("headers", `{mqtt-topic: "{topic}"}`)
}

// isFilter reports whether a rule is of the first kind: with whole levels that are +, # or {name}, which no useful regular
// expression has.
func isFilter(topic string) bool {
	for level := range strings.SplitSeq(topic, "/") {
		if level == "+" || level == "#" || placeholder.MatchString(level) {
			return true
		}
	}
	return false
}

// usable renames placeholders whose names mean something in Linkspan, or may not begin as they do.
func usable(r rule) rule {
	rename := func(s string) string {
		return inTemplate.ReplaceAllStringFunc(s, func(name string) string {
			if reserved.MatchString(name) {
				return "{in_" + name[1:]
			}
			return name
		})
	}
	r.MQTTTopic, r.KafkaTopic = rename(r.MQTTTopic), rename(r.KafkaTopic)
	if r.KafkaKey != nil {
		key := rename(*r.KafkaKey)
		r.KafkaKey = &key
	}
	return r
}

var (
	reserved    = regexp.MustCompile(`^\{(topic|client|username|endpoint|qos|key|partition|offset|\d\w*)\}$`)
	placeholder = regexp.MustCompile(`^\{\w+\}$`)
	inTemplate  = regexp.MustCompile(`\{\w+\}`)
	dollar      = regexp.MustCompile(`\$\d{1,2}`)
)

// converted is a filter for a rule, or for one alternative of it.
type converted struct {
	filter   string
	named    bool           // templates have {name} as the filter does, not $1
	groups   map[int]string // what $1, $2 ... are in templates; literal text already escaped
	count    int            // of groups, those included that have no entry
	wider    string         // what of the rule the filter does not say, "" for nothing
	narrower string         // what the rule takes and the filter does not
}

// fits reports what in the templates of a rule has no value.
func (c *converted) fits(r rule) error {
	templates := []string{r.KafkaTopic}
	if r.KafkaKey != nil {
		templates = append(templates, *r.KafkaKey)
	}
	for _, t := range templates {
		if c.named {
			for _, name := range inTemplate.FindAllString(t, -1) {
				if !strings.Contains(c.filter, name) {
					return fmt.Errorf("%s is not in mqttTopic", name)
				}
			}
			continue
		}
		if m := dollar.FindString(c.fill(t)); m != "" {
			if n, _ := strconv.Atoi(m[1:]); n <= c.count {
				return fmt.Errorf("%s is not one whole level, which a placeholder has to be", m)
			}
			return fmt.Errorf("%s is not a group of mqttTopic", m)
		}
	}
	return nil
}

// fill puts what groups stand for into a template, in the order in which the Strimzi bridge does: $1 before $10.
func (c *converted) fill(template string) string {
	if c.named {
		return template
	}
	text := verbatim(template)
	for i := 1; i <= c.count; i++ {
		if value, ok := c.groups[i]; ok {
			text = strings.ReplaceAll(text, "$"+strconv.Itoa(i), value)
		}
	}
	return text
}

// parts writes the sections for the listener and for Kafka.
func (s *strimzi) parts(set strimziConfig) {
	s.section("kafka", func() { s.clientProperties("kafka.", set.kafka, &s.problems) })
	s.blank()
	s.section("endpoints", func() {
		s.section("devices", func() {
			host := set.host
			if host == "0.0.0.0" {
				host = ""
			}
			if n, err := strconv.Atoi(set.port); err != nil || n < 0 || n > 65535 {
				s.problems.add("%s: mqtt.server.port: %q is no port", set.name, set.port)
			}
			s.set("listen", "mqtt://"+net.JoinHostPort(host, set.port))
			if n, err := strconv.Atoi(set.maxBytes); err == nil {
				s.plain("max_packet_size", strconv.Itoa(n))
			} else if set.maxBytes != "" {
				s.problems.add("%s: mqtt.max.bytes.message: %q is not a whole number", set.name, set.maxBytes)
			}
		})
	})
	s.blank()
}
