package session

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

func sendRetained(t testing.TB, r *Registry, topic, payload string, qos linkspan.QoS) {
	m := message(topic, payload, qos)
	m.Retain = true
	send(t, r, m)
}

// A new subscription gets what is retained, in the state of now, with the flag and the lower quality (ENM-A9)
// [MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7, MQTT-3.3.1-8].
func TestRetainedOnSubscribe(t *testing.T) {
	r := newRegistry(t, nil)
	sendRetained(t, r, "x/1", "old", 1)
	sendRetained(t, r, "x/1", "new", 2)
	sendRetained(t, r, "x/2", "gone", 2)
	sendRetained(t, r, "x/2", "", 2)
	sendRetained(t, r, "x/3", "p", 0)
	sendRetained(t, r, "$x/4", "p", 0)
	sendRetained(t, r, "y", "p", 0)
	send(t, r, message("x/3", "not retained", 0))
	expired := message("x/5", "p", 0)
	expired.Retain, expired.Expires = true, time.Now().Add(time.Hour)
	send(t, r, expired)
	r.retained.expiring[0].m.Expires = time.Now().Add(-time.Hour)
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "+/+", QoS: 1, ID: 4})
	expect(t, d, delivery{topic: "x/1", payload: "new", qos: 1, retain: true, ids: "[4]"}, delivery{topic: "x/3", payload: "p", retain: true, ids: "[4]"})
	if n := r.stats.DroppedExpired.Load(); n != 1 {
		t.Errorf("%d expired, want 1", n)
	}
}

// A retained message that came late is not kept, and takes the place of the one before it.
func TestRetainedExpiredOnArrival(t *testing.T) {
	r := newRegistry(t, nil)
	sendRetained(t, r, "x", "old", 1)
	live := connect(r, "live", nil)
	live.subscribe(Subscription{Filter: "x", QoS: 1, RetainHandling: 2})
	late := message("x", "late", 1)
	late.Retain, late.Expires = true, time.Now().Add(-time.Second)
	send(t, r, late)
	expect(t, live)
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "x", QoS: 1})
	expect(t, d)
}

// Retain handling: 0 always, 1 for new subscriptions, 2 never [MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11].
func TestRetainHandling(t *testing.T) {
	r := newRegistry(t, nil)
	sendRetained(t, r, "x", "p", 0)
	for handling, want := range [][2]int{{1, 1}, {1, 0}, {0, 0}} {
		d := connect(r, fmt.Sprint(handling), nil)
		for i, n := range want {
			d.subscribe(Subscription{Filter: "#", RetainHandling: byte(handling)})
			if got := len(d.take()); got != n {
				t.Errorf("retain handling %d, subscription %d: %d messages, want %d", handling, i+1, got, n)
			}
		}
	}
}

// A message that is not retained since the store is full is delivered all the same, and counted (P2, P6).
func TestRetainedRefused(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxRetained = 1 })
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "#"})
	sendRetained(t, r, "x", "p", 0)
	sendRetained(t, r, "y", "p", 0)
	if got := len(d.take()); got != 2 || r.stats.RetainedRefused.Load() != 1 || r.stats.Retained.Load() != 1 {
		t.Errorf("%d delivered, %d refused, %d retained", got, r.stats.RetainedRefused.Load(), r.stats.Retained.Load())
	}
}

// Many retained messages are delivered at the pace of the window, cost no memory, and what comes live meanwhile comes
// after them, so that no topic ends with an old value (P3, P6).
func TestRetainedPaced(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxQueued = 10 })
	const topics = 3000
	for i := range topics {
		sendRetained(t, r, fmt.Sprintf("x/%06d", i), "retained", 1)
	}
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 5 })
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	d.subscribe(Subscription{Filter: "#", QoS: 1}) // again, and still one walk
	q := &d.session.flow.queue
	if len(d.got) != 5 || q.len() != 1 {
		t.Fatalf("%d delivered, %d entries queued", len(d.got), q.len())
	}
	sendRetained(t, r, "x/001000", "live", 1) // comes live only
	send(t, r, message("x/000001", "live", 1))
	sendRetained(t, r, "x/002000", "", 1)
	for d.inFlight() > 0 {
		if q.len() > 4 {
			t.Fatalf("%d entries queued", q.len())
		}
		d.ack(t, 0)
	}
	last := make(map[string]string)
	for _, m := range d.take() {
		last[m.topic] = m.payload
	}
	if len(last) != topics || last["x/001000"] != "live" || last["x/000001"] != "live" || last["x/002000"] != "" {
		t.Errorf("%d topics, %q %q %q", len(last), last["x/001000"], last["x/000001"], last["x/002000"])
	}
	if d.session.flow != nil {
		t.Error("an idle session keeps its flow")
	}
}

// A walk ends with its subscription.
func TestRetainedUnsubscribed(t *testing.T) {
	r := newRegistry(t, nil)
	for i := range 10 {
		sendRetained(t, r, fmt.Sprint(i), "p", 1)
	}
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 1 })
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	d.session.Unsubscribe([]string{"#"}, func([]bool) {})
	d.ack(t, 0)
	if n := len(d.take()); n != 1 || d.session.flow != nil {
		t.Errorf("%d delivered, flow %v", n, d.session.flow)
	}
}

// Walks that wait are no more than the subscriptions, however often a device subscribes and unsubscribes (P6).
func TestWalksBounded(t *testing.T) {
	r := newRegistry(t, nil)
	for i := range 10 {
		sendRetained(t, r, fmt.Sprint(i), "p", 1)
	}
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 1 })
	d.subscribe(Subscription{Filter: "live", QoS: 1})
	for range 2 { // one in flight, one at the head of the queue
		send(t, r, message("live", "p", 1))
	}
	for i := range 1000 {
		d.subscribe(Subscription{Filter: "#", QoS: 1}, Subscription{Filter: fmt.Sprint(i % 10), QoS: 1})
		d.session.Unsubscribe([]string{"#", fmt.Sprint(i % 10)}, func([]bool) {})
		if n := d.session.flow.queue.len(); n > 4 {
			t.Fatalf("%d entries in the queue", n)
		}
	}
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	for d.inFlight() > 0 {
		d.ack(t, 0)
	}
	if n := len(d.take()); n != 2+10 || d.session.flow != nil {
		t.Errorf("%d delivered, flow %v", n, d.session.flow)
	}
}

// Asked for again while they wait, retained messages come after what came live before: in the state of now, and no
// topic goes back to an older value (P3).
func TestRetainedAskedAgain(t *testing.T) {
	r := newRegistry(t, nil)
	sendRetained(t, r, "x", "1", 1)
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 1 })
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	sendRetained(t, r, "x", "2", 1)
	sendRetained(t, r, "x", "3", 1)
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	for d.inFlight() > 0 {
		d.ack(t, 0)
	}
	var payloads []string
	for _, m := range d.take() {
		payloads = append(payloads, m.payload)
	}
	if want := []string{"1", "2", "3", "3"}; !slices.Equal(payloads, want) {
		t.Errorf("got %q, want %q", payloads, want)
	}
}

// The retained messages for a long SUBSCRIBE come all, though they are looked for a few at a time.
func TestRetainedManyFilters(t *testing.T) {
	r := newRegistry(t, nil)
	const topics = 3 * walkSteps
	var subs []Subscription
	for i := range topics {
		if i%3 == 0 {
			sendRetained(t, r, fmt.Sprint(i), "p", 1)
		}
		subs = append(subs, Subscription{Filter: fmt.Sprint(i), QoS: 1})
	}
	d := connect(r, "a", nil)
	d.subscribe(subs...)
	if n := len(d.take()); n != topics/3 {
		t.Errorf("%d delivered, want %d", n, topics/3)
	}
}
