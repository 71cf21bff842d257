package harness

import (
	"context"
	"fmt"
	"sync"
)

// A queue holds the messages that a device received, as many as there are: a test that does not look must not hold up the
// client library.
type queue[T any] struct {
	mu       sync.Mutex
	messages []T
	more     chan struct{} // holds one element while messages may be there

	once   sync.Once
	failed chan struct{}
	err    error // after failed
}

func newQueue[T any]() *queue[T] {
	return &queue[T]{more: make(chan struct{}, 1), failed: make(chan struct{})}
}

func (q *queue[T]) put(m T) {
	q.mu.Lock()
	q.messages = append(q.messages, m)
	q.mu.Unlock()
	q.wake()
}

func (q *queue[T]) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// fail ends the queue: what is in it can still be read.
func (q *queue[T]) fail(err error) {
	q.once.Do(func() {
		q.err = err
		close(q.failed)
	})
}

func (q *queue[T]) get(ctx context.Context) (none T, _ error) {
	for {
		q.mu.Lock()
		if len(q.messages) > 0 {
			m := q.messages[0]
			q.messages = q.messages[1:]
			q.mu.Unlock()
			return m, nil
		}
		q.mu.Unlock()
		select {
		case <-q.more:
			continue
		default:
		}
		select {
		case <-q.more:
		case <-q.failed:
			return none, q.err
		case <-ctx.Done():
			return none, fmt.Errorf("no message came: %w", ctx.Err())
		}
	}
}
