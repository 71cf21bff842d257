package amqp_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// taken is a message as the sink got it.
type taken struct{ topic, username, payload string }

// transport runs a listener that hands on to a channel until the test ends, and returns where it is.
func transport(t *testing.T, configure func(*amqp.ListenerConfig)) (addr string, messages <-chan taken) {
	t.Helper()
	cfg := amqp.DefaultListenerConfig()
	configure(&cfg)
	cfg.URL, _, _ = strings.Cut(cfg.URL, ":")
	cfg.URL += "://127.0.0.1:0"
	l, err := amqp.Listen(cfg, amqp.Parts{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	to := make(chan taken, 100)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() {
		ran <- l.Run(ctx, linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
			to <- taken{strings.Clone(m.Topic), strings.Clone(m.Username), string(m.Payload)}
			done(nil)
		}))
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), to
}

// secured has the listener use TLS with a certificate of a.
func secured(a *wiretest.Authority, scheme string) func(*amqp.ListenerConfig) {
	cert, key := a.Issue("listener", "127.0.0.1")
	return func(c *amqp.ListenerConfig) { c.URL, c.TLS.Cert, c.TLS.Key = scheme+"://", cert, key }
}

// dialed connects to addr, with TLS if cfg is not nil.
func dialed(t *testing.T, addr string, cfg *tls.Config) net.Conn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, amqptest.Patience)
	if err != nil {
		t.Fatal(err)
	}
	if cfg == nil {
		return nc
	}
	cfg = cfg.Clone()
	cfg.ServerName = "127.0.0.1"
	return tls.Client(nc, cfg)
}

// next returns the next message.
func next(t *testing.T, messages <-chan taken) taken {
	t.Helper()
	select {
	case m := <-messages:
		return m
	case <-time.After(amqptest.Patience):
		t.Fatal("no message comes")
		return taken{}
	}
}

// hello opens a connection over nc with these credentials and sends a message, which has to come from user.
func hello(t *testing.T, nc net.Conn, as sasl.Credentials, messages <-chan taken, user string) {
	t.Helper()
	c := amqptest.New(t, nc, engine.Config{ContainerID: "c", Credentials: &as}).Open()
	if s := c.Sender("t").Send(frame.AppendData(nil, []byte("hello"))); s.Kind != frame.Accepted {
		t.Fatalf("the outcome is %v", s.Kind)
	}
	if m := next(t, messages); m != (taken{"t", user, "hello"}) {
		t.Errorf("got %+v, want it from %q", m, user)
	}
	c.Close()
}

// Frames of any size pass over TCP, TLS and WebSocket alike.
func TestTransports(t *testing.T) {
	t.Parallel()
	a := wiretest.NewAuthority(t)
	for _, scheme := range []string{"amqp", "amqps", "amqpws", "amqpwss"} {
		t.Run(scheme, func(t *testing.T) {
			configure := func(c *amqp.ListenerConfig) { c.URL = scheme + "://" }
			var cfg *tls.Config
			if scheme == "amqps" || scheme == "amqpwss" {
				configure, cfg = secured(a, scheme), a.Client()
			}
			addr, messages := transport(t, configure)
			nc := dialed(t, addr, cfg)
			if strings.HasPrefix(scheme, "amqpws") {
				nc = wiretest.WebSocket(t, nc, "amqp", "/$servicebus/websocket")
			}
			c := amqptest.New(t, nc, engine.Config{ContainerID: "c", Credentials: &sasl.Credentials{}}).Open()
			s := c.Sender("t")
			for _, size := range []int{0, 1, 125, 126, 512, 32 << 10, 64 << 10, 65 << 10, 900_000} {
				payload := strings.Repeat("x", size)
				if o := s.Send(frame.AppendData(nil, []byte(payload))); o.Kind != frame.Accepted {
					t.Fatalf("%d bytes: %v", size, o)
				}
				if m := next(t, messages); m.payload != payload {
					t.Fatalf("%d bytes became %d", size, len(m.payload))
				}
			}
			c.Close()
		})
	}
}

// A WebSocket for AMQP says so [AMQP WebSocket 2.1], comes to the path if there is one, and from a page that may.
func TestWebSocketRefused(t *testing.T) {
	t.Parallel()
	addr, _ := transport(t, func(c *amqp.ListenerConfig) {
		c.URL, c.Origins = "amqpws://", []string{"https://example.org"}
	})
	for _, test := range []struct {
		header []string
		want   string
	}{
		{[]string{"Sec-WebSocket-Protocol: amqp"}, "101"},
		{[]string{"Sec-WebSocket-Protocol: mqtt, amqp", "Origin: https://example.org"}, "101"},
		{[]string{"Sec-WebSocket-Protocol: amqp", "Origin: https://example.com"}, "403"},
		{[]string{"Sec-WebSocket-Protocol: mqtt"}, "400"},
		{nil, "400"},
	} {
		nc := dialed(t, addr, nil)
		if got := wiretest.Upgrade(t, nc, "/", test.header...); !strings.HasPrefix(got, "HTTP/1.1 "+test.want) {
			t.Errorf("%v: %q, want %s", test.header, got, test.want)
		}
		_ = nc.Close()
	}
}

// With client_ca a client needs a certificate, and EXTERNAL takes its name from there [AMQP 5.3.3.6]; who prefers a password has
// the name that goes with it.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	a := wiretest.NewAuthority(t)
	stranger := wiretest.NewAuthority(t)
	addr, messages := transport(t, func(c *amqp.ListenerConfig) {
		secured(a, "amqps")(c)
		c.TLS.ClientCA = a.File
		c.SASL.Users = map[string]linkspan.Secret{"ada": "secret"}
	})
	with := func(issuer *wiretest.Authority, name string) *tls.Config {
		pair, err := tls.LoadX509KeyPair(issuer.Issue(name))
		if err != nil {
			t.Fatal(err)
		}
		cfg := a.Client()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return cfg
	}
	hello(t, dialed(t, addr, with(a, "pump-7")), sasl.Credentials{Certificate: true}, messages, "pump-7")
	hello(t, dialed(t, addr, with(a, "pump-7")), sasl.Credentials{User: "ada", Password: "secret"}, messages, "ada")
	for name, cfg := range map[string]*tls.Config{"none": a.Client(), "a stranger's": with(stranger, "pump-7")} {
		nc := dialed(t, addr, cfg)
		if _, err := nc.Read(make([]byte, 1)); err == nil || err == io.EOF { // TLS 1.3 tells it behind the handshake
			t.Errorf("with the certificate %q the end is %v, want an alert", name, err)
		}
		_ = nc.Close()
	}
}

// Passwords, over TLS too: the right one is let in by each mechanism, and the wrong one by none [AMQP 5.3.3.6].
func TestPasswords(t *testing.T) {
	t.Parallel()
	a := wiretest.NewAuthority(t)
	addr, messages := transport(t, func(c *amqp.ListenerConfig) {
		secured(a, "amqps")(c)
		c.SASL.Users = map[string]linkspan.Secret{"ada": "secret"}
	})
	for _, m := range []string{sasl.Plain, sasl.ScramSHA256, sasl.ScramSHA512} {
		as := sasl.Credentials{User: "ada", Password: "secret", Mechanisms: []string{m}}
		hello(t, dialed(t, addr, a.Client()), as, messages, "ada")
		as.Password = "guess"
		c := amqptest.New(t, dialed(t, addr, a.Client()), engine.Config{ContainerID: "c", Credentials: &as})
		if err := c.Ended(); err == nil {
			t.Errorf("%s: a wrong password is let in", m)
		}
	}
	c := amqptest.New(t, dialed(t, addr, a.Client()), engine.Config{ContainerID: "c", Credentials: &sasl.Credentials{}})
	if err := c.Ended(); err == nil {
		t.Error("somebody without a name is let in")
	}
}
