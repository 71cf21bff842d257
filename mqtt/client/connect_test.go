package client_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// UNS-A8: auto finds the highest version that the broker takes, whichever way it refuses the others, and stays with it.
func TestVersionAuto(t *testing.T) {
	refusals := map[string]func(p *peer){
		"hangs up":          func(p *peer) { _ = p.Conn.Close() },
		"resets":            func(p *peer) { _ = p.Conn.(*net.TCPConn).SetLinger(0); _ = p.Conn.Close() },
		"answers as MQTT 3": func(p *peer) { p.Write(0x20, 2, 0, 1); _ = p.Conn.Close() },
		"says so":           func(p *peer) { p.Send(&packet.Connack{Reason: packet.UnsupportedProtocolVersion}); _ = p.Conn.Close() },
	}
	for name, refuse := range refusals {
		for _, takes := range everyVersion {
			t.Run(name+" "+takes.String(), func(t *testing.T) {
				b := newBroker(t)
				r := start(t, "mqtt://"+b.addr, filters("a"))
				var tried string
				for {
					p := b.accept()
					tried += p.Version.String() + " "
					if p.Version == takes {
						p.Send(&packet.Connack{})
						p.subscribed()
						_ = p.Conn.Close()
						break
					}
					refuse(p)
				}
				if want := "5 3.1.1 3.1 "; !strings.HasPrefix(want, tried) {
					t.Errorf("tried %s", tried)
				}
				p := b.accept() // remembered
				if p.Version != takes {
					t.Errorf("then %v", p.Version)
				}
				if s := r.Status(); s.Version != takes.String() {
					t.Errorf("%+v", s)
				}
			})
		}
	}
}

// A broker that is exchanged for an older one is met anew.
func TestVersionRefusedLater(t *testing.T) {
	b := newBroker(t)
	start(t, "mqtt://"+b.addr)
	_ = b.welcome(packet.Connack{}).Conn.Close()
	p := b.accept()
	p.Send(&packet.Connack{Reason: packet.UnsupportedProtocolVersion})
	_ = p.Conn.Close()
	for p = b.accept(); p.Version == packet.V5; p = b.accept() {
		_ = p.Conn.Close()
	}
	if p.Version != packet.V311 {
		t.Errorf("%v", p.Version)
	}
}

// A broker of MQTT 3 has no word for that another client has taken our session: it is asked for when it looks like that.
func TestAnotherClientSuspected(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, version("3.1.1"))
	for n := range 3 {
		if s := r.Status(); strings.Contains(s.LastError, "client_id") {
			t.Errorf("after %d: %s", n, s.LastError)
		}
		_ = b.welcome(packet.Connack{}).Conn.Close()
	}
	mqtttest.Until(t, "it asks for another client", func() bool {
		return strings.Contains(r.Status().LastError, "does another client use client_id")
	})
}

// A refused login is said, and tried again: somebody may put it right.
func TestRefusedLogin(t *testing.T) {
	for _, v := range everyVersion {
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, version(v.String()), config(func(c *client.Config) {
			c.Username, c.Password = "u", "secret-word"
			c.Will = client.Will{Topic: "gone", Payload: "bye", QoS: 1, Retain: true}
		}))
		for range 3 {
			p := b.accept()
			if h := p.hello; h.Username != "u" || string(h.Password) != "secret-word" || h.Will == nil || h.Will.Topic != "gone" ||
				string(h.Will.Payload) != "bye" || h.Will.QoS != 1 || !h.Will.Retain || h.KeepAlive != 30 {
				t.Errorf("%+v", h)
			}
			p.Send(&packet.Connack{Reason: packet.BadUsernameOrPassword})
			_ = p.Conn.Close()
		}
		b.welcome(packet.Connack{})
		mqtttest.Until(t, "it is connected", func() bool { return r.Status().Connected })
		if n := r.Stats().Failures[client.CauseLogin].Load(); n != 3 {
			t.Errorf("%d failures", n)
		}
		if n := r.log.Count("level=WARN", "bad user name or password"); n != 1 {
			t.Errorf("%d warnings", n)
		}
		if n := r.log.Count("secret-word"); n != 0 {
			t.Error("the password is in the log")
		}
	}
}

// [MQTT-3.1.2-6], [MQTT 3.1.2.11.2]: clean_start drops the session once, session_expiry 0 keeps none.
func TestSessions(t *testing.T) {
	t.Run("5", func(t *testing.T) {
		b := newBroker(t)
		start(t, "mqtt://"+b.addr, config(func(c *client.Config) { c.CleanStart = true }))
		for i := range 2 {
			p := b.welcome(packet.Connack{})
			if h := p.hello; h.CleanStart != (i == 0) || h.Properties.SessionExpiry != 86400 || h.Properties.ReceiveMaximum != 1000 {
				t.Errorf("%+v", h)
			}
			_ = p.Conn.Close()
		}
	})
	t.Run("3.1.1", func(t *testing.T) { // a clean session would end with the connection
		b := newBroker(t)
		start(t, "mqtt://"+b.addr, version("3.1.1"), filters("a"), config(func(c *client.Config) { c.CleanStart = true }))
		p := b.welcome(packet.Connack{})
		if !p.hello.CleanStart {
			t.Errorf("%+v", p.hello)
		}
		p.Expect(packet.DISCONNECT, nil)
		if p = b.welcome(packet.Connack{}); p.hello.CleanStart {
			t.Errorf("%+v", p.hello)
		}
		p.subscribed()
	})
	t.Run("none", func(t *testing.T) {
		for _, v := range everyVersion {
			b := newBroker(t)
			start(t, "mqtt://"+b.addr, version(v.String()), config(func(c *client.Config) { c.SessionExpiry = 0 }))
			for range 2 {
				p := b.welcome(packet.Connack{})
				if h := p.hello; !h.CleanStart || h.Properties.Has(packet.SessionExpiry) {
					t.Errorf("%+v", h)
				}
				_ = p.Conn.Close()
			}
		}
	})
}

// UNS-A11: a broker that is down at the start is waited for; several addresses are tried in turn.
func TestBrokerDownAtStart(t *testing.T) {
	down := newBroker(t)
	_ = down.ln.Close()
	b := newBroker(t)
	r := start(t, "mqtt://"+down.addr)
	mqtttest.Until(t, "it has tried", func() bool { return r.Stats().Failures[client.CauseNetwork].Load() > 3 })
	if s := r.Status(); s.Connected || s.LastError == "" {
		t.Errorf("%+v", s)
	}
	ln, err := net.Listen("tcp", down.addr)
	if err != nil {
		t.Skip("somebody else has taken the port meanwhile") // see wiretest.Loopback
	}
	t.Cleanup(func() { _ = ln.Close() })
	down.ln = ln
	down.welcome(packet.Connack{})

	start(t, "mqtt://127.0.0.1:1", config(func(c *client.Config) { c.Dial = append(c.Dial, "mqtt://"+b.addr) }))
	_ = b.welcome(packet.Connack{}).Conn.Close()
	b.welcome(packet.Connack{})
}

// [MQTT 3.1.2.10]: a broker that is silent after a PINGREQ is given up.
func TestSilentBroker(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr, config(func(c *client.Config) { c.KeepAlive = time.Second }))
	p := b.welcome(packet.Connack{})
	p.Expect(packet.PINGREQ, nil)
	mqtttest.Until(t, "it is given up", func() bool { return r.Stats().Losses[client.CauseTimeout].Load() > 0 })
	b.welcome(resumed)
}

// [MQTT 4.13]: 0x8E tells who else may use the client identifier.
func TestSessionTakenOver(t *testing.T) {
	b := newBroker(t)
	r := start(t, "mqtt://"+b.addr)
	p := b.welcome(packet.Connack{})
	p.Send(&packet.Disconnect{Reason: packet.SessionTakenOver})
	b.welcome(resumed)
	if n := r.Stats().Losses[client.CauseTaken].Load(); n != 1 {
		t.Errorf("%d losses", n)
	}
	if n := r.log.Count("level=ERROR", "another Linkspan", "linkspan-plant"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// [MQTT 4.11]: a server reference is followed if that is configured, for once or for good.
func TestServerReference(t *testing.T) {
	for _, reason := range []packet.Reason{packet.UseAnotherServer, packet.ServerMoved} {
		for _, follow := range []bool{false, true} {
			for _, in := range []packet.Type{packet.CONNACK, packet.DISCONNECT} {
				first, second := newBroker(t), newBroker(t)
				r := start(t, "mqtt://"+first.addr, version("5"), config(func(c *client.Config) { c.FollowRedirect = follow }))
				var a packet.Properties
				a.ServerReference = second.addr + " other:1883"
				a.Set(packet.ServerReference)
				if in == packet.CONNACK {
					first.welcome(packet.Connack{Reason: reason, Properties: a})
				} else {
					first.welcome(packet.Connack{}).Send(&packet.Disconnect{Reason: reason, Properties: a})
				}
				next := map[bool]*broker{false: first, true: second}[follow]
				_ = next.welcome(packet.Connack{}).Conn.Close()
				if reason == packet.UseAnotherServer {
					next = first
				}
				next.welcome(packet.Connack{})
				if n := r.log.Count("level=WARN", "elsewhere", second.addr); n != 1 {
					t.Errorf("%d warnings", n)
				}
			}
		}
	}
}

// What is no broker is no broker.
func TestNoBroker(t *testing.T) {
	for name, answer := range map[string]string{
		"HTTP":            "HTTP/1.1 400 Bad Request\r\n\r\n",
		"another packet":  "\xd0\x00",
		"session present": "\x20\x03\x01\x00\x00", // although we wanted a new one [MQTT-3.2.2-4]
	} {
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, version("5"), config(func(c *client.Config) { c.SessionExpiry = 0 }))
		p := b.accept()
		p.Write([]byte(answer)...)
		mqtttest.Until(t, name+" is refused", func() bool { return r.Stats().Failures[client.CauseProtocol].Load() > 0 })
		_ = p.Conn.Close()
		b.welcome(packet.Connack{})
	}
}

// P6: a broker that does not answer CONNECT, or a request, is given up in time.
func TestConnectTimeout(t *testing.T) {
	for name, answer := range map[string][]byte{"CONNECT": nil, "SUBSCRIBE": {0x20, 3, 0, 0, 0}} {
		b := newBroker(t)
		r := start(t, "mqtt://"+b.addr, filters("a"), version("5"), config(func(c *client.Config) { c.ConnectTimeout = 100 * time.Millisecond }))
		var running sync.WaitGroup
		running.Go(func() {
			for {
				nc, err := b.ln.Accept()
				if err != nil {
					return
				}
				_, _ = nc.Write(answer)
				t.Cleanup(func() { _ = nc.Close() })
			}
		})
		mqtttest.Until(t, name+" is given up", func() bool {
			return r.Stats().Failures[client.CauseTimeout].Load() > 0 && answer == nil || r.Stats().Losses[client.CauseTimeout].Load() > 0
		})
		_ = b.ln.Close()
		running.Wait()
	}
}

func TestProbe(t *testing.T) {
	cfg := client.DefaultConfig()
	cfg.ClientID = "linkspan-plant"
	probe := func(b *broker, script func(p *peer)) (client.ProbeResult, error) {
		cfg.Dial = []string{"mqtt://" + b.addr}
		type result struct {
			client.ProbeResult
			error
		}
		out := make(chan result, 1)
		go func() {
			r, err := client.Probe(context.Background(), cfg)
			out <- result{r, err}
		}()
		p := b.accept()
		if h := p.hello; !strings.HasPrefix(h.ClientID, "linkspan-plant-probe") || !h.CleanStart {
			t.Errorf("%+v", h)
		}
		script(p)
		r := <-out
		return r.ProbeResult, r.error
	}
	r, err := probe(newBroker(t), func(p *peer) {
		ack := packet.Connack{}
		ack.Properties.ReceiveMaximum = 20
		ack.Properties.Set(packet.ReceiveMaximum)
		p.Send(&ack)
		p.Expect(packet.DISCONNECT, nil)
		_ = p.Conn.Close()
	})
	if err != nil || r.Version != "5" || r.Limits.ReceiveMaximum != 20 || !r.Limits.Shared || r.SharedTried ||
		!strings.Contains(r.Advice, "20 messages in flight") || !strings.Contains(r.Advice, "workers") {
		t.Errorf("%+v %v", r, err)
	}
	cfg.Version = "3.1.1"
	r, err = probe(newBroker(t), func(p *peer) {
		p.Send(&packet.Connack{})
		p.subscribed(packet.UnspecifiedError)
		p.Expect(packet.DISCONNECT, nil)
		_ = p.Conn.Close()
	})
	if err != nil || r.Version != "3.1.1" || r.Limits.Shared || !r.SharedTried {
		t.Errorf("%+v %v", r, err)
	}
	if _, err = probe(newBroker(t), func(p *peer) { p.Send(&packet.Connack{Reason: packet.NotAuthorized}) }); err == nil ||
		!strings.Contains(err.Error(), "not authorized") {
		t.Errorf("%v", err)
	}
}

// A broker that has sent us away for good, to where nobody is, is asked again.
func TestServerReferenceToNobody(t *testing.T) {
	b, nobody := newBroker(t), newBroker(t)
	_ = nobody.ln.Close()
	start(t, "mqtt://"+b.addr, version("5"), config(func(c *client.Config) { c.FollowRedirect = true }))
	moved := packet.Connack{Reason: packet.ServerMoved}
	moved.Properties.ServerReference = nobody.addr
	moved.Properties.Set(packet.ServerReference)
	b.welcome(moved)
	b.welcome(packet.Connack{})
}
