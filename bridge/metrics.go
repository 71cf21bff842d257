package bridge

import (
	"iter"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/route"
	"github.com/prometheus/client_golang/prometheus"
)

// A collector turns the counters of a bridge's parts into metrics when it is asked. The parts count in plain atomics, so that
// a message costs no look-up of labels.
type collector struct {
	b        *bridge
	families []family
}

// A family is one metric with all its labels.
type family struct {
	name, help string
	labels     []string
	kind       prometheus.ValueType
	desc       *prometheus.Desc
	read       read
}

// read calls set for each value of a family, with the values of its labels.
type read = func(b *bridge, set func(value float64, labels ...string))

func newCollector(b *bridge) *collector {
	var all []family
	all = append(all, deviceFamilies()...)
	all = append(all, amqpFamilies()...)
	all = append(all, amqpMessageFamilies()...)
	all = append(all, groupFamilies()...)
	all = append(all, clientFamilies()...)
	all = append(all, brokerFamilies()...)
	all = append(all, amqpClientFamilies()...)
	all = append(all, amqpBrokerFamilies()...)
	all = append(all, deadLetterFamilies()...)
	all = append(all, spoolFamilies()...)
	all = append(all, fleetFamilies()...)
	all = append(all, routeFamilies()...)
	all = append(all, sessionFamilies()...)
	all = append(all, kafkaFamilies()...)
	return &collector{b, all}
}

// Describe tells Prometheus what there is.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
}

// Collect reads all counters.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, f := range c.families {
		f.read(c.b, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, labels...)
		})
	}
}

func counter(name, help string, read read, labels ...string) family {
	return newFamily(prometheus.CounterValue, name, help, read, labels)
}

func gauge(name, help string, read read, labels ...string) family {
	return newFamily(prometheus.GaugeValue, name, help, read, labels)
}

func newFamily(kind prometheus.ValueType, name, help string, read read, labels []string) family {
	name = "linkspan_" + name
	return family{name, help, labels, kind, prometheus.NewDesc(name, help, labels, nil), read}
}

// number is any counter of the parts.
type number interface{ ~int64 | ~uint64 }

// stats ranges over the counters of the endpoints whose listeners have those of type S, by name.
func stats[S any](b *bridge) iter.Seq2[string, *S] {
	return func(yield func(string, *S) bool) {
		for _, e := range b.endpoints {
			if l, ok := e.listener.(interface{ Stats() *S }); ok && !yield(e.name, l.Stats()) {
				return
			}
		}
	}
}

// perListener reads one counter of each listener.
func perListener[S any, T number](counter func(s *S) T) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range stats[S](b) {
			set(float64(counter(s)), name)
		}
	}
}

// perQoS reads one counter of each MQTT listener and QoS.
func perQoS(counters func(s *mqtt.Stats) *[3]atomic.Uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range stats[mqtt.Stats](b) {
			c := counters(s)
			for qos := range c {
				set(float64(c[qos].Load()), name, strconv.Itoa(qos))
			}
		}
	}
}

// perReason reads the counters of each MQTT listener that are not zero, by MQTT 5 reason code.
func perReason(counters func(s *mqtt.Stats) *[256]atomic.Uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		for name, s := range stats[mqtt.Stats](b) {
			c := counters(s)
			for code := range c {
				if n := c[code].Load(); n > 0 {
					set(float64(n), name, packet.Reason(code).String())
				}
			}
		}
	}
}

// deviceFamilies is what listeners count.
func deviceFamilies() []family {
	return []family{
		gauge("mqtt_connections", "Connections that are open.",
			perListener(func(s *mqtt.Stats) int64 { return s.Open.Load() }), "endpoint"),
		gauge("mqtt_devices", "Devices that are connected and have been accepted.",
			perListener(func(s *mqtt.Stats) int64 { return s.Sessions.Load() }), "endpoint"),
		counter("mqtt_connections_accepted_total", "Connections that were opened.",
			perListener(func(s *mqtt.Stats) uint64 { return s.Accepted.Load() }), "endpoint"),
		counter("mqtt_connections_turned_away_total", "Connections closed at once since the endpoint had max_connections.",
			perListener(func(s *mqtt.Stats) uint64 { return s.Turned.Load() }), "endpoint"),
		counter("mqtt_connections_failed_total", "Connections that ended before their CONNECT packet.",
			perListener(func(s *mqtt.Stats) uint64 { return s.Failed.Load() }), "endpoint"),
		counter("mqtt_connects_refused_total", "CONNECT packets that were refused, by reason.",
			perReason(func(s *mqtt.Stats) *[256]atomic.Uint64 { return &s.Refused }), "endpoint", "reason"),
		counter("mqtt_disconnects_total", "Connections of accepted devices that ended with a DISCONNECT, by reason; success is the device's own.",
			perReason(func(s *mqtt.Stats) *[256]atomic.Uint64 { return &s.Ended }), "endpoint", "reason"),
		counter("mqtt_connections_lost_total", "Connections of accepted devices that just ended.",
			perListener(func(s *mqtt.Stats) uint64 { return s.Gone.Load() }), "endpoint"),
		counter("mqtt_received_bytes_total", "Bytes of MQTT packets from devices.",
			perListener(func(s *mqtt.Stats) uint64 { return s.BytesIn.Load() }), "endpoint"),
		counter("mqtt_sent_bytes_total", "Bytes of MQTT packets to devices.",
			perListener(func(s *mqtt.Stats) uint64 { return s.BytesOut.Load() }), "endpoint"),
		counter("mqtt_received_packets_total", "MQTT packets from devices.",
			perListener(func(s *mqtt.Stats) uint64 { return s.PacketsIn.Load() }), "endpoint"),
		counter("mqtt_sent_packets_total", "MQTT packets to devices.",
			perListener(func(s *mqtt.Stats) uint64 { return s.PacketsOut.Load() }), "endpoint"),

		counter("mqtt_received_messages_total", "Messages from devices that were handed on, by QoS.",
			perQoS(func(s *mqtt.Stats) *[3]atomic.Uint64 { return &s.Received }), "endpoint", "qos"),
		counter("mqtt_acked_messages_total", "Messages from devices that Kafka or the spool has stored, by QoS; QoS 1 and 2 have been acknowledged.",
			perQoS(func(s *mqtt.Stats) *[3]atomic.Uint64 { return &s.Acked }), "endpoint", "qos"),
		counter("mqtt_refused_messages_total", "Messages from devices that were refused for good, by reason.",
			perReason(func(s *mqtt.Stats) *[256]atomic.Uint64 { return &s.Rejected }), "endpoint", "reason"),
		counter("mqtt_abandoned_messages_total", "Messages from devices that were given up unacknowledged; the devices still have those of QoS 1 and 2.",
			perListener(func(s *mqtt.Stats) uint64 { return s.Abandoned.Load() }), "endpoint"),
		counter("mqtt_repeated_messages_total", "QoS 2 messages that devices sent again and that were not handed on again.",
			perListener(func(s *mqtt.Stats) uint64 { return s.Repeated.Load() }), "endpoint"),
		gauge("mqtt_in_flight_messages", "Messages from devices that are handed on and neither stored nor refused.",
			perListener(func(s *mqtt.Stats) int64 { return s.InFlight.Load() }), "endpoint"),
		gauge("mqtt_backlog_bytes", "Bytes of messages that connections hold back since neither Kafka nor the spool takes any.",
			perListener(func(s *mqtt.Stats) int64 { return s.Backlog.Load() }), "endpoint"),
		gauge("mqtt_partial_bytes", "Bytes held of packets that have not come whole.",
			perListener(func(s *mqtt.Stats) int64 { return s.Partial.Load() }), "endpoint"),

		counter("mqtt_sent_messages_total", "Messages to devices, by QoS.",
			perQoS(func(s *mqtt.Stats) *[3]atomic.Uint64 { return &s.Delivered }), "endpoint", "qos"),
		counter("mqtt_too_large_messages_total", "Messages left out since the device takes none of that size.",
			perListener(func(s *mqtt.Stats) uint64 { return s.TooLarge.Load() }), "endpoint"),
	}
}

// perRoute reads one value of each route, and of the default route.
func perRoute(value func(r *route.RouteStats) uint64) read {
	return func(b *bridge, set func(float64, ...string)) {
		for _, r := range b.routes.Stats().Routes {
			direction := "up"
			if r.Down {
				direction = "down"
			}
			set(float64(value(&r)), r.Route, direction)
		}
	}
}

// routeFamilies is what routes count.
func routeFamilies() []family {
	return []family{
		counter("route_messages_total", "Messages that the route took, up to Kafka or down to devices.",
			perRoute(func(r *route.RouteStats) uint64 { return r.Messages }), "route", "direction"),
		counter("route_bytes_total", "Payloads of those messages.",
			perRoute(func(r *route.RouteStats) uint64 { return r.Bytes }), "route", "direction"),
		counter("route_refused_messages_total", "Messages that the route took and could not pass on, by reason: too_many_topics, invalid_topic, loop, no_device.",
			func(b *bridge, set func(float64, ...string)) {
				for _, r := range b.routes.Stats().Routes {
					set(float64(r.TooManyTopics), r.Route, "too_many_topics")
					set(float64(r.InvalidTopic), r.Route, "invalid_topic")
					set(float64(r.Loop), r.Route, "loop")
					set(float64(r.NoDevice), r.Route, "no_device")
				}
			}, "route", "reason"),
		counter("route_expired_messages_total", "Records that were of no more use when they came down.",
			perRoute(func(r *route.RouteStats) uint64 { return r.Expired }), "route", "direction"),
		counter("route_left_out_headers_total", "Headers of records that MQTT has no form for.",
			perRoute(func(r *route.RouteStats) uint64 { return r.HeadersLeftOut }), "route", "direction"),
		counter("route_skipped_messages_total", "Messages that a broker had retained and that the route skips.",
			perRoute(func(r *route.RouteStats) uint64 { return r.Skipped }), "route", "direction"),
		counter("route_looped_records_total", "Records that were not sent back to the broker that they came from.",
			perRoute(func(r *route.RouteStats) uint64 { return r.Looped }), "route", "direction"),
		gauge("route_kafka_topics", "Kafka topics that the placeholders of the route's to have led to.",
			perRoute(func(r *route.RouteStats) uint64 { return uint64(r.KafkaTopics) }), "route", "direction"),
		counter("unrouted_messages_total", "Messages that no route took: up, refused to their devices or taken by the default route; down, left alone. By outcome: refused, invalid_topic, default_route, ignored.",
			func(b *bridge, set func(float64, ...string)) {
				s := b.routes.Stats()
				set(float64(s.NoRouteUp), "up", "refused")
				set(float64(s.InvalidTopic), "up", "invalid_topic")
				set(float64(s.Defaulted), "up", "default_route")
				set(float64(s.NoRouteDown), "down", "ignored")
			}, "direction", "outcome"),
	}
}

// one reads one value.
func one[T number](value func(b *bridge) T) read {
	return func(b *bridge, set func(float64, ...string)) { set(float64(value(b))) }
}

// sessionFamilies is what sessions count.
func sessionFamilies() []family {
	return []family{
		gauge("sessions", "Device sessions.", one(func(b *bridge) int64 { return b.sessions.Stats().Sessions.Load() })),
		gauge("subscriptions", "Topic filters of all sessions.", one(func(b *bridge) int64 { return b.sessions.Stats().Subscriptions.Load() })),
		gauge("sessions_behind", "Sessions that are served by reading back from Kafka.", one(func(b *bridge) int64 { return b.sessions.Stats().Behind.Load() })),
		counter("sessions_fell_behind_total", "Times that a session had to be served by reading back from Kafka.",
			one(func(b *bridge) int64 { return b.sessions.Stats().FellBehind.Load() })),
		counter("sessions_overrun_total", "Sessions ended since Kafka no longer had their messages.",
			one(func(b *bridge) int64 { return b.sessions.Stats().Overrun.Load() })),
		counter("sessions_taken_over_total", "Sessions ended by a new connection of the same client.",
			one(func(b *bridge) int64 { return b.sessions.Stats().Takeovers.Load() })),
		counter("session_replayed_messages_total", "Messages delivered that were read back from Kafka.",
			one(func(b *bridge) int64 { return b.sessions.Stats().Replayed.Load() })),
		counter("session_dropped_messages_total", "Messages that a session did not deliver, by reason: full (QoS 0 only), expired, too_large.",
			func(b *bridge, set func(float64, ...string)) {
				s := b.sessions.Stats()
				set(float64(s.DroppedFull.Load()), "full")
				set(float64(s.DroppedExpired.Load()), "expired")
				set(float64(s.DroppedTooLarge.Load()), "too_large")
			}, "reason"),
		gauge("retained_messages", "Topics with a retained message.", one(func(b *bridge) int64 { return b.sessions.Stats().Retained.Load() })),
		gauge("retained_bytes", "Memory of retained messages.", one(func(b *bridge) int64 { return b.sessions.Stats().RetainedBytes.Load() })),
		counter("retained_refused_messages_total", "Messages that were not retained since there were max_retained already.",
			one(func(b *bridge) int64 { return b.sessions.Stats().RetainedRefused.Load() })),
		counter("wills_total", "Wills of devices, by what became of them: published, refused, lost.",
			func(b *bridge, set func(float64, ...string)) {
				s := b.sessions.Stats()
				set(float64(s.WillsPublished.Load()), "published")
				set(float64(s.WillsRefused.Load()), "refused")
				set(float64(s.WillsLost.Load()), "lost")
			}, "outcome"),
	}
}

// kafkaFamilies is what the producer counts, and how Kafka is.
func kafkaFamilies() []family {
	return []family{
		gauge("kafka_connected", "1 if the last attempt to connect to a broker succeeded.", func(b *bridge, set func(float64, ...string)) {
			if b.client.Connected() {
				set(1)
			} else {
				set(0)
			}
		}),
		gauge("kafka_lag_records", "Records of the consumed topics that are still to be delivered, as of the last fetch.",
			one(func(b *bridge) int64 { return b.consumer.Lag() })),
		counter("kafka_consumed_records_total", "Records that came down from Kafka and were passed on.",
			one(func(b *bridge) uint64 { return b.consumer.Stats().Records.Load() })),
		counter("kafka_consumed_bytes_total", "Keys, values and headers of those records.",
			one(func(b *bridge) uint64 { return b.consumer.Stats().Bytes.Load() })),
		counter("kafka_fetch_errors_total", "Errors that brokers gave for a partition that is consumed.",
			one(func(b *bridge) uint64 { return b.consumer.Stats().FetchErrors.Load() })),
		counter("kafka_data_loss_total", "Those of them that mean that records were gone before they were read.",
			one(func(b *bridge) uint64 { return b.consumer.Stats().DataLoss.Load() })),
		gauge("kafka_fetched_bytes", "Memory of records that are fetched and not delivered.",
			one(func(b *bridge) int64 { return b.consumer.Stats().HeldBytes.Load() })),
		counter("kafka_acked_records_total", "Records that all in-sync replicas have.",
			one(func(b *bridge) uint64 { return b.client.Producer().Stats().Records.Load() })),
		counter("kafka_acked_bytes_total", "Keys, values and headers of those records.",
			one(func(b *bridge) uint64 { return b.client.Producer().Stats().Bytes.Load() })),
		counter("kafka_refused_records_total", "Records that Kafka refused for good.",
			one(func(b *bridge) uint64 { return b.client.Producer().Stats().Refused.Load() })),
		counter("kafka_failed_records_total", "Records that were given back to their senders, unacknowledged.",
			one(func(b *bridge) uint64 { return b.client.Producer().Stats().Failed.Load() })),
		gauge("kafka_in_flight_records", "Records that are on their way to Kafka.",
			one(func(b *bridge) int64 { return b.client.Producer().Stats().InFlight.Load() })),
		gauge("kafka_in_flight_bytes", "Memory of those records.",
			one(func(b *bridge) int64 { return b.client.Producer().Stats().InFlightBytes.Load() })),
		gauge("kafka_oldest_unacked_seconds", "How long the oldest of those records has been on its way; 0 without any.",
			func(b *bridge, set func(float64, ...string)) { set(b.client.Producer().OldestUnacked().Seconds()) }),
		gauge("kafka_last_ack_timestamp_seconds", "When Kafka last acknowledged a record; 0 for never.",
			func(b *bridge, set func(float64, ...string)) {
				set(float64(b.client.Producer().Stats().LastAck.Load()) / float64(time.Second))
			}),
	}
}
