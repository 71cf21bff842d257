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
// It is a lease. A member whose heartbeats the group's coordinator has not answered for SessionTimeout ends what runs on its
// lanes, although nobody told it to: another member has them by then. The lease counts the time from sending the heartbeat, so that
// it ends before the coordinator's does, as long as the clocks of both run equally fast. What it cannot rule out
// is a coordinator that is no more: a broker that was cut off from its cluster answers heartbeats for some seconds,
// while the next one hands out the lanes. What must never run twice needs a fence of its own, such as the client
// identifier that an MQTT broker lets only one connection have.
type Shards struct {
	c     *Client
	cfg   ShardsConfig
	kgo   *kgo.Client // made by Run
	lease *lease
	own   func(ctx context.Context, lane int32) error
	stats ShardsStats
	hurry chan struct{} // holds one: a heartbeat is wanted now
	ready chan struct{}
	once  sync.Once // closes ready
	began atomic.Bool

	mu     sync.Mutex
	shards map[int32]*shard // lanes that the group has given to us
	last   map[int32]*shard // the last of each lane, perhaps not ended
}

// ShardsStats counts what a [Shards] did since it was made.
type ShardsStats struct {
	// Taken and Returned count lanes that the group gave to us, and asked back or we gave back; Lost those that went without
	// being asked back, as others may have had them already.
	Taken, Returned, Lost atomic.Uint64
	// Heartbeats that the coordinator answered.
	Heartbeats atomic.Uint64
}

// A shard is one lane from the time that the group gives it to us until it takes it away.
type shard struct {
	lane  int32
	given context.Context
	back  context.CancelFunc // ends given
	ended chan struct{}
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
	return &Shards{
		c: c, cfg: cfg, hurry: make(chan struct{}, 1), ready: make(chan struct{}), shards: map[int32]*shard{}, last: map[int32]*shard{},
	}
}

// Ready is closed once the group has given this member its first lanes, of which there may be none.
func (s *Shards) Ready() <-chan struct{} { return s.ready }

// Stats returns the live counters.
func (s *Shards) Stats() *ShardsStats { return &s.stats }

// Owned returns the lanes that this member has, in order: none while its lease is over.
func (s *Shards) Owned() []int32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil || !s.lease.valid() {
		return nil
	}
	return slices.Sorted(maps.Keys(s.shards))
}

// Run is a member of the group until ctx ends. It calls own for each lane that the group gives to us, each in a goroutine of its
// own, and never twice at a time for one lane. The context of own ends when the lane is to be given up: because ctx ends, because the
// group wants the lane for another member, which waits for own to return for up to half of RebalanceTimeout, or because the
// lease is over. Own is called again when the lane is ours again. It is also called again, after a while, when it
// returns an error before its context ends; after nil it is left alone.
//
// Run returns once all calls of own have returned and the group has been left, so that others take over at once. It fails
// only on a configuration that cannot work.
func (s *Shards) Run(ctx context.Context, own func(ctx context.Context, lane int32) error) (err error) {
	if s.began.Swap(true) {
		return errors.New("kafka: a membership runs once")
	}
	s.own = own
	l := newLease(s.cfg.SessionTimeout)
	defer l.close()
	s.mu.Lock()
	s.lease = l
	s.mu.Unlock()

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
	if err := leave(s.kgo, s.cfg.SessionTimeout); err != nil {
		s.c.log.Warn("kafka group was not left; others wait for the session to end", "group", s.cfg.Group, "err", err)
	}
	halt()
	s.kgo.Close()
	helpers.Wait()
	s.wait() // for what was given to us at the last moment, and runs nothing
	return nil
}

// leave leaves the client's group. A rebalance that waits for others, and brokers that do not answer, hold it up.
func leave(cl *kgo.Client, most time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), most)
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
		for _, lane := range lanes {
			s.give(ctx, lane)
		}
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
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.RebalanceTimeout/2)
	defer cancel()
	taken := s.take(lanes)
	for _, sh := range taken {
		select {
		case <-sh.ended:
		case <-ctx.Done():
			s.c.log.Warn("kafka lane is handed over before what runs on it has ended", "group", s.cfg.Group, "lane", sh.lane)
		}
	}
	s.report("kafka lanes handed over", lanes)
	s.stats.Returned.Add(uint64(len(taken)))
}

// lost is called when others may have the lanes already.
func (s *Shards) lost(lanes []int32) {
	s.stats.Lost.Add(uint64(len(s.take(lanes))))
	s.report("kafka lanes lost", lanes)
}

func (s *Shards) report(msg string, lanes []int32) {
	if len(lanes) > 0 {
		s.c.log.Info(msg, "group", s.cfg.Group, "lanes", lanes)
	}
}

// give makes a lane ours.
func (s *Shards) give(ctx context.Context, lane int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.last[lane]
	sh := &shard{lane: lane, ended: make(chan struct{})}
	sh.given, sh.back = context.WithCancel(ctx)
	s.shards[lane], s.last[lane] = sh, sh
	go s.tend(sh, before)
}

// take ends the context of what runs on lanes, and returns those that were ours.
func (s *Shards) take(lanes []int32) (taken []*shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, lane := range lanes {
		if sh := s.shards[lane]; sh != nil {
			sh.back()
			taken = append(taken, sh)
			delete(s.shards, lane)
		}
	}
	return taken
}

// wait waits until nothing runs on any lane.
func (s *Shards) wait() {
	s.mu.Lock()
	last := slices.Collect(maps.Values(s.last))
	s.mu.Unlock()
	for _, sh := range last {
		<-sh.ended
	}
}

// tend calls own while the lane is given to us and the lease holds.
func (s *Shards) tend(sh, before *shard) {
	defer close(sh.ended)
	defer sh.back()
	if before != nil {
		<-before.ended
	}
	pause := backoff(s.c.cfg.RetryInterval)
	for tries := 1; ; tries++ {
		term := s.lease.wait(sh.given)
		if term == nil || sh.given.Err() != nil {
			return
		}
		ctx, cancel := context.WithCancel(sh.given)
		stop := context.AfterFunc(term, cancel)
		err := s.own(ctx, sh.lane)
		ours := ctx.Err() == nil
		stop()
		cancel()
		switch {
		case !ours:
			tries = 0
		case err == nil:
			<-sh.given.Done()
		default:
			s.c.log.Warn("what runs on a kafka lane failed", "group", s.cfg.Group, "lane", sh.lane, "err", err)
			_ = sleep(sh.given, pause(tries))
		}
	}
}
