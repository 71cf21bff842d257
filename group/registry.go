// Package group hands what Kafka consumer groups read to receivers that settle each record by itself, as AMQP links do.
//
// All receivers of a group in this process share one Kafka consumer, and share its partitions among themselves: a record goes to one
// of them, those of a partition in order, and the group's position moves over the settled prefix only (P4).
package group

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// Kafka is what a [Registry] needs of it.
type Kafka interface {
	// Group returns a new member of a consumer group that has no topics yet. changed is called when the group has given it
	// partitions, before their records come, and when it has none of these any more, after the last of their records has come, or at
	// the end of the member.
	Group(name string, changed func(ours bool, partitions map[string][]int32)) Member
	// Partition returns a source of one partition.
	Partition(p Partition) Source
	// Partitions returns how many partitions a topic has; an error where there is no such topic.
	Partitions(ctx context.Context, topic string) (int, error)
}

// A Source feeds the records of partitions. It asks the sink for room with the message that it would send. What the sink gives
// back, by an error that is not permanent, it hands over again once there is room for that, ahead of anything newer and in the order
// of the partition, whatever else of the partition is still unsettled. It keeps each record until the sink is done with it.
type Source interface {
	linkspan.Source
	// Wake says that there is room again for a partition: the source need not ask before.
	Wake(topic string, partition int32)
}

// A Member is a Source of the partitions that a consumer group gives to it. Topics may come and go at any time, before it is run, too;
// neither method waits for Kafka.
type Member interface {
	Source
	Add(topic string)
	Remove(topic string)
}

// Partition says what a source of one partition reads.
type Partition struct {
	Topic     string
	Partition int32
	// Group keeps the position; "": nobody does.
	Group string
	From  linkspan.Start
}

// Options of a [Registry].
type Options struct {
	// IdleAfter is how long a receiver may be without a partition until it is told that it idles, as others may be about to hand
	// some over. It is told at once where there are more receivers here than partitions. Default 30s.
	IdleAfter time.Duration
	// MovePatience is how long a partition that is to move to another receiver waits for the one that has it, while that settles nothing:
	// then that one gets more, for the case that this is what it waits for. Default 10s.
	MovePatience time.Duration
	// MaxReaders bounds the Kafka clients at a time, as each takes memory and connections: one for each group that has receivers, one
	// for each receiver of a single partition, and those that are ending. Default 0: none.
	MaxReaders int
}

// The defaults of [Options].
const (
	defaultIdleAfter    = 30 * time.Second
	defaultMovePatience = 10 * time.Second
)

// A Registry knows the receivers of all groups in this process. All methods are safe from any goroutine.
type Registry struct {
	kafka Kafka
	opts  Options
	log   *slog.Logger
	stats Stats

	deliveries sync.Pool
	running    sync.WaitGroup // teams

	mu     sync.Mutex
	ctx    context.Context // that of Run, nil before
	closed bool
	teams  map[string]*team   // by group
	all    map[*team]struct{} // those of single partitions and those that end, too
}

// Stats counts what a [Registry] did since it was made.
type Stats struct {
	// Receivers that are joined now, and how many of them have no partition; Groups that have receivers.
	Receivers, Idle, Groups atomic.Int64
	// Unsettled deliveries now.
	Unsettled atomic.Int64
	// Delivered counts deliveries, Redelivered those of them whose record had been delivered here before.
	Delivered, Redelivered atomic.Uint64
	// Accepted, Rejected, Released and Modified count the outcomes, Returned deliveries that came back when their receiver left.
	Accepted, Rejected, Released, Modified, Returned atomic.Uint64
	// Undeliverable counts records that none of the receivers here can take.
	Undeliverable atomic.Uint64
}

// New returns a registry that reads once it is run. Options may be the zero value.
func New(k Kafka, opts Options, log *slog.Logger) *Registry {
	if opts.IdleAfter == 0 {
		opts.IdleAfter = defaultIdleAfter
	}
	if opts.MovePatience == 0 {
		opts.MovePatience = defaultMovePatience
	}
	return &Registry{kafka: k, opts: opts, log: log, teams: map[string]*team{}, all: map[*team]struct{}{}}
}

// Stats returns the live counters.
func (r *Registry) Stats() *Stats { return &r.stats }

// Run reads for the receivers until ctx ends. Then nothing more is delivered; it waits until what is unsettled is settled, or its
// receiver leaves, or Kafka's time for draining is over, and positions are committed (P8). Receivers that are still there are Gone.
// A registry runs once.
func (r *Registry) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.ctx != nil {
		r.mu.Unlock()
		return errors.New("group: a registry runs once")
	}
	r.ctx = ctx
	for t := range r.all {
		r.start(t)
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
	return nil
}

// start runs t, now or when the registry does. Called with r locked.
func (r *Registry) start(t *team) {
	r.all[t] = struct{}{}
	if r.ctx == nil {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	t.cancel = cancel
	r.running.Go(func() {
		defer cancel()
		t.run(ctx)
	})
}

// Join adds a receiver of a group's share of a topic. It looks the topic up, and fails where that does not exist or Kafka does not say so
// before ctx ends, or with [ErrTooMany]. Deliveries may begin before Join returns.
func (r *Registry) Join(ctx context.Context, group, topic string, to Receiver) (*Receiving, error) {
	n, err := r.kafka.Partitions(ctx, topic)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, linkspan.ErrClosed
	}
	t := r.teams[group]
	if t == nil {
		if err := r.room(); err != nil {
			r.mu.Unlock()
			return nil, err
		}
		t = newTeam(r, group)
		t.member = r.kafka.Group(group, t.changed)
		t.source = t.member
		r.teams[group] = t
		r.stats.Groups.Add(1)
		r.start(t)
	}
	rc := t.receiving(to)
	t.mu.Lock()
	r.mu.Unlock()
	told := t.join(rc, topic, n)
	t.mu.Unlock()
	tell(told)
	return rc, nil
}

// Assign adds a receiver of one partition, beside all groups; several of one partition each get all. It fails where there is no such
// partition, or Kafka does not say so before ctx ends, or with [ErrTooMany].
func (r *Registry) Assign(ctx context.Context, p Partition, to Receiver) (*Receiving, error) {
	n, err := r.kafka.Partitions(ctx, p.Topic)
	if err != nil {
		return nil, err
	}
	if p.Partition < 0 || int(p.Partition) >= n {
		return nil, fmt.Errorf("%w: topic %s has %d, there is no partition %d", ErrNoPartition, p.Topic, n, p.Partition)
	}
	if p.From.At == linkspan.Committed && p.Group == "" {
		p.From.At = linkspan.Earliest
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, linkspan.ErrClosed
	}
	if err := r.room(); err != nil {
		return nil, err
	}
	t := newTeam(r, p.Group)
	t.source = r.kafka.Partition(p)
	rc := t.receiving(to)
	t.mu.Lock()
	t.join(rc, p.Topic, 1)
	t.mu.Unlock()
	t.changed(true, map[string][]int32{p.Topic: {p.Partition}})
	r.start(t)
	return rc, nil
}

// room returns an error if there can be no more readers. Called with r locked.
func (r *Registry) room() error {
	if n := r.opts.MaxReaders; n > 0 && len(r.all) >= n {
		return fmt.Errorf("%w: there are %d", ErrTooMany, n)
	}
	return nil
}

var (
	// ErrNoPartition: the topic has no partition of that number.
	ErrNoPartition = errors.New("no such partition")
	// ErrTooMany: there are as many readers as there may be.
	ErrTooMany = errors.New("too many groups and readers of single partitions")
)

// ends takes t out of the registry: nobody joins it any more. Called with r locked.
func (r *Registry) ends(t *team) {
	if r.teams[t.name] == t {
		delete(r.teams, t.name)
		r.stats.Groups.Add(-1)
	}
}
