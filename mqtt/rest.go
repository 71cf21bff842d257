package mqtt

import (
	"context"
	"time"
)

// A goroutine begins with a stack of 2 KiB, which is enough to wait for a device. Handling what the device sends takes
// more; the stack grows, and the runtime gives back no more than half of it. So a reader that has had nothing to do for a
// while goes on as a new goroutine. That is most of the memory of a connection at rest.

// What is known of a reader's stack.
const (
	small     int32 = iota
	grown           // it was used since it was last looked at
	unused          // it was not
	abandoned       // the reader is to leave it
)

// restInterval is how often the stacks are looked at.
const restInterval = 5 * time.Second

// restRun looks at them until ctx ends.
func (l *Listener) restRun(ctx context.Context) {
	tick := time.NewTicker(restInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.rest()
		case <-ctx.Done():
			return
		}
	}
}

// rest has those readers leave their stacks that have not used them between the last two calls.
func (l *Listener) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if !c.stack.CompareAndSwap(grown, unused) && c.stack.CompareAndSwap(unused, abandoned) {
			c.wake()
		}
	}
}
