package spool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// A lane keeps the order of its messages through both ways. As long as nothing happens to a message on the direct way it has a seat in
// one of the rows, and then a flight, which is in one of three lists at most:
//
//	direct   handed to the producer, not in the spool
//	written  in the spool, and the walk has not come to its entry yet; only those that are not on disk, or that the
//	         producer has as well
//	window   the walk has passed its entry: handed to the producer now, or left to it when the spool took over
//
// The window's settled prefix is the lane's position in the journal (P4).
type lane struct {
	Lane
	s      *Spool
	number journal.Lane
	gone   bool  // no route has the name any more
	walk   *walk // that it takes part in; the drain's

	// behind says that messages go to the spool. It is written with mu held.
	behind atomic.Bool
	// starved says that there is nothing left to drop, and no room either.
	starved atomic.Bool
	counts  counts

	mu      sync.Mutex
	closed  bool
	rows    rows
	direct  list
	written list
	window  list
	last    uint64         // number of the newest entry
	cursor  uint64         // number of the last entry that was walked
	again   *flight        // of window: where a walk that repeats is; nil while none does
	drained int            // handed over out of the spool, outcome not known, and
	bytes   int64          // their bytes
	full    bool           // so many that none is added before they are few
	failed  bool           // something came back: nothing is handed over until all outcomes are known
	retry   uint32         // ticks: not before then
	backoff uint32         // ticks
	cut     uint64         // entries up to here were dropped, and
	reason  *atomic.Uint64 // this counts those of them that come back
	// answered says that the producer delivered something since the lane went behind.
	answered bool
	wrote    bool // since then something was written
	rates    rates

	spare  *flight // those that nobody has, by next
	spares int

	head  []byte           // scratch for heads
	shown linkspan.Message // scratch for what the producer shows
}

// Send takes custody of m as the lane of m.Route says. What has a Route without a lane goes to Kafka directly. It never
// blocks for longer than it takes to copy.
func (s *Spool) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	l := s.lane(m.Route)
	if l == nil {
		s.parts.To.Send(ctx, m, done)
		return
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		done(linkspan.ErrClosed)
		return
	}
	if l.behind.Load() {
		l.spool(m, done) // unlocks
		return
	}
	if l.Ack == AckMemory { // its sender is told before the producer answers
		f := l.takeOff(done, m.Mute, s.clock.Load())
		l.mu.Unlock()
		l.kept(f, s.parts.To.Keep(ctx, m, f.promise), m)
		return
	}
	r, i := l.rows.seat(l, done, m.Mute)
	l.mu.Unlock()
	r.kept(i, s.parts.To.Keep(ctx, m, r.promises[i]), m)
}

// kept goes on with f when Keep has returned. m is still at hand.
func (l *lane) kept(f *flight, kept linkspan.Kept, m *linkspan.Message) {
	l.mu.Lock()
	f.kept, f.keeping = kept, false
	if !f.sent { // the outcome came first
		f.kept = nil
		l.outcome(f, m)
		return
	}
	var done func(error)
	if l.Ack == AckMemory && !l.closed {
		done = f.tell()
	}
	if f.list == &l.direct && l.behind.Load() && !l.closed { // it was taken over meanwhile
		l.takeFlight(f)
	}
	l.mu.Unlock()
	if done != nil {
		done(nil)
	}
}

// spool appends m. The caller holds mu, which is unlocked.
func (l *lane) spool(m *linkspan.Message, done func(error)) {
	var err error
	drop := false
	if l.Full != FullHold && l.s.atLimit() {
		switch {
		case l.Full == FullRefuse:
			err, drop = linkspan.ErrQuota, true
			l.counts.refused.Add(1)
		case l.Full == FullDropNewest || l.starved.Load():
			drop = true
			l.counts.newest.Add(1)
		}
	}
	if !drop && !fits(m) {
		err, drop = linkspan.ErrTooLarge, true
	}
	if drop {
		l.mu.Unlock()
		done(err)
		return
	}
	f := l.flight(done, m.Mute)
	if done = nil; l.Ack == AckMemory {
		done = f.tell()
	}
	l.append(f, m)
	l.mu.Unlock()
	if done != nil {
		done(nil)
	}
	l.s.poke()
}

// append writes m, the message of f, behind all others of the lane. The caller holds mu: so numbers rise as messages come (P3).
func (l *lane) append(f *flight, m *linkspan.Message) {
	l.head = appendHead(l.head[:0], m)
	f.writing = true
	l.written.push(f)
	f.seq = l.s.journal.Append(l.number, l.head, m.Payload, f.synced)
	l.last, l.wrote = f.seq, true
	l.counts.spooled.Add(1)
	if cap(l.head) > maxScratch {
		l.head = nil
	}
}

// maxScratch bounds what a lane keeps for the next head.
const maxScratch = 64 << 10

// outcome goes on with f, of which the producer has said f.err. m is its message if that is at hand, else the producer shows it.
// The caller holds mu, which is unlocked.
func (l *lane) outcome(f *flight, m *linkspan.Message) {
	if f.list == &l.direct {
		l.direct.remove(f)
	}
	l.landed(f)
	var done func(error)
	err, final := f.err, linkspan.IsPermanent(f.err)
	switch {
	case err == nil:
		f.over = true
		l.answered, l.backoff = true, 0
		if f.seq != 0 {
			l.counts.drained.Add(1)
		}
		done = f.tell() // P1: all in-sync replicas have it
	case final && f.done != nil && !f.mute:
		f.over = true
		done = f.tell() // the sender is told, and nobody else needs to know
	case final || f.seq == 0 && f.done == nil:
		l.bury(f, m)
		return
	case f.seq != 0 && f.seq <= l.cut:
		done = l.giveUp(f)
	case f.seq == 0 || l.closed:
		done = f.tell() // the sender keeps it
	default:
		l.giveBack(f)
	}
	l.settled(f)
	l.mu.Unlock()
	if done != nil {
		done(err)
	}
}

// bury hands f, refused for good, to the dead letter topic. The caller holds mu, which is unlocked.
func (l *lane) bury(f *flight, m *linkspan.Message) {
	f.sent = true
	why, kept, attempts := f.err, f.kept, f.attempts
	l.mu.Unlock()
	if m == nil {
		m = new(linkspan.Message)
		kept.Show(m)
	}
	m.Route = l.Name
	l.s.parts.Bury(context.Background(), m, why, attempts, func(err error) { l.buried(f, err) })
}

// buried is the done of Bury. A dead letter that is not taken stays with whoever had the message: the spool, or the sender.
func (l *lane) buried(f *flight, err error) {
	l.mu.Lock()
	f.sent = false
	var done func(error)
	switch {
	case err == nil:
		f.over = true
		l.counts.buried.Add(1)
		done = f.tell()
	case f.seq != 0 && f.seq <= l.cut:
		done = l.giveUp(f)
	case f.seq != 0 && !l.closed:
		l.giveBack(f)
	default:
		if done = f.tell(); done == nil {
			l.counts.lost.Add(1)
		}
	}
	l.settled(f)
	l.mu.Unlock()
	if done != nil {
		done(err)
	}
}

// giveUp drops f, which has come back after its entry was dropped, unless its sender still waits for it. The caller holds mu.
func (l *lane) giveUp(f *flight) (done func(error)) {
	f.over = true
	if done = f.tell(); done == nil {
		l.reason.Add(1)
	}
	return done
}

// settled notes that f has come to an end, or has come back, and moves the position over the prefix that is over. The caller
// holds mu.
func (l *lane) settled(f *flight) {
	if f.list != &l.window {
		if f.list == &l.written && f.done == nil && !f.over && !f.writing {
			l.written.remove(f) // it came back, and is on disk: from there it is read
		}
		l.free(f)
		return
	}
	l.advance()
}

// advance moves the position over the settled prefix of the window (P4). The caller holds mu.
func (l *lane) advance() {
	upTo, long := uint64(0), l.window.n >= l.s.longest
	for f := l.window.head; f != nil && f.over; f = l.window.head {
		upTo = f.seq
		if l.again == f {
			l.again = f.next
		}
		l.window.remove(f)
		l.free(f)
	}
	if upTo > 0 {
		l.s.journal.Settle(l.number, upTo)
		if long {
			l.s.poke()
		}
	}
}

// waited returns for how many ticks the oldest on the direct way has been with the producer. The caller holds mu.
func (l *lane) waited(now uint32) (age uint32) {
	l.rows.sweep()
	if since, ok := l.rows.oldest(); ok {
		age = now - since
	}
	if f := l.direct.head; f != nil {
		age = max(age, now-f.since)
	}
	return age
}

// oldest returns how long the oldest that the producer has was with it. The caller holds mu.
func (l *lane) oldest(now uint32) time.Duration {
	age := l.waited(now)
	if f := l.window.head; f != nil && f.sent {
		age = max(age, now-f.since)
	}
	return time.Duration(age) * tick
}
