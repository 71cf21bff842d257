package bridge

import (
	"context"
	"testing"

	"github.com/linkspan/linkspan"
)

// newWay returns the way up of a plant that is dialled and of devices, with one route each for their topics t/...; the test
// settles what comes out.
func newWay(t testing.TB, dead *deadLetters, to linkspan.Bounded) *uplink {
	t.Helper()
	cfg, err := Parse("test.yaml", []byte(`
endpoints: {plant: {dial: "mqtt://broker"}, devices: {listen: "mqtt://:0"}}
routes: [{from: "mqtt:t/#", to: kafka:up}, {from: "mqtt:p/{n}", to: kafka:up, partition: "{n}"}]`), []string{"HOME=/nowhere"})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := cfg.table(nil)
	if err != nil {
		t.Fatal(err)
	}
	u := newUplink(routes, to, dead, cfg.clients())
	u.open.Store(true)
	return u
}

// A route's refusal goes to a sender that can be told of it (MQTT 5), and to the dead letter topic for one that cannot: a device with
// MQTT 3 that sends a message nobody can read is not thrown out for ever. What devices publish without a route is refused in any
// case (P2, CON-A12).
func TestRefusalsOfRoutes(t *testing.T) {
	for _, c := range []struct {
		name, endpoint, topic string
		mute                  bool
		buried                bool
	}{
		{"told", "devices", "p/not-a-number", false, false},
		{"mute", "devices", "p/not-a-number", true, true},
		{"mute without route", "devices", "elsewhere", true, false},
		{"a broker's", "plant", "p/not-a-number", true, true},
		{"a broker's without route", "plant", "elsewhere", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var behind, written held
			dead := letters(t, &written)
			u := newWay(t, dead, &behind)
			m := &linkspan.Message{Topic: c.topic, Payload: []byte("x"), Endpoint: c.endpoint, Mute: c.mute, UserProperties: []linkspan.Property{{Key: "batch", Value: "7"}}}
			if !u.Room(m) {
				t.Fatal("no room")
			}
			settled, outcome := 0, error(nil)
			done := func(err error) { settled, outcome = settled+1, err }
			if c.endpoint == "plant" {
				m.Mute = false
				mute{u}.Send(t.Context(), m, done)
			} else {
				u.Send(t.Context(), m, done)
			}
			if !c.buried {
				if settled != 1 || !linkspan.IsPermanent(outcome) || len(written.got) > 0 {
					t.Errorf("settled %d times with %v, %d letters", settled, outcome, len(written.got))
				}
				return
			}
			if settled > 0 || len(written.got) != 1 {
				t.Fatalf("settled %d times with %v, %d letters", settled, outcome, len(written.got))
			}
			written.done[0](nil)
			l := written.got[0]
			if settled != 1 || outcome != nil || string(l.Record.Header("linkspan.topic")) != c.topic || string(l.Record.Header("batch")) != "7" || string(l.Record.Header("linkspan.attempts")) != "1" {
				t.Errorf("settled %d times with %v, letter %+v", settled, outcome, l)
			}
			if n := dead.of(c.endpoint).sum(); n != 1 {
				t.Errorf("%d counted", n)
			}
		})
	}
}

func (c *deadCounts) sum() (n uint64) {
	for i := range c.written {
		n += c.written[i].Load()
	}
	return n
}

// Without room for dead letters a broker keeps what no route takes (P6), and devices go on.
func TestRoomForWhatNoRouteTakes(t *testing.T) {
	var behind held
	written := held{full: true}
	u := newWay(t, letters(t, &written), &behind)
	for _, c := range []struct {
		m    linkspan.Message
		room bool
	}{
		{linkspan.Message{Topic: "elsewhere", Endpoint: "plant", Mute: true}, false},
		{linkspan.Message{Topic: "elsewhere", Endpoint: "devices", Mute: true}, true},
		{linkspan.Message{Topic: "t/1", Endpoint: "devices"}, true},
	} {
		if u.Room(&c.m) != c.room {
			t.Errorf("%+v: room %v", c.m, !c.room)
		}
	}
	u.open.Store(false)
	if u.Room(nil) {
		t.Error("room behind a gate that is shut")
	}
}

// BenchmarkGuard is what the guard adds to each message on the way down.
func BenchmarkGuard(b *testing.B) {
	done := make(chan func(error), 1)
	g := &guard{dead: &deadLetters{}, to: boundedFunc(func(_ context.Context, _ *linkspan.Message, d func(error)) { done <- d })}
	m := refusedMessage()
	m.Payload = make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		g.Send(b.Context(), m, func(error) {})
		(<-done)(nil)
	}
}

// BenchmarkUplink is what the way up costs until the spool, of a device that cannot be told of refusals.
func BenchmarkUplink(b *testing.B) {
	settle := make(chan func(error), 1)
	u := newWay(b, newDeadLetters("dead", nil, nil), boundedFunc(func(_ context.Context, _ *linkspan.Message, d func(error)) { settle <- d }))
	u.dead.to = boundedFunc(nil)
	var m linkspan.Message
	b.ReportAllocs()
	for b.Loop() {
		m.Reset()
		m.Topic, m.Payload, m.Endpoint = "t/1", payload256[:], "plant"
		up := mute{u}
		if up.Room(&m) {
			up.Send(b.Context(), &m, func(error) {})
		}
		(<-settle)(nil)
	}
}

var payload256 [256]byte
