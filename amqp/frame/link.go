package frame

// Role is an end of a link [AMQP 2.8.1].
type Role bool

// The ends of a link.
const (
	Sender   Role = false
	Receiver Role = true
)

// String returns the name that the specification prints.
func (r Role) String() string {
	if r == Receiver {
		return "receiver"
	}
	return "sender"
}

// SenderSettleMode is how a sender settles [AMQP 2.8.2].
type SenderSettleMode uint8

// The modes of a sender.
const (
	SendUnsettled SenderSettleMode = iota
	SendSettled
	SendMixed // absent means this
)

// ReceiverSettleMode is how a receiver settles [AMQP 2.8.3].
type ReceiverSettleMode uint8

// The modes of a receiver.
const (
	ReceiveFirst  ReceiverSettleMode = iota // it settles on its own; absent means this
	ReceiveSecond                           // it settles after the sender has
)

// Attach is an attach: of a link to a session [AMQP 2.7.3].
type Attach struct {
	Name                 string
	Handle               uint32
	Role                 Role // of who sends this
	SenderSettleMode     SenderSettleMode
	ReceiverSettleMode   ReceiverSettleMode
	Source               *Source      // nil: there is none
	Target               *Target      // nil: there is none, or a coordinator
	Coordinator          *Coordinator // the target of a link that controls transactions
	Unsettled            Map          // delivery tags to states, see [ReadState]; a value may be null
	IncompleteUnsettled  bool
	InitialDeliveryCount uint32 // a sender's only
	MaxMessageSize       uint64 // bytes; 0: no bound
	OfferedCapabilities  []Symbol
	DesiredCapabilities  []Symbol
	Properties           Map
}

// Decode reads an attach.
func (a *Attach) Decode(body []byte) error {
	f := openAll(body, CodeAttach, "attach")
	var ok bool
	a.Name, ok = f.text("name")
	f.need("name", ok)
	a.Handle, ok = f.uint("handle")
	f.need("handle", ok)
	a.Role = f.role()
	a.SenderSettleMode = SendMixed
	if mode, ok := f.ubyte("snd-settle-mode"); ok {
		if a.SenderSettleMode = SenderSettleMode(mode); a.SenderSettleMode > SendMixed {
			f.refuse("snd-settle-mode", "is above 2")
		}
	}
	a.ReceiverSettleMode = f.receiverSettleMode().Or(ReceiveFirst)
	a.Source = f.source()
	a.Target, a.Coordinator = f.target()
	a.Unsettled = f.unsettled()
	a.IncompleteUnsettled = f.flag("incomplete-unsettled")
	a.InitialDeliveryCount, ok = f.uint("initial-delivery-count")
	if f.need("initial-delivery-count", ok || a.Role == Receiver); a.Role == Receiver {
		a.InitialDeliveryCount = 0 // what a receiver says there is ignored
	}
	a.MaxMessageSize, _ = f.ulong("max-message-size")
	a.OfferedCapabilities = f.symbols("offered-capabilities", a.OfferedCapabilities)
	a.DesiredCapabilities = f.symbols("desired-capabilities", a.DesiredCapabilities)
	a.Properties = f.symbolMap("properties")
	return f.done()
}

func (f *fields) role() Role {
	role, ok := f.bool("role")
	f.need("role", ok)
	return Role(role)
}

func (f *fields) receiverSettleMode() Opt[ReceiverSettleMode] {
	mode, ok := f.ubyte("rcv-settle-mode")
	if mode > uint8(ReceiveSecond) {
		f.refuse("rcv-settle-mode", "is above 1")
	}
	return Opt[ReceiverSettleMode]{ReceiverSettleMode(mode), ok}
}

// unsettled reads a map of delivery tags, the states of which it checks.
func (f *fields) unsettled() Map {
	const name = "unsettled"
	m := f.mapping(name)
	for k, v := range m.All() {
		if tag, ok := k.Binary(); !ok || len(tag) > maxTag {
			f.refuse(name, "has a key that is not a delivery tag")
			return nil
		}
		if v.IsNull() {
			continue
		}
		if _, err := ReadState(v); err != nil {
			f.err = err
			return nil
		}
	}
	return m
}

// Append adds a to the end of b.
func (a *Attach) Append(b []byte) []byte {
	l := newList(b, CodeAttach)
	l.text(a.Name, true)
	l.uint(a.Handle, true)
	l.bool(bool(a.Role), true)
	l.ubyte(uint8(a.SenderSettleMode), a.SenderSettleMode != SendMixed)
	l.ubyte(uint8(a.ReceiverSettleMode), a.ReceiverSettleMode != ReceiveFirst)
	l.source(a.Source)
	if a.Coordinator != nil {
		l.coordinator(a.Coordinator)
	} else {
		l.target(a.Target)
	}
	l.mapping(a.Unsettled)
	l.flag(a.IncompleteUnsettled)
	l.uint(a.InitialDeliveryCount, a.Role == Sender)
	l.ulong(a.MaxMessageSize, a.MaxMessageSize != 0)
	l.symbols(a.OfferedCapabilities)
	l.symbols(a.DesiredCapabilities)
	l.mapping(a.Properties)
	return l.end()
}

// Flow is a flow: of a session's windows, and of a link's credit if it has a handle [AMQP 2.7.4].
type Flow struct {
	NextIncomingID Opt[uint32] // absent until the peer's begin was seen
	IncomingWindow uint32
	NextOutgoingID uint32
	OutgoingWindow uint32
	Handle         Opt[uint32]
	DeliveryCount  Opt[uint32]
	LinkCredit     Opt[uint32]
	Available      Opt[uint32]
	Drain          bool
	Echo           bool
	Properties     Map
}

// Decode reads a flow. It allocates nothing.
func (w *Flow) Decode(body []byte) error {
	f := openAll(body, CodeFlow, "flow")
	var ok bool
	w.NextIncomingID = f.optUint("next-incoming-id")
	w.IncomingWindow, ok = f.uint("incoming-window")
	f.need("incoming-window", ok)
	w.NextOutgoingID, ok = f.uint("next-outgoing-id")
	f.need("next-outgoing-id", ok)
	w.OutgoingWindow, ok = f.uint("outgoing-window")
	f.need("outgoing-window", ok)
	w.Handle = f.optUint("handle")
	w.DeliveryCount = f.optUint("delivery-count")
	w.LinkCredit = f.optUint("link-credit")
	w.Available = f.optUint("available")
	w.Drain = f.flag("drain")
	w.Echo = f.flag("echo")
	w.Properties = f.symbolMap("properties")
	return f.done()
}

// Append adds w to the end of b.
func (w *Flow) Append(b []byte) []byte {
	l := newList(b, CodeFlow)
	l.optUint(w.NextIncomingID)
	l.uint(w.IncomingWindow, true)
	l.uint(w.NextOutgoingID, true)
	l.uint(w.OutgoingWindow, true)
	l.optUint(w.Handle)
	l.optUint(w.DeliveryCount)
	l.optUint(w.LinkCredit)
	l.optUint(w.Available)
	l.flag(w.Drain)
	l.flag(w.Echo)
	l.mapping(w.Properties)
	return l.end()
}

// Detach is a detach: of a link from its session [AMQP 2.7.7].
type Detach struct {
	Handle uint32
	Closed bool  // the link is no more, and cannot be resumed
	Error  Error // no condition: all is well
}

// Decode reads a detach.
func (d *Detach) Decode(body []byte) error {
	f := openAll(body, CodeDetach, "detach")
	var ok bool
	d.Handle, ok = f.uint("handle")
	f.need("handle", ok)
	d.Closed = f.flag("closed")
	d.Error = f.problem("error")
	return f.done()
}

// Append adds d to the end of b.
func (d *Detach) Append(b []byte) []byte {
	l := newList(b, CodeDetach)
	l.uint(d.Handle, true)
	l.flag(d.Closed)
	l.problem(&d.Error)
	return l.end()
}
