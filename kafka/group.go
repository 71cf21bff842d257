package kafka

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// assigned is called by the group before the partitions are fetched.
func (c *Consumer) assigned(ctx context.Context, to linkspan.Sink, parts map[string][]int32) {
	for topic, ps := range parts {
		for _, p := range ps {
			c.add(ctx, to, topic, p)
		}
	}
	c.isReady()
}

// revoked is called by the group before others get the partitions: it waits for what is under way, within a bound, so that
// others do not repeat it.
func (c *Consumer) revoked(ctx context.Context, parts map[string][]int32) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.settings.RebalanceTimeout/2)
	defer cancel()
	c.release(ctx, c.take(parts), true)
}

// lost is called when others may have the partitions already.
func (c *Consumer) lost(parts map[string][]int32) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	c.release(ended, c.take(parts), false)
}

func (c *Consumer) commitOften(ctx context.Context) {
	for sleep(ctx, c.settings.CommitInterval) == nil {
		c.commit(c.all)
	}
}

// commit writes down the settled positions of lanes, which it asks for once no other commit is under way.
func (c *Consumer) commit(lanes func() []*lane) {
	c.commits.Lock()
	defer c.commits.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	byPart := map[partitionKey]*lane{}
	for _, l := range lanes() {
		p, ok := l.uncommitted()
		if !ok {
			continue
		}
		if offsets[l.topic] == nil {
			offsets[l.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[l.topic][l.partition] = kgo.EpochOffset{Offset: p.offset, Epoch: p.epoch} // P4
		byPart[partitionKey{l.topic, l.partition}] = l
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.c.cfg.RequestTimeout)
	defer cancel()
	c.kgo.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		c.stats.Commits.Add(1)
		if err != nil {
			c.commitFailed(err)
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					c.commitFailed(err)
					continue
				}
				eo := offsets[t.Topic][p.Partition]
				if l := byPart[partitionKey{t.Topic, p.Partition}]; l != nil {
					l.committed(position{eo.Offset, eo.Epoch})
				}
			}
		}
	})
}

// commitFailed counts: the positions are committed with the next ones, or the records come again elsewhere.
func (c *Consumer) commitFailed(err error) {
	c.stats.CommitErrors.Add(1)
	if !errors.Is(err, kgo.ErrClientClosed) {
		c.c.quiet.Log(kgo.LogLevelWarn, "kafka commit failed", "group", c.cfg.Group, "err", err)
	}
}
