package mqtt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true,
		BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

// issue writes a certificate with that name, and its key, and returns them.
func (a *authority) issue(name, certFile, keyFile string) tls.Certificate {
	a.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, _ := x509.MarshalPKCS8PrivateKey(key)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	for file, text := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	return pair
}

// secure makes a TLS listener of the configuration.
func (a *authority) secure(scheme string) func(*mqtt.ListenerConfig) {
	dir := a.t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.issue("first", cert, key)
	return func(c *mqtt.ListenerConfig) {
		c.URL = scheme + "://127.0.0.1:0"
		c.TLS.Cert, c.TLS.Key = cert, key
	}
}

func (a *authority) client() *tls.Config { return &tls.Config{RootCAs: a.pool} }

// transports connect a test to a listener by each of the ways in.
func transports(t *testing.T, f func(t *testing.T, b *bench, dial func() *mqtttest.Client)) {
	a := newAuthority(t)
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			configure := func(c *mqtt.ListenerConfig) { c.URL = scheme + "://127.0.0.1:0" }
			if strings.HasSuffix(scheme, "s") && scheme != "ws" {
				configure = a.secure(scheme)
			}
			b := start(t, configure)
			f(t, b, func() *mqtttest.Client {
				nc, err := net.Dial("tcp", b.addr)
				if err != nil {
					t.Fatal(err)
				}
				if scheme == "mqtts" || scheme == "wss" {
					cfg := a.client()
					cfg.ServerName = "127.0.0.1"
					nc = tls.Client(nc, cfg)
				}
				if strings.HasPrefix(scheme, "ws") {
					nc = mqtttest.WebSocket(t, nc, "/mqtt")
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
			if got := b.sink.wait(i + 1)[i]; string(got.Payload) != string(up.Payload) {
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
	a := newAuthority(t)
	var files mqtt.TLSConfig
	configure := a.secure("mqtts")
	b := start(t, configure, func(c *mqtt.ListenerConfig) { files = c.TLS })
	name := func() string {
		nc, err := tls.Dial("tcp", b.addr, a.client())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		return nc.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	old := mqtttest.DialTLS(t, b.addr, packet.V5, a.client()).Join("d1")
	if got := name(); got != "first" {
		t.Errorf("certificate %q", got)
	}
	a.issue("second", files.Cert, files.Key)
	until(t, "the new certificate is used", func() bool { return name() == "second" })
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
	a := newAuthority(t)
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, a.secure("mqtts"), func(c *mqtt.ListenerConfig) {
		c.TLS.ClientCA = ca
		c.Authenticate = func(l *mqtt.Login) packet.Reason {
			if l.TLS != nil && l.TLS.PeerCertificates[0].Subject.CommonName == "device-7" {
				return packet.Success
			}
			return packet.NotAuthorized
		}
	})
	known := a.client()
	known.Certificates = []tls.Certificate{a.issue("device-7", filepath.Join(dir, "c"), filepath.Join(dir, "k"))}
	mqtttest.DialTLS(t, b.addr, packet.V5, known).Join("d1").Ping()
	other := a.client()
	other.Certificates = []tls.Certificate{a.issue("device-8", filepath.Join(dir, "c"), filepath.Join(dir, "k"))}
	if ack := mqtttest.DialTLS(t, b.addr, packet.V5, other).TryConnect(packet.Connect{ClientID: "d1"}); ack.Reason != packet.NotAuthorized {
		t.Errorf("another certificate: %v", ack.Reason)
	}
	mqtttest.DialTLS(t, b.addr, packet.V5, a.client()).ExpectClosed()
	old := a.client()
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
		if got := mqtttest.Upgrade(t, nc, test.path, test.header); !strings.HasPrefix(got, "HTTP/1.1 "+test.status) {
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
			mqtttest.Upgrade(t, nc, "/mqtt", "Sec-WebSocket-Protocol: mqtt")
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
