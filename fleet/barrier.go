package fleet

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// headerBarrier marks the records of a barrier: whose, and their number.
const headerBarrier = "linkspan.barrier"

// barrierKey is the key of these records, so that compaction keeps few.
const barrierKey = "\x1fbarrier"

// retryInterval is how long to wait before what Kafka did not take is written again.
const retryInterval = 200 * time.Millisecond

// A barrier tells when this process has read all that was in a log at some moment. It writes a record of its own, and
// waits to read it back: whatever was acknowledged to whomever before the write comes before it.
//
// Moments are numbers: tick takes one, and passed tells of a lane whether it has been read up to there.
type barrier struct {
	topic string
	to    linkspan.Sink
	life  uint64 // tells the records of this process, in this life, from others

	lanes []barrierLane

	mu      sync.Mutex
	now     uint64
	changed chan struct{}   // closed when a lane has moved
	moved   func(err error) // called then, and when a write failed, with no lock held here
}

type barrierLane struct {
	asked uint64        // guarded by mu
	read  atomic.Uint64 // written with mu held
}

func newBarrier(topic string, lanes int32, to linkspan.Sink) *barrier {
	return &barrier{topic: topic, to: to, life: rand.Uint64(), lanes: make([]barrierLane, lanes), changed: make(chan struct{}), moved: func(error) {}}
}

// tick returns the number of this moment.
func (b *barrier) tick() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now++
	return b.now
}

// passed reports whether all that was in lane at that moment has been read.
func (b *barrier) passed(lane int32, moment uint64) bool {
	return b.lanes[lane].read.Load() >= moment
}

// ask has passed become true for lane and that moment, unless it is on the way to. When writing fails, ask again.
func (b *barrier) ask(ctx context.Context, lane int32, moment uint64) {
	b.mu.Lock()
	l := &b.lanes[lane]
	if l.asked >= moment {
		b.mu.Unlock()
		return
	}
	number := b.now
	l.asked = number
	b.mu.Unlock()

	b.to.Send(ctx, &linkspan.Message{Payload: []byte{}, Record: linkspan.Record{
		Topic: b.topic, Partition: lane, Key: []byte(barrierKey), Headers: []linkspan.Header{{Key: headerBarrier, Value: stamp{b.life, number}.append(nil)}},
	}}, func(err error) {
		if err == nil {
			return // reading it back is what counts
		}
		b.mu.Lock()
		if l.asked == number {
			l.asked = l.read.Load()
		}
		b.mu.Unlock()
		b.moved(err)
	})
}

// apply takes a record of the log, and reports whether it is one of a barrier, this one or another.
func (b *barrier) apply(m *linkspan.Message) bool {
	h := m.Record.Headers
	if len(h) != 1 || h[0].Key != headerBarrier {
		return false
	}
	if s, ok := parseStamp(h[0].Value); ok && s.life == b.life && int(m.Record.Partition) < len(b.lanes) {
		b.mu.Lock()
		read := &b.lanes[m.Record.Partition].read
		read.Store(max(read.Load(), s.number))
		close(b.changed)
		b.changed = make(chan struct{})
		b.mu.Unlock()
		b.moved(nil)
	}
	return true
}

// wait returns when all that is in lane now has been read, or with the error of ctx.
func (b *barrier) wait(ctx context.Context, lane int32) error {
	moment := b.tick()
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if b.passed(lane, moment) {
			return nil
		}
		b.ask(ctx, lane, moment)
		select {
		case <-changed:
		case <-retry.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
