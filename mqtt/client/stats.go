package client

import (
	"sync/atomic"
	"time"
)

// A Cause is why an attempt to connect failed or a connection ended, as far as an operator would act on it.
type Cause int

// The causes.
const (
	CauseNetwork  Cause = iota // no TCP connection, or it broke
	CauseTLS                   // the handshake failed: certificate, host name, protocol version
	CauseProtocol              // the other side is no MQTT broker, or breaks the protocol
	CauseLogin                 // user name, password, client identifier or permission refused
	CauseRefused               // refused for another reason, such as an overload
	CauseTaken                 // another client uses our client identifier
	CauseTimeout               // no answer in time
	CauseSink                  // what the broker sent could not be stored, and is to be sent again
	causes
)

var causeNames = [causes]string{"network", "tls", "protocol", "login", "refused", "taken-over", "timeout", "sink"}

// String returns a short name: "network", "login".
func (c Cause) String() string { return causeNames[c] }

// Causes returns all causes, in order.
func Causes() []Cause {
	all := make([]Cause, causes)
	for i := range all {
		all[i] = Cause(i)
	}
	return all
}

// Stats counts what a client did since it was made. All of it may be read at any time.
type Stats struct {
	// Connections, of all workers.

	Connected atomic.Int64          // workers that are connected now, with their subscriptions granted
	Connects  atomic.Uint64         // successful connects
	Resumed   atomic.Uint64         // those at which the broker still had the session
	Failures  [causes]atomic.Uint64 // attempts that failed, by cause
	Losses    [causes]atomic.Uint64 // connections that ended other than by our wish, by cause

	// Bytes of MQTT, without TLS and WebSocket framing.

	BytesIn, BytesOut atomic.Uint64

	// Uplink, by QoS where there are three.

	Received  [3]atomic.Uint64 // messages handed to the sink
	Acked     [3]atomic.Uint64 // those of which it took custody
	Rejected  atomic.Uint64    // those that it refused for good
	Abandoned atomic.Uint64    // those that were not taken for a passing reason: QoS 1 and 2 come again, QoS 0 is lost
	Resent    atomic.Uint64    // sent again by the broker, recognised and not handed on again
	Repeated  atomic.Uint64    // further copies of a message, one for each filter that matches, not handed on
	Echoes    atomic.Uint64    // our own messages that came back, not handed on
	Unwanted  atomic.Uint64    // messages that none of our filters matches, not handed on
	InFlight  atomic.Int64     // handed to the sink and not settled
	Stalled   atomic.Uint64    // times that reading stopped because the sink had no room, or the broker did not take our answers

	// Downlink, by QoS where there are three.

	Sent       [3]atomic.Uint64 // messages written to the broker, first time
	Delivered  [3]atomic.Uint64 // messages that the broker has acknowledged; of QoS 0, that were written
	Redone     atomic.Uint64    // messages written once more after a connection was lost
	Refused    atomic.Uint64    // messages that the broker, or a limit that it set, refuses for good
	Expired    atomic.Uint64    // messages that were of no more use before they could be sent
	Queued     atomic.Int64     // messages accepted and not done
	Downgraded atomic.Uint64    // messages sent with a lower QoS or without retain, as the broker has no more to offer

	oldest atomic.Int64 // when the oldest of Queued was accepted, in ns since 1970; 0: none
}

// OldestUnacked returns how long the oldest message that the broker has not acknowledged has waited, 0 if there is none.
func (s *Stats) OldestUnacked(now time.Time) time.Duration {
	if at := s.oldest.Load(); at != 0 {
		return max(0, now.Sub(time.Unix(0, at)))
	}
	return 0
}
