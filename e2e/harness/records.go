package harness

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Client returns a Kafka client for addrs that notices quickly when a broker is back, as a test wants it.
func Client(addrs []string, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addrs...),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
	}, opts...)...)
}

// CreateTopic creates a topic with the cluster's default replication and the configs given, and waits until each partition has a leader: on
// Apache Kafka there is none for a moment.
func CreateTopic(ctx context.Context, addrs []string, topic string, partitions int32, configs map[string]*string) error {
	client, err := Client(addrs)
	if err != nil {
		return err
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	if _, err := adm.CreateTopic(ctx, partitions, -1, configs, topic); err != nil {
		return fmt.Errorf("create topic %s: %w", topic, err)
	}
	return Until(ctx, func() error {
		_, err := endOffsets(ctx, adm, topic)
		return err
	})
}

// endOffsets returns the end of each partition; an error also where a single one has no leader.
func endOffsets(ctx context.Context, adm *kadm.Client, topics ...string) (kadm.ListedOffsets, error) {
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	if err := ends.Error(); err != nil {
		return nil, err
	}
	for _, topic := range topics {
		if len(ends[topic]) == 0 {
			return nil, fmt.Errorf("topic %s: %w", topic, kerr.UnknownTopicOrPartition)
		}
	}
	return ends, nil
}

// Read visits every record that topics hold now, each partition in the order of its offsets. Each topic must exist.
func Read(ctx context.Context, addrs []string, visit func(*kgo.Record), topics ...string) error {
	return ReadUntil(ctx, addrs, visit, func() bool { return true }, topics...)
}

// ReadUntil is [Read], and goes on with what comes until it has read all that was there when it asked enough, which said yes.
func ReadUntil(ctx context.Context, addrs []string, visit func(*kgo.Record), enough func() bool, topics ...string) error {
	client, err := Client(addrs, kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer client.Close()
	r := reader{client: client, visit: visit, next: map[place]int64{}}
	for {
		var ends kadm.ListedOffsets
		if err := Until(ctx, func() (err error) {
			ends, err = endOffsets(ctx, kadm.NewClient(client), topics...)
			return err
		}); err != nil {
			return err
		}
		if err := r.to(ctx, ends); err != nil || enough() {
			return err
		}
		select { // more will come
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("read back %v: not enough: %w", topics, ctx.Err())
		}
	}
}

// reader reads topics from their start.
type reader struct {
	client *kgo.Client
	visit  func(*kgo.Record)
	next   map[place]int64 // offset of the next record to visit
}

type place struct {
	topic     string
	partition int32
}

// to reads up to those ends at least.
func (r *reader) to(ctx context.Context, ends kadm.ListedOffsets) error {
	missing := map[place]int64{} // end of each partition that is not read to it
	ends.Each(func(o kadm.ListedOffset) {
		if at := (place{o.Topic, o.Partition}); o.Offset > r.next[at] {
			missing[at] = o.Offset
		}
	})
	for len(missing) > 0 {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("read back: not read to the end: %v: %w", missing, ctx.Err())
		}
		fetches.EachRecord(func(record *kgo.Record) {
			at := place{record.Topic, record.Partition}
			r.visit(record)
			r.next[at] = record.Offset + 1
			if end, ok := missing[at]; ok && r.next[at] >= end {
				delete(missing, at)
			}
		})
	}
	return nil
}

// Count returns how many records have been written to a topic.
func Count(ctx context.Context, client *kgo.Client, topic string) (n int64, err error) {
	ends, err := endOffsets(ctx, kadm.NewClient(client), topic)
	if err != nil {
		return 0, err
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}
