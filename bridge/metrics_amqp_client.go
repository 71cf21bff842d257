package bridge

import (
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/amqp/client"
)

// perAMQPCause reads the counters of each AMQP client endpoint by cause.
func perAMQPCause(counter func(s *client.Stats, c client.Cause) *atomic.Uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range clientStats[client.Stats](b) {
			for _, c := range client.Causes() {
				set(float64(counter(s, c).Load()), name, c.String())
			}
		}
	}
}

// amqpClientFamilies is what AMQP client endpoints count of their connections and links.
func amqpClientFamilies() []family {
	return []family{
		gauge("amqp_client_connections", "Connections to the AMQP broker of a client endpoint that are open, of this process.",
			perClient(func(s *client.Stats) int64 { return s.Connected.Load() }), "endpoint"),
		counter("amqp_client_connects_total", "Connections that the broker accepted.",
			perClient(func(s *client.Stats) uint64 { return s.Connects.Load() }), "endpoint"),
		counter("amqp_client_connect_failures_total", "Attempts to connect that failed, by cause: network, tls, protocol, login, refused, taken-over, timeout.",
			perAMQPCause(func(s *client.Stats, c client.Cause) *atomic.Uint64 { return &s.Failures[c] }), "endpoint", "cause"),
		counter("amqp_client_connections_lost_total", "Connections that ended other than by our wish, by cause.",
			perAMQPCause(func(s *client.Stats, c client.Cause) *atomic.Uint64 { return &s.Losses[c] }), "endpoint", "cause"),
		gauge("amqp_client_links", "Links to the broker that are attached, by kind: receiver, sender.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range clientStats[client.Stats](b) {
					set(float64(s.Receivers.Load()), name, "receiver")
					set(float64(s.Senders.Load()), name, "sender")
				}
			}, "endpoint", "kind"),
		counter("amqp_client_links_detached_total", "Links that the broker refused or ended.",
			perClient(func(s *client.Stats) uint64 { return s.Detached.Load() }), "endpoint"),
		counter("amqp_client_received_bytes_total", "Bytes of AMQP from the broker.",
			perClient(func(s *client.Stats) uint64 { return s.BytesIn.Load() }), "endpoint"),
		counter("amqp_client_sent_bytes_total", "Bytes of AMQP to the broker.",
			perClient(func(s *client.Stats) uint64 { return s.BytesOut.Load() }), "endpoint"),
	}
}

// amqpBrokerFamilies is what AMQP client endpoints count of messages.
func amqpBrokerFamilies() []family {
	return []family{
		counter("amqp_client_received_messages_total", "Messages from the broker that were handed on.",
			perClient(func(s *client.Stats) uint64 { return s.Received.Load() }), "endpoint"),
		counter("amqp_client_received_outcomes_total", "What became of messages from the broker, by outcome: accepted (Kafka, the spool or the dead letter topic has them), rejected, released, abandoned (came settled, and could not be stored).",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range clientStats[client.Stats](b) {
					set(float64(s.Accepted.Load()), name, "accepted")
					set(float64(s.Rejected.Load()), name, "rejected")
					set(float64(s.Released.Load()), name, "released")
					set(float64(s.Abandoned.Load()), name, "abandoned")
				}
			}, "endpoint", "outcome"),
		gauge("amqp_client_in_flight_messages", "Messages from the broker that are handed on and neither stored nor refused.",
			perClient(func(s *client.Stats) int64 { return s.InFlight.Load() }), "endpoint"),
		gauge("amqp_client_held_messages", "Messages from the broker that wait since neither Kafka nor the spool takes any.",
			perClient(func(s *client.Stats) int64 { return s.Held.Load() }), "endpoint"),
		counter("amqp_client_stalls_total", "Times that messages began to wait for that.",
			perClient(func(s *client.Stats) uint64 { return s.Stalled.Load() }), "endpoint"),
		counter("amqp_client_sent_messages_total", "Messages written to the broker.",
			perClient(func(s *client.Stats) uint64 { return s.Sent.Load() }), "endpoint"),
		counter("amqp_client_sent_outcomes_total", "What became of messages to the broker, by outcome: delivered (it has accepted them), refused (by it or a limit of it, for good), returned (they come again), expired.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range clientStats[client.Stats](b) {
					set(float64(s.Delivered.Load()), name, "delivered")
					set(float64(s.Refused.Load()), name, "refused")
					set(float64(s.Returned.Load()), name, "returned")
					set(float64(s.Expired.Load()), name, "expired")
				}
			}, "endpoint", "outcome"),
		gauge("amqp_client_queued_messages", "Messages on their way to the broker that it has not settled.",
			perClient(func(s *client.Stats) int64 { return s.Queued.Load() }), "endpoint"),
		gauge("amqp_client_oldest_unacked_seconds", "How long the oldest of these has been on its way; 0 without any.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range clientStats[client.Stats](b) {
					set(s.OldestUnacked(time.Now()).Seconds(), name)
				}
			}, "endpoint"),
	}
}
