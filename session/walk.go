package session

import "strings"

// A walk delivers the retained messages of one new subscription. It waits in the queue as one entry, so that memory
// does not depend on how many there are, and they keep their place among what comes live.
type walk struct {
	sub      *subscription
	filter   string
	endpoint string
	after    string // where it is: a topic; "" at the beginning
	round    uint64 // of the registry at the time of the subscription: what was set later comes live
}

// walkSteps is how much of walks is done at a time: messages looked at.
const walkSteps = 256

// walkRetained queues walks, whose filters are borrowed, and delivers as far as there is room. Most find nothing and
// need not wait; those of a long SUBSCRIBE find that out later, since everybody else waits now.
func (s *Session) walkRetained(walks []walk) {
	steps := walkSteps
	for i := range walks {
		w := &walks[i]
		if s.flow != nil {
			s.flow.queue.stop(w.sub) // asked for again: from the beginning, in its new place
		}
		if steps > 0 {
			if _, _, more := s.registry.retained.next(w, &steps); !more {
				continue
			}
		}
		queued := &walk{sub: w.sub, filter: strings.Clone(w.filter), endpoint: w.endpoint, round: w.round}
		w.sub.walk = queued
		s.open().queue.push(entry{walk: queued})
	}
	s.pump()
}

// advance delivers some of w, the oldest of the queue, and takes it out at its end. It returns false if there is no
// room for the next message.
func (s *Session) advance(f *flow, w *walk, steps *int) bool {
	if w.sub == nil { // stopped
		*steps--
		f.queue.pop()
		return true
	}
	var id [1]uint32
	ids := id[:0]
	if w.sub.id != 0 {
		ids = append(ids, w.sub.id)
	}
	for *steps > 0 {
		m, topic, more := s.registry.retained.next(w, steps)
		switch {
		case !more:
			f.queue.pop()
			return true
		case m == nil || !w.sub.takes(m):
		case expired(m):
			s.registry.stats.DroppedExpired.Add(1)
		case s.deliver(f, m, min(m.QoS, w.sub.qos), true, ids) == Full: // [MQTT-3.3.1-8]
			return false
		}
		w.after = topic
	}
	return true
}
