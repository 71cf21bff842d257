package bridge

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/route"
)

// An uplink is the way up, as endpoints see it: the routes, and a gate before them.
//
// The gate holds devices back until the way behind it is ready: while it is shut it has no room. Devices can connect and
// subscribe meanwhile, their keep-alives are answered, and what they publish waits with them, unacknowledged. It opens
// when the consumers know where they start, so that whoever has subscribed by then gets all that is published from then
// on; or earlier, when the spool keeps what is published until they do.
//
// What the routes refuse for good, and whose sender cannot be told, goes to the dead letter topic (P2). They say so at once, so that
// this needs no copy. What Kafka refuses later is the spool's to bury.
type uplink struct {
	routes *route.Table
	room   linkspan.Bounded // the routes and what is behind them
	to     linkspan.Bounded // behind the routes
	dead   *deadLetters
	dialed map[string]bool // endpoints that dial
	open   atomic.Bool
}

var _ linkspan.Bounded = (*uplink)(nil)

// newUplink returns the way up, with its gate shut.
func newUplink(routes *route.Table, to linkspan.Bounded, dead *deadLetters, clients []string) *uplink {
	u := &uplink{routes: routes, room: routes.Uplink(to), to: to, dead: dead, dialed: map[string]bool{}}
	for _, name := range clients {
		u.dialed[name] = true
	}
	return u
}

// Room reports whether the gate is open and there is room behind it: for a message that no route takes, with the dead letters.
func (u *uplink) Room(m *linkspan.Message) bool {
	if !u.open.Load() || !u.room.Room(m) {
		return false
	}
	return m == nil || !m.Mute || m.Route != "" || u.dead.room() || !u.dialed[m.Endpoint]
}

// Send passes m on even while the gate is shut: a sender that did not ask first, such as a will, has nowhere to keep it.
func (u *uplink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	taken, err := u.routes.Up(m)
	switch {
	case err != nil && u.buries(m, err):
		u.routes.Describe(m)
		u.dead.bury(ctx, m, err, 1, done)
	case err != nil || !taken:
		done(err)
	default:
		u.to.Send(ctx, m, done)
	}
}

// buries reports whether m, which is refused, becomes a dead letter. What devices publish without any route for it is theirs to
// mend, and may be no end of it: they are refused, even where that ends their connection.
func (u *uplink) buries(m *linkspan.Message, why error) bool {
	return m.Mute && (u.dialed[m.Endpoint] || !errors.Is(why, linkspan.ErrNoRoute))
}

// mute is the way up for a source that cannot tell of refusals: an endpoint that dials, since a broker has no way back to its devices.
type mute struct{ *uplink }

// Room is that of the way up.
func (u mute) Room(m *linkspan.Message) bool {
	if m != nil {
		m.Mute = true
	}
	return u.uplink.Room(m)
}

// Send hands m on.
func (u mute) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	m.Mute = true
	u.uplink.Send(ctx, m, done)
}
