//go:build !race

// The race detector's sync.Pool drops at random, so allocations are not counted under it.

package bridge

import (
	"context"
	"testing"

	"github.com/linkspan/linkspan"
)

// The guard costs a message no allocation.
func TestGuardDoesNotAllocate(t *testing.T) {
	var settle func(error)
	g := &guard{dead: &deadLetters{}, to: boundedFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { settle = done })}
	m, done, ctx := refusedMessage(), func(error) {}, t.Context()
	got := testing.AllocsPerRun(1000, func() {
		g.Send(ctx, m, done)
		settle(nil)
	})
	if got > 0 {
		t.Errorf("%v allocations a message", got)
	}
}
