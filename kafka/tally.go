package kafka

import "sync/atomic"

// A Tally counts what is under way: it goes in on the senders' side and comes out on the Kafka client's. Each side has
// a cache line of its own, as two processors that write to the same one spend more time on that than on a message.
type Tally struct {
	entered atomic.Int64
	_       [56]byte
	left    atomic.Int64
	_       [56]byte
}

func (t *Tally) in(n int64)  { t.entered.Add(n) }
func (t *Tally) out(n int64) { t.left.Add(n) }

// Load returns how much is under way. It is never less than there was at some moment during the call.
func (t *Tally) Load() int64 {
	left := t.left.Load() // first: what leaves meanwhile still counts
	return t.entered.Load() - left
}
