package frame

// The durability of a terminus [AMQP 3.5.5].
const (
	DurableNone          uint32 = 0
	DurableConfiguration uint32 = 1
	DurableState         uint32 = 2
)

// When a terminus expires [AMQP 3.5.6].
const (
	ExpireLinkDetach      Symbol = "link-detach"
	ExpireSessionEnd      Symbol = "session-end" // absent means this
	ExpireConnectionClose Symbol = "connection-close"
	ExpireNever           Symbol = "never"
)

// How a source gives its messages to several links [AMQP 3.5.7].
const (
	DistributeMove Symbol = "move"
	DistributeCopy Symbol = "copy"
)

// The symbols of the outcomes in a source.
const (
	OutcomeAccepted Symbol = "amqp:accepted:list"
	OutcomeRejected Symbol = "amqp:rejected:list"
	OutcomeReleased Symbol = "amqp:released:list"
	OutcomeModified Symbol = "amqp:modified:list"
)

// Source is where a link's messages come from [AMQP 3.5.3].
type Source struct {
	Address               Opt[string]
	Durable               uint32
	ExpiryPolicy          Symbol // never empty
	Timeout               uint32 // seconds after it expires
	Dynamic               bool   // the peer is to make a node
	DynamicNodeProperties Map
	DistributionMode      Symbol // "": absent
	Filter                Map    // names to filters, which should be described values
	DefaultOutcome        State
	Outcomes              []Symbol
	Capabilities          []Symbol
}

// Target is where a link's messages go to [AMQP 3.5.4].
type Target struct {
	Address               Opt[string]
	Durable               uint32
	ExpiryPolicy          Symbol // never empty
	Timeout               uint32 // seconds after it expires
	Dynamic               bool   // the peer is to make a node
	DynamicNodeProperties Map
	Capabilities          []Symbol
}

// Coordinator is the target of a link that controls transactions [AMQP 4.5.1].
type Coordinator struct {
	Capabilities []Symbol
}

// source reads a source, nil if it is absent.
func (f *fields) source() *Source {
	if _, ok := f.next(); !ok {
		return nil
	}
	g, rest := open(f.b, CodeSource, "source")
	s := &Source{}
	s.Address = g.optText("address")
	s.Durable = g.durability()
	s.ExpiryPolicy = g.expiryPolicy()
	s.Timeout, _ = g.uint("timeout")
	s.Dynamic = g.flag("dynamic")
	s.DynamicNodeProperties = g.symbolMap("dynamic-node-properties")
	s.DistributionMode, _ = g.symbol("distribution-mode")
	s.Filter = g.symbolMap("filter")
	if g.state(&s.DefaultOutcome, "default-outcome"); s.DefaultOutcome.Kind != NoState && !s.DefaultOutcome.Kind.Outcome() {
		g.refuse("default-outcome", "is not an outcome")
	}
	s.Outcomes = g.symbols("outcomes", nil)
	s.Capabilities = g.symbols("capabilities", nil)
	f.b, f.err = rest, g.done()
	return s
}

// target reads a target or a coordinator, nil if it is absent.
func (f *fields) target() (*Target, *Coordinator) {
	if _, ok := f.next(); !ok {
		return nil, nil
	}
	if code, err := DescriptorOf(f.b); err == nil && code == CodeCoordinator {
		g, rest := open(f.b, CodeCoordinator, "coordinator")
		c := &Coordinator{g.symbols("capabilities", nil)}
		f.b, f.err = rest, g.done()
		return nil, c
	}
	g, rest := open(f.b, CodeTarget, "target")
	t := &Target{}
	t.Address = g.optText("address")
	t.Durable = g.durability()
	t.ExpiryPolicy = g.expiryPolicy()
	t.Timeout, _ = g.uint("timeout")
	t.Dynamic = g.flag("dynamic")
	t.DynamicNodeProperties = g.symbolMap("dynamic-node-properties")
	t.Capabilities = g.symbols("capabilities", nil)
	f.b, f.err = rest, g.done()
	return t, nil
}

func (f *fields) durability() uint32 {
	v, _ := f.uint("durable")
	if v > DurableState {
		f.refuse("durable", "is above 2")
	}
	return v
}

func (f *fields) expiryPolicy() Symbol {
	v, ok := f.symbol("expiry-policy")
	if !ok {
		return ExpireSessionEnd
	}
	switch v {
	case ExpireLinkDetach, ExpireSessionEnd, ExpireConnectionClose, ExpireNever:
	default:
		f.refuse("expiry-policy", "is unknown")
	}
	return v
}

func (l *list) source(s *Source) {
	if s == nil {
		l.null()
		return
	}
	in := newList(l.next(), CodeSource)
	in.optText(s.Address)
	in.uint(s.Durable, s.Durable != DurableNone)
	in.expiryPolicy(s.ExpiryPolicy)
	in.uint(s.Timeout, s.Timeout != 0)
	in.flag(s.Dynamic)
	in.mapping(s.DynamicNodeProperties)
	in.symbol(s.DistributionMode, s.DistributionMode != "")
	in.mapping(s.Filter)
	in.state(&s.DefaultOutcome)
	in.symbols(s.Outcomes)
	in.symbols(s.Capabilities)
	l.b = in.end()
}

func (l *list) target(t *Target) {
	if t == nil {
		l.null()
		return
	}
	in := newList(l.next(), CodeTarget)
	in.optText(t.Address)
	in.uint(t.Durable, t.Durable != DurableNone)
	in.expiryPolicy(t.ExpiryPolicy)
	in.uint(t.Timeout, t.Timeout != 0)
	in.flag(t.Dynamic)
	in.mapping(t.DynamicNodeProperties)
	in.symbols(t.Capabilities)
	l.b = in.end()
}

func (l *list) coordinator(c *Coordinator) {
	in := newList(l.next(), CodeCoordinator)
	in.symbols(c.Capabilities)
	l.b = in.end()
}

func (l *list) expiryPolicy(p Symbol) { l.symbol(p, p != "" && p != ExpireSessionEnd) }
