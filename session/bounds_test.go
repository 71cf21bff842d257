package session

import (
	"slices"
	"testing"
)

// Subscription identifiers that wait with a message count like its bytes (P6).
func TestQueueBytesOfIdentifiers(t *testing.T) {
	const filters, most = 500, 100_000
	r := newRegistry(t, func(c *Config) { c.MaxQueuedBytes = most })
	d := connect(r, "a", nil)
	for i := range filters {
		filter := []byte("a/b/c/d/e/f/g/h/i")
		for bit := range 9 {
			if i>>bit&1 == 1 {
				filter[2*bit] = '+'
			}
		}
		d.subscribe(Subscription{Filter: string(filter), ID: uint32(1 + i)})
	}
	d.makeRoom(0)
	for range 100 {
		send(t, r, message("a/b/c/d/e/f/g/h/i", "x", 0))
	}
	if n := d.session.flow.queue.messages; n*4*filters > most {
		t.Errorf("%d messages with %d identifiers each in %d bytes", n, filters, most)
	}
	d.makeRoom(-1)
	if d.session.flow != nil {
		t.Error("an idle session keeps its flow")
	}
}

// No more than max_in_flight messages are on their way, also if the device would take more: the search for a free
// identifier is never long.
func TestMaxInFlight(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxInFlight = 10 })
	for most, device := range map[int]*device{
		10: connect(r, "any", nil),
		4:  connect(r, "few", func(c *ConnectRequest) { c.ReceiveMaximum = 4 }),
	} {
		device.subscribe(Subscription{Filter: device.session.client, QoS: 1})
		for range 20 {
			send(t, r, message(device.session.client, "p", 1))
		}
		if n := device.inFlight(); n != most {
			t.Errorf("%s: %d in flight, want %d", device.session.client, n, most)
		}
	}
}

// Filters are bounded in levels, in bytes of a session, and in number of a packet; filters given up make room (P6).
func TestFilterBounds(t *testing.T) {
	r := newRegistry(t, func(c *Config) { c.MaxLevels, c.MaxFilterBytes, c.MaxSubscriptions = 5, 3*filterBytes("a/b/c/d/e"), 4 })
	d := connect(r, "a", nil)
	got := d.subscribe(Subscription{Filter: "a/b/c/d/e"}, Subscription{Filter: "////"}, Subscription{Filter: "/////"},
		Subscription{Filter: "a/b/c/d/f"}, Subscription{Filter: "a/b/c/d/e"})
	want := []SubscribeResult{{}, {}, {Err: ErrFilter}, {}, {Err: ErrTooMany}}
	if !slices.Equal(got, want) {
		t.Errorf("granted %v, want %v", got, want)
	}
	if got := d.subscribe(Subscription{Filter: "a"}, Subscription{Filter: "////"}); got[0].Err != ErrTooMany || got[1].Err != nil {
		t.Errorf("bytes used up: granted %v", got)
	}
	d.session.Unsubscribe([]string{"////"}, func([]bool) {})
	if got := d.subscribe(Subscription{Filter: "a"}); got[0].Err != nil {
		t.Errorf("bytes free: granted %v", got)
	}
	d.session.Unsubscribe([]string{"a", "a/b/c/d/e", "a/b/c/d/f"}, func([]bool) {})
	if n := d.session.filterBytes; n != 0 {
		t.Errorf("%d bytes without filters", n)
	}
}
