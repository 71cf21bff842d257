package mqtt_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// secure makes a TLS listener of the configuration.
func secure(a *wiretest.Authority, scheme string) func(*mqtt.ListenerConfig) {
	cert, key := a.Issue("first", "127.0.0.1")
	return func(c *mqtt.ListenerConfig) {
		c.URL = scheme + "://127.0.0.1:0"
		c.TLS.Cert, c.TLS.Key = cert, key
	}
}

// transports connect a test to a listener by each of the ways in.
func transports(t *testing.T, f func(t *testing.T, b *bench, dial func() *mqtttest.Client)) {
	a := wiretest.NewAuthority(t)
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			configure := func(c *mqtt.ListenerConfig) { c.URL = scheme + "://127.0.0.1:0" }
			if strings.HasSuffix(scheme, "s") && scheme != "ws" {
				configure = secure(a, scheme)
			}
			b := start(t, configure)
			f(t, b, func() *mqtttest.Client {
				nc, err := net.Dial("tcp", b.addr)
				if err != nil {
					t.Fatal(err)
				}
				if scheme == "mqtts" || scheme == "wss" {
					cfg := a.Client()
					cfg.ServerName = "127.0.0.1"
					nc = tls.Client(nc, cfg)
				}
				if strings.HasPrefix(scheme, "ws") {
					nc = wiretest.WebSocket(t, nc, "mqtt", "/mqtt")
				}
				return mqtttest.New(t, nc, packet.V5)
			})
		})
	}
}

// ENM-A11, VXM-A4: the same over TCP, TLS and WebSocket; packets of any size, cut in any way [MQTT-6.0.0-2].
func TestTransports(t *testing.T) {
	t.Parallel()
	transports(t, func(t *testing.T, b *bench, dial func() *mqtttest.Client) {
		c := dial().Join("d1")
		c.Ping()
		c.Subscribe(1, filter("down", 1))
		for i, size := range []int{0, 1, 100, 125, 126, 3000, 20_000, 32 << 10, 70_000, 900_000} {
			up := publish(1, uint16(i+1), "up", strings.Repeat("u", size))
			c.Send(up)
			c.ExpectAck(packet.PUBACK, uint16(i+1), packet.Success)
			if got := b.sink.Wait(i + 1)[i]; string(got.Payload) != string(up.Payload) {
				t.Errorf("%d bytes became %d", size, len(got.Payload))
			}
			b.send(linkspan.Message{Topic: "down", Payload: up.Payload, QoS: 1})
			var down packet.Publish
			c.Expect(packet.PUBLISH, &down)
			if string(down.Payload) != string(up.Payload) {
				t.Errorf("%d bytes down became %d", size, len(down.Payload))
			}
			c.Send(&packet.Ack{Type: packet.PUBACK, PacketID: down.PacketID})
		}
		drops := dial().Join("d2") // byte by byte
		p := publish(1, 1, "slow", "loris")
		for _, one := range p.Append(nil, packet.V5) {
			drops.Write(one)
		}
		drops.ExpectAck(packet.PUBACK, 1, packet.Success)
		many := dial().Join("d3") // many in one
		var all []byte
		const n = 1000
		for id := uint16(1); id <= n; id++ {
			all = publish(1, id, "many", "x").Append(all, packet.V5)
		}
		many.Write(all...)
		for id := uint16(1); id <= n; id++ {
			many.ExpectAck(packet.PUBACK, id, packet.Success)
		}
		c.Write(0x36, 6, 0, 1, 't', 0, 1, 0)
		c.ExpectDisconnect(packet.MalformedPacket)
		drops.Send(&packet.Disconnect{})
		drops.ExpectClosed()
		b.stop()
		many.ExpectDisconnect(packet.ServerShuttingDown)
	})
}

// P6 holds under TLS and WebSocket too.
func TestSlowReaderOnTransports(t *testing.T) {
	transports(t, func(t *testing.T, b *bench, dial func() *mqtttest.Client) {
		c := dial().Join("d1")
		c.Subscribe(1, filter("t", 1))
		payload := make([]byte, 8<<10)
		for i := range 100 {
			copy(payload, fmt.Sprintf("%06d", i))
			b.send(linkspan.Message{Topic: "t", Payload: payload, QoS: 1})
		}
		receive(t, c, 100)
	})
}

// VXM-A4: a new certificate is used for new connections, old ones stay; one that does not fit is not used.
func TestCertificateReload(t *testing.T) {
	t.Parallel()
	a := wiretest.NewAuthority(t)
	var files mqtt.TLSConfig
	configure := secure(a, "mqtts")
	b := start(t, configure, func(c *mqtt.ListenerConfig) { files = c.TLS })
	name := func() string {
		nc, err := tls.Dial("tcp", b.addr, a.Client())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	old := mqtttest.DialTLS(t, b.addr, packet.V5, a.Client()).Join("d1")
	if got := name(); got != "first" {
		t.Errorf("certificate %q", got)
	}
	cert, key := a.Issue("second", "127.0.0.1")
	for from, to := range map[string]string{cert: files.Cert, key: files.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	mqtttest.Until(t, "the new certificate is used", func() bool { return name() == "second" })
	old.Ping()
	later := time.Now().Add(time.Minute)
	if err := os.WriteFile(files.Cert, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(files.Cert, later, later); err != nil {
		t.Fatal(err)
	}
	if got := name(); got != "second" {
		t.Errorf("certificate %q", got)
	}
}

// ENM-A11: with client authorities, a device needs a certificate, which the login shows.
func TestMutualTLS(t *testing.T) {
	a := wiretest.NewAuthority(t)
	b := start(t, secure(a, "mqtts"), func(c *mqtt.ListenerConfig) {
		c.TLS.ClientCA = a.File
		c.Authenticate = func(l *mqtt.Login) packet.Reason {
			if l.TLS != nil && l.TLS.PeerCertificates[0].Subject.CommonName == "device-7" {
				return packet.Success
			}
			return packet.NotAuthorized
		}
	})
	with := func(name string) *tls.Config {
		pair, err := tls.LoadX509KeyPair(a.Issue(name))
		if err != nil {
			t.Fatal(err)
		}
		cfg := a.Client()
		cfg.Certificates = []tls.Certificate{pair}
		return cfg
	}
	mqtttest.DialTLS(t, b.addr, packet.V5, with("device-7")).Join("d1").Ping()
	if ack := mqtttest.DialTLS(t, b.addr, packet.V5, with("device-8")).TryConnect(packet.Connect{ClientID: "d1"}); ack.Reason != packet.NotAuthorized {
		t.Errorf("another certificate: %v", ack.Reason)
	}
	mqtttest.DialTLS(t, b.addr, packet.V5, a.Client()).ExpectClosed()
	old := a.Client()
	old.MinVersion, old.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	if nc, err := tls.Dial("tcp", b.addr, old); err == nil {
		nc.Close()
		t.Error("TLS 1.1 is accepted")
	}
}

// [MQTT-6.0.0-3], [MQTT-6.0.0-4]: who gets a WebSocket.
func TestUpgrade(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) {
		c.URL, c.Origins = "ws://127.0.0.1:0/devices", []string{"https://example.org"}
	})
	for _, test := range []struct {
		path, header, status string
	}{
		{"/devices", "Sec-WebSocket-Protocol: mqtt", "101"},
		{"/devices?token=1", "Sec-WebSocket-Protocol: chat, mqttv3.1", "101"},
		{"/devices", "Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://example.org", "101"},
		{"/devices", "Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://example.com", "403"},
		{"/devices", "Sec-WebSocket-Protocol: chat", "400"},
		{"/devices", "X: y", "400"},
		{"/mqtt", "Sec-WebSocket-Protocol: mqtt", "404"},
	} {
		nc, err := net.Dial("tcp", b.addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := wiretest.Upgrade(t, nc, test.path, test.header); !strings.HasPrefix(got, "HTTP/1.1 "+test.status) {
			t.Errorf("%s %q: %q", test.path, test.header, got)
		}
		nc.Close()
	}
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go func() { _, _ = io.WriteString(nc, "GET /devices HTTP/1.1\r\nX: "+strings.Repeat("y", 64<<10)) }()
	_ = nc.SetReadDeadline(time.Now().Add(mqtttest.Patience))
	if n, err := io.Copy(io.Discard, nc); n > 1000 || os.IsTimeout(err) {
		t.Errorf("a request without end: %d bytes, %v", n, err)
	}
}

// RFC 6455, 5: frames that are not allowed end the connection with the code that says so; control frames may come between.
func TestFrames(t *testing.T) {
	b := start(t, func(c *mqtt.ListenerConfig) { c.URL = "ws://127.0.0.1:0" })
	connect := packet.Connect{Version: packet.V5, ClientID: "d1", CleanStart: true}
	hello := connect.Append(nil)
	whole := ws.MaskFrame(ws.NewBinaryFrame(hello))
	part := func(op ws.OpCode, fin bool, p []byte) ws.Frame { return ws.MaskFrame(ws.NewFrame(op, fin, p)) }
	ping := ws.MaskFrame(ws.NewPingFrame([]byte("are you there")))
	reserved := whole
	reserved.Header.Rsv = 4
	for name, test := range map[string]struct {
		frames []ws.Frame
		want   string
	}{
		"one":                  {[]ws.Frame{whole}, "data"},
		"parts and a ping":     {[]ws.Frame{part(ws.OpBinary, false, hello[:3]), ping, part(ws.OpContinuation, false, nil), part(ws.OpContinuation, true, hello[3:])}, "data pong"},
		"two frames":           {[]ws.Frame{part(ws.OpBinary, true, hello[:3]), part(ws.OpBinary, true, hello[3:])}, "data"},
		"close":                {[]ws.Frame{ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(1001, "bye")))}, "1001"},
		"close without code":   {[]ws.Frame{ws.MaskFrame(ws.NewCloseFrame(nil))}, "1000"},
		"text":                 {[]ws.Frame{part(ws.OpText, true, hello)}, "1003"}, // [MQTT-6.0.0-1]
		"not masked":           {[]ws.Frame{ws.NewBinaryFrame(hello)}, "1002"},
		"nothing to continue":  {[]ws.Frame{part(ws.OpContinuation, true, hello)}, "1002"},
		"begun twice":          {[]ws.Frame{part(ws.OpBinary, false, hello[:3]), part(ws.OpBinary, true, hello[3:])}, "1002"},
		"ping in parts":        {[]ws.Frame{part(ws.OpPing, false, []byte("a"))}, "1002"},
		"ping too long":        {[]ws.Frame{part(ws.OpPing, true, make([]byte, 126))}, "1002"},
		"reserved bit":         {[]ws.Frame{reserved}, "1002"},
		"reserved code":        {[]ws.Frame{part(0xB, true, nil)}, "1002"},
		"not MQTT":             {[]ws.Frame{part(ws.OpBinary, true, []byte("hello"))}, "1000"},
		"pong, not asked for":  {[]ws.Frame{ws.MaskFrame(ws.NewPongFrame(nil)), whole}, "data"},
		"empty, then the rest": {[]ws.Frame{part(ws.OpBinary, true, nil), whole}, "data"},
	} {
		t.Run(name, func(t *testing.T) {
			nc, err := net.Dial("tcp", b.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			wiretest.Upgrade(t, nc, "/mqtt", "Sec-WebSocket-Protocol: mqtt")
			for _, f := range test.frames {
				if err := ws.WriteFrame(nc, f); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for len(got) < len(strings.Fields(test.want)) {
				h, err := ws.ReadHeader(nc)
				if err != nil {
					t.Fatalf("after %v: %v", got, err)
				}
				body := make([]byte, h.Length)
				if _, err := io.ReadFull(nc, body); err != nil {
					t.Fatal(err)
				}
				switch h.OpCode {
				case ws.OpBinary:
					got = append(got, "data")
				case ws.OpPong:
					got = append(got, "pong")
				case ws.OpClose:
					code, _ := ws.ParseCloseFrameData(body)
					got = append(got, fmt.Sprint(code))
				}
			}
			slices.Sort(got) // which comes first is a matter of how the frames arrived
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
