package client_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/custody"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// A broker that goes away is dialled again for ever, and what it has comes when it is back (SPK-A6, AKB-A13).
func TestReconnects_SPK_A6(t *testing.T) {
	b := broker(t)
	b.Feed("q", encodeAll(10)...)
	r := start(t, b.URL(), []string{"q"})
	r.until("the first ones", func() bool { return len(b.Accepted("q")) == 10 })
	b.Stop()
	r.until("attempts to fail", func() bool { return r.Stats().Failures[client.CauseNetwork].Load() > 20 })
	s := r.Status()
	if s.Connected || !strings.HasPrefix(s.LastError, "cannot connect to the broker: ") || s.URL != b.URL() || len(s.Attached) > 0 {
		t.Errorf("%+v", s)
	}
	b.Feed("q", encode("after"))
	b.Start()
	r.until("the next one", func() bool { return len(b.Accepted("q")) == 11 })
	b.CloseAll(&frame.Error{Condition: frame.ConnectionForced, Description: "maintenance"})
	r.until("the loss to be counted", func() bool { return r.Stats().Losses[client.CauseRefused].Load() == 1 })
	b.Feed("q", encode("last"))
	r.until("the last one", func() bool { return len(b.Accepted("q")) == 12 })
	if e := r.Status().LastError; e != "connection lost: the connection was closed: amqp:connection:forced: maintenance" {
		t.Error(e)
	}
}

// Several addresses are tried in turn (AKB-A13).
func TestSeveralHosts_AKB_A13(t *testing.T) {
	gone, b := broker(t), broker(t)
	gone.Stop()
	r := start(t, gone.URL(), []string{"q"}, func(c *client.Config) { c.Dial = append(c.Dial, b.URL()) })
	if s := r.Status(); s.URL != b.URL() {
		t.Errorf("%+v", s)
	}
	gone.Start()
	b.Stop()
	r.until("the other one", func() bool { return r.Status().URL == gone.URL() && r.Status().Connected })
}

// elsewhere is an error that sends us to another broker [AMQP 2.8.16].
func elsewhere(t *testing.T, condition frame.Symbol, addr string) *frame.Error {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.ParseUint(port, 10, 16)
	info := frame.AppendString(frame.AppendSymbol(frame.BeginMap(nil), "network-host"), host)
	info = frame.AppendUint(frame.AppendSymbol(info, "port"), uint32(n))
	info = frame.AppendString(frame.AppendSymbol(info, "address"), "p")
	return &frame.Error{Condition: condition, Info: frame.EndMap(info, 0, 3)}
}

// A broker may choose which of its addresses we use, and no others [AMQP 2.8.16]; where an address of a link could be had is told
// [AMQP 2.8.17].
func TestRedirects(t *testing.T) {
	first, second := broker(t), broker(t)
	r := start(t, first.URL(), []string{"q"}, func(c *client.Config) { c.Dial = append(c.Dial, second.URL()) })
	for _, b := range []*amqptest.Broker{first, second, first} {
		other := second
		if b == second {
			other = first
		}
		b.CloseAll(elsewhere(t, frame.ConnectionRedirect, other.Addr()))
		r.until("the other broker", func() bool { s := r.Status(); return s.Connected && s.URL == other.URL() })
	}
	second.CloseAll(elsewhere(t, frame.ConnectionRedirect, "evil.example:5672"))
	const refused = "connection lost: the broker sends us to evil.example:5672, which is none of the addresses of dial: " +
		"add it there if it is to be trusted: amqp:connection:redirect"
	r.until("the redirect not to be followed", func() bool { s := r.Status(); return s.Connected && s.LastError == refused })
	second.CloseAll(&frame.Error{Condition: frame.ConnectionRedirect})
	r.until("the next connection", func() bool { return r.Stats().Connects.Load() == 6 })
	second.Refuse("q", elsewhere(t, frame.LinkRedirect, "other.example:5672"))
	second.DetachAll("q", nil)
	r.until("the reason", func() bool {
		return strings.Contains(fmt.Sprint(r.Status().Refused), `it is address "p" at other.example:5672, which is not followed`)
	})
}

// The connection is cut at random points, while messages go both ways: each message gets there, nothing that the broker was told
// that we have is missing, and what comes again begins before what is new (SPK-A1, SPK-A6, P1, P3, P5).
func TestCutAtRandom_SPK_A1(t *testing.T) {
	const n = 400
	b := broker(t)
	r := start(t, b.URL(), []string{"up"}, func(c *client.Config) { c.Credit, c.MaxInFlight = 30, 30 })
	b.Feed("up", encodeAll(n)...)
	cutting := make(chan struct{})
	var cuts sync.WaitGroup
	cuts.Go(func() {
		seed, last, most := rand.New(rand.NewPCG(1, 2)), 0, 3*time.Millisecond
		for {
			select {
			case <-cutting:
				return
			case <-time.After(time.Duration(seed.Int64N(int64(most)))):
				b.Kill()
			}
			if done := len(b.Accepted("up")) + len(b.Stored("down")); done == last { // a slow machine gets nowhere in that time
				most += most / 2
			} else {
				last, most = done, 3*time.Millisecond
			}
		}
	})
	lane(t, r, "down", n)
	r.until("all to come up", func() bool { all, _ := b.Left("up"); return all == 0 })
	close(cutting)
	cuts.Wait()
	inOrder(t, "the sink has", r.sink.payloads(), n)
	inOrder(t, "the broker has", bodies(t, b.Stored("down")), n)
	if opened, _ := b.Opened(); opened < 3 {
		t.Logf("only %d connections", opened)
	}
}

// lane sends n messages as a partition of Kafka does: when something is given back it sends nothing newer, waits until nothing is on
// its way, and sends all that was given back again, in order.
func lane(t *testing.T, r *running, address string, n int) {
	t.Helper()
	type result struct {
		i   int
		err error
	}
	results, away := make(chan result, n), 0
	var failed []int
	take := func(o result) {
		if away--; o.err != nil {
			failed = append(failed, o.i)
		}
	}
	send := func(i, tries int) {
		away++
		m := &linkspan.Message{Topic: address, Payload: []byte(custody.Payload(i)), QoS: 1, Tries: tries}
		r.Send(context.Background(), m, func(err error) { results <- result{i, err} })
	}
	var again []int
	for next, tries := 0, 0; next < n || away > 0 || len(failed)+len(again) > 0; {
		room := r.Room(nil) // looked at before what came back, as there
		switch {
		case len(failed) > 0:
			failed, again = append(failed, again...), nil
			if away == 0 {
				slices.Sort(failed)
				failed, again = nil, failed
				tries++
			}
		case len(results) > 0 || !room:
		case len(again) > 0:
			send(again[0], tries)
			again = again[1:]
			continue
		case next < n:
			send(next, 0)
			next++
			continue
		}
		select {
		case o := <-results:
			take(o)
		case <-time.After(time.Millisecond):
		}
	}
}

// inOrder checks that all n payloads are there, each for the first time in order.
func inOrder(t *testing.T, who string, got []string, n int) {
	t.Helper()
	seen, next := map[string]bool{}, 0
	for _, p := range got {
		if !seen[p] && p != custody.Payload(next) {
			t.Fatalf("%s %s before %s (P3)", who, p, custody.Payload(next))
		}
		if !seen[p] {
			next++
		}
		seen[p] = true
	}
	if next != n {
		t.Errorf("%s %d of %d", who, next, n)
	}
}

// One who does not have the permit does not connect: one process of a fleet owns the endpoint (P7).
func TestPermit(t *testing.T) {
	b := broker(t)
	permit := make(chan struct{})
	var asked atomic.Int32
	r := launch(t, b.URL(), []string{"q"}, func(c *client.Config) {
		c.Permit = func(ctx context.Context) bool {
			asked.Add(1)
			select {
			case <-permit:
				return true
			case <-ctx.Done():
				return false
			}
		}
	})
	r.until("the permit to be asked for", func() bool { return asked.Load() == 1 })
	if opened, _ := b.Opened(); opened != 0 {
		t.Error("connected without a permit")
	}
	close(permit)
	r.until("a connection", func() bool { return r.Status().Connected })
}

// A broker that is silent is given up.
func TestSilentBroker(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted sync.WaitGroup
	accepted.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Go(func() { _, _ = io.Copy(io.Discard, nc); _ = nc.Close() })
		}
	})
	r := launch(t, "amqp://"+ln.Addr().String(), nil, func(c *client.Config) { c.ConnectTimeout = 20 * time.Millisecond })
	r.until("attempts to be given up", func() bool { return r.Stats().Failures[client.CauseTimeout].Load() > 2 })
	r.stop()
	_ = ln.Close()
	accepted.Wait()
}

// What is wrong is told with what to do about it, and counted by its cause.
func TestFailuresAreExplained(t *testing.T) {
	b := broker(t)
	b.Refuse("", nil)
	other, err := net.Listen("tcp", "127.0.0.1:0") // speaks something else
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = nc.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = nc.Close()
		}
	})
	t.Cleanup(func() { _ = other.Close(); serving.Wait() })
	cases := map[string]struct {
		change func(*client.Config)
		cause  client.Cause
		says   string
	}{
		"nobody there": {func(c *client.Config) { c.Dial = []string{"amqp://127.0.0.1:1"} }, client.CauseNetwork, "refused"},
		"no AMQP":      {func(c *client.Config) { c.Dial = []string{"amqp://" + other.Addr().String()} }, client.CauseProtocol, "does not speak AMQP 1.0"},
		"no TLS":       {func(c *client.Config) { c.Dial = []string{"amqps://" + b.Addr()} }, client.CauseTLS, "or amqp:// or amqpws://"},
		"no WebSocket": {func(c *client.Config) { c.Dial = []string{"amqpws://" + b.Addr()} }, client.CauseProtocol, "websocket"},
		"no mechanism": {func(c *client.Config) { c.Username, c.Password, c.Mechanisms = "u", "p", []string{"SCRAM-SHA-256"} }, client.CauseLogin, "mechanism"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r := launch(t, b.URL(), nil, c.change)
			r.until("a failure", func() bool { return r.Stats().Failures[c.cause].Load() > 0 })
			if e := r.Status().LastError; !strings.Contains(e, c.says) {
				t.Errorf("%q does not say %q", e, c.says)
			}
		})
	}
}

// A connection that the broker refuses with a reason behind its open frame is a failed attempt, not a connection that was lost.
func TestRefusedConnection(t *testing.T) {
	b := amqptest.NewBroker(t, engine.Config{Properties: failing()})
	r := launch(t, b.URL(), nil)
	r.until("the broker to be asked", func() bool { _, now := b.Opened(); return now > 0 })
	r.until("the refusal", func() bool {
		b.CloseAll(&frame.Error{Condition: frame.InvalidField, Description: "in use", Info: invalidContainer()})
		return r.Stats().Failures[client.CauseTaken].Load() > 0
	})
	if r.Stats().Connects.Load() != 0 {
		t.Error("connected")
	}
}

func failing() frame.Map {
	b := frame.BeginMap(nil)
	b = frame.AppendBool(frame.AppendSymbol(b, "amqp:connection-establishment-failed"), true)
	return frame.Map(frame.EndMap(b, 0, 1))
}

func invalidContainer() frame.Map {
	b := frame.BeginMap(nil)
	b = frame.AppendSymbol(frame.AppendSymbol(b, "invalid-field"), "container-id")
	return frame.Map(frame.EndMap(b, 0, 1))
}

// Every way in: TCP, TLS, WebSocket and both; ANONYMOUS, PLAIN, SCRAM and EXTERNAL with a client certificate; SNI by
// tls.server_name (AKB-A13).
func TestLogins_AKB_A13(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("broker.example")
	own, ownKey := a.Issue("client-7")
	secure := func(c *client.Config) { c.TLS = client.TLSConfig{CA: a.File, ServerName: "broker.example"} }
	login := func(c *client.Config) { c.Username, c.Password = "u", "secret" }
	cases := map[string]struct {
		scheme   string
		listener func(*amqp.ListenerConfig)
		client   func(*client.Config)
		username string
	}{
		"anonymous": {"amqp", nil, nil, ""},
		"PLAIN":     {"amqp", func(c *amqp.ListenerConfig) { c.SASL.Mechanisms = []string{"PLAIN"} }, login, "u"},
		"SCRAM":     {"amqpws", func(c *amqp.ListenerConfig) { c.SASL.Mechanisms = []string{"SCRAM-SHA-256"} }, login, "u"},
		"TLS":       {"amqps", nil, func(c *client.Config) { secure(c); login(c) }, "u"},
		"WebSocket": {"amqpwss", nil, func(c *client.Config) { secure(c); login(c) }, "u"},
		"EXTERNAL": {"amqps", func(c *amqp.ListenerConfig) { c.TLS.ClientCA = a.File; c.SASL.Mechanisms = []string{"EXTERNAL"} }, func(c *client.Config) {
			secure(c)
			c.TLS.Cert, c.TLS.Key = own, ownKey
		}, "client-7"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			cfg := amqp.DefaultListenerConfig()
			cfg.URL = c.scheme + "://127.0.0.1:0"
			if strings.HasSuffix(c.scheme, "s") && c.scheme != "amqpws" {
				cfg.TLS.Cert, cfg.TLS.Key = cert, key
			}
			if c.username == "u" {
				cfg.SASL.Users = map[string]linkspan.Secret{"u": "secret"}
			}
			if c.listener != nil {
				c.listener(&cfg)
			}
			l, err := amqp.Listen(cfg, amqp.Parts{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			to := &sink{}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() { ended <- l.Run(ctx, to) }()
			defer func() { cancel(); <-ended }()
			if c.client == nil {
				c.client = func(*client.Config) {}
			}
			r := start(t, c.scheme+"://"+l.Addr().String(), nil, c.client)
			if err := wait(t, r.send("t", "hello")); err != nil {
				t.Fatal(err)
			}
			if m := to.got[0]; m.Username != c.username || string(m.Payload) != "hello" || m.Client != "linkspan-amqp" {
				t.Errorf("%+v", m)
			}
			r.stop()
		})
	}
}

// A probe says what the broker is, with a name of its own.
func TestProbe(t *testing.T) {
	b := amqptest.NewBroker(t, engine.Config{ContainerID: "the-broker", MaxFrameSize: 4096, IdleTimeout: 10 * time.Second})
	cfg := client.DefaultConfig()
	cfg.Dial = []string{b.URL()}
	p, err := client.Probe(t.Context(), cfg)
	if err != nil || p.Broker != "the-broker" || p.MaxFrameSize != 4096 || p.URL != b.URL() || p.IdleTimeout != 5*time.Second {
		t.Errorf("%+v, %v", p, err)
	}
	b.Stop()
	if _, err := client.Probe(t.Context(), cfg); err == nil {
		t.Error("no error")
	}
}
