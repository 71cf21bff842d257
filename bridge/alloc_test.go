//go:build !race

// The race detector's sync.Pool drops at random, so allocations are not counted under it.

package bridge

import (
	"context"
	"testing"

	"github.com/linkspan/linkspan"
)

// The guard costs a message on the way down no allocation.
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

// The way up costs a message no allocation, also one that could become a dead letter.
func TestUplinkDoesNotAllocate(t *testing.T) {
	u := newWay(t, newDeadLetters("dead", nil, nil), boundedFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }))
	u.dead.to = boundedFunc(nil)
	var m linkspan.Message
	done, ctx, up := func(error) {}, t.Context(), mute{u}
	got := testing.AllocsPerRun(1000, func() {
		m.Reset()
		m.Topic, m.Payload, m.Endpoint = "t/1", payload256[:], "plant"
		if up.Room(&m) {
			up.Send(ctx, &m, done)
		}
	})
	if got > 0 {
		t.Errorf("%v allocations a message", got)
	}
}
