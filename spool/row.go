package spool

import (
	"math/bits"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// seats is how many messages a row has.
const seats = 16

// A row has messages of one lane on the direct way, side by side. The usual message is delivered, and nothing happens to it on the
// way: all it needs of the spool is a seat, from its Send to the producer's answer. Thousands are on the way at a time, so what one costs is
// mostly the lines of memory that go to the processor of the producer's goroutine and back: here many share one.
//
// Three facts are known of each seat. Who establishes one does so without a lock, and then has no more to do with the row: unless
// the seat was grounded before. That is done with the lane's mutex held, when something happens to the message: from then on it has a flight,
// and who comes for the seat takes the mutex. That guards the rest of the row, too, but dones, which are there for the producer's answer,
// and kepts, which are there to be read once Keep has returned.
type row struct {
	lane  *lane
	facts atomic.Uint64
	next  *row   // of the lane, or spare
	given int    // seats that have a message, the first ones
	mute  uint16 // a bit for each whose sender has no ears for a refusal
	away  bool   // it has left the lane's rows: all seats that are not over are grounded

	since    [seats]uint32 // ticks: when the producer got it
	dones    [seats]func(error)
	kepts    [seats]linkspan.Kept
	promises [seats]func(error) // bound once for the row's many lives
	flights  [seats]*flight     // of grounded seats; nil where the message had landed
}

// The facts, as they are for the first seat. Those of the others follow.
const (
	landed   uint64 = 1 << (iota * seats) // the producer has answered; with nil, if the seat was not grounded
	boarded                               // Keep has returned
	grounded                              // the lane's mutex guards it
)

func newRow(l *lane) *row {
	r := &row{lane: l}
	for i := range r.promises {
		r.promises[i] = func(err error) { r.promised(i, err) }
	}
	return r
}

// promised is the done of the producer for seat i.
func (r *row) promised(i int, err error) {
	done := r.dones[i] // once it has landed it may be another's
	if err == nil && r.establish(landed, i) {
		done(nil) // P1: all in-sync replicas have it
		return
	}
	if f := r.report(landed, i); f != nil {
		f.promised(err)
	}
}

// kept notes what Keep has returned for seat i. m is still at hand.
func (r *row) kept(i int, copy linkspan.Kept, m *linkspan.Message) {
	r.kepts[i] = copy
	if r.establish(boarded, i) {
		return
	}
	if f := r.report(boarded, i); f != nil {
		r.lane.kept(f, copy, m)
	}
}

// establish adds a fact about seat i, unless that is grounded.
func (r *row) establish(fact uint64, i int) bool {
	for {
		facts := r.facts.Load()
		if facts&(grounded<<i) != 0 {
			return false
		}
		if r.facts.CompareAndSwap(facts, facts|fact<<i) {
			return true
		}
	}
}

// report adds a fact about seat i, which is grounded if it is not yet, and returns its flight, nil if it had landed before.
func (r *row) report(fact uint64, i int) *flight {
	l := r.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if was := r.facts.Or((grounded | fact) << i); was&(grounded<<i) == 0 {
		l.ground(r, i, was)
	}
	f := r.flights[i]
	l.rows.release(r)
	return f
}

// all has a bit for each seat that has a message.
func (r *row) all() uint64 { return 1<<r.given - 1 }

// with has a bit for each seat of which that is a fact.
func (r *row) with(fact uint64) uint64 { return r.facts.Load() / fact & (1<<seats - 1) }

// over has a bit for each seat that nobody comes for any more.
func (r *row) over() uint64 { return r.with(landed) & r.with(boarded) }

// aloft has a bit for each seat that has a message on its way, to which nothing has happened.
func (r *row) aloft() uint64 { return r.all() &^ r.with(landed) &^ r.with(grounded) }

// free reports whether the row is full, and nobody comes for any of it any more.
func (r *row) free() bool { return r.over() == 1<<seats-1 }

// forget lets go of what the senders and the producer had here for seats that are over.
func (r *row) forget() {
	for over := r.over(); over != 0; over &= over - 1 {
		i := bits.TrailingZeros64(over)
		r.dones[i], r.kepts[i] = nil, nil
	}
}

// reset empties a row that is over.
func (r *row) reset() {
	if r.with(grounded) != 0 {
		clear(r.flights[:])
	}
	clear(r.dones[:])
	clear(r.kepts[:])
	r.facts.Store(0)
	r.next, r.given, r.mute, r.away = nil, 0, 0, false
}

// Rows are those of one lane in the order of Send. The lane's mutex guards them.
type rows struct {
	head, tail *row
	n          int
	crowd      int  // more than so many, and sweep looks at all
	spare      *row // those that nobody has, by next
	spares     int
}

const (
	minCrowd  = 4096 / seats    // rows that are no reason to look at all
	spareRows = 1 << 14 / seats // that a lane keeps for what comes
)

// seat gives a message of l the next seat.
func (q *rows) seat(l *lane, done func(error), mute bool) (r *row, i int) {
	if r = q.tail; r == nil || r.given == seats {
		q.sweep()
		if r = q.spare; r == nil {
			r = newRow(l)
		} else {
			q.spare, r.next = r.next, nil
			q.spares--
		}
		q.push(r)
	}
	i = r.given
	r.given++
	r.dones[i], r.since[i] = done, l.s.clock.Load()
	if mute {
		r.mute |= 1 << i
	}
	return r, i
}

func (q *rows) push(r *row) {
	if q.tail == nil {
		q.head = r
	} else {
		q.tail.next = r
	}
	q.tail = r
	q.n++
}

// sweep takes the oldest rows that are free off the direct way, up to one that is not. Where that leaves many, since Kafka does not
// answer for one partition while it does for others, it looks at all. What is left then are rows of which the producer has
// a message at least, and counts it as about as much as a row is: so its bound is one for them, too (P6).
func (q *rows) sweep() {
	for r := q.head; r != nil && r.free(); r = q.head {
		if q.head = r.next; q.head == nil {
			q.tail = nil
		}
		q.n--
		q.keep(r)
	}
	if q.n > q.crowd {
		q.sweepAll()
		q.crowd = 2*q.n + minCrowd
	}
}

// sweepAll takes all that are free off the direct way.
func (q *rows) sweepAll() {
	for r := q.clear(); r != nil; {
		next := r.next
		if r.next = nil; r.free() {
			q.keep(r)
		} else {
			r.forget()
			q.push(r)
		}
		r = next
	}
}

// clear takes all off the direct way, and returns the first of them.
func (q *rows) clear() (first *row) {
	first = q.head
	q.head, q.tail, q.n = nil, nil, 0
	return first
}

// release gives back a row that has left, when nobody comes for any of it any more.
func (q *rows) release(r *row) {
	if r.away && r.over() == r.all() {
		q.keep(r)
	}
}

// keep has a row ready for what comes.
func (q *rows) keep(r *row) {
	if q.spares == spareRows {
		return
	}
	r.reset()
	r.next, q.spare = q.spare, r
	q.spares++
}

// aloft returns how many messages are on their way, and nothing has happened to them.
func (q *rows) aloft() (n int) {
	for r := q.head; r != nil; r = r.next {
		n += bits.OnesCount64(r.aloft())
	}
	return n
}

// oldest returns when the producer got the first of these.
func (q *rows) oldest() (since uint32, ok bool) {
	for r := q.head; r != nil; r = r.next {
		if aloft := r.aloft(); aloft != 0 {
			return r.since[bits.TrailingZeros64(aloft)], true
		}
	}
	return 0, false
}
