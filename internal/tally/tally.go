// Package tally counts what is under way between two processors.
package tally

import "sync/atomic"

// A Tally counts what is under way: it goes in where it is handed over and comes out where it is settled. Each side has a cache line of
// its own, as two processors that write to the same one spend more time on that than on a message. The zero value is ready to
// use.
type Tally struct {
	_       [64]byte
	entered atomic.Int64
	_       [56]byte
	left    atomic.Int64
	_       [56]byte
}

// In counts n that are handed over. Who hands over may count a few at once, after it has done so.
func (t *Tally) In(n int64) { t.entered.Add(n) }

// Out counts n that are settled.
func (t *Tally) Out(n int64) { t.left.Add(n) }

// Load returns how much is under way, at least 0. It is never less than there was, as far as counted in, at some moment during the call.
func (t *Tally) Load() int64 {
	left := t.left.Load() // first: what leaves meanwhile still counts
	return max(t.entered.Load()-left, 0)
}
