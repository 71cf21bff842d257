// Package mqtt is the listener that devices connect to with MQTT 3.1, 3.1.1 or 5, over TCP, TLS and WebSocket. What they
// publish goes to a [linkspan.Sink] and is acknowledged when the sink has taken custody of it; what they subscribe to
// comes from a [session.Registry].
//
// The connections below it are those of package wire: one at rest costs a goroutine and its state, and no buffer.
package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/pressure"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/session"
)

// A Listener is a place where devices connect. Make one with [Listen]; it runs once.
type Listener struct {
	cfg      ListenerConfig
	registry *session.Registry
	log      *slog.Logger
	server   *wire.Server
	stats    Stats
	refusals refusals
	slots    linkspan.Slots[receipt]

	// Of Run.

	to         linkspan.Sink
	bounded    linkspan.Bounded // to, if it is one
	sending    context.Context  // for Send: ends when nothing is waited for any more
	settleQoS0 func(error)      // l.settled, bound once
	pressure   *pressure.Pressure
	empty      chan struct{} // has a token when, draining, the last message is settled
}

var _ linkspan.Source = (*Listener)(nil)

// Listen binds the listener's address and loads its certificates, and serves nobody before [Listener.Run]. Its errors do not name
// the endpoint.
func Listen(cfg ListenerConfig, reg *session.Registry, log *slog.Logger) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Listener{cfg: cfg, registry: reg, log: log.With("endpoint", cfg.Name), empty: make(chan struct{}, 1)}
	l.settleQoS0 = l.settled
	l.pressure = pressure.New(func() bool { return linkspan.Room(l.to, nil) })
	a, _ := cfg.address()
	w := wire.Config{
		HostPort:         a.HostPort(),
		MaxConnections:   cfg.MaxConnections,
		HandshakeTimeout: cfg.ConnectTimeout,
		WriteTimeout:     cfg.WriteTimeout,
		MaxOutgoing:      cfg.MaxOutgoing,
		MaxPartialTotal:  cfg.MaxPartialTotal,
		New:              l.connection,
		Scratch:          func() any { return new(work) },
	}
	if a.TLS {
		w.TLS = &cfg.TLS
	}
	if a.WebSocket {
		w.WebSocket = &wire.WebSocket{Path: a.Path, Protocols: []string{"mqtt", "mqttv3.1"}, Origins: cfg.Origins}
	}
	var err error
	if l.server, err = wire.Listen(w, &l.stats.Stats, l.log); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Listener) connection() (*wire.Conn, wire.Protocol) {
	c := &conn{l: l}
	return &c.Conn, c
}

// Addr returns the address that is listened on, with the port that the system chose for port 0.
func (l *Listener) Addr() net.Addr { return l.server.Addr() }

// Stats returns the counters, which go on counting.
func (l *Listener) Stats() *Stats { return &l.stats }

// Close gives up the address of a listener that was never run. Run does so itself.
func (l *Listener) Close() error { return l.server.Close() }

// Run serves devices until ctx ends, and hands what they publish to the sink. Then it drains (P8): it accepts and reads
// nothing more, waits up to DrainTimeout for what the sink has, acknowledges it, and tells every device goodbye.
func (l *Listener) Run(ctx context.Context, to linkspan.Sink) error {
	l.to = to
	l.bounded, _ = to.(linkspan.Bounded)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	l.sending = sending

	var helpers sync.WaitGroup
	helpers.Go(func() { l.pressure.Run(sending) })
	err := l.server.Run(ctx, func() {
		l.drain()
		giveUp()
	})
	helpers.Wait()
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", l.cfg.Name, err)
	}
	return nil
}

// drain waits for the connections to settle and end, and after DrainTimeout ends those that are left.
func (l *Listener) drain() {
	quiet, late := l.server.Quiet(), time.After(l.cfg.DrainTimeout)
	select {
	case <-quiet:
	case <-late:
		l.log.Warn("stopping with connections that are not settled", "messages", l.stats.InFlight.Load())
		l.server.Each(func(c *wire.Conn) { c.Protocol().Stop(endStopping) })
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
	if l.stats.InFlight.Add(-1) == 0 && l.server.Draining() {
		select {
		case l.empty <- struct{}{}:
		default:
		}
	}
}
