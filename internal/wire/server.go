package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/tally"
)

// Config says where a server listens, and what its connections are bound to. There are no defaults.
type Config struct {
	Settings
	// At is where to listen, from the URL of Settings.
	At address.Address
	// Subprotocols of WebSocket that are spoken, at least one; the peer's first choice of them counts.
	Subprotocols []string

	// Stopping is what Protocol.Stop is told after DrainTimeout.
	Stopping error
	// New makes the protocol's side of a connection, and returns it with the Conn that is a part of it.
	New func() (*Conn, Protocol)
	// Scratch makes what Input.Scratch holds: what the protocol needs while it has something to do. nil: nothing.
	Scratch func() any
}

// Stats counts what a server did since it was made. All of it may be read at any time.
type Stats struct {
	Open     atomic.Int64  // TCP connections open now
	Accepted atomic.Uint64 // TCP connections since the start
	Turned   atomic.Uint64 // connections closed at once for max_connections
	Failed   atomic.Uint64 // connections that ended in the TLS or WebSocket handshake, or before they said who they are

	// Bytes of the protocol, without TLS and WebSocket framing, and packets.

	BytesIn, BytesOut     atomic.Uint64
	PacketsIn, PacketsOut atomic.Uint64

	Partial atomic.Int64 // bytes held of packets that have not come whole

	InFlight tally.Tally  // messages handed to the sink and not settled: see [Server.Settled]
	Backlog  atomic.Int64 // bytes of messages held back while the sink has no room
}

// A Server is a place where peers connect. Make one with [Listen]; it runs once.
type Server struct {
	cfg    Config
	intake intake
	log    *slog.Logger
	tls    *tls.Config // nil: plain
	socket net.Listener
	stats  *Stats
	born   time.Time

	flushers flushers
	inputs   sync.Pool
	running  sync.WaitGroup // of connections

	mu    sync.Mutex
	conns map[*Conn]struct{}
	quiet chan struct{} // closed when conns is empty; nil: nobody waits
}

// Listen binds the address and loads the certificates, and serves nobody before [Server.Run]. It counts in stats.
func Listen(cfg Config, stats *Stats, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, stats: stats, born: time.Now(), log: log, conns: map[*Conn]struct{}{}}
	s.intake.open()
	s.flushers.some.L = &s.flushers.mu
	s.inputs.New = func() any {
		in := &Input{fixed: make([]byte, readSize)}
		if cfg.Scratch != nil {
			in.Scratch = cfg.Scratch()
		}
		return in
	}
	var err error
	if cfg.At.TLS {
		if s.tls, err = serverTLS(cfg.TLS, log); err != nil {
			return nil, err
		}
	}
	listen := net.Listen
	if cfg.Listen != nil {
		listen = cfg.Listen
	}
	if s.socket, err = listen("tcp", cfg.At.HostPort()); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr returns the address that is listened on, with the port that the system chose for port 0.
func (s *Server) Addr() net.Addr { return s.socket.Addr() }

// Close gives up the address of a server that was never run. Run does so itself.
func (s *Server) Close() error { return s.socket.Close() }

// Run serves until ctx ends, or the socket is of no more use, which is the error, and has connections hand what comes to the
// sink. Then it drains (P8): it wakes all readers, which see to it that their connections end, and waits for them and for what the
// sink has.
func (s *Server) Run(ctx context.Context, to linkspan.Sink) error {
	going, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s.intake.begin(going, to)
	var helpers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		helpers.Go(s.flushers.run)
	}
	helpers.Go(func() { s.restRun(going) })
	helpers.Go(func() { s.intake.pressure.Run(going) })
	stopAccepting := context.AfterFunc(ctx, func() { _ = s.socket.Close() })
	failed := s.accept(ctx)
	stopAccepting()
	_ = s.socket.Close()

	s.drain()
	stop()
	s.running.Wait()
	s.flushers.close()
	helpers.Wait()
	return failed
}

// accept takes connections until ctx ends. It returns an error only if the socket is of no more use.
func (s *Server) accept(ctx context.Context) error {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := time.Duration(0)
	for {
		nc, err := s.socket.Accept()
		switch {
		case err == nil:
			if pause > 0 {
				s.log.Info("accepting connections again")
			}
			pause = 0
			s.Admit(nc)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case pause == 0: // most likely there are no more file descriptors
			s.log.Error("cannot accept connections, trying again", "err", err)
		}
		pause = min(max(shortest, 2*pause), longest)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// Admit serves a connection, or turns it away: one that was accepted, or another. Only while Run runs.
func (s *Server) Admit(nc net.Conn) {
	s.stats.Accepted.Add(1)
	c, p := s.cfg.New()
	c.s, c.protocol, c.born = s, p, time.Since(s.born)
	if err := c.sock.open(nc, c); err != nil {
		s.stats.Failed.Add(1)
		_ = nc.Close()
		return
	}
	s.mu.Lock()
	full := s.cfg.MaxConnections > 0 && len(s.conns) >= s.cfg.MaxConnections
	if !full {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if full {
		s.stats.Turned.Add(1)
		_ = nc.Close()
		return
	}
	s.stats.Open.Add(1)
	s.running.Go(c.open)
}

// forget takes a connection that has ended off the books.
func (s *Server) forget(c *Conn) {
	s.stats.Open.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

// noneOpen returns a channel that is closed when no connection is open. Only drain may call it.
func (s *Server) noneOpen() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	quiet := make(chan struct{})
	if len(s.conns) == 0 {
		close(quiet)
	} else {
		s.quiet = quiet
	}
	return quiet
}

// Each calls f for every connection that is open, in the handshakes too.
func (s *Server) Each(f func(*Conn)) {
	s.mu.Lock()
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}
