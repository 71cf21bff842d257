package session

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/linkspan/linkspan"
)

// sink is the cheapest device: it notes the identifier to acknowledge.
type sink struct{ id uint16 }

func (d *sink) Deliver(m *Delivery) Outcome { d.id = m.PacketID; return Sent }
func (d *sink) Disconnect(Reason)           {}

// One message, QoS 1, to one of 50 subscribers, and its PUBACK.
func BenchmarkSend(b *testing.B) {
	r := newRegistry(b, nil)
	const devices = 50
	var sinks [devices]sink
	var sessions [devices]*Session
	var messages [devices]*linkspan.Message
	for i := range devices {
		sessions[i] = r.Connect(ConnectRequest{ClientID: fmt.Sprint(i), ReceiveMaximum: 100, Conn: &sinks[i]})
		sessions[i].Subscribe([]Subscription{{Filter: fmt.Sprintf("devices/%d/commands", i), QoS: 1}}, func([]SubscribeResult) {})
		messages[i] = message(fmt.Sprintf("devices/%d/commands", i), string(make([]byte, 100)), 1)
	}
	ctx, done := context.Background(), func(error) {}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.Send(ctx, messages[i%devices], done)
		sessions[i%devices].PubAck(sinks[i%devices].id)
	}
}

// One message to 1,000 subscribers of a filter.
func BenchmarkFanOut(b *testing.B) {
	for qos := range linkspan.QoS(2) {
		b.Run(fmt.Sprint("qos", qos), func(b *testing.B) {
			r := newRegistry(b, nil)
			const devices = 1000
			sinks, sessions := make([]sink, devices), make([]*Session, devices)
			for i := range devices {
				sessions[i] = r.Connect(ConnectRequest{ClientID: fmt.Sprint(i), Conn: &sinks[i]})
				sessions[i].Subscribe([]Subscription{{Filter: "all/#", QoS: 1}}, func([]SubscribeResult) {})
			}
			m := message("all/alarm", string(make([]byte, 100)), qos)
			b.ReportAllocs()
			for b.Loop() {
				r.Send(context.Background(), m, func(error) {})
				if qos > 0 {
					for i, s := range sessions {
						s.PubAck(sinks[i].id)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/devices, "ns/delivery")
		})
	}
}

// What an idle session with one filter costs.
func BenchmarkIdleSession(b *testing.B) {
	const devices = 100_000
	r := newRegistry(b, nil)
	b.ReportAllocs()
	var cost float64
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		sessions := make([]*Session, devices)
		conn := new(sink)
		for i := range sessions {
			sessions[i] = r.Connect(ConnectRequest{ClientID: fmt.Sprint("device-", i), Conn: conn})
			sessions[i].Subscribe([]Subscription{{Filter: fmt.Sprintf("devices/%d/commands", i), QoS: 1}}, func([]SubscribeResult) {})
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		cost = float64(after.HeapAlloc-before.HeapAlloc) / devices
		for _, s := range sessions {
			s.Close(false)
		}
	}
	b.ReportMetric(cost, "B/session")
}

// Sending to a device that has room allocates nothing, nor does its acknowledgement.
func TestSendAllocatesNothing(t *testing.T) {
	r := newRegistry(t, nil)
	d := new(sink)
	s := r.Connect(ConnectRequest{ClientID: "a", Conn: d})
	s.Subscribe([]Subscription{{Filter: "x/#", QoS: 1, ID: 1}, {Filter: "x/+", QoS: 2, ID: 2}}, func([]SubscribeResult) {})
	second := r.Connect(ConnectRequest{ClientID: "b", Conn: new(sink)}) // never idle, so that its flow is no matter of the pool
	second.Subscribe([]Subscription{{Filter: "x/#"}}, func([]SubscribeResult) {})
	s.Receive(1)
	second.Receive(1)
	ctx, done, m := context.Background(), func(error) {}, message("x/y", "p", 1)
	if n := testing.AllocsPerRun(1000, func() {
		r.Send(ctx, m, done)
		s.PubAck(d.id)
	}); n > 0 {
		t.Errorf("%v allocations a message", n)
	}
}

// Everything at once, for the race detector: messages, subscriptions, acknowledgements, takeovers, ends.
func TestConcurrent(t *testing.T) {
	up := new(uplink)
	r := newRegistry(t, func(c *Config) { c.MaxQueued, c.Replay, c.Uplink = 4, newLog(1), up })
	log := r.cfg.Replay.(*kafkaLog)
	ctx, stop := context.WithCancel(t.Context())
	var devices, senders sync.WaitGroup
	for i := range 8 {
		devices.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				d := connect(r, fmt.Sprint(i%4), willOf(1, false)) // two at a time take over from each other
				d.subscribe(Subscription{Filter: "#", QoS: 2, ID: 1}, Subscription{Filter: "x/+", QoS: 1})
				d.makeRoom(5)
				for range 20 {
					if d.inFlight() > 0 {
						d.ack(new(ignore), 0)
					}
					d.session.Receive(uint16(n%100 + 1))
					d.makeRoom(3)
					d.session.Release(uint16(n%100 + 1))
				}
				d.session.Unsubscribe([]string{"x/+"}, func([]bool) {})
				d.session.Close(n%2 == 0)
			}
		})
	}
	for i := range int32(2) {
		senders.Go(func() {
			for n := range 300 {
				m := message(fmt.Sprint("x/", n%5), "p", linkspan.QoS(n%3))
				m.Retain = n%7 == 0
				r.Send(ctx, log.add(place{"k", i}, 0, m), func(error) {})
			}
		})
	}
	senders.Wait()
	stop()
	devices.Wait()
}

// ignore is a testing.TB for acknowledgements that may come after a takeover.
type ignore struct{ testing.TB }

func (*ignore) Errorf(string, ...any) {}
