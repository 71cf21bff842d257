package session

import (
	"context"
	"maps"
	"time"

	"github.com/linkspan/linkspan"
)

// A session whose queue is full and whose budget is spent falls behind. From then on Send notes for it where its
// messages are, and a goroutine of its own reads them back from Kafka at the pace of the device. What happens, in order:
//
//  1. Send has record 10 of partition p for the session, and no room. It notes the span p [10, 11): next to read, and the
//     end of what it has noted. The queue stays, and goes first.
//  2. Send has records 12 of p and 5 of q for it: the spans become p [10, 13), q [5, 6). A record that does not match is
//     not noted; QoS 0 is dropped and counted.
//  3. The queue is low. The goroutine reads p from 10 and gets 10, 11, 12, 13. It takes those that match and are before
//     the end noted so far; 13 is cut off, as it is still to come by Send. It reads p until next is not less than the end, then q.
//  4. If the queue fills up, it cuts off there, and reads from the first record not taken when the queue is low again.
//  5. All spans are read. In the same moment, with the session locked, the session is live again: what Send noted is in
//     the queue, and what it did not note it delivers itself.
//
// Each record is thus taken on exactly one of the two ways, in the order of its partition. Gaps in the offsets do not
// matter: nothing is counted, only compared.
type behind struct {
	cancel context.CancelFunc
	wake   chan struct{} // a token: the queue is low
	spans  map[place]*span
	order  []*span // in which they are read in turn

	// since has the subscriptions that were made while the session was behind, with where the live path was then:
	// they are not for earlier records.
	since  map[*subscription]map[place]int64
	latest map[place]int64
	copies int
}

// A place is a partition.
type place struct {
	topic     string
	partition int32
}

func placeOf(m *linkspan.Message) place { return place{m.Record.Topic, m.Record.Partition} }

// A span is what is to be read of one partition: [next, end).
type span struct {
	place
	next, end int64
}

const (
	maxReading = 4  // reads at a time of all sessions, so that the memory of batches is bounded
	maxCopies  = 32 // of the live path's place, per session
	minRetry   = 20 * time.Millisecond
	maxRetry   = 5 * time.Second
)

// fallBehind notes m, for which there was no room, and starts reading back. Without a way to read it back, the
// session is disconnected. The caller is Send, and holds s.mu.
func (s *Session) fallBehind(m *linkspan.Message) {
	r := s.registry
	if r.cfg.Replay == nil || m.Record.Topic == "" {
		r.stats.Overrun.Add(1)
		r.log.Info("session disconnected: the device is too slow", "client", s.client, "endpoint", s.endpoint)
		s.endLocked(QuotaExceeded, true)
		return
	}
	r.tree.mu.RLock()
	r.live[placeOf(m)] = m.Record.Offset + 1 // as dispatch does for all messages from now on
	r.tree.mu.RUnlock()
	r.stats.Behind.Add(1)
	r.stats.FellBehind.Add(1)
	ctx, cancel := context.WithCancel(r.ctx)
	b := &behind{
		cancel: cancel,
		wake:   make(chan struct{}, 1),
		spans:  make(map[place]*span),
		since:  make(map[*subscription]map[place]int64),
	}
	b.note(m)
	s.behind = b
	r.work.Go(func() { s.catchUp(ctx, b) })
	r.log.Debug("session fell behind", "client", s.client, "endpoint", s.endpoint)
}

// goLive ends the time behind. The caller holds s.mu.
func (s *Session) goLive() {
	s.behind.cancel()
	s.behind = nil
	s.registry.stats.Behind.Add(-1)
}

// note takes m into the spans.
func (b *behind) note(m *linkspan.Message) {
	p, offset := placeOf(m), m.Record.Offset
	sp := b.spans[p]
	if sp == nil {
		sp = &span{place: p}
		b.spans[p] = sp
		b.order = append(b.order, sp)
	}
	if sp.next >= sp.end { // all read: nothing between it and m was noted
		sp.next = offset
	}
	sp.end = offset + 1
}

// positions returns where the live path is, for the subscriptions of one packet. A device that subscribes over and over
// gets the same answer at last, so that it cannot grow memory; its newest filters may then also get what was
// published shortly before.
func (b *behind) positions(live map[place]int64) map[place]int64 {
	if b.copies < maxCopies {
		b.copies++
		b.latest = maps.Clone(live)
	}
	return b.latest
}

// catchUp reads back until the session is live again or has ended.
func (s *Session) catchUp(ctx context.Context, b *behind) {
	c := catcher{s: s, b: b}
	retry := minRetry
	for c.choose(ctx) {
		err := c.read(ctx)
		switch {
		case linkspan.IsPermanent(err):
			c.giveUp(err)
			return
		case err == nil && (c.moved || c.stuck):
			retry = minRetry
			continue
		case err != nil:
			s.registry.log.Debug("read back from Kafka", "client", s.client, "topic", c.span.topic,
				"partition", c.span.partition, "offset", c.from, "err", err)
		}
		if !sleep(ctx, retry) {
			return
		}
		retry = min(2*retry, maxRetry)
	}
}

// A catcher is the work of catchUp: one read after the other.
type catcher struct {
	s     *Session
	b     *behind
	match match
	turn  int // index in b.order of the span to try next

	// The read under way.

	span  *span
	from  int64
	cut   int64 // first record not taken, -1: none
	moved bool  // it got on
	stuck bool  // it did not, as the first record does not fit beside what is in the queue
}

// choose waits until the queue is low, and takes the next span that is not read. It returns false when there is none,
// and the session is live again, or when it has ended.
func (c *catcher) choose(ctx context.Context) bool {
	for {
		c.s.mu.Lock()
		if c.s.closed {
			c.s.mu.Unlock()
			return false
		}
		c.span = nil
		for range c.b.order {
			sp := c.b.order[c.turn%len(c.b.order)]
			c.turn++
			if sp.next < sp.end {
				c.span, c.from = sp, sp.next
				break
			}
		}
		if c.span == nil {
			c.s.goLive()
			c.s.mu.Unlock()
			return false
		}
		ready := c.s.low() && (!c.stuck || c.s.flow == nil || c.s.flow.queue.messages == 0)
		c.s.mu.Unlock()
		if ready {
			return true
		}
		c.turn-- // the same one again
		select {
		case <-c.b.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// read reads one batch.
func (c *catcher) read(ctx context.Context) error {
	r := c.s.registry
	select {
	case r.reading <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.cut, c.stuck = -1, false
	next, err := r.cfg.Replay.Replay(ctx, c.span.topic, c.span.partition, c.from, c.visit)
	<-r.reading
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch {
	case c.cut >= 0:
		c.span.next = max(c.span.next, c.cut)
	case err == nil:
		c.span.next = max(c.span.next, next)
	}
	c.moved = c.span.next > c.from
	c.stuck = c.stuck && !c.moved
	return err
}

// visit takes one record, unless it is to come by Send or there is no room.
func (c *catcher) visit(m *linkspan.Message) {
	s, sp, r := c.s, c.span, c.s.registry
	s.mu.Lock()
	defer s.mu.Unlock()
	offset := m.Record.Offset
	if s.closed || c.cut >= 0 || offset < sp.next {
		return
	}
	if offset >= sp.end {
		c.cut = offset
		return
	}
	if t := c.own(m); t.qos > 0 {
		if expired(m) {
			r.stats.DroppedExpired.Add(1)
		} else if !s.take(&shared{Message: m}, &t, c.match.idsOf(&t), 2) {
			c.cut, c.stuck = offset, true
			return
		} else {
			r.stats.Replayed.Add(1)
		}
	}
	sp.next = offset + 1
}

// own returns the session as target of m. Its quality is 0 if m is not for it.
func (c *catcher) own(m *linkspan.Message) target {
	t := target{session: c.s}
	tree := &c.s.registry.tree
	tree.mu.RLock()
	defer tree.mu.RUnlock()
	c.match.reset()
	c.match.nodes = tree.match(m.Topic, c.match.nodes)
	for _, n := range c.match.nodes {
		sub := n.find(c.s)
		if sub != nil && sub.takes(m) && m.Record.Offset >= c.b.since[sub][c.span.place] {
			c.match.merge(&t, sub, m)
		}
	}
	return t
}

// giveUp ends a session whose messages Kafka does not have any more.
func (c *catcher) giveUp(err error) {
	r := c.s.registry
	if c.s.end(QuotaExceeded, true) {
		r.stats.Overrun.Add(1)
		r.log.Warn("session disconnected: its messages can no longer be read back", "client", c.s.client,
			"topic", c.span.topic, "partition", c.span.partition, "offset", c.from, "err", err)
	}
}

// sleep waits, and returns false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
