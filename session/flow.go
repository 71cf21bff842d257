package session

import (
	"time"

	"github.com/linkspan/linkspan"
)

// A flow is what a session has under way: packet identifiers in use, in both directions, and what waits for room.
// What waits is one queue, and all of a session's deliveries go through it unless it is empty, so that order is kept
// (P3) [MQTT-4.6.0-6].
type flow struct {
	sent     map[uint16]expects  // outgoing QoS 1 and 2, at most the session's window
	received map[uint16]struct{} // incoming QoS 2, until released
	queue    queue
	delivery Delivery // what is passed to Conn.Deliver
}

// expects is what the device sends next for an outgoing message.
type expects byte

const (
	puback expects = iota
	pubrec
	pubcomp
)

func newFlow() *flow {
	return &flow{sent: make(map[uint16]expects), received: make(map[uint16]struct{})}
}

// open returns the session's flow. The caller holds s.mu, and calls rest before it lets go.
func (s *Session) open() *flow {
	if s.flow == nil {
		s.flow = s.registry.flows.Get().(*flow)
	}
	return s.flow
}

// rest gives the flow back when nothing is under way.
func (s *Session) rest() {
	f := s.flow
	if f != nil && len(f.sent) == 0 && len(f.received) == 0 && f.queue.len() == 0 {
		s.flow = nil
		s.registry.flows.Put(f)
	}
}

// deliver hands one message to the connection, if window and connection have room. Full: neither did.
func (s *Session) deliver(f *flow, m *linkspan.Message, qos linkspan.QoS, retain bool, ids []uint32) Outcome {
	var id uint16
	if qos > 0 {
		if len(f.sent) >= int(s.window) { // [MQTT-3.3.4-9]
			return Full
		}
		id = s.freeID(f)
	}
	f.delivery = Delivery{Message: m, QoS: qos, Retain: retain, PacketID: id, SubscriptionIDs: ids}
	outcome := s.conn.Deliver(&f.delivery)
	f.delivery = Delivery{}
	stats := &s.registry.stats
	switch outcome {
	case TooLarge:
		stats.DroppedTooLarge.Add(1)
	case Sent:
		stats.Delivered[qos].Add(1)
		if qos > 0 {
			s.lastID = id
			f.sent[id] = puback + expects(qos-1)
		}
	}
	return outcome
}

// freeID returns the next packet identifier that is not in use [MQTT-2.2.1-3]. There is one within the window's size, as
// the window has room.
func (s *Session) freeID(f *flow) uint16 {
	id := s.lastID
	for {
		if id++; id == 0 {
			id = 1
		}
		if _, used := f.sent[id]; !used {
			return id
		}
	}
}

// PubAck settles an outgoing QoS 1 message. It returns false for an identifier that waits for no PUBACK.
func (s *Session) PubAck(id uint16) bool { return s.settle(id, puback) }

// PubComp settles an outgoing QoS 2 message. It returns false for an identifier that waits for no PUBCOMP.
func (s *Session) PubComp(id uint16) bool { return s.settle(id, pubcomp) }

// PubRec notes that the device has an outgoing QoS 2 message. ok tells the caller to answer with PUBREL, also a second
// time; it is false for an identifier that waits for no PUBREC, and if the device refused the message (reason 0x80 or
// above), which settles it [MQTT-4.3.3-4].
func (s *Session) PubRec(id uint16, failed bool) (ok bool) {
	if failed {
		s.settle(id, pubrec)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flow == nil {
		return false
	}
	if e, known := s.flow.sent[id]; !known || e == puback {
		return false
	}
	s.flow.sent[id] = pubcomp
	return true
}

// settle frees id if it expects that packet, and uses the room.
func (s *Session) settle(id uint16, packet expects) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flow == nil {
		return false
	}
	if e, known := s.flow.sent[id]; !known || e != packet {
		return false
	}
	delete(s.flow.sent, id)
	s.pump()
	return true
}

// Receive notes an incoming QoS 2 message. It returns false for the repeat of one that is not released yet
// [MQTT-4.3.3-10].
func (s *Session) Receive(id uint16) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	f := s.open()
	_, known := f.received[id]
	f.received[id] = struct{}{}
	return !known
}

// Forget frees the identifier of an incoming QoS 2 message that was refused: the next one is a new message
// [MQTT-4.3.3-9].
func (s *Session) Forget(id uint16) { s.Release(id) }

// Release frees the identifier of an incoming QoS 2 message, for PUBREL. It returns false if it is not in use
// [MQTT-4.3.3-11].
func (s *Session) Release(id uint16) (known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flow == nil {
		return false
	}
	_, known = s.flow.received[id]
	delete(s.flow.received, id)
	s.rest()
	return known
}

// Resume tells the session that the connection's outgoing buffer has room again.
func (s *Session) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.pump()
	}
}

// take delivers m, or queues a copy of it, and returns false if there is no room for either: the caller may use up to
// 1/share of the queue. A message that would never fit is queued alone.
func (s *Session) take(m *shared, t *target, ids []uint32, share int) bool {
	f := s.open()
	defer s.rest()
	q := &f.queue
	if q.len() == 0 && s.deliver(f, m.Message, t.qos, t.retain, ids) != Full {
		return true
	}
	cfg := &s.registry.cfg
	if q.messages > 0 && (q.messages >= cfg.MaxQueued/share || q.bytes+entryBytes(m.Message, ids) > cfg.MaxQueuedBytes/share) {
		return false
	}
	q.push(entry{m: m.keep(), ids: append([]uint32(nil), ids...), qos: t.qos, retain: t.retain})
	return true
}

// pump delivers what waits, as far as there is room, and tells those who wait for that.
func (s *Session) pump() {
	f := s.flow
	if f == nil {
		return
	}
	before, steps := f.queue.messages, walkSteps
	for f.queue.len() > 0 {
		e := f.queue.head()
		if e.walk != nil {
			if steps <= 0 {
				s.mu.Unlock() // walks may be long: Send may want to queue something
				s.mu.Lock()
				if s.flow != f {
					return
				}
				steps = walkSteps
				continue
			}
			if !s.advance(f, e.walk, &steps) {
				break
			}
			continue
		}
		if expired(e.m) {
			s.registry.stats.DroppedExpired.Add(1)
		} else if s.deliver(f, e.m, e.qos, e.retain, e.ids) == Full {
			break
		}
		f.queue.pop()
	}
	if f.queue.messages < before {
		s.signal()
		if s.behind != nil && s.low() {
			notify(s.behind.wake)
		}
	}
	s.rest()
}

// expired reports whether m is of no more use now.
func expired(m *linkspan.Message) bool { return !m.Expires.IsZero() && m.Expired(time.Now()) }

// low reports whether so little waits that it is time to read on from Kafka.
func (s *Session) low() bool {
	cfg := &s.registry.cfg
	return s.flow == nil || s.flow.queue.messages <= cfg.MaxQueued/4 && s.flow.queue.bytes <= cfg.MaxQueuedBytes/4
}

// signal wakes up Send, if it waits for room in the queue.
func (s *Session) signal() {
	if s.awaited {
		s.awaited = false
		notify(s.registry.wake)
	}
}

// notify leaves a token in c, if there is none.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
