package packet

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// codec is what all packets can do; those whose methods look different are adapted below.
type codec interface {
	Decode(v Version, r Raw) error
	Append(dst []byte, v Version) []byte
}

type connectCodec struct{ *Connect }

func (c connectCodec) Decode(_ Version, r Raw) error       { return c.Connect.Decode(r) }
func (c connectCodec) Append(dst []byte, _ Version) []byte { return c.Connect.Append(dst) }

type authCodec struct{ *Auth }

func (a authCodec) Append(dst []byte, _ Version) []byte { return a.Auth.Append(dst) }

type ping struct{ Type Type }

func (p *ping) Decode(v Version, r Raw) error {
	p.Type = r.Type()
	return DecodePing(v, r)
}
func (p *ping) Append(dst []byte, _ Version) []byte { return AppendPing(dst, p.Type) }

// newPacket returns an empty packet of type t.
func newPacket(t Type) codec {
	switch t {
	case CONNECT:
		return connectCodec{new(Connect)}
	case CONNACK:
		return new(Connack)
	case PUBLISH:
		return new(Publish)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return new(Ack)
	case SUBSCRIBE:
		return new(Subscribe)
	case SUBACK:
		return new(Suback)
	case UNSUBSCRIBE:
		return new(Unsubscribe)
	case UNSUBACK:
		return new(Unsuback)
	case PINGREQ, PINGRESP:
		return new(ping)
	case DISCONNECT:
		return new(Disconnect)
	case AUTH:
		return authCodec{new(Auth)}
	}
	panic(fmt.Sprintf("no packet of type %d", t))
}

// decode cuts one packet off wire, which must hold nothing else, and decodes it.
func decode(v Version, wire []byte) (codec, error) {
	raw, n, need, err := Cut(wire, 0)
	if err != nil {
		return nil, err
	}
	if n != len(wire) {
		return nil, fmt.Errorf("cut %d of %d bytes, need %d", n, len(wire), need)
	}
	p := newPacket(raw.Type())
	return p, p.Decode(v, raw)
}

// describe prints all that p says, whatever memory it uses.
func describe(p codec) string {
	for _, properties := range propertiesOf(p) {
		tidy(properties)
	}
	switch p := p.(type) {
	case connectCodec:
		c := *p.Connect
		c.Will = nil
		return fmt.Sprintf("%+v, will %+v", c, p.Will)
	case authCodec:
		return fmt.Sprintf("%+v", *p.Auth)
	}
	return fmt.Sprintf("%+v", p)
}

func propertiesOf(p codec) []*Properties {
	switch p := p.(type) {
	case connectCodec:
		if p.Will != nil {
			return []*Properties{&p.Properties, &p.Will.Properties}
		}
		return []*Properties{&p.Properties}
	case *Connack:
		return []*Properties{&p.Properties}
	case *Publish:
		return []*Properties{&p.Properties}
	case *Ack:
		return []*Properties{&p.Properties}
	case *Subscribe:
		return []*Properties{&p.Properties}
	case *Suback:
		return []*Properties{&p.Properties}
	case *Unsubscribe:
		return []*Properties{&p.Properties}
	case *Unsuback:
		return []*Properties{&p.Properties}
	case *Disconnect:
		return []*Properties{&p.Properties}
	case authCodec:
		return []*Properties{&p.Properties}
	}
	return nil
}

// tidy leaves in p's lists nothing but what is theirs, so that equal properties print alike.
func tidy(p *Properties) {
	var lists Properties
	for id := range p.SubscriptionIDs() {
		lists.AddSubscriptionID(id)
	}
	for k, v := range p.UserProperties() {
		lists.AddUserProperty(k, v)
	}
	p.lists, p.listed, p.own = lists.lists, lists.listed, true
}

// wire makes a packet of a header and what follows the remaining length, both in hexadecimal with spaces. Text in single
// quotes stands for a string with its length before it.
func wire(t testing.TB, header byte, body string) []byte {
	t.Helper()
	b := unhex(t, body)
	return append(appendVarint([]byte{header}, uint32(len(b))), b...)
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			b = appendField(b, part)
			continue
		}
		digits, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		b = append(b, digits...)
	}
	return b
}
