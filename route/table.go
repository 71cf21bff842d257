// Package route decides which message goes where, and what it looks like there: filters and patterns, templates, names,
// headers. Everything is compiled and checked when a [Table] is made; what is the same for all messages of a topic is
// worked out once.
package route

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
)

// A Table is the routes in force. It is safe for any number of goroutines.
type Table struct {
	options   Options
	routes    []*route
	standard  *route           // the default route; nil: none
	trees     map[string]*node // by endpoint: the routes up
	endpoints map[string]string

	up, down      *cache
	unmatchedUp   unmatched
	unmatchedDown unmatched
}

// New compiles routes. Its error joins one [Error] for each mistake found.
func New(routes []Config, options Options) (*Table, error) {
	if options.MaxHops <= 0 {
		options.MaxHops = defaultMaxHops
	}
	if options.CacheSize <= 0 {
		options.CacheSize = defaultCacheSize
	}
	t := &Table{
		options: options, trees: make(map[string]*node), endpoints: make(map[string]string),
		up: newCache(options.CacheSize), down: newCache(options.CacheSize),
	}
	var errs []error
	for _, e := range options.Endpoints {
		t.trees[e.Name], t.endpoints[e.Name] = newNode(), e.Name
		if e.Name == "kafka" || e.Name == "mqtt" || e.Name == "amqp" {
			errs = append(errs, fmt.Errorf("endpoints.%s: routes could not tell it from the protocol: choose another name", e.Name))
		}
	}
	names := make(map[string]int)
	for i := range routes {
		c := compiler{index: i, config: &routes[i], endpoints: options.Endpoints}
		r := c.compile()
		if first, taken := names[r.name]; taken {
			c.fail("name", fmt.Errorf("%q is also the name of routes[%d]: each route has its own", r.name, first))
		}
		names[r.name] = i
		errs = append(errs, c.errs...)
		t.routes = append(t.routes, r)
	}
	if options.Default != nil {
		errs = append(errs, t.addDefault(*options.Default)...)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, r := range t.routes {
		for _, e := range r.endpoints {
			t.trees[e].add(r.filter, i)
		}
	}
	return t, nil
}

// addDefault compiles the default route.
func (t *Table) addDefault(config Config) []error {
	c := compiler{index: -1, config: &config, endpoints: t.options.Endpoints}
	if config.From != "" {
		c.fail("from", errors.New("the default route takes whatever no other does: take from away"))
	}
	if !strings.HasPrefix(config.To, "kafka:") {
		c.fail("to", errors.New("the default route is one to Kafka: write kafka:TOPIC"))
		return c.errs
	}
	config.From = "mqtt:#"
	if config.Name == "" {
		config.Name = "default_route"
	}
	t.standard = c.compile()
	return c.errs
}

// Uplink returns a sink that gives messages of devices their Kafka face and hands them to to. Refusals are told to done, and
// counted. It has room while to has.
func (t *Table) Uplink(to linkspan.Sink) linkspan.Bounded { return uplink{t, to} }

type uplink struct {
	table *Table
	to    linkspan.Sink
}

func (u uplink) Room() bool { return linkspan.Room(u.to) }

func (u uplink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	if err := u.table.Up(m); err != nil {
		done(err)
		return
	}
	u.to.Send(ctx, m, done)
}

// Downlink returns a sink that gives Kafka's records the face that devices see and hands them to to. A record that no
// route takes, or that has expired, is done; one that has no legal MQTT topic is refused. All are counted. Those expired
// that are to be retained go on, see [Table.Down]. It has room while to has.
func (t *Table) Downlink(to linkspan.Sink) linkspan.Bounded { return downlink{t, to} }

type downlink struct {
	table *Table
	to    linkspan.Sink
}

func (d downlink) Room() bool { return linkspan.Room(d.to) }

func (d downlink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	if ok, err := d.table.Down(m); err != nil || !ok {
		done(err)
		return
	}
	d.to.Send(ctx, m, done)
}

// Up fills in m.Record and m.Route from what the device sent. Its errors are permanent, and counted.
func (t *Table) Up(m *linkspan.Message) error {
	p := t.up.get(m.Endpoint, m.Topic)
	if p == nil {
		p = t.planUp(m.Endpoint, m.Topic, true)
		if p.refusal != linkspan.ErrTooManyTopics { // this one can change: see Learn
			t.up.put(p)
		}
	}
	if p.route == nil {
		t.unmatchedUp.add(p.refusal)
		return p.refusal
	}
	if p.route == t.standard {
		t.unmatchedUp.defaulted.Add(1)
	}
	err := t.fillUp(m, p, true)
	p.route.counts.add(m, err)
	return err
}

// planUp finds the route of an MQTT topic, and what is the same for all its messages. admit: new Kafka topics are counted.
func (t *Table) planUp(endpoint, topic string, admit bool) *plan {
	topic = strings.Clone(topic)
	p := &plan{endpoint: strings.Clone(endpoint), topic: topic}
	if !validTopic(topic) {
		p.refusal = linkspan.ErrInvalidTopic
		return p
	}
	i := none
	if tree := t.trees[endpoint]; tree != nil {
		i = tree.find(topic)
	}
	switch {
	case i != none:
		p.route = t.routes[i]
	case t.standard != nil && topic[0] != '$':
		p.route = t.standard
	default:
		p.refusal = linkspan.ErrNoRoute
		return p
	}
	r := p.route
	p.captures, _ = r.filter.match(topic, nil)
	v := &values{m: &linkspan.Message{Endpoint: p.endpoint}, captures: p.captures, topic: topic}
	if name, ok := r.topic.literal(); ok {
		p.name = name
	} else if r.topic.perTopic {
		name, ok := r.topic.appendName(nil, v, r.rule)
		if !ok {
			p.refusal = linkspan.ErrInvalidTopic
			return p
		}
		if p.name = string(name); admit {
			p.name, p.refusal = t.admit(r, p.name)
		}
	}
	if r.key != nil && r.key.perTopic {
		p.key = string(r.key.append(nil, v))
	}
	return p
}

// fillUp computes the Kafka face of m.
func (t *Table) fillUp(m *linkspan.Message, p *plan, admit bool) error {
	r := p.route
	m.Route = r.name
	if p.refusal != nil {
		return p.refusal
	}
	if int(m.Hops) >= t.options.MaxHops {
		return linkspan.ErrLoop
	}
	if cap(m.Scratch) == 0 {
		m.Scratch = make([]byte, 0, scratchSize)
	}
	v := values{m: m, captures: p.captures, topic: p.topic}
	if r.config.Expiry > 0 {
		r.limitExpiry(m)
	}
	m.Record.Topic, m.Record.Timestamp = p.name, m.Received
	if p.name == "" {
		name, ok := r.topic.appendName(m.Scratch, &v, r.rule)
		if !ok {
			return linkspan.ErrInvalidTopic
		}
		m.Record.Topic = borrow(name[len(m.Scratch):])
		if admit {
			var err error
			if m.Record.Topic, err = t.admit(r, m.Record.Topic); err != nil {
				return err
			}
		}
	}
	if m.Record.Key = nil; r.key != nil {
		r.fillKey(m, p, &v)
	}
	m.Record.Partition = linkspan.AnyPartition
	if r.partition != nil {
		text := r.partition.append(m.Scratch, &v)[len(m.Scratch):]
		n, err := parsePartition(borrow(text))
		if err != nil {
			return errPartition
		}
		m.Record.Partition = n
	}
	r.writeHeaders(m, p, &v)
	return nil
}

// scratchSize is what the values of a usual message need.
const scratchSize = 256

// fillKey computes the record's key. One that comes out empty is still a key, which keeps order. It is a copy even
// where the plan has it: what m points to is the sender's, who may overwrite it.
func (r *route) fillKey(m *linkspan.Message, p *plan, v *values) {
	from := len(m.Scratch)
	if r.key.perTopic {
		m.Scratch = append(m.Scratch, p.key...)
	} else {
		m.Scratch = r.key.append(m.Scratch, v)
	}
	m.Record.Key = m.Scratch[from:len(m.Scratch):len(m.Scratch)]
}

// errPartition: a partition's template gave something else than a number.
var errPartition = linkspan.Permanent(fmt.Errorf("the route's partition is no number: %w", linkspan.ErrInvalidTopic))

// limitExpiry applies the route's expiry to m.
func (r *route) limitExpiry(m *linkspan.Message) {
	if last := m.Received.Add(r.config.Expiry); m.Expires.IsZero() || last.Before(m.Expires) {
		m.Expires = last
	}
}

// Down fills in from m.Record everything that devices see of a record. It returns false for a record that no route
// takes, and for one that has expired unless it is to be retained: then it takes the place of the one retained before,
// which is older still [MQTT-3.3.1-5]. Its errors are permanent. All are counted.
func (t *Table) Down(m *linkspan.Message) (bool, error) {
	p := t.downPlan(m.Record.Topic)
	if p.route == nil {
		t.unmatchedDown.add(linkspan.ErrNoRoute)
		return false, nil
	}
	leftOut, err := t.fillDown(m, p)
	p.route.counts.leftOut.Add(leftOut)
	if err == nil && expired(m) {
		p.route.counts.expired.Add(1)
		return m.Retain, nil
	}
	p.route.counts.add(m, err)
	return err == nil, err
}

// DownAgain does what Down does for a record that is read a second time, and counts nothing. It returns false for one
// that no device gets.
func (t *Table) DownAgain(m *linkspan.Message) bool {
	p := t.downPlan(m.Record.Topic)
	if p.route == nil {
		return false
	}
	_, err := t.fillDown(m, p)
	return err == nil && !expired(m)
}

func expired(m *linkspan.Message) bool { return !m.Expires.IsZero() && m.Expired(time.Now()) }

// downPlan returns the plan for a Kafka topic.
func (t *Table) downPlan(topic string) *plan {
	p := t.down.get("", topic)
	if p == nil {
		p = t.planDown(topic)
		t.down.put(p)
	}
	return p
}

// planDown finds the route of a Kafka topic.
func (t *Table) planDown(topic string) *plan {
	p := &plan{topic: strings.Clone(topic)}
	for _, r := range t.routes {
		if !r.down {
			continue
		}
		captured, ok := r.pattern.match(p.topic)
		if !ok {
			continue
		}
		p.route = r
		for i, text := range captured {
			decoded, ok := r.rule.decode(r.pattern.captures[i], text)
			if !ok {
				p.refusal = linkspan.ErrInvalidTopic
			}
			p.captures = append(p.captures, decoded)
		}
		break
	}
	return p
}

// fillDown computes the face of m that devices see, and returns how many headers have none.
func (t *Table) fillDown(m *linkspan.Message, p *plan) (leftOut uint64, err error) {
	r := p.route
	m.Route, m.Target = r.name, r.target
	h := readHeaders(m, t.endpoint)
	m.QoS = r.qos(m.QoS, h.qos)
	if r.config.Retain != nil {
		m.Retain = *r.config.Retain
	}
	if r.config.Expiry > 0 {
		r.limitExpiry(m)
	}
	if p.refusal != nil {
		return h.leftOut, p.refusal
	}
	v := values{m: m, captures: p.captures, topic: h.topic, down: true}
	from := len(m.Scratch)
	m.Scratch = r.topic.append(m.Scratch, &v)
	if m.Topic = borrow(m.Scratch[from:]); !validTopic(m.Topic) {
		return h.leftOut, linkspan.ErrInvalidTopic
	}
	return h.leftOut, nil
}

// endpoint returns the name of an endpoint as a string of our own.
func (t *Table) endpoint(name []byte) string {
	if own, ok := t.endpoints[string(name)]; ok {
		return own
	}
	return string(name)
}
