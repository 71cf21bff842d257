package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/route"
)

// table compiles the routes. newTopic is told of each Kafka topic that a route needs and does not name in full, before
// the first message for it; nil: nobody is.
func (c *Config) table(newTopic func(route.TopicSpec)) (*route.Table, error) {
	return route.New(c.Routes, route.Options{Default: c.DefaultRoute, NewTopic: newTopic, Endpoints: c.routeEndpoints()})
}

// routeEndpoints tells routes what the endpoints are.
func (c *Config) routeEndpoints() (all []route.Endpoint) {
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		e := c.Endpoints[name]
		all = append(all, route.Endpoint{Name: name, Protocol: e.protocol(), Client: e.dials()})
	}
	return all
}

// compileRoutes makes the table, and tells the producer how the topics are to be created that it meets first: those of routes, and the
// fleet's own, to which one who is alone writes before Kafka has been reached.
func (b *bridge) compileRoutes(status *Status) (err error) {
	var specs topicSpecs
	if b.routes, err = b.cfg.table(specs.add); err != nil {
		return err
	}
	if len(b.cfg.dialing()) > 0 {
		for _, s := range fleetTopics(&b.cfg, b.routes) {
			specs.byName.Store(s.Name, s)
		}
	}
	b.client.SpecifyTopics(specs.get)
	status.Routes = describe(b.cfg.Routes, b.cfg.DefaultRoute)
	return nil
}

// topicSpecs remembers how the topics that routes need are to be created, for the producer, which meets them by name.
type topicSpecs struct{ byName sync.Map }

func (t *topicSpecs) add(s route.TopicSpec) { t.byName.Store(s.Name, kafkaSpec(s)) }

func (t *topicSpecs) get(name string) kafka.TopicSpec {
	if s, ok := t.byName.Load(name); ok {
		return s.(kafka.TopicSpec)
	}
	return kafka.TopicSpec{Name: name}
}

func kafkaSpec(s route.TopicSpec) kafka.TopicSpec {
	return kafka.TopicSpec{Name: s.Name, Partitions: s.Partitions, ReplicationFactor: s.Replication}
}

// needed returns the topics that routes name in full.
func needed(t *route.Table) (specs []kafka.TopicSpec) {
	for _, s := range t.KafkaTopics() {
		specs = append(specs, kafkaSpec(s))
	}
	return specs
}

// A replayer reads back from Kafka for sessions that fell behind, and routes what it reads as the live path does.
type replayer struct {
	client *kafka.Client
	routes *route.Table
}

// replayBytes is about how much is read back at a time.
const replayBytes = 1 << 20

// Replay implements [session.Replayer].
func (r replayer) Replay(ctx context.Context, topic string, partition int32, from int64, visit func(m *linkspan.Message)) (int64, error) {
	next, err := r.client.ReadAt(ctx, topic, partition, from, replayBytes, func(m *linkspan.Message) {
		if r.routes.DownAgain(m) { // the live path has counted it
			visit(m)
		}
	})
	var gone *kafka.OffsetError
	if errors.As(err, &gone) {
		return next, linkspan.Permanent(fmt.Errorf("what the session needs is gone: %w", err))
	}
	return next, err
}

// describe tells each route in a line.
func describe(routes []route.Config, standard *route.Config) (lines []string) {
	for _, r := range routes {
		lines = append(lines, r.From+" → "+r.To+extras(r))
	}
	if standard != nil {
		lines = append(lines, "anything else → "+standard.To+extras(*standard))
	}
	return lines
}

func extras(r route.Config) string {
	var parts []string
	if r.Key != nil {
		parts = append(parts, "key "+*r.Key)
	}
	if r.QoS != nil {
		parts = append(parts, fmt.Sprintf("qos %d", *r.QoS))
	}
	if r.Ack != "" {
		parts = append(parts, "ack "+r.Ack)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
