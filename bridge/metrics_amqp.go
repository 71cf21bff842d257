package bridge

import (
	"sync/atomic"

	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/group"
)

// deliveryOutcomes are the labels of amqp.Stats.Outcomes.
var deliveryOutcomes = [...]string{"accepted", "rejected", "released", "modified"}

// amqpFamilies is what AMQP listeners count of connections and links.
func amqpFamilies() []family {
	return []family{
		gauge("amqp_connections", "AMQP connections that are open and have been accepted.",
			perListener(func(s *amqp.Stats) int64 { return s.Opened.Load() }), "endpoint"),
		counter("amqp_connections_accepted_total", "TCP connections that were opened.",
			perListener(func(s *amqp.Stats) uint64 { return s.Accepted.Load() }), "endpoint"),
		counter("amqp_connections_ended_total", "Connections that ended other than by the client's close, by how: turned_away (max_connections), failed (before their open frame), error (closed by the endpoint with a condition), lost.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range stats[amqp.Stats](b) {
					set(float64(s.Turned.Load()), name, "turned_away")
					set(float64(s.Failed.Load()), name, "failed")
					set(float64(s.Errors.Load()), name, "error")
					set(float64(s.Gone.Load()), name, "lost")
				}
			}, "endpoint", "how"),
		gauge("amqp_links", "Links that are attached, by kind: sender (of the client), receiver (of a group), live (receiver of live messages).",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range stats[amqp.Stats](b) {
					set(float64(s.Senders.Load()), name, "sender")
					set(float64(s.Receivers.Load()), name, "receiver")
					set(float64(s.LiveReceivers.Load()), name, "live")
				}
			}, "endpoint", "kind"),
		counter("amqp_links_refused_total", "Links that were refused, by condition.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range stats[amqp.Stats](b) {
					for condition, n := range s.Refused.All() {
						set(float64(n), name, condition)
					}
				}
			}, "endpoint", "reason"),
		counter("amqp_links_stolen_total", "Links that moved to another connection of the same client.",
			perListener(func(s *amqp.Stats) uint64 { return s.Stolen.Load() }), "endpoint"),
		gauge("amqp_links_suspended", "Links that are kept for clients that have left them without closing them.",
			perListener(func(s *amqp.Stats) int64 { return s.Suspended.Load() }), "endpoint"),
		counter("amqp_links_resumed_total", "Links that went on where they were.",
			perListener(func(s *amqp.Stats) uint64 { return s.Resumed.Load() }), "endpoint"),
		counter("amqp_received_bytes_total", "Bytes of AMQP from clients.",
			perListener(func(s *amqp.Stats) uint64 { return s.BytesIn.Load() }), "endpoint"),
		counter("amqp_sent_bytes_total", "Bytes of AMQP to clients.",
			perListener(func(s *amqp.Stats) uint64 { return s.BytesOut.Load() }), "endpoint"),
	}
}

// amqpMessageFamilies is what AMQP listeners count of messages.
func amqpMessageFamilies() []family {
	return []family{
		counter("amqp_received_messages_total", "Messages from clients that were handed on.",
			perListener(func(s *amqp.Stats) uint64 { return s.Received.Load() }), "endpoint"),
		counter("amqp_presettled_messages_total", "Those of them that came settled.",
			perListener(func(s *amqp.Stats) uint64 { return s.Settled.Load() }), "endpoint"),
		counter("amqp_received_outcomes_total", "What became of messages from clients, by outcome: accepted (Kafka or the spool has stored them), rejected, released, abandoned (came settled, and could not be stored).",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range stats[amqp.Stats](b) {
					for i, counter := range []*atomic.Uint64{&s.Taken, &s.Rejected, &s.Released} {
						set(float64(counter.Load()), name, deliveryOutcomes[i])
					}
					set(float64(s.Abandoned.Load()), name, "abandoned")
				}
			}, "endpoint", "outcome"),
		gauge("amqp_in_flight_messages", "Messages from clients that are handed on and neither stored nor refused.",
			perListener(func(s *amqp.Stats) int64 { return s.InFlight.Load() }), "endpoint"),
		gauge("amqp_backlog_bytes", "Bytes of messages that connections hold back since neither Kafka nor the spool takes any.",
			perListener(func(s *amqp.Stats) int64 { return s.Backlog.Load() }), "endpoint"),

		counter("amqp_sent_messages_total", "Messages to clients.",
			perListener(func(s *amqp.Stats) uint64 { return s.Delivered.Load() }), "endpoint"),
		counter("amqp_sent_outcomes_total", "What clients said of messages, by outcome: accepted, rejected, released, modified.",
			func(b *bridge, set func(float64, ...string)) {
				for name, s := range stats[amqp.Stats](b) {
					for i := range s.Outcomes {
						set(float64(s.Outcomes[i].Load()), name, deliveryOutcomes[i])
					}
				}
			}, "endpoint", "outcome"),
		gauge("amqp_unsettled_messages", "Messages to clients of groups that they have not settled.",
			perListener(func(s *amqp.Stats) int64 { return s.Unsettled.Load() }), "endpoint"),
		counter("amqp_too_large_messages_total", "Messages left out since the client takes none of that size.",
			perListener(func(s *amqp.Stats) uint64 { return s.TooLarge.Load() }), "endpoint"),
	}
}

// perGroups reads one value of the registry of groups.
func perGroups[T number](value func(s *group.Stats) T) read {
	return func(b *bridge, set func(float64, ...string)) {
		if b.groups != nil {
			set(float64(value(b.groups.Stats())))
		}
	}
}

// groupFamilies is what the receivers of groups have in common.
func groupFamilies() []family {
	return []family{
		gauge("group_groups", "Consumer groups that have receivers in this process.", perGroups(func(s *group.Stats) int64 { return s.Groups.Load() })),
		gauge("group_receivers", "Receivers of groups.", perGroups(func(s *group.Stats) int64 { return s.Receivers.Load() })),
		gauge("group_idle_receivers", "Those of them that have no partition.", perGroups(func(s *group.Stats) int64 { return s.Idle.Load() })),
		counter("group_redelivered_messages_total", "Deliveries of records that had been delivered here before.",
			perGroups(func(s *group.Stats) uint64 { return s.Redelivered.Load() })),
		counter("group_returned_messages_total", "Deliveries that came back unsettled when their receiver left.",
			perGroups(func(s *group.Stats) uint64 { return s.Returned.Load() })),
		counter("group_undeliverable_messages_total", "Records that none of the receivers here may get, since each said undeliverable-here; they are dead letters.",
			perGroups(func(s *group.Stats) uint64 { return s.Undeliverable.Load() })),
	}
}
