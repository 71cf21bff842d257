package engine

import (
	"github.com/linkspan/linkspan/amqp/frame"
)

// outgoingWindow is what we say that we may send ahead: what really bounds it is the peer's window.
const outgoingWindow = 1<<31 - 1

// Session is a session of a connection [AMQP 2.5]. Those of the peer are begun without asking the handler.
type Session struct {
	// User is whatever the handler wants to find here again. The engine does not touch it.
	User any

	c       *Conn
	channel uint16 // ours
	remote  uint16 // the peer's; while begun

	begun bool // the peer has a channel for it
	ended bool // we have said end: no more may be sent, and what comes is discarded
	dead  bool // the links are gone
	due   bool // in c.due
	flow  bool // the peer is to be told the windows

	nextIn     uint32 // transfer-id of the next transfer frame
	windowIn   uint32 // transfer frames that may come
	nextOut    uint32
	windowOut  uint32 // transfer frames that may be sent
	deliveryIn uint32 // delivery-id of the next delivery
	knowsIn    bool   // the peer has chosen its first delivery-id
	idOut      uint32
	handleMax  uint32 // of the peer

	in, out  ledger
	settled  []settlement
	flows    []*Link // the peer is to be told their flow state
	waiting  []*Link // for the window: Send was refused, or a message is not out as a whole
	byHandle []*Link // our handles
	byRemote []*Link // the peer's handles
}

// Begin begins a session. The error is [ErrLimit] if the peer takes no more of them, or [ErrDetached] after the end of the
// connection.
func (c *Conn) Begin() (*Session, error) {
	c.mu.Lock()
	defer c.unlock()
	if c.closeSent || c.dead {
		return nil, ErrDetached
	}
	s := c.newSession()
	if s == nil {
		return nil, ErrLimit
	}
	c.emit(s.channel, s.begin())
	return s, nil
}

// newSession returns a session on a channel of ours that is free; nil: there is none. It needs mu.
func (c *Conn) newSession() *Session {
	channel, ok := free(&c.local, uint32(c.channelMax))
	if !ok {
		return nil
	}
	s := &Session{c: c, channel: uint16(channel), windowIn: c.cfg.IncomingWindow, handleMax: c.cfg.HandleMax}
	c.local[channel] = s
	return s
}

// free returns the lowest index of a table that is nil and not above the highest one.
func free[T any](table *[]*T, highest uint32) (uint32, bool) {
	for i, v := range *table {
		if v == nil {
			return uint32(i), uint32(i) <= highest
		}
	}
	if uint64(len(*table)) > uint64(highest) {
		return 0, false
	}
	*table = append(*table, nil)
	return uint32(len(*table) - 1), true
}

// at returns the entry of a table, nil if there is none.
func at[T any](table []*T, i uint32) *T {
	if uint64(i) >= uint64(len(table)) {
		return nil
	}
	return table[i]
}

// put sets an entry of a table, which grows as far as that is needed.
func put[T any](table *[]*T, i uint32, v *T) {
	for uint64(len(*table)) <= uint64(i) {
		*table = append(*table, nil)
	}
	(*table)[i] = v
}

func (s *Session) begin() *frame.Begin {
	b := &frame.Begin{
		NextOutgoingID: s.nextOut,
		IncomingWindow: s.c.cfg.IncomingWindow,
		OutgoingWindow: outgoingWindow,
		HandleMax:      s.c.cfg.HandleMax,
	}
	b.RemoteChannel = frame.Opt[uint16]{V: s.remote, OK: s.begun}
	return b
}

// Over reports whether the session has ended, and all links with it.
func (s *Session) Over() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.dead
}

// Conn returns the connection of the session.
func (s *Session) Conn() *Conn { return s.c }

// End ends the session, and all links with it, as the peer is told why; nil: nothing. The handlers hear of it when the
// peer has answered.
func (s *Session) End(err *frame.Error) {
	c := s.c
	c.mu.Lock()
	s.end(err)
	c.unlock()
}

// end needs mu.
func (s *Session) end(err *frame.Error) {
	if s.ended || s.c.closeSent || s.dead && !s.begun {
		return
	}
	s.c.grab()
	s.c.out = s.flush(s.c.out)
	s.ended = true
	s.c.emit(s.channel, &frame.End{Error: clip(err)})
}

// fail ends the session for a violation of the peer, and tells the handlers at once. It needs mu.
func (s *Session) fail(err *frame.Error) {
	s.end(err)
	s.kill(err)
}

// kill takes the session's links away. It needs mu.
func (s *Session) kill(err *frame.Error) {
	if s.dead {
		return
	}
	s.dead = true
	for _, table := range [][]*Link{s.byHandle, s.byRemote} {
		for _, l := range table {
			if l != nil {
				l.remove()
				l.tell(false, err)
			}
		}
	}
	s.byHandle, s.byRemote, s.flows, s.waiting, s.settled = nil, nil, nil, nil, nil
	s.c.post(event{kind: ended, s: s, err: err})
}

// forget frees the channels, when both sides have said end. It needs mu.
func (s *Session) forget() {
	s.c.local[s.channel] = nil
	if s.begun {
		s.c.peer[s.remote] = nil
		s.begun = false
	}
}
