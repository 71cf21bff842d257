package spool

import (
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// Room reports whether there is room for m where it would go now. See [linkspan.Bounded].
func (s *Spool) Room(m *linkspan.Message) bool {
	if m != nil && m.Route != "" {
		l := s.lane(m.Route)
		if l == nil {
			return !s.hold.Load() && s.parts.To.Room(m)
		}
		return l.room(m)
	}
	if len(s.byName) == 0 {
		return !s.hold.Load() && s.parts.To.Room(m)
	}
	for _, l := range s.lanes {
		if l.gone {
			continue
		}
		if l.room(m) == (m == nil) {
			return m == nil // the luckiest has room, or the unluckiest has none
		}
	}
	return m != nil
}

// room reports whether the lane has room for m, nil for any message.
func (l *lane) room(m *linkspan.Message) bool {
	s := l.s
	if !l.behind.Load() {
		return !s.hold.Load() && s.parts.To.Room(m)
	}
	if l.Ack == AckKafka {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.crowded() {
			return false
		}
	}
	return s.journal.Room() || l.Full != FullHold && s.limit.Load()
}

// crowded reports whether as many senders wait for Kafka behind what an earlier start has left in the spool as memory is for: the disk
// has their messages, but it is not the disk that they wait for. The caller holds mu.
func (l *lane) crowded() bool { return l.Ack == AckKafka && l.written.n >= l.s.longest }

// atLimit reports whether the disk is as full as it may be. A disk that is slow or fails is another matter: that holds
// back, whatever a lane says.
func (s *Spool) atLimit() bool { return s.limit.Load() && !s.journal.Room() }

// measure looks at the journal, once a tick.
func (s *Spool) measure() {
	st := s.journal.State()
	count(&s.noRoom, st.Condition == journal.OK)
	s.failing.Store(st.Condition == journal.Failing)
	s.limit.Store(st.Condition == journal.Full && st.Limit != "pending")
}

// makeRoom drops the oldest messages of lanes that want it so, as long as the disk is at its limit: whole segments, as nothing
// less gives room. How much that was is seen when the journal has deleted them, which takes a disk its time.
func (s *Spool) makeRoom() {
	st := s.journal.State()
	if st.Round < s.deleted {
		return
	}
	excess := max(st.Bytes+st.Pending-s.cfg.MaxBytes, s.cfg.MinFree-st.Free, 0) + 1
	for _, l := range s.lanes {
		if l.Full != FullDropOldest || !l.behind.Load() {
			continue
		}
		before := excess
		for excess > 0 {
			upTo := s.journal.Oldest(l.number)
			if upTo == 0 {
				break
			}
			excess -= max(l.drop(upTo, &l.counts.oldest), 1)
			s.deleted = s.journal.State().Rounds + 1
		}
		l.starved.Store(before == excess)
	}
}

// dropOld drops what is older than MaxAge.
func (s *Spool) dropOld(l *lane) {
	if s.journal == nil || s.cfg.MaxAge == 0 {
		return
	}
	if upTo := s.journal.Before(l.number, time.Now().Add(-s.cfg.MaxAge)); upTo != 0 {
		l.drop(upTo, &l.counts.tooOld)
	}
}

// drop settles the lane up to the entry upTo, whatever has become of it, and counts in reason what nobody will deliver. What the
// producer has goes its way; what of that comes back is counted then. It returns what the lane had up to there.
func (l *lane) drop(upTo uint64, reason *atomic.Uint64) (bytes int64) {
	settled, messages, bytes := l.upTo(upTo) // locks
	var dropped []func(error)
	for f := l.window.head; f != nil && f.seq <= upTo; f = f.next {
		if (f.sent || f.over) && f.seq > settled { // else it was dropped before
			messages--
		}
		dropped = l.missed(f, dropped)
	}
	l.advance()
	for f := l.written.head; f != nil && f.seq <= upTo; f = l.written.head {
		if f.sent || f.over {
			messages--
		}
		l.written.remove(f)
		dropped = l.missed(f, dropped)
		l.free(f)
	}
	l.cursor = max(l.cursor, upTo)
	l.cut, l.reason = upTo, reason
	l.s.journal.Settle(l.number, upTo)
	l.mu.Unlock()
	reason.Add(uint64(max(messages, 0)))
	for _, done := range dropped {
		done(errDropped)
	}
	return bytes
}

// upTo counts what the lane has behind its position, up to an entry that is on disk, and locks the lane. The disk is read
// without the lock, unless the position moves all the time.
func (l *lane) upTo(seq uint64) (settled uint64, messages, bytes int64) {
	count := func() {
		settled = l.s.journal.Settled(l.number)
		n, size := l.s.journal.Between(l.number, settled, seq)
		messages, bytes = int64(n), size
	}
	for range 3 {
		count()
		l.mu.Lock()
		if settled == l.s.journal.Settled(l.number) {
			return settled, messages, bytes
		}
		l.mu.Unlock()
	}
	l.mu.Lock()
	count()
	return settled, messages, bytes
}
