package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// starts says where to begin, by topic and partition.
type starts map[string]map[int32]position

func (s starts) set(topic string, partition int32, p position) {
	if s[topic] == nil {
		s[topic] = map[int32]position{}
	}
	s[topic][partition] = p
}

// offsets is s as the Kafka client wants it.
func (s starts) offsets() map[string]map[int32]kgo.Offset {
	all := map[string]map[int32]kgo.Offset{}
	for topic, ps := range s {
		all[topic] = map[int32]kgo.Offset{}
		for p, at := range ps {
			all[topic][p] = kgo.NewOffset().At(at.offset).WithEpoch(at.epoch)
		}
	}
	return all
}

// positions returns where the group of c goes on in partitions.
//
// Where it has no position it begins at StartOffset, which is written down at once: a member that is killed before its first
// record has settled must not find a later end. For the same reason the first member that meets a topic writes down all of its
// partitions, in one request: a partition without a position, in a topic where the group has any, is then known to be new,
// and nothing of it was read, so it is read from its beginning. So are fixed partitions: what is there was put there for the
// group, perhaps before it had begun (P2).
func (c *Consumer) positions(ctx context.Context, parts map[string][]int32) (starts, error) {
	known, err := kadm.NewClient(c.kgo).FetchOffsets(ctx, c.cfg.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // it has no position then
		return nil, fmt.Errorf("look for the positions of group %s: %w", c.cfg.Group, explain(err))
	}
	at, fresh, first := starts{}, map[string][]int32{}, map[string]bool{}
	for topic, ps := range parts {
		has := false
		for _, o := range known[topic] {
			has = has || o.Err == nil && o.At >= 0
		}
		for _, p := range ps {
			switch o, ok := known.Lookup(topic, p); {
			case ok && o.Err != nil:
				return nil, fmt.Errorf("look for the position of group %s in Kafka topic %s: %w", c.cfg.Group, topic, o.Err)
			case ok && o.At >= 0:
				at.set(topic, p, position{o.At, o.LeaderEpoch})
			default:
				fresh[topic] = append(fresh[topic], p)
				first[topic] = !has && c.cfg.Partitions[topic] == nil && c.settings.StartOffset == "latest"
			}
		}
	}
	if len(fresh) == 0 {
		return at, nil
	}
	begin, err := c.beginnings(ctx, fresh, first)
	if err != nil {
		return nil, err
	}
	for topic, ps := range fresh {
		for _, p := range ps {
			at.set(topic, p, begin[topic][p])
		}
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	for topic, ps := range begin {
		offsets[topic] = map[int32]kgo.EpochOffset{}
		for p, at := range ps {
			offsets[topic][p] = kgo.EpochOffset{Offset: at.offset, Epoch: at.epoch}
		}
	}
	if err := c.write(ctx, offsets, func(string, int32) {}); err != nil {
		return nil, fmt.Errorf("write down where group %s begins: %w", c.cfg.Group, err)
	}
	return at, nil
}

// beginnings returns the start of the partitions in fresh, but of topics in first the end, of all partitions.
func (c *Consumer) beginnings(ctx context.Context, fresh map[string][]int32, first map[string]bool) (starts, error) {
	begin := starts{}
	var atStart, atEnd []string
	for topic := range fresh {
		if first[topic] {
			atEnd = append(atEnd, topic)
		} else {
			atStart = append(atStart, topic)
		}
	}
	if len(atEnd) > 0 {
		ends, err := c.ends(ctx, atEnd)
		if err != nil {
			return nil, err
		}
		ends.Each(func(o kadm.ListedOffset) { begin.set(o.Topic, o.Partition, position{o.Offset, -1}) })
	}
	if len(atStart) > 0 {
		list, err := kadm.NewClient(c.c.kgo).ListStartOffsets(ctx, atStart...)
		if err == nil {
			err = list.Error()
		}
		if err != nil {
			return nil, fmt.Errorf("list offsets of Kafka topics: %w", explain(err))
		}
		list.Each(func(o kadm.ListedOffset) {
			if slices.Contains(fresh[o.Topic], o.Partition) {
				begin.set(o.Topic, o.Partition, position{o.Offset, -1})
			}
		})
	}
	for topic, ps := range fresh {
		for _, p := range ps {
			if _, ok := begin[topic][p]; !ok {
				return nil, fmt.Errorf("no offset of Kafka topic %s partition %d", topic, p)
			}
		}
	}
	return begin, nil
}

// ends returns where topics end now. What open transactions have written already counts as not yet there.
func (c *Consumer) ends(ctx context.Context, topics []string) (kadm.ListedOffsets, error) {
	adm := kadm.NewClient(c.c.kgo)
	list := adm.ListCommittedOffsets
	if c.settings.IsolationLevel == "read_uncommitted" {
		list = adm.ListEndOffsets
	}
	ends, err := list(ctx, topics...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("list ends of Kafka topics: %w", explain(err))
	}
	return ends, nil
}

// adjust is called by the group with where it goes on, before the partitions are fetched.
func (c *Consumer) adjust(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	<-c.made
	missing := map[string][]int32{}
	at := starts{}
	for topic, ps := range offsets {
		for p, o := range ps {
			if e := o.EpochOffset(); e.Offset >= 0 {
				at.set(topic, p, position{e.Offset, e.Epoch})
			} else {
				missing[topic] = append(missing[topic], p)
			}
		}
	}
	if len(missing) > 0 {
		found, err := c.positions(ctx, missing)
		if err != nil {
			return nil, err
		}
		for topic, ps := range found {
			if at[topic] == nil {
				at[topic] = map[int32]position{}
			}
			maps.Copy(at[topic], ps)
		}
	}
	c.begin(at)
	return at.offsets(), nil
}

// begin tells the lanes where they begin. That is committed by now.
func (c *Consumer) begin(at starts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic, ps := range at {
		for p, at := range ps {
			if l := c.lanes[partitionKey{topic, p}]; l != nil {
				l.begin(at)
			}
		}
	}
}
