package session

import "github.com/linkspan/linkspan"

// Conn is the way to a device. Its methods are called with the session locked: they must not block, and must not call
// the session.
type Conn interface {
	// Deliver encodes d for the wire and has it written soon. d and all that it points to are borrowed: they are the
	// session's again when Deliver returns. After [Full] the session waits for [Session.Resume].
	Deliver(d *Delivery) Outcome
	// Disconnect closes the connection, with that reason where the protocol can say one. The session has ended by then:
	// nothing is delivered afterwards. [Session.Close] is yet to be called, when the connection knows the last that the device said: its
	// will waits for that, and what the next session of the client publishes waits for the will.
	Disconnect(why Reason)
}

// A Delivery is one message for one device.
type Delivery struct {
	Message         *linkspan.Message
	QoS             linkspan.QoS // of this delivery: the lower of the message's and the subscription's
	Retain          bool         // of this delivery, not of the message
	PacketID        uint16       // 0 for QoS 0
	SubscriptionIDs []uint32     // of all subscriptions that match, in no order [MQTT-3.3.4-3]
}

// Outcome is what became of a delivery.
type Outcome byte

// The outcomes of [Conn.Deliver].
const (
	Sent     Outcome = iota // encoded, and written soon
	Full                    // no room in the connection's outgoing buffer now; the connection calls Resume when there is
	TooLarge                // larger than the device takes: left out, and settled as if it had been sent [MQTT-3.1.2-25]
)

// Reason says why the registry ended a session. The values are MQTT 5 reason codes.
type Reason byte

// The reasons for [Conn.Disconnect].
const (
	ShuttingDown  Reason = 0x8B
	TakenOver     Reason = 0x8E
	QuotaExceeded Reason = 0x97
)

func (r Reason) String() string {
	switch r {
	case ShuttingDown:
		return "server shutting down"
	case TakenOver:
		return "session taken over"
	case QuotaExceeded:
		return "quota exceeded"
	}
	return "unknown"
}
