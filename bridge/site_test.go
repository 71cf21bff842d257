package bridge

import (
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A site is an MQTT broker for tests, with sessions that outlive their connections. It grants QoS 1 at most, and has no retained
// messages.
type site struct {
	t     *testing.T
	ln    net.Listener
	up    packet.Version // the highest version that it speaks
	conns sync.WaitGroup

	mu       sync.Mutex
	sessions map[string]*siteSession
	heard    []heard           // what clients have published, in order
	thrown   int               // connections ended since the same client connected again
	refuse   string            // topic that nobody may publish to; "": none
	onward   map[string]string // topics that a device of the site passes on, to which
}

// heard is a message that a client has published.
type heard struct{ client, topic, payload string }

// A siteSession is what the site knows of a client.
type siteSession struct {
	id       string
	conn     net.Conn // nil: away
	version  packet.Version
	username string
	subs     []packet.Subscription
	taken    int               // out of shared subscriptions
	queue    []*packet.Publish // not acknowledged, in order
	sent     int               // of these, on this connection
	next     uint16
}

const siteWindow = 20 // as Mosquitto has it

func newSite(t *testing.T, up packet.Version) *site {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, ln: ln, up: up, sessions: map[string]*siteSession{}}
	s.conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		s.mu.Lock()
		for _, c := range s.sessions {
			if c.conn != nil {
				c.conn.Close()
			}
		}
		s.mu.Unlock()
		s.conns.Wait()
	})
	return s
}

func (s *site) url() string { return "mqtt://" + s.ln.Addr().String() }

// serve reads one connection.
func (s *site) serve(conn net.Conn) {
	defer conn.Close()
	var buf []byte
	var me *siteSession
	for {
		r, n, _, err := packet.Cut(buf, 0)
		if err != nil {
			s.t.Errorf("the site got what is no MQTT: %v", err)
			break
		}
		if n > 0 {
			next := s.handle(conn, me, r)
			if next == nil {
				break
			}
			me, buf = next, buf[n:]
			continue
		}
		more := make([]byte, 4096)
		k, err := conn.Read(more)
		if err != nil {
			break
		}
		buf = append(buf, more[:k]...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if me != nil && me.conn == conn {
		me.conn = nil
	}
}

// handle does what a packet asks for, and returns the session; nil ends the connection.
func (s *site) handle(conn net.Conn, me *siteSession, r packet.Raw) *siteSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	if me == nil {
		return s.connect(conn, r)
	}
	if me.conn != conn {
		return nil // taken over
	}
	switch r.Type() {
	case packet.PUBLISH:
		var p packet.Publish
		s.must(p.Decode(me.version, r))
		return s.published(me, &p)
	case packet.SUBSCRIBE:
		var p packet.Subscribe
		s.must(p.Decode(me.version, r))
		ack := packet.Suback{PacketID: p.PacketID}
		for _, f := range p.Filters {
			f.Filter, f.QoS = strings.Clone(f.Filter), min(f.QoS, 1)
			me.subs = append(slices.DeleteFunc(me.subs, func(o packet.Subscription) bool { return o.Filter == f.Filter }), f)
			ack.Reasons = append(ack.Reasons, packet.Reason(f.QoS))
		}
		me.write(&ack)
	case packet.UNSUBSCRIBE:
		var p packet.Unsubscribe
		s.must(p.Decode(me.version, r))
		ack := packet.Unsuback{PacketID: p.PacketID}
		for _, f := range p.Filters {
			me.subs = slices.DeleteFunc(me.subs, func(o packet.Subscription) bool { return o.Filter == f })
			ack.Reasons = append(ack.Reasons, packet.Success)
		}
		me.write(&ack)
	case packet.PINGREQ:
		me.writeBytes(packet.AppendPing(nil, packet.PINGRESP))
	case packet.PUBACK:
		var a packet.Ack
		s.must(a.Decode(me.version, r))
		if i := slices.IndexFunc(me.queue, func(p *packet.Publish) bool { return p.PacketID == a.PacketID }); i >= 0 && i < me.sent {
			me.queue = slices.Delete(me.queue, i, i+1)
			me.sent--
			me.pump()
		}
	case packet.PUBREL:
		var a packet.Ack
		s.must(a.Decode(me.version, r))
		me.write(&packet.Ack{Type: packet.PUBCOMP, PacketID: a.PacketID})
	case packet.DISCONNECT:
		return nil
	}
	return me
}

func (s *site) must(err error) {
	if err != nil {
		s.t.Errorf("the site got %v", err)
	}
}

func (s *site) connect(conn net.Conn, r packet.Raw) *siteSession {
	var p packet.Connect
	if err := p.Decode(r); err != nil {
		s.t.Errorf("the site got %v", err)
		return nil
	}
	if p.Version > s.up {
		_, _ = conn.Write((&packet.Connack{Reason: packet.UnsupportedProtocolVersion}).Append(nil, p.Version))
		return nil
	}
	id := strings.Clone(p.ClientID)
	me := s.sessions[id]
	if me != nil && me.conn != nil {
		me.conn.Close() // takeover
		me.conn = nil
		s.thrown++
	}
	present := me != nil && !p.CleanStart
	if !present {
		me = &siteSession{id: id}
		s.sessions[id] = me
	}
	me.conn, me.version, me.username, me.sent = conn, p.Version, strings.Clone(p.Username), 0
	ack := packet.Connack{SessionPresent: present}
	if p.Version == packet.V5 {
		ack.Properties.ReceiveMaximum = siteWindow
		ack.Properties.Set(packet.ReceiveMaximum)
	}
	me.write(&ack)
	me.pump()
	return me
}

// published takes a message of a client.
func (s *site) published(me *siteSession, p *packet.Publish) *siteSession {
	reason := packet.Success
	if p.Topic == s.refuse {
		if reason = packet.NotAuthorized; me.version != packet.V5 {
			return nil
		}
	}
	switch p.QoS {
	case 1:
		me.write(&packet.Ack{Type: packet.PUBACK, PacketID: p.PacketID, Reason: reason})
	case 2:
		me.write(&packet.Ack{Type: packet.PUBREC, PacketID: p.PacketID, Reason: reason})
	}
	if reason == packet.Success {
		s.heard = append(s.heard, heard{me.id, strings.Clone(p.Topic), string(p.Payload)})
		s.fanOut(me.id, p)
		if to, ok := s.onward[p.Topic]; ok {
			again := *p
			again.Topic = to
			s.fanOut("", &again)
		}
	}
	return me
}

// fanOut queues a message for all who want it.
func (s *site) fanOut(from string, p *packet.Publish) {
	for _, c := range s.sessions {
		qos, wanted := byte(0), false
		for _, sub := range c.subs {
			if strings.HasPrefix(sub.Filter, "$share/") {
				continue
			}
			if matches(sub.Filter, p.Topic) && (!sub.NoLocal || c.id != from) {
				qos, wanted = max(qos, min(sub.QoS, p.QoS)), true
			}
		}
		if wanted {
			c.send(p, qos)
		}
	}
	s.share(p)
}

// share gives a message to one session of each shared subscription: the one with the least to do of those that are connected.
func (s *site) share(p *packet.Publish) {
	chosen := map[string]*siteSession{}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		c := s.sessions[id]
		for _, sub := range c.subs {
			parts := strings.SplitN(sub.Filter, "/", 3)
			if parts[0] != "$share" || !matches(parts[2], p.Topic) {
				continue
			}
			better := chosen[sub.Filter]
			if better == nil || c.conn != nil && (better.conn == nil || len(c.queue)+c.taken < len(better.queue)+better.taken) {
				chosen[sub.Filter] = c
			}
		}
	}
	for _, c := range chosen {
		c.taken++
		c.send(p, min(p.QoS, 1))
	}
}

// send queues a message for a session.
func (c *siteSession) send(p *packet.Publish, qos byte) {
	if qos == 0 && c.conn == nil {
		return
	}
	copied := &packet.Publish{Topic: strings.Clone(p.Topic), Payload: slices.Clone(p.Payload), QoS: qos}
	for k, v := range p.Properties.UserProperties() {
		copied.Properties.AddUserProperty(strings.Clone(k), strings.Clone(v))
	}
	if qos == 0 {
		c.write(copied)
		return
	}
	c.next = c.next%60000 + 1
	copied.PacketID = c.next
	c.queue = append(c.queue, copied)
	c.pump()
}

// pump sends what the window has room for.
func (c *siteSession) pump() {
	for c.conn != nil && c.sent < min(len(c.queue), siteWindow) {
		p := c.queue[c.sent]
		c.sent++
		c.write(p)
		p.Dup = true // the next time
	}
}

func (c *siteSession) write(p mqtttest.Packet) { c.writeBytes(p.Append(nil, c.version)) }

func (c *siteSession) writeBytes(b []byte) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(mqtttest.Patience))
	_, _ = c.conn.Write(b) // whoever reads the connection sees that it is gone
}

// publish is what a device of the site publishes with QoS 1. It is acknowledged when this returns.
func (s *site) publish(topic, payload string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fanOut("", &packet.Publish{Topic: topic, Payload: []byte(payload), QoS: 1})
}

// payloads returns what clients have published on a topic.
func (s *site) payloads(topic string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.heard {
		if h.topic == topic {
			all = append(all, h.payload)
		}
	}
	return all
}

// waiting returns how many messages a session has to acknowledge, -1 if there is no such session, and whether it is connected.
func (s *site) waiting(id string) (n int, connected bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.sessions[id]
	if c == nil || len(c.subs) == 0 {
		return -1, false
	}
	return len(c.queue), c.conn != nil
}

// owner waits until a session is connected, and returns the user name that it is connected with.
func (s *site) owner(id string) string {
	s.connected(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[id].username
}

func (s *site) takeovers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.thrown
}

// matches reports whether a filter matches a topic.
func matches(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, level := range f {
		switch {
		case level == "#":
			return true
		case i >= len(t) || level != "+" && level != t[i]:
			return false
		}
	}
	return len(f) == len(t)
}
