package session

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// device is a Conn that remembers what it got. Its buffer has room for room messages; room is given by the test.
type device struct {
	session *Session

	mu      sync.Mutex
	room    int // -1: without bound
	largest int // payload that the device takes, 0: any
	got     []delivery
	unacked []Delivery // QoS 1 and 2, without what they borrow
	why     []Reason
	ended   func()        // called at Disconnect, nil: nothing
	changed chan struct{} // a token: got has grown
}

// delivery is a Delivery as the tests look at it.
type delivery struct {
	topic, payload string
	qos            linkspan.QoS
	retain         bool
	ids            string // sorted
	place          place
	offset         int64
}

func (d *device) Deliver(m *Delivery) Outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.room == 0 {
		return Full
	}
	if d.largest > 0 && len(m.Message.Payload) > d.largest {
		return TooLarge
	}
	if d.room > 0 {
		d.room--
	}
	ids := slices.Clone(m.SubscriptionIDs)
	slices.Sort(ids)
	g := delivery{topic: m.Message.Topic, payload: string(m.Message.Payload), qos: m.QoS, retain: m.Retain,
		place: placeOf(m.Message), offset: m.Message.Record.Offset}
	if len(ids) > 0 {
		g.ids = fmt.Sprint(ids)
	}
	d.got = append(d.got, g)
	if m.QoS > 0 {
		d.unacked = append(d.unacked, Delivery{QoS: m.QoS, PacketID: m.PacketID})
	}
	notify(d.changed)
	return Sent
}

func (d *device) Disconnect(why Reason) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = append(d.why, why)
	if d.ended != nil {
		go d.ended()
	}
}

// take returns what came since the last call.
func (d *device) take() []delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.got
	d.got = nil
	return got
}

// ack settles the i-th message in flight.
func (d *device) ack(t testing.TB, i int) {
	d.mu.Lock()
	m := d.unacked[i]
	d.unacked = slices.Delete(d.unacked, i, i+1)
	d.mu.Unlock()
	ok := true
	if m.QoS == 1 {
		ok = d.session.PubAck(m.PacketID)
	} else {
		ok = d.session.PubRec(m.PacketID, false) && d.session.PubComp(m.PacketID)
	}
	if !ok {
		t.Errorf("%s: packet identifier %d is not known", d.session.client, m.PacketID)
	}
}

func (d *device) inFlight() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.unacked)
}

func (d *device) reasons() []Reason {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.why)
}

// makeRoom gives the device's buffer room for n messages, -1: without bound.
func (d *device) makeRoom(n int) {
	d.mu.Lock()
	d.room = n
	d.mu.Unlock()
	d.session.Resume()
}

func newRegistry(t testing.TB, change func(*Config)) *Registry {
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r := NewRegistry(cfg, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := r.stats.Subscriptions.Load() + r.stats.Sessions.Load() + r.stats.Behind.Load(); n != 0 {
			t.Errorf("%d sessions, subscriptions, or sessions behind are left", n)
		}
	})
	return r
}

func connect(r *Registry, client string, change func(*ConnectRequest)) *device {
	d := &device{room: -1, changed: make(chan struct{}, 1)}
	req := ConnectRequest{ClientID: client, Endpoint: "test", Conn: d}
	if change != nil {
		change(&req)
	}
	d.session = r.Connect(req)
	return d
}

// subscribe returns the granted qualities, or the errors.
func (d *device) subscribe(subs ...Subscription) (granted []SubscribeResult) {
	d.session.Subscribe(subs, func(g []SubscribeResult) { granted = slices.Clone(g) })
	return granted
}

func send(t testing.TB, r *Registry, m *linkspan.Message) {
	t.Helper()
	calls := 0
	r.Send(context.Background(), m, func(err error) {
		if calls++; err != nil {
			t.Errorf("send: %v", err)
		}
	})
	if calls != 1 {
		t.Errorf("done was called %d times", calls)
	}
}

func message(topic, payload string, qos linkspan.QoS) *linkspan.Message {
	return &linkspan.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
}

// expect compares what d got since last asked.
func expect(t *testing.T, d *device, want ...delivery) {
	t.Helper()
	if got := d.take(); !slices.Equal(got, want) {
		t.Errorf("%s got\n%+v, want\n%+v", d.session.client, got, want)
	}
}

// A message goes once to each session that has a matching filter, with the lower of both qualities and all identifiers
// [MQTT-3.8.4-8, MQTT-3.3.4-2, MQTT-3.3.4-4, MQTT-3.3.4-5].
func TestDeliver(t *testing.T) {
	r := newRegistry(t, nil)
	a, b, c := connect(r, "a", nil), connect(r, "b", nil), connect(r, "c", nil)
	a.subscribe(Subscription{Filter: "x/#", QoS: 1, ID: 7}, Subscription{Filter: "x/+", QoS: 2, ID: 268435455}, Subscription{Filter: "x/y"})
	b.subscribe(Subscription{Filter: "x/y", QoS: 0})
	c.subscribe(Subscription{Filter: "y/#", QoS: 2})
	for qos := range linkspan.QoS(3) {
		send(t, r, message("x/y", "p", qos))
		expect(t, a, delivery{topic: "x/y", payload: "p", qos: qos, ids: "[7 268435455]"})
		expect(t, b, delivery{topic: "x/y", payload: "p"})
		expect(t, c)
	}
	send(t, r, message("x", "p", 2))
	expect(t, a, delivery{topic: "x", payload: "p", qos: 1, ids: "[7]"})
	if n := r.stats.Delivered[0].Load(); n != 4 {
		t.Errorf("%d QoS 0 delivered, want 4", n)
	}
}

// Each filter of a SUBSCRIBE has its own answer (ENM-A6) [MQTT-3.9.3-1].
func TestSubscribeGranted(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxSubscriptions = 3 })
	d := connect(r, "a", nil)
	got := slices.Concat(
		d.subscribe(Subscription{Filter: "a", QoS: 2}, Subscription{Filter: "$share/g/a", QoS: 1}, Subscription{Filter: "a/#/b"}),
		d.subscribe(Subscription{Filter: "b", QoS: 1}, Subscription{Filter: "c"}, Subscription{Filter: "d"}),
		d.subscribe(Subscription{Filter: "b", QoS: 2}))
	want := []SubscribeResult{{QoS: 2}, {Err: ErrShared}, {Err: ErrFilter}, {QoS: 1}, {}, {Err: ErrTooMany}, {QoS: 2}}
	if !slices.Equal(got, want) {
		t.Errorf("granted %v, want %v", got, want)
	}
	if n := r.stats.Subscriptions.Load(); n != 3 {
		t.Errorf("%d subscriptions, want 3", n)
	}
}

// A second subscription with the same filter replaces the first [MQTT-3.8.4-3].
func TestSubscribeReplaces(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "x", QoS: 0, ID: 1})
	d.subscribe(Subscription{Filter: "x", QoS: 1, ID: 2})
	send(t, r, message("x", "p", 2))
	expect(t, d, delivery{topic: "x", payload: "p", qos: 1, ids: "[2]"})
	var existed []bool
	d.session.Unsubscribe([]string{"x", "x", "y"}, func(e []bool) { existed = slices.Clone(e) })
	if !slices.Equal(existed, []bool{true, false, false}) { // [MQTT-3.11.3-2]
		t.Errorf("existed: %v", existed)
	}
	send(t, r, message("x", "p", 2)) // [MQTT-3.10.4-2]
	expect(t, d)
	if r.tree.root.kids != nil {
		t.Error("nodes left in the tree")
	}
}

// No Local leaves out what the client itself published [MQTT-3.8.3-3]; other filters of it do not.
func TestNoLocal(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "me", nil)
	d.subscribe(Subscription{Filter: "x/#", QoS: 1, NoLocal: true, ID: 1}, Subscription{Filter: "x/y", ID: 2})
	mine := func(topic string) *linkspan.Message { m := message(topic, "p", 1); m.Client = "me"; return m }
	other := mine("x/z")
	other.Client = "other"
	send(t, r, mine("x/z"))
	expect(t, d)
	send(t, r, other)
	expect(t, d, delivery{topic: "x/z", payload: "p", qos: 1, ids: "[1]"})
	send(t, r, mine("x/y"))
	expect(t, d, delivery{topic: "x/y", payload: "p", ids: "[2]"})
}

// A route to one endpoint (to: NAME:...) reaches the devices of that endpoint only, live and retained.
func TestTarget(t *testing.T) {
	r := newRegistry(t, nil)
	here, there := connect(r, "here", nil), connect(r, "there", func(req *ConnectRequest) { req.Endpoint = "other" })
	here.subscribe(Subscription{Filter: "#"})
	there.subscribe(Subscription{Filter: "#"})
	m := message("x", "p", 0)
	m.Target, m.Retain = "other", true
	send(t, r, m)
	expect(t, here)
	expect(t, there, delivery{topic: "x", payload: "p"})
	here.subscribe(Subscription{Filter: "x"})
	expect(t, here)
	there.subscribe(Subscription{Filter: "x"})
	expect(t, there, delivery{topic: "x", payload: "p", retain: true})
	m = message("x", "q", 0)
	m.Target, m.Retain = "test", true
	send(t, r, m) // does not take the other's place
	here.take()
	for d, payload := range map[*device]string{here: "q", there: "p"} {
		d.subscribe(Subscription{Filter: "x"})
		expect(t, d, delivery{topic: "x", payload: payload, retain: true})
	}
}

// The retain flag is of new subscriptions only, unless it is asked for [MQTT-3.3.1-8, MQTT-3.3.1-12, MQTT-3.3.1-13].
func TestRetainAsPublished(t *testing.T) {
	r := newRegistry(t, nil)
	a, b := connect(r, "a", nil), connect(r, "b", nil)
	a.subscribe(Subscription{Filter: "#"})
	b.subscribe(Subscription{Filter: "#", RetainAsPublished: true})
	m := message("x", "p", 0)
	send(t, r, m)
	m.Retain = true
	send(t, r, m)
	plain, flagged := delivery{topic: "x", payload: "p"}, delivery{topic: "x", payload: "p", retain: true}
	expect(t, a, plain, plain)
	expect(t, b, plain, flagged)
}

// ack comes before what it promises, live and retained.
func TestSubscribeAcksFirst(t *testing.T) {
	r := newRegistry(t, nil)
	m := message("x", "p", 0)
	m.Retain = true
	send(t, r, m)
	d := connect(r, "a", nil)
	acked := false
	d.session.Subscribe([]Subscription{{Filter: "#"}}, func([]SubscribeResult) { acked = len(d.take()) == 0 })
	if !acked {
		t.Error("a message came before the ack")
	}
	expect(t, d, delivery{topic: "x", payload: "p", retain: true})
}

// Packet identifiers are never 0 and never one in use, and count through all others [MQTT-2.2.1-3, MQTT-2.2.1-4].
func TestPacketIdentifiers(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	send(t, r, message("x", "kept", 1)) // identifier 1 stays in use
	seen := make(map[uint16]int)
	for range 65534 + 5 {
		send(t, r, message("x", "p", 1))
		seen[d.unacked[1].PacketID]++
		d.ack(t, 1)
		d.got = d.got[:0]
	}
	if seen[0] > 0 || seen[1] > 0 || len(seen) != 65534 {
		t.Errorf("identifiers: %d of 0, %d of the one in use, %d different", seen[0], seen[1], len(seen))
	}
}

// Not more than Receive Maximum is in flight, acks come in any order, and order is kept behind the window
// (P3) [MQTT-3.3.4-9, MQTT-4.6.0-6].
func TestReceiveMaximum(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 3 })
	d.subscribe(Subscription{Filter: "#", QoS: 2})
	var want []delivery
	for i := range 40 {
		m := message("x", fmt.Sprint(i), linkspan.QoS(i%3))
		send(t, r, m)
		want = append(want, delivery{topic: "x", payload: fmt.Sprint(i), qos: m.QoS})
	}
	for n := d.inFlight(); n > 0; n = d.inFlight() {
		if n > 3 {
			t.Fatalf("%d in flight", n)
		}
		d.ack(t, n-1)
	}
	expect(t, d, want...)
	if d.session.flow != nil {
		t.Error("an idle session keeps its flow")
	}
}

// A QoS 2 message out: each packet in its place only [MQTT-4.3.3-1 to -7]; identifiers that are not known are told so.
func TestOutgoingQoS2(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 1 })
	s := d.session
	if s.PubAck(1) || s.PubRec(1, false) || s.PubRec(1, true) || s.PubComp(1) || s.Release(1) {
		t.Error("an idle session knows an identifier")
	}
	d.subscribe(Subscription{Filter: "#", QoS: 2})
	send(t, r, message("x", "1", 2))
	send(t, r, message("x", "2", 2))
	send(t, r, message("x", "3", 1))
	id := d.unacked[0].PacketID
	if s.PubAck(id) || s.PubComp(id) || s.PubRec(id+1, false) {
		t.Error("a packet out of place was taken")
	}
	if !s.PubRec(id, false) || !s.PubRec(id, false) {
		t.Error("PUBREC, or its repeat, is not answered")
	}
	if len(d.got) != 1 {
		t.Error("PUBREC gave room in the window before PUBCOMP")
	}
	if !s.PubComp(id) || s.PubComp(id) || len(d.got) != 2 {
		t.Error("PUBCOMP does not settle once")
	}
	if id = d.unacked[1].PacketID; s.PubRec(id, true) || s.PubComp(id) || len(d.got) != 3 {
		t.Error("PUBREC with an error does not settle [MQTT-4.4.0-2]")
	}
	if id = d.unacked[2].PacketID; s.PubRec(id, false) || !s.PubAck(id) {
		t.Error("PUBREC was taken for QoS 1")
	}
}

// A QoS 2 message in is new once until it is released [MQTT-4.3.3-8 to -12].
func TestIncomingQoS2(t *testing.T) {
	r := newRegistry(t, nil)
	s := connect(r, "a", nil).session
	if !s.Receive(5) || s.Receive(5) || !s.Receive(6) {
		t.Error("a repeat is not told from a new message")
	}
	if !s.Release(5) || s.Release(5) || !s.Receive(5) {
		t.Error("a released identifier is not free")
	}
	if s.Forget(6); !s.Receive(6) {
		t.Error("a refused identifier is not free")
	}
	s.Release(5)
	s.Release(6)
	if s.flow != nil {
		t.Error("an idle session keeps its flow")
	}
}

// A full buffer holds deliveries back until Resume; QoS 0 beyond the queue is dropped and counted (P2, P6).
func TestQueueFull(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxQueued = 5 })
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "#"})
	d.makeRoom(2)
	var want []delivery
	for i := range 10 {
		send(t, r, message("x", fmt.Sprint(i), 0))
		if i < 7 {
			want = append(want, delivery{topic: "x", payload: fmt.Sprint(i)})
		}
	}
	expect(t, d, want[:2]...)
	d.makeRoom(-1)
	expect(t, d, want[2:]...)
	if n := r.stats.DroppedFull.Load(); n != 3 {
		t.Errorf("%d dropped, want 3", n)
	}
}

// The queue is bounded in bytes too, and takes one message of any size (P6).
func TestQueueBytes(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxQueuedBytes = 3000 })
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "#"})
	d.makeRoom(0)
	big := message("x", string(make([]byte, 10_000)), 0)
	send(t, r, big)
	send(t, r, message("x", "small", 0))
	if n := r.stats.DroppedFull.Load(); n != 1 {
		t.Errorf("%d dropped, want the second only", n)
	}
	if b := d.session.flow.queue.bytes; b != entryBytes(big, nil) {
		t.Errorf("%d bytes queued, want %d", b, entryBytes(big, nil))
	}
	d.makeRoom(-1)
	if len(d.take()) != 1 {
		t.Error("the large message did not come")
	}
}

// All queues share one copy, and a borrowed message is not kept.
func TestOneCopy(t *testing.T) {
	r := newRegistry(t, nil)
	a, b := connect(r, "a", nil), connect(r, "b", nil)
	for _, d := range []*device{a, b} {
		d.subscribe(Subscription{Filter: "#", QoS: 1})
		d.makeRoom(0)
	}
	m := message("x", "before", 1)
	send(t, r, m)
	copy(m.Payload, "after!")
	qa, qb := a.session.flow.queue.head().m, b.session.flow.queue.head().m
	if qa != qb || string(qa.Payload) != "before" {
		t.Errorf("queued: %p %q and %p", qa, qa.Payload, qb)
	}
}

// What has expired is not delivered, at once or from the queue, and is counted [MQTT-3.3.2-5].
func TestExpired(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "a", nil)
	d.subscribe(Subscription{Filter: "#", QoS: 1})
	old := message("x", "old", 1)
	old.Expires = time.Now().Add(-time.Hour)
	send(t, r, old)
	d.makeRoom(0)
	m := message("x", "queued", 1)
	m.Expires = time.Now().Add(time.Hour)
	send(t, r, m)
	send(t, r, message("x", "last", 1))
	d.session.flow.queue.head().m.Expires = old.Expires
	d.makeRoom(-1)
	expect(t, d, delivery{topic: "x", payload: "last", qos: 1})
	if n := r.stats.DroppedExpired.Load(); n != 2 {
		t.Errorf("%d expired, want 2", n)
	}
}

// A message that the device does not take is left out, and does not use up its window [MQTT-3.1.2-24, MQTT-3.1.2-25].
func TestTooLarge(t *testing.T) {
	r := newRegistry(t, nil)
	d := connect(r, "a", func(c *ConnectRequest) { c.ReceiveMaximum = 1 })
	d.largest = 5
	d.subscribe(Subscription{Filter: "#", QoS: 2})
	send(t, r, message("x", "much too large", 2))
	send(t, r, message("x", "small", 2))
	expect(t, d, delivery{topic: "x", payload: "small", qos: 2})
	if n := r.stats.DroppedTooLarge.Load(); n != 1 {
		t.Errorf("%d too large, want 1", n)
	}
}
