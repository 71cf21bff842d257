package frame

// Header is what of a message is for the next node [AMQP 3.2.1].
type Header struct {
	Present       bool // there is such a section, if only an empty one
	Durable       bool
	Priority      Opt[uint8]  // absent: 4
	TTL           Opt[uint32] // milliseconds
	FirstAcquirer bool
	DeliveryCount uint32 // failed deliveries before this
}

// decode takes a header off b.
func (h *Header) decode(b []byte) (rest []byte, err error) {
	f, rest := open(b, CodeHeader, "header")
	h.Present = true
	h.Durable = f.flag("durable")
	h.Priority.V, h.Priority.OK = f.ubyte("priority")
	h.TTL = f.optUint("ttl")
	h.FirstAcquirer = f.flag("first-acquirer")
	h.DeliveryCount, _ = f.uint("delivery-count")
	return rest, f.done()
}

// Append adds the section to the end of b if it is present.
func (h *Header) Append(b []byte) []byte {
	if !h.Present {
		return b
	}
	l := newList(b, CodeHeader)
	l.flag(h.Durable)
	l.ubyte(h.Priority.V, h.Priority.OK)
	l.optUint(h.TTL)
	l.flag(h.FirstAcquirer)
	l.uint(h.DeliveryCount, h.DeliveryCount != 0)
	return l.end()
}

// Properties are the standard properties of a message, which no node changes [AMQP 3.2.4].
type Properties struct {
	Present            bool   // there is such a section, if only an empty one
	MessageID          Value  // a ulong, UUID, binary or string; none: absent
	UserID             []byte // nil: absent
	To                 Opt[string]
	Subject            Opt[string]
	ReplyTo            Opt[string]
	CorrelationID      Value // as MessageID
	ContentType        Opt[Symbol]
	ContentEncoding    Opt[Symbol]
	AbsoluteExpiryTime Opt[int64] // milliseconds since 1970 in UTC
	CreationTime       Opt[int64] // milliseconds since 1970 in UTC
	GroupID            Opt[string]
	GroupSequence      Opt[uint32]
	ReplyToGroupID     Opt[string]

	Raw []byte // the whole section as it was decoded; Append does not look at it
}

// decode takes properties off b.
func (p *Properties) decode(b []byte) (rest []byte, err error) {
	f, rest := open(b, CodeProperties, "properties")
	p.Present = true
	p.MessageID = f.messageID("message-id")
	p.UserID = f.binary("user-id")
	p.To = f.optText("to")
	p.Subject = f.optText("subject")
	p.ReplyTo = f.optText("reply-to")
	p.CorrelationID = f.messageID("correlation-id")
	p.ContentType.V, p.ContentType.OK = f.symbol("content-type")
	p.ContentEncoding.V, p.ContentEncoding.OK = f.symbol("content-encoding")
	p.AbsoluteExpiryTime = f.timestamp("absolute-expiry-time")
	p.CreationTime = f.timestamp("creation-time")
	p.GroupID = f.optText("group-id")
	p.GroupSequence = f.optUint("group-sequence")
	p.ReplyToGroupID = f.optText("reply-to-group-id")
	p.Raw = b[: len(b)-len(rest) : len(b)-len(rest)]
	return rest, f.done()
}

// messageID reads an identifier of one of the four types [AMQP 3.2.11].
func (f *fields) messageID(name string) Value {
	v := f.value()
	switch v.Type() {
	case Absent, Ulong, UUID, Binary, String:
	default:
		f.wrong(name)
	}
	return v
}

// Append adds the section to the end of b if it is present.
func (p *Properties) Append(b []byte) []byte {
	if !p.Present {
		return b
	}
	l := newList(b, CodeProperties)
	l.value(p.MessageID)
	l.binary(p.UserID)
	l.optText(p.To)
	l.optText(p.Subject)
	l.optText(p.ReplyTo)
	l.value(p.CorrelationID)
	l.symbol(p.ContentType.V, p.ContentType.OK)
	l.symbol(p.ContentEncoding.V, p.ContentEncoding.OK)
	l.timestamp(p.AbsoluteExpiryTime)
	l.timestamp(p.CreationTime)
	l.optText(p.GroupID)
	l.optUint(p.GroupSequence)
	l.optText(p.ReplyToGroupID)
	return l.end()
}
