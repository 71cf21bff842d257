// Package session knows which devices are connected and what they have subscribed to, and hands them what comes down
// from Kafka. It keeps retained messages, and publishes wills.
//
// A [Registry] is the sink of the downlink. It matches each message against the filters of all sessions in a topic
// tree and offers it to each [Session] that takes it. A session delivers at once if its device has room, and otherwise
// queues within bounds; one that needs more falls behind and is served by reading back from Kafka (behind.go), so that
// a slow device costs neither memory nor anybody else's time (P6).
//
// Sessions end with their connection. The package knows nothing of the wire: a [Conn] is all it sees of a device.
//
// Locks are taken in this order: Registry.sending, Session.mu, and under it any one of tree.mu (and under that
// retained.mu), Registry.mu and wills.mu.
package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/linkspan/linkspan"
)

// Config bounds what sessions may hold.
type Config struct {
	// Uplink takes wills. nil: wills are not published.
	Uplink linkspan.Sink `yaml:"-"`
	// Replay reads back from Kafka for a session that fell behind. nil: such a session is disconnected with
	// QuotaExceeded.
	Replay Replayer `yaml:"-"`

	// MaxQueued is how many messages may wait for one device, default 1,000. Beyond it, QoS 0 is dropped and counted, and
	// the session falls behind for QoS 1 and 2.
	MaxQueued int `yaml:"max_queued"`
	// MaxQueuedBytes is how many bytes may wait for one device, default 1 MiB. One message may be larger.
	MaxQueuedBytes int `yaml:"max_queued_bytes"`
	// MaxInFlight is how many QoS 1 and 2 messages may be on their way to one device, default 1,024, at most 65,535. A
	// device that asks for fewer by its Receive Maximum gets fewer.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxSubscriptions is how many filters one session may have, default 1,000, and how many one SUBSCRIBE may ask for.
	// More are refused. Each filter of a device that matches a message adds to the time that the message takes.
	MaxSubscriptions int `yaml:"max_subscriptions"`
	// MaxFilterBytes bounds the memory of one session's filters in bytes, default 1 MiB: about 80 for each level, and the
	// text. Filters beyond are refused.
	MaxFilterBytes int `yaml:"max_filter_bytes"`
	// MaxLevels is how many levels a filter may have, default 128. Filters with more are refused.
	MaxLevels int `yaml:"max_levels"`

	// MaxRetained is how many topics may have a retained message, default 1,000,000. When it is reached, messages on
	// further topics are delivered, not retained, and counted.
	MaxRetained int `yaml:"max_retained"`
	// MaxRetainedBytes bounds the memory of retained messages in bytes, default 256 MiB. As MaxRetained when reached.
	MaxRetainedBytes int `yaml:"max_retained_bytes"`

	// SilentShutdown leaves out the wills of the sessions that a shutdown ends. By default they are published: MQTT knows no
	// other end without a will than the device's own DISCONNECT [MQTT-3.1.2-8].
	SilentShutdown bool `yaml:"silent_shutdown"`
}

// DefaultConfig returns the defaults, without Uplink and Replay.
func DefaultConfig() Config {
	return Config{
		MaxQueued:        1000,
		MaxQueuedBytes:   1 << 20,
		MaxInFlight:      1024,
		MaxSubscriptions: 1000,
		MaxFilterBytes:   1 << 20,
		MaxLevels:        128,
		MaxRetained:      1_000_000,
		MaxRetainedBytes: 256 << 20,
	}
}

// Validate returns an error that names the first key with a value that makes no sense.
func (c *Config) Validate() error {
	for _, bound := range []struct {
		key   string
		value int
		least int
	}{
		{"max_queued", c.MaxQueued, 1},
		{"max_queued_bytes", c.MaxQueuedBytes, 1},
		{"max_in_flight", c.MaxInFlight, 1},
		{"max_subscriptions", c.MaxSubscriptions, 1},
		{"max_filter_bytes", c.MaxFilterBytes, 1},
		{"max_levels", c.MaxLevels, 1},
		{"max_retained", c.MaxRetained, 0},
		{"max_retained_bytes", c.MaxRetainedBytes, 0},
	} {
		if bound.value < bound.least {
			return fmt.Errorf("%s: %d is less than %d", bound.key, bound.value, bound.least)
		}
	}
	if c.MaxInFlight > maxInFlight {
		return fmt.Errorf("max_in_flight: %d is more than %d", c.MaxInFlight, maxInFlight)
	}
	return nil
}

const maxInFlight = 65535 // there are no more packet identifiers

// A Replayer reads records back from Kafka, already routed for the downlink.
type Replayer interface {
	// Replay calls visit, in order, for the messages of one batch from offset from on, and returns the offset to go on
	// from; from itself when there is nothing yet. Records that no route takes are left out. visit does not block; m is
	// borrowed. An offset that Kafka no longer has is a permanent error (see [linkspan.IsPermanent]); after any other
	// error the session tries again.
	Replay(ctx context.Context, topic string, partition int32, from int64, visit func(m *linkspan.Message)) (next int64, err error)
}

// Why a filter was not granted.
var (
	// ErrShared: the filter begins with $share/, and shared subscriptions are not available.
	ErrShared = errors.New("shared subscriptions are not available")
	// ErrFilter: wildcards in the wrong place, an empty filter, or one with more levels than max_levels
	// [MQTT-4.7.1-1, MQTT-4.7.3-1].
	ErrFilter = errors.New("not a topic filter")
	// ErrTooMany: the session or the packet has reached max_subscriptions, or the session max_filter_bytes.
	ErrTooMany = errors.New("the session has reached max_subscriptions or max_filter_bytes")
)
