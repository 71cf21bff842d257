// Package amqp is the listener that AMQP 1.0 clients connect to, over TCP, TLS and WebSocket. What they send goes to a
// [linkspan.Sink] and is accepted when the sink has taken custody of it; what they receive are records that consumer groups of
// Kafka share out, from a [group.Registry], or live messages, from a [session.Registry].
//
// The protocol itself is package engine's, the sockets are those of internal/wire. Here the two are driven, addresses and
// filters are given their meaning, and deliveries are turned into messages and back.
package amqp

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/session"
)

// Parts are what a listener works with. Each may be nil: then there is nothing of that kind.
type Parts struct {
	Groups *group.Registry   // for receivers of records
	Live   *session.Registry // for receivers of live messages
	Routes Routes
}

// Routes is what a listener asks of the routes: *route.Table.
type Routes interface {
	// CodecUp returns the name of the codec for what is sent to an address, "" for the endpoint's.
	CodecUp(endpoint, address string) string
	// CodecDown returns the name of the codec for records of a Kafka topic, "" for the endpoint's.
	CodecDown(topic string) string
	// Live reports whether live messages may come to an MQTT topic or filter.
	Live(address string) bool
	// Restore fills in from the headers of m.Record what they say of the message.
	Restore(m *linkspan.Message) uint64
}

// A Listener is a place where clients connect. Make one with [Listen]; it runs once.
type Listener struct {
	cfg     ListenerConfig
	parts   Parts
	log     *slog.Logger
	codec   codec.Codec
	engine  engine.Config // but for Wake and External
	server  *wire.Server
	stats   Stats
	slots   linkspan.Slots[*engine.Delivery]
	links   links
	running sync.WaitGroup // of who asks Kafka
}

var _ linkspan.Source = (*Listener)(nil)

// Listen binds the listener's address and loads its certificates, and serves nobody before [Listener.Run]. Its errors do not name
// the endpoint.
func Listen(cfg ListenerConfig, parts Parts, log *slog.Logger) (*Listener, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	l := &Listener{cfg: cfg, parts: parts, log: log.With("endpoint", cfg.Name)}
	var err error
	if l.codec, err = codec.ByName(cfg.Codec); err != nil {
		return nil, fmt.Errorf("codec: %w", err)
	}
	l.engine = cfg.engine()
	l.links.cfg, l.links.stats = &l.cfg, &l.stats
	at, _ := cfg.Address(address.AMQP())
	w := wire.Config{
		Settings:     cfg.Settings,
		At:           at,
		Subprotocols: []string{"amqp", "AMQPWSB10"},
		Stopping:     errStopping,
		New: func() (*wire.Conn, wire.Protocol) {
			c := &conn{l: l}
			return &c.Conn, c
		},
		Scratch: func() any { return new(work) },
	}
	if l.server, err = wire.Listen(w, &l.stats.Stats, l.log); err != nil {
		return nil, err
	}
	return l, nil
}

// engine returns what the engine of each connection has in common.
func (c *ListenerConfig) engine() engine.Config {
	e := engine.DefaultConfig()
	e.ContainerID = "linkspan-" + rand.Text()
	e.MaxFrameSize, e.MaxMessageSize, e.MaxPartial = c.MaxFrameSize, uint64(c.MaxMessageSize), c.MaxPartial
	e.ChannelMax, e.HandleMax, e.IdleTimeout = uint16(c.MaxSessions-1), uint32(c.MaxLinks-1), c.IdleTimeout
	e.MaxOutput = c.MaxOutgoing
	e.OfferedCapabilities = []frame.Symbol{"ANONYMOUS-RELAY"} // senders need no target: clients ask before they try
	e.Properties = frame.EndMap(frame.AppendString(frame.AppendSymbol(frame.BeginMap(nil), "product"), "linkspan"), 0, 1)
	checker := &sasl.Checker{Mechanisms: c.offered(), Anyone: len(c.SASL.Users) == 0}
	_, _ = rand.Read(checker.Secret[:])
	checker.Password = func(user string) (string, bool) {
		password, ok := c.SASL.Users[user]
		return string(password), ok
	}
	e.Checker = checker
	return e
}

// Addr returns the address that is listened on, with the port that the system chose for port 0.
func (l *Listener) Addr() net.Addr { return l.server.Addr() }

// Stats returns the counters, which go on counting.
func (l *Listener) Stats() *Stats { return &l.stats }

// Close gives up the address of a listener that was never run. Run does so itself.
func (l *Listener) Close() error { return l.server.Close() }

// Run serves clients until ctx ends, and hands what they send to the sink. Then it drains (P8): it accepts and reads
// nothing more, gives back what the sink has not been handed, waits up to DrainTimeout for what it has, settles it, and closes every
// connection with amqp:connection:forced.
func (l *Listener) Run(ctx context.Context, to linkspan.Sink) error {
	defer context.AfterFunc(ctx, l.links.close)()
	err := l.server.Run(ctx, to)
	l.links.close()
	l.running.Wait()
	if err != nil {
		return fmt.Errorf("endpoint %s: %w", l.cfg.Name, err)
	}
	return nil
}

// settlePatience is how long clients may settle what they have received, once the listener stops.
const settlePatience = 500 * time.Millisecond

// grace returns until when they may; zero: the listener does not stop.
func (l *Listener) grace() time.Time {
	since := l.server.DrainingSince()
	if since.IsZero() {
		return since
	}
	return since.Add(min(settlePatience, l.cfg.DrainTimeout))
}

// isLive reports whether live messages may come to an address.
func (l *Listener) isLive(address string) bool {
	return l.parts.Routes != nil && l.parts.Routes.Live(address)
}

// codecUp returns the codec for what is sent to an address.
func (l *Listener) codecUp(address string) codec.Codec {
	if l.parts.Routes == nil {
		return l.codec
	}
	return l.codecNamed(l.parts.Routes.CodecUp(l.cfg.Name, address))
}

// codecDown returns the codec for records of a topic.
func (l *Listener) codecDown(topic string) codec.Codec {
	if l.parts.Routes == nil {
		return l.codec
	}
	return l.codecNamed(l.parts.Routes.CodecDown(topic))
}

func (l *Listener) codecNamed(name string) codec.Codec {
	if name == "" {
		return l.codec
	}
	c, err := codec.ByName(name)
	if err != nil { // the routes were checked when they were loaded
		return l.codec
	}
	return c
}
