package amqp

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A sender is a link over which the client sends. What comes over it goes to the sink in order, settled or not (AKB-W9), and is
// settled in that order:
//
//	Transfer ─ hand ─ window ─ sink ─ done ─ settled ─► disposition, and one credit more
//	    └─ backlog, while there is no room: no more credit
//
// It belongs to the goroutine of its connection; only settled comes from elsewhere.
type sender struct {
	c     *conn
	link  *engine.Link
	key   linkKey
	base  string // topic of the target; "": each message names its own
	lease lease

	window  *linkspan.Window[*engine.Delivery]
	backlog []held // oldest first
	bytes   int    // in backlog

	codec   codec.Codec // for messages to codecOf
	codecOf string

	handing sync.Mutex // held while the sink is handed a message
	gone    bool       // guarded by handing: nothing is handed on any more

	_    [64]byte      // who settles is on another processor, and writes below
	owed atomic.Uint32 // credit to be given back
	full atomic.Bool   // it is not: there is a backlog
}

// held is a message that waits for room.
type held struct {
	d       *engine.Delivery
	payload []byte
}

// cameSettled is the User of a delivery that the client has forgotten by now.
type cameSettled struct{}

var _ engine.LinkHandler = (*sender)(nil)

// Attached is for links that we ask for: there are none.
func (s *sender) Attached(*engine.Link) {}

// Flow tells what the client has to send, which we do not need to know.
func (s *sender) Flow(*engine.Link) {}

// Settled says that the client has forgotten a delivery that is not settled here: it will not look at what becomes of it.
func (s *sender) Settled(*engine.Link, *engine.Delivery) {}

// Transfer takes one message.
func (s *sender) Transfer(_ *engine.Link, d *engine.Delivery, payload []byte) {
	if d.RemotelySettled() {
		d.User = cameSettled{}
	}
	if len(s.backlog) == 0 && s.hand(d, payload) {
		return
	}
	if len(s.backlog) == 0 {
		s.c.waiting = append(s.c.waiting, s)
		s.full.Store(true)
	}
	s.backlog = append(s.backlog, held{d, append([]byte(nil), payload...)})
	s.bytes += len(payload)
	s.c.holds(len(payload))
}

// workOff hands on what waits, and reports whether nothing is left.
func (s *sender) workOff() bool {
	for i, h := range s.backlog {
		if !s.hand(h.d, h.payload) {
			s.backlog = append(s.backlog[:0], s.backlog[i:]...)
			return false
		}
		s.backlog[i] = held{}
		s.bytes -= len(h.payload)
		s.c.holds(-len(h.payload))
	}
	s.backlog = nil
	s.full.Store(false)
	s.give(0)
	return true
}

// hand hands one message on, or its refusal, and returns false if there is no room for it.
func (s *sender) hand(d *engine.Delivery, payload []byte) bool {
	l := s.c.l
	m, err := s.message(d, payload)
	switch {
	case l.server.Draining():
		err = linkspan.ErrClosed
	case err == nil && !l.server.Room(m):
		s.c.await()
		return false
	}
	settle, ok := s.window.Open(d)
	if !ok { // credit is given back a little before the window is, so a fast client may be here first
		s.c.await()
		return false
	}
	s.c.turned = 0
	s.c.entered++
	s.c.uncounted.entered++
	if err != nil {
		settle(err)
		return true
	}
	s.handing.Lock()
	if s.gone {
		s.handing.Unlock()
		settle(linkspan.ErrClosed)
		return true
	}
	s.c.uncounted.received++
	if d.RemotelySettled() {
		l.stats.Settled.Add(1)
	}
	l.server.Send(m, settle)
	s.handing.Unlock()
	return true
}

// message makes a message of a transfer. It borrows the payload. Errors are for the client and permanent.
func (s *sender) message(d *engine.Delivery, payload []byte) (*linkspan.Message, error) {
	w := s.c.work
	if d.Format() != 0 {
		return nil, linkspan.Permanent(refuse(frame.NotImplemented, "The message is of a format other than 0"))
	}
	if err := w.amqp.Decode(payload); err != nil {
		return nil, linkspan.Permanent(err)
	}
	topic := s.base
	if to := w.amqp.Properties.To.V; to != "" { // AKB-A1
		var err *frame.Error
		if topic, err = targetTopic(to); err != nil {
			return nil, linkspan.Permanent(err)
		}
	}
	if topic == "" {
		return nil, linkspan.Permanent(refuse(frame.PreconditionFailed, "Neither the link nor the message has an address: set to"))
	}
	m := &w.message
	m.Reset()
	m.Topic, m.Endpoint, m.Client, m.Username = topic, s.c.l.cfg.Name, s.c.container, s.c.username
	m.Received, m.Mute = w.now, d.RemotelySettled()
	if err := s.codecFor(topic).Read(&w.amqp, payload, m); err != nil {
		return nil, err
	}
	return m, nil
}

// codecFor returns the codec of a topic, which is most often that of the message before.
func (s *sender) codecFor(topic string) codec.Codec {
	if s.codecOf != topic {
		s.codec, s.codecOf = s.c.l.codecUp(topic), strings.Clone(topic)
	}
	return s.codec
}

// settled tells the client what became of a message: accepted only when the sink answers for it (P1). It is called from any
// goroutine, with the window locked.
func (s *sender) settled(d *engine.Delivery, err error) {
	stats := &s.c.l.stats
	state := frame.State{Kind: frame.Accepted}
	switch {
	case err == nil:
		stats.Taken.Add(1)
	case linkspan.IsPermanent(err):
		stats.Rejected.Add(1)
		state = frame.State{Kind: frame.Rejected, Error: *codec.Refusal(err, errKafka)}
	default:
		stats.returned(d.User != nil)
		state.Kind = frame.Released
	}
	d.Settle(state) // no disposition for one that came settled (AKB-A4)
	s.c.l.server.Settled()
	if s.c.settled.Add(1); s.c.l.server.Draining() {
		s.c.Wake()
	}
	s.give(1)
}

// give gives credit back: in larger lots, and not while messages wait for room. Credit and what is in flight are never more
// than Credit together (AKB-W1).
func (s *sender) give(n uint32) {
	owed := s.owed.Add(n)
	if s.full.Load() || owed < max(s.c.l.cfg.Credit/4, 1) || s.c.l.server.Draining() {
		return
	}
	if owed = s.owed.Swap(0); owed > 0 {
		s.link.Grant(owed)
	}
}

// Detached ends the link, or suspends it. What waits goes back to the client, which has it still; what came settled it has not, and
// that is lost: at most once is what it asked for.
func (s *sender) Detached(link *engine.Link, closed bool, _ *frame.Error) {
	if !closed && s.lease.outlives(link.Session().Over()) {
		s.c.suspend(s.key, s, past{memory: link.Suspend()}, s.lease, link.Session())
	} else {
		s.c.l.links.release(s.key, s)
	}
	s.c.links--
	s.stop()
	s.c.l.stats.Senders.Add(-1)
	s.c.waiting = slices.DeleteFunc(s.c.waiting, func(o *sender) bool { return o == s })
	for _, h := range s.backlog {
		s.c.l.stats.returned(h.d.User != nil)
		h.d.Settle(frame.State{Kind: frame.Released})
	}
	s.c.holds(-s.bytes)
	s.backlog, s.bytes = nil, 0
}

// steal ends the link for good: the client has attached it elsewhere. Nothing is handed on any more when it returns, so that what
// comes over the new link comes after it (P3). Any goroutine.
func (s *sender) steal() past {
	s.stop()
	memory := s.link.Suspend()
	s.link.Detach(true, errStolen())
	return past{memory: memory}
}

// stop returns when nothing more is handed on. Any goroutine.
func (s *sender) stop() {
	s.handing.Lock()
	s.gone = true
	s.handing.Unlock()
}
