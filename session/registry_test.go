package session

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// A second connection takes over: the first is closed with its reason, its will is sent, its late end changes nothing,
// and the second begins clean (ENM-A5, KAL-A8) [MQTT-3.1.4-3, MQTT-3.1.2-4].
func TestTakeover(t *testing.T) { synctest.Test(t, testTakeover) }

func testTakeover(t *testing.T) {
	up := new(uplink)
	r := newRegistry(t, func(c *Config) { c.Uplink = up })
	a := connect(r, "same", func(c *ConnectRequest) { c.Will = message("will", "a", 1) })
	a.ended = func() { a.session.Close(true) }
	a.subscribe(Subscription{Filter: "#", QoS: 1})
	b := connect(r, "same", nil)
	if why := a.reasons(); !slices.Equal(why, []Reason{TakenOver}) {
		t.Errorf("disconnected with %v", why)
	}
	synctest.Wait()
	if n := len(up.all()); n != 1 {
		t.Errorf("%d wills", n)
	}
	send(t, r, message("x", "1", 1))
	expect(t, a)
	expect(t, b)
	b.subscribe(Subscription{Filter: "#", QoS: 1})
	a.session.Close(true)
	a.session.Subscribe([]Subscription{{Filter: "#"}}, func([]SubscribeResult) { t.Error("an ended session subscribed") })
	a.session.Unsubscribe([]string{"#"}, func([]bool) { t.Error("an ended session unsubscribed") })
	if a.session.Resume(); a.session.Receive(1) {
		t.Error("an ended session received")
	}
	send(t, r, message("x", "2", 1))
	expect(t, a)
	expect(t, b, delivery{topic: "x", payload: "2", qos: 1})
	if n := r.stats.Takeovers.Load(); n != 1 || r.stats.Sessions.Load() != 1 || r.stats.Subscriptions.Load() != 1 {
		t.Errorf("%d takeovers, %d sessions, %d subscriptions", n, r.stats.Sessions.Load(), r.stats.Subscriptions.Load())
	}
	if n := len(up.all()); n != 1 {
		t.Errorf("%d wills", n)
	}
}

// A third connection that comes while the second still waits for the first to stop waits for both: no two of them hand over
// messages at a time (P3) [MQTT-3.1.4-3].
func TestTakeoverWaitsForAll(t *testing.T) {
	r := newRegistry(t, nil)
	first := &leaving{asked: make(chan struct{}), left: make(chan struct{})}
	r.Connect(ConnectRequest{ClientID: "same", Conn: first})
	var wg sync.WaitGroup
	second := &device{}
	wg.Go(func() { r.Connect(ConnectRequest{ClientID: "same", Conn: second}) })
	<-first.asked
	early := false
	third := make(chan struct{})
	wg.Go(func() {
		r.Connect(ConnectRequest{ClientID: "same", Conn: &device{}})
		close(third)
	})
	for len(second.reasons()) == 0 && r.clientOf("same") == second {
		runtime.Gosched()
	}
	for range 1000 {
		runtime.Gosched()
	}
	select {
	case <-third:
		early = true
	default:
	}
	close(first.left)
	wg.Wait()
	if early {
		t.Error("the third connection started before the first had stopped")
	}
	if why := second.reasons(); !slices.Equal(why, []Reason{TakenOver}) {
		t.Errorf("the second was disconnected with %v", why)
	}
}

// leaving is a connection that takes its time to stop.
type leaving struct {
	device
	asked, left chan struct{}
}

func (l *leaving) Disconnect(Reason) {
	close(l.asked)
	<-l.left
}

// clientOf returns the connection that has the client's place.
func (r *Registry) clientOf(id string) Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clients[id].conn
}

// Any number of connections of one client at once leave one, and those before it closed (ENM-A5).
func TestTakeoverConcurrent(t *testing.T) {
	r := newRegistry(t, nil)
	devices := make([]*device, 50)
	var wg sync.WaitGroup
	for i := range devices {
		wg.Go(func() {
			devices[i] = connect(r, "same", nil)
			devices[i].subscribe(Subscription{Filter: "#"})
		})
	}
	wg.Wait()
	send(t, r, message("x", "p", 0))
	got, closed := 0, 0
	for _, d := range devices {
		got += len(d.take())
		closed += len(d.reasons())
	}
	if got != 1 || closed != len(devices)-1 || r.stats.Sessions.Load() != 1 {
		t.Errorf("%d got the message, %d of %d closed, %d sessions", got, closed, len(devices), r.stats.Sessions.Load())
	}
}

// Close ends what is connected, and whoever comes later (P8).
func TestClose(t *testing.T) {
	r := newRegistry(t, nil)
	a := connect(r, "a", nil)
	for range 2 {
		if err := r.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	b := connect(r, "b", nil)
	for _, d := range []*device{a, b} {
		if why := d.reasons(); !slices.Equal(why, []Reason{ShuttingDown}) {
			t.Errorf("%s disconnected with %v", d.session.client, why)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	for name, c := range map[string]Config{"no queue": {MaxQueuedBytes: 1, MaxSubscriptions: 1}, "negative": {MaxQueued: 1, MaxQueuedBytes: 1, MaxSubscriptions: 1, MaxRetained: -1}} {
		if c.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
