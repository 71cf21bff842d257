package route

import (
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
)

// HeaderFor is the header of a record that is written once more for one endpoint, which it names: others have had it, and pass it
// over. Where its route asks for a device, the record goes to where that is now, whatever the name.
const HeaderFor = "linkspan.for"

// forOthers reports whether m is written once more, and not for this endpoint.
func forOthers(m *linkspan.Message, w way, endpoint string) bool {
	only := m.Record.Header(HeaderFor)
	return only != nil && w != inbox && (w == live || string(only) != endpoint)
}

// Describe writes into m.Record.Headers all that is known of a message that is put aside before a route has written any: every fact, and
// how often it came up. Nothing of it can be forged by a device, as in a record.
func (t *Table) Describe(m *linkspan.Message) {
	t.plain.writeHeaders(m, &plan{topic: m.Topic}, nil)
	m.Record.Headers = slices.DeleteFunc(m.Record.Headers, func(h linkspan.Header) bool { return h.Key == headerOrigin }) // of a route alone
}

// UpAgain finds the way of a message that came up once and was put aside. m.Topic, m.Endpoint, m.Record.Partition and m.Payload are those
// of then, the rest of m.Record is what was put aside. It fills in m.Route, m.Record.Topic and m.Record.Partition as [Table.Up] would now, and the rest
// of m as the headers have it. Key and headers stay as they are if a route gave them to it then, without those that were
// added since; else they are made now. It returns false for a message that its route skips. Its errors are permanent. Messages are not
// counted, new Kafka topics are.
func (t *Table) UpAgain(m *linkspan.Message) (bool, error) {
	topic, endpoint, key := m.Topic, m.Endpoint, m.Record.Key
	headers := slices.DeleteFunc(slices.Clone(m.Record.Headers), func(h linkspan.Header) bool {
		return strings.HasPrefix(h.Key, originPrefix) && h.Key != headerOrigin && h.Key != headerHops
	})
	m.Record.Headers = headers
	routed := m.Record.Header(headerOrigin) != nil
	readHeaders(m, t.endpoint)
	m.Topic, m.Endpoint, m.Record.Headers = topic, endpoint, nil
	if routed {
		m.Hops-- // this is not one more time
	}
	p := t.planUp(endpoint, topic, true)
	switch {
	case p.route == nil:
		return false, p.refusal
	case p.skips(m):
		return false, nil
	}
	if err := t.fillUp(m, p, true); err != nil {
		return false, err
	}
	if routed {
		m.Record.Key, m.Record.Headers = key, headers
	}
	return true, nil
}
