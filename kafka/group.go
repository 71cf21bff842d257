package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// assigned is called by the group before the partitions are fetched.
func (c *Consumer) assigned(ctx context.Context, to linkspan.Sink, parts map[string][]int32) {
	c.changed(true, parts)
	for topic, ps := range parts {
		for _, p := range ps {
			c.add(ctx, to, topic, p)
		}
	}
	c.isReady()
}

// revoked is called by the group before others get the partitions: it waits for what is under way, within a bound, so that
// others do not repeat it.
func (c *Consumer) revoked(parts map[string][]int32) {
	ctx, cancel := context.WithTimeout(c.c.patience, c.settings.RebalanceTimeout/2)
	defer cancel()
	c.release(ctx, c.take(parts), true)
	c.changed(false, parts)
}

// changed tells who wants to know which partitions we have.
func (c *Consumer) changed(ours bool, parts map[string][]int32) {
	if c.cfg.Changed != nil && len(parts) > 0 {
		c.cfg.Changed(ours, parts)
	}
}

// lost is called when others may have the partitions already: all that we had, the group gives up a member as a whole.
func (c *Consumer) lost(parts map[string][]int32) {
	c.losses.Add(1)
	c.forget(parts)
	c.changed(false, parts)
}

// forget stops lanes and lets go of what they have under way.
func (c *Consumer) forget(parts map[string][]int32) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	c.release(ended, c.take(parts), false)
}

// keepPositions is how often positions of a group without members are written again. Kafka forgets those that were not written for
// offsets.retention.minutes, usually a week.
const keepPositions = time.Hour

func (c *Consumer) commitOften(ctx context.Context) {
	kept := time.Now()
	for sleep(ctx, c.settings.CommitInterval) == nil {
		if c.alone() && time.Since(kept) >= keepPositions {
			kept = time.Now()
			for _, l := range c.all() {
				l.committed(position{})
			}
		}
		c.commit(c.all)
	}
}

// errLost: the group has given us up meanwhile, and others may have gone on from where we were.
var errLost = errors.New("the partitions were lost")

// commit writes down the settled positions of lanes, which it asks for once no other commit is under way.
func (c *Consumer) commit(lanes func() []*lane) {
	c.commits.Lock()
	defer c.commits.Unlock()
	offsets := map[string]map[int32]kgo.EpochOffset{}
	byPart := map[partitionKey]*lane{}
	oldest := c.losses.Load()
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
		oldest = min(oldest, l.losses)
	}
	if len(offsets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.c.patience, c.c.cfg.RequestTimeout)
	defer cancel()
	// The Kafka client commits under the membership that it has by then. If that is another than the one that the lanes were
	// given to, the commit would take back what their new owner has committed.
	ctx = kgo.PreCommitFnContext(ctx, func(*kmsg.OffsetCommitRequest) error {
		if c.losses.Load() != oldest {
			return errLost
		}
		return nil
	})
	c.stats.Commits.Add(1)
	err := c.write(ctx, offsets, func(topic string, partition int32) {
		if l := byPart[partitionKey{topic, partition}]; l != nil {
			eo := offsets[topic][partition]
			l.committed(position{eo.Offset, eo.Epoch})
		}
	})
	if err != nil { // the positions are committed with the next ones, or the records come again elsewhere
		c.stats.CommitErrors.Add(1)
		if !errors.Is(err, kgo.ErrClientClosed) && !errors.Is(err, errLost) {
			c.c.quiet.Log(kgo.LogLevelWarn, "kafka commit failed", "group", c.cfg.Group, "err", err)
		}
	}
}

// write commits offsets and calls written for each that is. The error is the last one.
func (c *Consumer) write(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset, written func(topic string, partition int32)) (err error) {
	done := func(resp *kmsg.OffsetCommitResponse, failed error) {
		if err = failed; err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				if e := kerr.ErrorForCode(p.ErrorCode); e != nil {
					err = fmt.Errorf("commit in Kafka topic %s: %w", t.Topic, e)
					continue
				}
				written(t.Topic, p.Partition)
			}
		}
	}
	if c.alone() {
		done(c.writeAlone(ctx, offsets))
		if errors.Is(err, kerr.UnknownMemberID) {
			err = fmt.Errorf("the group has members, so positions of a reader that is none are refused; stop them, or use another group: %w", err)
		}
		return err
	}
	c.kgo.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		done(resp, err)
	})
	return err
}

// writeAlone commits offsets for a group that has no members.
func (c *Consumer) writeAlone(ctx context.Context, offsets map[string]map[int32]kgo.EpochOffset) (*kmsg.OffsetCommitResponse, error) {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = c.cfg.Group, -1
	for topic, ps := range offsets {
		t := kmsg.NewOffsetCommitRequestTopic()
		t.Topic = topic
		for partition, o := range ps {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset, p.LeaderEpoch = partition, o.Offset, o.Epoch
			t.Partitions = append(t.Partitions, p)
		}
		req.Topics = append(req.Topics, t)
	}
	return req.RequestWith(ctx, c.kgo)
}

// topicsByName keeps commits at the last version that names topics; later ones have ids, which we do not always know.
func topicsByName() kgo.Opt {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.OffsetCommit), 9)
	return kgo.MaxVersions(v)
}
