package spool

import (
	"context"
	"errors"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// A drain walks the journal and hands its messages to the producer. All of it is one goroutine's.
type drain struct {
	s       *Spool
	walks   []*walk
	decoder decoder
	m       linkspan.Message
	now     time.Time
	leaving bool // nothing is handed over any more
}

// run drains until ctx ends. Until last does, it still walks: what the producer has, and delivers now, is not to come once more
// after the next start. It sleeps when there is nothing to do; who makes something to do pokes it.
func (d *drain) run(ctx, last context.Context) {
	defer d.close()
	for end := false; !end; {
		end = last.Err() != nil
		d.s.idle.Store(true)
		if d.pass(ctx) || end {
			continue
		}
		select {
		case <-d.s.wake:
		case <-last.Done():
		}
	}
}

// poke wakes the drain if it sleeps, or is about to.
func (s *Spool) poke() {
	if s.idle.Load() && s.idle.CompareAndSwap(true, false) {
		select {
		case s.wake <- struct{}{}:
		default: // one that was not needed is still there
		}
	}
}

// pass goes a step on each walk, and reports whether any of them got on.
func (d *drain) pass(ctx context.Context) (moved bool) {
	if d.s.hold.Load() {
		return false
	}
	d.now = time.Now()
	if d.s.failed.Load() > 0 {
		d.resume()
	}
	for _, w := range d.walks {
		w.before = w.at
	}
	for i := 0; i < len(d.walks); i++ {
		d.leaving = ctx.Err() != nil
		moved = d.step(d.walks[i]) || moved
	}
	d.join()
	return moved
}

// What can become of an entry that the walk has come to.
type fate byte

const (
	taken fate = iota // handed over, or need not be
	full              // its lane has enough for now
	apart             // its lane has to go back, on a walk of its own
)

// take has l take e.
func (d *drain) take(l *lane, e journal.Entry) fate {
	l.mu.Lock()
	if l.failed {
		l.mu.Unlock()
		return apart
	}
	f, dropped := l.meet(e.Seq)
	fate, send := taken, false
	var done func(error)
	switch {
	case e.Seq <= l.cursor && (f == nil || !f.back):
		// Another walk was here before.
	case f != nil && (f.over || f.sent):
		l.enter(f, e.Seq) // the producer had it before the spool, and what it says of it counts
	case d.tooOld(e):
		f = l.enter(f, e.Seq)
		f.over = true
		done = f.tell()
		l.counts.tooOld.Add(1)
	case d.leaving || !l.ready(cost(e)):
		fate = full
	default:
		f, send = l.enter(f, e.Seq), true
		l.depart(f, cost(e))
	}
	if !send {
		l.advance()
	}
	l.mu.Unlock()
	for _, done := range dropped {
		done(errDropped)
	}
	if done != nil {
		done(errDropped)
	}
	if send {
		d.send(l, f, e)
	}
	return fate
}

// errDropped is for the few senders that still wait when what they sent is dropped.
var errDropped = linkspan.Permanent(errors.New("the message was dropped from the spool"))

// send hands e to the producer.
func (d *drain) send(l *lane, f *flight, e journal.Entry) {
	m := &d.m
	if err := d.decoder.decode(l.Name, e, m); err != nil {
		m.Reset()
		m.Route, m.Payload = l.Name, e.Body
		f.promised(linkspan.Permanent(err))
		l.kept(f, nil, m)
		return
	}
	m.Received = d.now // it enters the producer now
	l.kept(f, d.s.parts.To.Keep(context.Background(), m, f.promise), m)
}

func (d *drain) tooOld(e journal.Entry) bool {
	age := d.s.cfg.MaxAge
	return age > 0 && d.now.Sub(e.Time) > age
}

// cost is what an entry counts towards DrainBytes.
func cost(e journal.Entry) int64 { return int64(len(e.Head)+len(e.Body)) + 1<<10 }

// meet returns the flight of entry seq, which a walk of the lane has come to, or nil. Flights before it whose entries the
// walk did not find are given up, as these were dropped or are damaged; their senders, if they still wait, are returned. The
// caller holds mu.
func (l *lane) meet(seq uint64) (f *flight, dropped []func(error)) {
	for ; l.again != nil && l.again.seq <= seq; l.again = l.again.next {
		if l.again.seq == seq {
			return l.again, nil
		}
		dropped = l.missed(l.again, dropped)
	}
	for f := l.written.head; f != nil && f.seq <= seq; f = l.written.head {
		if f.seq == seq {
			return f, dropped
		}
		l.written.remove(f)
		dropped = l.missed(f, dropped)
		l.free(f)
	}
	return nil, dropped
}

// missed gives f up, unless it needs no entry. The caller holds mu.
func (l *lane) missed(f *flight, dropped []func(error)) []func(error) {
	if f.over || f.sent {
		return dropped
	}
	f.over, f.back = true, false
	if f.done != nil && !f.writing { // else the journal tells
		dropped = append(dropped, f.tell())
	}
	return dropped
}

// enter puts f, the flight of entry seq or nil, into the window, where it may be already. The caller holds mu.
func (l *lane) enter(f *flight, seq uint64) *flight {
	if f == nil {
		f = l.flight(nil, false)
		f.seq = seq
	}
	if f.list == &l.written {
		l.written.remove(f)
	}
	if f.list == nil {
		l.window.push(f)
		l.cursor = seq
	}
	return f
}

// ready reports whether the lane may have size bytes more with the producer, and a longer window (P6). The last bytes are for lanes that have fewer: one that does
// not get on holds up no other. The caller holds mu.
func (l *lane) ready(size int64) bool {
	if l.window.n >= l.s.longest {
		return false
	}
	if l.drained == 0 {
		return true
	}
	if !l.full && (l.drained >= l.s.cfg.Drain.MaxInFlight || l.bytes+size > l.s.parts.DrainBytes-l.s.away.Load()) {
		l.full = true
	}
	return !l.full
}

// depart counts f as handed over. The caller holds mu.
func (l *lane) depart(f *flight, size int64) {
	f.back, f.keeping, f.sent = false, true, true
	f.since, f.size = l.s.clock.Load(), size
	f.attempts++
	l.drained++
	l.bytes += size
	l.s.away.Add(size)
}

// landed takes back what depart has counted. The caller holds mu.
func (l *lane) landed(f *flight) {
	if f.size == 0 {
		return
	}
	l.drained--
	l.bytes -= f.size
	free := l.s.parts.DrainBytes - l.s.away.Add(-f.size)
	f.size = 0
	if l.full && (l.drained == 0 || l.drained <= l.s.refill && l.bytes <= free/2) {
		l.full = false
		l.s.poke()
	}
}

// resume sends lanes back whose outcomes are all known, to the first message that came back.
func (d *drain) resume() {
	now := d.s.clock.Load()
	for _, l := range d.s.lanes {
		l.mu.Lock()
		if !l.failed || now < l.retry || l.closed || !l.known() {
			l.mu.Unlock()
			continue
		}
		l.failed = false
		d.s.failed.Add(-1)
		from := l.cursor
		if l.again = l.window.head; l.again != nil {
			from = l.again.seq - 1
		}
		l.mu.Unlock()
		d.s.stats.Rewinds.Add(1)
		d.leave(l)
		d.start(from, l)
	}
}

// known reports whether all outcomes are known. The caller holds mu.
func (l *lane) known() bool {
	for _, q := range [...]*list{&l.window, &l.written} {
		for f := q.head; f != nil; f = f.next {
			if f.sent {
				return false
			}
		}
	}
	return true
}
