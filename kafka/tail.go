package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan"
)

// A tail finds the partitions that a consumer reads which is no member of a group. Without positions to go on from, those that
// are there when it starts are read from where they end by then, and those that come later from their beginning.
type tail struct {
	c        *Consumer
	to       linkspan.Sink
	patterns []*regexp.Regexp
	known    map[string]*knownTopic
}

type knownTopic struct {
	id         [16]byte
	partitions int
	missed     int // how often in a row it was not there
}

// missedMost is how often a topic may be missing before it is taken for deleted: brokers that start do not know all topics.
const missedMost = 3

// run positions the tail and then looks for new partitions until ctx ends. It fails where that cannot begin where it is told to.
func (t *tail) run(ctx context.Context) error {
	for started := false; ctx.Err() == nil; {
		err := t.look(ctx, !started)
		var never *OffsetError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &never):
			return err
		case err != nil:
			t.c.c.quiet.Log(kgo.LogLevelWarn, "kafka topics to read cannot be looked up", "err", explain(err))
		case !started:
			started = true
			t.c.isReady()
		}
		every := t.c.settings.DiscoveryInterval
		if !started {
			every = t.c.c.cfg.RetryInterval
		}
		_ = sleep(ctx, every)
	}
	return nil
}

// look adds the partitions that are new. At the first look it is all or nothing.
func (t *tail) look(ctx context.Context, first bool) error {
	topics, err := t.wanted(ctx)
	if err != nil {
		return err
	}
	fresh := map[string][]int32{}
	for name, now := range topics {
		for p := int32(t.same(name, now.id).partitions); p < int32(now.partitions); p++ {
			if t.wantsPartition(name, p) {
				fresh[name] = append(fresh[name], p)
			}
		}
	}
	if first && t.c.cfg.From.At != linkspan.Committed && len(fresh) < len(t.c.cfg.Partitions) {
		return errors.New("not all partitions to read are there")
	}
	if len(fresh) > 0 {
		at, err := t.start(ctx, fresh, first)
		if err != nil {
			return err
		}
		for name, ps := range at {
			for p := range ps {
				t.c.add(ctx, t.to, name, p)
			}
		}
		if t.c.alone() {
			t.c.begin(at)
		}
		t.c.kgo.AddConsumePartitions(at.offsets())
	}
	for name, now := range topics {
		t.known[name] = now
	}
	t.dropMissing(topics)
	return nil
}

// start returns where to begin in partitions that were not known before.
func (t *tail) start(ctx context.Context, fresh map[string][]int32, first bool) (starts, error) {
	if first && t.c.cfg.From.At != linkspan.Committed {
		return t.c.beginAt(ctx, fresh)
	}
	if t.c.alone() {
		return t.c.positions(ctx, fresh)
	}
	at := starts{}
	var ends kadm.ListedOffsets
	if first && t.c.from == nil {
		var err error
		if ends, err = t.c.ends(ctx, slices.Collect(maps.Keys(fresh))); err != nil {
			return nil, err
		}
	}
	for name, ps := range fresh {
		for _, p := range ps {
			switch end, ok := ends.Lookup(name, p); {
			case first && t.c.from != nil:
				at.set(name, p, position{t.c.from[p], -1})
			case first && !ok:
				return nil, fmt.Errorf("no end offset of Kafka topic %s partition %d", name, p)
			case first:
				at.set(name, p, position{end.Offset, -1})
			default:
				at.set(name, p, position{startOffset, -1})
			}
		}
	}
	return at, nil
}

// startOffset means the start of a partition, to the Kafka client and the brokers.
const startOffset = -2

// wanted returns the topics to read that exist. A topic that the cluster does not tell about for the moment is an error.
func (t *tail) wanted(ctx context.Context) (map[string]*knownTopic, error) {
	var names []string // nil: all
	if len(t.patterns) == 0 {
		names = slices.AppendSeq(slices.Clone(t.c.cfg.Topics), maps.Keys(t.c.cfg.Partitions))
	}
	all, err := t.c.c.metadata(ctx, names)
	if err != nil {
		return nil, err
	}
	topics := map[string]*knownTopic{}
	for _, d := range all {
		err := kerr.ErrorForCode(d.ErrorCode)
		switch {
		case d.Topic == nil || !t.wants(*d.Topic) || isUnknownTopic(err):
		case err != nil:
			return nil, fmt.Errorf("topic %s: %w", *d.Topic, err)
		default:
			topics[*d.Topic] = &knownTopic{id: d.TopicID, partitions: len(d.Partitions)}
		}
	}
	return topics, nil
}

func (t *tail) wants(topic string) bool { return t.c.cfg.Partitions[topic] != nil || t.wantsAll(topic) }

func (t *tail) wantsPartition(topic string, partition int32) bool {
	return slices.Contains(t.c.cfg.Partitions[topic], partition) || t.wantsAll(topic)
}

func (t *tail) wantsAll(topic string) bool {
	return slices.Contains(t.c.cfg.Topics, topic) || !strings.HasPrefix(topic, "__") &&
		slices.ContainsFunc(t.patterns, func(re *regexp.Regexp) bool { return re.MatchString(topic) })
}

// same returns what is known of the topic, nothing if that was another of the same name.
func (t *tail) same(topic string, id [16]byte) *knownTopic {
	k := t.known[topic]
	if k == nil {
		return new(knownTopic)
	}
	if k.id != id {
		t.drop(topic)
		return new(knownTopic)
	}
	k.missed = 0
	return k
}

func (t *tail) dropMissing(there map[string]*knownTopic) {
	for topic, k := range maps.Clone(t.known) {
		if there[topic] != nil {
			continue
		}
		if k.missed++; k.missed > missedMost {
			t.drop(topic)
		}
	}
}

// drop forgets a topic that was deleted.
func (t *tail) drop(topic string) {
	parts := map[string][]int32{}
	for p := range t.known[topic].partitions {
		parts[topic] = append(parts[topic], int32(p))
	}
	delete(t.known, topic)
	t.c.kgo.PurgeTopicsFromConsuming(topic)
	t.c.forget(parts)
	t.c.c.log.Info("kafka topic was deleted", "topic", topic)
}
