package client

import (
	"slices"
	"time"

	"github.com/linkspan/linkspan"
)

// Status is what an operator wants to know of a client. Where there are several workers, it is about the first, if it does not say
// otherwise.
type Status struct {
	Connected      bool
	Since          time.Time // of the connection, or since when there is none
	URL            string    // of the connection, or of the last one
	Version        string    // "5", "3.1.1", "3.1"; "": never connected
	ClientID       string
	SessionPresent bool     // the broker still had our session
	Workers        int      // connections that are open now
	Shared         bool     // subscriptions are shared
	Filters        []string // subscribed to
	RefusedFilters []string // that the broker did not let us subscribe to, with the reason
	Limits         Limits   // of the broker
	LastError      string   // of the last attempt that failed or connection that was lost; "": none yet
	LastErrorAt    time.Time
}

// Limits are what a broker allows [MQTT 3.2.2.3]. Brokers of MQTT 3 do not say, and are taken to allow everything.
type Limits struct {
	ReceiveMaximum  uint16        // QoS 1 and 2 messages in flight to it
	MaximumQoS      linkspan.QoS  // of messages to it
	Retain          bool          // it keeps retained messages
	MaxPacketSize   uint32        // bytes of a packet to it; 0: no limit
	KeepAlive       time.Duration // that is in force; 0: none
	Shared          bool          // it has shared subscriptions
	Wildcards       bool          // it has wildcards in subscriptions
	SubscriptionIDs bool          // it has subscription identifiers
}

// Status returns how the client is, for people to read.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Workers = int(c.stats.Connected.Load())
	s.Filters, s.RefusedFilters = slices.Clone(s.Filters), slices.Clone(s.RefusedFilters)
	return s
}

// note changes the status, if it is the leader that has something to note.
func (c *Client) note(w *worker, change func(*Status)) {
	if w.n == 0 {
		c.mu.Lock()
		change(&c.status)
		c.mu.Unlock()
	}
}
