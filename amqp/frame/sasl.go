package frame

// SASLMechanisms is what a server offers [AMQP 5.3.3.1].
type SASLMechanisms struct {
	Mechanisms []Symbol
}

// Decode reads the mechanisms.
func (m *SASLMechanisms) Decode(body []byte) error {
	f := openAll(body, CodeSASLMechanisms, "sasl-mechanisms")
	m.Mechanisms = f.symbols("sasl-server-mechanisms", m.Mechanisms)
	f.need("sasl-server-mechanisms", len(m.Mechanisms) > 0)
	return f.done()
}

// Append adds m to the end of b.
func (m *SASLMechanisms) Append(b []byte) []byte {
	l := newList(b, CodeSASLMechanisms)
	l.symbols(m.Mechanisms)
	return l.end()
}

// SASLInit is what a client chose [AMQP 5.3.3.2].
type SASLInit struct {
	Mechanism       Symbol
	InitialResponse []byte // nil: absent
	Hostname        Opt[string]
}

// Decode reads the choice.
func (i *SASLInit) Decode(body []byte) error {
	f := openAll(body, CodeSASLInit, "sasl-init")
	var ok bool
	i.Mechanism, ok = f.symbol("mechanism")
	f.need("mechanism", ok)
	i.InitialResponse = f.binary("initial-response")
	i.Hostname = f.optText("hostname")
	return f.done()
}

// Append adds i to the end of b.
func (i *SASLInit) Append(b []byte) []byte {
	l := newList(b, CodeSASLInit)
	l.symbol(i.Mechanism, true)
	l.binary(i.InitialResponse)
	l.optText(i.Hostname)
	return l.end()
}

// SASLChallenge is a server's challenge [AMQP 5.3.3.3].
type SASLChallenge struct {
	Challenge []byte
}

// Decode reads the challenge.
func (c *SASLChallenge) Decode(body []byte) error {
	f := openAll(body, CodeSASLChallenge, "sasl-challenge")
	c.Challenge = f.binary("challenge")
	f.need("challenge", c.Challenge != nil)
	return f.done()
}

// Append adds c to the end of b.
func (c *SASLChallenge) Append(b []byte) []byte {
	return appendOctets(b, CodeSASLChallenge, c.Challenge)
}

// SASLResponse is a client's response [AMQP 5.3.3.4].
type SASLResponse struct {
	Response []byte
}

// Decode reads the response.
func (r *SASLResponse) Decode(body []byte) error {
	f := openAll(body, CodeSASLResponse, "sasl-response")
	r.Response = f.binary("response")
	f.need("response", r.Response != nil)
	return f.done()
}

// Append adds r to the end of b.
func (r *SASLResponse) Append(b []byte) []byte { return appendOctets(b, CodeSASLResponse, r.Response) }

// appendOctets adds a list of one mandatory binary.
func appendOctets(b []byte, d Descriptor, octets []byte) []byte {
	at := len(b) + 3
	return EndList(AppendBinary(BeginList(AppendDescriptor(b, d)), octets), at, 1)
}

// SASLCode is how the exchange ended [AMQP 5.3.3.6].
type SASLCode uint8

// The ends of an exchange.
const (
	SASLOK      SASLCode = iota
	SASLAuth             // the credentials are wrong
	SASLSys              // a system error
	SASLSysPerm          // a system error that will stay
	SASLSysTemp          // a system error that will pass
)

// SASLOutcome is the end of the exchange [AMQP 5.3.3.5].
type SASLOutcome struct {
	Code           SASLCode
	AdditionalData []byte // nil: absent
}

// Decode reads the outcome.
func (o *SASLOutcome) Decode(body []byte) error {
	f := openAll(body, CodeSASLOutcome, "sasl-outcome")
	code, ok := f.ubyte("code")
	f.need("code", ok)
	if o.Code = SASLCode(code); o.Code > SASLSysTemp {
		f.refuse("code", "is above 4")
	}
	o.AdditionalData = f.binary("additional-data")
	return f.done()
}

// Append adds o to the end of b.
func (o *SASLOutcome) Append(b []byte) []byte {
	l := newList(b, CodeSASLOutcome)
	l.ubyte(uint8(o.Code), true)
	l.binary(o.AdditionalData)
	return l.end()
}
