// Package kafka is the way to Apache Kafka: a [Producer] that takes custody of messages, a [Consumer] that feeds them,
// reading back by position, the topics that must exist, and an [Embedded] broker for a first run. It is the only importer
// of the Kafka client.
package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A Client is the connection to one Kafka cluster. Its producer, consumers and reads share the configuration, not the
// connections.
type Client struct {
	cfg    Config
	log    *slog.Logger
	quiet  *quietly
	common []kgo.Opt // for every kgo client
	reach  *reach
	kgo    *kgo.Client // produces, administers, reads back

	patience context.Context // of what is to be told to the brokers at an end
	giveUp   context.CancelFunc

	producer *Producer
	topics   *topics
	apart    atomic.Int64 // consumers that run and are Apart
}

// New returns a client that connects when it is first used. It fails on a configuration that [Config.Validate] refuses
// and on files that cannot be read.
func New(cfg Config, log *slog.Logger) (*Client, error) { return newClient(cfg, log) }

// Dial returns a client that has reached the cluster, as [Client.Ping] does.
func Dial(ctx context.Context, cfg Config, log *slog.Logger) (*Client, error) {
	c, err := New(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := c.Ping(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func newClient(cfg Config, log *slog.Logger, extra ...kgo.Opt) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Brokers) == 0 {
		return nil, errors.New("kafka.brokers: is empty; name a broker, or start the embedded one")
	}
	c := &Client{cfg: cfg, log: log, quiet: newLogger(log), reach: &reach{log: log, tls: cfg.TLS != nil, brokers: map[string]*broker{}}}
	c.patience, c.giveUp = context.WithCancel(context.Background())
	c.common = []kgo.Opt{
		kgo.SeedBrokers(cfg.Brokers...),
		kgo.ClientID(cfg.ClientID),
		kgo.SoftwareNameAndVersion("linkspan", "1"),
		kgo.Rack(cfg.Rack),
		kgo.WithLogger(c.quiet),
		kgo.WithHooks(c.reach),
		kgo.RequestTimeoutOverhead(cfg.RequestTimeout),
		kgo.DialTimeout(cfg.RequestTimeout),
		kgo.MetadataMinAge(cfg.RetryInterval),
		kgo.RetryBackoffFn(backoff(cfg.RetryInterval)),
		// A restarting broker cuts connections at their first byte. The client takes that for a wrong configuration and
		// fails records for it; Ping has checked ours.
		kgo.AlwaysRetryEOF(),
		kgo.DisableClientMetrics(),
	}
	if cfg.TLS != nil {
		tc, err := cfg.TLS.config()
		if err != nil {
			return nil, err
		}
		c.common = append(c.common, kgo.DialTLSConfig(tc))
	}
	if cfg.SASL != nil {
		m, err := cfg.SASL.mechanism()
		if err != nil {
			return nil, err
		}
		c.common = append(c.common, kgo.SASL(m))
	}
	if cfg.Dial != nil {
		c.common = append(c.common, kgo.Dialer(cfg.Dial))
	}
	c.common = append(c.common, extra...)
	c.topics = newTopics(c)
	c.producer = newProducer(c)
	var err error
	if c.kgo, err = kgo.NewClient(append(c.common[:len(c.common):len(c.common)], c.producer.options()...)...); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	c.topics.start()
	return c, nil
}

// backoff doubles from least to at most a second, so that what waits out an outage goes on within a second of its end.
func backoff(least time.Duration) func(int) time.Duration {
	return func(tries int) time.Duration {
		d := min(least<<min(max(tries-1, 0), 10), max(least, time.Second))
		return d - time.Duration(rand.Int64N(int64(d)/5+1)) // many instances lose the same broker at once
	}
}

// Ping returns nil once the cluster answers. It tries until ctx ends, but gives up at once on what cannot mend itself: a
// refused login, a certificate that is not trusted.
func (c *Client) Ping(ctx context.Context) error {
	for {
		err := c.kgo.Ping(ctx)
		if err == nil {
			return nil
		}
		if !hopeless(err) && sleep(ctx, c.cfg.RetryInterval) == nil {
			continue
		}
		if last := c.reach.lastError(); last != nil && !hopeless(err) {
			err = last // more telling than that the time is up
		}
		return fmt.Errorf("kafka %s: %w", strings.Join(c.cfg.Brokers, ","), c.reach.why(err))
	}
}

// Connected reports whether the last attempt to connect to any of the brokers succeeded. It says nothing about whether
// messages get through: for that see [Producer.OldestUnacked].
func (c *Client) Connected() bool { return c.reach.up() }

// Producer returns the client's producer, always the same one.
func (c *Client) Producer() *Producer { return c.producer }

// GiveUp has consumers and memberships wait for brokers no longer: what they have under way is let go, positions are not committed
// and groups are left without a word. It is for the end of the time for draining, when brokers may not answer at all (P8). They
// still end by their contexts. Safe to call twice.
func (c *Client) GiveUp() { c.giveUp() }

// Close ends all but the consumers, which end by their context. What the producer still holds is done with
// [linkspan.ErrClosed]: call [Producer.Drain] first. Safe to call twice.
func (c *Client) Close() {
	c.producer.closed.Store(true)
	c.topics.stop()
	c.producer.close()
	c.kgo.Close()
}
