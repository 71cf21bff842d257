// Package client dials an AMQP 1.0 broker or router that is already there, and carries messages both ways: it is the client endpoint
// of Linkspan for AMQP.
//
//	broker ─► driver ─ engine ─► receiver ─► sink ┄ done ┄► settled ─ engine ─► writer ─► broker
//	Kafka  ─► Send ─► sender ─────────────────────────────────────── engine ─► writer ─► broker
//	broker ─► driver ─ engine ─► sender ─► done
//
// A [Client] has one connection at a time, on it one session, in it a link for each address that it receives from, and one for
// each that it sends to. It keeps nothing over the end of a connection: what the broker has sent and was not told the fate of, the
// broker sends again; what was sent to it without an answer goes back to Kafka, which hands it over again (P5).
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/dial"
)

// A Client is the endpoint of one broker. Its way up is [Client.Run], its way down [Client.Send].
type Client struct {
	cfg       Config
	codec     codec.Codec // where no route says otherwise
	routes    Routes      // nil: there are none
	targets   []dial.Target
	log       *slog.Logger
	stats     Stats
	slots     linkspan.Slots[arrival]
	receivers []*receiver // one for each address
	out       outbox

	to      linkspan.Sink
	sending context.Context // of Send to it

	// Of the goroutine that runs the client.

	at     int // target to try
	pauses dial.BackOff
	said   string // the problem that was logged last

	mu     sync.Mutex
	status Status
	links  map[string]string // those to receive, by address, and those to send that were refused: "" or why there is none
}

// Routes is what the client asks of the routes; *route.Table has it.
type Routes interface {
	// CodecUp returns the codec that the routes want for an address of an endpoint, "" where they do not say.
	CodecUp(endpoint, address string) string
	// CodecDown returns the codec that the routes want for the records of a Kafka topic, "" where they do not say.
	CodecDown(kafkaTopic string) string
}

var (
	_ linkspan.Source  = (*Client)(nil)
	_ linkspan.Bounded = (*Client)(nil)
)

// New returns a client that is not connected yet. cfg must be valid. addresses are what the routes want from the broker;
// cfg.Addresses counts instead if it is not empty. routes may be nil: then the configuration's codec is everybody's.
func New(cfg Config, addresses []string, routes Routes, log *slog.Logger) *Client {
	if len(cfg.Addresses) > 0 {
		addresses = cfg.Addresses
	}
	cfg.ContainerID = cmp.Or(cfg.ContainerID, "linkspan-"+cfg.Name)
	c := &Client{cfg: cfg, routes: routes, log: log.With("endpoint", cfg.Name), links: map[string]string{}}
	c.codec, _ = codec.ByName(cfg.Codec) // Validate has said what is wrong with it, and with the addresses
	for _, text := range cfg.Dial {
		t, _ := dial.Parse(address.AMQP(), text)
		c.targets = append(c.targets, t)
	}
	for _, a := range addresses {
		if !slices.ContainsFunc(c.receivers, func(r *receiver) bool { return r.address == a }) {
			c.receivers = append(c.receivers, newReceiver(c, a))
		}
	}
	c.out.c, c.out.caution = c, defaultCaution
	c.status = Status{ContainerID: cfg.ContainerID, Since: time.Now()}
	return c
}

// codecNamed returns the codec of that name, the configuration's for "".
func (c *Client) codecNamed(name string) codec.Codec {
	if name == "" {
		return c.codec
	}
	known, _ := codec.ByName(name) // the routes have looked
	return known
}

func (c *Client) codecUp(address string) codec.Codec {
	if c.routes == nil {
		return c.codec
	}
	return c.codecNamed(c.routes.CodecUp(c.cfg.Name, address))
}

func (c *Client) codecDown(topic string) codec.Codec {
	if c.routes == nil {
		return c.codec
	}
	return c.codecNamed(c.routes.CodecDown(topic))
}

// Stats returns the client's counters.
func (c *Client) Stats() *Stats { return &c.stats }

// Run connects, and connects again for ever when the connection is lost, with pauses that grow (SPK-A6); it receives from the addresses,
// and hands what comes to the sink. Each message is accepted when the sink has custody, in order (P1). One that the sink refuses for
// good is rejected with the condition; when the sink fails in passing, that message and those behind it are released, and the link is
// attached anew. Without room in the sink no credit is given (P6).
//
// Run ends when ctx does: it waits up to DrainTimeout for what is in flight, releases what comes meanwhile, and closes (P8). It always
// returns nil.
func (c *Client) Run(ctx context.Context, to linkspan.Sink) error {
	c.to = to
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	c.sending = sending
	if c.cfg.TLS.Insecure {
		c.log.Warn("tls.insecure: the broker's certificate is not verified; anyone in between can read and change everything")
	}
	for c.cfg.Permit == nil || c.cfg.Permit(ctx) {
		var lasted time.Duration
		conn, err := c.connect(ctx)
		if err == nil {
			err = c.serve(ctx, conn)
			lasted = time.Since(conn.since)
		}
		if ctx.Err() != nil {
			break
		}
		c.complain(conn, err)
		if to := (*redirect)(nil); errors.As(err, &to) {
			c.at = to.at
		}
		if !c.pauses.Wait(ctx, c.cfg.Reconnect, lasted) {
			break
		}
	}
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.DrainTimeout)
	defer cancel()
	c.untilSettled(timeout)
	c.out.close()
	return nil
}

// untilSettled waits for what is on its way to the sink, whether the broker can be told or not: who is told that we have ended may let
// another begin, whose messages must not come before ours (P3, P8).
func (c *Client) untilSettled(ctx context.Context) {
	for _, r := range c.receivers {
		if err := r.window.WaitEmpty(ctx); err != nil {
			c.log.Warn("stopping although messages from the broker are not settled; it sends them again",
				"address", r.address, "in_flight", r.window.Len())
		}
	}
}

// connect tries the broker's addresses in turn, and returns the first connection.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	var last error
	for range c.targets {
		conn, err := c.open(ctx, c.targets[c.at%len(c.targets)])
		if err == nil {
			return conn, nil
		}
		last = err
		c.at++
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

// serve keeps a connection until it ends, or ctx does.
func (c *Client) serve(ctx context.Context, conn *conn) error {
	c.connected(conn)
	defer c.disconnected(conn)
	select {
	case <-conn.ended:
		return conn.failure
	case <-ctx.Done():
		c.drain(conn)
		return nil
	}
}

// connected notes a new connection.
func (c *Client) connected(conn *conn) {
	c.stats.Connects.Add(1)
	c.stats.Connected.Store(1)
	c.said = ""
	broker := describe(conn.engine.Remote())
	c.log.Info("connected", "url", conn.target.Text, "broker", broker, "container_id", c.cfg.ContainerID)
	c.out.begin(conn) // before anybody is told
	c.note(func(s *Status) { s.Connected, s.Since, s.URL, s.Broker = true, conn.since, conn.target.Text, broker })
}

// disconnected waits for the end of what belongs to the connection.
func (c *Client) disconnected(conn *conn) {
	c.out.end(conn)
	conn.finish()
	c.stats.Connected.Store(0)
	c.note(func(s *Status) { s.Connected, s.Since = false, time.Now() })
	c.mu.Lock()
	clear(c.links)
	c.mu.Unlock()
}

// drain ends a connection in good order (P8): nothing new is taken from the broker or for it, and what is in flight is waited for.
func (c *Client) drain(conn *conn) {
	conn.draining.Store(true)
	conn.poke()
	c.out.close()
	timeout, cancel := context.WithTimeout(context.Background(), c.cfg.DrainTimeout)
	defer cancel()
	c.untilSettled(timeout)
	select {
	case <-c.out.empty():
	case <-conn.ended:
	case <-timeout.Done():
		c.log.Warn("stopping although the broker has not settled all messages")
	}
	conn.leave()
}

// complain counts and logs what is wrong: once as a warning for as long as it is the same. conn is nil for an attempt that failed.
func (c *Client) complain(conn *conn, err error) {
	cause := causeOf(err)
	what := "connection lost"
	if conn == nil {
		what = "cannot connect to the broker"
		c.stats.Failures[cause].Add(1)
	} else {
		c.stats.Losses[cause].Add(1)
	}
	c.note(func(s *Status) { s.LastError, s.LastErrorAt = what+": "+err.Error(), time.Now() })
	text := fmt.Sprint(what, cause, err)
	var op *net.OpError
	if errors.As(err, &op) { // its text has a port that differs each time
		text = what + op.Op + op.Err.Error()
	}
	level := slog.LevelWarn
	if text == c.said {
		level = slog.LevelDebug
	}
	c.said = text
	c.log.Log(context.Background(), level, what, "err", err, "retry_within", c.cfg.Reconnect.Max)
}
