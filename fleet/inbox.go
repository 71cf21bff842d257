package fleet

import (
	"context"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// An Inbox is the sink of what reads a client endpoint's lane of the inbox topic: it makes a record what it was before the
// [Router] or a [Parking] put it there, and hands it on. Records for other endpoints of the lane are done. One that is
// not of the form is refused, with a permanent error.
type Inbox struct {
	endpoint string
	to       linkspan.Sink
	names    names
	stats    InboxStats
}

var _ linkspan.Bounded = (*Inbox)(nil)

// InboxStats counts what an [Inbox] did since it was made.
type InboxStats struct {
	// Records were for the endpoint, Others were not, Malformed had not the form.
	Records, Others, Malformed atomic.Uint64
}

// NewInbox returns the inbox of that client endpoint, which hands records on to to.
func NewInbox(endpoint string, to linkspan.Sink) *Inbox { return &Inbox{endpoint: endpoint, to: to} }

// Stats returns the live counters.
func (i *Inbox) Stats() *InboxStats { return &i.stats }

// Room reports whether there is room behind the inbox.
func (i *Inbox) Room(m *linkspan.Message) bool { return linkspan.Room(i.to, m) }

// Send hands m on if it is for the endpoint, see [linkspan.Sink]. It changes m.Record and m.Payload.
func (i *Inbox) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	mine, err := unwrapInbox(m, i.endpoint, &i.names)
	switch {
	case err != nil:
		i.stats.Malformed.Add(1)
		done(err)
	case !mine:
		i.stats.Others.Add(1)
		done(nil)
	default:
		i.stats.Records.Add(1)
		i.to.Send(ctx, m, done)
	}
}
