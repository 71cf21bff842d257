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
		if r, back := l.first(); r != nil {
			fill(m, r, time.Now())
			if linkspan.Room(l.to, m) {
				if f := l.take(r, back); f != nil {
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

// first returns the record that comes next, and its flight if it was given back; nil if there is none.
func (l *lane) first() (r *kgo.Record, back *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resume()
	switch {
	case len(l.failed) > 0:
		return l.failed[0].record, l.failed[0]
	case len(l.queue) > 0:
		return l.queue[0], nil
	}
	return nil, nil
}

// take takes what first has returned out to be handed over, nil where it does not come next any more, or the window is full.
func (l *lane) take(r *kgo.Record, back *flight) *flight {
	f := back
	if f == nil {
		if f = l.flight(r); f == nil { // not with l locked: the window locks l when it settles
			return nil
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case back == nil:
		l.queue[0] = nil
		l.queue = l.queue[1:]
		if len(l.failed) > 0 { // something older was given back meanwhile
			l.back(f)
			return nil
		}
	case l.failed[0] == back:
		l.failed[0] = nil
		l.failed = l.failed[1:]
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
