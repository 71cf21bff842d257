package mqtt

import (
	"context"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// pressure wakes the connections that hold messages back because the sink has no room, or not yet the will that their
// client left before. One goroutine asks the sink for all of them, so that an outage costs the same with ten connections
// as with a hundred thousand.
type pressure struct {
	to linkspan.Sink

	mu      sync.Mutex
	waiting map[*conn]struct{} // nil: none
	some    chan struct{}      // has a token when waiting is not empty
}

// pressureInterval is how often the sink is asked while somebody waits.
const pressureInterval = 50 * time.Millisecond

// wait has c woken once there is room.
func (p *pressure) wait(c *conn) {
	p.mu.Lock()
	if p.waiting == nil {
		p.waiting = map[*conn]struct{}{}
	}
	p.waiting[c] = struct{}{}
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
	if !linkspan.Room(p.to, nil) {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var waiting map[*conn]struct{} // anew, since a map does not shrink
	for c := range p.waiting {
		if c.session.MayPublish() {
			c.wake()
			continue
		}
		if waiting == nil {
			waiting = map[*conn]struct{}{}
		}
		waiting[c] = struct{}{}
	}
	p.waiting = waiting
	return len(waiting) > 0
}

// forget is for a connection that has ended.
func (p *pressure) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, c)
}
