package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/linkspan/linkspan/internal/websocket"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
)

// both runs a test with a protocol that adds what is to be written, and with one that keeps it.
func both(t *testing.T, f func(t *testing.T, keep bool)) {
	t.Run("added", func(t *testing.T) { f(t, false) })
	t.Run("kept", func(t *testing.T) { f(t, true) })
}

// Lines of any size come back, many at a time and in pieces, over each of the ways in, with a socket and without.
func TestLines(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("server", "127.0.0.1")
	secure := func(c *Config) { c.At.TLS, c.TLS = true, TLSConfig{Cert: cert, Key: key} }
	webSocket := func(c *Config) { c.At.WebSocket, c.Subprotocols = true, []string{"other", "mqtt"} }
	client := a.Client()
	client.ServerName = "127.0.0.1"
	both(t, func(t *testing.T, keep bool) {
		for name, way := range map[string][]func(*Config){
			"tcp": nil, "tls": {secure}, "ws": {webSocket}, "wss": {secure, webSocket}, "memory, tls": {secure},
		} {
			t.Run(name, func(t *testing.T) {
				tr := start(t, keep, way...)
				var nc net.Conn
				if strings.HasPrefix(name, "memory") {
					nc = tr.pipe()
				} else {
					nc = tr.dial(t)
				}
				if strings.HasSuffix(name, "s") && name != "ws" {
					nc = tls.Client(nc, client)
				}
				if strings.HasPrefix(name, "ws") {
					nc = wiretest.WebSocket(t, nc, "mqtt", "/any/where")
				}
				for _, size := range []int{0, 1, 125, 126, 3000, 32 << 10, 70_000, 900_000} {
					line := strings.Repeat("x", size) + "\n"
					say(t, nc, line)
					hear(t, nc, line)
				}
				for _, one := range "in pieces\n" {
					say(t, nc, string(one))
				}
				hear(t, nc, "in pieces\n")
				many := strings.Repeat("many\n", 1000)
				say(t, nc, many)
				hear(t, nc, many)
				say(t, nc, "last\nbye\n")
				if keep {
					hearEnd(t, nc, "last\n")
				} else {
					hearEnd(t, nc, "last\ngoodbye\n")
				}
				if err := <-tr.ended; err != errBye {
					t.Errorf("ended with %v", err)
				}
			})
		}
	})
}

// What many goroutines ring for is written, all of it, whoever is at work.
func TestRing(t *testing.T) {
	both(t, func(t *testing.T, keep bool) {
		tr := start(t, keep)
		nc := tr.dial(t)
		say(t, nc, "hello\n")
		hear(t, nc, "hello\n")
		var running sync.WaitGroup
		tr.Each(func(c *Conn) {
			answer := c.protocol.(interface{ answer([]byte) }).answer
			for range 8 {
				running.Go(func() {
					for range 1000 {
						answer([]byte("news"))
					}
				})
			}
		})
		hear(t, nc, strings.Repeat("news\n", 8000))
		running.Wait()
	})
}

// A peer that does not read is not read any more, and ends when it takes nothing for too long.
func TestPeerThatDoesNotRead(t *testing.T) {
	tr := start(t, false, func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	served, peer := wiretest.Pair(t)
	tr.Admit(served)
	block := []byte(strings.Repeat(strings.Repeat("x", 1000)+"\n", 100))
	for {
		if _, err := peer.Write(block); err != nil {
			break
		}
	}
	if err := <-tr.ended; !errors.Is(err, ErrNotRead) {
		t.Errorf("ended with %v", err)
	}
	if n := tr.stats.BytesIn.Load(); n > 16<<20 {
		t.Errorf("%d bytes were read", n)
	}
}

// Who has found no room is told when there is some again.
func TestRoom(t *testing.T) {
	tr := start(t, false)
	nc := tr.dial(t)
	say(t, nc, "hello\n")
	hear(t, nc, "hello\n")
	tr.Each(func(c *Conn) {
		b := c.Open()
		b.B = append(b.B, strings.Repeat("x", 1<<20)...)
		if n := c.Waiting(); n < 1<<20 { // and perhaps the hello
			t.Errorf("%d bytes wait", n)
		}
		c.Starve()
		c.Added(1)
	})
	hear(t, nc, strings.Repeat("x", 1<<20))
	mqtttest.Until(t, "there is room", func() bool { return tr.room.Load() == 1 })
}

// Bytes of lines that are not whole are bounded for all connections together.
func TestCrowded(t *testing.T) {
	tr := start(t, false, func(c *Config) { c.MaxPartialTotal = 1 << 20 })
	nc := tr.dial(t)
	for {
		if _, err := nc.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	if err := <-tr.ended; !errors.Is(err, ErrCrowded) {
		t.Errorf("ended with %v", err)
	}
	if err := tr.stop(); err != nil {
		t.Error(err)
	}
	if n := tr.stats.Partial.Load(); n != 0 {
		t.Errorf("%d bytes are still held", n)
	}
}

// A peer that says nothing, in the handshake or after it, has as long as the handshake may take.
func TestSilence(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("server", "127.0.0.1")
	soon := func(c *Config) { c.ConnectTimeout = 20 * time.Millisecond }
	tr := start(t, true, soon)
	hearEnd(t, tr.dial(t), "")
	if err := <-tr.ended; err != errLate {
		t.Errorf("ended with %v", err)
	}
	tr = start(t, true, soon, func(c *Config) { c.At.TLS, c.TLS = true, TLSConfig{Cert: cert, Key: key} })
	hearEnd(t, tr.dial(t), "")
	if n := tr.stats.Failed.Load(); n != 1 {
		t.Errorf("%d handshakes failed", n)
	}
}

// A certificate that the peer has is there to be looked at; one that it needs and does not have ends it.
func TestClientCertificate(t *testing.T) {
	a := wiretest.NewAuthority(t)
	cert, key := a.Issue("server", "127.0.0.1")
	tr := start(t, true, func(c *Config) { c.At.TLS, c.TLS = true, TLSConfig{Cert: cert, Key: key, ClientCA: a.File} })
	pair, err := tls.LoadX509KeyPair(a.Issue("peer"))
	if err != nil {
		t.Fatal(err)
	}
	cfg := a.Client()
	cfg.ServerName = "127.0.0.1"
	nameless := tls.Client(tr.dial(t), cfg)
	if _, err := nameless.Read(make([]byte, 1)); err == nil {
		t.Error("it was let in without a certificate")
	}
	cfg.Certificates = []tls.Certificate{pair}
	nc := tls.Client(tr.dial(t), cfg)
	say(t, nc, "hello\n")
	hear(t, nc, "hello\n")
	var names []string
	tr.Each(func(c *Conn) {
		for _, cert := range c.TLS().PeerCertificates { // none of the nameless, if it is still there
			names = append(names, cert.Subject.CommonName)
		}
	})
	if len(names) != 1 || names[0] != "peer" {
		t.Errorf("TLS knows %q", names)
	}
}

// A peer has to speak one of the protocols at the right place [RFC 6455, 4.2.2].
func TestUpgradeRefused(t *testing.T) {
	tr := start(t, true, func(c *Config) {
		c.At.WebSocket, c.At.Path = true, "/here"
		c.Subprotocols, c.Origins = []string{"mqtt"}, []string{"https://example.org"}
	})
	speaks := "Sec-WebSocket-Protocol: other, mqtt"
	for _, test := range []struct {
		path   string
		header []string
		want   string
	}{
		{"/here?a=b", []string{speaks}, "101"},
		{"/here", []string{speaks, "Origin: https://example.org"}, "101"},
		{"/here", []string{speaks, "Origin: https://example.com"}, "403"},
		{"/there", []string{speaks}, "404"},
		{"/here", []string{"Sec-WebSocket-Protocol: other"}, "400"},
		{"/here", nil, "400"},
	} {
		if got := wiretest.Upgrade(t, tr.dial(t), test.path, test.header...); !strings.HasPrefix(got, "HTTP/1.1 "+test.want) {
			t.Errorf("%s %v: %q, want %s", test.path, test.header, got, test.want)
		}
	}
}

// Connections beyond the bound are closed at once.
func TestMaxConnections(t *testing.T) {
	tr := start(t, true, func(c *Config) { c.MaxConnections = 1 })
	first := tr.dial(t)
	say(t, first, "hello\n")
	hear(t, first, "hello\n")
	hearEnd(t, tr.dial(t), "")
	say(t, first, "still there\n")
	hear(t, first, "still there\n")
	if n := tr.stats.Turned.Load(); n != 1 {
		t.Errorf("%d turned away", n)
	}
}

// P8: a server that stops wakes its readers, and waits for their farewells.
func TestStop(t *testing.T) {
	tr := start(t, false)
	nc := tr.dial(t)
	say(t, nc, "hello\n")
	hear(t, nc, "hello\n")
	stopped := make(chan error)
	go func() { stopped <- tr.stop() }()
	hearEnd(t, nc, "goodbye\n")
	_ = nc.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-tr.ended; err != errStopping || tr.stats.Open.Load() != 0 {
		t.Errorf("ended with %v, %d open", err, tr.stats.Open.Load())
	}
}

// A reader that parks until some time goes on then, and before if it is woken.
func TestPark(t *testing.T) {
	s := &Server{stats: new(Stats)}
	c := &lines{}
	c.s = s
	nc, other := net.Pipe()
	defer other.Close()
	c.sock.Conn = nc
	c.Park(time.Time{}) // the first time it only looks around
	c.Park(time.Now().Add(time.Millisecond))
	c.Wake()
	c.Park(time.Now().Add(time.Hour))
}

// A reader that moves to a new goroutine takes everything along, half a line too.
func TestReaderMoves(t *testing.T) {
	tr := start(t, true)
	nc := tr.dial(t)
	for range 50 {
		say(t, nc, "half a ")
		for moved := false; !moved; { // until the reader has read the first part, moved, and waits again
			runtime.Gosched()
			tr.Rest()
			tr.Each(func(c *Conn) { moved = tr.stats.BytesIn.Load()%12 == 7 && c.stack.Load() == small })
		}
		say(t, nc, "line\n")
		hear(t, nc, "half a line\n")
	}
}

// flaky is a socket that has no file descriptors left, several times.
type flaky struct {
	net.Listener
	failures int
	closed   chan struct{}
	once     sync.Once
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures > 0 {
		f.failures--
		return nil, errors.New("too many open files")
	}
	<-f.closed
	return nil, net.ErrClosed
}

func (f *flaky) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Listener.Close()
}

// A system without file descriptors is waited for, and said once.
func TestAcceptGoesOn(t *testing.T) {
	var log mqtttest.Log
	s, err := Listen(Config{At: local()}, new(Stats), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	s.socket = &flaky{Listener: s.socket, failures: 4, closed: make(chan struct{})}
	tired := make(chan error)
	go func() { tired <- s.Run(ctx, nil) }()
	mqtttest.Until(t, "it is said", func() bool { return log.Count("cannot accept") > 0 })
	cancel()
	if err := <-tired; err != nil {
		t.Error(err)
	}
	if n := log.Count("cannot accept"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// Packets leave in one frame, with control frames behind it; no packets leave in none.
func TestEnframe(t *testing.T) {
	bye := websocket.Server.AppendClose(nil, ws.StatusNormalClosure)
	one := websocket.Server.Append(nil, ws.OpBinary, []byte("packets"))
	for _, test := range []struct {
		plain   *Buffer
		control []byte
		want    []byte
	}{
		{&Buffer{B: []byte("packets")}, bye, append(one, bye...)},
		{&Buffer{B: []byte("packets")}, nil, one},
		{new(Buffer), bye, bye},
		{nil, bye, bye},
	} {
		if got := enframe(test.plain, test.control); !bytes.Equal(got.B, test.want) {
			t.Errorf("got %q, want %q", got.B, test.want)
		}
	}
	if got := enframe(nil, nil); got != nil {
		t.Errorf("got %q for nothing", got.B)
	}
}

// Packets longer than the shared buffer get room as they come, at most twice what is there, and what is left of a
// buffer survives rest.
func TestInputGrowsWithWhatArrives(t *testing.T) {
	s, err := Listen(Config{At: local(), Settings: Settings{MaxPartialTotal: 1 << 30}, Scratch: func() any { return new(int) }}, new(Stats), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := &Conn{s: s, Need: 1 << 20}
	total := 0
	for total < 300_000 {
		in := c.Input()
		if _, ok := in.Scratch.(*int); !ok {
			t.Fatal("no scratch")
		}
		p := in.space(c.Need)
		n := min(len(p), 1400)
		for i := range n {
			p[i] = byte(total + i)
		}
		in.w += n
		total += n
		if len(in.buf) > max(readSize, 2*total) {
			t.Fatalf("%d bytes for %d", len(in.buf), total)
		}
		c.Rest()
		if len(c.rest) != total || cap(c.rest) > 2*max(total, smallRest) {
			t.Fatalf("%d of %d bytes kept in %d", len(c.rest), total, cap(c.rest))
		}
		if held := s.stats.Partial.Load(); held != int64(cap(c.rest)) {
			t.Fatalf("%d bytes held, counted %d", cap(c.rest), held)
		}
	}
	for i, b := range c.rest {
		if b != byte(i) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
}

// What TLS meets where nothing has come is temporary, so that it can go on later.
func TestWouldBlockIsTemporary(t *testing.T) {
	var e net.Error
	if !errors.As(errWouldBlock, &e) || !e.Timeout() || !NothingYet(errWouldBlock) || NothingYet(io.EOF) {
		t.Error(errWouldBlock)
	}
}
