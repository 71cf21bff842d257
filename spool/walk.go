package spool

import "github.com/linkspan/linkspan/spool/journal"

// A walk goes through the journal for some lanes together. One lane that does not get on must not hold up the others:
//
//  1. Lanes a and b walk together, and the walk comes to an entry of a, which has enough with the producer. It waits.
//  2. A tick later a still takes nothing, and there are entries for b further on. So a is left behind: it gets a walk of its own,
//     which begins here, and the first one goes on without it.
//  3. The walk of a gets where the other one is, or both are at the end. They go on as one, from the place that is further back: each
//     lane has a cursor, so that nothing is taken twice.
//
// A lane whose messages came back walks by itself from the first of these, and joins the others in the same way.
type walk struct {
	r      *journal.Reader
	member func(journal.Lane) bool
	at     uint64 // everything of its lanes up to here was met
	before uint64 // at, before the pass
	end    bool   // nothing is left

	entry journal.Entry // that its lane cannot take yet
	held  bool
	since uint32 // ticks: when it was held first
}

// burst is how many entries a walk takes before the next one has its turn.
const burst = 512

// start begins a walk behind from.
func (d *drain) start(from uint64, lanes ...*lane) *walk {
	w := &walk{r: d.s.journal.NewReader(from), at: from, before: from}
	w.member = func(n journal.Lane) bool {
		if int(n) >= len(d.s.byNumber) {
			return false
		}
		l := d.s.byNumber[n]
		return l != nil && l.walk == w
	}
	for _, l := range lanes {
		l.walk = w
	}
	d.walks = append(d.walks, w)
	return w
}

// step goes on with w, and reports whether it got on.
func (d *drain) step(w *walk) (moved bool) {
	w.end = false
	for range burst {
		if !w.held {
			e, last, ok := d.next(w)
			if !ok {
				w.at = w.r.Seq()
				if w.r.Err() == nil {
					w.end = true
					d.arrive(w, last)
				}
				return moved
			}
			w.entry, w.held, w.since = e, true, d.s.clock.Load()
			w.at = e.Seq - 1
		}
		l := d.s.byNumber[w.entry.Lane]
		switch d.take(l, w.entry) {
		case full:
			if d.s.clock.Load()-w.since < 2 || !d.hungry(w, l) {
				return moved
			}
			d.s.stats.LeftBehind.Add(1)
			d.start(w.at, l)
		case apart:
			l.walk = nil // resume gives it one
		case taken:
			w.at = w.entry.Seq
		}
		w.entry, w.held = journal.Entry{}, false
		moved = true
	}
	return moved
}

// next reads on. Where there is nothing more, everything up to last was read.
//
// What is on its way to the disk is read from memory: under steady traffic a lane would otherwise never get to where
// all of it is with the producer, and a disk that fails would keep it for ever. Lanes that are to go through the disk in any
// case can wait for it.
func (d *drain) next(w *walk) (e journal.Entry, last uint64, ok bool) {
	ahead := d.s.failing.Load()
	for _, l := range d.s.lanes {
		ahead = ahead || l.walk == w && l.Ack != AckSpool && l.behind.Load()
	}
	if ahead {
		last = d.s.journal.Last()
		e, ok = w.r.Ahead(w.member)
	} else {
		last = d.s.journal.Synced()
		e, ok = w.r.Next(w.member)
	}
	return e, last, ok
}

// hungry reports whether w has entries for lanes other than l that have room.
func (d *drain) hungry(w *walk, l *lane) bool {
	for _, other := range d.s.lanes {
		if other == l || other.walk != w {
			continue
		}
		other.mu.Lock()
		hungry := other.last > w.at && !other.full && !other.failed
		other.mu.Unlock()
		if hungry {
			return true
		}
	}
	return false
}

// arrive tells the lanes of w that there is nothing more up to last.
func (d *drain) arrive(w *walk, last uint64) {
	for _, l := range d.s.lanes {
		if l.walk != w || !l.behind.Load() {
			continue
		}
		l.mu.Lock()
		_, dropped := l.meet(last + 1) // one that came since is not there to be met yet
		l.advance()
		l.mu.Unlock()
		for _, done := range dropped {
			done(errDropped)
		}
		l.tryReturn(last)
	}
}

// join makes one of walks that have met, and ends those without lanes.
func (d *drain) join() {
	for i := 0; i < len(d.walks); i++ {
		for k := i + 1; k < len(d.walks); k++ {
			a, b := d.walks[i], d.walks[k]
			if a.before > b.before {
				a, b = b, a // b was ahead
			}
			if a.end && b.end || a.before < b.before && a.at >= b.at {
				to, from := a, b
				if a.at > b.at {
					to, from = b, a
				}
				d.move(from, to)
			}
		}
	}
	live := d.walks[:0]
	for _, w := range d.walks {
		if d.alone(w) {
			w.r.Close()
			continue
		}
		live = append(live, w)
	}
	clear(d.walks[len(live):])
	d.walks = live
}

// move has the lanes of one walk go with another.
func (d *drain) move(from, to *walk) {
	for _, l := range d.s.lanes {
		if l.walk == from {
			l.walk = to
			to.end = false
		}
	}
}

// alone reports whether no lane goes with w.
func (d *drain) alone(w *walk) bool {
	for _, l := range d.s.lanes {
		if l.walk == w {
			return false
		}
	}
	return true
}

// leave takes l out of its walk.
func (d *drain) leave(l *lane) {
	if w := l.walk; w != nil && w.held && d.s.byNumber[w.entry.Lane] == l {
		w.entry, w.held = journal.Entry{}, false
	}
	l.walk = nil
}

func (d *drain) close() {
	for _, w := range d.walks {
		w.r.Close()
	}
}
