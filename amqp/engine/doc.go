// Package engine is one side of an AMQP 1.0 connection, the server's or the client's, without the socket: bytes go in with
// [Conn.Input], bytes come out with [Conn.Output], time passes with [Conn.Tick]. It keeps the state of the connection, its
// sessions, links and deliveries as part 2 of the standard has it, and tells a [Handler] and a [LinkHandler] for each link
// what happens.
//
//	socket → Input ─ frame ─ Conn ─ Session ─ Link ─► LinkHandler.Transfer, Flow, Settled
//	                          ▲                          │
//	socket ◄ Output ◄─────────┴── Send, Settle, Grant ◄──┘ any goroutine
//
// # Goroutines
//
// Input, Tick, Resume and Lost belong to the goroutine that drives the connection, and call the handlers, with nothing
// locked. Handlers may call everything else, and everything else may be called from any goroutine. What a call makes to be
// written waits until Output takes it: dispositions become ranges and flows the latest state only then. Config.Wake is
// called when there is something to take and the driver does not know it yet.
//
// # Bounds
//
// A peer can make a connection hold the deliveries that it has credit for, as long as nobody settles them; Config.MaxPartial
// bytes of unfinished ones and of what its links are called; Config.MaxLinks links; and Config.MaxOutput bytes that it does
// not read, and then Input takes no more from it ([Conn.Blocked]). What this side sends to one that gives credit and does not
// settle is the handler's to bound: [Link.Outstanding].
package engine
