package client_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// subscribedTo answers SUBSCRIBE packets until n filters have come, and returns them.
func (p *peer) subscribedTo(n int) (filters []string) {
	p.t.Helper()
	for len(filters) < n {
		for _, f := range p.subscribed().Filters {
			filters = append(filters, f.Filter)
		}
	}
	slices.Sort(filters)
	return filters
}

// unsubscribed answers the next UNSUBSCRIBE, and returns its filters.
func (p *peer) unsubscribed() []string {
	p.t.Helper()
	var u packet.Unsubscribe
	p.Expect(packet.UNSUBSCRIBE, &u)
	p.Send(&packet.Unsuback{PacketID: u.PacketID, Reasons: make([]packet.Reason, len(u.Filters))})
	slices.Sort(u.Filters)
	return u.Filters
}

func same(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// CON-A8, CON-W2, UNS-W4: after a lost connection the session goes on, and nothing is subscribed to; when the broker has lost the session,
// everything is. MQTT 3.1 does not tell.
func TestResubscribe(t *testing.T) {
	for _, v := range everyVersion {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, filters("a/#", "b"), version(v.String()))
			p := b.welcome(packet.Connack{})
			if p.hello.CleanStart || p.hello.ClientID != "linkspan-plant" {
				t.Errorf("%+v", p.hello)
			}
			s := p.subscribed()
			same(t, []string{s.Filters[0].Filter, s.Filters[1].Filter}, "a/#", "b")
			if o := s.Filters[0]; o.QoS != 1 || o.NoLocal != (v == packet.V5) || o.RetainHandling != v5(v, 1) || o.RetainAsPublished {
				t.Errorf("%+v", o)
			}
			p.quiet() // it knows that it is subscribed
			_ = p.Conn.Close()

			p = b.welcome(resumed)
			if v == packet.V31 {
				p.subscribedTo(2)
			}
			p.quiet()
			p.Send(publish(1, 9, "b", "sent-meanwhile"))
			p.ExpectAck(packet.PUBACK, 9, packet.Success)
			r.sink.Got(t, "sent-meanwhile")
			_ = p.Conn.Close()

			p = b.welcome(packet.Connack{})
			p.subscribedTo(2)
			if n := r.Stats().Connects.Load(); n != 3 {
				t.Errorf("%d connects", n)
			}
		})
	}
}

func v5(v packet.Version, n byte) byte {
	if v == packet.V5 {
		return n
	}
	return 0
}

// P5, P7: another process goes on with the session, by what is remembered of it: only what has changed is subscribed to, and the
// rest is unsubscribed, in this order.
func TestChangedFilters(t *testing.T) {
	b := newBroker(t)
	known := new(memory)
	r := start(t, "mqtt://"+b.addr, filters("a", "b", "c"), state(known))
	b.welcome(packet.Connack{}).subscribedTo(3)
	mqtttest.Until(t, "it is remembered", func() bool {
		w := known.Load().Workers
		return len(w) == 1 && len(w[0].Subscriptions) == 3 && !w[0].Subscriptions[0].Unsure
	})
	r.shutdown()

	r = start(t, "mqtt://"+b.addr, filters("a", "b", "c"), state(known))
	p := b.welcome(resumed)
	p.quiet()
	r.shutdown()

	r = start(t, "mqtt://"+b.addr, filters("b", "d"), state(known))
	p = b.welcome(resumed)
	same(t, p.subscribedTo(1), "d")
	same(t, p.unsubscribed(), "a", "c")
	p.Send(publish(1, 1, "a", "not-wanted-any-more"), publish(1, 2, "b", "wanted"))
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
	p.ExpectAck(packet.PUBACK, 2, packet.Success)
	r.sink.Got(t, "wanted")
	if n := r.Stats().Unwanted.Load(); n != 1 {
		t.Errorf("%d unwanted", n)
	}
	mqtttest.Until(t, "it is remembered", func() bool { return len(known.Load().Workers[0].Subscriptions) == 2 })
}

// P5: a process that is killed between SUBSCRIBE and SUBACK leaves nothing that the next one relies on.
func TestKilledWhileSubscribing(t *testing.T) {
	b := newBroker(t)
	known := new(memory)
	r := start(t, "mqtt://"+b.addr, filters("a"), state(known))
	p := b.welcome(packet.Connack{})
	p.Expect(packet.SUBSCRIBE, nil)
	r.stop()
	r.shutdown()
	start(t, "mqtt://"+b.addr, filters("a"), state(known))
	same(t, b.welcome(resumed).subscribedTo(1), "a")
}

// A session of which nothing is known is subscribed to everything, and what else it sends is not wanted.
func TestUnknownSession(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, filters("a"))
	p := b.welcome(resumed)
	p.Send(publish(1, 1, "a", "early"))
	for range 2 { // in either order
		var s packet.Subscribe
		if raw := p.next(); raw.Type() != packet.PUBACK {
			if err := s.Decode(packet.V5, raw); err != nil {
				t.Fatal(err)
			}
			p.Send(&packet.Suback{PacketID: s.PacketID, Reasons: []packet.Reason{packet.GrantedQoS1}})
		}
	}
	mqtttest.Until(t, "it is subscribed", func() bool { return len(r.Status().Filters) == 1 })
	p.Send(publish(0, 0, "x", "stale"), publish(1, 2, "a", "late"))
	p.ExpectAck(packet.PUBACK, 2, packet.Success)
	r.sink.Got(t, "early late")
}

// CON-A2, CON-W3: overlapping filters give one record for each message, with one warning that names them.
func TestOverlappingFilters(t *testing.T) {
	t.Run("3.1.1", func(t *testing.T) { // one subscription that covers both
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, filters("a/+", "+/b", "c", "c"), version("3.1.1"))
		p := b.welcome(packet.Connack{})
		same(t, p.subscribedTo(2), "+/+", "c")
		p.Send(publish(1, 1, "a/b", "both"), publish(1, 2, "x/y", "neither"), publish(1, 3, "c", "other"))
		for id := range uint16(3) {
			p.ExpectAck(packet.PUBACK, id+1, packet.Success)
		}
		r.sink.Got(t, "both other")
		if n := r.log.Count("level=WARN", "overlap", "a/+ and +/b"); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
	t.Run("5", func(t *testing.T) { // a subscription each, told apart by their identifiers
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, filters("a/+", "+/b", "c"), version("5"))
		p := b.welcome(packet.Connack{})
		var ids []uint32
		for _, want := range []string{"a/+", "+/b", "c"} {
			s := p.subscribed()
			if len(s.Filters) != 1 || s.Filters[0].Filter != want {
				t.Fatalf("%+v", s.Filters)
			}
			for id := range s.Properties.SubscriptionIDs() {
				ids = append(ids, id)
			}
		}
		send := func(id uint16, topic, payload string, of ...uint32) {
			m := publish(1, id, topic, payload)
			for _, i := range of {
				m.Properties.AddSubscriptionID(i)
			}
			p.Send(m)
			p.ExpectAck(packet.PUBACK, id, packet.Success)
		}
		send(1, "a/b", "copy-1", ids[0])
		send(2, "a/b", "copy-2", ids[1])
		send(3, "a/b", "together", ids[1], ids[0])
		send(4, "x/b", "second", ids[1])
		send(5, "a/b", "of-an-earlier-subscription", 268435455)
		send(6, "a/b", "without")
		r.sink.Got(t, "copy-1 together second of-an-earlier-subscription without")
		if n := r.Stats().Repeated.Load(); n != 1 {
			t.Errorf("%d repeated", n)
		}
	})
	t.Run("5, one more filter", func(t *testing.T) { // P5: the oldest counts, since the newer one was not there for what waits
		b := newBroker(t)
		known := new(memory)
		r := start(t, "mqtt://"+b.addr, filters("a/b", "a/#"), state(known))
		p := b.welcome(packet.Connack{})
		p.subscribed()
		p.subscribed()
		mqtttest.Until(t, "it is remembered", func() bool {
			w := known.Load().Workers
			return len(w) == 1 && !slices.ContainsFunc(w[0].Subscriptions, func(s client.Subscription) bool { return s.Unsure })
		})
		old := known.Load().Workers[0].Subscriptions[1].ID
		r.shutdown()
		r = start(t, "mqtt://"+b.addr, filters("+/c", "a/b", "a/#"), state(known))
		p = b.welcome(resumed)
		s := p.subscribed()
		if len(s.Filters) != 1 || s.Filters[0].Filter != "+/c" {
			t.Fatalf("%+v", s)
		}
		m := publish(1, 1, "a/c", "from-the-backlog")
		m.Properties.AddSubscriptionID(old)
		p.Send(m)
		p.ExpectAck(packet.PUBACK, 1, packet.Success)
		r.sink.Wait(1)
	})
}

// Eight filters a packet is what every broker takes.
func TestManyFilters(t *testing.T) {
	b := newBroker(t)
	var all []string
	for i := range 20 {
		all = append(all, fmt.Sprintf("t/%02d", i))
	}
	start(t, "mqtt://"+b.addr, filters(all...))
	same(t, b.welcome(packet.Connack{}).subscribedTo(20), all...)
}

// P2: what the broker does not let us subscribe to is said, and tried again with the next connection.
func TestRefusedFilter(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, filters("a", "b"))
	p := b.welcome(packet.Connack{})
	p.subscribed(packet.NotAuthorized, packet.GrantedQoS1)
	mqtttest.Until(t, "it is told", func() bool { return len(r.Status().RefusedFilters) == 1 })
	if s := r.Status(); s.RefusedFilters[0] != "a: not authorized" || !slices.Equal(s.Filters, []string{"b"}) {
		t.Errorf("%+v", s)
	}
	_ = p.Conn.Close()
	same(t, b.welcome(resumed).subscribedTo(1), "a")
}

// cfg.Subscribe counts instead of the routes' filters, with its QoS.
func TestOwnFilters(t *testing.T) {
	b := newBroker(t)
	start(t, "mqtt://"+b.addr, filters("a"), config(func(c *client.Config) { c.Subscribe, c.QoS = []string{"own"}, 2 }))
	s := b.welcome(packet.Connack{}).subscribed()
	if s.Filters[0].Filter != "own" || s.Filters[0].QoS != 2 {
		t.Errorf("%+v", s)
	}
}

// Our own messages do not come back as a device's: No Local does it with MQTT 5, and with MQTT 3 a memory that forgets each after one
// copy.
func TestEcho(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, filters("a/#"), version("3.1.1"))
	p := b.welcome(packet.Connack{})
	p.subscribed()
	for _, topic := range []string{"a/x", "b/x"} {
		c := r.send(down(1, topic, "on"))
		p.Send(puback(p.expect("on").PacketID))
		delivered(t, c)
	}
	p.Send(publish(1, 1, "a/x", "on"), publish(1, 2, "a/x", "on"), publish(1, 3, "a/y", "on"))
	for id := range uint16(3) {
		p.ExpectAck(packet.PUBACK, id+1, packet.Success)
	}
	r.sink.Got(t, "on on")
	if n := r.Stats().Echoes.Load(); n != 1 {
		t.Errorf("%d echoes", n)
	}
}

// sessions accepts n connections, and returns them by client identifier.
func (b *broker) sessions(n int, ack packet.Connack) map[string]*peer {
	b.t.Helper()
	all := map[string]*peer{}
	for range n {
		p := b.welcome(ack)
		all[p.hello.ClientID] = p
	}
	return all
}

func workers(n int) option { return config(func(c *client.Config) { c.Workers = n }) }

// Workers share the subscriptions [MQTT 4.8.2], the first connects first, and No Local is not asked for [MQTT-3.8.3-4].
func TestWorkers(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, filters("a/#"), workers(3), version(v.String()), config(func(c *client.Config) { c.ClientID = "x/y" }))
			p := b.welcome(packet.Connack{})
			if p.hello.ClientID != "x/y" {
				t.Errorf("%q connects first", p.hello.ClientID)
			}
			s := p.subscribed()
			if s.Filters[0].Filter != "$share/x_y/a/#" || s.Filters[0].NoLocal {
				t.Errorf("%+v", s)
			}
			others := b.sessions(2, packet.Connack{})
			for _, id := range []string{"x/y-2", "x/y-3"} {
				if others[id] == nil {
					t.Fatalf("%s is missing", id)
				}
				same(t, others[id].subscribedTo(1), "$share/x_y/a/#")
			}
			others["x/y-3"].Send(publish(1, 1, "a/1", "x"))
			others["x/y-3"].ExpectAck(packet.PUBACK, 1, packet.Success)
			mqtttest.Until(t, "all are there", func() bool { return r.Status().Workers == 3 })
			if n := r.log.Count("level=WARN", "order"); n != 1 || !r.Status().Shared {
				t.Errorf("%d warnings", n)
			}
			c := r.send(down(1, "b", "down"))
			p.Send(puback(p.expect("down").PacketID))
			delivered(t, c)
			_ = p.Conn.Close()
			same(t, b.welcome(resumed).subscribedTo(1), "$share/x_y/a/#") // a broker may restore sessions, and not this
		})
	}
}

// A broker without shared subscriptions gets one worker that does it all.
func TestNoSharedSubscriptions(t *testing.T) {
	said := packet.Connack{}
	said.Properties.Set(packet.SharedAvailable)
	for name, test := range map[string]struct {
		version string
		ack     packet.Connack
		reason  packet.Reason // of SUBACK; 0: not asked
	}{
		"5, said":      {"5", said, 0},
		"5, refused":   {"5", packet.Connack{}, packet.SharedSubscriptionsNotSupported},
		"3.1.1":        {"3.1.1", packet.Connack{}, packet.UnspecifiedError},
		"3.1 has none": {"3.1", packet.Connack{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker(t)
			r := start(t, "mqtt://"+b.addr, filters("a"), workers(2), version(test.version))
			p := b.welcome(test.ack)
			if test.reason != 0 {
				p.subscribed(test.reason)
			}
			same(t, p.subscribedTo(1), "a")
			mqtttest.Until(t, "it is said", func() bool { return r.log.Count("level=WARN", "no shared subscriptions") == 1 })
			mqtttest.Until(t, "one is connected", func() bool { return r.Status().Workers == 1 })
			if s := r.Status(); s.Shared {
				t.Errorf("%+v", s)
			}
		})
	}
}

// With mode all nothing but a shared subscription will do.
func TestModeAll(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, filters("a"), config(func(c *client.Config) { c.Mode, c.Share = "all", "fleet" }))
	p := b.welcome(packet.Connack{})
	if s := p.subscribed(packet.SharedSubscriptionsNotSupported); s.Filters[0].Filter != "$share/fleet/a" {
		t.Errorf("%+v", s)
	}
	p.ExpectClosed()
	same(t, b.welcome(packet.Connack{}).subscribedTo(1), "$share/fleet/a")
	mqtttest.Until(t, "it is said", func() bool { return strings.Contains(r.Status().LastError, "mode all needs shared subscriptions") })
}

// P2: fewer workers lose nothing: the session of one too many gets nothing new, is emptied after custody, and ended.
func TestFewerWorkers(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			known := new(memory)
			r := start(t, "mqtt://"+b.addr, filters("a"), workers(2), state(known), version(v.String()))
			b.welcome(packet.Connack{}).subscribed()
			b.welcome(packet.Connack{}).subscribed()
			mqtttest.Until(t, "both are remembered", func() bool {
				w := known.Load().Workers
				return len(w) == 2 && !w[0].Subscriptions[0].Unsure && !w[1].Subscriptions[0].Unsure
			})
			r.shutdown()

			r = start(t, "mqtt://"+b.addr, filters("a"), state(known), version(v.String()))
			p := b.welcome(resumed)
			same(t, p.subscribedTo(1), "a")
			same(t, p.unsubscribed(), "$share/linkspan-plant/a")
			p = b.welcome(resumed)
			if p.hello.ClientID != "linkspan-plant-2" {
				t.Fatal(p.hello.ClientID)
			}
			same(t, p.unsubscribed(), "$share/linkspan-plant/a")
			asked := 0 // whether it is empty, as long as it is not answered
			for id, payload := range []string{"one", "two"} {
				p.Send(publish(1, uint16(id+1), "a", payload))
				raw := p.next()
				for ; raw.Type() == packet.PINGREQ; raw = p.next() {
					asked++
				}
				if raw.Type() != packet.PUBACK {
					t.Fatal(raw.Type())
				}
			}
			r.sink.Got(t, "one two")
			for range asked {
				p.Write(packet.AppendPing(nil, packet.PINGRESP)...)
			}
			raw := p.next()
			for ; raw.Type() == packet.PINGREQ; raw = p.next() {
				p.Write(packet.AppendPing(nil, packet.PINGRESP)...)
			}
			var d packet.Disconnect
			if err := d.Decode(v, raw); err != nil || v == packet.V5 && !d.Properties.Has(packet.SessionExpiry) {
				t.Fatalf("%v %+v", err, d)
			}
			_ = p.Conn.Close()
			if v < packet.V5 {
				if p = b.welcome(packet.Connack{}); !p.hello.CleanStart {
					t.Error("the session stays")
				}
				p.Expect(packet.DISCONNECT, nil)
			}
			mqtttest.Until(t, "it is forgotten", func() bool { return len(known.Load().Workers) == 1 })
		})
	}
}

// A broker may have nothing of a session that is one too many.
func TestFewerWorkersWithoutSession(t *testing.T) {
	b := newBroker(t)
	known := &memory{known: client.Subscribed{Workers: []client.WorkerState{{ClientID: "linkspan-plant-2"}}}}
	start(t, "mqtt://"+b.addr, state(known))
	b.welcome(packet.Connack{})
	p := b.welcome(packet.Connack{})
	p.Expect(packet.DISCONNECT, nil)
	mqtttest.Until(t, "it is forgotten", func() bool {
		return !slices.ContainsFunc(known.Load().Workers, func(w client.WorkerState) bool { return w.ClientID == "linkspan-plant-2" })
	})
}

// P2: a subscription that the session perhaps has no more is no reason to take copies for another one for repetitions.
func TestUnsureSubscriptionIsNotTheOldest(t *testing.T) {
	b := newBroker(t)
	known := client.Subscribed{Workers: []client.WorkerState{{ClientID: "linkspan-plant", Subscriptions: []client.Subscription{
		{Filter: "a/+", QoS: 1, ID: 5, NoLocal: true, Unsure: true}, {Filter: "a/#", QoS: 1, ID: 6, NoLocal: true},
	}}}}
	r := start(t, "mqtt://"+b.addr, filters("a/+", "a/#"), state(&memory{known: known}), version("5"))
	p := b.welcome(resumed)
	p.Expect(packet.SUBSCRIBE, &packet.Subscribe{})
	m := publish(1, 1, "a/x", "queued while a/+ was gone")
	m.Properties.AddSubscriptionID(6)
	p.Send(m)
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
	if n := r.sink.Count(); n != 1 {
		t.Errorf("acknowledged, and the sink has %d", n)
	}
}
