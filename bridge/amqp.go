package bridge

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/kafka"
)

// amqpParts is what AMQP listeners share with the rest of the bridge.
func (b *bridge) amqpParts() amqp.Parts {
	return amqp.Parts{Groups: b.groups, Live: b.sessions, Routes: b.routes}
}

// startGroups reads for the receivers of consumer groups, if any can come. It stops after the listeners: they have settled by then what their
// receivers said, and positions are committed.
func (b *bridge) startGroups(parts *parts) {
	listeners := b.cfg.amqpListeners()
	if len(listeners) == 0 {
		return
	}
	var opts group.Options
	for _, name := range listeners {
		opts.MaxReaders += b.cfg.Endpoints[name].AMQPListener.MaxGroups
	}
	b.groups = group.New(groupKafka{b.client, b.dead}, opts, b.log)
	parts.run(b.groups.Run)
}

// groupKafka is Kafka as the receivers of groups see it.
type groupKafka struct {
	client *kafka.Client
	dead   *deadLetters
}

var _ group.Kafka = groupKafka{}

// Group returns a member of a consumer group.
func (k groupKafka) Group(name string, changed func(ours bool, partitions map[string][]int32)) group.Member {
	return k.guarded(kafka.ConsumerConfig{Group: name, Changed: changed})
}

// Partition returns a reader of one partition.
func (k groupKafka) Partition(p group.Partition) group.Source {
	return k.guarded(kafka.ConsumerConfig{
		Partitions: map[string][]int32{p.Topic: {p.Partition}}, Group: p.Group, From: p.From,
	})
}

// Partitions returns how many partitions a topic has.
func (k groupKafka) Partitions(ctx context.Context, topic string) (int, error) {
	return k.client.Partitions(ctx, topic)
}

func (k groupKafka) guarded(cfg kafka.ConsumerConfig) guardedConsumer {
	cfg.Apart = true
	return guardedConsumer{k.client.NewConsumer(cfg), k.dead}
}

// A guardedConsumer is a consumer for receivers. What they reject goes to the dead letter topic (P2).
type guardedConsumer struct {
	*kafka.Consumer
	dead *deadLetters
}

// Run reads until ctx ends.
func (c guardedConsumer) Run(ctx context.Context, to linkspan.Sink) error {
	return c.Consumer.Run(ctx, &guard{dead: c.dead, to: to.(linkspan.Bounded)})
}

// rejectedBy returns at which endpoint and address a receiver has rejected a record, if that is why.
func rejectedBy(why error) (endpoint, address string) {
	if r := (*amqp.Rejection)(nil); errors.As(why, &r) {
		return r.Endpoint, r.Address
	}
	return "", ""
}
