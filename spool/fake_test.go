package spool

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// A cluster is a Kafka with its producer, in memory: it has a queue for each partition, and says of what it was given, in
// the order of that, what the test wants. Partitions are the first bytes of keys.
type cluster struct {
	mu     sync.Mutex
	parts  map[byte]*partition
	inside map[*fakeRecord]bool // whose done has not returned: nobody may look at others
	bound  int64                // bytes that Room allows
	held   int64
	kept   int // that have no outcome
	closed bool
	auto   bool                      // answer at once
	alone  bool                      // what is given back is one record, and not all of the partition
	stall  func() time.Duration      // how long Keep takes to return; nil: no time
	judge  func(r *fakeRecord) error // what becomes of a record that is answered; nil: all is well
	log    []delivered
	wrong  []string // what nobody may do
}

type partition struct {
	queue   []*fakeRecord
	failing bool // all that it has, and that comes meanwhile, is being given back
}

// A delivered is a record that the cluster has.
type delivered struct {
	key, payload, topic string
	stamp               int64
	headers             string
}

// A fakeRecord is the producer's copy of a message.
type fakeRecord struct {
	c    *cluster
	m    *linkspan.Message
	done func(error)
	size int64
}

func newCluster() *cluster {
	return &cluster{parts: map[byte]*partition{}, inside: map[*fakeRecord]bool{}, bound: 1 << 30}
}

var _ linkspan.Keeper = (*cluster)(nil)

func (c *cluster) Room(*linkspan.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held < c.bound
}

func (c *cluster) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	c.Keep(ctx, m, done)
}

func (c *cluster) Keep(_ context.Context, m *linkspan.Message, done func(error)) linkspan.Kept {
	r := &fakeRecord{c: c, m: m.Clone(), done: done, size: int64(len(m.Payload)) + 1024}
	if r.m.Record.Timestamp.IsZero() {
		r.m.Record.Timestamp = m.Received
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(linkspan.ErrClosed)
		return nil
	}
	p := c.parts[partitionOf(m)]
	if p == nil {
		p = new(partition)
		c.parts[partitionOf(m)] = p
	}
	p.queue = append(p.queue, r)
	c.inside[r] = true
	c.held += r.size
	c.kept++
	auto := c.auto
	var stall time.Duration
	if c.stall != nil {
		stall = c.stall()
	}
	c.mu.Unlock()
	sleep(stall / 2)
	if auto {
		c.answer(partitionOf(m), 1)
	}
	sleep(stall / 2)
	return r
}

func partitionOf(m *linkspan.Message) byte {
	if len(m.Record.Key) == 0 {
		return 0
	}
	return m.Record.Key[0]
}

// Show shows the copy, which must still be there.
func (r *fakeRecord) Show(m *linkspan.Message) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if !r.c.inside[r] {
		r.c.wrong = append(r.c.wrong, fmt.Sprintf("Show of %q after its done has returned", r.m.Payload))
	}
	m.Topic, m.Payload, m.Endpoint, m.Route, m.Received = r.m.Topic, r.m.Payload, r.m.Endpoint, r.m.Route, r.m.Received
	m.Record = r.m.Record
	m.Record.Headers = slices.Clone(r.m.Record.Headers)
}

// answer says what becomes of the first n records of a partition. From the first that is given back on, all that the producer has
// of the partition is given back, also what comes while it does so: as Kafka's does, but for a moment.
func (c *cluster) answer(part byte, n int) (answered int) {
	for range n {
		c.mu.Lock()
		p := c.parts[part]
		if p == nil || p.failing || len(p.queue) == 0 {
			c.mu.Unlock()
			return answered
		}
		answered++
		r := p.queue[0]
		var err error
		if c.judge != nil {
			err = c.judge(r)
		}
		if err != nil && !linkspan.IsPermanent(err) && !c.alone {
			c.fail(p, err) // unlocks
			continue
		}
		if err == nil {
			c.log = append(c.log, deliveredOf(r.m))
		}
		p.queue = p.queue[1:]
		c.drop(r)
		c.mu.Unlock()
		r.finish(err)
	}
	return answered
}

// fail gives all of p back, and what comes for a moment more: so nothing gets past it that was on its way to Keep. The caller
// holds mu, which is unlocked.
func (c *cluster) fail(p *partition, err error) {
	p.failing = true
	c.giveBack(p, err)
	time.AfterFunc(time.Millisecond, func() {
		c.mu.Lock()
		for len(p.queue) > 0 {
			c.giveBack(p, err)
			c.mu.Lock()
		}
		p.failing = false
		c.mu.Unlock()
	})
}

// giveBack gives back what p has. The caller holds mu, which is unlocked.
func (c *cluster) giveBack(p *partition, err error) {
	back := p.queue
	p.queue = nil
	for _, r := range back {
		c.drop(r)
	}
	c.mu.Unlock()
	for _, r := range back {
		r.finish(err)
	}
}

func (c *cluster) drop(r *fakeRecord) {
	c.held -= r.size
	c.kept--
}

// answerAll answers everything there is.
func (c *cluster) answerAll() {
	for n := 1; n > 0; {
		n = 0
		for _, p := range c.partitions() {
			n += c.answer(p, 1<<30)
		}
	}
}

func (c *cluster) partitions() (out []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.parts {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

func (r *fakeRecord) finish(err error) {
	r.done(err)
	r.c.mu.Lock()
	delete(r.c.inside, r)
	r.c.mu.Unlock()
}

// away has the cluster answer nothing by itself, or all that there is and what comes.
func (c *cluster) away(away bool) {
	c.mu.Lock()
	c.auto = !away
	c.mu.Unlock()
	if !away {
		c.answerAll()
	}
}

// end gives everything back, as a client that is closed does.
func (c *cluster) end() {
	c.mu.Lock()
	c.closed = true
	c.judge = func(*fakeRecord) error { return linkspan.ErrClosed }
	c.mu.Unlock()
	c.answerAll()
}

func (c *cluster) has() []delivered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

func (c *cluster) payloads() (out []string) {
	for _, d := range c.has() {
		out = append(out, d.payload)
	}
	return out
}

// inMemory returns the payloads of what the producer has, until it has said what became of it.
func (c *cluster) inMemory() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.inside {
		out = append(out, string(r.m.Payload))
	}
	return out
}

func (c *cluster) inFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept
}

func deliveredOf(m *linkspan.Message) delivered {
	d := delivered{key: string(m.Record.Key), payload: string(m.Payload), topic: m.Record.Topic, stamp: m.Record.Timestamp.UnixMilli()}
	for _, h := range m.Record.Headers {
		d.headers += h.Key + "=" + string(h.Value) + ";"
	}
	return d
}
