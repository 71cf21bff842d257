package route

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
)

// Uplink returns a sink that gives messages of devices their Kafka face and hands them to to. Refusals are told to done,
// and counted; a message that its route skips is done. It has room while to has.
func (t *Table) Uplink(to linkspan.Sink) linkspan.Bounded {
	bounded, _ := to.(linkspan.Bounded)
	return &uplink{t, to, bounded}
}

type uplink struct {
	table   *Table
	to      linkspan.Sink
	bounded linkspan.Bounded // to, if it is one
}

// Room reports whether there is room behind for m. Only where there is not for every route it finds out which one takes m; what
// none takes needs no room.
func (u *uplink) Room(m *linkspan.Message) bool {
	if u.bounded == nil || u.bounded.Room(m) {
		return true
	}
	if m == nil || m.Route != "" {
		return false
	}
	p := u.table.plansUp.get(m.Endpoint, m.Topic)
	if p == nil {
		p = u.table.planUp(m.Endpoint, m.Topic, false)
	}
	if p.route == nil {
		return true
	}
	m.Route = p.route.name
	return u.bounded.Room(m)
}

func (u *uplink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	if ok, err := u.table.Up(m); err != nil || !ok {
		done(err)
		return
	}
	u.to.Send(ctx, m, done)
}

// Up fills in m.Record, m.Route, m.Device and m.Left from what the device sent. An AMQP endpoint's message has in m.Record.Key and
// m.Record.Partition what its sender asks for, which stays where the route has none of its own. It returns false for a message
// that the route skips. Its errors are permanent. All are counted.
func (t *Table) Up(m *linkspan.Message) (bool, error) {
	p := t.plansUp.get(m.Endpoint, m.Topic)
	if p == nil {
		p = t.planUp(m.Endpoint, m.Topic, true)
		if p.refusal != linkspan.ErrTooManyTopics { // this one can change: see Learn
			t.plansUp.put(p)
		}
	}
	switch {
	case p.route == nil:
		t.unmatchedUp.add(p.refusal)
		return false, p.refusal
	case p.skips(m):
		p.route.counts.skipped.Add(1)
		return false, nil
	case p.route == t.standard:
		t.unmatchedUp.defaulted.Add(1)
	}
	err := t.fillUp(m, p, true)
	p.route.counts.add(m, err)
	return err == nil, err
}

// skips reports whether m is an old message out of a broker that the route leaves alone. A listener has no such: there
// the flag is a device's wish that this very message be retained.
func (p *plan) skips(m *linkspan.Message) bool { return p.client && p.route.skipRetained && m.Retain }

// planUp finds the route of an MQTT topic or AMQP address, and what is the same for all its messages. admit: new Kafka topics are counted.
func (t *Table) planUp(endpoint, topic string, admit bool) *plan {
	topic = strings.Clone(topic)
	e := t.endpoints[endpoint]
	p := &plan{endpoint: strings.Clone(endpoint), topic: topic, client: e.Client, asks: e.Protocol == amqp}
	if !validTopic(topic) && !(p.asks && topic != "" && validText(topic)) {
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
	p.codec = r.config.Codec
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
	m.Route, m.Device, m.Left = r.name, "", false
	if p.client {
		takeHops(m)
	}
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
		if name = name[len(m.Scratch):]; admit {
			var err error
			if m.Record.Topic, err = t.admit(r, borrow(name)); err != nil {
				return err
			}
		} else {
			m.Record.Topic = string(name)
		}
	}
	switch asked := p.asks && !r.ownKey; {
	case !asked && r.key != nil:
		r.fillKey(m, p, &v)
	case !asked:
		m.Record.Key = nil
	}
	if !p.asks {
		m.Record.Partition = linkspan.AnyPartition
	}
	if r.partition != nil {
		text := r.partition.append(m.Scratch, &v)[len(m.Scratch):]
		n, err := parsePartition(borrow(text))
		if err != nil {
			return errPartition
		}
		m.Record.Partition = n
	}
	if r.device != nil {
		m.Device = r.device.text(m, &v)
		m.Left = m.Device != "" && slices.Contains(r.offline, borrow(m.Payload))
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
