package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ShardsConfig says how the lanes of a fleet are handed out.
type ShardsConfig struct {
	// Topic is the one whose partitions are the lanes. It must exist; nothing is written to it or read from it.
	Topic string
	// Group is the consumer group that hands them out.
	Group string
	// SessionTimeout is how long a member may be silent before its lanes go to others, and how long it keeps them itself.
	// Default 6s, which is the least that most clusters allow (group.min.session.timeout.ms). Kafka: session.timeout.ms.
	SessionTimeout time.Duration
	// RebalanceTimeout is how long a member may take to hand over lanes; half of it is for what runs on them to end. While they
	// wait for that, others get no new lanes. Default 20s. Kafka: max.poll.interval.ms.
	RebalanceTimeout time.Duration
}

// Shards is this process's share of the lanes of a fleet (P7): Kafka gives each lane to one member, and a dead member's to
// others.
//
// It is a lease. A member whose heartbeats the group's coordinator has not answered for SessionTimeout has no right to its lanes
// any more, although nobody told it so: another member may have them by then. The lease counts the time from sending the heartbeat,
// so that it ends before the coordinator's does, as long as the clocks of both run equally fast. What it cannot rule out
// is a coordinator that is no more: a broker that was cut off from its cluster answers heartbeats for some seconds,
// while the next one hands out the lanes. What must never run twice needs a fence of its own, such as the client
// identifier that an MQTT broker lets only one connection have. With such a fence it may go on when the lease is over: see [Work].
type Shards struct {
	c     *Client
	cfg   ShardsConfig
	kgo   *kgo.Client // made by Run
	lease *lease
	stats ShardsStats
	hurry chan struct{} // holds one: a heartbeat is wanted now
	ready chan struct{}
	once  sync.Once // closes ready
	began atomic.Bool

	mu             sync.Mutex // guards both
	leased, fenced duty
}

// Work is what a member runs on each of its lanes: functions that run until ctx ends, each in a goroutine of its own and never twice
// at a time for one lane. Either may be nil.
//
// The context ends when the lane is to be given up: because that of Run does, or because the group wants the lane for another
// member, which waits for the functions to return for up to half of RebalanceTimeout. A function is called again when the lane is
// ours again. It is also called again, after a while, when it returns an error before its context ends; after nil it is left alone.
type Work struct {
	// Leased begins with the lease, and its context ends with it too.
	Leased func(ctx context.Context, lane int32) error
	// Fenced begins with the lease, and goes on without it while nobody says that the lane is another's: an outage of Kafka
	// does not end it. It must be harmless beside another member's, and asks [Shards.Lease] before it takes what the other may have.
	Fenced func(ctx context.Context, lane int32) error
}

// ShardsStats counts what a [Shards] did since it was made.
type ShardsStats struct {
	// Taken and Returned count lanes that the group gave to us, and asked back or we gave back; Lost those that went without
	// being asked back, as others may have had them already.
	Taken, Returned, Lost atomic.Uint64
	// Heartbeats that the coordinator answered.
	Heartbeats atomic.Uint64
}

// The defaults of [ShardsConfig].
const (
	shardsSessionTimeout   = 6 * time.Second
	shardsRebalanceTimeout = 20 * time.Second
)

// NewShards returns a membership that begins when it is run, once.
func (c *Client) NewShards(cfg ShardsConfig) *Shards {
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = shardsSessionTimeout
	}
	if cfg.RebalanceTimeout == 0 {
		cfg.RebalanceTimeout = shardsRebalanceTimeout
	}
	s := &Shards{c: c, cfg: cfg, lease: newLease(cfg.SessionTimeout), hurry: make(chan struct{}, 1), ready: make(chan struct{})}
	s.leased, s.fenced = newDuty(s, true), newDuty(s, false)
	return s
}

// Ready is closed once the group has given this member its first lanes, of which there may be none.
func (s *Shards) Ready() <-chan struct{} { return s.ready }

// Stats returns the live counters.
func (s *Shards) Stats() *ShardsStats { return &s.stats }

// Owned returns the lanes that this member has, in order: none while its lease is over.
func (s *Shards) Owned() []int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.lease.valid() {
		return nil
	}
	return slices.Sorted(maps.Keys(s.leased.shards))
}

// Leased reports whether the group counts this member as one of it, as far as a lease can tell.
func (s *Shards) Leased() bool { return s.lease.valid() }

// Lease waits for the lease, and reports whether there is one: false when ctx ends first.
func (s *Shards) Lease(ctx context.Context) bool { return s.lease.wait(ctx) != nil }

// Run is a member of the group until ctx ends, and does work on each lane that the group gives to us.
//
// It returns once all work has ended and the group has been left, so that others take over at once. It fails only on a
// configuration that cannot work.
func (s *Shards) Run(ctx context.Context, work Work) (err error) {
	if s.began.Swap(true) {
		return errors.New("kafka: a membership runs once")
	}
	s.leased.work, s.fenced.work = work.Leased, work.Fenced
	defer s.lease.close()

	life, halt := context.WithCancel(context.WithoutCancel(ctx))
	defer halt()
	if s.kgo, err = kgo.NewClient(append(s.c.common[:len(s.c.common):len(s.c.common)], s.options(ctx, life)...)...); err != nil {
		return fmt.Errorf("kafka: group %s: %w", s.cfg.Group, err)
	}
	s.kgo.PauseFetchTopics(s.cfg.Topic) // there is nothing to fetch

	var helpers sync.WaitGroup
	helpers.Go(func() { s.beat(life) })
	helpers.Go(func() { s.poll(life) })
	<-ctx.Done()
	s.wait() // our heartbeats go on: nobody else gets the lanes meanwhile
	if err := s.c.leave(s.kgo, s.cfg.SessionTimeout); err != nil {
		s.c.log.Warn("kafka group was not left; others wait for the session to end", "group", s.cfg.Group, "err", err)
	}
	halt()
	s.kgo.Close()
	helpers.Wait()
	s.wait() // for what was given to us at the last moment, and runs nothing
	return nil
}

// leave leaves the group of cl. A rebalance that waits for others, and brokers that do not answer, hold it up.
func (c *Client) leave(cl *kgo.Client, most time.Duration) error {
	ctx, cancel := context.WithTimeout(c.patience, most)
	defer cancel()
	return cl.LeaveGroupContext(ctx)
}

// options are those of a client that is a member while life is there, and takes lanes while ctx is.
func (s *Shards) options(ctx, life context.Context) []kgo.Opt {
	third := max(s.cfg.SessionTimeout/3, 100*time.Millisecond)
	return []kgo.Opt{
		kgo.WithContext(life), kgo.ConsumerGroup(s.cfg.Group), kgo.ConsumeTopics(s.cfg.Topic), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(s.cfg.SessionTimeout), kgo.HeartbeatInterval(s.interval()), kgo.RebalanceTimeout(s.cfg.RebalanceTimeout),
		// A connection that is dead without saying so must not cost the lease.
		kgo.RequestTimeoutOverhead(third), kgo.DialTimeout(third),
		kgo.DisableAutoCommit(), kgo.ConsumeStartOffset(kgo.NewOffset().At(0)),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { s.assigned(ctx, parts[s.cfg.Topic]) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { s.revoked(parts[s.cfg.Topic]) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { s.lost(parts[s.cfg.Topic]) }),
	}
}

// interval is how often the group hears from us. It is also how long it takes until we hear that another member has come or
// gone, so it is shorter than keeping the session would need.
func (s *Shards) interval() time.Duration { return s.cfg.SessionTimeout / 12 }

// poll passes on what the group complains about.
func (s *Shards) poll(ctx context.Context) {
	for ctx.Err() == nil {
		s.kgo.PollFetches(ctx).EachError(func(_ string, _ int32, err error) {
			if ctx.Err() == nil && !errors.Is(err, kgo.ErrClientClosed) {
				s.c.quiet.Log(kgo.LogLevelWarn, "kafka group failed", "group", s.cfg.Group, "err", explain(err))
			}
		})
	}
}

// beat renews the lease. The Kafka client has heartbeats of its own, but does not tell when they were answered.
func (s *Shards) beat(ctx context.Context) {
	t := time.NewTicker(s.interval())
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.hurry:
		case <-ctx.Done():
			return
		}
		sent := time.Now()
		if err := s.heartbeat(ctx); err != nil {
			continue // the Kafka client gets the same error, and sees to it
		}
		s.stats.Heartbeats.Add(1)
		if s.lease.renew(sent) {
			s.c.log.Debug("kafka lease begins", "group", s.cfg.Group)
		}
	}
}

// heartbeat returns nil when the coordinator counts us as a member of the generation that our lanes are from. While it gathers
// the members for the next one it says that a rebalance is in progress; nobody gets our lanes before we have joined
// that, or are no member any more.
func (s *Shards) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.SessionTimeout)
	defer cancel()
	req := kmsg.NewPtrHeartbeatRequest()
	req.Group = s.cfg.Group
	if req.MemberID, req.Generation = s.kgo.GroupMetadata(); req.MemberID == "" {
		return kerr.UnknownMemberID
	}
	resp, err := req.RequestWith(ctx, s.kgo)
	if err != nil {
		return err
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); !errors.Is(err, kerr.RebalanceInProgress) {
		return err
	}
	return nil
}

// assigned is called by the group when it gives us lanes.
func (s *Shards) assigned(ctx context.Context, lanes []int32) {
	if ctx.Err() == nil {
		s.mu.Lock()
		s.leased.give(ctx, lanes)
		s.fenced.give(ctx, lanes)
		s.mu.Unlock()
		s.report("kafka lanes taken over", lanes)
		s.stats.Taken.Add(uint64(len(lanes)))
	}
	select {
	case s.hurry <- struct{}{}:
	default:
	}
	s.once.Do(func() { close(s.ready) })
}

// revoked is called by the group before others get the lanes. It waits, within a bound, for what runs on them.
func (s *Shards) revoked(lanes []int32) {
	ctx, cancel := context.WithTimeout(s.c.patience, s.cfg.RebalanceTimeout/2)
	defer cancel()
	s.mu.Lock()
	taken := append(s.leased.take(lanes), s.fenced.take(lanes)...)
	s.mu.Unlock()
	for _, sh := range taken {
		select {
		case <-sh.ended:
		case <-ctx.Done():
			s.c.log.Warn("kafka lane is handed over before what runs on it has ended", "group", s.cfg.Group, "lane", sh.lane)
		}
	}
	s.report("kafka lanes handed over", lanes)
	s.stats.Returned.Add(uint64(len(lanes)))
}

// lost is called when others may have the lanes already; or when nobody has, because no member reaches the coordinator.
func (s *Shards) lost(lanes []int32) {
	s.mu.Lock()
	s.leased.take(lanes)
	s.fenced.doubt(lanes)
	s.mu.Unlock()
	s.stats.Lost.Add(uint64(len(lanes)))
	s.report("kafka lanes lost", lanes)
}

func (s *Shards) report(msg string, lanes []int32) {
	if len(lanes) > 0 {
		s.c.log.Info(msg, "group", s.cfg.Group, "lanes", len(lanes))
	}
}

// wait waits until nothing runs on any lane.
func (s *Shards) wait() {
	s.mu.Lock()
	last := append(slices.Collect(maps.Values(s.leased.last)), slices.Collect(maps.Values(s.fenced.last))...)
	s.mu.Unlock()
	for _, sh := range last {
		<-sh.ended
	}
}
