package engine

import "github.com/linkspan/linkspan/amqp/frame"

// Handler hears of a connection. Its methods are called on the goroutine that drives the connection, one at a time, with
// nothing locked.
type Handler interface {
	// Opened is called when the peer's open has come, which Conn.Remote returns. A server's answer goes out when it returns;
	// with an error the connection is closed right after it, with the error's condition if it is a *frame.Error.
	Opened(c *Conn) error
	// Attaching is called when the peer wants a link, which then is to be decided with Link.Accept or Link.Refuse, during the
	// call or later, from any goroutine. What it returns hears of the link from now on; nil refuses the link, if that has not
	// been done yet.
	Attaching(l *Link) LinkHandler
	// Ended is called when a session is over. Its links have been told. err is why; nil: it was just ended.
	Ended(s *Session, err *frame.Error)
	// Closed is called once, as the last of all, when nothing will come from the peer any more. Sessions and links have been
	// told. err is nil after an orderly close without an error; a *frame.Error, of the peer or of us; or what Lost was told.
	Closed(err error)
}

// LinkHandler hears of a link. Its methods are called like those of [Handler].
type LinkHandler interface {
	// Attached is called when the peer has answered our Session.Attach with a terminus. Link.Remote is its answer. A refusal
	// is told by Detached alone.
	Attached(l *Link)
	// Transfer is called on a receiver for each whole message. payload is borrowed for the call. The handler owns d until it
	// calls d.Settle, which is due exactly once for each, also for one that the sender has settled already.
	Transfer(l *Link, d *Delivery, payload []byte)
	// Flow is called when the peer's view of the link has changed: on a sender when it may send (again), or is to drain, see
	// Link.Credit and Link.Draining; on a receiver when the sender has told its state, for example that it has drained.
	Flow(l *Link)
	// Settled is called on a sender when the receiver said something of a delivery, see Delivery.Remote and
	// Delivery.RemotelySettled. The handler is to call d.Settle then, or later.
	Settled(l *Link, d *Delivery)
	// Detached is called once, as the last of all, when the peer, the engine, or the end of the session has ended the link, or
	// the peer has answered our Link.Detach. closed says that it is not to be resumed. What is not settled stays the handler's:
	// see Link.Unsettled.
	Detached(l *Link, closed bool, err *frame.Error)
}
