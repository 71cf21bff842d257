package linkspan

import (
	"context"
	"sync"
)

// A Window bounds what is in flight and settles it in the order in which it was opened, whatever the order of
// completion (P3, P4, P6). An MQTT connection acknowledges through one, a Kafka consumer commits through one.
//
// All methods are safe from any goroutine. An empty window holds no memory but its own.
type Window[T any] struct {
	slots   *Slots[T]
	size    int
	settled func(v T, err error)

	mu         sync.Mutex
	head, tail *slot[T] // oldest, newest
	n          int
	changed    chan struct{} // closed when n falls; nil while nobody waits
}

// Slots is a stock of window slots, shared by the windows of one kind so that those without traffic need none. The
// zero value is ready to use.
type Slots[T any] struct{ pool sync.Pool }

type slot[T any] struct {
	window *Window[T]
	next   *slot[T]
	value  T
	err    error
	done   bool
	settle func(error) // s.finish, bound once for the slot's many lives
}

// NewWindow returns a window for size messages in flight, at least 1.
//
// settled is called once for each opened value, in the order of Open, one call at a time and with the window locked: it
// must not block, and must not call the window.
func NewWindow[T any](size int, slots *Slots[T], settled func(v T, err error)) *Window[T] {
	return &Window[T]{slots: slots, size: max(size, 1), settled: settled}
}

// Open takes a slot for v and returns the function that completes it, to be called exactly once. It returns false when
// the window is full.
func (w *Window[T]) Open(v T) (done func(error), ok bool) {
	s, _ := w.slots.pool.Get().(*slot[T])
	if s == nil {
		s = new(slot[T])
		s.settle = s.finish
	}
	w.mu.Lock()
	if w.n >= w.size {
		w.mu.Unlock()
		w.slots.pool.Put(s)
		return nil, false
	}
	s.window, s.value = w, v
	if w.tail == nil {
		w.head = s
	} else {
		w.tail.next = s
	}
	w.tail = s
	w.n++
	w.mu.Unlock()
	return s.settle, true
}

// finish records the outcome of s and settles the prefix that is complete.
func (s *slot[T]) finish(err error) {
	w := s.window
	w.mu.Lock()
	s.err, s.done = err, true
	fell := false
	for h := w.head; h != nil && h.done; h = w.head {
		w.head = h.next
		if w.head == nil {
			w.tail = nil
		}
		w.n--
		w.settled(h.value, h.err) // P4
		fell = true
		var zero T
		h.window, h.next, h.value, h.err, h.done = nil, nil, zero, nil, false
		w.slots.pool.Put(h)
	}
	if fell && w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	w.mu.Unlock()
}

// Len returns how many are in flight.
func (w *Window[T]) Len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

// Full reports whether Open would return false.
func (w *Window[T]) Full() bool { return w.Len() >= w.size }

// Oldest returns the value that has been in flight the longest, false when there is none.
func (w *Window[T]) Oldest() (v T, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == nil {
		return v, false
	}
	return w.head.value, true
}

// WaitRoom waits until the window has a free slot. It returns ctx's error if that comes first.
func (w *Window[T]) WaitRoom(ctx context.Context) error { return w.wait(ctx, w.size-1) }

// WaitEmpty waits until nothing is in flight. It returns ctx's error if that comes first.
func (w *Window[T]) WaitEmpty(ctx context.Context) error { return w.wait(ctx, 0) }

// wait waits until no more than n are in flight.
func (w *Window[T]) wait(ctx context.Context, n int) error {
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
