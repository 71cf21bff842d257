// Package client dials an MQTT broker that is already there, and carries messages both ways: it is the client endpoint of
// Linkspan, for MQTT 3.1, 3.1.1 and 5.
package client

import (
	"context"
	"log/slog"
	"time"

	"github.com/linkspan/linkspan"
)

// A Client is the endpoint of one broker.
type Client struct {
	cfg   Config
	log   *slog.Logger
	stats Stats
}

var (
	_ linkspan.Source  = (*Client)(nil)
	_ linkspan.Bounded = (*Client)(nil)
)

// New returns a client that is not connected yet. cfg must be valid. filters are what the routes want from the broker, in their
// order; cfg.Subscribe counts instead if it is not empty. state may be nil: then nothing is known of the sessions.
func New(cfg Config, filters []string, state State, log *slog.Logger) *Client {
	return &Client{cfg: cfg, log: log}
}

// Run connects, and connects again whenever the connection is lost, until ctx ends.
func (c *Client) Run(ctx context.Context, to linkspan.Sink) error {
	<-ctx.Done()
	return nil
}

// Send takes a message for the broker.
func (c *Client) Send(_ context.Context, _ *linkspan.Message, done func(error)) {
	done(linkspan.ErrClosed)
}

// Room reports whether a Send now stays within MaxInFlight and MaxInFlightBytes.
func (c *Client) Room() bool { return false }

// Stats returns the client's counters.
func (c *Client) Stats() *Stats { return &c.stats }

// Status is what an operator wants to know of a client.
type Status struct {
	Connected      bool      // the first worker is
	Since          time.Time // of the connection, or since when there is none
	URL            string    // of the connection, or of the last attempt
	Version        string    // "5", "3.1.1", "3.1"; "": never connected
	ClientID       string    // of the first worker
	SessionPresent bool      // the broker still had our session
	Workers        int       // connections that are open
	Shared         bool      // subscriptions are shared
	Filters        []string  // subscribed to
	RefusedFilters []string  // that the broker did not let us subscribe to, with the reason
	Limits         Limits    // of the broker
	LastError      string    // of the last attempt that failed or connection that was lost; "": none yet
	LastErrorAt    time.Time
}

// Limits are what a broker allows [MQTT 3.2.2.3]. Brokers of MQTT 3 do not say.
type Limits struct {
	ReceiveMaximum  uint16        // QoS 1 and 2 messages in flight to it
	MaximumQoS      linkspan.QoS  // of messages to it
	Retain          bool          // it keeps retained messages
	MaxPacketSize   uint32        // bytes; 0: no limit
	KeepAlive       time.Duration // that is in force
	Shared          bool          // it has shared subscriptions
	Wildcards       bool          // it has wildcards in subscriptions
	SubscriptionIDs bool          // it has subscription identifiers
}

// Status returns how the client is, for people to read.
func (c *Client) Status() Status { return Status{} }

// ProbeResult is what [Probe] found out.
type ProbeResult struct {
	URL         string // that answered
	Version     string // the highest that the broker takes
	Limits      Limits // what it allows; with MQTT 3 only Shared was tried, all else is assumed
	AssignedID  string // client identifier that it gave us instead of our own; "": none
	Advice      string // one line about what limits the throughput
	SharedKnown bool   // Limits.Shared is the broker's word; an MQTT 3 broker that accepts may not mean it
}

// Probe connects once, with a client identifier of its own so that it disturbs nobody, and returns what the broker offers.
func Probe(ctx context.Context, cfg Config) (ProbeResult, error) {
	return ProbeResult{}, nil
}
