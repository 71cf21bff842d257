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
			same(t, p.subscribedTo(1), "$share/linkspan-plant/a") // and does not leave it: what waits for it may be lost with its last member
			leader := p
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
			same(t, leader.subscribedTo(1), "$share/linkspan-plant/a") // or it may never be offered what waits there
		})
	}
}

// P2: who is left of several workers shares on, until nothing comes any more. Then it has a subscription of its own, and leaves the
// shared one when nothing comes with both.
func TestLastWorkerUnshares(t *testing.T) {
	const shared = "$share/linkspan-plant/a"
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		t.Run(v.String(), func(t *testing.T) {
			b := newBroker(t)
			known := &memory{known: client.Subscribed{Workers: []client.WorkerState{
				{ClientID: "linkspan-plant", Subscriptions: []client.Subscription{{Filter: shared, QoS: 1}}},
			}}}
			r := start(t, "mqtt://"+b.addr, filters("a"), state(known), version(v.String()))
			p := b.welcome(resumed)
			same(t, p.subscribedTo(2), shared, shared) // the second time since others may have gone
			busy := func(id uint16) {                  // something comes before the answer to whether all has come
				t.Helper()
				p.Expect(packet.PINGREQ, nil)
				p.Send(publish(1, id, "a", fmt.Sprint(id)))
				p.Write(packet.AppendPing(nil, packet.PINGRESP)...)
				both := []packet.Type{p.next().Type(), p.next().Type()}
				if !slices.Contains(both, packet.PUBACK) || !slices.Contains(both, packet.PINGREQ) { // it asks again
					t.Fatalf("%v while messages come", both)
				}
				p.Write(packet.AppendPing(nil, packet.PINGRESP)...)
			}
			busy(1)
			var s packet.Subscribe
			if p.Expect(packet.SUBSCRIBE, &s); s.Filters[0].Filter != "a" || s.Filters[0].NoLocal != (v == packet.V5) {
				t.Fatalf("%+v", s)
			}
			p.Send(&packet.Suback{PacketID: s.PacketID, Reasons: []packet.Reason{1}})
			busy(2)
			same(t, p.unsubscribed(), shared)
			mqtttest.Until(t, "it has its own", func() bool { return !r.Status().Shared })
			if k := known.Load().Workers[0].Subscriptions; len(k) != 1 || k[0].Filter != "a" || k[0].Unsure {
				t.Errorf("%+v", k)
			}
			r.sink.Got(t, "1 2")
		})
	}
}

// Nobody has to share a session that is new: it has its subscriptions for itself, with retained messages.
func TestOneWorkerOfANewSession(t *testing.T) {
	b := newBroker(t)
	shared := []client.Subscription{{Filter: "$share/linkspan-plant/a", QoS: 1}}
	known := &memory{known: client.Subscribed{Workers: []client.WorkerState{{ClientID: "linkspan-plant", Subscriptions: shared}}}}
	r := start(t, "mqtt://"+b.addr, filters("a"), state(known))
	p := b.welcome(packet.Connack{})
	same(t, p.subscribedTo(1), "a")
	p.quiet()
	if r.Status().Shared {
		t.Error("it says that it shares")
	}
}

// A broker may have nothing of a session that is one too many.
func TestFewerWorkersWithoutSession(t *testing.T) {
	b := newBroker(t)
	known := &memory{known: client.Subscribed{Workers: []client.WorkerState{{ClientID: "linkspan-plant-2"}}}}
	start(t, "mqtt://"+b.addr, filters("a"), state(known))
	leader := b.welcome(packet.Connack{})
	same(t, leader.subscribedTo(1), "a")
	p := b.welcome(packet.Connack{})
	p.Expect(packet.DISCONNECT, nil)
	mqtttest.Until(t, "it is forgotten", func() bool {
		return !slices.ContainsFunc(known.Load().Workers, func(w client.WorkerState) bool { return w.ClientID == "linkspan-plant-2" })
	})
	leader.quiet() // it has nothing to ask for again
}
