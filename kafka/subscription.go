package kafka

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// subscription is which topics a member of a group wants. They may change while it runs.
type subscription struct {
	mu      sync.Mutex
	topics  map[string]bool
	changed chan struct{} // holds one
}

// Add has a member of a group read a topic, too, from now on. It may be called at any time, and does not wait for Kafka. A consumer that
// is no member, or has Patterns, keeps to what it was made with.
func (c *Consumer) Add(topic string) { c.wanted.set(topic, true) }

// Remove has a member of a group read a topic no more. What is under way of it is waited for as when partitions are handed over. It may be
// called at any time, and does not wait for Kafka.
func (c *Consumer) Remove(topic string) { c.wanted.set(topic, false) }

func (s *subscription) set(topic string, wanted bool) {
	s.mu.Lock()
	if wanted {
		s.topics[topic] = true
	} else {
		delete(s.topics, topic)
	}
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// list returns the topics in order.
func (s *subscription) list() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.topics))
}

// wantsSome waits until a member has a topic to read, and returns those it has; none when ctx ends first.
func (c *Consumer) wantsSome(ctx context.Context) []string {
	for {
		if topics := c.wanted.list(); len(topics) > 0 || ctx.Err() != nil {
			return topics
		}
		c.isReady()
		select {
		case <-c.wanted.changed:
		case <-ctx.Done():
		}
	}
}

// follow keeps what the group knows of us to what is wanted, beginning with topics, until ctx ends.
func (c *Consumer) follow(ctx context.Context, topics []string) {
	for {
		now := c.wanted.list()
		for _, t := range topics {
			if !slices.Contains(now, t) {
				c.kgo.PurgeTopicsFromConsuming(t)
				c.gone(ctx, t)
			}
		}
		c.kgo.AddConsumeTopics(slices.DeleteFunc(slices.Clone(now), func(t string) bool { return slices.Contains(topics, t) })...)
		topics = now
		select {
		case <-c.wanted.changed:
		case <-ctx.Done():
			return
		}
	}
}

// gone waits until a topic that was given up has no lanes: if it were wanted again before, they would get records twice.
func (c *Consumer) gone(ctx context.Context, topic string) {
	for ctx.Err() == nil && slices.ContainsFunc(c.all(), func(l *lane) bool { return l.topic == topic }) {
		_ = sleep(ctx, c.c.cfg.RetryInterval)
	}
}
