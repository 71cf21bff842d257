package session

import (
	"strings"
	"sync"

	"github.com/linkspan/linkspan"
)

// A Session is what the registry knows of one connected device. All methods are safe from any goroutine; after the
// session has ended they do nothing.
//
// A gateway has a million of these, nearly all idle: what a session needs only while something is under way is in its
// flow, which comes from a pool and goes back there.
type Session struct {
	registry *Registry
	conn     Conn
	client   string
	endpoint string
	window   uint16 // QoS 1 and 2 messages that the device takes at a time

	connecting sync.Mutex // held by Connect

	mu      sync.Mutex
	closed  bool
	awaited bool   // Send waits for room in the queue
	lastID  uint16 // packet identifier given last
	will    *will  // nil: none
	flow    *flow  // nil: nothing under way
	behind  *behind
	subs    []*subscription

	filterBytes int // of all subs

	// Of the registry's dispatcher.

	round  uint64 // number of the last message that matched
	target int    // and its place among the targets
	holds  budget
}

// Subscription is one filter that a device asks for.
type Subscription struct {
	Filter            string
	QoS               linkspan.QoS // the highest that the device wants
	NoLocal           bool         // leave out what the same client published [MQTT-3.8.3-3]
	RetainAsPublished bool         // keep the retain flag of the publisher [MQTT-3.3.1-13]
	RetainHandling    byte         // 0: send retained messages; 1: if the subscription is new; 2: do not [MQTT-3.3.1-9 to -11]
	ID                uint32       // subscription identifier; 0: none
}

// SubscribeResult is the answer to one [Subscription].
type SubscribeResult struct {
	QoS linkspan.QoS // granted
	Err error        // nil if granted; else ErrShared, ErrFilter or ErrTooMany
}

// Subscribe adds filters, or replaces the options of those that are there [MQTT-3.8.4-3].
//
// ack is called with the session locked, once the filters are in force and before any message is delivered for them;
// not if the session has ended. granted has one result for each of subs, and is borrowed.
func (s *Session) Subscribe(subs []Subscription, ack func(granted []SubscribeResult)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	granted := make([]SubscribeResult, len(subs))
	var walks []walk
	var since map[place]int64
	r := s.registry
	for i := range subs {
		if i >= r.cfg.MaxSubscriptions {
			granted[i].Err = ErrTooMany
			continue
		}
		r.tree.mu.Lock() // for each filter anew: the live path needs it for every message
		sub, fresh, err := s.subscribe(&subs[i])
		if fresh && s.behind != nil {
			if since == nil {
				since = s.behind.positions(r.live)
			}
			s.behind.since[sub] = since
		}
		round := r.round
		r.tree.mu.Unlock()
		if granted[i].Err = err; err != nil {
			continue
		}
		granted[i].QoS = sub.qos
		if subs[i].RetainHandling == 0 || subs[i].RetainHandling == 1 && fresh {
			walks = append(walks, walk{sub: sub, filter: subs[i].Filter, endpoint: s.endpoint, round: round})
		}
	}
	ack(granted)
	s.walkRetained(walks)
}

// subscribe adds or replaces one filter, with the tree locked.
func (s *Session) subscribe(want *Subscription) (sub *subscription, fresh bool, err error) {
	r := s.registry
	bytes := filterBytes(want.Filter)
	full := len(s.subs) >= r.cfg.MaxSubscriptions || s.filterBytes+bytes > r.cfg.MaxFilterBytes
	switch {
	case strings.HasPrefix(want.Filter, "$share/"):
		return nil, false, ErrShared
	case !validFilter(want.Filter) || levels(want.Filter) > r.cfg.MaxLevels:
		return nil, false, ErrFilter
	case full && r.tree.lookup(s, want.Filter) == nil:
		return nil, false, ErrTooMany
	}
	if sub, fresh = r.tree.add(s, want.Filter); fresh {
		sub.bytes = int32(bytes)
		s.filterBytes += bytes
		r.stats.Subscriptions.Add(1)
	}
	sub.qos, sub.id, sub.noLocal, sub.asPublished = min(want.QoS, 2), want.ID, want.NoLocal, want.RetainAsPublished
	return sub, fresh, nil
}

// Unsubscribe removes filters. ack is called with the session locked, once nothing more is queued for them; not if the
// session has ended. existed has one value for each of filters, and is borrowed. What is queued already is still
// delivered [MQTT-3.10.4-3].
func (s *Session) Unsubscribe(filters []string, ack func(existed []bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	existed := make([]bool, len(filters))
	t := &s.registry.tree
	for i, filter := range filters {
		if i%walkSteps == walkSteps-1 { // Send may want to queue something
			s.mu.Unlock()
			s.mu.Lock()
			if s.closed {
				return
			}
		}
		t.mu.RLock()
		sub := t.lookup(s, filter)
		t.mu.RUnlock()
		if existed[i] = sub != nil; sub != nil {
			s.drop(sub)
		}
	}
	s.rest()
	ack(existed)
}

// drop removes one subscription.
func (s *Session) drop(sub *subscription) {
	r := s.registry
	r.tree.mu.Lock()
	r.tree.remove(sub)
	r.tree.mu.Unlock()
	r.stats.Subscriptions.Add(-1)
	s.filterBytes -= int(sub.bytes)
	if s.flow != nil {
		s.flow.queue.stop(sub)
	}
	if s.behind != nil {
		delete(s.behind.since, sub)
	}
}

// DropWill deletes the will: the device said goodbye, and its connection ends later [MQTT-3.1.2-10].
func (s *Session) DropWill() {
	s.mu.Lock()
	left := s.takeWill()
	s.mu.Unlock()
	s.registry.decide(left, false)
}

// Close ends the session, since its connection is gone. will publishes the will: true but for the device's own
// DISCONNECT with reason 0x00 [MQTT-3.1.2-8, MQTT-3.1.2-10]. It is safe to call twice, and to be called after
// [Conn].Disconnect: what the connection has heard by then decides about the will.
func (s *Session) Close(will bool) {
	s.mu.Lock()
	if !s.closed {
		s.endLocked(0, will)
	}
	left := s.takeWill()
	s.mu.Unlock()
	s.registry.decide(left, will)
}

// takeWill takes the will away, and returns it if the session has left it already.
func (s *Session) takeWill() (left *will) {
	if s.closed {
		left = s.will
	}
	s.will = nil
	return left
}

// end ends the session from outside, once, and reports whether it was this call. Close is yet to come.
func (s *Session) end(why Reason, will bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.endLocked(why, will)
	return true
}

// endLocked ends a session that has not ended. why is 0 if the connection is gone already. The will, if it may be published,
// is left for Close to decide about.
func (s *Session) endLocked(why Reason, will bool) {
	s.closed = true
	r := s.registry
	s.flow = nil
	for len(s.subs) > 0 {
		s.drop(s.subs[len(s.subs)-1])
	}
	if s.behind != nil {
		s.goLive()
	}
	s.signal()
	if why != 0 {
		s.conn.Disconnect(why)
	}
	if !will {
		s.will = nil
	}
	s.will = r.leave(s)
	r.forget(s)
}
