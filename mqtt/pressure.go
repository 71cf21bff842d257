package mqtt

import (
	"context"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// pressure wakes the connections that hold messages back because the sink has no room, or not yet the will that their
// client left before. One goroutine asks the sink for all of them, so that an outage costs the same with ten connections
// as with a hundred thousand. Where there is room for some messages and not for others, each connection has to ask for its own,
// the less often the longer it has been waiting.
type pressure struct {
	to linkspan.Sink

	mu      sync.Mutex
	waiting map[*conn]time.Time // not to be woken before; nil: none
	some    chan struct{}       // has a token when waiting is not empty
}

const (
	// pressureInterval is how often the sink is asked while somebody waits.
	pressureInterval = 50 * time.Millisecond
	// pressureLongest is how long a connection may wait at most before it asks for its own message again.
	pressureLongest = 2 * time.Second
)

// wait has c woken once there is room, and not in the next while.
func (p *pressure) wait(c *conn, while time.Duration) {
	var until time.Time
	if while > 0 {
		until = time.Now().Add(while)
	}
	p.mu.Lock()
	if p.waiting == nil {
		p.waiting = map[*conn]time.Time{}
	}
	p.waiting[c] = until
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
	now := time.Now()
	var waiting map[*conn]time.Time // anew, since a map does not shrink
	for c, until := range p.waiting {
		if !now.Before(until) && c.session.MayPublish() {
			c.wake()
			continue
		}
		if waiting == nil {
			waiting = map[*conn]time.Time{}
		}
		waiting[c] = until
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
