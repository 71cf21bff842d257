package kafka

import (
	"sync/atomic"
	"time"
)

// ages counts the bytes in flight and knows how old the oldest are, without a lock or a list. What comes within a tenth of a second is one
// generation, counted in and out; the oldest generation with a count above zero is the age. When all generations are in
// use the newest stays open, which keeps the age of the oldest right.
//
// A record that enters while others open several new generations may be counted in one that is too young; the age
// is then too low until it leaves. It is for people and alarms.
//
// Those who send and those who finish write to different lines of memory, each to one.
type ages struct {
	newest atomic.Uint32 // number of the newest generation; its place is that modulo generations
	_      [60]byte
	gens   [generations]generation
	left   [generations]atomic.Int64 // bytes that were counted out
}

type generation struct {
	opened  atomic.Int64 // nanoseconds since 1970; 0 never
	entered atomic.Int64 // bytes that were counted in
	room    atomic.Int64 // what entered may come to before all are to be looked at again
	_       [8]byte
}

const (
	generations    = 64
	generationSpan = 100 * time.Millisecond
)

// enter counts bytes in and returns the generation from which to count them out, by leave.
func (a *ages) enter(bytes int64, now time.Time) (place int32) {
	at := now.UnixNano()
	newest := a.newest.Load()
	place = int32(newest % generations)
	g := &a.gens[place]
	if opened := g.opened.Load(); at-opened > int64(generationSpan) {
		after := int32((newest + 1) % generations)
		switch next := &a.gens[after]; {
		case a.inside(place) == 0:
			g.opened.CompareAndSwap(opened, at)
		case a.inside(after) == 0:
			next.room.Store(0)
			if a.newest.CompareAndSwap(newest, newest+1) {
				next.opened.Store(at)
				place, g = after, next
			}
		}
	}
	g.entered.Add(bytes)
	return place
}

func (a *ages) leave(bytes int64, place int32) { a.left[place].Add(bytes) }

// inside returns the bytes of a generation in flight. It is never less than there were at some moment during the call.
func (a *ages) inside(place int32) int64 {
	left := a.left[place].Load() // first: what leaves meanwhile still counts
	return a.gens[place].entered.Load() - left
}

// total returns the bytes in flight.
func (a *ages) total() (n int64) {
	for i := range int32(generations) {
		n += a.inside(i)
	}
	return n
}

// below reports whether less than most bytes are in flight. It looks at what has left only when those who entered since it
// last looked might be most: who sends does not have to wait for who finishes.
func (a *ages) below(most int64) bool {
	g := &a.gens[a.newest.Load()%generations]
	entered := g.entered.Load()
	if entered < g.room.Load() {
		return true
	}
	free := most - a.total()
	if free > 0 {
		g.room.Store(entered + free)
	}
	return free > 0
}

// oldest returns the age of the oldest generation that has records, 0 when none has.
func (a *ages) oldest(now time.Time) time.Duration {
	newest := a.newest.Load()
	for i := range uint32(generations) {
		if place := int32((newest + 1 + i) % generations); a.inside(place) > 0 {
			return max(now.Sub(time.Unix(0, a.gens[place].opened.Load())), 0)
		}
	}
	return 0
}
