package mqtt

import (
	"crypto/rand"
	"crypto/tls"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/session"
)

// A Login is what a device says about itself, for [ListenerConfig].Authenticate.
type Login struct {
	ClientID    string // "": the listener will assign one
	HasUsername bool
	Username    string
	Password    []byte // nil: none; valid during the call
	Version     packet.Version
	Remote      net.Addr
	TLS         *tls.ConnectionState // nil without TLS
}

// connect is for the first packet, which must be a CONNECT [MQTT-3.1.0-1].
func (c *conn) connect(w *work, raw packet.Raw) error {
	if raw.Type() != packet.CONNECT {
		return endNotMQTT
	}
	var p packet.Connect
	err := p.Decode(raw)
	c.version = p.Version
	c.problemInfo = c.version == packet.V5 && (!p.Properties.Has(packet.RequestProblemInfo) || p.Properties.RequestProblemInfo)
	if p.Properties.Has(packet.MaximumPacketSize) {
		c.largest = int32(min(p.Properties.MaximumPacketSize, math.MaxInt32))
	}
	if err != nil {
		return err
	}
	assigned, err := c.admit(&p)
	if err != nil {
		return err
	}
	c.aliasMaximum = min(p.Properties.TopicAliasMaximum, c.l.cfg.TopicAliasMaximum)
	c.sessionExpires = p.Properties.SessionExpiry > 0
	keepAlive := c.keepAlive(&p)
	c.patience = keepAlive * 3 / 2 // [MQTT-3.1.2-22]
	c.window = linkspan.NewWindow(int(c.l.cfg.ReceiveMaximum), &c.l.slots, c.settled)

	ack := packet.Connack{}
	if c.version == packet.V5 {
		c.announce(&ack.Properties, &p, assigned, keepAlive)
		if !c.fits(len(ack.Append(nil, c.version))) { // [MQTT-3.1.2-24]; what comes after it fits, too, without its words
			return &ending{reason: packet.PacketTooLarge, text: "the device does not take the CONNACK"}
		}
	}

	req := session.ConnectRequest{ClientID: c.client, Endpoint: c.l.cfg.Name,
		ReceiveMaximum: p.Properties.ReceiveMaximum, Conn: (*device)(c)}
	if p.Will != nil {
		var ok bool
		if req.Will, ok = c.will(w, p.Will); !ok {
			return &ending{reason: packet.QuotaExceeded, text: "the will has more user properties than a message may have"}
		}
		c.willed = true
		req.WillExpiry = time.Duration(p.Will.Properties.MessageExpiry) * time.Second
	}
	c.session = c.l.registry.Connect(req)
	c.l.stats.Sessions.Add(1)
	c.SetReadDeadline(c.limit())
	c.Abandon() // CONNECT needs more than what may follow for hours

	if b := c.Open(); b != nil { // else the session has ended already
		b.B = ack.Append(b.B, c.version) // [MQTT-3.2.0-1]
		c.Added(1)
		c.accepted = true
	}
	return nil
}

// admit decides who the device is, and whether it may come in.
func (c *conn) admit(p *packet.Connect) (assigned bool, err error) {
	if p.Properties.Has(packet.AuthMethod) {
		return false, &ending{reason: packet.BadAuthenticationMethod} // [MQTT-4.12.0-1]
	}
	if p.ClientID == "" && (p.Version == packet.V31 || p.Version == packet.V311 && !p.CleanStart) { // [MQTT-3.1.3-8 of 3.1.1]
		return false, &ending{reason: packet.ClientIdentifierNotValid}
	}
	if c.l.cfg.Authenticate != nil {
		login := Login{ClientID: p.ClientID, HasUsername: p.HasUsername, Username: p.Username,
			Version: p.Version, Remote: c.RemoteAddr(), TLS: c.TLS()}
		if p.HasPassword {
			login.Password = p.Password
		}
		if reason := c.l.cfg.Authenticate(&login); reason != packet.Success {
			return false, &ending{reason: reason}
		}
	}
	c.client, c.username = strings.Clone(p.ClientID), strings.Clone(p.Username)
	if c.client == "" {
		c.client, assigned = "linkspan-"+rand.Text(), true // [MQTT-3.1.3-6], [MQTT-3.1.3-7]
	}
	return assigned, nil
}

// keepAlive returns the keep-alive that holds, 0 for none.
func (c *conn) keepAlive(p *packet.Connect) time.Duration {
	asked, most := time.Duration(p.KeepAlive)*time.Second, c.l.cfg.MaxKeepAlive.Truncate(time.Second)
	if most > 0 && (asked == 0 || asked > most) {
		return most
	}
	return asked
}

// will returns the message to be published for a device that is gone. ok is false if it has too many user properties.
func (c *conn) will(w *work, p *packet.Will) (_ *linkspan.Message, ok bool) {
	var m linkspan.Message
	m.Reset()
	m.Topic, m.Payload, m.QoS, m.Retain = p.Topic, p.Payload, p.QoS, p.Retain
	m.Endpoint, m.Client, m.Username, m.Received, m.Mute = c.l.cfg.Name, c.client, c.username, w.now, true
	ok = envelope.Read(&m, &p.Properties, c.l.cfg.MaxUserProperties)
	return m.Clone(), ok
}

// announce says what holds and is not what MQTT 5 takes for granted.
func (c *conn) announce(a *packet.Properties, p *packet.Connect, assigned bool, keepAlive time.Duration) {
	cfg := &c.l.cfg
	if assigned { // [MQTT-3.2.2-16]
		a.AssignedClientID = c.client
		a.Set(packet.AssignedClientID)
	}
	if asked := time.Duration(p.KeepAlive) * time.Second; keepAlive != asked { // [MQTT-3.2.2-21]
		a.ServerKeepAlive = uint16(keepAlive / time.Second)
		a.Set(packet.ServerKeepAlive)
	}
	if c.sessionExpires { // sessions end with their connection
		a.SessionExpiry = 0
		a.Set(packet.SessionExpiry)
	}
	if cfg.ReceiveMaximum < math.MaxUint16 {
		a.ReceiveMaximum = cfg.ReceiveMaximum
		a.Set(packet.ReceiveMaximum)
	}
	if cfg.MaxPacketSize < packet.MaxSize {
		a.MaximumPacketSize = uint32(cfg.MaxPacketSize)
		a.Set(packet.MaximumPacketSize)
	}
	if cfg.TopicAliasMaximum > 0 {
		a.TopicAliasMaximum = cfg.TopicAliasMaximum
		a.Set(packet.TopicAliasMaximum)
	}
	a.SharedAvailable = false
	a.Set(packet.SharedAvailable)
}

// speakable are the refusals that MQTT 3 has a return code for; others just close the connection.
var speakable = []packet.Reason{packet.UnsupportedProtocolVersion, packet.ClientIdentifierNotValid, packet.ServerUnavailable,
	packet.BadUsernameOrPassword, packet.NotAuthorized, packet.Banned, packet.ServerBusy}

// appendRefusal adds the CONNACK that says why not.
func (c *conn) appendRefusal(b []byte, e *ending) []byte {
	ack := packet.Connack{Reason: e.reason}
	if e.reason == packet.ServerShuttingDown || e.reason == packet.SessionTakenOver { // words of DISCONNECT alone
		ack.Reason = packet.ServerUnavailable
	}
	if c.version < packet.V5 && !slices.Contains(speakable, ack.Reason) {
		return b
	}
	c.say(&ack.Properties, e.text)
	whole := ack.Append(b, c.version)
	if !c.fits(len(whole) - len(b)) { // [MQTT-3.2.2-19]
		ack.Properties.Reset()
		whole = ack.Append(b, c.version)
	}
	if !c.fits(len(whole) - len(b)) {
		return b
	}
	return whole
}

// say adds the Reason String, if there is one and the device wants it [MQTT-3.1.2-29].
func (c *conn) say(a *packet.Properties, text string) {
	if text != "" && c.problemInfo {
		a.ReasonString = text
		a.Set(packet.ReasonString)
	}
}

// fits reports whether the device takes packets of n bytes [MQTT-3.1.2-24].
func (c *conn) fits(n int) bool { return c.largest == 0 || n <= int(c.largest) }
