package packet

// Disconnect is a DISCONNECT. In MQTT 3 it says nothing more, and only clients send it.
type Disconnect struct {
	Reason     Reason
	Properties Properties
}

// Decode reads a DISCONNECT.
func (d *Disconnect) Decode(v Version, r Raw) error {
	d.Reason = Success
	d.Properties.Reset()
	if err := r.check(DISCONNECT, v); err != nil {
		return err
	}
	b := r.Body
	var err error
	if v == V5 && len(b) > 0 {
		d.Reason, b, err = decodeReason(b, DISCONNECT)
		if err == nil && len(b) > 0 {
			b, err = d.Properties.decode(b, DISCONNECT)
		}
	}
	return end(b, err)
}

// Append adds d to the end of dst.
func (d *Disconnect) Append(dst []byte, v Version) []byte {
	if v != V5 {
		return append(dst, DISCONNECT.header(), 0)
	}
	size, properties := answerSize(d.Reason, &d.Properties)
	if size > maxRemaining {
		return dst
	}
	dst = appendHeader(dst, DISCONNECT.header(), size)
	return appendAnswer(dst, d.Reason, &d.Properties, size, properties)
}

// Auth is an AUTH, which only MQTT 5 has. One with a reason other than [Success] names its method [MQTT 3.15.2.2.2].
type Auth struct {
	Reason     Reason
	Properties Properties
}

// Decode reads an AUTH.
func (a *Auth) Decode(v Version, r Raw) error {
	a.Reason = Success
	a.Properties.Reset()
	if v != V5 {
		return protocol("MQTT5 3.15", "AUTH before MQTT 5")
	}
	if err := r.check(AUTH, v); err != nil || len(r.Body) == 0 {
		return err
	}
	reason, b, err := decodeReason(r.Body, AUTH)
	if err == nil {
		a.Reason = reason
		b, err = a.Properties.decode(b, AUTH)
	}
	if err == nil && !a.Properties.Has(AuthMethod) {
		err = protocol("MQTT5 3.15.2.2.2", "AUTH without authentication method")
	}
	return end(b, err)
}

// Append adds a to the end of dst.
func (a *Auth) Append(dst []byte) []byte {
	size, properties := answerSize(a.Reason, &a.Properties)
	if size > maxRemaining {
		return dst
	}
	dst = appendHeader(dst, AUTH.header(), size)
	return appendAnswer(dst, a.Reason, &a.Properties, size, properties)
}

// DecodePing checks a PINGREQ or PINGRESP, which have no content.
func DecodePing(v Version, r Raw) error {
	t := PINGREQ
	if r.Type() == PINGRESP {
		t = PINGRESP
	}
	return end(r.Body, r.check(t, v))
}

// AppendPing adds a PINGREQ or PINGRESP to the end of dst.
func AppendPing(dst []byte, t Type) []byte { return append(dst, t.header(), 0) }
