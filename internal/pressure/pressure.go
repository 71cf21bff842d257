// Package pressure knows the connections that hold messages back because a sink has no room, and wakes them when it has. One
// goroutine asks the sink for all of them, so that an outage costs the same with ten connections as with a hundred thousand.
package pressure

import (
	"context"
	"sync"
	"time"
)

// Interval is how often the sink is asked while somebody waits. It is also the shortest time worth telling [Pressure.Wait].
const Interval = 50 * time.Millisecond

// Longest is how long a connection may wait at most before it asks for its own message again.
const Longest = 2 * time.Second

// A Waiter is a connection that waits for room. It is a pointer, or something else that a map can have as key.
type Waiter interface {
	// Ready reports whether it would go on if there were room.
	Ready() bool
	// Wake has it go on. It never blocks.
	Wake()
}

// A Pressure is for one sink. Make one with [New].
type Pressure struct {
	room func() bool

	mu      sync.Mutex
	waiting map[Waiter]time.Time // not to be woken before; nil: none
	some    chan struct{}        // has a token when waiting is not empty
}

// New returns one that asks room whether the sink takes anything at all.
func New(room func() bool) *Pressure { return &Pressure{room: room, some: make(chan struct{}, 1)} }

// Wait has w woken, once, when there is room, and not in the next while. Where there is room for some messages and not for
// others, each connection has to ask for its own, the less often the longer it has been waiting: see [Patience].
func (p *Pressure) Wait(w Waiter, while time.Duration) {
	var until time.Time
	if while > 0 {
		until = time.Now().Add(while)
	}
	p.mu.Lock()
	if p.waiting == nil {
		p.waiting = map[Waiter]time.Time{}
	}
	p.waiting[w] = until
	p.mu.Unlock()
	select {
	case p.some <- struct{}{}:
	default:
	}
}

// Patience returns how long to wait the next time, after having waited for so long.
func Patience(waited time.Duration) time.Duration { return min(max(2*waited, Interval), Longest) }

// Forget is for a connection that has ended.
func (p *Pressure) Forget(w Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, w)
}

// Waiting returns how many wait.
func (p *Pressure) Waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting)
}

// Run wakes until ctx ends.
func (p *Pressure) Run(ctx context.Context) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for {
		select {
		case <-p.some:
		case <-ctx.Done():
			return
		}
		tick.Reset(Interval)
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
func (p *Pressure) wakeAll() (left bool) {
	if !p.room() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var waiting map[Waiter]time.Time // anew, since a map does not shrink
	for w, until := range p.waiting {
		if !now.Before(until) && w.Ready() {
			w.Wake()
			continue
		}
		if waiting == nil {
			waiting = map[Waiter]time.Time{}
		}
		waiting[w] = until
	}
	p.waiting = waiting
	return len(waiting) > 0
}
