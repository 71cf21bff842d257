package route

import (
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// counts is what a route counts. Acknowledgements are counted where they arrive: at the endpoints and the producer.
type counts struct {
	messages, bytes atomic.Uint64
	tooManyTopics   atomic.Uint64
	invalidTopic    atomic.Uint64
	loop            atomic.Uint64
	expired         atomic.Uint64
	leftOut         atomic.Uint64
	skipped, looped atomic.Uint64
	noDevice        atomic.Uint64
}

// add counts a message that went through, or why it did not.
func (c *counts) add(m *linkspan.Message, err error) {
	switch err {
	case nil:
		c.messages.Add(1)
		c.bytes.Add(uint64(len(m.Payload)))
	case linkspan.ErrTooManyTopics:
		c.tooManyTopics.Add(1)
	case linkspan.ErrLoop:
		c.loop.Add(1)
	case ErrNoDevice:
		c.noDevice.Add(1)
	default:
		c.invalidTopic.Add(1)
	}
}

// unmatched counts what no route takes in one direction.
type unmatched struct{ noRoute, invalidTopic, defaulted atomic.Uint64 }

func (u *unmatched) add(err error) {
	if err == linkspan.ErrInvalidTopic {
		u.invalidTopic.Add(1)
	} else {
		u.noRoute.Add(1)
	}
}

// Stats are the counts of a [Table] since it was made.
type Stats struct {
	Routes []RouteStats // in the order of the configuration; the default route last

	NoRouteUp    uint64 // messages refused: no route takes their topic
	InvalidTopic uint64 // messages refused: the topic is none
	Defaulted    uint64 // messages that went to the default route
	NoRouteDown  uint64 // records that no route takes
}

// RouteStats are the counts of one route.
type RouteStats struct {
	Route          string
	Down           bool
	Messages       uint64 // went through, a record once for all listeners and once for each client endpoint; the next holder may still refuse them
	Bytes          uint64 // their payloads
	TooManyTopics  uint64 // refused: max_topics is reached
	InvalidTopic   uint64 // refused: no legal name or partition on the other side
	Loop           uint64 // refused: came up too often
	Expired        uint64 // records that were of no more use
	HeadersLeftOut uint64 // headers that MQTT has no form for
	Skipped        uint64 // messages that a broker had retained, left alone by `retained: skip`
	NoDevice       uint64 // records refused: they do not name their device
	Looped         uint64 // records not sent back to the broker that they came from, see [Table.DownlinkTo]
	KafkaTopics    int    // that a `to` with placeholders has made or found
}

// Stats returns the counts of this moment.
func (t *Table) Stats() Stats {
	s := Stats{
		NoRouteUp: t.unmatchedUp.noRoute.Load(), InvalidTopic: t.unmatchedUp.invalidTopic.Load(),
		Defaulted: t.unmatchedUp.defaulted.Load(), NoRouteDown: t.unmatchedDown.noRoute.Load(),
	}
	routes := t.routes
	if t.standard != nil {
		routes = append(routes[:len(routes):len(routes)], t.standard)
	}
	for _, r := range routes {
		c := r.counts
		rs := RouteStats{
			Route: r.name, Down: r.down, Messages: c.messages.Load(), Bytes: c.bytes.Load(),
			TooManyTopics: c.tooManyTopics.Load(), InvalidTopic: c.invalidTopic.Load(), Loop: c.loop.Load(),
			Expired: c.expired.Load(), HeadersLeftOut: c.leftOut.Load(), Skipped: c.skipped.Load(), Looped: c.looped.Load(), NoDevice: c.noDevice.Load(),
		}
		if r.topics != nil {
			r.topics.mu.RLock()
			rs.KafkaTopics = len(r.topics.names)
			r.topics.mu.RUnlock()
		}
		s.Routes = append(s.Routes, rs)
	}
	return s
}
