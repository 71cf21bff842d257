package mqtt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

func TestConnect(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		c := b.dial(v)
		ack := c.Connect(packet.Connect{ClientID: "d1", CleanStart: true, KeepAlive: 60})
		if ack.SessionPresent {
			t.Error("session present")
		}
		c.Ping() // [MQTT-3.12.4-1]
		mqtttest.Until(t, "the session is counted", func() bool { return b.Stats().Sessions.Load() == 1 })
		c.Send(&packet.Disconnect{})
		c.ExpectClosed() // [MQTT-3.14.4-1]
		mqtttest.Until(t, "it is gone", func() bool { return b.Stats().Open.Load() == 0 && b.Stats().Sessions.Load() == 0 })
		if n := b.Stats().Ended[packet.Success].Load(); n != 1 {
			t.Errorf("%d said goodbye", n)
		}
	})
}

// No property is invented: CONNACK says only what MQTT 5 does not take for granted [MQTT 3.2.2.3].
func TestConnackProperties(t *testing.T) {
	plain := func(c *mqtt.ListenerConfig) {
		c.ReceiveMaximum, c.MaxPacketSize, c.TopicAliasMaximum = 65535, packet.MaxSize, 0
	}
	b := start(t, plain)
	ack := b.dial(packet.V5).Connect(packet.Connect{ClientID: "d1", CleanStart: true})
	p := ack.Properties
	if !p.Has(packet.SharedAvailable) || p.SharedAvailable {
		t.Error("shared subscriptions are not said to be unavailable")
	}
	for id := packet.PropertyID(1); id <= packet.SharedAvailable; id++ {
		if p.Has(id) && id != packet.SharedAvailable {
			t.Errorf("property %d", id)
		}
	}

	b = start(t, func(c *mqtt.ListenerConfig) { c.MaxKeepAlive = 30 * time.Second })
	connect := packet.Connect{CleanStart: true, KeepAlive: 31}
	connect.Properties.SessionExpiry = 100
	connect.Properties.Set(packet.SessionExpiry)
	c := b.dial(packet.V5)
	ack = c.Connect(connect)
	p = ack.Properties
	if p.ServerKeepAlive != 30 || !p.Has(packet.SessionExpiry) || p.SessionExpiry != 0 || p.ReceiveMaximum != 1024 ||
		p.MaximumPacketSize != 1<<20 || p.TopicAliasMaximum != 32 {
		t.Errorf("properties %+v", p)
	}
	if !strings.HasPrefix(p.AssignedClientID, "linkspan-") || len(p.AssignedClientID) < 20 {
		t.Errorf("assigned %q", p.AssignedClientID)
	}
	ack = b.dial(packet.V5).Connect(packet.Connect{CleanStart: true, KeepAlive: 30})
	if ack.Properties.Has(packet.ServerKeepAlive) || ack.Properties.AssignedClientID == p.AssignedClientID {
		t.Errorf("properties %+v", ack.Properties)
	}
	ack = b.dial(packet.V5).Connect(packet.Connect{CleanStart: true, KeepAlive: 0})
	if ack.Properties.ServerKeepAlive != 30 {
		t.Errorf("no keep-alive became %d", ack.Properties.ServerKeepAlive)
	}
}

// [MQTT-3.1.3-6], [MQTT-3.1.3-8]
func TestEmptyClientID(t *testing.T) {
	b := start(t)
	for _, test := range []struct {
		v     packet.Version
		clean bool
		want  packet.Reason
	}{
		{packet.V31, true, packet.ClientIdentifierNotValid},
		{packet.V311, false, packet.ClientIdentifierNotValid},
		{packet.V311, true, packet.Success},
		{packet.V5, false, packet.Success},
		{packet.V5, true, packet.Success},
	} {
		c := b.dial(test.v)
		ack := c.TryConnect(packet.Connect{CleanStart: test.clean})
		if ack.Reason != test.want {
			t.Errorf("MQTT %v, clean %v: %v", test.v, test.clean, ack.Reason)
		}
		if ack.Reason != packet.Success {
			c.ExpectClosed()
		}
	}
}

// Client identifiers of any length and with any characters that the specification allows (KAL-W7) [MQTT-3.1.3-5].
func TestClientIDs(t *testing.T) {
	b := start(t)
	for _, id := range []string{strings.Repeat("x", 65535), "a.b/c d+#$", "größe-温度-🌡", "\x01"} {
		c := b.join(packet.V311, id)
		n := b.sink.Count()
		c.Send(publish(1, 1, "t", "x"))
		c.ExpectAck(packet.PUBACK, 1, packet.Success)
		if got := b.sink.Wait(n + 1)[n].Client; got != id {
			t.Errorf("client %q became %q", id, got)
		}
	}
}

// VXM-A7 [MQTT-3.1.2-2]: an unknown version gets the answer that it can read.
func TestUnknownVersion(t *testing.T) {
	b := start(t)
	c := b.dial(packet.V5)
	c.Write(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0, 0, 0, 1, 'a')
	r, err := c.Next()
	if err != nil || r.Type() != packet.CONNACK {
		t.Fatal(r, err)
	}
	c.ExpectClosed()
	c = b.dial(packet.V311)
	c.Write(0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 3, 2, 0, 0, 0, 1, 'a', 'b') // level 3 is MQIsdp's
	if r, err := c.Next(); err == nil && r.Type() != packet.CONNACK {
		t.Fatal(r)
	}
	c.ExpectClosed()
}

// ENM-A10, VXM-A1: one function decides who may come in, and sees who asks.
func TestAuthenticate(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) {
		c.Authenticate = func(l *mqtt.Login) packet.Reason {
			switch {
			case l.ClientID == "banned":
				return packet.Banned
			case l.HasUsername && l.Username == "u" && string(l.Password) == "p" && l.Remote != nil && l.TLS == nil:
				return packet.Success
			}
			return packet.BadUsernameOrPassword
		}
	})
	everyVersion(t, func(t *testing.T, v packet.Version) {
		login := packet.Connect{ClientID: "d1", CleanStart: true, HasUsername: true, Username: "u", HasPassword: true, Password: []byte("p")}
		c := b.dial(v)
		c.Connect(login)
		n := b.sink.Count()
		c.Send(publish(0, 0, "t", "x"))
		if m := b.sink.Wait(n + 1)[n]; m.Username != "u" {
			t.Errorf("user %q", m.Username)
		}
		login.Password = []byte("q")
		c = b.dial(v)
		if ack := c.TryConnect(login); ack.Reason != packet.BadUsernameOrPassword {
			t.Errorf("wrong password: %v", ack.Reason)
		}
		c.ExpectClosed() // [MQTT-3.2.2-7]
		c = b.dial(v)
		if ack := c.TryConnect(packet.Connect{ClientID: "banned", CleanStart: true}); ack.Reason == packet.Success {
			t.Error("a banned device is in")
		}
	})
	if n := b.Stats().Refused[packet.BadUsernameOrPassword].Load(); n != 3 {
		t.Errorf("%d refused", n)
	}
}

func TestEnhancedAuthenticationIsRefused(t *testing.T) {
	p := packet.Connect{ClientID: "d1"}
	p.Properties.AuthMethod = "SCRAM-SHA-1"
	p.Properties.Set(packet.AuthMethod)
	c := start(t).dial(packet.V5)
	if ack := c.TryConnect(p); ack.Reason != packet.BadAuthenticationMethod { // [MQTT-4.12.0-1]
		t.Errorf("%v", ack.Reason)
	}
	c.ExpectClosed()
}

// ENM-A5 [MQTT-3.1.4-3]: a second connection with the identifier of another takes over.
func TestTakeover(t *testing.T) {
	everyVersion(t, func(t *testing.T, v packet.Version) {
		b := start(t)
		first := b.join(v, "d1")
		other := b.join(v, "d2")
		second := b.join(v, "d1")
		if v == packet.V5 {
			first.ExpectDisconnect(packet.SessionTakenOver)
		} else {
			first.ExpectClosed()
		}
		second.Ping()
		other.Ping()
		if n := b.Stats().Ended[packet.SessionTakenOver].Load(); n != 1 {
			t.Errorf("%d taken over", n)
		}
	})
}

// VXM-A8, ENM-A10: a device that does not send its CONNECT in time is cut off, even if it keeps sending something.
func TestConnectTimeout(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.ConnectTimeout = 50 * time.Millisecond })
	silent, slow := b.dial(packet.V5), b.dial(packet.V5)
	slow.Write(0x10, 100, 0)
	silent.ExpectClosed()
	slow.ExpectClosed()
	mqtttest.Until(t, "both are counted", func() bool { return b.Stats().Failed.Load() == 2 })
}

// VXM-A8 [MQTT-3.1.2-22]: silence beyond one and a half keep-alives ends the connection; bytes that make no packet are silence.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	everyVersion(t, func(t *testing.T, v packet.Version) {
		t.Parallel()
		b := start(t)
		c, slow := b.dial(v), b.dial(v)
		c.Connect(packet.Connect{ClientID: "d1", CleanStart: true, KeepAlive: 1})
		begun := packet.Connect{Version: v, ClientID: "d2", CleanStart: true, KeepAlive: 1}
		slow.Write(append(begun.Append(nil), 0x30, 100, 0)...)
		slow.Expect(packet.CONNACK, new(packet.Connack))
		forever := b.join(v, "d3")
		for _, c := range []interface {
			ExpectClosed()
			ExpectDisconnect(packet.Reason) packet.Disconnect
		}{c, slow} {
			if v == packet.V5 {
				c.ExpectDisconnect(packet.KeepAliveTimeout)
			} else {
				c.ExpectClosed()
			}
		}
		forever.Ping()
		if n := b.Stats().Ended[packet.KeepAliveTimeout].Load(); n != 2 {
			t.Errorf("%d silent", n)
		}
	})
}

// VXM-A7: the violations that end a connection, and the reason that the peer is told. Nobody else notices.
func TestViolations(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxPacketSize = 1000 })
	witness := b.join(packet.V5, "witness")
	alias := func(topic string, n uint16) *packet.Publish {
		p := publish(0, 0, topic, "x")
		p.Properties.TopicAlias = n
		p.Properties.Set(packet.TopicAlias)
		return p
	}
	identified := publish(0, 0, "t", "x")
	identified.Properties.AddSubscriptionID(1)
	prolong := &packet.Disconnect{}
	prolong.Properties.SessionExpiry = 5
	prolong.Properties.Set(packet.SessionExpiry)
	for name, test := range map[string]struct {
		send   []byte
		reason packet.Reason
	}{
		"second CONNECT [MQTT-3.1.0-2]":        {(&packet.Connect{Version: packet.V5, ClientID: "x"}).Append(nil), packet.ProtocolError},
		"QoS 3 [MQTT-3.3.1-4]":                 {[]byte{0x36, 6, 0, 1, 't', 0, 1, 0}, packet.MalformedPacket},
		"wildcard in a topic [MQTT-3.3.2-2]":   {[]byte{0x30, 4, 0, 1, '#', 0}, packet.TopicNameInvalid},
		"too large [MQTT-3.2.2-15]":            {[]byte{0x30, 0xFF, 0x7F}, packet.PacketTooLarge},
		"length that never ends [MQTT-1.5.5]":  {[]byte{0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, packet.MalformedPacket},
		"alias 0 [MQTT-3.3.2-8]":               {alias("t", 0).Append(nil, packet.V5), packet.TopicAliasInvalid},
		"alias too high [MQTT-3.3.2-9]":        {alias("t", 33).Append(nil, packet.V5), packet.TopicAliasInvalid},
		"unknown alias":                        {alias("", 1).Append(nil, packet.V5), packet.ProtocolError},
		"subscription id [MQTT-3.3.4-6]":       {identified.Append(nil, packet.V5), packet.ProtocolError},
		"CONNACK from a client":                {(&packet.Connack{}).Append(nil, packet.V5), packet.ProtocolError},
		"AUTH without a method":                {(&packet.Auth{Reason: packet.Reauthenticate}).Append(nil), packet.ProtocolError},
		"packet type 0":                        {[]byte{0, 0}, packet.MalformedPacket},
		"SUBSCRIBE flags [MQTT-3.8.1-1]":       {[]byte{0x80, 7, 0, 1, 0, 0, 1, 't', 0}, packet.MalformedPacket},
		"SUBSCRIBE without filters":            {[]byte{0x82, 3, 0, 1, 0}, packet.ProtocolError},
		"longer session [MQTT-3.14.2-2]":       {prolong.Append(nil, packet.V5), packet.ProtocolError},
		"PINGREQ with a body":                  {[]byte{0xC0, 1, 0}, packet.MalformedPacket},
		"PUBACK for packet 0 [MQTT-2.2.1-3]":   {[]byte{0x40, 2, 0, 0}, packet.ProtocolError},
		"invalid UTF-8 topic [MQTT-1.5.4-1]":   {[]byte{0x30, 5, 0, 2, 0xC0, 0x80, 0}, packet.MalformedPacket},
		"PUBREL flags [MQTT-3.6.1-1]":          {[]byte{0x60, 2, 0, 1}, packet.MalformedPacket},
		"topic filter of one wildcard too few": {[]byte{0x82, 9, 0, 1, 0, 0, 3, 'a', '#', 'b', 0}, packet.TopicFilterInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			c := b.join(packet.V5, "bad")
			c.Write(test.send...)
			var d packet.Disconnect
			c.Expect(packet.DISCONNECT, &d)
			if d.Reason != test.reason {
				t.Errorf("%v, expected %v", d.Reason, test.reason)
			}
			c.ExpectClosed()
			witness.Ping()
		})
	}
}

// [MQTT-3.1.0-1]: what does not begin with CONNECT is no MQTT.
func TestFirstPacketIsConnect(t *testing.T) {
	b := start(t)
	for _, first := range []string{"\xc0\x00", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\x30\x03\x00\x01t", "\x10\x00"} {
		c := b.dial(packet.V5)
		c.Write([]byte(first)...)
		c.ExpectClosed()
	}
	mqtttest.Until(t, "all are counted", func() bool { return b.Stats().Failed.Load() == 5 })
}

// [MQTT-3.1.2-29]: no Reason String for who does not want one.
func TestProblemInformation(t *testing.T) {
	b := start(t)
	for _, want := range []bool{true, false} {
		p := packet.Connect{ClientID: "d1", CleanStart: true}
		p.Properties.RequestProblemInfo = want
		p.Properties.Set(packet.RequestProblemInfo)
		c := b.dial(packet.V5)
		c.Connect(p)
		c.Write(0x36, 6, 0, 1, 't', 0, 1, 0)
		if d := c.ExpectDisconnect(packet.MalformedPacket); d.Properties.Has(packet.ReasonString) != want {
			t.Errorf("reason %q", d.Properties.ReasonString)
		}
	}
}

func TestMaxConnections(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.MaxConnections = 1 })
	c := b.join(packet.V5, "d1")
	b.dial(packet.V5).ExpectClosed()
	c.Send(&packet.Disconnect{})
	c.ExpectClosed()
	mqtttest.Until(t, "the first is gone", func() bool { return b.Stats().Open.Load() == 0 })
	b.join(packet.V5, "d2")
	if n := b.Stats().Turned.Load(); n != 1 {
		t.Errorf("%d turned away", n)
	}
}
