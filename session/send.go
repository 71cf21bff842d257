package session

import (
	"context"
	"time"

	"github.com/linkspan/linkspan"
)

// A dispatcher is what Send needs while it hands out one message, kept for the next so that nothing is allocated.
type dispatcher struct {
	match  match
	wake   chan struct{} // a token: the session that is waited for has room, or has ended
	timer  *time.Timer
	stalls budget // of all sessions together
}

// Send hands m to every session with a matching subscription, and calls done(nil) once it is delivered or queued there,
// or noted as to be read back from Kafka. Messages of one Kafka partition must come in the order of their offsets.
//
// A session without room holds Send up within its budget (see [budget]), and with it all others, so that a short burst
// need not be read twice.
func (r *Registry) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	r.sending.Lock()
	r.dispatch(ctx, &shared{Message: m})
	r.sending.Unlock()
	done(nil)
}

// dispatch does the work of Send.
func (r *Registry) dispatch(ctx context.Context, m *shared) {
	var now time.Time
	if !m.Expires.IsZero() || m.Retain {
		now = time.Now()
	}
	// What is retained and who gets it live is one step against Subscribe: a new subscription gets m either way, not
	// both.
	r.tree.mu.RLock()
	r.round++
	if r.stats.Behind.Load() > 0 {
		r.live[placeOf(m.Message)] = m.Record.Offset + 1
	}
	if m.Retain && r.retained.set(m, r.round, now) {
		r.stats.RetainedRefused.Add(1)
	}
	targets := r.match.all(&r.tree, m.Message, r.round)
	r.tree.mu.RUnlock()
	if m.Expired(now) {
		r.stats.DroppedExpired.Add(int64(len(targets)))
		targets = nil
	}
	for i := range targets {
		r.offer(ctx, &targets[i], m)
	}
	r.match.reset() // sessions that end are not kept
}

// offer hands m to one session.
func (r *Registry) offer(ctx context.Context, t *target, m *shared) {
	s := t.session
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed {
		switch {
		case s.behind != nil && t.qos > 0:
			s.behind.note(m.Message)
			return
		case s.behind == nil && s.take(m, t, r.match.idsOf(t), 1):
			return
		case t.qos == 0:
			r.stats.DroppedFull.Add(1)
			return
		case !r.hold(ctx, s):
			s.fallBehind(m.Message)
			return
		}
	}
}

// hold waits until s, which is locked, has room or has ended. It returns false when the budget is used up.
func (r *Registry) hold(ctx context.Context, s *Session) bool {
	start := time.Since(r.started)
	stalls := r.stalls.left(start)
	limit := min(s.holds.left(start), stalls+patience)
	if stalls <= 0 || limit <= 0 {
		return false
	}
	select {
	case <-r.wake: // left over from a wait that ended otherwise
	default:
	}
	s.awaited = true
	s.mu.Unlock()
	if r.timer == nil {
		r.timer = time.NewTimer(limit)
	} else {
		r.timer.Reset(limit)
	}
	woken := false
	select {
	case <-r.wake:
		woken = true
	case <-r.timer.C:
	case <-ctx.Done():
	}
	r.timer.Stop()
	s.mu.Lock()
	s.awaited = false
	end := time.Since(r.started)
	s.holds.spend(end, end-start)
	if woken {
		r.stalls.spend(end, end-start-patience)
	} else {
		r.stalls.spend(end, end-start)
	}
	return woken
}

// A budget is how long the live path may be held up: at most 50 ms at once, and 100 ms in any second. Each session has
// one. All together have another, which waits within patience that were worth it do not count for: devices that keep up
// but for moments may pace the live path all the time, devices that are stuck may not, however many there are.
//
// Its value is when it will be whole again; times are counted from the start of the registry.
type budget time.Duration

const (
	holdBurst = 50 * time.Millisecond
	holdShare = 20 // a hold is paid back in this many times its length
	patience  = 5 * time.Millisecond
)

// left returns how long a hold may be now.
func (b budget) left(now time.Duration) time.Duration {
	return holdBurst - max(0, time.Duration(b)-now)/holdShare
}

// spend takes d off, if it is positive.
func (b *budget) spend(now, d time.Duration) {
	*b = budget(max(time.Duration(*b), now) + holdShare*max(0, d))
}

// shared is a borrowed message and, once somebody needs to keep it, the one copy that all share who do.
type shared struct {
	*linkspan.Message
	copied *linkspan.Message
}

func (m *shared) keep() *linkspan.Message {
	if m.copied == nil {
		m.copied = m.Clone()
	}
	return m.copied
}

// A match collects who gets a message, once each, whatever the number of its filters that match.
type match struct {
	nodes   []*node
	targets []target
	ids     []idLink // subscription identifiers of all targets
	one     []uint32 // those of one target
}

// A target is one session that gets a message.
type target struct {
	session *Session
	ids     int // the last of its identifiers in match.ids, as index + 1; 0: none
	qos     linkspan.QoS
	retain  bool
}

type idLink struct {
	id   uint32
	prev int // index + 1; 0: none
}

// all returns the sessions that get m. They are valid until reset. The caller holds the tree for reading, and
// Registry.sending.
func (x *match) all(t *tree, m *linkspan.Message, round uint64) []target {
	x.nodes = t.match(m.Topic, x.nodes)
	for _, n := range x.nodes {
		for sub := n.subs; sub != nil; sub = sub.next {
			if !sub.takes(m) {
				continue
			}
			s := sub.session
			if s.round != round {
				s.round, s.target = round, len(x.targets)
				x.targets = append(x.targets, target{session: s})
			}
			x.merge(&x.targets[s.target], sub, m)
		}
	}
	return x.targets
}

// reset forgets the last message's targets.
func (x *match) reset() {
	clear(x.nodes)
	clear(x.targets)
	x.nodes, x.targets, x.ids = x.nodes[:0], x.targets[:0], x.ids[:0]
}

// merge adds one subscription that matches: the highest quality, and all identifiers [MQTT-3.3.4-2, MQTT-3.3.4-4].
func (x *match) merge(t *target, sub *subscription, m *linkspan.Message) {
	t.qos = max(t.qos, min(sub.qos, m.QoS))
	t.retain = t.retain || sub.asPublished && m.Retain // [MQTT-3.3.1-12, MQTT-3.3.1-13]
	if sub.id != 0 {
		x.ids = append(x.ids, idLink{sub.id, t.ids})
		t.ids = len(x.ids)
	}
}

// idsOf returns the subscription identifiers of t. They are valid until the next call.
func (x *match) idsOf(t *target) []uint32 {
	x.one = x.one[:0]
	for i := t.ids; i > 0; i = x.ids[i-1].prev {
		x.one = append(x.one, x.ids[i-1].id)
	}
	return x.one
}
