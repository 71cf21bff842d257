package client

import (
	"sync/atomic"
	"time"
)

// Cause is why an attempt to connect failed or a connection ended, as far as an operator would act on it.
type Cause int

// The causes.
const (
	CauseNetwork  Cause = iota // no TCP connection, or it broke
	CauseTLS                   // the handshake failed: certificate, host name, protocol version
	CauseProtocol              // the other side does not speak AMQP 1.0, or breaks it
	CauseLogin                 // user name, password, mechanism or permission refused
	CauseRefused               // closed by the broker for another reason, such as an overload
	CauseTaken                 // another client uses our container identifier
	CauseTimeout               // no answer in time
	causes
)

var causeNames = [causes]string{"network", "tls", "protocol", "login", "refused", "taken-over", "timeout"}

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
	// Connections and links.

	Connected atomic.Int64          // 1: there is a connection
	Connects  atomic.Uint64         // successful connects
	Failures  [causes]atomic.Uint64 // attempts that failed, by cause
	Losses    [causes]atomic.Uint64 // connections that ended other than by our wish, by cause
	Receivers atomic.Int64          // links attached to receive
	Senders   atomic.Int64          // links attached to send
	Detached  atomic.Uint64         // links that the broker refused or ended

	// Bytes of AMQP, without TLS and WebSocket framing.

	BytesIn, BytesOut atomic.Uint64

	// Uplink.

	Received  atomic.Uint64 // messages handed to the sink
	Accepted  atomic.Uint64 // those of which it took custody
	Rejected  atomic.Uint64 // those that it, or we, refused for good
	Released  atomic.Uint64 // those that were given back to the broker, which sends them again
	Abandoned atomic.Uint64 // those that came settled and could not be stored: they are lost
	InFlight  atomic.Int64  // handed to the sink and not settled
	Held      atomic.Int64  // waiting for room in the sink
	Stalled   atomic.Uint64 // times that messages began to wait for room

	// Downlink.

	Sent      atomic.Uint64 // messages written to the broker
	Delivered atomic.Uint64 // messages that the broker has accepted
	Refused   atomic.Uint64 // messages that the broker, or a limit that it set, refuses for good
	Returned  atomic.Uint64 // messages given back to Kafka: released or modified by the broker, or not settled when a connection ended
	Expired   atomic.Uint64 // messages that were of no more use before they could be sent
	Queued    atomic.Int64  // messages taken and not done

	oldest atomic.Int64 // when the oldest of Queued was taken, in ns since 1970; 0: none
}

// OldestUnacked returns how long the oldest message that the broker has not settled has waited, 0 if there is none.
func (s *Stats) OldestUnacked(now time.Time) time.Duration {
	if at := s.oldest.Load(); at != 0 {
		return max(0, now.Sub(time.Unix(0, at)))
	}
	return 0
}
