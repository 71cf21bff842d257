package client_test

import (
	"fmt"
	"slices"
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

// P2: a filter is not unsubscribed without a note of that: the next process would take it for subscribed, and would miss what is
// published there if its configuration has the filter again. Meanwhile what comes for it is not wanted.
func TestNothingIsUnsubscribedUnnoted(t *testing.T) {
	b := newBroker(t)
	sure := func(filter string) client.Subscription {
		return client.Subscription{Filter: filter, QoS: 1, NoLocal: true}
	}
	workers := []client.WorkerState{{ClientID: "linkspan-plant", Subscriptions: []client.Subscription{sure("a"), sure("b")}}}
	known := &memory{known: client.Subscribed{Workers: workers}, full: true}
	r := start(t, "mqtt://"+b.addr, filters("b"), state(known), version("5"))
	p := b.welcome(resumed)
	mqtttest.Until(t, "it is subscribed", func() bool { return r.Stats().Connected.Load() == 1 })
	p.Send(publish(1, 1, "a", "not-wanted-any-more"), publish(1, 2, "b", "wanted"))
	p.ExpectAck(packet.PUBACK, 1, packet.Success)
	p.ExpectAck(packet.PUBACK, 2, packet.Success)
	r.sink.Got(t, "wanted")
	p.quiet()
	known.setFull(false)
	_ = p.Conn.Close()
	same(t, b.welcome(resumed).unsubscribed(), "a")
	mqtttest.Until(t, "it is remembered", func() bool {
		s := known.Load().Workers[0].Subscriptions
		return len(s) == 1 && s[0] == sure("b")
	})
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
