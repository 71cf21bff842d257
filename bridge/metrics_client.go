package bridge

import (
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/mqtt/client"
)

// clientStats ranges over the counters of the client endpoints that this process runs or has run, by name: of those whose clients
// have such.
func clientStats[S any](b *bridge) iter.Seq2[string, *S] {
	return func(yield func(string, *S) bool) {
		for _, d := range b.dialers() {
			run := d.last.Load()
			if run == nil {
				continue
			}
			if c, ok := run.broker.(interface{ Stats() *S }); ok && !yield(d.name, c.Stats()) {
				return
			}
		}
	}
}

// perClient reads one value of each client endpoint.
func perClient[S any, T number](value func(s *S) T) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range clientStats[S](b) {
			set(float64(value(s)), name)
		}
	}
}

// perClientQoS reads one counter of each MQTT client endpoint and QoS.
func perClientQoS(counters func(s *client.Stats) *[3]atomic.Uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range clientStats[client.Stats](b) {
			c := counters(s)
			for qos := range c {
				set(float64(c[qos].Load()), name, strconv.Itoa(qos))
			}
		}
	}
}

// perCause reads the counters of each MQTT client endpoint by cause.
func perCause(counter func(s *client.Stats, c client.Cause) *atomic.Uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range clientStats[client.Stats](b) {
			for _, c := range client.Causes() {
				set(float64(counter(s, c).Load()), name, c.String())
			}
		}
	}
}

// clientFamilies is what client endpoints count of their connections, and of what comes from their brokers.
func clientFamilies() []family {
	return []family{
		gauge("client_owned", "1 if this process runs the client endpoint now.", func(b *bridge, set func(float64, ...string)) {
			for _, d := range b.dialers() {
				set(float64(boolean(d.owned.Load())), d.name)
			}
		}, "endpoint"),
		gauge("client_connections", "Connections to the broker of a client endpoint that are open, of this process.",
			perClient(func(s *client.Stats) int64 { return s.Connected.Load() }), "endpoint"),
		counter("client_connects_total", "Connections that the broker accepted.",
			perClient(func(s *client.Stats) uint64 { return s.Connects.Load() }), "endpoint"),
		counter("client_resumed_sessions_total", "Those of them for which the broker still had our session.",
			perClient(func(s *client.Stats) uint64 { return s.Resumed.Load() }), "endpoint"),
		counter("client_connect_failures_total", "Attempts to connect that failed, by cause: network, tls, protocol, login, refused, taken-over, timeout, sink.",
			perCause(func(s *client.Stats, c client.Cause) *atomic.Uint64 { return &s.Failures[c] }), "endpoint", "cause"),
		counter("client_connections_lost_total", "Connections that ended other than by our wish, by cause.",
			perCause(func(s *client.Stats, c client.Cause) *atomic.Uint64 { return &s.Losses[c] }), "endpoint", "cause"),
		counter("client_received_bytes_total", "Bytes of MQTT packets from the broker.",
			perClient(func(s *client.Stats) uint64 { return s.BytesIn.Load() }), "endpoint"),
		counter("client_sent_bytes_total", "Bytes of MQTT packets to the broker.",
			perClient(func(s *client.Stats) uint64 { return s.BytesOut.Load() }), "endpoint"),

		counter("client_received_messages_total", "Messages from the broker that were handed on, by QoS.",
			perClientQoS(func(s *client.Stats) *[3]atomic.Uint64 { return &s.Received }), "endpoint", "qos"),
		counter("client_acked_messages_total", "Messages from the broker that Kafka or the spool has stored, by QoS; QoS 1 and 2 have been acknowledged.",
			perClientQoS(func(s *client.Stats) *[3]atomic.Uint64 { return &s.Acked }), "endpoint", "qos"),
		counter("client_rejected_messages_total", "Messages from the broker that neither Kafka nor the dead letter topic took.",
			perClient(func(s *client.Stats) uint64 { return s.Rejected.Load() }), "endpoint"),
		counter("client_abandoned_messages_total", "Messages from the broker that were given up unacknowledged; it sends those of QoS 1 and 2 again.",
			perClient(func(s *client.Stats) uint64 { return s.Abandoned.Load() }), "endpoint"),
		counter("client_resent_messages_total", "Messages that the broker sent again and that were not handed on again.",
			perClient(func(s *client.Stats) uint64 { return s.Resent.Load() }), "endpoint"),
		counter("client_repeated_messages_total", "Further copies of a message, one for each of our filters that matches it, not handed on.",
			perClient(func(s *client.Stats) uint64 { return s.Repeated.Load() }), "endpoint"),
		counter("client_echoes_total", "Our own messages that the broker sent back, not handed on.",
			perClient(func(s *client.Stats) uint64 { return s.Echoes.Load() }), "endpoint"),
		counter("client_unwanted_messages_total", "Messages that none of our filters matches, not handed on.",
			perClient(func(s *client.Stats) uint64 { return s.Unwanted.Load() }), "endpoint"),
		gauge("client_in_flight_messages", "Messages from the broker that are handed on and neither stored nor refused.",
			perClient(func(s *client.Stats) int64 { return s.InFlight.Load() }), "endpoint"),
		counter("client_stalls_total", "Times that the broker was not read since neither Kafka nor the spool took any more.",
			perClient(func(s *client.Stats) uint64 { return s.Stalled.Load() }), "endpoint"),
	}
}

// brokerFamilies is what client endpoints count of what goes to their brokers.
func brokerFamilies() []family {
	return []family{
		counter("client_sent_messages_total", "Messages written to the broker, by QoS.",
			perClientQoS(func(s *client.Stats) *[3]atomic.Uint64 { return &s.Sent }), "endpoint", "qos"),
		counter("client_delivered_messages_total", "Messages that the broker has acknowledged, by QoS; those of QoS 0 were written.",
			perClientQoS(func(s *client.Stats) *[3]atomic.Uint64 { return &s.Delivered }), "endpoint", "qos"),
		counter("client_redone_messages_total", "Messages written once more after a connection was lost.",
			perClient(func(s *client.Stats) uint64 { return s.Redone.Load() }), "endpoint"),
		counter("client_refused_messages_total", "Messages that the broker, or a limit that it set, refused for good.",
			perClient(func(s *client.Stats) uint64 { return s.Refused.Load() }), "endpoint"),
		counter("client_downgraded_messages_total", "Messages sent with a lower QoS or without retain since the broker offers no more.",
			perClient(func(s *client.Stats) uint64 { return s.Downgraded.Load() }), "endpoint"),
		gauge("client_queued_messages", "Messages on their way to the broker that it has not acknowledged.",
			perClient(func(s *client.Stats) int64 { return s.Queued.Load() }), "endpoint"),
		gauge("client_oldest_unacked_seconds", "How long the oldest of these has been on its way; 0 without any.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range clientStats[client.Stats](b) {
					set(s.OldestUnacked(time.Now()).Seconds(), name)
				}
			}, "endpoint"),
		gauge("client_lag_records", "Records that this process has still to deliver to the broker, by where it reads them: direct, inbox.",
			func(b *bridge, set func(float64, ...string)) {
				for _, d := range b.dialers() {
					if run := d.last.Load(); run != nil && d.owned.Load() {
						set(float64(run.direct.Lag()), d.name, "direct")
						if inbox := run.inbox.Load(); inbox != nil {
							set(float64(inbox.Lag()), d.name, "inbox")
						}
					}
				}
			}, "endpoint", "way"),
	}
}

// perDead reads what went to the dead letter topic, for each endpoint, and with an empty name for all else.
func perDead(value func(c *deadCounts, set func(float64, ...string))) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, counts := range b.dead.counts {
			value(counts, func(v float64, labels ...string) { set(v, append([]string{name}, labels...)...) })
		}
	}
}

// deadLetterFamilies is what went to the dead letter topic.
func deadLetterFamilies() []family {
	return []family{
		counter("dead_letters_total", "Messages that went to the dead letter topic, by endpoint (empty: a record that had not got to one, or a message of one that is no longer configured) and reason: "+deadLabels()+".",
			perDead(func(c *deadCounts, set func(float64, ...string)) {
				for i, r := range deadReasons {
					if n := c.written[i].Load(); n > 0 {
						set(float64(n), r.label)
					}
				}
			}), "endpoint", "reason"),
		counter("dead_letter_failures_total", "Messages that the dead letter topic did not take either; they were refused, or are tried again.",
			perDead(func(c *deadCounts, set func(float64, ...string)) { set(float64(c.failed.Load())) }), "endpoint"),
	}
}

// deadLabels lists the reasons of dead letters.
func deadLabels() string {
	var labels []string
	for _, r := range deadReasons {
		labels = append(labels, r.label)
	}
	return strings.Join(labels, ", ")
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
