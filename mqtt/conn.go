package mqtt

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/websocket"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// A conn is one device's connection. One goroutine, its reader, reads, decodes and hands on; everything here that does
// not say otherwise is the reader's. Others add to out, settle the window, and wake the reader.
//
//	accept ─ open (TLS, WebSocket; a goroutine that ends) ─ serve: read ─ digest ─ publish ─ sink
//	                                                                                   │ done, any goroutine
//	                                        device ◄─ out ◄─ settled ◄─ window ◄───────┘
type conn struct {
	l    *Listener
	sock socket
	tls  *tls.Conn         // nil: none
	ws   *websocket.Reader // nil: none
	born time.Time

	work       *work  // while there is something to do
	rest       []byte // read and not digested, while there is not
	need       int    // size of the packet that rest begins with; 0: not known yet
	claimed    int    // bytes that the connection holds of a packet that is not whole yet
	undigested bool   // rest holds whole packets
	backlog    []byte // packets that wait for the sink
	worked     int    // of those, the bytes that are done
	over       *ending
	heard      time.Time     // of the last packet
	aliases    aliases       // of the device
	patience   time.Duration // between packets; 0: for ever
	turnedBack time.Duration // until it asks again: the sink had room, but not for the message at hand

	// From CONNECT, and not changed any more when session is set.

	version        packet.Version // 0: no CONNECT yet
	client         string
	username       string
	session        *session.Session // nil: not connected
	largest        int              // the largest packet that the device takes; 0: any
	aliasMaximum   uint16           // of what we send
	problemInfo    bool             // the device wants Reason Strings
	sessionExpires bool             // the device asked for a session that outlives the connection
	accepted       bool             // CONNACK was written

	window   *linkspan.Window[receipt]
	inFlight atomic.Int32        // opened in window and not settled; falls with out locked
	unsolved atomic.Int32        // QoS 2 messages between PUBREC and PUBREL; rises with out locked
	taking   map[uint16]struct{} // QoS 2 messages that the sink has and did not settle; of out's lock
	refused  []uint16            // QoS 2 messages that it refused, and that the session is yet to forget; of out's lock

	out out

	handing sync.Mutex // held while the sink is handed a message, of which stopped was nil

	stopped atomic.Pointer[ending]        // somebody else wants the connection to end
	parking atomic.Pointer[chan struct{}] // wakes a parked reader; nil: never parked
	blocked atomic.Bool                   // the window was full
	stack   atomic.Int32                  // of the reader: small, grown, unused, abandoned
}

// past is a deadline that has passed: setting it wakes who waits.
var past = time.Unix(1, 0)

// lingering bounds how long a connection that is told why it ends stays open to hear it.
const lingering = 2 * time.Second

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// open does the handshakes. It has a goroutine of its own so that the stack they need is gone when the connection lives on.
func (c *conn) open() {
	_ = c.sock.SetDeadline(c.born.Add(c.l.cfg.ConnectTimeout))
	if c.l.draining.Load() { // and perhaps the wake was before the deadline
		c.wake()
	}
	var err error
	var rw io.ReadWriter = c.sock.Conn
	var under *underTLS
	if c.l.tls != nil {
		under, err = c.handshakeTLS()
		rw = c.tls
	}
	if err == nil && c.l.address.WebSocket {
		err = c.upgrade(rw)
	}
	if err != nil {
		c.l.stats.Failed.Add(1)
		c.l.log.Debug("connection not established", "remote", c.sock.RemoteAddr(), "err", err)
		_ = c.sock.Close()
		c.l.forget(c)
		return
	}
	if under != nil {
		under.live = true
	}
	_ = c.sock.SetDeadline(time.Time{})
	_ = c.sock.SetReadDeadline(c.limit())
	c.l.running.Go(c.serve)
}

// serve is the reader. It moves on to a new goroutine now and then: see rest.go.
func (c *conn) serve() {
	for {
		e, err := c.poll()
		switch {
		case isTimeout(err):
			e = c.late()
		case err != nil:
			e = why(err)
		case e == nil:
			c.l.running.Go(c.serve)
			return
		}
		if e != nil {
			c.close(e)
			return
		}
	}
}

// run does what there is to do until the connection is to end, and returns why, or nil to go on with a fresh stack. The
// error says that there is nothing to read, or was not in time.
func (c *conn) run() (*ending, error) {
	for {
		if e := c.stopped.Load(); e != nil {
			return e, nil
		}
		if c.l.draining.Load() {
			if c.settledAll() {
				return endStopping, nil
			}
			c.park()
			continue
		}
		if err := c.workOff(); err != nil {
			return why(err), nil
		}
		if c.over != nil && len(c.backlog) == 0 && !c.undigested {
			return c.over, nil
		}
		if !c.mayRead() {
			c.park()
			continue
		}
		if c.stack.CompareAndSwap(abandoned, small) {
			c.end()
			return nil, nil
		}
		if !c.undigested {
			if err := c.receive(); err != nil {
				switch {
				case err == errWouldBlock || isTimeout(err):
					return nil, err
				case !errors.Is(err, io.EOF):
					return why(err), nil
				}
				c.over = endGone // behind what was read before
			}
		}
		if err := c.digest(); err != nil {
			return why(err), nil
		}
	}
}

// late is for a read deadline that has passed. It sets the next one: nothing is written down per packet but the time, and
// the deadline follows only when it fires. Whoever wakes the reader sets it to the past; so setting it comes before
// looking at what they want.
func (c *conn) late() *ending {
	limit := c.limit()
	if !limit.IsZero() && !time.Now().Before(limit) {
		if c.session == nil {
			return endNoConnect
		}
		return endSilent // [MQTT-3.1.2-22]
	}
	_ = c.sock.SetReadDeadline(limit)
	return nil
}

// limit returns by when the next packet has to be there; zero: never.
func (c *conn) limit() time.Time {
	switch {
	case c.session == nil:
		return c.born.Add(c.l.cfg.ConnectTimeout)
	case c.patience == 0:
		return time.Time{}
	}
	return c.heard.Add(c.patience)
}

// wake has the reader look around, from wherever it waits. Any goroutine; never blocks.
func (c *conn) wake() {
	if p := c.parking.Load(); p != nil {
		select {
		case *p <- struct{}{}:
		default:
		}
	}
	_ = c.sock.SetReadDeadline(past)
}

// park waits for wake without reading. A device that we do not listen to is not silent.
func (c *conn) park() {
	c.end()
	p := c.parking.Load()
	if p == nil {
		ch := make(chan struct{}, 1)
		c.parking.Store(&ch)
		return // whoever came before the channel was there has changed what the reader looks at
	}
	<-*p
	c.heard = time.Now()
}

// stop ends the connection from outside. The first reason counts. Any goroutine; never blocks. Nothing is acknowledged
// after it.
func (c *conn) stop(e *ending) {
	c.out.mu.Lock()
	c.out.shut = true
	c.out.mu.Unlock()
	c.stopLocked(e)
}

// stopLocked is stop for who has set out.shut.
func (c *conn) stopLocked(e *ending) {
	if c.stopped.CompareAndSwap(nil, e) {
		c.wake()
	}
}

// settledAll reports whether all that was handed to the sink is settled, and acknowledged if it is to be.
func (c *conn) settledAll() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.inFlight.Load() == 0
}

// readPlain reads what is there of MQTT.
func (c *conn) readPlain(p []byte) (int, error) {
	if c.ws != nil {
		return c.readWS(p)
	}
	return c.readStream(p)
}

// readStream reads what is there of the byte stream that carries MQTT or WebSocket.
func (c *conn) readStream(p []byte) (int, error) {
	if c.tls != nil {
		return c.readTLS(p)
	}
	return c.sock.readNow(p)
}

// digest takes the whole packets off what was read. What they cause to be written leaves in one write at the end.
func (c *conn) digest() error {
	w := c.begin()
	w.now = time.Now()
	c.stack.Store(grown)
	c.hold()
	defer c.release()
	from, packets := w.r, uint64(0)
	defer func() {
		c.l.stats.PacketsIn.Add(packets)
		c.l.stats.BytesIn.Add(uint64(w.r - from))
	}()
	if left := w.unread(); c.session == nil && len(left) > 0 && left[0] != byte(packet.CONNECT)<<4 {
		return endNotMQTT // before waiting for the rest of what somebody took for another protocol
	}
	for !c.full() && !c.l.draining.Load() && c.stopped.Load() == nil {
		raw, n, need, err := packet.Cut(w.unread(), c.longest())
		if err != nil {
			return err
		}
		c.need = need
		if n == 0 {
			c.undigested = false
			return nil
		}
		whole := w.unread()[:n]
		w.r += n
		packets++
		c.need, c.heard = 0, w.now
		if err := c.handle(w, raw, whole); err != nil {
			return err
		}
	}
	c.undigested = true
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
		return c.disconnected(w, raw)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
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
	if b := c.out.open(); b != nil { // [MQTT-3.12.4-1]
		b.b = packet.AppendPing(b.b, packet.PINGRESP)
		c.added(1)
	}
	return nil
}

// disconnected returns the end that the device asks for. Behind messages that wait, the end does too; but what it says of
// the will holds at once, however the connection ends [MQTT-3.14.4-3].
func (c *conn) disconnected(w *work, raw packet.Raw) error {
	var d packet.Disconnect
	if err := d.Decode(c.version, raw); err != nil {
		return err
	}
	if d.Properties.Has(packet.SessionExpiry) && d.Properties.SessionExpiry != 0 && !c.sessionExpires { // [MQTT-3.14.2-2]
		return &ending{reason: packet.ProtocolError, text: "DISCONNECT prolongs a session that CONNECT said ends"}
	}
	noWill := d.Reason == packet.Success // [MQTT-3.1.2-10]
	e := &ending{reason: packet.Success, text: "DISCONNECT " + d.Reason.String(), quiet: true, noWill: noWill}
	if len(c.backlog) == 0 {
		return e
	}
	if noWill {
		c.session.DropWill()
	}
	c.over, w.r = e, w.w // nothing comes after it
	return nil
}

// close says why, where the protocol can, and ends the connection.
func (c *conn) close(e *ending) {
	if c.session != nil {
		silent := e == endStopping && c.l.registry.SilentShutdown()
		c.session.Close(!e.noWill && !silent) // [MQTT-3.1.2-8], [MQTT-3.14.4-3]
		c.l.stats.Sessions.Add(-1)
	}
	c.count(e)
	c.end()
	c.rest = nil
	c.claim(0)
	c.dropBacklog()
	c.l.pressure.forget(c)
	deadline := time.NewTimer(min(lingering, c.l.cfg.WriteTimeout))
	defer deadline.Stop()
	c.farewell(e)
	c.drain(deadline.C)
	if c.tls != nil {
		_ = c.tls.CloseWrite() // adds the alert to what waits
		c.drain(deadline.C)
	}
	if !e.quiet {
		c.linger()
	}
	_ = c.sock.Close()
	c.l.forget(c)
}

// farewell adds the last packet, and lets nothing come after it.
func (c *conn) farewell(e *ending) {
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut, o.held = true, false
	if o.plain == nil {
		o.plain = newBuffer()
	}
	if o.plain.b = c.appendGoodbye(o.plain.b, e); len(o.plain.b) == 0 {
		o.plain = nil
	}
	if c.ws != nil && !c.ws.Closed() {
		code := e.closeCode
		switch {
		case code != 0:
		case e.reason == packet.ServerShuttingDown:
			code = ws.StatusGoingAway
		default:
			code = ws.StatusNormalClosure
		}
		o.control = websocket.Server.AppendClose(o.control, code)
	}
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

// linger waits until the device has closed its side, or a moment. A socket that is closed with unread bytes in it takes
// back what was written last.
func (c *conn) linger() {
	if t, ok := c.sock.Conn.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
	_ = c.sock.SetReadDeadline(time.Now().Add(lingering))
	b := newBuffer()
	defer b.free()
	for read := 0; read < 1<<20; {
		n, err := c.sock.Read(b.b[:cap(b.b)])
		if err != nil {
			return
		}
		read += n
	}
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
	c.l.log.Debug("connection ended", "client", c.client, "remote", c.sock.RemoteAddr(), "reason", e)
}
