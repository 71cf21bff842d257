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

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
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

	settleQoS0 func(error) // l.settled, bound once
}

var _ linkspan.Source = (*Listener)(nil)

// Listen binds the listener's address and loads its certificates, and serves nobody before [Listener.Run]. Its errors do not name
// the endpoint.
func Listen(cfg ListenerConfig, reg *session.Registry, log *slog.Logger) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Listener{cfg: cfg, registry: reg, log: log.With("endpoint", cfg.Name)}
	l.settleQoS0 = l.settled
	at, _ := cfg.Address(address.MQTT())
	w := wire.Config{
		Settings:     cfg.Settings,
		At:           at,
		Subprotocols: []string{"mqtt", "mqttv3.1"},
		Stopping:     endStopping,
		New:          l.connection,
		Scratch:      func() any { return new(work) },
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
	if err := l.server.Run(ctx, to); err != nil {
		return fmt.Errorf("endpoint %s: %w", l.cfg.Name, err)
	}
	return nil
}

// settled is the end of a QoS 0 message.
func (l *Listener) settled(err error) {
	defer l.server.Settled()
	switch {
	case err == nil:
		l.stats.Acked[0].Add(1)
	case linkspan.IsPermanent(err):
		l.rejected("", err)
	default:
		l.stats.Abandoned.Add(1)
	}
}
