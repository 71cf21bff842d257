package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// A Span is what a partition holds: offsets from Start on, and before End.
type Span struct {
	Partition  int32
	Start, End int64
}

// Spans returns what each partition of a topic holds now, in their order, from the first record on that is not older than since; zero:
// from the beginning. It fails with [ErrUnknownTopic] where there is no such topic. It asks once: see [Client.Ping].
func (c *Client) Spans(ctx context.Context, topic string, since time.Time) ([]Span, error) {
	topics, err := c.inspect(ctx, []string{topic})
	if err != nil {
		return nil, err
	}
	switch t := topics[topic]; {
	case t.err != nil:
		return nil, t.err
	case !t.exists:
		return nil, fmt.Errorf("%w: %s", ErrUnknownTopic, topic)
	}
	adm := kadm.NewClient(c.kgo)
	ends, err := adm.ListEndOffsets(ctx, topic)
	var starts kadm.ListedOffsets
	switch {
	case err != nil:
	case since.IsZero():
		starts, err = adm.ListStartOffsets(ctx, topic)
	default:
		starts, err = adm.ListOffsetsAfterMilli(ctx, since.UnixMilli(), topic)
	}
	if err = errors.Join(err, starts.Error(), ends.Error()); err != nil {
		return nil, fmt.Errorf("list offsets of Kafka topic %s: %w", topic, explain(err))
	}
	var spans []Span
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		spans = append(spans, Span{end.Partition, start.Offset, max(start.Offset, end.Offset)})
	})
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.Partition, b.Partition) })
	return spans, nil
}
