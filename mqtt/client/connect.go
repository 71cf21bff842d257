package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"time"

	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// connect tries the broker's addresses in turn, each with the versions that are left to try, and returns the first connection.
func (w *worker) connect(ctx context.Context) (*conn, error) {
	targets, away := w.targets()
	var last error
	for range targets {
		t := targets[w.at%len(targets)]
		c, err := w.connectTo(ctx, t)
		if err == nil {
			return c, nil
		}
		last = err
		w.at++
		if ctx.Err() != nil {
			break
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.elsewhere == away { // nobody is there: back to where we came from
		w.elsewhere = nil
	}
	return nil, last
}

// targets returns where to connect to: where the broker has sent us, which is away then, or what is configured.
func (w *worker) targets() (all []dial.Target, away *dial.Target) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if away = w.elsewhere; away == nil {
		return w.c.targets, nil
	}
	if !w.moved {
		w.elsewhere = nil // once
	}
	return []dial.Target{*away}, away
}

// redirect is for a broker that names another [MQTT 4.11].
func (w *worker) redirect(r packet.Reason, reference string, from dial.Target) {
	w.log.Warn("the broker sends us elsewhere", "reason", r.String(), "server_reference", reference, "follow", w.c.cfg.FollowRedirect)
	if !w.c.cfg.FollowRedirect || r != packet.UseAnotherServer && r != packet.ServerMoved {
		return
	}
	fields := strings.Fields(reference)
	if len(fields) == 0 {
		return
	}
	scheme, _, _ := strings.Cut(from.Text, "://")
	t, err := dial.Parse(address.MQTT(), scheme+"://"+fields[0]+from.Path)
	if err != nil {
		w.log.Warn("the broker's server reference is no address", "err", err)
		return
	}
	w.mu.Lock()
	w.elsewhere, w.moved = &t, r == packet.ServerMoved
	w.mu.Unlock()
}

// hangups is how many times in a row a broker that had taken our version before may hang up on our CONNECT before we hold
// that for a refusal of the version.
const hangups = 3

// connectTo finds the version that the broker takes. One that has been found is kept until it is refused.
func (w *worker) connectTo(ctx context.Context, t dial.Target) (*conn, error) {
	tries := versions[w.c.cfg.Version]
	if w.version != 0 {
		tries = []packet.Version{w.version}
	}
	var last error
	for _, v := range tries {
		c, err := w.open(ctx, t, v)
		if err == nil {
			w.version, w.hungUp = v, 0
			return c, nil
		}
		last = err
		switch refusal := versionRefused(err); {
		case refusal == yes:
			w.version = 0
		case refusal == perhaps && w.version != 0:
			if w.hungUp++; w.hungUp >= hangups {
				w.version, w.hungUp = 0, 0
			}
			return nil, err
		case refusal == no || ctx.Err() != nil:
			return nil, err
		}
	}
	return nil, last
}

type answer int

const (
	no answer = iota
	perhaps
	yes
)

// versionRefused reports whether an attempt failed for the version. Old brokers just hang up, or answer in their own format.
func versionRefused(err error) answer {
	var f *failure
	var p *packet.Error
	switch {
	case errors.As(err, &f) && f.told && f.reason == packet.UnsupportedProtocolVersion, errors.As(err, &p):
		return yes
	case errors.Is(err, errHungUp):
		return perhaps
	}
	return no
}

var errHungUp = errors.New("the other side hung up on CONNECT: no MQTT broker, one that wants TLS (mqtts), or one that does not take this version, or us")

// open makes one connection, up to the broker's CONNACK.
func (w *worker) open(ctx context.Context, t dial.Target, v packet.Version) (*conn, error) {
	bounded, cancel := context.WithTimeout(ctx, w.c.cfg.ConnectTimeout)
	defer cancel()
	nc, err := dial.Open(bounded, t, &w.c.cfg.TLS, subprotocol(v))
	if err != nil {
		return nil, unreached(err)
	}
	c := newConn(w, nc, t, v)
	deadline, _ := bounded.Deadline()
	_ = nc.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(dial.Past()) })
	err = c.introduce()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	return c, nil
}

// subprotocol is what a WebSocket has to carry [MQTT-6.0.0-3].
func subprotocol(v packet.Version) string {
	if v == packet.V31 {
		return "mqttv3.1"
	}
	return "mqtt"
}

// introduce sends CONNECT and takes CONNACK [MQTT 3.1], [MQTT 3.2].
func (c *conn) introduce() error {
	p := c.w.hello(c.version)
	if _, err := c.nc.Write(p.Append(nil)); err != nil {
		return why(err)
	}
	raw, err := c.first()
	if err != nil {
		return err
	}
	var ack packet.Connack
	if err := ack.Decode(c.version, raw); err != nil {
		return failedWith(CauseProtocol, err)
	}
	a := &ack.Properties
	if ack.Reason != packet.Success {
		if a.Has(packet.ServerReference) {
			c.w.redirect(ack.Reason, a.ServerReference, c.target)
		}
		return refusedConnect(ack.Reason, a.ReasonString)
	}
	if ack.SessionPresent && p.CleanStart { // [MQTT-3.2.2-4]
		return violation(packet.ProtocolError, "the broker has a session although we asked for a new one")
	}
	c.clean, c.present = p.CleanStart, ack.SessionPresent
	c.limits = limits(a, c.w.c.cfg.KeepAlive)
	if a.Has(packet.SessionExpiry) && a.SessionExpiry != p.Properties.SessionExpiry {
		c.w.log.Warn("the broker keeps the session for another time than asked for",
			"asked", c.w.c.cfg.SessionExpiry, "given", time.Duration(a.SessionExpiry)*time.Second)
	}
	return nil
}

// tlsAlert begins the answer of a TLS server to something else [RFC 8446 5.1].
const tlsAlert = 21

// first reads the first packet, which is a CONNACK from a broker [MQTT-3.2.0-1].
func (c *conn) first() (packet.Raw, error) {
	for {
		if c.n > c.r && c.in[c.r] == tlsAlert {
			return packet.Raw{}, failed(CauseProtocol, "the other side answers CONNECT in TLS: write mqtts:// or wss:// for its port, or use its port without TLS")
		}
		if c.n > c.r && c.in[c.r] != byte(packet.CONNACK)<<4 {
			return packet.Raw{}, failed(CauseProtocol, "the other side is no MQTT broker, or not at this address: it answers CONNECT with %q", c.in[c.r:min(c.n, c.r+16)])
		}
		raw, n, _, err := packet.Cut(c.in[c.r:c.n], c.w.c.cfg.MaxPacketSize)
		if err != nil {
			return raw, failedWith(CauseProtocol, err)
		}
		if n > 0 {
			c.r += n
			return raw, nil
		}
		m, err := c.nc.Read(c.space())
		c.n += m
		var alert tls.AlertError
		switch {
		case err == nil || m > 0:
		case errors.As(err, &alert): // TLS 1.3 refuses our certificate after the handshake
			return raw, failedWith(CauseTLS, err)
		case errors.Is(err, io.EOF), isReset(err):
			f := &failure{cause: CauseProtocol, remote: true, err: errHungUp}
			if c.target.TLS && c.w.c.cfg.TLS.Cert == "" { // its alert may be lost on the way
				f.err = fmt.Errorf("%w; perhaps it wants a client certificate (tls.cert)", errHungUp)
			}
			return raw, f
		default:
			return raw, why(err)
		}
	}
}

// isReset reports whether err is the end that a peer has made of a connection.
func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func failedWith(cause Cause, err error) *failure { return &failure{cause: cause, err: err} }

// hello returns our CONNECT.
func (w *worker) hello(v packet.Version) packet.Connect {
	cfg := &w.c.cfg
	p := packet.Connect{
		Version:     v,
		ClientID:    w.id,
		KeepAlive:   uint16(cfg.KeepAlive / time.Second),
		CleanStart:  cfg.SessionExpiry == 0 || w.clean,
		HasUsername: cfg.Username != "", Username: cfg.Username,
		HasPassword: cfg.Password != "", Password: []byte(string(cfg.Password)),
	}
	if cfg.Will.Topic != "" && w.n == 0 {
		p.Will = &packet.Will{Topic: cfg.Will.Topic, Payload: []byte(cfg.Will.Payload), QoS: cfg.Will.QoS, Retain: cfg.Will.Retain}
	}
	if v < packet.V5 {
		return p
	}
	a := &p.Properties
	a.ReceiveMaximum = cfg.ReceiveMaximum
	a.Set(packet.ReceiveMaximum)
	if cfg.SessionExpiry > 0 {
		a.SessionExpiry = uint32(min((cfg.SessionExpiry+time.Second-1)/time.Second, math.MaxUint32))
		a.Set(packet.SessionExpiry)
	}
	if cfg.MaxPacketSize > 0 {
		a.MaximumPacketSize = uint32(cfg.MaxPacketSize)
		a.Set(packet.MaximumPacketSize)
	}
	return p
}

// limits reads what a CONNACK says of the broker [MQTT 3.2.2.3]. keepAlive is what we asked for.
func limits(a *packet.Properties, keepAlive time.Duration) Limits {
	l := Limits{ReceiveMaximum: math.MaxUint16, MaximumQoS: 2, Retain: true, KeepAlive: keepAlive,
		Shared: true, Wildcards: true, SubscriptionIDs: true}
	if a.Has(packet.ReceiveMaximum) {
		l.ReceiveMaximum = a.ReceiveMaximum
	}
	if a.Has(packet.MaximumQoS) {
		l.MaximumQoS = a.MaximumQoS
	}
	if a.Has(packet.MaximumPacketSize) {
		l.MaxPacketSize = a.MaximumPacketSize
	}
	if a.Has(packet.ServerKeepAlive) { // [MQTT-3.2.2-21]
		l.KeepAlive = time.Duration(a.ServerKeepAlive) * time.Second
	}
	l.Retain = !a.Has(packet.RetainAvailable) || a.RetainAvailable
	l.Shared = !a.Has(packet.SharedAvailable) || a.SharedAvailable
	l.Wildcards = !a.Has(packet.WildcardAvailable) || a.WildcardAvailable
	l.SubscriptionIDs = !a.Has(packet.SubscriptionIDsAvailable) || a.SubscriptionIDsAvailable
	return l
}
