package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The memory of consumers that come and go with their receivers is bounded together (P6): all that are Apart share one
// MaxInFlightBytes evenly, however many there are, down to what each needs to go on at all.
const (
	leastInFlight = 128 << 10 // bytes that each may hold
	leastFetch    = 16 << 10  // bytes of one partition in one fetch; the brokers send a whole batch all the same
)

// limit is how many bytes c may hold.
func (c *Consumer) limit() int64 {
	most := c.settings.MaxInFlightBytes
	if !c.cfg.Apart {
		return most
	}
	return min(most, max(most/max(c.c.apart.Load(), 1), leastInFlight))
}

// partitionBytes is how much of one partition a fetch may bring: if each of so many lanes holds one fetch, half of what c may
// hold is left.
func (c *Consumer) partitionBytes(lanes int) int32 {
	most := c.settings.FetchMaxPartitionBytes
	if !c.cfg.Apart {
		return most
	}
	return min(most, int32(max(c.limit()/int64(2*max(lanes, 1)), leastFetch)))
}

// share is how many bytes a lane may hold before it is paused: so many that all others together, if none of their records
// settles, leave half of the limit to one that goes on. It is not below one fetch of a partition. Called with c locked.
func (c *Consumer) share() int64 {
	if len(c.lanes) < 2 {
		return c.limit()
	}
	return max(c.limit()/int64(2*len(c.lanes)-2), int64(c.partitionBytes(len(c.lanes))))
}

// fit keeps what a fetch may bring to what there is room for. It is called by the goroutine that polls.
func (c *Consumer) fit() {
	c.mu.Lock()
	all, one := c.asks(len(c.lanes))
	c.mu.Unlock()
	c.kgo.UpdateFetchMaxBytes(all, one)
}

// asks returns how many bytes a fetch is to bring at most, in all and of one of so many partitions, so that they come to no more in memory
// than they may.
func (c *Consumer) asks(lanes int) (all, one int32) {
	one, all = c.partitionBytes(lanes), c.settings.FetchMaxBytes
	if c.cfg.Apart {
		all = max(one, int32(min(int64(all), c.limit())))
	}
	return c.swell.shrink(all), c.swell.shrink(one)
}

// swell is how many bytes of memory a byte that is fetched becomes: batches are compressed, and a record has its keep. It is a kgo hook.
type swell struct {
	mu    sync.Mutex
	ratio float64 // 0: nothing was fetched yet
}

const (
	firstSwell = 16   // until the first batch tells; few data swell more
	leastAsk   = 1024 // bytes; the brokers send a whole batch all the same
)

// OnFetchBatchRead is called with each batch. What swells more than those before counts at once, what swells less by and by.
func (s *swell) OnFetchBatchRead(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	if m.CompressedBytes <= 0 {
		return
	}
	ratio := max(float64(m.UncompressedBytes+m.NumRecords*fetchedKeep)/float64(m.CompressedBytes), 1)
	s.mu.Lock()
	if s.ratio > ratio {
		ratio = s.ratio + (ratio-s.ratio)/16
	}
	s.ratio = ratio
	s.mu.Unlock()
}

// shrink returns how many bytes are to be fetched for that many in memory.
func (s *swell) shrink(bytes int32) int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	ratio := s.ratio
	if ratio == 0 {
		ratio = firstSwell
	}
	return min(bytes, max(int32(float64(bytes)/ratio), leastAsk))
}

// full reports whether nothing more may be fetched, after it has waited for that to change.
func (c *Consumer) full(ctx context.Context) bool {
	if c.stats.HeldBytes.Load() < c.limit() {
		return false
	}
	t := time.NewTimer(time.Second) // others may have left, and the limit may be higher
	defer t.Stop()
	select {
	case <-c.room:
	case <-t.C:
	case <-ctx.Done():
	}
	return true
}

// held counts bytes that are fetched and not settled.
func (c *Consumer) held(n int64) {
	now := c.stats.HeldBytes.Add(n)
	if limit := c.limit(); now < limit && now-n >= limit {
		select {
		case c.room <- struct{}{}:
		default:
		}
	}
}
