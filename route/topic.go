package route

import (
	"regexp"
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
)

// admit returns name, one that r's placeholders gave, as a string of our own, if r has that topic or may have one more.
func (t *Table) admit(r *route, name string) (string, error) {
	s := r.topics
	s.mu.RLock()
	own, ok := s.names[name]
	s.mu.RUnlock()
	if ok {
		return own, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if own, ok := s.names[name]; ok {
		return own, nil
	}
	if len(s.names) >= r.config.MaxTopics {
		return "", linkspan.ErrTooManyTopics
	}
	own = strings.Clone(name)
	s.names[own] = own
	if t.options.NewTopic != nil {
		t.options.NewTopic(r.spec(own)) // before the lock falls: nobody sends to the topic before it was told
	}
	return own, nil
}

func (r *route) spec(name string) TopicSpec {
	return TopicSpec{name, r.config.Partitions, r.config.Replication}
}

// Learn tells the table which topics Kafka has. Those that a route would make count for its MaxTopics, and go on when it
// is reached: so the limit holds across restarts and instances.
func (t *Table) Learn(topics []string) {
	for _, r := range t.ups() {
		if r.topics == nil {
			continue
		}
		made := r.topic.pattern()
		r.topics.mu.Lock()
		for _, name := range topics {
			if _, known := r.topics.names[name]; !known && made.MatchString(name) && !internal(name) {
				own := strings.Clone(name)
				r.topics.names[own] = own
			}
		}
		r.topics.mu.Unlock()
	}
}

// pattern matches the topics that a template can give.
func (t *template) pattern() *regexp.Regexp {
	var expr strings.Builder
	for _, o := range t.ops {
		if o.kind == opLiteral {
			expr.WriteString(regexp.QuoteMeta(o.text))
		} else {
			expr.WriteString(".*")
		}
	}
	return regexp.MustCompile("^" + expr.String() + "$")
}

// ups returns the routes up, the default route last.
func (t *Table) ups() []*route {
	var ups []*route
	for _, r := range t.routes {
		if !r.down {
			ups = append(ups, r)
		}
	}
	if t.standard != nil {
		ups = append(ups, t.standard)
	}
	return ups
}

// KafkaTopics returns the topics that must exist before anything flows: those that routes name in full. The others are
// told to Options.NewTopic.
func (t *Table) KafkaTopics() []TopicSpec {
	var specs []TopicSpec
	add := func(s TopicSpec) {
		i := slices.IndexFunc(specs, func(have TopicSpec) bool { return have.Name == s.Name })
		if i < 0 {
			specs = append(specs, s)
			return
		}
		have := &specs[i]
		have.Partitions, have.Replication = max(have.Partitions, s.Partitions), max(have.Replication, s.Replication)
	}
	for _, r := range t.ups() {
		if name, ok := r.topic.literal(); ok {
			add(r.spec(name))
		}
	}
	for _, r := range t.routes {
		if r.down && r.pattern.literal != "" {
			add(r.spec(r.pattern.literal))
		}
	}
	return specs
}

// Filters returns the filters of MQTT topics that a client endpoint subscribes to, or the AMQP addresses that it receives from: those
// of its routes, in their order, each once. No AMQP broker knows filters, so one with wildcards is no address. The default route has
// none; it takes what comes besides.
func (t *Table) Filters(endpoint string) []string {
	var filters []string
	exact := t.endpoints[endpoint].Protocol == amqp
	for _, r := range t.routes {
		if r.down || !slices.Contains(r.endpoints, endpoint) || exact && !r.filter.exact() {
			continue
		}
		if text := r.filter.String(); !slices.Contains(filters, text) {
			filters = append(filters, text)
		}
	}
	return filters
}

// Subscriptions returns what has to be consumed for the routes down to listeners: topics by name, and the topics that match
// an anchored regular expression (which may match others too; those have no such route).
func (t *Table) Subscriptions() (topics, patterns []string) {
	return t.subscriptions(func(r *route) bool { return r.goes(live, "") })
}

// SubscriptionsTo is [Table.Subscriptions] for what a client endpoint consumes itself, see [Table.DownlinkTo].
func (t *Table) SubscriptionsTo(endpoint string) (topics, patterns []string) {
	return t.subscriptions(func(r *route) bool { return r.goes(direct, endpoint) })
}

// Located is [Table.Subscriptions] for the records that go to where their device is, see [Table.Locate]: those of routes
// with `device` to several endpoints of which at least one dials a broker.
func (t *Table) Located() (topics, patterns []string) {
	return t.subscriptions(func(r *route) bool { return r.located })
}

func (t *Table) subscriptions(wanted func(r *route) bool) (topics, patterns []string) {
	for _, r := range t.routes {
		switch {
		case !r.down || !wanted(r):
		case r.pattern.literal == "":
			patterns = append(patterns, r.pattern.re.String())
		case t.planDown(r.pattern.literal).route == r: // and not one before it
			topics = append(topics, r.pattern.literal)
		}
	}
	return topics, patterns
}
