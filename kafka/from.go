package kafka

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/linkspan/linkspan"
)

// Partitions returns how many partitions a topic has. It asks for as long as the brokers do not say so, until ctx ends. The error is
// [ErrUnknownTopic] where there is no such topic.
func (c *Client) Partitions(ctx context.Context, topic string) (int, error) {
	if !legalName(topic) {
		return 0, fmt.Errorf("%w: %q is no name of a Kafka topic", ErrUnknownTopic, topic)
	}
	for missed := 0; ; {
		all, err := c.inspect(ctx, []string{topic})
		f, answered := all[topic]
		switch {
		case err == nil && f.err != nil:
			return 0, f.err
		case f.exists && f.partitions > 0:
			return int(f.partitions), nil
		case err == nil && answered && !f.exists:
			if missed++; missed > missedMost {
				return 0, fmt.Errorf("%w: %s", ErrUnknownTopic, topic)
			}
		}
		if sleep(ctx, c.cfg.RetryInterval) != nil {
			return 0, fmt.Errorf("look for Kafka topic %s: %w", topic, orElseError(err, ctx.Err()))
		}
	}
}

func orElseError(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// beginAt returns where From says that partitions begin.
func (c *Consumer) beginAt(ctx context.Context, parts map[string][]int32) (starts, error) {
	at := starts{}
	for topic, ps := range parts {
		first, err := kadm.NewClient(c.c.kgo).ListStartOffsets(ctx, topic)
		if err == nil {
			err = first.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("list offsets of Kafka topic %s: %w", topic, explain(err))
		}
		ends, err := c.ends(ctx, []string{topic})
		if err != nil {
			return nil, err
		}
		for _, p := range ps {
			from, ok1 := first.Lookup(topic, p)
			end, ok2 := ends.Lookup(topic, p)
			if !ok1 || !ok2 {
				return nil, fmt.Errorf("no offsets of Kafka topic %s partition %d", topic, p)
			}
			offset, err := c.offsetOf(ctx, topic, p, from.Offset, end.Offset)
			if err != nil {
				return nil, err
			}
			at.set(topic, p, position{offset, -1})
		}
	}
	return at, nil
}

// offsetOf returns the offset that From means in a partition with these ends.
func (c *Consumer) offsetOf(ctx context.Context, topic string, partition int32, first, end int64) (int64, error) {
	offset := c.cfg.From.Offset
	switch c.cfg.From.At {
	case linkspan.Earliest:
		return first, nil
	case linkspan.Latest:
		return end, nil
	case linkspan.AtTime:
		list, err := kadm.NewClient(c.c.kgo).ListOffsetsAfterMilli(ctx, c.cfg.From.Time.UnixMilli(), topic)
		if err == nil {
			err = list.Error()
		}
		if err != nil {
			return 0, fmt.Errorf("list offsets of Kafka topic %s by time: %w", topic, explain(err))
		}
		at, ok := list.Lookup(topic, partition)
		if !ok {
			return 0, fmt.Errorf("no offset of Kafka topic %s partition %d", topic, partition)
		}
		return min(at.Offset, end), nil
	case linkspan.AfterOffset:
		offset++
	}
	if offset > end {
		return 0, &OffsetError{topic, partition, c.cfg.From.Offset, first, end}
	}
	return max(offset, first), nil
}
