package mqtt

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// A conn is one device's connection. One goroutine, its reader, reads, decodes and hands on; everything here that does
// not say otherwise is the reader's. Others add to what is to be written, settle the window, and wake the reader.
//
//	Run: receive ─ digest ─ publish ─ sink
//	                                   │ done, any goroutine
//	    device ◄─ settled ◄─ window ◄──┘
type conn struct {
	wire.Conn
	l *Listener

	backlog    []byte // packets that wait for the sink
	worked     int    // of those, the bytes that are done
	over       *ending
	last       *lastWord     // somebody else has ended the connection; nil: not yet
	heard      time.Time     // of the last packet
	aliases    aliases       // of the device
	patience   time.Duration // between packets; 0: for ever
	turnedBack time.Duration // until it asks again: the sink had room, but not for the message at hand

	// From CONNECT, and not changed any more when session is set.

	client         string
	username       string
	session        *session.Session // nil: not connected
	largest        int32            // the largest packet that the device takes; 0: any
	aliasMaximum   uint16           // of what we send
	version        packet.Version   // 0: no CONNECT yet
	problemInfo    bool             // the device wants Reason Strings
	sessionExpires bool             // the device asked for a session that outlives the connection
	willed         bool             // it left a will
	accepted       bool             // CONNACK was written

	blocked  atomic.Bool  // the window was full
	inFlight atomic.Int32 // opened in window and not settled; falls with the lock
	unsolved atomic.Int32 // QoS 2 messages between PUBREC and PUBREL; rises with the lock
	window   *linkspan.Window[receipt]
	taking   map[uint16]struct{} // QoS 2 messages that the sink has and did not settle; of the lock
	refused  []uint16            // QoS 2 messages that it refused, and that the session is yet to forget; of the lock
	taught   map[string]uint16   // topic aliases that the device knows from us; of the lock

	handing sync.Mutex // held while the sink is handed a message, of which stopped was nil

	stopped atomic.Pointer[ending] // somebody else wants the connection to end
}

var _ wire.Protocol = (*conn)(nil)

// Run does what there is to do until the connection is to end, and returns why.
func (c *conn) Run() error {
	if c.last == nil {
		err := c.serve()
		end, _ := err.(*ending)
		if !c.willed || end == nil || end != endStopping && end != c.stopped.Load() {
			return err
		}
		c.last = &lastWord{end: end, until: time.Now().Add(hearing)}
		c.SetReadDeadline(c.last.until)
	}
	return c.hearOut()
}

// serve does what the device wants until somebody, which may be the device, wants the connection to end.
func (c *conn) serve() error {
	for {
		if e := c.stopped.Load(); e != nil {
			return e
		}
		if c.l.server.Draining() {
			if c.settledAll() {
				return endStopping
			}
			c.park()
			continue
		}
		if err := c.workOff(); err != nil {
			return err
		}
		if c.over != nil && len(c.backlog) == 0 && !c.Undigested {
			return c.over
		}
		if !c.mayRead() {
			c.park()
			continue
		}
		if c.MoveOn() {
			return nil
		}
		if !c.Undigested {
			// Who waits for the answer to one message sends no other; who has more in flight has most likely sent more meanwhile.
			switch err := c.Receive(c.inFlight.Load() == 1); {
			case err == nil:
			case errors.Is(err, io.EOF):
				c.over = endGone // behind what was read before
			default:
				return err
			}
		}
		if err := c.digest(); err != nil {
			return err
		}
	}
}

// Late is for a read deadline that has passed. It sets the next one: nothing is written down per packet but the time, and
// the deadline follows only when it fires.
func (c *conn) Late() error {
	if l := c.last; l != nil {
		c.SetReadDeadline(l.until)
		if time.Now().Before(l.until) {
			return nil
		}
		return l.end
	}
	limit := c.limit()
	if !limit.IsZero() && !time.Now().Before(limit) {
		if c.session == nil {
			return endNoConnect
		}
		return endSilent // [MQTT-3.1.2-22]
	}
	c.SetReadDeadline(limit)
	return nil
}

// limit returns by when the next packet has to be there; zero: never.
func (c *conn) limit() time.Time {
	switch {
	case c.session == nil:
		return c.Born().Add(c.l.cfg.ConnectTimeout)
	case c.patience == 0:
		return time.Time{}
	}
	return c.heard.Add(c.patience)
}

// park waits to be woken. A device that we do not listen to is not silent.
func (c *conn) park() {
	c.Park(time.Time{})
	c.heard = time.Now()
}

// Ready reports whether the device may publish: not before the will that its client left is published.
func (c *conn) Ready() bool { return c.session.MayPublish() }

// Room has the session deliver again.
func (c *conn) Room() { c.session.Resume() }

// Stop ends the connection for a reason that wire has.
func (c *conn) Stop(err error) { c.stop(why(err)) }

// stop ends the connection from outside. The first reason counts. Any goroutine; never blocks. Nothing is acknowledged
// after it.
func (c *conn) stop(e *ending) {
	c.Lock()
	c.Shut()
	c.Unlock()
	c.stopShut(e)
}

// stopShut is stop for who has called Shut.
func (c *conn) stopShut(e *ending) {
	if c.stopped.CompareAndSwap(nil, e) {
		c.Wake()
	}
}

// settledAll reports whether all that was handed to the sink is settled, and acknowledged if it is to be.
func (c *conn) settledAll() bool {
	c.Lock()
	defer c.Unlock()
	return c.inFlight.Load() == 0
}

// digest takes the whole packets off what was read. What they cause to be written leaves in one write at the end.
func (c *conn) digest() error {
	in := c.Input()
	w := in.Scratch.(*work)
	w.now = time.Now()
	c.Worked()
	c.Hold()
	defer c.Release()
	packets := uint64(0)
	defer func() { c.l.stats.PacketsIn.Add(packets) }()
	if left := in.Unread(); c.session == nil && len(left) > 0 && left[0] != byte(packet.CONNECT)<<4 {
		return endNotMQTT // before waiting for the rest of what somebody took for another protocol
	}
	for !c.full() && !c.l.server.Draining() && c.stopped.Load() == nil {
		raw, n, need, err := packet.Cut(in.Unread(), c.longest())
		if err != nil {
			return err
		}
		c.Need = need
		if n == 0 {
			c.Undigested = false
			return nil
		}
		whole := in.Unread()[:n]
		in.Consume(n)
		packets++
		c.Need, c.heard = 0, w.now
		if err := c.handle(w, raw, whole); err != nil {
			return err
		}
	}
	c.Undigested = true
	return nil
}

// maxConnect is how long a CONNECT packet may be: five strings as long as they can be, and room for properties.
const maxConnect = 384 << 10

// longest returns the size of the longest packet that the device may send now. Before we know who it is, that is no more
// than a CONNECT needs.
func (c *conn) longest() int {
	if c.session == nil {
		return min(maxConnect, c.l.cfg.MaxPacketSize)
	}
	return c.l.cfg.MaxPacketSize
}

// handle does what one packet asks for. Messages that cannot be handed on wait in the backlog; everything else is
// answered meanwhile (P6).
func (c *conn) handle(w *work, raw packet.Raw, whole []byte) error {
	if c.session == nil {
		return c.connect(w, raw)
	}
	switch raw.Type() {
	case packet.PUBLISH:
		if len(c.backlog) == 0 {
			if done, err := c.published(w, raw); done || err != nil {
				return err
			}
		}
		c.keep(whole)
		return nil
	case packet.DISCONNECT:
		return c.disconnected(raw)
	case packet.PUBREL:
		if len(c.backlog) > 0 {
			c.keep(whole)
			return nil
		}
		return c.acknowledged(w, raw)
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
		return c.acknowledged(w, raw)
	case packet.SUBSCRIBE:
		return c.subscribe(w, raw)
	case packet.UNSUBSCRIBE:
		return c.unsubscribe(w, raw)
	case packet.PINGREQ:
		return c.pinged(raw)
	case packet.CONNECT:
		return &ending{reason: packet.ProtocolError, text: "second CONNECT [MQTT-3.1.0-2]"}
	case packet.AUTH:
		return &ending{reason: packet.ProtocolError, text: "AUTH without an authentication method [MQTT-4.12.0-7]"}
	}
	return &ending{reason: packet.ProtocolError, text: raw.Type().String() + " from a client"}
}

func (c *conn) pinged(raw packet.Raw) error {
	if err := packet.DecodePing(c.version, raw); err != nil {
		return err
	}
	if b := c.Open(); b != nil { // [MQTT-3.12.4-1]
		b.B = packet.AppendPing(b.B, packet.PINGRESP)
		c.Added(1)
	}
	return nil
}

// goodbye returns the end that the device asks for with a DISCONNECT.
func (c *conn) goodbye(raw packet.Raw) (*ending, error) {
	var d packet.Disconnect
	if err := d.Decode(c.version, raw); err != nil {
		return nil, err
	}
	if d.Properties.Has(packet.SessionExpiry) && d.Properties.SessionExpiry != 0 && !c.sessionExpires { // [MQTT-3.14.2-2]
		return nil, &ending{reason: packet.ProtocolError, text: "DISCONNECT prolongs a session that CONNECT said ends"}
	}
	noWill := d.Reason == packet.Success // [MQTT-3.1.2-10]
	return &ending{reason: packet.Success, text: "DISCONNECT " + d.Reason.String(), quiet: true, noWill: noWill}, nil
}

// disconnected ends the connection as the device asks. Behind messages that wait, the end does too; but what it says of
// the will holds at once, however the connection ends [MQTT-3.14.4-3].
func (c *conn) disconnected(raw packet.Raw) error {
	e, err := c.goodbye(raw)
	if err != nil {
		return err
	}
	if len(c.backlog) == 0 {
		return e
	}
	if e.noWill {
		c.session.DropWill()
	}
	c.over = e
	in := c.Input()
	in.Consume(len(in.Unread())) // nothing comes after it
	return nil
}

// Close says why, where the protocol can, and ends the connection.
func (c *conn) Close(err error) {
	e := why(err)
	if c.session != nil {
		silent := e == endStopping && c.l.registry.SilentShutdown()
		c.session.Close(!e.noWill && !silent) // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
		c.l.stats.Sessions.Add(-1)
	}
	c.count(e)
	c.dropBacklog()
	c.l.server.Pressure().Forget(c)
	bye := wire.Farewell{Linger: !e.quiet, Code: e.closeCode}
	if bye.Code == 0 {
		bye.Code = ws.StatusNormalClosure
		if e.reason == packet.ServerShuttingDown {
			bye.Code = ws.StatusGoingAway
		}
	}
	bye.Goodbye = func(b []byte) []byte { return c.appendGoodbye(b, e) }
	c.Finish(bye)
}

// appendGoodbye adds the CONNACK or DISCONNECT that names the reason, if there is one to be sent.
func (c *conn) appendGoodbye(b []byte, e *ending) []byte {
	switch {
	case e.quiet || c.version == 0:
		return b
	case !c.accepted: // [MQTT-3.2.0-1]
		return c.appendRefusal(b, e)
	case c.version < packet.V5:
		return b
	}
	d := packet.Disconnect{Reason: e.reason}
	c.say(&d.Properties, e.text)
	whole := d.Append(b, c.version)
	if !c.fits(len(whole) - len(b)) { // [MQTT-3.14.2-3]
		d.Properties.Reset()
		whole = d.Append(b, c.version)
	}
	return whole
}

// count counts and logs the end of the connection.
func (c *conn) count(e *ending) {
	s := &c.l.stats
	switch {
	case c.session == nil && c.version == 0:
		s.Failed.Add(1)
	case !c.accepted:
		s.refused(e.reason)
	case e == endGone:
		s.Gone.Add(1)
	default:
		s.ended(e.reason)
	}
	c.l.log.Debug("connection ended", "client", c.client, "remote", c.RemoteAddr(), "reason", e)
}
