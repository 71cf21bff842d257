package fleet

import (
	"context"
	"errors"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// source is one partition that the [Router] is sent records of, in order.
type source struct {
	r *Router

	mu    sync.Mutex
	known bool
	next  int64  // offset that is to come
	since uint64 // the moment of the barrier behind which others had the partition no more
	held  []held // what waits, in order

	again  atomic.Bool           // somebody wants held looked at
	failed atomic.Pointer[error] // with which it is to be given back
	// back is the first offset that was given back and has not come again, none if there is none; late the last one behind it
	// that came nevertheless, and was given back too.
	back atomic.Int64
	late int64 // guarded by mu; -1: none
	// sent counts what is on its way to an inbox, by hash of the device: a collision makes a record wait for no reason.
	sent [64]atomic.Int32
}

// held is a record that waits.
type held struct {
	ctx  context.Context
	m    *linkspan.Message
	done func(error)
}

// seed is for hashes of devices, which no other process sees.
var seed = maphash.MakeSeed()

// away counts what is on its way to an inbox for the device, and for some others.
func (s *source) away(device string) *atomic.Int32 {
	return &s.sent[maphash.String(seed, device)%uint64(len(s.sent))]
}

// errBehind: a record before this one of its partition has failed.
var errBehind = errors.New("a record before this one is to be sent again first")

const none = math.MaxInt64

// follow notes that the record at offset has come, and reports whether it may go on: not so while one before it was given
// back and has not come again. Where records are missing between this one and those that we have sent on, others had
// the partition meanwhile, and what they have parked must be read first. s is locked.
//
// It is not enough that offsets follow each other: we may have given back the one before when others had the partition already.
// That shows when the sender begins again behind it.
func (s *source) follow(offset int64) bool {
	back := s.back.Load()
	if offset > back && offset > s.late {
		s.next, s.late = max(s.next, offset+1), offset
		return false
	}
	if !s.known || offset > s.next || offset > back {
		s.since = s.r.parking.barrier.tick()
	}
	if back != none {
		s.back.Store(none)
	}
	s.known, s.next, s.late = true, max(s.next, offset+1), -1
	return true
}

// giveBack has what waits given back, and what comes, until the sender begins again with the record at offset, which was
// given back with err.
func (s *source) giveBack(offset int64, err error) {
	s.lower(offset)
	s.failed.Store(&err)
	s.kick()
}

// lower makes back at most offset.
func (s *source) lower(offset int64) {
	for back := s.back.Load(); offset < back && !s.back.CompareAndSwap(back, offset); back = s.back.Load() {
	}
}

// kick has held looked at, by whoever has s locked.
func (s *source) kick() {
	s.again.Store(true)
	s.run()
}

// run looks at held if somebody wants it. Who had s locked calls it.
func (s *source) run() {
	for s.again.Load() && s.mu.TryLock() {
		s.again.Store(false)
		s.drain()
		s.mu.Unlock()
	}
}

// drain routes what can be routed by now, in order. s is locked.
func (s *source) drain() {
	if err := s.failed.Swap(nil); err != nil {
		for _, h := range s.held {
			s.lower(h.m.Record.Offset)
			s.r.refuse(*err, h.done)
		}
		s.r.held.Add(-int64(len(s.held)))
		s.held = nil
	}
	for len(s.held) > 0 {
		h := s.held[0]
		if !s.r.route(h.ctx, s, h.m, h.done) {
			return
		}
		s.held = s.held[1:]
		s.r.held.Add(-1)
	}
	s.held = nil
}

// moved is told that a lane of the barrier has moved, or that err kept it from it: then what waits is given back to be sent
// again.
func (r *Router) moved(err error) {
	if r.held.Load() == 0 && err == nil {
		return
	}
	r.mu.RLock()
	all := make([]*source, 0, len(r.sources))
	for _, s := range r.sources {
		all = append(all, s)
	}
	r.mu.RUnlock()
	for _, s := range all {
		if err != nil {
			s.failed.Store(&err)
		}
		s.kick()
	}
}

// flight is a record on its way to inboxes.
type flight struct {
	s      *source
	offset int64
	away   *atomic.Int32
	done   func(error)
	copies int32
	finish func(error) // f.end, bound once for the flight's many lives

	mu   sync.Mutex
	left int32
	err  error
}

// flight returns one for so many inboxes.
func (r *Router) flight(s *source, offset int64, copies int, away *atomic.Int32, done func(error)) *flight {
	f, _ := r.flights.Get().(*flight)
	if f == nil {
		f = new(flight)
		f.finish = f.end
	}
	if away != nil {
		away.Add(1)
	}
	f.s, f.offset, f.away, f.done, f.copies, f.left, f.err = s, offset, away, done, int32(copies), int32(copies), nil
	return f
}

// end is what the sink calls, for each inbox. The record is done when all have it; one that can be tried again counts more
// than one that refuses for good.
func (f *flight) end(err error) {
	f.mu.Lock()
	if err != nil && (f.err == nil || linkspan.IsPermanent(f.err)) {
		f.err = err
	}
	f.left--
	s, offset, last := f.s, f.offset, f.left == 0
	f.mu.Unlock()
	if err != nil && !linkspan.IsPermanent(err) {
		s.giveBack(offset, err)
	}
	if !last {
		return
	}
	r, away, done, copies, err := s.r, f.away, f.done, f.copies, f.err
	f.s, f.away, f.done, f.err = nil, nil, nil, nil
	r.flights.Put(f)
	switch {
	case err != nil:
		r.refuse(err, done)
	default:
		if copies == 1 {
			r.stats.Inbox.Add(1)
		} else {
			r.stats.Flooded.Add(1)
		}
		r.stats.Copies.Add(uint64(copies))
		done(nil)
	}
	if away != nil && away.Add(-1) == 0 && r.held.Load() > 0 {
		s.kick()
	}
}
