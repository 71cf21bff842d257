// Package mqtt is the listener that devices connect to with MQTT 3.1, 3.1.1 or 5, over TCP, TLS and WebSocket. What they
// publish goes to a [linkspan.Sink] and is acknowledged when the sink has taken custody of it; what they subscribe to
// comes from a [session.Registry].
//
// A connection at rest costs a goroutine and its state, and no buffer. Buffers belong to what is going on: bytes that were
// read and are being digested, bytes that wait to be written.
package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/session"
)

// A Listener is a place where devices connect. Make one with [Listen]; it runs once.
type Listener struct {
	cfg      ListenerConfig
	address  address.Address
	registry *session.Registry
	log      *slog.Logger
	tls      *tls.Config // nil: plain
	socket   net.Listener
	stats    Stats
	refusals refusals
	slots    linkspan.Slots[receipt]

	// Of Run.

	to         linkspan.Sink
	bounded    linkspan.Bounded // to, if it is one
	sending    context.Context  // for Send: ends when nothing is waited for any more
	settleQoS0 func(error)      // l.settled, bound once
	pressure   pressure
	flushers   flushers
	draining   atomic.Bool
	empty      chan struct{}  // has a token when, draining, the last message is settled
	running    sync.WaitGroup // of connections

	mu    sync.Mutex
	conns map[*conn]struct{}
	quiet chan struct{} // closed when conns is empty; nil: nobody waits
}

var _ linkspan.Source = (*Listener)(nil)

// Listen binds the listener's address and loads its certificates, and serves nobody before [Listener.Run]. Its errors do not name
// the endpoint.
func Listen(cfg ListenerConfig, reg *session.Registry, log *slog.Logger) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Listener{cfg: cfg, registry: reg, log: log.With("endpoint", cfg.Name), conns: map[*conn]struct{}{}}
	l.address, _ = cfg.address()
	l.settleQoS0 = l.settled
	l.flushers.some.L = &l.flushers.mu
	l.pressure.some, l.empty = make(chan struct{}, 1), make(chan struct{}, 1)
	var err error
	if l.address.TLS {
		if l.tls, err = serverTLS(cfg.TLS, l.log); err != nil {
			return nil, err
		}
	}
	if l.socket, err = net.Listen("tcp", l.address.HostPort()); err != nil {
		return nil, err
	}
	return l, nil
}

// Addr returns the address that is listened on, with the port that the system chose for port 0.
func (l *Listener) Addr() net.Addr { return l.socket.Addr() }

// Stats returns the counters, which go on counting.
func (l *Listener) Stats() *Stats { return &l.stats }

// Close gives up the address of a listener that was never run. Run does so itself.
func (l *Listener) Close() error { return l.socket.Close() }

// Run serves devices until ctx ends, and hands what they publish to the sink. Then it drains (P8): it accepts and reads
// nothing more, waits up to DrainTimeout for what the sink has, acknowledges it, and tells every device goodbye.
func (l *Listener) Run(ctx context.Context, to linkspan.Sink) error {
	l.to, l.pressure.to = to, to
	l.bounded, _ = to.(linkspan.Bounded)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	l.sending = sending

	var helpers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		helpers.Go(l.flushers.run)
	}
	helpers.Go(func() { l.pressure.run(sending) })
	helpers.Go(func() { l.restRun(sending) })
	var accepting sync.WaitGroup
	var failed error
	accepting.Go(func() { failed = l.accept(ctx) })
	stopAccepting := context.AfterFunc(ctx, func() { _ = l.socket.Close() })
	accepting.Wait()
	stopAccepting()
	_ = l.socket.Close()

	l.drain()
	giveUp()
	l.running.Wait()
	l.flushers.close()
	helpers.Wait()
	return failed
}

// accept takes connections until ctx ends. It returns an error only if the socket is of no more use.
func (l *Listener) accept(ctx context.Context) error {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := time.Duration(0)
	for {
		nc, err := l.socket.Accept()
		switch {
		case err == nil:
			if pause > 0 {
				l.log.Info("accepting connections again")
			}
			pause = 0
			l.admit(nc)
			continue
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("endpoint %s: %w", l.cfg.Name, err)
		case pause == 0: // most likely there are no more file descriptors
			l.log.Error("cannot accept connections, trying again", "err", err)
		}
		pause = min(max(shortest, 2*pause), longest)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// admit gives a connection its goroutine, or turns it away.
func (l *Listener) admit(nc net.Conn) {
	l.stats.Accepted.Add(1)
	c := &conn{l: l, born: time.Now()}
	if err := c.sock.open(nc, c); err != nil {
		l.stats.Failed.Add(1)
		_ = nc.Close()
		return
	}
	l.mu.Lock()
	full := l.cfg.MaxConnections > 0 && len(l.conns) >= l.cfg.MaxConnections
	if !full {
		l.conns[c] = struct{}{}
	}
	l.mu.Unlock()
	if full {
		l.stats.Turned.Add(1)
		_ = nc.Close()
		return
	}
	l.stats.Open.Add(1)
	l.running.Go(c.open)
}

// forget takes a connection that has ended off the books.
func (l *Listener) forget(c *conn) {
	l.stats.Open.Add(-1)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	if len(l.conns) == 0 && l.quiet != nil {
		close(l.quiet)
		l.quiet = nil
	}
}

// drain waits for the connections to settle and end, and after DrainTimeout ends those that are left.
func (l *Listener) drain() {
	l.draining.Store(true)
	l.mu.Lock()
	quiet := make(chan struct{})
	if len(l.conns) == 0 {
		close(quiet)
	} else {
		l.quiet = quiet
	}
	l.mu.Unlock()
	l.each((*conn).wake)
	late := time.After(l.cfg.DrainTimeout)
	select {
	case <-quiet:
	case <-late:
		l.log.Warn("stopping with connections that are not settled", "messages", l.stats.InFlight.Load())
		l.each(func(c *conn) { c.stop(endStopping) })
		return
	}
	for l.stats.InFlight.Load() > 0 { // of connections that ended before, and of QoS 0
		select {
		case <-l.empty:
		case <-late:
			l.log.Warn("stopping with messages that are not settled", "messages", l.stats.InFlight.Load())
			return
		}
	}
}

// each calls f for every connection.
func (l *Listener) each(f func(*conn)) {
	l.mu.Lock()
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		f(c)
	}
}

// room reports whether the sink takes m within its bound, or any message if m is nil.
func (l *Listener) room(m *linkspan.Message) bool { return l.bounded == nil || l.bounded.Room(m) }

// settled is the end of a QoS 0 message.
func (l *Listener) settled(err error) {
	defer l.oneSettled()
	switch {
	case err == nil:
		l.stats.Acked[0].Add(1)
	case linkspan.IsPermanent(err):
		l.rejected("", err)
	default:
		l.stats.Abandoned.Add(1)
	}
}

// oneSettled counts a message that is settled, and tells drain of the last.
func (l *Listener) oneSettled() {
	if l.stats.InFlight.Add(-1) == 0 && l.draining.Load() {
		select {
		case l.empty <- struct{}{}:
		default:
		}
	}
}
