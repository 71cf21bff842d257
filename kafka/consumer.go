package kafka

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan"
)

// ConsumerConfig says what one [Consumer] reads.
type ConsumerConfig struct {
	// Topics by name.
	Topics []string
	// Patterns are regular expressions that match the whole name of further topics. Kafka's own topics (__...) never match.
	Patterns []string
	// Group is the consumer group that shares the partitions and keeps the positions. Empty: a tail, which
	// reads all partitions, from where they end when Run starts; topics and partitions that are new after that are read
	// from their beginning, so that nothing is skipped, and no position is kept.
	Group string
	// Alone: this consumer reads all partitions without being a member of Group, which only keeps its positions, for
	// what is read by one process at a time anyway. It begins at once, where a member that follows a dead one
	// waits for that one's session to end. Topics that are new are found within DiscoveryInterval. Kafka refuses the
	// positions while the group has members, and forgets those that were not written for offsets.retention.minutes; they
	// are written at least once an hour.
	Alone bool
	// Partitions are read beside Topics: of each topic exactly these. Setting it means Alone; with From other than Committed, Group may
	// be empty, and no position is kept.
	Partitions map[string][]int32
	// From is where Partitions begin: Run fails with an [OffsetError] where one has not come as far as an offset. One that has come to
	// its topic later, or again, is read from its beginning.
	From linkspan.Start
	// Apart: the sink answers for each record by itself. What it gives back is handed over again at once, ahead of anything newer, and
	// not only when nothing else of the partition is under way. It is asked for room with the record that is to come, and
	// says by [Consumer.Wake] when it may have room again.
	Apart bool
	// Changed is called when the group has given partitions to this member, before any of their records comes, and when it has taken
	// some away, after the last of their records has come; while Run ends, some may still come. It must not block. nil: nobody asks.
	Changed func(ours bool, partitions map[string][]int32)
	// SessionTimeout of this member of Group, 0 for that of [ConsumerSettings].
	SessionTimeout time.Duration
}

// A Consumer feeds records to a sink: Record, Payload and Received of the message are set. It is a
// [linkspan.Source].
//
// Records of a partition come in order. What done gives back with an error that is not permanent is handed over again, in
// order and before anything newer, until it is taken; a permanent error settles the record. A group's position moves over
// settled records only (P4): it is committed every CommitInterval, and when partitions are handed over to other members,
// after what is in flight has settled or half of RebalanceTimeout has passed. What is not settled then is read again by whoever gets the
// partition. Lost partitions are not committed.
//
// A group that has no position in a topic begins at StartOffset, which is committed before anything is read; partitions that the topic
// gets later are read from their beginning.
//
// Memory is bounded (P6), that of all which are Apart together: a partition that holds eight fetches, or its share of the
// bytes, is not fetched while others are, and nothing is while MaxInFlightBytes are held. A sink without room, for however
// long, costs no membership.
type Consumer struct {
	c        *Client
	cfg      ConsumerConfig
	settings *ConsumerSettings
	kgo      *kgo.Client // made by Run
	backoff  func(tries int) time.Duration
	stats    ConsumerStats
	slots    linkspan.Slots[position]
	flights  sync.Pool // of *flight
	room     chan struct{}
	ready    chan struct{}
	made     chan struct{} // closed when kgo is there: the group may call before that
	once     sync.Once     // closes ready
	started  atomic.Bool
	losses   atomic.Uint64   // how often the group has given us up
	from     map[int32]int64 // where a tail begins, by partition, if not at the end
	wanted   subscription    // of a member
	swell    swell

	commits sync.Mutex // held over a commit: a revocation waits for it, and none follows for what was revoked
	mu      sync.Mutex
	lanes   map[partitionKey]*lane
}

var _ linkspan.Source = (*Consumer)(nil)

type partitionKey struct {
	topic     string
	partition int32
}

// ConsumerStats counts what a [Consumer] did since it was made.
type ConsumerStats struct {
	// Records and Bytes that the sink took.
	Records, Bytes atomic.Uint64
	// Refused counts records that the sink refused for good; they count as settled. Retried counts those that it gave back.
	Refused, Retried atomic.Uint64
	// Commits and CommitErrors count commits of a group.
	Commits, CommitErrors atomic.Uint64
	// FetchErrors counts errors that the brokers gave for a partition, DataLoss those that mean that records are gone that were
	// not yet read.
	FetchErrors, DataLoss atomic.Uint64
	// InFlight is handed over and not done; HeldBytes is fetched and not settled, as MaxInFlightBytes counts.
	InFlight, HeldBytes atomic.Int64
}

// NewConsumer returns a consumer that begins to read when it is run, once.
func (c *Client) NewConsumer(cfg ConsumerConfig) *Consumer {
	wanted := map[string]bool{}
	for _, t := range cfg.Topics {
		wanted[t] = true
	}
	return &Consumer{
		wanted: subscription{topics: wanted, changed: make(chan struct{}, 1)},
		c:      c, cfg: cfg, settings: &c.cfg.Consumer, backoff: backoff(c.cfg.RetryInterval),
		room: make(chan struct{}, 1), ready: make(chan struct{}), made: make(chan struct{}), lanes: map[partitionKey]*lane{},
	}
}

// Ready is closed once the consumer has its positions: every record written to its topics after that will be read by a
// tail. In a group it means that the group has given this member its first partitions, of which there may be none.
func (c *Consumer) Ready() <-chan struct{} { return c.ready }

// Stats returns the live counters.
func (c *Consumer) Stats() *ConsumerStats { return &c.stats }

// Lag returns how many offsets this consumer has still to settle in the partitions that it has, as of the last fetches.
func (c *Consumer) Lag() (n int64) {
	for _, l := range c.all() {
		n += l.lag()
	}
	return n
}

// Run reads until ctx ends; see [linkspan.Source]. It fails only on a configuration that cannot work.
func (c *Consumer) Run(ctx context.Context, to linkspan.Sink) error {
	if c.started.Swap(true) {
		return errors.New("kafka: a consumer runs once")
	}
	patterns, err := compile(c.cfg.Patterns)
	if err != nil {
		return err
	}
	if c.cfg.Group == "" && (c.cfg.Alone || len(c.cfg.Partitions) > 0 && c.cfg.From.At == linkspan.Committed) {
		return errors.New("kafka: a consumer that is alone needs a group that keeps its positions")
	}
	topics := c.cfg.Topics
	if c.member() && len(patterns) == 0 {
		topics = c.wantsSome(ctx)
	}
	if len(topics)+len(patterns)+len(c.cfg.Partitions) == 0 {
		c.isReady()
		<-ctx.Done()
		return nil
	}
	life, halt := context.WithCancel(context.WithoutCancel(ctx))
	defer halt()
	opts := append(c.options(ctx, to, topics), kgo.WithContext(life))
	if c.kgo, err = kgo.NewClient(append(c.c.common[:len(c.c.common):len(c.c.common)], opts...)...); err != nil {
		return fmt.Errorf("kafka: consumer: %w", err)
	}
	close(c.made)
	if c.cfg.Apart {
		c.c.apart.Add(1)
		defer c.c.apart.Add(-1)
	}
	err = c.work(ctx, to, patterns, topics)
	last, cancel := context.WithTimeout(c.c.patience, c.settings.DrainTimeout)
	defer cancel()
	c.release(last, c.takeAll(), true)
	if c.member() {
		if err := c.c.leave(c.kgo, c.c.cfg.RequestTimeout); err != nil {
			c.c.log.Warn("kafka group was not left; others wait for the session to end", "group", c.cfg.Group, "err", err)
		}
	}
	halt()
	c.kgo.CloseAllowingRebalance()
	c.kgo.AllowRebalance() // closing polls once more, and what leaves the group beside it would wait for that for ever
	return err
}

// work polls, and does what there is to do beside it, until ctx ends or the consumer cannot begin.
func (c *Consumer) work(ctx context.Context, to linkspan.Sink, patterns []*regexp.Regexp, topics []string) error {
	var helpers sync.WaitGroup
	working, stop := context.WithCancelCause(ctx)
	switch {
	case !c.member():
		t := &tail{c: c, to: to, patterns: patterns, known: map[string]*knownTopic{}}
		helpers.Go(func() {
			if err := t.run(working); err != nil {
				stop(err)
			}
		})
	case len(patterns) == 0:
		helpers.Go(func() { c.follow(working, topics) })
	}
	if c.cfg.Group != "" {
		helpers.Go(func() { c.commitOften(working) })
	}
	c.poll(working)
	stop(nil)
	helpers.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return context.Cause(working)
}

// alone reports whether a group keeps the positions of c without c being a member.
func (c *Consumer) alone() bool { return c.cfg.Group != "" && !c.member() }

// member reports whether c is a member of a group.
func (c *Consumer) member() bool {
	return c.cfg.Group != "" && !c.cfg.Alone && len(c.cfg.Partitions) == 0
}

// compile makes patterns match whole names.
func compile(patterns []string) (list []*regexp.Regexp, err error) {
	for _, p := range patterns {
		re, err := regexp.Compile("^(?:" + p + ")$")
		if err != nil {
			return nil, fmt.Errorf("kafka: pattern of topics: %w", err)
		}
		list = append(list, re)
	}
	return list, nil
}

// options are those of a consumer that begins with topics.
func (c *Consumer) options(ctx context.Context, to linkspan.Sink, topics []string) []kgo.Opt {
	s := c.settings
	most, one := c.asks(1)
	opts := []kgo.Opt{
		kgo.FetchMaxBytes(most), kgo.FetchMaxPartitionBytes(one), kgo.WithHooks(&c.swell),
		kgo.FetchMinBytes(s.FetchMinBytes), kgo.FetchMaxWait(c.fetchMaxWait()),
		kgo.FetchIsolationLevel(c.c.isolation()),
		kgo.MetadataMaxAge(max(s.DiscoveryInterval, c.c.cfg.RetryInterval)),
		// Where the brokers have lost records that were read, go back a minute rather than skip what replaced them.
		kgo.ConsumeResetOffset(kgo.RewindOffset(time.Minute)),
	}
	if c.alone() {
		opts = append(opts, topicsByName())
	}
	if !c.member() {
		return opts
	}
	session := s.SessionTimeout
	if c.cfg.SessionTimeout > 0 {
		session = c.cfg.SessionTimeout
	}
	opts = append(opts,
		kgo.ConsumerGroup(c.cfg.Group), kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.AdjustFetchOffsetsFn(c.adjust),
		kgo.SessionTimeout(session), kgo.HeartbeatInterval(min(3*time.Second, session/6)), kgo.RebalanceTimeout(s.RebalanceTimeout),
		// A connection that is dead without saying so must not cost the membership.
		kgo.RequestTimeoutOverhead(min(c.c.cfg.RequestTimeout, max(session/3, 100*time.Millisecond))),
		// Positions are ours to commit. Polled records reach their lanes before their partition can be taken away and given
		// back, or a lane would get records from before and from after.
		kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { c.assigned(ctx, to, parts) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { c.revoked(parts) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, parts map[string][]int32) { c.lost(parts) }),
	)
	if len(c.cfg.Patterns) == 0 {
		return append(opts, kgo.ConsumeTopics(topics...))
	}
	var all []string
	for _, t := range topics {
		all = append(all, "^"+regexp.QuoteMeta(t)+"$")
	}
	for _, p := range c.cfg.Patterns {
		all = append(all, "^(?:"+p+")$")
	}
	return append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(all...), kgo.ConsumeExcludeTopics("^__"))
}

// changingFetchWait bounds how long a fetch waits that others may want to join.
const changingFetchWait = 250 * time.Millisecond

// fetchMaxWait is how long a fetch may wait for records. Those of partitions that come while it does are not among its own, and wait
// for it to end; that is for as long as a receiver waits that comes to a consumer which others have set going.
func (c *Consumer) fetchMaxWait() time.Duration {
	if c.cfg.Apart {
		return min(c.settings.FetchMaxWait, changingFetchWait)
	}
	return c.settings.FetchMaxWait
}

// poll gives fetched records to their lanes until ctx ends.
func (c *Consumer) poll(ctx context.Context) {
	for ctx.Err() == nil {
		if c.full(ctx) {
			continue
		}
		c.fit()
		fetches := c.kgo.PollFetches(ctx)
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if p.Err != nil {
				c.fetchError(ctx, p.Topic, p.Partition, p.Err)
			}
			if len(p.Records) == 0 {
				return
			}
			c.mu.Lock()
			l, share := c.lanes[partitionKey{p.Topic, p.Partition}], c.share()
			c.mu.Unlock()
			if l == nil {
				return // lost meanwhile
			}
			l.end.Store(p.HighWatermark)
			l.push(p.Records, share)
		})
		c.kgo.AllowRebalance()
	}
}

func (c *Consumer) fetchError(ctx context.Context, topic string, partition int32, err error) {
	if ctx.Err() != nil || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	c.stats.FetchErrors.Add(1)
	var loss *kgo.ErrDataLoss
	if errors.As(err, &loss) {
		c.stats.DataLoss.Add(1)
		c.c.log.Error("kafka has lost records", "topic", topic, "partition", partition, "err", err)
		return
	}
	if topic == "" { // no partition's, but that of the membership
		c.c.quiet.Log(kgo.LogLevelWarn, "kafka group failed", "group", c.cfg.Group, "err", explain(err))
		return
	}
	c.c.quiet.Log(kgo.LogLevelWarn, "kafka fetch failed", "topic", topic, "partition", partition, "err", explain(err))
}

func (c *Consumer) isReady() { c.once.Do(func() { close(c.ready) }) }

// add makes a lane.
func (c *Consumer) add(ctx context.Context, to linkspan.Sink, topic string, partition int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := partitionKey{topic, partition}
	if c.lanes[key] == nil {
		c.lanes[key] = c.newLane(ctx, topic, partition, to)
	}
}

// take removes lanes and returns them.
func (c *Consumer) take(parts map[string][]int32) (taken []*lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t, ps := range parts {
		for _, p := range ps {
			if l := c.lanes[partitionKey{t, p}]; l != nil {
				taken = append(taken, l)
				delete(c.lanes, partitionKey{t, p})
			}
		}
	}
	return taken
}

func (c *Consumer) takeAll() (taken []*lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lanes {
		taken = append(taken, l)
	}
	clear(c.lanes)
	return taken
}

func (c *Consumer) all() (list []*lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lanes {
		list = append(list, l)
	}
	return slices.Clip(list)
}

// release stops lanes, waits for what they have under way until ctx ends, and commits what has settled.
func (c *Consumer) release(ctx context.Context, lanes []*lane, commit bool) {
	for _, l := range lanes {
		l.cancel()
	}
	for _, l := range lanes {
		l.stop()
		l.drain(ctx)
	}
	if commit && c.cfg.Group != "" {
		c.commit(func() []*lane { return lanes })
	}
}
