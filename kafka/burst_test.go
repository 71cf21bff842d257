package kafka

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/linkspan/linkspan"
)

// A slowSink takes so many messages at a time, and its time for each.
type slowSink struct {
	window, has atomic.Int64
	each        time.Duration
	took        func()
}

func (b *slowSink) Room(*linkspan.Message) bool { return b.has.Load() < b.window.Load() }

func (b *slowSink) Send(_ context.Context, _ *linkspan.Message, done func(error)) {
	b.has.Add(1)
	time.AfterFunc(b.each, func() {
		b.has.Add(-1)
		b.took()
		done(nil)
	})
}

// A burst in one partition goes through without a rest, though nothing comes in others, for which a fetch waits.
func TestBurstBesideSilence(t *testing.T) {
	virtually(t, func(t *testing.T, n *network) {
		c, _ := n.client(t)
		defer c.Close()
		const records = 16_000
		for range records {
			m := message("down", "", strings.Repeat("x", 1000))
			m.Record.Partition = 0
			c.Producer().Send(context.Background(), m, func(error) {})
		}
		if err := c.Producer().Drain(context.Background()); err != nil {
			t.Fatal(err)
		}
		var last time.Time
		var longest time.Duration
		var mu sync.Mutex
		took := 0
		all := make(chan struct{})
		b := &slowSink{each: 20 * time.Millisecond}
		b.window.Store(100)
		b.took = func() {
			mu.Lock()
			defer mu.Unlock()
			now := time.Now()
			if took++; took > 1 {
				longest = max(longest, now.Sub(last))
			}
			if last = now; took == records {
				close(all)
			}
		}
		_, stop := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, b)
		<-all
		if longest > 150*time.Millisecond {
			t.Errorf("a rest of %v", longest)
		}
		stop()
	}, kfake.SeedTopics(4, "down"))
}
