package outage

import (
	"context"
	"net"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// A call is one connection of a device to a process.
type call struct {
	net.Conn
	d      *device
	p      *process
	number int           // of the device's calls, from 1
	ended  chan struct{} // closed when nothing comes from it any more

	// Of the device's lock.

	up   bool // CONNACK has come
	lost bool // what comes now is not heard
}

// dial connects, and returns nil where nobody listens any more.
func (d *device) dial(ctx context.Context, p *process) *call {
	nc, err := p.door.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil
	}
	c := &call{Conn: nc, d: d, p: p, ended: make(chan struct{})}
	d.mu.Lock()
	d.calls++
	d.call, c.number = c, d.calls
	d.connected()
	d.mu.Unlock()
	if !p.admit(c) {
		nc.Close()
		return nil
	}
	go c.listen()
	hello := packet.Connect{Version: d.version, ClientID: d.name, CleanStart: !d.stubborn}
	if d.version == packet.V5 && d.stubborn {
		hello.Properties.SessionExpiry = 3600
		hello.Properties.Set(packet.SessionExpiry)
	}
	_, _ = c.Write(hello.Append(nil))
	return c
}

// hangUp ends the call for both sides.
func (c *call) hangUp() {
	c.vanish()
	_ = c.Close()
}

// vanish ends the call for the device alone: the listener has to find out.
func (c *call) vanish() {
	c.d.mu.Lock()
	c.lost = true
	c.d.mu.Unlock()
	_ = c.SetDeadline(time.Now())
}

// listen hears what the process says.
func (c *call) listen() {
	defer close(c.ended)
	var heard []byte
	b := make([]byte, 4<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		pass(c.d.w.network.latency(way{}, n))
		heard = append(heard, b[:n]...)
		for {
			raw, n, _, err := packet.Cut(heard, 0)
			if err == nil && n > 0 {
				err = c.hear(raw)
			}
			if err != nil {
				c.d.w.failf("%s hears what is no MQTT: %v", c.d.name, err)
				return
			}
			if n == 0 {
				break
			}
			heard = heard[n:]
		}
	}
}

// hear takes one packet.
func (c *call) hear(raw packet.Raw) error {
	d := c.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.lost || !c.p.alive() {
		return nil
	}
	switch raw.Type() {
	case packet.CONNACK:
		var ack packet.Connack
		if err := ack.Decode(d.version, raw); err != nil {
			return err
		}
		if ack.SessionPresent {
			d.w.failf("%s has a session that its last connection ended", d.name)
		}
		c.up = ack.Reason == packet.Success
		d.rouse()
	case packet.DISCONNECT:
		d.w.tell("%s is sent away", d.name)
	default:
		var ack packet.Ack
		if err := ack.Decode(d.version, raw); err != nil {
			return err
		}
		d.answered(&ack)
	}
	return nil
}

// answered takes an acknowledgement. The caller holds mu.
func (d *device) answered(ack *packet.Ack) {
	var m, first *message // the one it is for; the first that waits for one of this kind
	for _, o := range d.open {
		if o.id == ack.PacketID && (o.over || o.received) {
			m = o
		}
		if first == nil && o.over && !o.received {
			first = o
		}
	}
	d.w.tell("%s hears %v %d %v, for %v", d.name, ack.Type, ack.PacketID, ack.Reason, m)
	switch {
	case m == nil:
		if d.urging == 0 || ack.Type != packet.PUBREC {
			d.w.failf("%s is sent %v for %d, of which it knows nothing", d.name, ack.Type, ack.PacketID)
		}
	case ack.Type == packet.PUBCOMP:
		if !m.released {
			d.w.failf("%v is at its end (PUBCOMP), and was not released", m)
		}
		d.settle(m, acked)
	case m.received:
		if d.urging == 0 {
			d.w.failf("%v is acknowledged twice", m)
		}
	case m != first:
		d.w.failf("%v is acknowledged before %v [MQTT-4.6.0-2]", m, first)
	case ack.Reason.Failed():
		if m.no == nil {
			d.w.failf("%v is refused by nobody: %v", m, ack.Reason)
		}
		d.settle(m, refused)
	default:
		if !m.custody {
			d.w.failf("%v is acknowledged, and nobody has it (P1)", m)
		}
		m.received = true
		if d.qos < 2 {
			d.settle(m, acked)
		}
		d.rouse()
	}
}
