package client

import (
	"bytes"
	"log/slog"
	"net"
	"testing"
	"time"
)

// pieces is a socket on which there is always that much.
type pieces struct {
	net.Conn
	size int
}

func (p pieces) Read(b []byte) (int, error) { return copy(b, make([]byte, p.size)), nil }

// What comes alone, what leaves more to read, and what the way down waits for is read at once.
func TestGathererPausesOnlyBetweenSmallPiecesThatComeFast(t *testing.T) {
	var never time.Time
	soon := time.Now().Add(time.Hour) // later than any read here
	for _, c := range []struct {
		name         string
		size, buffer int
		last         time.Time
		pauses       bool
	}{
		{"small pieces, fast", 100, readSize, soon, true},
		{"small pieces, now and then", 100, readSize, never, false},
		{"more than there was room for", 512, 512, soon, false},
		{"a large piece", gatherSize, readSize, soon, false},
	} {
		g := &gatherer{Conn: pieces{size: c.size}, last: c.last}
		if n, err := g.Read(make([]byte, c.buffer)); n != c.size || err != nil {
			t.Errorf("%s: read %d bytes, %v", c.name, n, err)
		}
		if g.busy != c.pauses {
			t.Errorf("%s: pause before the next read: %v", c.name, g.busy)
		}
	}
}

// A way down that is full has what comes read at once, and one that is not has not.
func TestFullWindowDownHurries(t *testing.T) {
	c := &Client{cfg: DefaultConfig()}
	c.cfg.MaxInFlight = 2
	c.log = slog.New(slog.DiscardHandler)
	w := newWorker(c, 0, "x")
	w.conn = newConn(w, nil, target{}, 4)
	w.conn.limits = Limits{ReceiveMaximum: 65535, MaximumQoS: 2, Retain: true}
	send := func() {
		w.out.append(&delivery{wire: bytes.Clone(onePublish)})
		w.pump()
	}
	if send(); len(w.hurry) != 0 {
		t.Error("hurry with one message in flight of two")
	}
	if send(); len(w.hurry) == 0 {
		t.Error("no hurry with two messages in flight of two")
	}
}

// onePublish is a PUBLISH of MQTT 5 with QoS 1.
var onePublish = []byte{0x32, 6, 0, 1, 't', 0, 1, 0}
