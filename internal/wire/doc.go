// Package wire is the sockets of a listener, whatever protocol they carry: it accepts connections over TCP, TLS and WebSocket,
// reads what they send without holding a buffer while there is nothing, and writes what waits for them in as few calls as
// possible. It knows the sink that their messages go to, too: whether there is room, and what is to be settled before the end.
//
// A connection at rest costs a goroutine and its state, and no buffer. Buffers belong to what is going on: bytes that were
// read and are being digested, bytes that wait to be written.
//
// One goroutine, the reader, reads, decodes and hands on. Others add to what is to be written, and wake the reader.
//
//	accept ─ open (TLS, WebSocket; a goroutine that ends) ─ reader: Protocol.Run ─ Receive ─ Input ─► protocol
//	                                                                                                   │ any goroutine
//	                             peer ◄─ flushers, reader ◄─ TLS ◄─ WebSocket ◄─ Open … Added, Ring ◄──┘
//
// The protocol's side embeds a [Conn] and implements [Protocol]. In its simplest form:
//
//	func (c *conn) Run() error {
//		for {
//			switch { // what others want of the reader
//			case c.stopped.Load():
//				return errStopped
//			case c.MoveOn():
//				return nil
//			case !c.MayRead():
//				c.Park(time.Time{})
//				continue
//			}
//			if err := c.Receive(false); err != nil {
//				return err
//			}
//			c.Hold() // what is written meanwhile leaves in one go
//			in := c.Input()
//			n, need, err := digest(in.Unread())
//			in.Consume(n)
//			c.Need = need
//			c.Release()
//			if err != nil {
//				return err
//			}
//		}
//	}
package wire

// A Protocol is what the bytes of a connection mean. All its methods but Stop and Room are called on the reader's goroutine.
type Protocol interface {
	// Run does what there is to do. It is called again when there may be more: bytes have come, or somebody called Wake. It
	// returns nil after MoveOn, what Receive has said if that is [NothingYet], and any other error to end the connection.
	Run() error
	// Late is called when the deadline for reading has passed, or Wake was called. It sets the next one with SetReadDeadline
	// always, before it looks at what others want: none is set any more. An error ends the connection.
	Late() error
	// Close is called once, at the end. err is what Run or Late has returned, or that of the socket; io.EOF if the peer has
	// closed. It calls Finish.
	Close(err error)
	// Stop has the reader end the connection, from any goroutine and without blocking: err is [ErrNotRead] or [ErrCrowded], or
	// what writing has failed with. It sees to it that Run returns, and calls Wake. It may be called more than once.
	Stop(err error)
	// Room is called, on any goroutine and with nothing locked, when there is room again for who has called Starve.
	Room()
}

// An Outputter is a [Protocol] that keeps what is to be written itself until it is, and calls [Conn.Ring].
type Outputter interface {
	// Output appends to b what is to be written now. It is called on any goroutine, on one at a time, with nothing locked.
	Output(b []byte) []byte
}
