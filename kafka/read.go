package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// An OffsetError says that a partition does not have the offset that was asked for: retention removed it, or it was
// never written. Reading can go on at Earliest; what was before is lost.
type OffsetError struct {
	Topic     string
	Partition int32
	Offset    int64
	// Earliest is the first offset that is there, End the one that the next record will get.
	Earliest, End int64
}

// Error says what is there instead.
func (e *OffsetError) Error() string {
	return fmt.Sprintf("Kafka topic %s partition %d has offsets %d to %d, not %d", e.Topic, e.Partition, e.Earliest, e.End, e.Offset)
}

// metadataAge is how long ReadAt trusts what it knows of leaders. A broker that is not the leader says so.
const metadataAge = time.Minute

// ReadAt reads back records from an offset on, about maxBytes of them, at least one batch, and calls visit for each in order. It
// returns the offset to go on from, which is beyond the last visited record where transactions left gaps. At the end of the
// partition it visits nothing, returns from, and does not wait. The message is borrowed until visit returns. The error is an
// [OffsetError] where the offset is not there; others can pass, and were tried against for RequestTimeout. ReadAt may be
// called from many goroutines at once.
func (c *Client) ReadAt(ctx context.Context, topic string, partition int32, from int64, maxBytes int, visit func(m *linkspan.Message)) (next int64, err error) {
	part, err := c.readAt(ctx, topic, partition, from, maxBytes)
	if err != nil {
		return from, err
	}
	var m linkspan.Message
	now := time.Now()
	for _, r := range part.Records {
		fill(&m, r, now)
		visit(&m)
	}
	return max(part.next, from), nil
}

// readAt is ReadAt without the visits.
func (c *Client) readAt(ctx context.Context, topic string, partition int32, from int64, maxBytes int) (readPart, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	age := metadataAge
	for {
		part, err := c.fetchAt(ctx, topic, partition, from, maxBytes, age)
		if err == nil {
			err = part.Err
		}
		switch {
		case err == nil:
			return part, nil
		case errors.Is(err, kerr.OffsetOutOfRange):
			return part, c.offsetError(ctx, topic, partition, from)
		case age < metadataAge && !moved(err), ctx.Err() != nil, sleep(ctx, c.cfg.RetryInterval) != nil:
			return part, fmt.Errorf("read Kafka topic %s partition %d at %d: %w", topic, partition, from, explain(err))
		}
		age = time.Nanosecond // the leader may be another by now
	}
}

// moved reports whether asking again, perhaps another broker, can help.
func moved(err error) bool {
	return kerr.IsRetriable(err) || kgo.IsRetryableBrokerErr(err) || isDial(err)
}

type readPart struct {
	kgo.FetchPartition
	next int64
}

// fetchAt asks the partition's leader once.
func (c *Client) fetchAt(ctx context.Context, topic string, partition int32, from int64, maxBytes int, age time.Duration) (part readPart, err error) {
	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = append(meta.Topics, kmsg.MetadataRequestTopic{Topic: &topic})
	known, err := c.kgo.RequestCachedMetadata(ctx, meta, age)
	if err != nil {
		return part, err
	}
	id, leader, err := leaderOf(known, topic, partition)
	if err != nil {
		return part, err
	}
	req := kmsg.NewPtrFetchRequest()
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.IsolationLevel = 0, 0, int32(maxBytes), c.isolationLevel()
	rt := kmsg.NewFetchRequestTopic()
	rt.Topic, rt.TopicID = topic, id
	rp := kmsg.NewFetchRequestTopicPartition()
	rp.Partition, rp.FetchOffset, rp.PartitionMaxBytes = partition, from, int32(maxBytes)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	kresp, err := c.kgo.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return part, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return part, err
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 {
		return part, kerr.UnknownTopicOrPartition
	}
	opts := kgo.ProcessFetchPartitionOpts{Offset: from, IsolationLevel: c.isolation(), Topic: topic, Partition: partition}
	part.FetchPartition, part.next = kgo.ProcessFetchPartition(opts, &resp.Topics[0].Partitions[0], kgo.DefaultDecompressor(), nil)
	return part, nil
}

// leaderOf finds a partition's leader, and the topic's id, which newer brokers want.
func leaderOf(meta *kmsg.MetadataResponse, topic string, partition int32) (id [16]byte, leader int32, err error) {
	for _, t := range meta.Topics {
		if t.Topic == nil || *t.Topic != topic {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			return id, 0, err
		}
		for _, p := range t.Partitions {
			if p.Partition != partition {
				continue
			}
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return id, 0, err
			}
			if p.Leader < 0 {
				return id, 0, kerr.LeaderNotAvailable
			}
			return t.TopicID, p.Leader, nil
		}
	}
	return id, 0, kerr.UnknownTopicOrPartition
}

// offsetError finds out which offsets there are.
func (c *Client) offsetError(ctx context.Context, topic string, partition int32, from int64) error {
	adm := kadm.NewClient(c.kgo)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("list offsets of Kafka topic %s: %w", topic, err)
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return fmt.Errorf("list offsets of Kafka topic %s: %w", topic, err)
	}
	start, _ := starts.Lookup(topic, partition)
	end, _ := ends.Lookup(topic, partition)
	if err := errors.Join(start.Err, end.Err); err != nil {
		return fmt.Errorf("list offsets of Kafka topic %s partition %d: %w", topic, partition, err)
	}
	return &OffsetError{topic, partition, from, start.Offset, end.Offset}
}

func (c *Client) isolation() kgo.IsolationLevel {
	if c.cfg.Consumer.IsolationLevel == "read_uncommitted" {
		return kgo.ReadUncommitted()
	}
	return kgo.ReadCommitted()
}

func (c *Client) isolationLevel() int8 {
	if c.cfg.Consumer.IsolationLevel == "read_uncommitted" {
		return 0
	}
	return 1
}

// fill makes m the message of r. Slices borrow from r, and m's list of headers is reused.
func fill(m *linkspan.Message, r *kgo.Record, now time.Time) {
	m.Reset()
	m.Payload, m.Received = r.Value, now
	headers := m.Record.Headers
	for _, h := range r.Headers {
		headers = append(headers, linkspan.Header{Key: h.Key, Value: h.Value})
	}
	m.Record = linkspan.Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp, Key: r.Key, Headers: headers, Tombstone: r.Value == nil}
}
