package kafka

import (
	"context"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kgo"
)

// apart hands records over until ctx ends, to a sink that answers for each by itself: what it gives back comes next, in order, however much
// else is away. The sink is asked for room for the very record, and wakes the lane when that may have come.
func (l *lane) apart(ctx context.Context, m *linkspan.Message) {
	for ctx.Err() == nil {
		if r := l.first(); r != nil {
			fill(m, r, time.Now())
			if linkspan.Room(l.to, m) {
				if f := l.take(r); f != nil {
					m.Tries = f.tries
					l.to.Send(ctx, m, f.finish)
					continue
				}
			}
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
}

// first returns the record that comes next, nil if there is none.
func (l *lane) first() *kgo.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resume()
	switch {
	case len(l.failed) > 0:
		return l.failed[0].record
	case len(l.queue) > 0:
		return l.queue[0]
	}
	return nil
}

// take takes r out to be handed over, nil where it does not come next any more, or the window is full.
func (l *lane) take(r *kgo.Record) (f *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.failed) > 0:
		if l.failed[0].record != r {
			return nil
		}
		f, l.failed[0] = l.failed[0], nil
		l.failed = l.failed[1:]
	case len(l.queue) > 0 && l.queue[0] == r:
		if f = l.flight(r); f == nil {
			return nil
		}
		l.queue[0] = nil
		l.queue = l.queue[1:]
	default:
		return nil
	}
	l.away++
	l.c.stats.InFlight.Add(1)
	return f
}

// Wake says that a sink that is [ConsumerConfig].Apart has room again for records of a partition.
func (c *Consumer) Wake(topic string, partition int32) {
	c.mu.Lock()
	l := c.lanes[partitionKey{topic, partition}]
	c.mu.Unlock()
	if l != nil {
		l.signal()
	}
}
