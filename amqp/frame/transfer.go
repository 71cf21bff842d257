package frame

// maxTag is the size in bytes of the longest delivery tag [AMQP 2.8.7].
const maxTag = 32

// Transfer is a transfer: of a message or a part of one [AMQP 2.7.5].
type Transfer struct {
	Handle             uint32
	DeliveryID         Opt[uint32] // the first transfer of a delivery has one
	DeliveryTag        []byte      // at most 32 bytes; nil: absent, the first transfer of a delivery has one
	MessageFormat      Opt[uint32] // absent: 0, or that of the first transfer
	Settled            bool
	More               bool
	ReceiverSettleMode Opt[ReceiverSettleMode] // absent: the link's
	State              State
	Resume             bool
	Aborted            bool
	Batchable          bool
	Payload            []byte
}

// Decode reads a transfer. It allocates nothing.
func (t *Transfer) Decode(body []byte) error {
	*t = Transfer{}
	f, payload := open(body, CodeTransfer, "transfer")
	var ok bool
	t.Handle, ok = f.uint("handle")
	f.need("handle", ok)
	t.DeliveryID = f.optUint("delivery-id")
	if t.DeliveryTag = f.binary("delivery-tag"); len(t.DeliveryTag) > maxTag {
		f.refuse("delivery-tag", "has more than 32 bytes")
	}
	t.MessageFormat = f.optUint("message-format")
	t.Payload = payload
	if f.n == 0 { // most senders have nothing more to say
		return f.done()
	}
	t.Settled = f.flag("settled")
	t.More = f.flag("more")
	t.ReceiverSettleMode = f.receiverSettleMode()
	f.state(&t.State, "state")
	t.Resume = f.flag("resume")
	t.Aborted = f.flag("aborted")
	t.Batchable = f.flag("batchable")
	return f.done()
}

// Append adds t to the end of b, the payload last.
func (t *Transfer) Append(b []byte) []byte {
	l := newList(b, CodeTransfer)
	l.uint(t.Handle, true)
	l.optUint(t.DeliveryID)
	l.binary(t.DeliveryTag)
	l.optUint(t.MessageFormat)
	l.flag(t.Settled)
	l.flag(t.More)
	l.ubyte(uint8(t.ReceiverSettleMode.V), t.ReceiverSettleMode.OK)
	l.state(&t.State)
	l.flag(t.Resume)
	l.flag(t.Aborted)
	l.flag(t.Batchable)
	return append(l.end(), t.Payload...)
}

// Disposition is a disposition: the state of a range of deliveries [AMQP 2.7.6].
type Disposition struct {
	Role      Role // of who sends this
	First     uint32
	Last      uint32 // absent: First
	Settled   bool
	State     State
	Batchable bool
}

// Decode reads a disposition. It allocates nothing.
func (d *Disposition) Decode(body []byte) error {
	f := openAll(body, CodeDisposition, "disposition")
	var ok bool
	d.Role = f.role()
	d.First, ok = f.uint("first")
	f.need("first", ok)
	if d.Last, ok = f.uint("last"); !ok {
		d.Last = d.First
	}
	d.Settled = f.flag("settled")
	d.State = State{}
	f.state(&d.State, "state")
	d.Batchable = f.flag("batchable")
	return f.done()
}

// Append adds d to the end of b.
func (d *Disposition) Append(b []byte) []byte {
	l := newList(b, CodeDisposition)
	l.bool(bool(d.Role), true)
	l.uint(d.First, true)
	l.uint(d.Last, d.Last != d.First)
	l.flag(d.Settled)
	l.state(&d.State)
	l.flag(d.Batchable)
	return l.end()
}
