package outage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// habits are how a device publishes. There are devices of each QoS.
type habits struct {
	name     string
	count    int           // messages
	window   int           // of QoS 1 and 2
	pause    time.Duration // between two, at most
	size     int           // of payloads, at most
	qos      linkspan.QoS
	version  packet.Version
	stubborn bool          // it goes on with its old session, as many libraries do, though CONNACK says that there is none
	urging   time.Duration // how long it waits for PUBREC before it sends a message once more, as only MQTT 3 lets it; 0: for ever
}

// A device publishes with a window, and sends again what is not acknowledged when it has been cut off, in order and before anything
// new. One with QoS 0 forgets what it has sent. Sessions end with their connection: a QoS 2 message whose PUBREC has come
// is not sent again, and all else is new to the next one.
type device struct {
	habits
	w      *world
	random *rand.Rand
	wake   chan struct{} // a token: there is something to do

	mu     sync.Mutex
	sent   []*message // all of them
	open   []*message // sent and not settled, in order
	calls  int
	call   *call // the last one
	handed int   // the last call of which the sink was handed something
}

// A message is one that a device has published.
type message struct {
	d     *device
	name  string
	lane  int
	seq   int // of this device and lane, from 1
	size  int
	state state

	// Of the call that there is, but the identifier, which a stubborn device keeps.

	id       uint16 // 0: none
	over     bool   // PUBLISH was sent
	dup      bool   // it was so before
	at       time.Time
	received bool // PUBREC has come: also before, on another call
	released bool // PUBREL was sent

	// What the sink knows, as far as the process lived to tell.

	handed  int   // the last call of which the sink was handed it
	copies  int   // it was handed so often, but for those times that the sink refused
	custody bool  // the sink has it
	no      error // refused for good, the last time
	quota   uint64
	drops   uint64
}

type state int

const (
	unsettled state = iota
	acked           // of QoS 0 those that the sink has: nobody tells the device
	refused
	forgotten // QoS 0, and not stored
)

func newHabits(d dice, i int, length time.Duration) habits {
	v := habits{name: fmt.Sprintf("device-%d", i), count: 5 + d.IntN(40), window: pick(d, 1, 3, 20), size: pick(d, 20, 200, 2000), qos: linkspan.QoS((i + 1) % 3)}
	v.pause = 2 * length / time.Duration(v.count)
	if d.oneIn(4) { // a burst
		v.pause = time.Millisecond
	}
	v.version = pick(d, packet.V311, packet.V5, packet.V5)
	v.stubborn = d.oneIn(2)
	if v.version < packet.V5 && v.qos == 2 {
		v.urging = pick(d, 0, 10*time.Millisecond, 500*time.Millisecond)
	}
	return v
}

func (d *habits) String() string {
	return fmt.Sprintf("%s: MQTT %v, %d messages, QoS %d, window %d, every %v, %d bytes, stubborn %v, urging after %v",
		d.name, d.version, d.count, d.qos, d.window, d.pause/2, d.size, d.stubborn, d.urging)
}

// mute: nobody can tell it that a message is refused.
func (d *habits) mute() bool { return d.qos == 0 || d.version < packet.V5 }

func (m *message) String() string { return m.name }

func (m *message) payload() []byte {
	b := fmt.Appendf(nil, "%v ", m)
	return append(b, strings.Repeat("x", m.size)...)
}

// run publishes until all is settled or ctx ends.
func (d *device) run(ctx context.Context) {
	for ctx.Err() == nil {
		p := d.w.listening(ctx)
		if p == nil {
			return
		}
		if c := d.dial(ctx, p); c != nil && d.publish(ctx, c) {
			c.hangUp()
			return
		}
		d.w.sleep(ctx, 20*time.Millisecond)
	}
}

// connected begins anew: what is open is to be sent again. The caller holds mu.
func (d *device) connected() {
	if d.qos == 0 {
		for _, m := range d.open {
			m.state = forgotten
		}
		d.open = nil
	}
	for _, m := range slices.Clone(d.open) {
		if d.stubborn {
			m.dup = m.dup || m.over
		} else {
			m.id, m.dup = 0, false
			if m.received { // there is nothing to be released any more
				d.settle(m, acked)
			}
		}
		m.over, m.released = false, false
	}
}

// settle is the end of m. The caller holds mu.
func (d *device) settle(m *message, s state) {
	m.state = s
	d.open = slices.DeleteFunc(d.open, func(o *message) bool { return o == m })
	d.rouse()
}

// rouse has the device look what there is to do.
func (d *device) rouse() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// publish sends what there is until the call ends. It returns true when nothing is left.
func (d *device) publish(ctx context.Context, c *call) bool {
	for ctx.Err() == nil {
		next, later, left := d.next(c)
		if !left {
			return true
		}
		if next == nil {
			var again <-chan time.Time
			if later > 0 {
				again = time.After(later)
			}
			select {
			case <-d.wake:
			case <-again:
			case <-c.ended:
				return false
			case <-ctx.Done():
			}
			continue
		}
		if _, err := c.Write(next); err != nil {
			return false
		}
		if packet.Type(next[0]>>4) == packet.PUBLISH {
			// Whole milliseconds, as the network has them: so things happen at the same time.
			d.w.sleep(ctx, time.Duration(d.random.Int64N(int64(d.pause)+1)).Round(time.Millisecond))
		}
	}
	return false
}

// next returns the packet to send next; nil while there is none, but perhaps later. left: not all is done.
func (d *device) next(c *call) (next []byte, later time.Duration, left bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !c.up {
		return nil, 0, true
	}
	for _, m := range d.open {
		if m.received && !m.released {
			m.released = true
			return packet.AppendAck(nil, packet.PUBREL, m.id), 0, true
		}
	}
	for _, m := range d.open {
		if !m.over && !m.received {
			return d.write(c, m), 0, true
		}
	}
	for _, m := range d.open {
		if d.urging == 0 || m.received {
			continue
		}
		if later = d.urging - time.Since(m.at); later > 0 {
			break
		}
		m.dup = true
		return d.write(c, m), 0, true
	}
	switch {
	case len(d.sent) == d.count:
		return nil, later, len(d.open) > 0
	case len(d.open) >= d.window && d.qos > 0:
		return nil, later, true
	}
	return d.write(c, d.create()), 0, true
}

// create makes the next message.
func (d *device) create() *message {
	m := &message{d: d, lane: d.random.IntN(len(d.w.s.lanes)), size: d.random.IntN(d.size + 1)}
	if d.random.IntN(50) == 0 {
		m.size = 2 * maxMessage // Kafka will not take it
	}
	for _, o := range d.sent {
		if o.lane == m.lane {
			m.seq = o.seq
		}
	}
	m.seq++
	m.name = fmt.Sprintf("%s %s %d", d.name, laneName(m.lane), m.seq)
	d.sent, d.open = append(d.sent, m), append(d.open, m)
	return m
}

// write returns the PUBLISH of m. A packet identifier is used again as soon as it may be.
func (d *device) write(c *call, m *message) []byte {
	for id := uint16(1); m.id == 0 && d.qos > 0; id++ {
		if !slices.ContainsFunc(d.open, func(o *message) bool { return o.id == id }) {
			m.id = id
		}
	}
	m.over, m.at = true, time.Now()
	d.w.tell("%v sent, %d of call %d, dup %v", m, m.id, c.number, m.dup)
	p := packet.Publish{Topic: fmt.Sprintf("%s/%d", laneName(m.lane), c.number), Payload: m.payload(), PacketID: m.id, QoS: byte(d.qos), Dup: m.dup}
	return p.Append(nil, d.version)
}
