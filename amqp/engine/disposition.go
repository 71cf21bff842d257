package engine

import (
	"slices"
	"strings"

	"github.com/linkspan/linkspan/amqp/frame"
)

// settlement is something to be said of deliveries in a row.
type settlement struct {
	first, last uint32
	sender      bool // we are
	settled     bool
	state       state
}

// joins reports whether two settlements say the same of their deliveries. States that carry something are not compared.
func (a *settlement) joins(b *settlement) bool {
	return a.sender == b.sender && a.settled == b.settled &&
		a.state.kind == b.state.kind && a.state.whole == nil && b.state.whole == nil
}

// state is a frame.State in little memory: most say no more than their kind.
type state struct {
	kind  frame.StateKind
	whole *frame.State // nil: the kind says it all
}

// keep returns a state that borrows nothing.
func keep(s *frame.State) state {
	switch s.Kind {
	case frame.NoState, frame.Accepted, frame.Released:
		return state{kind: s.Kind}
	}
	whole := *s
	whole.Error = frame.Error{
		Condition:   frame.Symbol(strings.Clone(string(s.Error.Condition))),
		Description: strings.Clone(s.Error.Description),
		Info:        slices.Clone(s.Error.Info),
	}
	whole.Annotations, whole.Raw = slices.Clone(s.Annotations), slices.Clone(s.Raw)
	return state{s.Kind, &whole}
}

func (s state) get() frame.State {
	if s.whole != nil {
		return *s.whole
	}
	return frame.State{Kind: s.kind}
}

// tell remembers what the peer is to be told, until Output. It needs mu.
func (s *Session) tell(n settlement) {
	if i := len(s.settled) - 1; i >= 0 && s.settled[i].last+1 == n.first && s.settled[i].joins(&n) {
		s.settled[i].last = n.last
		return
	}
	s.settled = append(s.settled, n)
	s.wake()
}

// wake remembers that the session has something for Output. It needs mu.
func (s *Session) wake() {
	if !s.due && !s.dead {
		s.due = true
		s.c.due = append(s.c.due, s)
	}
}

// flush appends what the peer is to be told of the session: dispositions, then flows. It needs mu.
func (s *Session) flush(b []byte) []byte {
	if s.ended || s.dead || s.c.closeSent {
		return b
	}
	b = s.flushSettled(b)
	for i, l := range s.flows {
		s.flows[i] = nil
		l.flow = false
		if l.attachSent && l.attachGot && !l.detachSent && !l.gone {
			b = l.appendFlow(b)
		}
	}
	s.flows = s.flows[:0]
	if s.flow {
		f := s.windows()
		b = s.appendFlow(b, &f)
	}
	return b
}

// flushSettled joins what was settled in whatever order to as few ranges as that takes.
func (s *Session) flushSettled(b []byte) []byte {
	n := s.settled
	if len(n) == 0 {
		return b
	}
	base := n[0].first
	inOrder := func(a, b settlement) int {
		if a.sender != b.sender {
			if a.sender {
				return 1
			}
			return -1
		}
		return int(int32(a.first-base)) - int(int32(b.first-base))
	}
	if len(n) > 1 && !slices.IsSortedFunc(n, inOrder) {
		slices.SortStableFunc(n, inOrder)
	}
	from := n[0]
	for i := 1; i < len(n); i++ {
		if from.last+1 == n[i].first && from.joins(&n[i]) {
			from.last = n[i].last
			continue
		}
		b = s.appendDisposition(b, &from)
		from = n[i]
	}
	b = s.appendDisposition(b, &from)
	clear(n)
	s.settled = n[:0]
	return b
}

func (s *Session) appendDisposition(b []byte, n *settlement) []byte {
	d := frame.Disposition{Role: frame.Role(!n.sender), First: n.first, Last: n.last, Settled: n.settled, State: n.state.get()}
	before := len(b)
	b = frame.EndFrame(d.Append(frame.BeginFrame(b, frame.TypeAMQP, s.channel)), before)
	if len(b)-before > s.c.remoteMax { // what does not fit is only said
		d.State = frame.State{Kind: n.state.kind, Error: clip(&d.State.Error),
			DeliveryFailed: d.State.DeliveryFailed, UndeliverableHere: d.State.UndeliverableHere}
		b = frame.EndFrame(d.Append(frame.BeginFrame(b[:before], frame.TypeAMQP, s.channel)), before)
	}
	return b
}

// wantFlow has the session's windows told. It needs mu.
func (s *Session) wantFlow() {
	s.flow = true
	s.wake()
}

// wantFlow has the link's flow state told. It needs mu.
func (l *Link) wantFlow() {
	if !l.flow {
		l.flow = true
		l.s.flows = append(l.s.flows, l)
	}
	l.s.wake()
}

// state returns a flow with the windows of the session, which are open again with this. It needs mu.
func (s *Session) windows() frame.Flow {
	s.flow = false
	s.windowIn = s.c.cfg.IncomingWindow
	return frame.Flow{
		NextIncomingID: frame.Opt[uint32]{V: s.nextIn, OK: s.begun}, IncomingWindow: s.windowIn,
		NextOutgoingID: s.nextOut, OutgoingWindow: outgoingWindow,
	}
}

// appendFlow appends the flow state of the link. It needs mu.
func (l *Link) appendFlow(b []byte) []byte {
	f := l.s.windows()
	if !l.sender {
		n := min(l.grantable(), 1<<31-1-min(l.credit, 1<<31-1))
		l.credit += n
		l.granted -= n
		if limit := l.count + l.credit; int32(limit-l.limit) > 0 {
			l.limit = limit
		}
	}
	f.Handle, f.DeliveryCount, f.LinkCredit = frame.Some(l.handle), frame.Some(l.count), frame.Some(l.credit)
	f.Drain = l.drain
	return l.s.appendFlow(b, &f)
}

func (s *Session) appendFlow(b []byte, f *frame.Flow) []byte {
	at := len(b)
	return frame.EndFrame(f.Append(frame.BeginFrame(b, frame.TypeAMQP, s.channel)), at)
}

// disposed takes a disposition of the peer. It is the driver's; Settled is called for as many deliveries at a time as the
// lock is held for.
func (c *Conn) disposed(channel uint16, d *frame.Disposition) error {
	if int32(d.Last-d.First) < 0 {
		return violation(frame.InvalidField, "a disposition from %d to %d", d.First, d.Last)
	}
	state := keep(&d.State)
	for from, more := d.First, true; more; {
		c.mu.Lock()
		s, err := c.session(channel)
		if err != nil || s == nil {
			c.mu.Unlock()
			return err
		}
		from, more = s.disposed(from, d, state)
		c.mu.Unlock()
		c.run()
	}
	return nil
}

// batch is for how many deliveries the lock is held at a time.
const batch = 64

// disposed returns where to go on. It needs mu.
func (s *Session) disposed(from uint32, f *frame.Disposition, state state) (next uint32, more bool) {
	ours := f.Role == frame.Receiver // so that it is about what we have sent
	g := s.ledger(ours)
	more = true
	for range batch {
		d := g.after(from, f.Last)
		if d == nil {
			return 0, false
		}
		if state.kind != frame.NoState {
			d.remote = state
		}
		if f.Settled {
			d.settled = true
		}
		if from = d.id + 1; d.id == f.Last {
			more = false
		}
		if f.Settled && d.listed { // else it is not whole yet
			g.remove(d)
		}
		if f.Settled && d.finished {
			d.leave()
		} else if ours {
			d.posted++
			s.c.post(event{kind: settled, l: d.link, d: d})
		}
		if !more {
			return 0, false
		}
	}
	return from, more
}

// ledger returns the books of one direction. It needs mu.
func (s *Session) ledger(outgoing bool) *ledger {
	if outgoing {
		return &s.out
	}
	return &s.in
}
