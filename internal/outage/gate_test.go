package outage

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan"
)

// A gate is between the listener and the spool, in the place of the routes, and sees what passes.
type gate struct{ p *process }

var _ linkspan.Bounded = gate{}

// route has m go where its topic says: the lane, and behind it the number of the call.
func route(m *linkspan.Message) (call int) {
	lane, number, _ := strings.Cut(m.Topic, "/")
	call, _ = strconv.Atoi(number)
	m.Route = strings.Clone(lane)
	m.Record = linkspan.Record{
		Topic: m.Route, Partition: linkspan.AnyPartition, Key: []byte(m.Client),
		Headers: []linkspan.Header{{Key: "device", Value: []byte(m.Client)}},
	}
	return call
}

func (g gate) Room(m *linkspan.Message) bool {
	if m != nil {
		route(m)
	}
	return g.p.spool.Room(m)
}

func (g gate) Send(ctx context.Context, out *linkspan.Message, done func(error)) {
	call := route(out)
	m := g.p.w.find(out)
	m.handOver(call)
	g.p.sends.Add(1)
	called := false
	g.p.spool.Send(ctx, out, func(err error) {
		g.p.sends.Add(-1)
		m.d.mu.Lock()
		if called {
			g.p.w.failf("%v is done twice", m)
		}
		called = true
		if g.p.alive() { // what a dead process says, nobody hears
			m.taken(err)
		}
		m.d.mu.Unlock()
		done(err)
	})
	scribble(out)
}

// find returns the message that came in as out.
func (w *world) find(out *linkspan.Message) *message {
	name := identity(out.Payload)
	i := slices.IndexFunc(w.devices, func(d *device) bool { return d.name == out.Client })
	d := w.devices[i]
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent[slices.IndexFunc(d.sent, func(m *message) bool { return m.name == name })]
}

// handOver notes that the sink is handed m, which came on a call: once, and nothing of that call after something of a later one (P3).
func (m *message) handOver(call int) {
	d := m.d
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case call < d.handed:
		d.w.failf("%v, of call %d, comes after what came on call %d (P3)", m, call, d.handed)
	case call == m.handed:
		d.w.failf("%v comes twice from call %d [MQTT-4.3.3-10]", m, call)
	}
	d.handed, m.handed = call, call
	m.copies++
}

// taken is what the sink says of m. The caller holds the device's lock.
func (m *message) taken(err error) {
	d := m.d
	d.w.tell("%v done: %v", m, err)
	end := acked
	switch {
	case err == nil:
		m.custody = true
	case linkspan.IsPermanent(err):
		end, m.no = refused, err
		m.copies--
		switch {
		case errors.Is(err, linkspan.ErrQuota):
			m.quota++
		case dropped(err):
			m.drops++
		case d.mute():
			d.w.failf("%v is refused to one who cannot hear it: %v", m, err)
		}
	default:
		end = forgotten
		m.copies--
	}
	if d.qos == 0 && m.state == unsettled {
		d.settle(m, end)
	}
}

// scribble overwrites what a callee may have borrowed for too long.
func scribble(m *linkspan.Message) {
	for _, b := range [][]byte{m.Payload, m.Record.Key, m.Record.Headers[0].Value} {
		for i := range b {
			b[i] = '!'
		}
	}
}
