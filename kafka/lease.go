package kafka

import (
	"context"
	"sync"
	"time"
)

// A lease is how long a member of a group may act on what the group gave it without hearing from the group again. It is
// counted from when a heartbeat was sent, the coordinator counts from when that arrived: so it ends here before the coordinator gives
// the member up.
//
// A term is the time between getting a lease and losing it, however often it is renewed; its context ends with it.
type lease struct {
	length time.Duration

	mu      sync.Mutex
	until   time.Time
	term    context.Context // nil: no lease
	end     context.CancelFunc
	timer   *time.Timer
	changed chan struct{} // closed when a term begins
	lapses  uint64        // terms that ended by themselves
}

func newLease(length time.Duration) *lease {
	l := &lease{length: length, changed: make(chan struct{})}
	l.timer = time.AfterFunc(length, l.check)
	return l
}

// renew says that the coordinator has answered a heartbeat that was sent at that time. It reports whether a term begins.
func (l *lease) renew(sent time.Time) (begins bool) {
	until := sent.Add(l.length)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkLocked() // a process that was stopped may get an answer before the timer
	if !until.After(l.until) || !until.After(time.Now()) {
		return false
	}
	l.until = until
	l.timer.Reset(time.Until(until))
	if l.term != nil {
		return false
	}
	l.term, l.end = context.WithCancel(context.Background())
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

func (l *lease) check() {
	l.mu.Lock()
	l.checkLocked()
	l.mu.Unlock()
}

func (l *lease) checkLocked() {
	if l.term != nil && !time.Now().Before(l.until) {
		l.end()
		l.term, l.end = nil, nil
		l.lapses++
	}
}

// wait returns the term, once there is one, or nil when ctx ends before.
func (l *lease) wait(ctx context.Context) context.Context {
	for {
		l.mu.Lock()
		l.checkLocked()
		term, changed := l.term, l.changed
		l.mu.Unlock()
		if term != nil {
			return term
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// valid reports whether there is a lease now.
func (l *lease) valid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checkLocked()
	return l.term != nil
}

// close ends the lease for good.
func (l *lease) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer.Stop()
	if l.term != nil {
		l.end()
		l.term, l.end = nil, nil
	}
}
