package dial

import (
	"context"
	"math/rand/v2"
	"time"
)

// Reconnect is how long to wait before the next attempt to connect. Each pause is twice as long as the one before, less up to half
// of it by chance, so that many clients of one broker do not come back all at once.
type Reconnect struct {
	// Min is the first pause, default 250ms.
	Min time.Duration `yaml:"min"`
	// Max is the longest pause, default 30s.
	Max time.Duration `yaml:"max"`
}

// Steady is how long a connection lasts that lets the next pause begin with the shortest again.
const Steady = 5 * time.Second

// A BackOff counts the pauses of one who tries again and again. The zero value has not paused yet.
type BackOff struct{ pause time.Duration }

// Wait pauses, longer each time, and reports whether ctx is still going on. lasted is how long it went well before.
func (b *BackOff) Wait(ctx context.Context, r Reconnect, lasted time.Duration) bool {
	return Sleep(ctx, b.Next(r, lasted))
}

// Next returns the length of the next pause.
func (b *BackOff) Next(r Reconnect, lasted time.Duration) time.Duration {
	if lasted > Steady {
		b.pause = 0
	}
	b.pause = min(max(2*b.pause, r.Min), r.Max)
	return b.pause/2 + rand.N(b.pause/2+1)
}

// Sleep waits, and reports whether ctx is still going on.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
