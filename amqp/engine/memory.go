package engine

import (
	"sync"

	"github.com/linkspan/linkspan/amqp/frame"
)

// A Memory is what a receiver knows of a link's deliveries from one attachment to the next, so that the sender need not send them
// again [AMQP 2.6.13]: which have come and have no outcome yet, and the outcomes that the sender has not been told, or has not
// settled. What was told as settled is in no memory: the sender may use its tag for another message [AMQP 2.6.12].
type Memory struct {
	mu     sync.Mutex // locked within that of a connection
	traces map[string]*trace
}

// A trace is what is left of a delivery.
type trace struct {
	from  *Delivery // which is still to be settled; nil: it was
	heir  *Delivery // the same one, resumed, which waits for the outcome
	state state     // the outcome; no kind: there is none yet
	asked bool      // the sender has it, too
}

// Suspend takes over what is to be known when a link that ends is attached again; nil if this end is the sender. An outcome that comes
// later is not told on this link any more but remembered. It is for [LinkHandler] Detached, or before that for a link that another
// attachment replaces.
func (l *Link) Suspend() *Memory {
	c := l.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !l.sender {
		l.suspend()
	}
	return l.memory
}

// suspend needs mu.
func (l *Link) suspend() {
	if l.suspended {
		return
	}
	l.suspended = true
	if l.memory == nil {
		l.memory = new(Memory)
	}
	for d := l.first; d != nil; {
		next := d.next
		if !d.settled {
			l.memory.remember(d)
		}
		d = next
	}
}

// Remember has a receiver that is to be accepted go on where an earlier attachment was suspended: the answer to the peer's attach
// then says what is known, and resumed deliveries that are known are answered without the handler. m is this link's alone; nil: there
// was no earlier one. With Remember, nothing is lost between the end of the link and its Suspend.
func (l *Link) Remember(m *Memory) {
	if m == nil {
		m = new(Memory)
	}
	c := l.s.c
	c.mu.Lock()
	l.memory = m
	c.mu.Unlock()
}

// Len returns of how many deliveries m knows. A nil Memory knows of none.
func (m *Memory) Len() int {
	if m == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.traces)
}

// clear forgets all.
func (m *Memory) clear() {
	if m != nil {
		m.mu.Lock()
		m.traces = nil
		m.mu.Unlock()
	}
}

// remember notes what is known of a delivery whose link ends. It needs mu of the link.
func (m *Memory) remember(d *Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traces[string(d.Tag())]
	if d.adopted && !d.finished {
		if t != nil && t.heir == d { // else its outcome is on the way
			t.heir = nil
			d.vanish()
		}
		return
	}
	if m.traces == nil {
		m.traces = map[string]*trace{}
	}
	t = &trace{from: d}
	if d.finished {
		t.from, t.state = nil, d.User.(state)
	}
	m.traces[string(d.Tag())] = t
}

// untold notes an outcome that the sender is not told, if it has the delivery still, and returns the delivery of a later attachment that it
// is to be told on. It needs mu.
func (l *Link) untold(d *Delivery, s *frame.State) (heir *Delivery) {
	if l.memory == nil || d.settled {
		return nil
	}
	if !l.suspended { // it is about to be
		l.memory.remember(d)
	}
	return l.memory.learn(d, s)
}

// learn notes the outcome of a delivery of a link that has ended, and returns the one of a later link that waits for it. What is to
// be sent again is forgotten: then the sender does.
func (m *Memory) learn(d *Delivery, s *frame.State) (heir *Delivery) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traces[string(d.Tag())]
	if t == nil || t.from != d && !d.adopted {
		return nil
	}
	heir, t.heir, t.from = t.heir, nil, nil
	if s.Kind == frame.Accepted || s.Kind == frame.Rejected {
		t.state = keep(s)
	} else {
		delete(m.traces, string(d.Tag()))
	}
	return heir
}

// forget is called when the sender knows enough.
func (m *Memory) forget(tag []byte) {
	if m == nil {
		return
	}
	m.mu.Lock()
	delete(m.traces, string(tag))
	m.mu.Unlock()
}

// resume looks up a delivery that the sender resumes, and returns what is known of it. Where there is no outcome yet, d gets it.
func (m *Memory) resume(d *Delivery) (known bool, s state) {
	if m == nil {
		return false, s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := m.traces[string(d.Tag())]
	if t == nil || t.heir != nil {
		return false, s
	}
	if t.state.kind == frame.NoState {
		t.heir = d
	}
	return true, t.state
}

// answer returns what the sender's unsettled map is answered with: all that both have. A delivery without an outcome has no state
// there, as if nothing of it had come: the sender may resume it with its message, which then is not looked at. What only we have,
// the sender has settled, unless its map is incomplete.
func (m *Memory) answer(a *frame.Attach) frame.Map {
	b, n := frame.BeginMap(nil), 0
	if m == nil {
		return frame.EndMap(b, 0, 0)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range a.Unsettled.All() {
		tag, _ := key.Binary()
		t := m.traces[string(tag)]
		if t == nil {
			continue
		}
		t.asked = true
		s := t.state.get()
		b = frame.AppendState(frame.AppendBinary(b, tag), &s)
		n++
	}
	for tag, t := range m.traces {
		if !t.asked && !a.IncompleteUnsettled {
			delete(m.traces, tag)
		}
		t.asked = false
	}
	return frame.EndMap(b, 0, n)
}

// resume takes a whole delivery that the sender says it resumes. Whatever message comes with it is here already, or it is one that
// we do not know: then the sender is told to send it anew. It needs mu.
func (l *Link) resume(d *Delivery, t *frame.Transfer) {
	d.adopted = true
	known, s := l.memory.resume(d)
	if d.settled || t.Settled {
		d.settled = true
		l.memory.forget(d.Tag())
		l.granted++
		l.announce()
		d.vanish()
		return
	}
	if !d.entered {
		l.s.in.add(d)
	}
	l.list(d)
	outcome := s.get()
	switch {
	case !known:
		outcome.Kind = frame.Released
	case s.kind == frame.NoState:
		return
	case t.State.Kind.Outcome(): // what the sender says takes effect
		outcome = t.State
	}
	d.settle(&outcome)
}

// abandon forgets what the sender aborts. Its credit comes back. It needs mu.
func (l *Link) abandon(d *Delivery) {
	if d.resumed {
		l.memory.forget(d.Tag())
	}
	l.granted++
	l.announce()
}

// vanish takes a delivery out of the books that has no owner but the engine. It needs mu.
func (d *Delivery) vanish() {
	if d.entered {
		d.link.s.in.remove(d)
	}
	if d.listed {
		d.link.unlist(d)
	}
	d.recycle()
}

// half leaves out half of an unsettled map that is too large for a frame [AMQP 2.7.3]. It reports whether there was something.
func half(a *frame.Attach) bool {
	n := a.Unsettled.Len() / 2
	if a.Unsettled.Len() == 0 {
		return false
	}
	b, i := frame.BeginMap(nil), 0
	for key, value := range a.Unsettled.All() {
		if i == n {
			break
		}
		b = value.Append(key.Append(b))
		i++
	}
	a.Unsettled, a.IncompleteUnsettled = frame.EndMap(b, 0, n), true
	return true
}
