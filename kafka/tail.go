package kafka

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A tail finds the partitions that a consumer without a group reads. Those that are there when it starts are read from
// where they end by then; those that come later from their beginning.
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

// run positions the tail and then looks for new partitions until ctx ends.
func (t *tail) run(ctx context.Context) {
	for started := false; ctx.Err() == nil; {
		err := t.look(ctx, !started)
		switch {
		case ctx.Err() != nil:
			return
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
}

// look adds the partitions that are new. At the first look these are read from their end on, and it is all or nothing.
func (t *tail) look(ctx context.Context, first bool) error {
	topics, err := t.wanted(ctx)
	if err != nil {
		return err
	}
	var ends kadm.ListedOffsets
	if first && len(topics) > 0 {
		if ends, err = t.ends(ctx, topics); err != nil {
			return err
		}
	}
	add := map[string]map[int32]kgo.Offset{}
	for name, now := range topics {
		for p := t.same(name, now.id).partitions; p < now.partitions; p++ {
			at := kgo.NewOffset().AtStart()
			if first {
				end, ok := ends.Lookup(name, int32(p))
				if !ok {
					return fmt.Errorf("no end offset of Kafka topic %s partition %d", name, p)
				}
				at = kgo.NewOffset().At(end.Offset)
			}
			if add[name] == nil {
				add[name] = map[int32]kgo.Offset{}
			}
			add[name][int32(p)] = at
		}
	}
	for name, ps := range add {
		for p := range ps {
			t.c.add(ctx, t.to, name, p)
		}
		t.known[name] = topics[name]
	}
	t.c.kgo.AddConsumePartitions(add)
	t.dropMissing(topics)
	return nil
}

// ends returns where the partitions end now. What open transactions have written already counts as not yet there.
func (t *tail) ends(ctx context.Context, topics map[string]*knownTopic) (kadm.ListedOffsets, error) {
	adm := kadm.NewClient(t.c.c.kgo)
	list := adm.ListCommittedOffsets
	if t.c.settings.IsolationLevel == "read_uncommitted" {
		list = adm.ListEndOffsets
	}
	ends, err := list(ctx, slices.Collect(maps.Keys(topics))...)
	if err != nil {
		return nil, err
	}
	return ends, ends.Error()
}

// wanted returns the topics to read that exist. A topic that the cluster does not tell about for the moment is an error.
func (t *tail) wanted(ctx context.Context) (map[string]*knownTopic, error) {
	var names []string // nil: all
	if len(t.patterns) == 0 {
		names = t.c.cfg.Topics
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

func (t *tail) wants(topic string) bool {
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
	t.c.lost(parts)
	t.c.c.log.Info("kafka topic was deleted", "topic", topic)
}
