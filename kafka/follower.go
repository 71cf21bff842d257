package kafka

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A Follower reads the whole of one topic, from its start, and goes on with what is written to it: the state that a compacted topic
// holds. Every process that follows a topic sees all of it.
type Follower struct {
	c     *Client
	topic string
	tail  *Consumer
	ready chan struct{}
	began atomic.Bool
}

// Follow returns a follower of a topic that begins to read when it is run, once.
func (c *Client) Follow(topic string) *Follower {
	return &Follower{c: c, topic: topic, ready: make(chan struct{}), tail: c.NewConsumer(ConsumerConfig{Topics: []string{topic}})}
}

// Ready is closed once all that the topic held when Run began has been applied.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Stats returns the live counters.
func (f *Follower) Stats() *ConsumerStats { return &f.tail.stats }

// Run calls apply for each record, those of one partition in order, one call at a time. m.Record.Tombstone tells one that has no
// value and deletes its key. The message is borrowed until apply returns. Run ends when ctx does; it waits for a
// topic that does not exist yet.
func (f *Follower) Run(ctx context.Context, apply func(m *linkspan.Message)) error {
	if f.began.Swap(true) {
		return errors.New("kafka: a follower runs once")
	}
	f.tail.from = map[int32]int64{}
	for tries, ends := 1, map[int32]int64(nil); ; tries++ {
		var err error
		if ends == nil {
			ends, err = f.ends(ctx)
		}
		if err == nil {
			err = f.load(ctx, ends, apply)
		}
		if err == nil {
			break
		}
		f.c.quiet.Log(kgo.LogLevelWarn, "kafka topic cannot be read", "topic", f.topic, "err", err)
		if sleep(ctx, f.tail.backoff(tries)) != nil {
			return nil
		}
	}
	close(f.ready)
	var one sync.Mutex // partitions come beside each other
	return f.tail.Run(ctx, linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
		one.Lock()
		apply(m)
		one.Unlock()
		done(nil)
	}))
}

// ends returns where the partitions end now.
func (f *Follower) ends(ctx context.Context) (map[int32]int64, error) {
	found, err := f.tail.ends(ctx, []string{f.topic})
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, o := range found[f.topic] {
		ends[o.Partition] = o.Offset
	}
	return ends, nil
}

// load reads up to ends. It goes on from where it was when it has failed.
func (f *Follower) load(ctx context.Context, ends map[int32]int64, apply func(m *linkspan.Message)) error {
	for p, end := range ends {
		for f.tail.from[p] < end {
			if err := f.step(ctx, p, ends, apply); err != nil {
				return err
			}
			end = ends[p]
		}
	}
	return nil
}

// step reads on in one partition.
func (f *Follower) step(ctx context.Context, p int32, ends map[int32]int64, apply func(m *linkspan.Message)) error {
	at := f.tail.from[p]
	part, err := f.c.readAt(ctx, f.topic, p, at, int(f.tail.settings.FetchMaxPartitionBytes))
	var gone *OffsetError
	switch {
	case errors.As(err, &gone): // retention was here, or the brokers have lost the end
		f.tail.from[p], ends[p] = max(at, gone.Earliest), min(ends[p], gone.End)
		return nil
	case err != nil:
		return err
	case part.next <= at && f.visible(part) < ends[p]: // a new leader does not know yet how far its followers are
		return sleep(ctx, f.c.cfg.RetryInterval)
	case part.next <= at: // what was there is compacted away
		f.tail.from[p] = ends[p]
		return nil
	}
	var m linkspan.Message
	now := time.Now()
	for _, r := range part.Records {
		fill(&m, r, now)
		apply(&m)
		f.tail.stats.Records.Add(1)
		f.tail.stats.Bytes.Add(uint64(recordBytes(r)))
	}
	f.tail.from[p] = part.next
	return nil
}

// visible is up to where a fetch could read.
func (f *Follower) visible(part readPart) int64 {
	if f.tail.settings.IsolationLevel == "read_uncommitted" {
		return part.HighWatermark
	}
	return part.LastStableOffset
}
