package frame

import "math"

// Open is an open: the first of each side, which says what it is and what it takes [AMQP 2.7.1].
type Open struct {
	ContainerID         string
	Hostname            Opt[string]
	MaxFrameSize        uint32 // bytes; absent: 4,294,967,295
	ChannelMax          uint16 // highest channel number; absent: 65,535
	IdleTimeout         uint32 // milliseconds; 0: none
	OutgoingLocales     []Symbol
	IncomingLocales     []Symbol
	OfferedCapabilities []Symbol
	DesiredCapabilities []Symbol
	Properties          Map
}

// Decode reads an open.
func (o *Open) Decode(body []byte) error {
	f := openAll(body, CodeOpen, "open")
	var ok bool
	o.ContainerID, ok = f.text("container-id")
	f.need("container-id", ok)
	o.Hostname = f.optText("hostname")
	if o.MaxFrameSize, ok = f.uint("max-frame-size"); !ok {
		o.MaxFrameSize = math.MaxUint32
	} else if o.MaxFrameSize < MinMaxFrameSize {
		f.refuse("max-frame-size", "is below 512")
	}
	if o.ChannelMax, ok = f.ushort("channel-max"); !ok {
		o.ChannelMax = math.MaxUint16
	}
	o.IdleTimeout, _ = f.uint("idle-time-out")
	o.OutgoingLocales = f.symbols("outgoing-locales", o.OutgoingLocales)
	o.IncomingLocales = f.symbols("incoming-locales", o.IncomingLocales)
	o.OfferedCapabilities = f.symbols("offered-capabilities", o.OfferedCapabilities)
	o.DesiredCapabilities = f.symbols("desired-capabilities", o.DesiredCapabilities)
	o.Properties = f.symbolMap("properties")
	return f.done()
}

// Append adds o to the end of b.
func (o *Open) Append(b []byte) []byte {
	l := newList(b, CodeOpen)
	l.text(o.ContainerID, true)
	l.optText(o.Hostname)
	l.uint(o.MaxFrameSize, o.MaxFrameSize != math.MaxUint32)
	l.ushort(o.ChannelMax, o.ChannelMax != math.MaxUint16)
	l.uint(o.IdleTimeout, o.IdleTimeout != 0)
	l.symbols(o.OutgoingLocales)
	l.symbols(o.IncomingLocales)
	l.symbols(o.OfferedCapabilities)
	l.symbols(o.DesiredCapabilities)
	l.mapping(o.Properties)
	return l.end()
}

// Close is a close: the last of each side [AMQP 2.7.9].
type Close struct {
	Error Error // no condition: all is well
}

// Decode reads a close.
func (c *Close) Decode(body []byte) error {
	f := openAll(body, CodeClose, "close")
	c.Error = f.problem("error")
	return f.done()
}

// Append adds c to the end of b.
func (c *Close) Append(b []byte) []byte {
	l := newList(b, CodeClose)
	l.problem(&c.Error)
	return l.end()
}

// Begin is a begin: of a session [AMQP 2.7.2].
type Begin struct {
	RemoteChannel       Opt[uint16] // the answer's: the channel of what it answers
	NextOutgoingID      uint32
	IncomingWindow      uint32 // transfers
	OutgoingWindow      uint32 // transfers
	HandleMax           uint32 // highest handle; absent: 4,294,967,295
	OfferedCapabilities []Symbol
	DesiredCapabilities []Symbol
	Properties          Map
}

// Decode reads a begin.
func (s *Begin) Decode(body []byte) error {
	f := openAll(body, CodeBegin, "begin")
	var ok bool
	s.RemoteChannel.V, s.RemoteChannel.OK = f.ushort("remote-channel")
	s.NextOutgoingID, ok = f.uint("next-outgoing-id")
	f.need("next-outgoing-id", ok)
	s.IncomingWindow, ok = f.uint("incoming-window")
	f.need("incoming-window", ok)
	s.OutgoingWindow, ok = f.uint("outgoing-window")
	f.need("outgoing-window", ok)
	if s.HandleMax, ok = f.uint("handle-max"); !ok {
		s.HandleMax = math.MaxUint32
	}
	s.OfferedCapabilities = f.symbols("offered-capabilities", s.OfferedCapabilities)
	s.DesiredCapabilities = f.symbols("desired-capabilities", s.DesiredCapabilities)
	s.Properties = f.symbolMap("properties")
	return f.done()
}

// Append adds s to the end of b.
func (s *Begin) Append(b []byte) []byte {
	l := newList(b, CodeBegin)
	l.ushort(s.RemoteChannel.V, s.RemoteChannel.OK)
	l.uint(s.NextOutgoingID, true)
	l.uint(s.IncomingWindow, true)
	l.uint(s.OutgoingWindow, true)
	l.uint(s.HandleMax, s.HandleMax != math.MaxUint32)
	l.symbols(s.OfferedCapabilities)
	l.symbols(s.DesiredCapabilities)
	l.mapping(s.Properties)
	return l.end()
}

// End is an end: of a session [AMQP 2.7.8].
type End struct {
	Error Error // no condition: all is well
}

// Decode reads an end.
func (e *End) Decode(body []byte) error {
	f := openAll(body, CodeEnd, "end")
	e.Error = f.problem("error")
	return f.done()
}

// Append adds e to the end of b.
func (e *End) Append(b []byte) []byte {
	l := newList(b, CodeEnd)
	l.problem(&e.Error)
	return l.end()
}

// problem reads an error [AMQP 2.8.14]; without a condition it is absent.
func (f *fields) problem(name string) (e Error) {
	v := f.value()
	if v.Type() == Absent {
		return Error{}
	}
	if v.Type() != Described {
		f.wrong(name)
		return Error{}
	}
	g := openAll(v.Raw(), CodeError, "error")
	var ok bool
	e.Condition, ok = g.symbol("condition")
	g.need("condition", ok && e.Condition != "")
	e.Description, _ = g.text("description")
	e.Info = g.symbolMap("info")
	f.err = g.done()
	return e
}

// problem writes an error, if there is one.
func (l *list) problem(e *Error) {
	if e.Condition == "" {
		l.null()
		return
	}
	inner := newList(l.next(), CodeError)
	inner.symbol(e.Condition, true)
	inner.text(e.Description, e.Description != "")
	inner.mapping(e.Info)
	l.b = inner.end()
}
