package amqptest

import (
	"errors"
	"slices"
	"strconv"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
)

// A link is what senders and receivers have in common.
type link struct {
	*engine.Link
	c        *Client
	answer   chan *frame.Error // of the peer to the attach: why it refuses it; nil: it does not
	answered bool              // of the driver
	detached chan *frame.Error // why the link has ended; nil: it was not said
	flow     chan struct{}     // holds one: there may be credit
	arrived  chan *Received
}

// attach attaches a link, and returns why not, if the peer refuses it.
func (c *Client) attach(a frame.Attach) (*link, *frame.Error) {
	c.t.Helper()
	l := &link{
		c: c, answer: make(chan *frame.Error, 1), detached: make(chan *frame.Error, 1), flow: make(chan struct{}, 1), arrived: make(chan *Received, 100_000),
	}
	if a.Name == "" {
		a.Name = c.name()
	}
	var err error
	if l.Link, err = c.session.Attach(a, events{l}); err != nil {
		c.t.Fatal(err)
	}
	return l, wait(c, l.answer, "attach of "+a.Name)
}

// Close detaches the link for good, and waits for the peer's answer.
func (l *link) Close() {
	l.c.t.Helper()
	l.Link.Detach(true, nil)
	l.Ended()
}

// Ended waits until the link has ended, and returns with which error.
func (l *link) Ended() *frame.Error {
	l.c.t.Helper()
	return wait(l.c, l.detached, "detach of "+l.Name())
}

// events is a link as the engine sees it.
type events struct{ l *link }

var _ engine.LinkHandler = events{}

func (e events) Attached(*engine.Link) {
	e.l.answered = true
	e.l.answer <- nil
}

func (e events) Flow(*engine.Link) {
	select {
	case e.l.flow <- struct{}{}:
	default:
	}
}

func (e events) Settled(_ *engine.Link, d *engine.Delivery) {
	if outcome, _ := d.User.(chan frame.State); outcome != nil && d.Remote().Kind.Outcome() {
		outcome <- d.Remote()
		d.Settle(frame.State{})
	}
}

func (e events) Transfer(_ *engine.Link, d *engine.Delivery, payload []byte) {
	e.l.arrived <- &Received{Delivery: d, Payload: slices.Clone(payload), Tag: string(d.Tag())}
}

func (e events) Detached(_ *engine.Link, _ bool, err *frame.Error) {
	if !e.l.answered {
		refusal := err
		if refusal == nil {
			refusal = &frame.Error{Description: "detached without an error"}
		}
		e.l.answer <- refusal
	}
	e.l.detached <- err
}

// A Sender sends messages.
type Sender struct {
	*link
	sent int
}

// Sender attaches a sender to a target, "" for the anonymous terminus.
func (c *Client) Sender(target string) *Sender {
	c.t.Helper()
	s, err := c.TrySender(frame.Attach{Target: &frame.Target{Address: optional(target)}, SenderSettleMode: frame.SendMixed})
	if err != nil {
		c.t.Fatalf("sender to %q: %v", target, err)
	}
	return s
}

// TrySender attaches a sender, or returns why the peer does not let it.
func (c *Client) TrySender(a frame.Attach) (*Sender, *frame.Error) {
	c.t.Helper()
	a.Role = frame.Sender
	if a.Source == nil {
		a.Source = &frame.Source{}
	}
	l, err := c.attach(a)
	return &Sender{link: l}, err
}

// Post sends an encoded message as soon as there is credit for it, and returns where its outcome will be; nil if it goes settled.
func (s *Sender) Post(payload []byte, settled bool) <-chan frame.State {
	s.c.t.Helper()
	var outcome chan frame.State
	if !settled {
		outcome = make(chan frame.State, 1)
	}
	s.sent++
	for {
		_, err := s.Link.Send(engine.Outgoing{Tag: strconv.AppendInt(nil, int64(s.sent), 10), Payload: payload, Settled: settled, User: outcome})
		switch {
		case err == nil:
			return outcome
		case !errors.Is(err, engine.ErrNoCredit) && !errors.Is(err, engine.ErrWindow):
			s.c.t.Fatalf("send: %v", err)
		}
		wait(s.c, s.flow, "credit")
	}
}

// Send sends an encoded message and returns its outcome.
func (s *Sender) Send(payload []byte) frame.State {
	s.c.t.Helper()
	return wait(s.c, s.Post(payload, false), "the outcome")
}

// A Receiver receives messages.
type Receiver struct{ *link }

// Received is a message that has come. It is to be settled, once, where the link is not one of settled messages.
type Received struct {
	*engine.Delivery
	Payload []byte
	Tag     string
}

// Accept and so on settle the message with that outcome.
func (r *Received) Accept() { r.Settle(frame.State{Kind: frame.Accepted}) }

// Release gives the message back.
func (r *Received) Release() { r.Settle(frame.State{Kind: frame.Released}) }

// Reject refuses the message.
func (r *Received) Reject(condition frame.Symbol, text string) {
	r.Settle(frame.State{Kind: frame.Rejected, Error: frame.Error{Condition: condition, Description: text}})
}

// Modify gives the message back, and says more.
func (r *Received) Modify(failed, undeliverableHere bool) {
	r.Settle(frame.State{Kind: frame.Modified, DeliveryFailed: failed, UndeliverableHere: undeliverableHere})
}

// Receiver attaches a receiver to a source, and gives it credit.
func (c *Client) Receiver(source string, credit uint32) *Receiver {
	c.t.Helper()
	r, err := c.TryReceiver(frame.Attach{Source: &frame.Source{Address: optional(source)}, SenderSettleMode: frame.SendMixed})
	if err != nil {
		c.t.Fatalf("receiver from %q: %v", source, err)
	}
	r.Grant(credit)
	return r
}

// TryReceiver attaches a receiver without credit, or returns why the peer does not let it.
func (c *Client) TryReceiver(a frame.Attach) (*Receiver, *frame.Error) {
	c.t.Helper()
	a.Role = frame.Receiver
	if a.Target == nil {
		a.Target = &frame.Target{}
	}
	l, err := c.attach(a)
	return &Receiver{l}, err
}

// Receive waits for the next message.
func (r *Receiver) Receive() *Received {
	r.c.t.Helper()
	return wait(r.c, r.arrived, "a message")
}

// Waiting returns how many messages have come and were not received yet.
func (r *Receiver) Waiting() int { return len(r.arrived) }

func optional(address string) frame.Opt[string] {
	if address == "" {
		return frame.Opt[string]{}
	}
	return frame.Some(address)
}
