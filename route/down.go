package route

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
)

// Downlink returns a sink that gives Kafka's records the face that devices see and hands them to to, for all listeners. A
// record that no route takes to a listener, or that has expired, is done; one that has no legal MQTT topic is refused. All
// are counted but those whose route goes elsewhere. Those expired that are to be retained go on, see [Table.Down]. It has
// room while to has.
func (t *Table) Downlink(to linkspan.Sink) linkspan.Bounded { return downlink{t, live, "", to} }

// DownlinkTo is [Table.Downlink] for what a client endpoint's own consumer reads, see [Table.SubscriptionsTo]. A record whose
// route does not go there directly is done, and not counted. So is one that came up from this endpoint and that the
// endpoint's routes would take up again; it is counted as looped. What has expired goes nowhere. The others carry their
// hop count in the user property linkspan-hops.
func (t *Table) DownlinkTo(endpoint string, to linkspan.Sink) linkspan.Bounded {
	return downlink{t, direct, endpoint, to}
}

// DownlinkLocated is [Table.DownlinkTo] for what comes out of a client endpoint's inbox, where [Table.Locate] had it put. A
// record that the routes, which may have changed since, do not take there is refused with [linkspan.ErrNoRoute] (P2).
func (t *Table) DownlinkLocated(endpoint string, to linkspan.Sink) linkspan.Bounded {
	return downlink{t, inbox, endpoint, to}
}

type downlink struct {
	table    *Table
	way      way
	endpoint string
	to       linkspan.Sink
}

// A way is how a record gets to where its device is.
type way byte

const (
	live   way = iota // to all listeners, as it is written
	direct            // to one client endpoint, which reads its topics itself
	inbox             // to one client endpoint, for which it was put aside
)

func (d downlink) Room(m *linkspan.Message) bool { return linkspan.Room(d.to, m) }

func (d downlink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	if ok, err := d.table.down(m, d.way, d.endpoint); err != nil || !ok {
		done(err)
		return
	}
	d.to.Send(ctx, m, done)
}

// Down fills in from m.Record everything that devices on listeners see of a record. It returns false for a record that no
// route takes there, and for one that has expired unless it is to be retained: then it takes the place of the one retained
// before, which is older still [MQTT-3.3.1-5]. Its errors are permanent. All are counted but records whose route goes elsewhere.
func (t *Table) Down(m *linkspan.Message) (bool, error) { return t.down(m, live, "") }

func (t *Table) down(m *linkspan.Message, w way, endpoint string) (bool, error) {
	p := t.downPlan(m.Record.Topic)
	if p.route == nil || !p.route.goes(w, endpoint) {
		return false, t.passOver(p, w)
	}
	if forOthers(m, w, endpoint) {
		return false, nil
	}
	counts := p.route.counts
	leftOut, err := t.fillDown(m, p)
	counts.leftOut.Add(leftOut)
	switch {
	case err != nil:
	case expired(m):
		counts.expired.Add(1)
		return w == live && m.Retain, nil
	case w == live:
	case t.returns(m, endpoint):
		counts.looped.Add(1)
		return false, nil
	default:
		giveHops(m)
	}
	counts.add(m, err)
	return err == nil, err
}

// goes reports whether r sends records to endpoint in that way.
func (r *route) goes(w way, endpoint string) bool {
	switch {
	case w == live:
		return len(r.listeners) > 0
	case w == direct && r.located:
		return false
	}
	return slices.Contains(r.clients, endpoint)
}

// passOver counts a record that no route takes in that way. What somebody put into an inbox is not passed over.
func (t *Table) passOver(p *plan, w way) error {
	if p.route == nil || w == inbox {
		t.unmatchedDown.add(linkspan.ErrNoRoute)
	}
	if w == inbox {
		return linkspan.ErrNoRoute
	}
	return nil
}

// DownAgain does what Down does for a record that is read a second time, and counts nothing. It returns false for one
// that no device gets.
func (t *Table) DownAgain(m *linkspan.Message) bool {
	p := t.downPlan(m.Record.Topic)
	if p.route == nil || !p.route.goes(live, "") || forOthers(m, live, "") {
		return false
	}
	_, err := t.fillDown(m, p)
	return err == nil && !expired(m)
}

func expired(m *linkspan.Message) bool { return !m.Expires.IsZero() && m.Expired(time.Now()) }

// downPlan returns the plan for a Kafka topic.
func (t *Table) downPlan(topic string) *plan {
	p := t.plansDown.get("", topic)
	if p == nil {
		p = t.planDown(topic)
		t.plansDown.put(p)
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
		p.codec = r.config.Codec
		for i, text := range captured {
			decoded, ok := r.rule.decode(r.pattern.captures[i], text)
			if !ok {
				p.refusal = linkspan.ErrInvalidTopic
			}
			p.captures = append(p.captures, decoded)
		}
		break
	}
	if p.codec == "" {
		p.codec = t.writtenWith(p.topic)
	}
	return p
}

// fillDown computes the face of m that devices see, and returns how many headers have none.
func (t *Table) fillDown(m *linkspan.Message, p *plan) (leftOut uint64, err error) {
	r := p.route
	m.Route, m.Target, m.Device, m.Left = r.name, r.target, "", false
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
	if r.device != nil {
		m.Device = r.device.text(m, &v)
	}
	if m.Topic = r.topic.text(m, &v); !validTopic(m.Topic) {
		return h.leftOut, linkspan.ErrInvalidTopic
	}
	return h.leftOut, nil
}

// endpoint returns the name of an endpoint as a string of our own.
func (t *Table) endpoint(name []byte) string {
	if own, ok := t.endpoints[string(name)]; ok {
		return own.Name
	}
	return string(name)
}
