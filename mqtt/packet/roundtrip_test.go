package packet

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// generator makes packets that can be written, the same ones in every run.
type generator struct{ *rand.Rand }

func (g generator) coin() bool { return g.IntN(2) == 0 }

func (g generator) text() string {
	words := []string{"a", "device", "/", "é", "温度", "\U0001F600", "\u0001", "+", "#", "$SYS", " ", "\uFEFF"}
	var s strings.Builder
	for range g.IntN(6) {
		s.WriteString(words[g.IntN(len(words))])
	}
	return s.String()
}

func (g generator) topic() string {
	return "t" + strings.NewReplacer("+", "", "#", "").Replace(g.text())
}

func (g generator) filter() string {
	return []string{"", "$share/g/"}[g.IntN(2)] + g.topic() + []string{"", "/+", "/#", "/+/x"}[g.IntN(4)]
}

func (g generator) data() []byte {
	b := make([]byte, g.IntN(200))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g generator) id() uint16 { return uint16(1 + g.IntN(65535)) }

// reason picks one that a packet of type t may carry.
func (g generator) reason(t Type) Reason {
	for {
		if r := Reason(g.Uint32()); r.in(t) {
			return r
		}
	}
}

// properties picks some of those that a packet of type t may have.
func (g generator) properties(t Type) (p Properties) {
	if g.coin() {
		return p
	}
	for id := range PropertyID(64) {
		if allowed[t]>>id&1 == 0 || g.coin() {
			continue
		}
		property := propertyTable[id]
		v := uint32(uint64(property.least) + g.Uint64N(uint64(property.most-property.least)+1))
		p.Set(id)
		switch property.kind {
		case kindFlag:
			*p.flag(id) = v == 1
		case kindOctet:
			*p.octet(id) = byte(v)
		case kindShort:
			*p.short(id) = uint16(v)
		case kindLong:
			*p.long(id) = v
		case kindText:
			*p.text(id) = g.topic()
		case kindData:
			*p.data(id) = g.data()
		case kindVarint:
			for range 1 + g.IntN(3) {
				p.AddSubscriptionID(v>>g.IntN(28) | 1)
				if t == SUBSCRIBE {
					break
				}
			}
		case kindPair:
			for range 1 + g.IntN(3) {
				p.AddUserProperty(g.text(), g.text())
			}
		}
	}
	return p
}

// packet makes a packet of type t that version v can carry whole.
func (g generator) packet(t Type, v Version) codec {
	var p Properties
	if v == V5 {
		p = g.properties(t)
	}
	switch t {
	case CONNECT:
		return connectCodec{g.connect(v, p)}
	case CONNACK:
		c := &Connack{Reason: returnCodes[g.IntN(len(returnCodes))], Properties: p}
		if v == V5 {
			c.Reason = g.reason(t)
		}
		c.SessionPresent = v != V31 && c.Reason == Success && g.coin()
		return c
	case PUBLISH:
		c := &Publish{Topic: g.topic(), Payload: g.data(), QoS: byte(g.IntN(3)), Retain: g.coin(), Properties: p}
		if c.QoS > 0 {
			c.PacketID, c.Dup = g.id(), g.coin()
		}
		return c
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		c := &Ack{Type: t, PacketID: g.id(), Properties: p}
		if v == V5 {
			c.Reason = g.reason(t)
		}
		return c
	case SUBSCRIBE:
		c := &Subscribe{PacketID: g.id(), Properties: p}
		for range 1 + g.IntN(4) {
			s := Subscription{Filter: g.filter(), QoS: byte(g.IntN(3))}
			if v == V5 {
				s.NoLocal, s.RetainAsPublished, s.RetainHandling = g.coin() && !shared(s.Filter), g.coin(), byte(g.IntN(3))
			}
			c.Filters = append(c.Filters, s)
		}
		return c
	case SUBACK:
		c := &Suback{PacketID: g.id(), Properties: p}
		for range 1 + g.IntN(4) {
			r := [...]Reason{GrantedQoS0, GrantedQoS1, GrantedQoS2, UnspecifiedError}[g.IntN(int(v))%4]
			if v == V5 {
				r = g.reason(t)
			}
			c.Reasons = append(c.Reasons, r)
		}
		return c
	case UNSUBSCRIBE:
		c := &Unsubscribe{PacketID: g.id(), Properties: p}
		for range 1 + g.IntN(4) {
			c.Filters = append(c.Filters, g.filter())
		}
		return c
	case UNSUBACK:
		c := &Unsuback{PacketID: g.id(), Properties: p}
		for range 1 + g.IntN(4) {
			if v == V5 {
				c.Reasons = append(c.Reasons, g.reason(t))
			}
		}
		return c
	case DISCONNECT:
		c := &Disconnect{Properties: p}
		if v == V5 {
			c.Reason = g.reason(t)
		}
		return c
	case AUTH:
		c := &Auth{Reason: g.reason(t), Properties: p}
		if c.Reason != Success || c.Properties.set != 0 {
			c.Properties.AuthMethod = g.text()
			c.Properties.Set(AuthMethod)
		}
		return authCodec{c}
	}
	return &ping{t}
}

func (g generator) connect(v Version, p Properties) *Connect {
	c := &Connect{Version: v, CleanStart: g.coin(), KeepAlive: uint16(g.Uint32()), ClientID: g.topic(), Properties: p}
	if v == V5 && g.coin() || v == V311 && c.CleanStart && g.coin() {
		c.ClientID = ""
	}
	if c.Properties.Has(AuthData) {
		c.Properties.Set(AuthMethod)
	}
	if g.coin() {
		c.Will = &Will{Topic: g.topic(), Payload: g.data(), QoS: byte(g.IntN(3)), Retain: g.coin()}
		if v == V5 {
			c.Will.Properties = g.properties(will)
		}
	}
	if c.HasUsername = g.coin(); c.HasUsername {
		c.Username = g.text()
	}
	if c.HasPassword = g.coin() && (c.HasUsername || v == V5); c.HasPassword {
		c.Password = g.data()
	}
	return c
}

// TestRoundTrip writes and reads packets of every type in every version, several in one buffer, into structs that have
// been used before.
func TestRoundTrip(t *testing.T) {
	for _, v := range all {
		for typ := CONNECT; typ <= AUTH; typ++ {
			if typ == AUTH && v != V5 {
				continue
			}
			t.Run(fmt.Sprintf("%v/%v", typ, v), func(t *testing.T) {
				g := generator{rand.New(rand.NewPCG(uint64(v), uint64(typ)))}
				reused := newPacket(typ)
				for range 20 {
					var want []string
					var buffer []byte
					for range 10 {
						p := g.packet(typ, v)
						want = append(want, describe(p))
						before := len(buffer)
						buffer = p.Append(buffer, v)
						if p, ok := p.(*Publish); ok && p.Size(v) != len(buffer)-before {
							t.Fatalf("%s has size %d, and is written in %d bytes", describe(p), p.Size(v), len(buffer)-before)
						}
					}
					for _, want := range want {
						raw, n, _, err := Cut(buffer, 0)
						if err != nil || n == 0 {
							t.Fatalf("cut %d, %v from % x", n, err, buffer)
						}
						for _, p := range []codec{newPacket(typ), reused} {
							if err := p.Decode(v, raw); err != nil {
								t.Fatalf("%v from % x of %s", err, buffer[:n], want)
							}
							if got := describe(p); got != want {
								t.Fatalf("got\n%s, want\n%s", got, want)
							}
							if got := p.Append(nil, v); !bytes.Equal(got, buffer[:n]) {
								t.Fatalf("written again\n% x, want\n% x", got, buffer[:n])
							}
						}
						buffer = buffer[n:]
					}
					if len(buffer) > 0 {
						t.Fatalf("% x is left", buffer)
					}
				}
			})
		}
	}
}
