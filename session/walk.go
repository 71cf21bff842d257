package session

import "strings"

// A walk delivers the retained messages of one new subscription. It waits in the queue as one entry, so that memory
// does not depend on how many there are, and they keep their place among what comes live.
type walk struct {
	sub    *subscription
	filter string
	after  string // where it is: a topic
	round  uint64 // of the registry at the time of the subscription: what was set later comes live
}

// walkSteps is how much of a walk is done at a time.
const walkSteps = 64

// What is left of a walk.
type progress byte

const (
	walkDone progress = iota
	walkFull          // no room for the next message
	walkMore
)

// walkRetained queues walks, whose filters are borrowed, and delivers as far as there is room.
func (s *Session) walkRetained(walks []walk) {
	for _, w := range walks {
		if _, _, more := s.registry.retained.next(w.filter, "", w.round); !more {
			continue
		}
		w.filter = strings.Clone(w.filter)
		q := &s.open().queue
		if same := q.walkOf(w.sub); same != nil {
			*same = w // asked for again: from the beginning, and no second entry
			continue
		}
		q.push(entry{walk: &w}, 0)
	}
	s.pump()
}

// advance delivers some of w.
func (s *Session) advance(f *flow, w *walk) progress {
	var id [1]uint32
	ids := id[:0]
	if w.sub.id != 0 {
		ids = append(ids, w.sub.id)
	}
	for range walkSteps {
		if w.sub.node == nil { // unsubscribed
			return walkDone
		}
		m, topic, more := s.registry.retained.next(w.filter, w.after, w.round)
		switch {
		case !more:
			return walkDone
		case m == nil || !w.sub.takes(m):
		case expired(m):
			s.registry.stats.DroppedExpired.Add(1)
		case s.deliver(f, m, min(m.QoS, w.sub.qos), true, ids) == Full: // [MQTT-3.3.1-8]
			return walkFull
		}
		w.after = topic
	}
	return walkMore
}
