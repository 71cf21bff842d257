package mqtt

import (
	"context"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// pressure wakes the connections that hold messages back because the sink has no room. One goroutine asks the
// sink for all of them, so that an outage costs the same with ten connections as with a hundred thousand.
type pressure struct {
	to linkspan.Sink

	mu      sync.Mutex
	waiting []*conn
	some    chan struct{} // has a token when waiting is not empty
}

// pressureInterval is how often the sink is asked while somebody waits.
const pressureInterval = 50 * time.Millisecond

// wait has c woken once there is room.
func (p *pressure) wait(c *conn) {
	if c.pressed.Swap(true) {
		return
	}
	p.mu.Lock()
	p.waiting = append(p.waiting, c)
	p.mu.Unlock()
	select {
	case p.some <- struct{}{}:
	default:
	}
}

// run wakes until ctx ends.
func (p *pressure) run(ctx context.Context) {
	tick := time.NewTicker(pressureInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.some:
		case <-ctx.Done():
			return
		}
		tick.Reset(pressureInterval)
		for p.wakeAll() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// wakeAll wakes those who wait if there is room, and returns whether any are left.
func (p *pressure) wakeAll() (left bool) {
	if !linkspan.Room(p.to) {
		return true
	}
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	for _, c := range waiting {
		c.pressed.Store(false)
		c.wake()
	}
	return false
}
