package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A sender sends to one address, over one link of one connection. Guarded by the outbox's mu.
type sender struct {
	o       *outbox
	address string // as the routes know it
	place   place
	conn    *conn

	link    *engine.Link // nil: there is no room for another one
	ready   bool         // the broker has attached it
	leaving bool         // it is being detached, for being idle
	used    time.Time    // last
	waiting []*delivery  // for the link, credit or window
	flying  int          // sent and not settled
	sent    uint64
	tag     [8]byte // of the last one
	failing bool    // a message was given back: so is everything until nothing is on its way (P3)
	// wary is until when, after that, only what was tried before is taken: whoever hands over may have been about to send the next one
	// when it was told. Zero: no.
	wary time.Time
}

// defaultCaution is how long a sender is wary. A retry ends it.
const defaultCaution = time.Second

// behind reports whether a message would overtake one that was given back. The caller has mu.
func (s *sender) behind(m *linkspan.Message) bool {
	if s.failing || s.wary.IsZero() {
		return s.failing
	}
	if m.Tries == 0 && time.Now().Before(s.wary) {
		return true
	}
	s.wary = time.Time{}
	return false
}

// label is what the status calls the sender's link: another link may receive from the address.
func (s *sender) label() string { return "to " + s.address }

// newSender makes a sender, and asks for its link.
func (o *outbox) newSender(address string, p place) *sender {
	s := &sender{o: o, address: address, place: p, conn: o.conn, used: time.Now(), wary: o.wary[address]}
	delete(o.wary, address)
	o.senders[address] = s
	s.attach(s.used)
	return s
}

// attach asks for the link if there is room for it, and else has the sender that was idle the longest make some.
func (s *sender) attach(now time.Time) {
	o := s.o
	if o.attached >= o.c.cfg.MaxLinks {
		var oldest *sender
		for _, other := range o.senders {
			if other.idle() && (oldest == nil || other.used.Before(oldest.used)) {
				oldest = other
			}
		}
		if oldest != nil {
			oldest.leave()
		}
		return
	}
	o.named++
	target := &frame.Target{Address: frame.Some(s.place.address), ExpiryPolicy: frame.ExpireSessionEnd, Capabilities: s.place.capabilities()}
	if isRabbit3(s.conn.engine.Remote()) {
		target.Durable = o.c.cfg.madeByRabbit3()
	}
	l, err := s.conn.session.Attach(frame.Attach{
		Name: fmt.Sprintf("to %s %d", s.address, o.named), Role: frame.Sender, SenderSettleMode: frame.SendUnsettled,
		Source: &frame.Source{Address: frame.Some(o.c.cfg.ContainerID), ExpiryPolicy: frame.ExpireSessionEnd},
		Target: target,
	}, s)
	if err != nil {
		return // the connection is about to end, or the broker takes no more links: later
	}
	s.link, s.used = l, now
	o.attached++
}

// idle reports whether the link is there for nothing.
func (s *sender) idle() bool {
	return s.ready && !s.leaving && s.flying == 0 && len(s.waiting) == 0
}

// leave detaches the link. What comes for the address meanwhile waits for the next one.
func (s *sender) leave() {
	s.leaving = true
	s.link.Detach(true, nil)
}

// errExpired takes a message out that is of no more use.
var errExpired = errors.New("expired")

// pump sends what waits, as far as credit and window allow. The caller has mu.
func (s *sender) pump(over []outcome) []outcome {
	for len(s.waiting) > 0 {
		d := s.waiting[0]
		later, err := s.offer(d)
		if later {
			return over
		}
		s.waiting[0] = nil
		if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
			s.waiting = nil
		}
		if err != nil {
			over = s.o.over(over, d, err)
		}
	}
	return over
}

// offer sends a message, unless it has to wait: Attached, Flow or Detached go on then. The error says why it is over. The caller has mu.
func (s *sender) offer(d *delivery) (later bool, err error) {
	now := time.Now()
	switch {
	case !s.ready || s.leaving:
		return true, nil
	case !d.expires.IsZero() && !now.Before(d.expires):
		return false, errExpired
	}
	binary.BigEndian.PutUint64(s.tag[:], s.sent)
	_, err = s.link.Send(engine.Outgoing{Tag: s.tag[:], Payload: d.wire.b, User: d})
	switch {
	case errors.Is(err, engine.ErrNoCredit), errors.Is(err, engine.ErrWindow), errors.Is(err, engine.ErrDetached):
		return true, nil
	case errors.Is(err, engine.ErrTooLarge):
		return false, fmt.Errorf("%w: %d bytes, and the broker takes %d", linkspan.ErrTooLarge, d.size, s.link.Remote().MaxMessageSize)
	case err != nil:
		return false, err
	}
	d.wire.free()
	d.wire = nil
	s.sent++
	s.flying++
	s.used, d.given = now, now
	s.o.c.stats.Sent.Add(1)
	return false, nil
}

// giveBack gives back what waits. The caller has mu.
func (s *sender) giveBack(over []outcome, err error) []outcome {
	for _, d := range s.waiting {
		over = s.o.over(over, d, err)
	}
	s.waiting = nil
	return over
}

var _ engine.LinkHandler = (*sender)(nil)

// Attached sends what has waited for the link.
func (s *sender) Attached(l *engine.Link) {
	c := s.o.c
	c.stats.Senders.Add(1)
	c.forgetLink(s.label())
	s.o.mu.Lock()
	s.ready = true
	over := s.pump(nil)
	s.o.mu.Unlock()
	c.finish(over)
}

// Flow goes on with what waits.
func (s *sender) Flow(l *engine.Link) {
	s.o.mu.Lock()
	over := s.pump(nil)
	none := len(s.waiting) == 0
	s.o.mu.Unlock()
	if none && l.Draining() {
		l.Drained()
	}
	s.o.c.finish(over)
}

// Transfer is for receivers.
func (s *sender) Transfer(*engine.Link, *engine.Delivery, []byte) {}

// Settled takes the broker's outcome.
func (s *sender) Settled(_ *engine.Link, e *engine.Delivery) {
	state, settled := e.Remote(), e.RemotelySettled()
	if !state.Kind.Outcome() && !settled {
		return
	}
	d := e.User.(*delivery)
	e.Settle(frame.State{})
	o := s.o
	o.mu.Lock()
	s.flying--
	err := verdict(state, d.tries)
	var over []outcome
	if s.failing && !linkspan.IsPermanent(err) {
		err = errBehind // though it may have been accepted: then it comes twice, after those before it
	} else if err != nil && !linkspan.IsPermanent(err) {
		s.failing = true
		over = s.giveBack(over, errBehind)
	}
	if s.failing && s.flying == 0 {
		s.failing, s.wary = false, time.Now().Add(o.caution)
	}
	o.remove(d)
	o.mu.Unlock()
	o.c.finish(over)
	o.c.finishOne(d, err)
}

// Detached gives back what is not settled. What the broker says of the address when it refuses the link, or ends it for good, is the
// answer to those that were not sent; what it says when it ends all of the session or connection is not.
func (s *sender) Detached(l *engine.Link, closed bool, e *frame.Error) {
	o := s.o
	o.mu.Lock()
	closed = closed || o.refusing(s)
	why := error(errLost)
	if closed {
		why = verdictOnLink(e)
	}
	var over []outcome
	for _, u := range l.Unsettled() {
		lost := error(errLost)
		if closed && e != nil && e.Condition == frame.MessageSizeExceeded && s.flying == 1 { // it is the one
			lost = linkspan.Permanent(&refused{"message", frame.Rejected, *e})
		}
		over = o.over(over, u.User.(*delivery), lost)
		u.Settle(frame.State{})
	}
	ready, leaving := s.ready, s.leaving
	s.ready, s.leaving, s.link = false, false, nil
	s.flying, s.failing = 0, false
	if o.conn == s.conn {
		o.attached--
	}
	if !leaving || len(s.waiting) == 0 || o.conn != s.conn {
		over = s.giveBack(over, why)
		if o.senders[s.address] == s {
			delete(o.senders, s.address)
			o.beWary(s.address, over)
		}
	}
	o.mu.Unlock()
	if ready {
		o.c.stats.Senders.Add(-1)
	}
	if !leaving && !s.conn.over() && !s.conn.draining.Load() {
		o.c.stats.Detached.Add(1)
		if o.c.noteLink(s.label(), why) {
			o.c.log.Warn("the broker does not let us send to the address", "address", s.address, "err", why)
		}
	}
	s.conn.poke() // there is room for another link
	o.c.finish(over)
}

// beWary makes the next sender to an address wary, if something was given back. The caller has mu.
func (o *outbox) beWary(address string, over []outcome) {
	if len(o.wary) >= maxLinks { // they are of the past second, or of addresses that nobody sends to any more
		clear(o.wary)
	}
	if slices.ContainsFunc(over, func(o outcome) bool { return !linkspan.IsPermanent(o.err) }) {
		o.wary[address] = time.Now().Add(o.caution)
	}
}

// refusing reports whether the broker has ended the session because of the link that s wanted: RabbitMQ 3 refuses an address in that
// way. The caller has mu.
func (o *outbox) refusing(s *sender) bool {
	if s.ready || s.conn.engine.Done() {
		return false
	}
	for _, other := range o.senders {
		if other != s && other.link != nil && !other.ready {
			return false // who knows which
		}
	}
	return true
}
