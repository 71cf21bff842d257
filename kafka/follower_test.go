package kafka

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A table is the state that a compacted topic holds, and the order in which it was told.
type table struct {
	t *testing.T

	mu   sync.Mutex
	rows map[string]string
	next map[int32]int64
	busy bool
}

func (b *table) apply(m *linkspan.Message) {
	if !b.mu.TryLock() {
		b.t.Error("two at a time")
		return
	}
	defer b.mu.Unlock()
	if at := b.next[m.Record.Partition]; m.Record.Offset < at {
		b.t.Errorf("partition %d: %d comes after %d", m.Record.Partition, m.Record.Offset, at-1)
	}
	b.next[m.Record.Partition] = m.Record.Offset + 1
	if m.Record.Tombstone {
		delete(b.rows, string(m.Record.Key))
	} else {
		b.rows[string(m.Record.Key)] = string(m.Payload)
	}
}

// follow runs a follower until the test ends. The table is to be looked at from within see.
func follow(t *testing.T, c *Client, topic string) (f *Follower, see func(look func(rows map[string]string) bool) bool) {
	t.Helper()
	b := &table{t: t, rows: map[string]string{}, next: map[int32]int64{}}
	f = c.Follow(topic)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var one sync.Mutex
	go func() {
		ended <- f.Run(ctx, func(m *linkspan.Message) {
			one.Lock()
			defer one.Unlock()
			b.apply(m)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f, func(look func(map[string]string) bool) bool {
		one.Lock()
		defer one.Unlock()
		return look(b.rows)
	}
}
