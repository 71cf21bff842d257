package session

import "sync/atomic"

// Stats counts what sessions did. All fields may be read at any time.
type Stats struct {
	// How things stand now.

	Sessions      atomic.Int64
	Subscriptions atomic.Int64
	Retained      atomic.Int64 // topics with a retained message
	RetainedBytes atomic.Int64
	Behind        atomic.Int64 // sessions that are being served from Kafka

	// Totals since the start.

	Delivered       [3]atomic.Int64 // handed to connections, by QoS
	DroppedFull     atomic.Int64    // QoS 0 that found the queue full or the session behind
	DroppedExpired  atomic.Int64    // deliveries left out since the message had expired [MQTT-3.3.2-5]
	DroppedTooLarge atomic.Int64    // deliveries larger than the device takes [MQTT-3.1.2-25]
	FellBehind      atomic.Int64    // times that a session fell behind
	Replayed        atomic.Int64    // deliveries that were read back from Kafka
	Overrun         atomic.Int64    // sessions disconnected because their messages can no longer be had
	RetainedRefused atomic.Int64    // messages not retained since the store was full
	Takeovers       atomic.Int64    // sessions ended by a new connection of the same client
	WillsPublished  atomic.Int64
	WillsRefused    atomic.Int64 // wills that the uplink refused for good
	WillsLost       atomic.Int64 // wills given up: too many waiting, or not taken before the shutdown ended
}
