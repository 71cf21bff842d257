package client

import (
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/dial"
)

// A receiver receives from one address, over one link after the other.
type receiver struct {
	c       *Client
	address string // as the routes know it
	place   place
	window  *linkspan.Window[arrival] // what the sink has, of all links

	// Of the driver.

	now    *intake   // nil: there is no link
	again  time.Time // when the next one is to be attached
	pauses dial.BackOff

	mu    sync.Mutex
	taken uint32 // messages that have come and are not settled, of all links
}

// An intake is one link of a receiver. What came over it goes to the sink in order, and is settled in that order:
//
//	Transfer ─ hand ─ window ─ sink ─ done ─ settled ─► disposition, and one credit more
//	    └─ backlog, while there is no room: no more credit
type intake struct {
	r    *receiver
	conn *conn
	link *engine.Link

	// Of the driver.

	codec   codec.Codec
	lots    bool      // RabbitMQ 3: credit is given only when all is used; never changed
	since   time.Time // when it was attached; zero: it is not yet
	deaf    bool      // the broker does not know the outcome rejected
	backlog []held    // oldest first
	leaving bool      // it is being detached

	// Guarded by r.mu.

	granted uint32 // credit that is not used
	open    uint32 // messages that have come and are not settled
	full    bool   // there is a backlog: no credit
	broken  bool   // a message was given back: nothing behind it is accepted, so that all come again in their order (P3)
	ended   bool   // nothing can be told any more
}

// held is a message that waits for room.
type held struct {
	d       *engine.Delivery
	payload []byte
}

// arrival is a message that the sink has.
type arrival struct {
	in      *intake
	d       *engine.Delivery
	settled bool // by the broker, when it came
}

func newReceiver(c *Client, address string) *receiver {
	r := &receiver{c: c, address: address}
	r.place, _ = parsePlace(address)
	r.window = linkspan.NewWindow(int(c.cfg.Credit), &c.slots, settled)
	return r
}

// attend keeps the link attached, hands on what waits for room, and returns when it wants to be called again.
func (r *receiver) attend(c *conn, now time.Time) time.Time {
	in := r.now
	switch {
	case in != nil && in.conn == c:
	case c.draining.Load():
		return now.Add(time.Hour)
	case now.Before(r.again):
		return r.again
	default:
		r.attach(c)
		return now.Add(time.Hour)
	}
	if c.draining.Load() {
		in.giveUp()
		return now.Add(time.Hour)
	}
	switch {
	case in.isBroken():
		in.giveUp()
		if in.settledAll() && !in.leaving {
			in.leaving = true
			in.link.Detach(r.place.kind != topic, nil)
		}
	case len(in.backlog) > 0:
		in.catchUp()
		if len(in.backlog) > 0 {
			return now.Add(pressureInterval)
		}
	}
	return now.Add(time.Hour)
}

func (in *intake) isBroken() bool {
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	return in.broken
}

func (in *intake) settledAll() bool {
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	return in.open == 0
}

// attach asks for a link.
func (r *receiver) attach(c *conn) {
	in := &intake{r: r, conn: c, codec: r.c.codecUp(r.address), lots: isRabbit3(c.engine.Remote())}
	source := &frame.Source{
		Address: frame.Some(r.place.address), ExpiryPolicy: frame.ExpireSessionEnd, Capabilities: r.place.capabilities(),
		Outcomes: []frame.Symbol{frame.OutcomeAccepted, frame.OutcomeRejected, frame.OutcomeReleased, frame.OutcomeModified},
	}
	if r.place.kind == topic && r.c.cfg.Durable {
		source.Durable, source.ExpiryPolicy, source.DistributionMode = frame.DurableState, frame.ExpireNever, frame.DistributeCopy
	} else if in.lots {
		source.Durable = r.c.cfg.madeByRabbit3()
	}
	var err error
	in.link, err = c.session.Attach(frame.Attach{
		Name: "from " + r.address, Role: frame.Receiver, Source: source, SenderSettleMode: frame.SendMixed,
		Target: &frame.Target{Address: frame.Some(r.place.address), ExpiryPolicy: frame.ExpireSessionEnd},
	}, in)
	if err != nil { // the connection is about to end, or the broker takes no more links
		r.failed(err, 0)
		return
	}
	r.now = in
}

// failed has the link attached again, after a pause.
func (r *receiver) failed(err error, lasted time.Duration) {
	r.again = time.Now().Add(r.pauses.Next(r.c.cfg.Reconnect, lasted))
	r.c.stats.Detached.Add(1)
	if r.c.noteLink(r.address, err) {
		r.c.log.Warn("no messages from the address", "address", r.address, "err", err, "retry_within", r.c.cfg.Reconnect.Max)
	}
}

var _ engine.LinkHandler = (*intake)(nil)

// Attached gives credit.
func (in *intake) Attached(l *engine.Link) {
	r := in.r
	in.since = time.Now()
	if s := l.Remote().Source; s != nil && len(s.Outcomes) > 0 {
		in.deaf = true
		for _, o := range s.Outcomes {
			in.deaf = in.deaf && o != frame.OutcomeRejected
		}
	}
	r.c.stats.Receivers.Add(1)
	if r.c.noteLink(r.address, nil) {
		r.c.log.Info("receiving", "address", r.address)
	}
	in.topUp()
}

// Flow tells what the broker has to send, which we do not need to know.
func (in *intake) Flow(*engine.Link) {}

// Settled is for senders.
func (in *intake) Settled(*engine.Link, *engine.Delivery) {}

// Transfer takes one message.
func (in *intake) Transfer(_ *engine.Link, d *engine.Delivery, payload []byte) {
	r := in.r
	r.mu.Lock()
	in.granted -= min(in.granted, 1)
	in.open++
	r.taken++
	broken := in.broken
	last := in.granted == 0
	r.mu.Unlock()
	if last && in.lots {
		defer in.topUp()
	}
	switch {
	case broken || in.conn.draining.Load():
		in.giveBack(d)
		return
	case len(in.backlog) == 0 && in.hand(d, payload):
		return
	case len(in.backlog) == 0:
		r.c.stats.Stalled.Add(1)
		in.setFull(true)
	}
	in.backlog = append(in.backlog, held{d, append([]byte(nil), payload...)})
	in.conn.held += len(payload)
	r.c.stats.Held.Add(1)
}

func (in *intake) setFull(full bool) {
	in.r.mu.Lock()
	in.full = full
	in.r.mu.Unlock()
}

// catchUp hands on what waits, as far as there is room now.
func (in *intake) catchUp() {
	for len(in.backlog) > 0 && in.hand(in.backlog[0].d, in.backlog[0].payload) {
		in.unhold()
	}
	if len(in.backlog) == 0 {
		in.backlog = nil
		in.setFull(false)
		in.topUp()
	}
}

// unhold takes the oldest off the backlog.
func (in *intake) unhold() {
	in.conn.held -= len(in.backlog[0].payload)
	in.backlog[0] = held{}
	in.backlog = in.backlog[1:]
	in.r.c.stats.Held.Add(-1)
}

// giveUp gives back what waits, and takes back the credit.
func (in *intake) giveUp() {
	in.r.mu.Lock()
	granted := in.granted
	in.granted, in.full = 0, true
	in.r.mu.Unlock()
	if granted > 0 {
		in.link.Withdraw()
	}
	for len(in.backlog) > 0 {
		d := in.backlog[0].d
		in.unhold()
		in.giveBack(d)
	}
}

// giveBack releases a message that the sink was not asked about: the broker sends it again, to us or to others.
func (in *intake) giveBack(d *engine.Delivery) {
	in.r.mu.Lock()
	in.open--
	in.r.taken--
	in.r.mu.Unlock()
	in.r.c.stats.countReleased(d.RemotelySettled())
	d.Settle(frame.State{Kind: frame.Released})
}

func (s *Stats) countReleased(lost bool) {
	if lost {
		s.Abandoned.Add(1) // it does not come again
	} else {
		s.Released.Add(1)
	}
}

// hand hands a message to the sink. It returns false when there is no room (P6).
func (in *intake) hand(d *engine.Delivery, payload []byte) bool {
	c := in.r.c
	if !linkspan.Room(c.to, nil) {
		return false
	}
	m, bad := in.message(d, payload)
	if bad == nil && !linkspan.Room(c.to, m) {
		return false
	}
	done, ok := in.r.window.Open(arrival{in, d, d.RemotelySettled()})
	if !ok { // of links before this one
		return false
	}
	c.stats.InFlight.Add(1)
	if bad != nil {
		done(bad)
		return true
	}
	c.stats.Received.Add(1)
	c.to.Send(c.sending, m, done)
	return true
}

// message makes a message of a transfer. It borrows the payload. Errors are permanent.
func (in *intake) message(d *engine.Delivery, payload []byte) (*linkspan.Message, error) {
	c := in.conn
	if d.Format() != 0 {
		return nil, linkspan.Permanent(&frame.Error{Condition: frame.NotImplemented, Description: "a message of a format other than 0"})
	}
	if err := c.amqp.Decode(payload); err != nil {
		return nil, linkspan.Permanent(err)
	}
	m := &c.message
	m.Reset()
	m.Topic, m.Endpoint, m.Received = in.r.address, c.c.cfg.Name, c.now
	m.Mute = d.RemotelySettled() || in.deaf || c.c.cfg.Refused == RefusedDeadLetter
	return m, in.codec.Read(&c.amqp, payload, m)
}

// settled tells the broker what became of a message: accepted only when the sink answers for it (P1). It is called from any goroutine,
// with the window locked.
func settled(a arrival, err error) {
	in, r := a.in, a.in.r
	s := &r.c.stats
	s.InFlight.Add(-1)
	r.mu.Lock()
	if err != nil && !linkspan.IsPermanent(err) && !a.settled {
		in.broken = true
	}
	broken := in.broken
	in.open--
	r.taken--
	last := in.open == 0
	r.mu.Unlock()

	state := frame.State{Kind: frame.Accepted}
	switch {
	case linkspan.IsPermanent(err):
		s.Rejected.Add(1)
		state = frame.State{Kind: frame.Rejected, Error: *codec.Refusal(err, frame.InternalError)}
	case err != nil || broken && !a.settled:
		s.countReleased(a.settled)
		state.Kind = frame.Released
	default:
		s.Accepted.Add(1)
	}
	a.d.Settle(state)
	if broken || in.conn.draining.Load() {
		if last {
			in.conn.poke()
		}
		return
	}
	in.topUp()
}

// topUp gives credit, in larger lots, so that credit and what has come are never more than Credit together. Any goroutine.
func (in *intake) topUp() {
	r := in.r
	r.mu.Lock()
	most := r.c.cfg.Credit
	n := most - min(most, in.granted+r.taken)
	if in.full || in.broken || in.ended || n < max(most/4, 1) || in.granted > 0 && in.lots || in.conn.draining.Load() {
		n = 0
	}
	in.granted += n
	r.mu.Unlock()
	if n > 0 {
		in.link.Grant(n)
	}
}

// Detached ends the link. What is on its way to the sink stays there; the broker sends it again.
func (in *intake) Detached(_ *engine.Link, _ bool, err *frame.Error) {
	r := in.r
	r.mu.Lock()
	in.ended = true
	broken := in.broken
	in.granted = 0
	r.mu.Unlock()
	in.giveUp()
	r.now = nil
	var lasted time.Duration
	if !in.since.IsZero() {
		r.c.stats.Receivers.Add(-1)
		lasted = time.Since(in.since)
	}
	switch {
	case in.conn.over() || in.conn.draining.Load():
		r.again, r.pauses = time.Time{}, dial.BackOff{}
	case broken:
		r.failed(errStore, lasted)
	default:
		r.failed(verdictOnLink(err), lasted)
	}
}
