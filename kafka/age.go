package kafka

import (
	"sync/atomic"
	"time"
)

// ages knows how old the oldest record in flight is, without a lock or a list. Records that come within a tenth of a second are one
// generation, counted in and out; the oldest generation with a count above zero is the age. When all generations are in
// use the newest stays open, which keeps the age of the oldest right.
//
// A record that enters while others open several new generations may be counted in one that is too young; the age
// is then too low until it leaves. It is for people and alarms.
type ages struct {
	newest atomic.Uint64 // number of the newest generation; its place is that modulo len(gens)
	gens   [64]generation
}

type generation struct {
	opened atomic.Int64 // nanoseconds since 1970; 0 never
	n      Tally
}

const generationSpan = 100 * time.Millisecond

// enter counts a record in and returns where to count it out, by out(1).
func (a *ages) enter(now time.Time) *Tally {
	at := now.UnixNano()
	newest := a.newest.Load()
	g := &a.gens[newest%uint64(len(a.gens))]
	if opened := g.opened.Load(); at-opened > int64(generationSpan) {
		next := &a.gens[(newest+1)%uint64(len(a.gens))]
		switch {
		case g.n.Load() == 0:
			g.opened.CompareAndSwap(opened, at)
		case next.n.Load() == 0 && a.newest.CompareAndSwap(newest, newest+1):
			next.opened.Store(at)
			g = next
		}
	}
	g.n.in(1)
	return &g.n
}

// oldest returns the age of the oldest generation that has records, 0 when none has.
func (a *ages) oldest(now time.Time) time.Duration {
	newest := a.newest.Load()
	for i := uint64(1); i <= uint64(len(a.gens)); i++ {
		g := &a.gens[(newest+i)%uint64(len(a.gens))]
		if g.n.Load() > 0 {
			return max(now.Sub(time.Unix(0, g.opened.Load())), 0)
		}
	}
	return 0
}
