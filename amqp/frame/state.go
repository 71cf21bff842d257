package frame

import "strconv"

// StateKind is a kind of delivery state [AMQP 3.4, 4.5].
type StateKind uint8

// The kinds of delivery states. Accepted, Rejected, Released and Modified are outcomes.
const (
	NoState StateKind = iota
	Received
	Accepted
	Rejected
	Released
	Modified
	Declared
	Transactional
)

var stateNames = [...]string{"none", "received", "accepted", "rejected", "released", "modified", "declared",
	"transactional-state"}

// String returns the name that the specification prints.
func (k StateKind) String() string {
	if int(k) < len(stateNames) {
		return stateNames[k]
	}
	return "unknown(" + strconv.Itoa(int(k)) + ")"
}

// Outcome reports whether it is a state that a delivery ends in.
func (k StateKind) Outcome() bool { return k >= Accepted && k <= Modified }

// stateCodes are the descriptors of the kinds.
var stateCodes = [...]Descriptor{0, CodeReceived, CodeAccepted, CodeRejected, CodeReleased, CodeModified, CodeDeclared,
	CodeTransactionalState}

// State is the state of a delivery. Its zero value is none.
type State struct {
	Kind StateKind

	// Received: how far the receiver has got.
	SectionNumber uint32
	SectionOffset uint64

	// Rejected: why; without a condition it is not said.
	Error Error

	// Modified.
	DeliveryFailed    bool
	UndeliverableHere bool
	Annotations       Map

	// Declared and Transactional: all of the state as it came.
	Raw []byte
}

// ReadState reads the state of a delivery in an unsettled map.
func ReadState(v Value) (State, error) {
	f := fields{b: v.Raw(), n: 1, of: "unsettled"}
	var s State
	f.state(&s, "state")
	return s, f.done()
}

// AppendState adds s to b, a null if there is none.
func AppendState(b []byte, s *State) []byte {
	if s.Kind == NoState {
		return AppendNull(b)
	}
	if s.Raw != nil {
		return append(b, s.Raw...)
	}
	l := newList(b, stateCodes[s.Kind])
	switch s.Kind {
	case Received:
		l.uint(s.SectionNumber, true)
		l.ulong(s.SectionOffset, true)
	case Rejected:
		l.problem(&s.Error)
	case Modified:
		l.flag(s.DeliveryFailed)
		l.flag(s.UndeliverableHere)
		l.mapping(s.Annotations)
	}
	return l.end()
}

// state writes a state, if there is one.
func (l *list) state(s *State) {
	if s.Kind == NoState {
		l.null()
		return
	}
	l.b = AppendState(l.next(), s)
}

// state reads a state into s, which has none. It is large, and most transfers have none.
func (f *fields) state(s *State, name string) {
	if _, ok := f.next(); !ok {
		return
	}
	code, err := DescriptorOf(f.b)
	if err != nil {
		f.err = err
		return
	}
	switch code {
	case CodeReceived, CodeAccepted, CodeRejected, CodeReleased, CodeModified:
		s.Kind = StateKind(code-CodeReceived) + Received
	case CodeDeclared, CodeTransactionalState:
		s.Kind = StateKind(code-CodeDeclared) + Declared
		s.Raw = f.cut().Raw()
		return
	default:
		f.wrong(name)
		return
	}
	g, rest := open(f.b, code, s.Kind.String())
	var ok bool
	switch s.Kind {
	case Received:
		s.SectionNumber, ok = g.uint("section-number")
		g.need("section-number", ok)
		s.SectionOffset, ok = g.ulong("section-offset")
		g.need("section-offset", ok)
	case Rejected:
		s.Error = g.problem("error")
	case Modified:
		s.DeliveryFailed = g.flag("delivery-failed")
		s.UndeliverableHere = g.flag("undeliverable-here")
		s.Annotations = g.symbolMap("message-annotations")
	}
	f.b, f.err = rest, g.done()
}
