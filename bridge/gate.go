package bridge

import (
	"context"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// A gate holds devices back until the way behind it is ready: while it is shut it has no room. Devices can connect and
// subscribe meanwhile, their keep-alives are answered, and what they publish waits with them, unacknowledged.
//
// It opens when the consumers know where they start. So whoever has subscribed by then gets all that is published from
// then on.
type gate struct {
	to   linkspan.Bounded
	open atomic.Bool
}

var _ linkspan.Bounded = (*gate)(nil)

// Send passes m on even while the gate is shut: a sender that did not ask first, such as a will, has nowhere to keep it.
func (g *gate) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	g.to.Send(ctx, m, done)
}

// Room reports whether the gate is open and there is room behind it.
func (g *gate) Room(m *linkspan.Message) bool { return g.open.Load() && g.to.Room(m) }
