package bridge

import (
	"context"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// A guard stands before a sink on the way down: what that refuses for good goes to the dead letter topic, and counts as
// taken when it is there (P2). All else is as the sink says. The sink may take long to answer, and what it was handed is
// Kafka's memory, so the guard has a copy.
//
// Where the dead letter topic fails too, the record is handed over again and again, and holds up its partition, rather
// than be lost.
type guard struct {
	dead     *deadLetters
	to       linkspan.Bounded
	endpoint string
}

var _ linkspan.Bounded = (*guard)(nil)

// Room reports whether there is room behind the guard.
func (g *guard) Room(m *linkspan.Message) bool { return g.to.Room(m) }

// Send passes m on. What is kept of it for the case of a refusal is a copy in memory that is used again and again.
func (g *guard) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	f := g.flight(ctx, done)
	g.to.Send(ctx, m, f.settle)
	f.sent(m)
}

// Refuse puts m into the dead letter topic. It is used as Send is.
func (g *guard) Refuse(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
	f := g.flight(ctx, done)
	f.settled(why)
	f.sent(m)
}

func (g *guard) flight(ctx context.Context, done func(error)) *deadFlight {
	f, _ := g.dead.flights.Get().(*deadFlight)
	if f == nil {
		f = new(deadFlight)
		f.settle = f.settled
	}
	f.guard, f.ctx, f.done = g, ctx, done
	return f
}

// deadFlight is a message between its Send and its done. Send's goroutine owns the copy until the state is kept, then whoever
// settles does.
type deadFlight struct {
	guard  *guard
	ctx    context.Context
	done   func(error)
	settle func(error) // f.settled, bound once for the flight's many lives
	state  atomic.Int32
	why    error // refused for good with

	m   linkspan.Message // what a dead letter is made of
	buf []byte           // holds what m points to
}

const (
	flying  int32 = iota // Send has not returned, not settled
	kept                 // Send has returned, the copy is there, not settled
	refused              // refused for good before Send has returned
	over                 // settled, and no copy is needed
)

// settled is the done of the sink behind.
func (f *deadFlight) settled(err error) {
	if !linkspan.IsPermanent(err) {
		f.done(err)
		if f.state.Swap(over) == kept {
			f.release()
		}
		return
	}
	f.why = err
	if !f.state.CompareAndSwap(flying, refused) {
		f.bury()
	}
}

// sent makes the copy, unless the message is settled already.
func (f *deadFlight) sent(m *linkspan.Message) {
	if f.state.Load() == over {
		f.release()
		return
	}
	f.keep(m)
	switch {
	case f.state.CompareAndSwap(flying, kept):
	case f.state.Load() == refused:
		f.bury()
	default:
		f.release()
	}
}

// bury writes the dead letter.
func (f *deadFlight) bury() {
	f.guard.dead.buryDown(f.ctx, &f.m, f.why, f.done)
	f.release()
}

// release gives the flight back for another message.
func (f *deadFlight) release() {
	if cap(f.buf) > deadHead {
		f.buf = nil // few are so large
	}
	dead, headers := f.guard.dead, f.m.Record.Headers[:0]
	*f = deadFlight{settle: f.settle, buf: f.buf[:0]}
	f.m.Record.Headers = headers
	dead.flights.Put(f)
}

// keep copies what a dead letter is made of.
func (f *deadFlight) keep(m *linkspan.Message) {
	size := len(m.Payload) + len(m.Record.Key)
	for _, h := range m.Record.Headers {
		size += len(h.Value)
	}
	if cap(f.buf) < size {
		f.buf = make([]byte, 0, size)
	}
	f.m.Payload, f.m.Route, f.m.Endpoint, f.m.Tries = f.copy(m.Payload), m.Route, f.guard.endpoint, m.Tries
	r := &f.m.Record
	r.Topic, r.Partition, r.Offset, r.Tombstone, r.Key = m.Record.Topic, m.Record.Partition, m.Record.Offset, m.Record.Tombstone, f.copy(m.Record.Key)
	for _, h := range m.Record.Headers {
		r.Headers = append(r.Headers, linkspan.Header{Key: h.Key, Value: f.copy(h.Value)})
	}
}

// copy returns a copy of b in the buffer, which has room for it; nil stays nil.
func (f *deadFlight) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	from := len(f.buf)
	f.buf = append(f.buf, b...)
	return f.buf[from:len(f.buf):len(f.buf)]
}
