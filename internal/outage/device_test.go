package outage

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// habits are how a device publishes.
type habits struct {
	name   string
	count  int // messages
	window int
	pause  time.Duration // between two, at most
	size   int           // of payloads, at most
	qos    linkspan.QoS
	mute   bool
}

// A device publishes with QoS 1 and a window, and sends again what is not acknowledged when it has been cut off, in order and
// before anything new. One with QoS 0 forgets what it has sent. With QoS 2 a message keeps its place in the window until the handshake is
// over, or cut off: sessions end with their connection, so that what was acknowledged is not sent again, and all else is new to the next one.
type device struct {
	habits
	w      *world
	random *rand.Rand
	wake   chan struct{} // a token: there is something to do

	mu     sync.Mutex
	sent   []*message // all of them
	open   []*message // sent and not settled, in order
	conn   int        // which connection it is
	broken bool       // the connection is not to be used any more
	unsure int        // QoS 2: of the connection, PUBREC has come and PUBCOMP has not
}

// A message is one that a device has published.
type message struct {
	d       *device
	lane    int
	seq     int // of this device and lane, from 1
	size    int
	state   state
	fate    error // refused with
	flights int   // how often it was sent
	over    bool  // sent on the connection that there is
}

type state int

const (
	unsettled state = iota
	acked
	refused
	forgotten // QoS 0, and not stored
)

func newHabits(d dice, i int, length time.Duration) habits {
	v := habits{name: fmt.Sprintf("device-%d", i), count: 5 + d.IntN(60), window: pick(d, 1, 3, 20), size: pick(d, 20, 200, 2000), qos: 1}
	v.pause = 2 * length / time.Duration(v.count)
	if d.oneIn(4) { // a burst
		v.pause = time.Millisecond
	}
	switch d.IntN(5) {
	case 0:
		v.qos = 0
	case 1:
		v.qos = 2
	}
	v.mute = v.qos == 0 || d.oneIn(3)
	return v
}

func (d *habits) String() string {
	return fmt.Sprintf("%s: %d messages, QoS %d, mute %v, window %d, every %v, %d bytes", d.name, d.count, d.qos, d.mute, d.window, d.pause/2, d.size)
}

func (m *message) String() string { return fmt.Sprintf("%s %s %d", m.d.name, laneName(m.lane), m.seq) }

// run publishes until all is settled or ctx ends.
func (d *device) run(ctx context.Context) {
	for ctx.Err() == nil {
		p := d.w.listening(ctx)
		if p == nil {
			return
		}
		d.connect()
		if d.publish(ctx, p) {
			return
		}
		d.w.sleep(ctx, 20*time.Millisecond)
	}
}

// connect begins a new connection: what is open is to be sent again.
func (d *device) connect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn++
	d.broken, d.unsure = false, 0
	if d.qos == 0 {
		for _, m := range d.open {
			m.state = forgotten
		}
		d.open = nil
	}
	for _, m := range d.open {
		m.over = false
	}
}

// publish sends what there is until the connection ends. It returns true when nothing is left.
func (d *device) publish(ctx context.Context, p *process) bool {
	wait := time.Millisecond
	for ctx.Err() == nil && p.accepts() {
		m, left := d.next()
		switch {
		case !left:
			return true
		case m == nil && d.cut():
			return false
		case m == nil:
			select {
			case <-d.wake:
			case <-p.closed:
			case <-ctx.Done():
			}
			continue
		}
		if !d.send(ctx, p, m) {
			d.w.sleep(ctx, wait)
			wait = min(2*wait, 50*time.Millisecond)
			continue
		}
		wait = time.Millisecond
		// Whole milliseconds, as the network has them: so things happen at the same time.
		d.w.sleep(ctx, time.Duration(d.random.Int64N(int64(d.pause)+1)).Round(time.Millisecond))
	}
	return false
}

func (d *device) cut() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.broken
}

// next returns what to send next, nil while there is nothing, and whether anything is left to do.
func (d *device) next() (m *message, left bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken {
		return nil, true
	}
	for _, m := range d.open {
		if !m.over {
			return m, true
		}
	}
	if len(d.sent) == d.count {
		return nil, len(d.open) > 0
	}
	if len(d.open)+d.unsure >= d.window {
		return nil, true
	}
	m = &message{d: d, lane: d.random.IntN(len(d.w.s.lanes)), size: d.random.IntN(d.size + 1)}
	if d.random.IntN(50) == 0 {
		m.size = 2 * maxMessage // Kafka will not take it
	}
	for _, o := range d.sent {
		if o.lane == m.lane {
			m.seq = o.seq
		}
	}
	m.seq++
	d.sent, d.open = append(d.sent, m), append(d.open, m)
	return m, true
}

// send hands m over, if there is room.
func (d *device) send(ctx context.Context, p *process, m *message) bool {
	lane := laneName(m.lane)
	out := &linkspan.Message{
		Topic: d.name + "/" + lane, Payload: m.payload(), QoS: d.qos, Mute: d.mute,
		Endpoint: "devices", Client: d.name, Received: time.Now(), Route: lane,
		Record: linkspan.Record{
			Topic: lane, Partition: linkspan.AnyPartition, Key: []byte(d.name),
			Headers: []linkspan.Header{{Key: "device", Value: []byte(d.name)}},
		},
	}
	if !p.spool.Room(nil) || !p.spool.Room(out) {
		return false
	}
	d.mu.Lock()
	m.over = true
	m.flights++
	conn := d.conn
	d.mu.Unlock()
	d.w.tell("%v sent", m)
	p.sends.Add(1)
	called := false
	p.spool.Send(ctx, out, func(err error) {
		p.sends.Add(-1)
		d.mu.Lock()
		if called {
			d.w.failf("%v is done twice", m)
		}
		called = true
		d.mu.Unlock()
		d.settled(p, conn, m, err)
	})
	scribble(out)
	return true
}

func (m *message) payload() []byte {
	b := fmt.Appendf(nil, "%v ", m)
	return append(b, strings.Repeat("x", m.size)...)
}

// scribble overwrites what a callee may have borrowed for too long.
func scribble(m *linkspan.Message) {
	for _, b := range [][]byte{m.Payload, m.Record.Key, m.Record.Headers[0].Value} {
		for i := range b {
			b[i] = '!'
		}
	}
}

// settled is the done of a message that went over a connection.
func (d *device) settled(p *process, conn int, m *message, err error) {
	if !p.alive() {
		return // what a dead process says, nobody hears
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.w.tell("%v done: %v", m, err)
	switch {
	case err == nil:
		m.state = acked // though the device may have gone by now: custody is custody
		if d.qos == 2 && conn == d.conn {
			d.release()
		}
	case conn != d.conn || m.state != unsettled:
		return
	case linkspan.IsPermanent(err):
		m.state, m.fate = refused, err
		if d.mute && !errors.Is(err, linkspan.ErrQuota) && !dropped(err) {
			d.w.failf("%v is refused to one who cannot hear it: %v", m, err)
		}
	case d.qos == 0:
		m.state = forgotten
	default:
		d.broken = true
	}
	if m.state != unsettled {
		d.open = slices.DeleteFunc(d.open, func(o *message) bool { return o == m })
	}
	d.rouse()
}

// rouse has the device look what there is to do.
func (d *device) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// handshake is how long PUBREL and PUBCOMP take.
const handshake = 30 * time.Millisecond

// release goes on with the handshake of QoS 2 after PUBREC. The caller holds mu.
func (d *device) release() {
	d.unsure++
	conn := d.conn
	time.AfterFunc(handshake, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if conn == d.conn {
			d.unsure--
			d.rouse()
		}
	})
}
