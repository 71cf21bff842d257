package wire

import (
	"context"
	"time"
)

// A goroutine begins with a stack of 2 KiB, which is enough to wait for a peer. Handling what the peer sends takes
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

// Worked says that the reader has used its stack. It may be called for each of what comes.
func (c *Conn) Worked() { c.stack.Store(grown) }

// Abandon has the reader leave its stack at the next opportunity: what it did needs more than what may follow for hours.
func (c *Conn) Abandon() { c.stack.Store(abandoned) }

// MoveOn reports whether the reader is to go on as a new goroutine: then Run returns nil at once.
func (c *Conn) MoveOn() bool {
	if !c.stack.CompareAndSwap(abandoned, small) {
		return false
	}
	c.Rest()
	return true
}

// restRun looks at the stacks until ctx ends.
func (s *Server) restRun(ctx context.Context) {
	tick := time.NewTicker(restInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.Rest()
		case <-ctx.Done():
			return
		}
	}
}

// Rest has those readers leave their stacks that have not used them between the last two calls. Run calls it every 5s.
func (s *Server) Rest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if !c.stack.CompareAndSwap(grown, unused) && c.stack.CompareAndSwap(unused, abandoned) {
			c.Wake()
		}
	}
}
