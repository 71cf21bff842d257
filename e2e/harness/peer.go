package harness

import (
	"context"
	"errors"
)

// A Peer is one connection of an AMQP 1.0 client that somebody else made, with one session.
type Peer interface {
	// Attach returns when the other side has attached, too. What it refuses is a *[Refusal], and the connection stays open.
	Attach(ctx context.Context, o LinkOptions) (Link, error)
	// Drop ends the TCP connection without a word.
	Drop()
	// Close closes the connection and waits for the other side's close.
	Close(ctx context.Context) error
}

// PeerOptions of a connection.
type PeerOptions struct {
	URL       string // amqp, amqps, amqpws, amqpwss
	Container string
	Mechanism string // of SASL; "": ANONYMOUS
	User      string
	Password  string
	CA        string // file of the authority to trust; for amqps and amqpwss
	Cert, Key string // files of the client's own certificate
}

// LinkOptions say what a link is for.
type LinkOptions struct {
	Name     string // "": the library's choice
	Address  string // of the target of a sender, of the source of a receiver; "": null
	Receiver bool
	Settled  bool     // all messages are settled by their sender; else none is
	Second   bool     // the receiver settles after the sender
	Raw      bool     // the sender sends bytes as they are given to it; not all libraries can
	Filters  []Filter // of a receiver's source
}

// A Filter of a source. Type is that of AMQP: int, uint, long, ulong or string.
type Filter struct{ Name, Type, Value string }

// A Link is one sender or receiver. Messages are in AMQP's encoding.
type Link interface {
	// Send sends a message as the library encodes it, once there is credit.
	Send(ctx context.Context, payload []byte) (*Receipt, error)
	// Flow gives so much credit in addition. With drain it returns when none of it is left.
	Flow(ctx context.Context, credit int, drain bool) error
	// Next returns the next message that came in.
	Next(ctx context.Context) (*Delivery, error)
	// Settle settles a message that came in.
	Settle(ctx context.Context, d *Delivery, o Outcome) error
	// Detach closes the link and waits for the other side's detach.
	Detach(ctx context.Context) error
	// Detached waits until the other side detaches, and says why; nil: without an error.
	Detached(ctx context.Context) (*Refusal, error)
}

// Outcomes of a delivery [AMQP 3.4].
const (
	Accepted = "accepted"
	Rejected = "rejected"
	Released = "released"
	Modified = "modified"
)

// An Outcome is what became of a delivery.
type Outcome struct {
	State                  string // Accepted, Rejected, Released or Modified
	Condition, Description string // of one that is rejected
	Failed                 bool   // of one that is modified: count it as an attempt
	Undeliverable          bool   // of one that is modified: not to this link again
}

// A Receipt follows a message that was sent.
type Receipt struct {
	Sent []byte // what the library made of it

	// Outcome waits for the other side to settle the message; nil where it was settled when it was sent.
	Outcome func(ctx context.Context) (Outcome, error)
}

var errGone = errors.New("the link is gone")

// A Delivery is a message that came in.
type Delivery struct {
	Payload []byte
	Tag     []byte // nil: the library does not tell
	Settled bool   // by the sender
	Raw     bool   // the payload is as it came, not as the library encodes what it read

	ref string // the driver's name for it, or
	own any    // what the library has
}

// A Refusal is the error with which the other side detached a link or closed a connection [AMQP 2.8.14].
type Refusal struct{ Condition, Description string }

func (r *Refusal) Error() string { return r.Condition + ": " + r.Description }

// PeerMake is a make of AMQP client, with what it can do.
type PeerMake struct {
	Name    string
	Schemes []string
	Dial    func(context.Context, PeerOptions) (Peer, error)
}
