package client_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/session"
)

// A listener is our own broker, on real sockets.
type listener struct {
	*mqtt.Listener
	registry *session.Registry
	sink     *mqtttest.Sink
}

func listen(t testing.TB, cfg mqtt.ListenerConfig) *listener {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	l := &listener{sink: mqtttest.NewSink()}
	sessions := session.DefaultConfig()
	sessions.Uplink = l.sink
	l.registry = session.NewRegistry(sessions, log)
	var err error
	if l.Listener, err = mqtt.Listen(cfg, l.registry, log); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx, l.sink) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := l.registry.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

func listenerConfig(scheme string) mqtt.ListenerConfig {
	cfg := mqtt.DefaultListenerConfig()
	cfg.URL = scheme + "://127.0.0.1:0"
	return cfg
}

// url is how to dial l.
func (l *listener) url(scheme string) string { return scheme + "://" + l.Addr().String() }

// bothWays sends messages up and down between r and l.
func bothWays(t *testing.T, r *run, l *listener) {
	t.Helper()
	mqtttest.Until(t, "it is subscribed", func() bool { return len(r.Status().Filters) == 1 })
	big := strings.Repeat("x", 300_000)
	for i, payload := range []string{"up", big} {
		m := linkspan.Message{Topic: "up/1", Payload: []byte(payload), QoS: 1}
		l.registry.Send(context.Background(), &m, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		if got := r.sink.Wait(i + 1); string(got[i].Payload) != payload {
			t.Error("what came up is not what was sent")
		}
	}
	for qos := range byte(3) {
		delivered(t, r.send(down(qos, "down/1", big)))
	}
	for _, m := range l.sink.Wait(3) {
		if string(m.Payload) != big || m.Topic != "down/1" {
			t.Error("what went down is not what was sent")
		}
	}
}

// UNS-A8, CON-W9: all versions over all transports, with certificates verified both ways.
func TestTransports(t *testing.T) {
	a := wiretest.NewAuthority(t)
	for _, scheme := range []string{"mqtt", "mqtts", "ws", "wss"} {
		for _, v := range everyVersion {
			t.Run(scheme+" "+v.String(), func(t *testing.T) {
				cfg := listenerConfig(scheme)
				own := client.TLSConfig{}
				if scheme == "mqtts" || scheme == "wss" {
					cfg.TLS.Cert, cfg.TLS.Key = a.Issue("broker.example")
					cfg.TLS.ClientCA = a.File
					own.CA, own.ServerName = a.File, "broker.example"
					own.Cert, own.Key = a.Issue("linkspan.example")
				}
				l := listen(t, cfg)
				r := start(t, l.url(scheme), filters("up/#"), version(v.String()), config(func(c *client.Config) { c.TLS = own }))
				bothWays(t, r, l)
			})
		}
	}
}

// UNS-A8, UNS-W7: each TLS key does what it says, and what it does not say is verified.
func TestTLS(t *testing.T) {
	a, stranger := wiretest.NewAuthority(t), wiretest.NewAuthority(t)
	_, otherKey := a.Issue("other.example")
	for _, test := range []struct {
		name   string
		change func(c *client.TLSConfig)
		server func(c *mqtt.ListenerConfig)
		want   string // in the error; "": connects
	}{
		{"verified", func(*client.TLSConfig) {}, nil, ""},
		{"authorities of the system", func(c *client.TLSConfig) { c.CA = "" }, nil, "unknown authority"},
		{"another authority", func(c *client.TLSConfig) { c.CA = stranger.File }, nil, "unknown authority"},
		{"the address is not in the certificate", func(c *client.TLSConfig) { c.ServerName = "" }, nil, "127.0.0.1"},
		{"another name", func(c *client.TLSConfig) { c.ServerName = "other.example" }, nil, "other.example"},
		{"any name", func(c *client.TLSConfig) { c.ServerName, c.AnyName = "other.example", true }, nil, ""},
		{"any name of another authority", func(c *client.TLSConfig) { c.AnyName, c.CA = true, stranger.File }, nil, "unknown authority"},
		{"insecure", func(c *client.TLSConfig) { c.Insecure, c.CA = true, "" }, nil, ""},
		{"min_version", func(c *client.TLSConfig) { c.MinVersion = "1.3" }, nil, ""},
		{"ciphers", func(c *client.TLSConfig) { c.Ciphers = []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"} }, nil, ""},
		{"no such file", func(c *client.TLSConfig) { c.CA = "/no/such/file" }, nil, "/no/such/file"},
		{"a file without certificate", func(c *client.TLSConfig) { c.CA = otherKey }, nil, "holds no certificate"},
		{"a key of another certificate", func(c *client.TLSConfig) { c.Cert, c.Key = a.File, otherKey }, nil, "private key"},
		{"no client certificate", func(*client.TLSConfig) {}, func(c *mqtt.ListenerConfig) { c.TLS.ClientCA = a.File }, "certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := listenerConfig("mqtts")
			cfg.TLS.Cert, cfg.TLS.Key = a.Issue("broker.example")
			if test.server != nil {
				test.server(&cfg)
			}
			l := listen(t, cfg)
			own := client.TLSConfig{CA: a.File, ServerName: "broker.example"}
			test.change(&own)
			r := start(t, l.url("mqtts"), filters("up/#"), config(func(c *client.Config) { c.TLS = own }))
			if test.want != "" {
				mqtttest.Until(t, "it is refused", func() bool { return strings.Contains(r.Status().LastError, test.want) })
				return
			}
			bothWays(t, r, l)
			warnings := 0
			if own.Insecure {
				warnings = 1
			}
			if n := r.log.Count("level=WARN", "not verified"); n != warnings {
				t.Errorf("%d warnings", n)
			}
		})
	}
}

// Certificates are read again at each connect: one that was put right is used.
func TestCertificatesAreReadAgain(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cfg := listenerConfig("mqtts")
	cfg.TLS.Cert, cfg.TLS.Key = a.Issue("broker.example")
	l := listen(t, cfg)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	r := start(t, l.url("mqtts"), config(func(c *client.Config) { c.TLS = client.TLSConfig{CA: ca, ServerName: "broker.example"} }))
	mqtttest.Until(t, "it is missed", func() bool { return r.Stats().Failures[client.CauseTLS].Load() > 0 })
	text, err := os.ReadFile(a.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	mqtttest.Until(t, "it is connected", func() bool { return r.Status().Connected })
}

// CON-A3: every legal topic comes through.
func TestLegalTopics(t *testing.T) {
	l := listen(t, listenerConfig("mqtt"))
	r := start(t, l.url("mqtt"), filters("a/#"))
	mqtttest.Until(t, "it is subscribed", func() bool { return len(r.Status().Filters) == 1 })
	topics := []string{"a", "a/", "a/b c", "a/ü/日本", "a//b", "a/x:y,z", "a/\"{}\"", "a/" + strings.Repeat("l/", 100)}
	for _, topic := range topics {
		m := linkspan.Message{Topic: topic, QoS: 1}
		l.registry.Send(context.Background(), &m, func(error) {})
	}
	for i, m := range r.sink.Wait(len(topics)) {
		if m.Topic != topics[i] {
			t.Errorf("%q came as %q", topics[i], m.Topic)
		}
	}
}

// No Local [MQTT-3.8.3-3] is left to the broker.
func TestNoLocal(t *testing.T) {
	l := listen(t, listenerConfig("mqtt"))
	r := start(t, l.url("mqtt"), filters("a/#"))
	mqtttest.Until(t, "it is subscribed", func() bool { return len(r.Status().Filters) == 1 })
	m := linkspan.Message{Topic: "a", Payload: []byte("ours"), QoS: 1, Client: "linkspan-plant"}
	l.registry.Send(context.Background(), &m, func(error) {})
	m.Payload, m.Client = []byte("theirs"), "device"
	l.registry.Send(context.Background(), &m, func(error) {})
	r.sink.Got(t, "theirs")
}

// A server may send a PING of WebSocket at any time, also when nothing was written for longer than a write may take.
func TestWebSocketPing(t *testing.T) {
	b := newBroker(t)
	const ackTimeout = time.Second
	r := start(t, "ws://"+b.addr, version("3.1.1"), config(func(c *client.Config) { c.AckTimeout = ackTimeout }))
	nc, err := b.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(mqtttest.Patience))
	upgraded(t, nc)
	_, _ = nc.Write([]byte{0x82, 4, 0x20, 2, 0, 0}) // CONNACK
	delivered(t, r.send(down(0, "t", "x")))
	written := time.Now()
	mqtttest.Until(t, "the time for that is over", func() bool { return time.Since(written) > ackTimeout })
	_, _ = nc.Write([]byte{0x89, 0})
	for pong := false; !pong; {
		f, err := ws.ReadFrame(nc)
		if err != nil {
			t.Fatalf("no PONG: %v", err)
		}
		pong = f.Header.OpCode == ws.OpPong
	}
}
