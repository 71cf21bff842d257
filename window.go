package linkspan

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
)

// A Window bounds what is in flight and settles it in the order in which it was opened, whatever the order of
// completion (P3, P4, P6). An MQTT connection acknowledges through one, a Kafka consumer commits through one.
//
// All methods are safe from any goroutine. An empty window holds no memory but its own, one line of it: 64 bytes.
type Window[T any] struct {
	slots   *Slots[T]
	settled func(v T, err error)

	mu             sync.Mutex
	n, size        int32
	head, tail     uint16        // slots of oldest that are settled, of newest that are taken
	failed         atomic.Bool   // by an error that another try may help; needs no mu
	oldest, newest *block[T]     // nil: nothing is in flight
	changed        chan struct{} // closed when n falls; nil while nobody waits
}

// Slots is a stock of window slots, shared by the windows of one kind so that those without traffic need none. The
// zero value is ready to use.
type Slots[T any] struct{ pool sync.Pool }

// A block is slots side by side, used one after the other. Thousands of them are in flight, completed on another processor
// than they were opened on: what costs is the lines of memory that go from one to the other, and the fewer they are the better.
type block[T any] struct {
	window *Window[T]
	next   *block[T] // newer
	done   uint32    // those of slots that are complete, a bit for each
	slots  [blockSize]slot[T]
}

// blockSize makes a block of small values a whole number of lines.
const blockSize = 15

type slot[T any] struct {
	done  func(error) // block.finish for this slot, bound once for its many lives
	err   error
	value T
}

// NewWindow returns a window for size messages in flight, at least 1.
//
// settled is called once for each opened value, in the order of Open, one call at a time and with the window locked: it
// must not block, and must not call the window.
func NewWindow[T any](size int, slots *Slots[T], settled func(v T, err error)) *Window[T] {
	return &Window[T]{slots: slots, size: int32(min(max(size, 1), math.MaxInt32)), settled: settled}
}

// Open takes a slot for v and returns the function that completes it, to be called exactly once. It returns false when
// the window is full.
func (w *Window[T]) Open(v T) (done func(error), ok bool) {
	w.mu.Lock()
	if w.n >= w.size {
		w.mu.Unlock()
		return nil, false
	}
	if w.newest == nil || w.tail == blockSize {
		w.grow()
	}
	s := &w.newest.slots[w.tail]
	if s.done == nil {
		s.done = w.newest.bind(w.tail)
	}
	s.value, done = v, s.done
	w.tail++
	w.n++
	w.mu.Unlock()
	return done, true
}

// grow adds a block behind the newest. The caller holds mu.
func (w *Window[T]) grow() {
	b, _ := w.slots.pool.Get().(*block[T])
	if b == nil {
		b = new(block[T])
	}
	b.window = w
	if w.newest == nil {
		w.oldest, w.head = b, 0
	} else {
		w.newest.next = b
	}
	w.newest, w.tail = b, 0
}

// shrink gives back the oldest block, whose slots are settled. The caller holds mu.
func (w *Window[T]) shrink() {
	b := w.oldest
	w.oldest, w.head = b.next, 0
	if w.oldest == nil {
		w.newest = nil
	}
	b.window, b.next, b.done = nil, nil, 0
	w.slots.pool.Put(b)
}

func (b *block[T]) bind(i uint16) func(error) { return func(err error) { b.finish(i, err) } }

// finish records the outcome of slot i and settles the prefix that is complete.
func (b *block[T]) finish(i uint16, err error) {
	w := b.window
	w.mu.Lock()
	b.done |= 1 << i
	if err != nil {
		b.slots[i].err = err
		if !IsPermanent(err) {
			w.failed.Store(true)
		}
	}
	fell := false
	for o := w.oldest; o != nil && o.done>>w.head&1 != 0; o = w.oldest {
		var zero T
		s := &o.slots[w.head]
		v, err := s.value, s.err
		if s.value = zero; err != nil {
			s.err = nil
		}
		w.head++
		w.n--
		if w.n == 0 || w.head == blockSize {
			w.shrink()
		}
		w.settled(v, err) // P4
		fell = true
	}
	if fell && w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	w.mu.Unlock()
}

// Failed reports whether anything was completed with an error that another try may help, be it settled or not. What is to be sent again
// keeps its order only where nothing else is handed over before it (P3).
func (w *Window[T]) Failed() bool { return w.failed.Load() }

// Len returns how many are in flight.
func (w *Window[T]) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int(w.n)
}

// Full reports whether Open would return false.
func (w *Window[T]) Full() bool { return w.Len() >= int(w.size) }

// Oldest returns the value that has been in flight the longest, false when there is none.
func (w *Window[T]) Oldest() (v T, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == 0 {
		return v, false
	}
	return w.oldest.slots[w.head].value, true
}

// WaitRoom waits until the window has a free slot. It returns ctx's error if that comes first.
func (w *Window[T]) WaitRoom(ctx context.Context) error { return w.wait(ctx, w.size-1) }

// WaitEmpty waits until nothing is in flight. It returns ctx's error if that comes first.
func (w *Window[T]) WaitEmpty(ctx context.Context) error { return w.wait(ctx, 0) }

// wait waits until no more than n are in flight.
func (w *Window[T]) wait(ctx context.Context, n int32) error {
	for {
		w.mu.Lock()
		if w.n <= n {
			w.mu.Unlock()
			return nil
		}
		if w.changed == nil {
			w.changed = make(chan struct{})
		}
		changed := w.changed
		w.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
