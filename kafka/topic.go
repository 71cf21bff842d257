package kafka

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/tally"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A topic is one that the producer writes to. It is closed at first, and its records are held, until the cluster has
// it and its limits are known; then it is open and records pass straight through.
//
// It is closed again when it was deleted, or when it turns out to take only smaller batches than we make. The Kafka client
// cannot start a topic over: it would number its batches from 0 again under the same producer id and epoch, and a
// broker takes a number that it has seen for a repeat, which it acknowledges and does not store. So such a topic moves on to
// another client, with its own producer id, once nothing of it is on the way any more (P1, P3).
type topic struct {
	name    string
	client  atomic.Pointer[kgo.Client] // nil: closed
	limit   atomic.Int32               // bytes of the largest batch; 0: as configured
	records tally.Tally                // in flight: the Kafka client has them, but for those that are held

	mu     sync.Mutex
	held   []*record // in order of arrival, while closed
	moves  int       // how often it moved on: its client's place among the producer's clients
	queued bool      // topics.run has it
	since  time.Time // when it was queued
}

// topics is the set of the topics that were written to, and what prepares new ones.
type topics struct {
	c       *Client
	spec    func(topic string) TopicSpec
	all     atomic.Pointer[map[string]*topic] // replaced, never changed
	mu      sync.Mutex                        // guards replacing all, and queue
	queue   []*topic                          // closed, for run to open
	wake    chan struct{}
	stopped atomic.Bool
	cancel  context.CancelFunc
	ended   chan struct{}
}

func newTopics(c *Client) *topics {
	t := &topics{c: c, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	t.spec = func(name string) TopicSpec { return TopicSpec{Name: name} }
	t.all.Store(&map[string]*topic{})
	return t
}

// SpecifyTopics says how topics that the producer meets for the first time are created. Call it before the first Send.
func (c *Client) SpecifyTopics(spec func(topic string) TopicSpec) { c.topics.spec = spec }

// get returns the topic of that name, nil when no topic can have it.
func (ts *topics) get(name string) *topic {
	if t := (*ts.all.Load())[name]; t != nil {
		return t
	}
	if !legalName(name) {
		return nil
	}
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t := (*ts.all.Load())[name]; t != nil {
		return t
	}
	t := &topic{name: name}
	all := maps.Clone(*ts.all.Load())
	all[name] = t
	ts.all.Store(&all)
	return t
}

// inFlight returns how many records of all topics are.
func (ts *topics) inFlight() (n int64) {
	for _, t := range *ts.all.Load() {
		n += t.records.Load()
	}
	return n
}

// away returns how many records the Kafka client has, or is about to get.
func (t *topic) away() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.records.Load() - int64(len(t.held))
}

// legalName reports whether Kafka lets a topic have that name.
func legalName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return s != "" && len(s) <= 249 && s != "." && s != ".." && strings.Trim(s, letters) == ""
}

// enqueue has run open t. Called with t locked.
func (ts *topics) enqueue(t *topic) {
	if t.queued {
		return
	}
	t.queued, t.since = true, time.Now()
	ts.mu.Lock()
	ts.queue = append(ts.queue, t)
	ts.mu.Unlock()
	select {
	case ts.wake <- struct{}{}:
	default:
	}
}

// hold keeps r until t is open, or passes it on if t is open by now.
func (ts *topics) hold(t *topic, r *record) {
	t.mu.Lock()
	cl, stopped := t.client.Load(), ts.stopped.Load()
	switch {
	case stopped:
	case cl != nil: // under the lock, so behind what was held
		ts.c.producer.produce(cl, r)
	default:
		t.held = append(t.held, r)
		ts.enqueue(t)
	}
	t.mu.Unlock()
	if stopped {
		ts.c.producer.end(r, linkspan.ErrClosed)
	}
}

// shut closes t: it was deleted, or takes only batches smaller than limit, if that is not 0.
func (ts *topics) shut(t *topic, limit int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.client.Load() == nil {
		return
	}
	t.client.Store(nil)
	t.moves++
	t.limit.Store(limit / 2) // unless the topic tells its limit
	ts.enqueue(t)
}

// open lets the records of t pass, those that were held first. limit is what the topic tells of itself, or 0.
func (ts *topics) open(t *topic, limit int32) {
	var large []*record
	t.mu.Lock()
	if t.client.Load() == nil && !ts.stopped.Load() {
		if guess := t.limit.Load(); limit > 0 && (guess == 0 || limit < 2*guess) {
			t.limit.Store(limit)
		}
		cl, p := ts.c.producer.clientFor(t.moves), ts.c.producer
		for _, r := range t.held {
			if r.encoded() > int(p.limit(t)) {
				large = append(large, r)
			} else {
				p.produce(cl, r)
			}
		}
		t.held, t.queued = nil, false
		t.client.Store(cl)
	}
	t.mu.Unlock()
	for _, r := range large {
		ts.c.producer.end(r, tooLarge(r.encoded(), t, ts.c.producer.limit(t)))
	}
}

// fail gives back what is held of t, which stays closed.
func (ts *topics) fail(t *topic, err error) {
	t.mu.Lock()
	held := t.held
	t.held, t.queued = nil, false
	t.mu.Unlock()
	for _, r := range held {
		ts.c.producer.end(r, err)
	}
}

func (ts *topics) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ts.cancel = cancel
	go ts.run(ctx)
}

// stop ends run and gives back what is held.
func (ts *topics) stop() {
	ts.stopped.Store(true)
	ts.cancel()
	<-ts.ended
	for _, t := range *ts.all.Load() {
		ts.fail(t, linkspan.ErrClosed)
	}
}

// run opens closed topics until ctx ends.
func (ts *topics) run(ctx context.Context) {
	defer close(ts.ended)
	for {
		select {
		case <-ts.wake:
		case <-ctx.Done():
			return
		}
		for pause := 5 * time.Millisecond; ; pause = min(2*pause, ts.c.cfg.RetryInterval) {
			ts.mu.Lock()
			queue := ts.queue
			ts.queue = nil
			ts.mu.Unlock()
			left := ts.round(ctx, queue)
			ts.mu.Lock()
			ts.queue = append(ts.queue, left...)
			rest := len(ts.queue)
			ts.mu.Unlock()
			if rest == 0 {
				break
			}
			if sleep(ctx, pause) != nil {
				return
			}
		}
	}
}

// round takes closed topics one step further, and returns those that are neither open nor failed.
func (ts *topics) round(ctx context.Context, queue []*topic) (left []*topic) {
	var names []string
	for _, t := range queue {
		if t.away() == 0 { // what is on the way comes first (P3)
			names = append(names, t.name)
		}
	}
	if len(names) == 0 {
		return queue
	}
	found, err := ts.c.inspect(ctx, names)
	if err != nil {
		return queue // the cluster is away, and who sends waits
	}
	ready := map[string]*topic{}
	missing := map[string]*topic{}
	for _, t := range queue {
		switch f, asked := found[t.name]; {
		case asked && f.err != nil:
			ts.fail(t, f.err)
		case asked && f.led:
			ready[t.name] = t
		case asked && !f.exists:
			missing[t.name] = t
		default:
			left = append(left, t)
		}
	}
	ts.openAll(ctx, ready)
	return append(left, ts.createAll(ctx, missing)...)
}

func (ts *topics) openAll(ctx context.Context, ready map[string]*topic) {
	if len(ready) == 0 {
		return
	}
	configs, _ := ts.c.topicConfigs(ctx, slices.Collect(maps.Keys(ready))) // not allowed to look: the configured limit holds
	for name, t := range ready {
		ts.open(t, maxBytes(configs[name]))
	}
}

// createAll creates topics, and returns those that are to be looked at again.
func (ts *topics) createAll(ctx context.Context, missing map[string]*topic) (left []*topic) {
	var specs []TopicSpec
	for name, t := range missing {
		if !ts.c.cfg.Topics.Create && time.Since(t.since) < ts.c.cfg.Producer.UnknownTopicTimeout {
			left = append(left, t)
			continue
		}
		spec := ts.spec(name)
		spec.Name = name
		specs = append(specs, spec)
	}
	if len(specs) == 0 {
		return left
	}
	failed, _ := ts.c.create(ctx, specs) // an error of the whole request is one of the moment
	for _, spec := range specs {
		t := missing[spec.Name]
		if err := failed[spec.Name]; err != nil {
			ts.c.log.Warn("kafka topic unusable", "topic", t.name, "err", err)
			ts.fail(t, err)
		} else {
			left = append(left, t)
		}
	}
	return left
}
