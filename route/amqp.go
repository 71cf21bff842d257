package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
)

// CodecUp returns the codec that the route of an address asks for, "" where it leaves that to the endpoint, and where no route
// takes the address.
func (t *Table) CodecUp(endpoint, address string) string {
	p := t.plansUp.get(endpoint, address)
	if p == nil {
		p = t.planUp(endpoint, address, false)
	}
	return p.codec
}

// CodecDown returns the codec that the records of a Kafka topic are to be read with: that of the route down which takes them; else that
// of the first route up which writes there; "" where that is left to the endpoint.
func (t *Table) CodecDown(kafkaTopic string) string { return t.downPlan(kafkaTopic).codec }

// writtenWith returns the codec of the first route up that has one and may write to a Kafka topic.
func (t *Table) writtenWith(kafkaTopic string) string {
	for _, r := range t.ups() {
		if r.config.Codec != "" && r.topic.pattern().MatchString(kafkaTopic) {
			return r.config.Codec
		}
	}
	return ""
}

// Live reports whether some route may deliver live messages to who subscribes to a topic, or to a topic filter of MQTT, at a listener. It
// looks at names alone.
func (t *Table) Live(address string) bool {
	f, err := newFilter(strings.NewReplacer("{", "{{", "}", "}}").Replace(address))
	if err != nil {
		return false
	}
	return slices.ContainsFunc(t.routes, func(r *route) bool {
		return r.down && r.goes(live, "") && f.overlaps(r.sent())
	})
}

func codecs() []string { return []string{"native", "default", "json", "raw"} }

// codec checks the setting of that name of a route from or to scheme, which reaches endpoints.
func (c *compiler) codec(scheme string, endpoints []string) {
	known := codecs()
	switch set := c.config.Codec; {
	case set == "":
	case !slices.Contains(known, set):
		c.fail("codec", fmt.Errorf("there is no codec %q%s (%s)", set, meant(set, known), strings.Join(known, ", ")))
	case scheme != amqp && !slices.ContainsFunc(c.endpoints, func(e Endpoint) bool {
		return e.Protocol == amqp && slices.Contains(endpoints, e.Name)
	}):
		c.fail("codec", errors.New("it is about messages of AMQP, and the route meets no endpoint of that: take it away"))
	}
}

func everywhere(endpoints []Endpoint) (names []string) {
	for _, e := range endpoints {
		names = append(names, e.Name)
	}
	return names
}

// filter compiles what a route takes from a protocol or endpoint. From an AMQP broker it is one address, in whatever spelling that
// broker has: there is nothing to subscribe to more than one with.
func (c *compiler) filter(from, text string) (*filter, error) {
	if !slices.Contains(c.endpoints, Endpoint{Name: from, Protocol: amqp, Client: true}) {
		return newFilter(text)
	}
	parts, err := scan(text)
	if err != nil {
		return nil, err
	}
	if len(parts) != 1 || parts[0].hole || !validText(parts[0].text) {
		return nil, fmt.Errorf("%s dials an AMQP broker, whose addresses are named one by one: write %s:ADDRESS, without placeholders", from, from)
	}
	f := &filter{}
	for _, text := range strings.Split(parts[0].text, "/") {
		f.levels = append(f.levels, level{literal: text})
	}
	return f, nil
}

// Restore fills in from the headers of m.Record all that they say of a message, its topic or address included, as [Table.Down] does, but
// of a record that no route takes anywhere: an AMQP receiver reads a Kafka topic by its name. It returns how many headers say nothing
// that devices know.
func (t *Table) Restore(m *linkspan.Message) (leftOut uint64) {
	m.Route, m.Target, m.Device, m.Left = "", "", "", false
	h := readHeaders(m, t.endpoint)
	m.Topic = h.topic
	return h.leftOut
}
