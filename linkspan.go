// Package linkspan joins devices (MQTT, AMQP 1.0) to Apache Kafka. It holds the words that every other package
// shares: a [Message] on its way, the [Sink] that takes custody of it, the [Source] that feeds it, the [Window] that
// settles it in order, and the errors that decide what becomes of it.
//
// It imports only the standard library. The packages built on it are listed in ARCHITECTURE.md.
package linkspan

import "context"

// A Sink takes custody of messages.
//
// Send hands over m, and may return before the message is safe. done is called exactly once for each Send, from any
// goroutine and possibly before Send returns; it must not block. Its argument decides who answers for the message:
//
//   - nil: the sink now does, and the sender may acknowledge (P1);
//   - an error for which [IsPermanent] is true: nobody can, no retry helps; the sender refuses the message to where it
//     came from, or puts it in the dead letter topic (P2);
//   - any other error: the sender still does, and may send the message again.
//
// Calls that come one after the other keep their order on the way (P3). m and all that it points to is the sender's
// again when Send returns: a sink copies what it keeps.
//
// Send does not wait for room. A sink whose memory is bounded is also [Bounded], and senders ask it first.
//
// ctx ends when the process stops waiting for messages. It is never the context of one connection: a device that goes
// away does not take back what it sent.
type Sink interface {
	Send(ctx context.Context, m *Message, done func(error))
}

// A Source feeds messages to a Sink.
//
// Run ends when ctx does, and returns after every goroutine that it started has ended and everything that it handed
// over is settled, or after the source's drain time. It returns nil for an end that ctx asked for, and otherwise what
// went wrong. A Source runs once.
type Source interface {
	Run(ctx context.Context, to Sink) error
}

// Bounded is a Sink that holds back its senders when its memory is used up (P6).
//
// Room reports whether a Send of m now stays within the bound. It is cheap, safe from any goroutine, and only a
// reading of this moment. A sender that is told false keeps its message and custody, pushes back by its protocol's own
// means, and asks again later. It does not block: the same connection still has keep-alives to answer.
//
// Room may depend on where m goes: a route whose messages wait need not hold up another. Asked with nil it answers for the
// luckiest message there could be, so that who is told false need not ask with any. Asked with a message that has no
// Route yet, it answers for the unluckiest route. It may set m.Route, and nothing else.
type Bounded interface {
	Sink
	Room(m *Message) bool
}

// Room reports whether s has room for m: true for a Sink that is not [Bounded].
func Room(s Sink, m *Message) bool {
	b, ok := s.(Bounded)
	return !ok || b.Room(m)
}

// A Keeper is a Sink that has a copy of each message until the message is done, and shows it to whoever sent it: so one who may
// have to send the message elsewhere needs no copy of its own.
type Keeper interface {
	Bounded
	// Keep is Send, and returns the copy. Where done is called before Keep returns, nothing can be asked of the copy any more.
	Keep(ctx context.Context, m *Message, done func(error)) Kept
}

// Kept is a [Keeper]'s copy of one message. It is there until the done of that message has returned.
type Kept interface {
	// Show fills in the Topic, Payload, Endpoint, Route and Received of m, and its Record, borrowed from the copy.
	Show(m *Message)
}

// SinkFunc is a function that is a Sink.
type SinkFunc func(ctx context.Context, m *Message, done func(error))

// Send calls f.
func (f SinkFunc) Send(ctx context.Context, m *Message, done func(error)) { f(ctx, m, done) }
