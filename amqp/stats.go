package amqp

import (
	"sync/atomic"

	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/wire"
)

// Stats counts what a listener did since it was made. All of it may be read at any time.
type Stats struct {
	wire.Stats // of the sockets; packets are none

	Opened atomic.Int64  // connections whose open frames have been exchanged, now
	Errors atomic.Uint64 // connections that the listener closed with an error condition
	Gone   atomic.Uint64 // connections that just ended, without close

	// Links, by what the client does.

	Senders       atomic.Int64  // attached now
	Receivers     atomic.Int64  // attached now: of groups
	LiveReceivers atomic.Int64  // attached now: of live messages
	Refused       Refusals      // attaches refused
	Stolen        atomic.Uint64 // links that moved to another connection of the same container [AMQP 2.6.1]
	Suspended     atomic.Int64  // kept now for clients that have left them [AMQP 2.6.13]
	Resumed       atomic.Uint64 // links that went on where they were

	// Uplink: deliveries of senders.

	Received  atomic.Uint64 // messages handed to the sink
	Settled   atomic.Uint64 // those of them that came settled
	_         [64]byte      // readers count above, who settles below
	Taken     atomic.Uint64 // messages of which the sink took custody: accepted
	Rejected  atomic.Uint64 // messages refused for good; one that came settled is not told
	Released  atomic.Uint64 // messages not taken for a passing reason; given back
	Abandoned atomic.Uint64 // those that came settled and were not taken for such a reason: they are lost

	// Downlink: deliveries to receivers.

	Delivered atomic.Uint64    // messages sent
	Outcomes  [4]atomic.Uint64 // of them: accepted, rejected, released, modified
	Unsettled atomic.Int64     // messages sent, of groups, and not settled
	LeftOut   atomic.Uint64    // record headers that say nothing to clients
	TooLarge  atomic.Uint64    // messages that the client does not take for their size
}

// returned counts a message that was not taken for a passing reason.
func (s *Stats) returned(settled bool) {
	if settled {
		s.Abandoned.Add(1)
	} else {
		s.Released.Add(1)
	}
}

// outcome counts what a client said of a delivery; none of the four counts as released.
func (s *Stats) outcome(k frame.StateKind) {
	switch k {
	case frame.Accepted:
		s.Outcomes[0].Add(1)
	case frame.Rejected:
		s.Outcomes[1].Add(1)
	case frame.Modified:
		s.Outcomes[3].Add(1)
	default:
		s.Outcomes[2].Add(1)
	}
}
