package bridge

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/route"
)

// A member is this process as one of its fleet: it runs the endpoints that dial and whose lanes Kafka has given to it (P7). One that is
// alone runs all of them, and asks nobody.
type member struct {
	b        *bridge
	cfg      *fleet.Config
	dialers  []*dialer       // by name
	shards   *kafka.Shards   // nil: this process is alone
	sessions *fleet.Clients  // what brokers know of the endpoints
	known    *kafka.Follower // feeds sessions
	finder   *finder         // nil: no route asks where a device is
}

// newMember returns the member that a configuration with endpoints that dial needs, nil for any other.
func newMember(b *bridge) *member {
	names := b.cfg.dialing()
	if len(names) == 0 {
		return nil
	}
	cfg := &b.cfg.Fleet
	m := &member{
		b: b, cfg: cfg, finder: newFinder(b),
		sessions: fleet.NewClients(*cfg, b.client.Producer()),
		known:    b.client.Follow(cfg.ClientsTopic()),
	}
	if !cfg.Alone {
		m.shards = b.client.NewShards(kafka.ShardsConfig{Topic: cfg.ShardsTopic(), Group: cfg.ShardsGroup(), SessionTimeout: cfg.SessionTimeout})
	}
	for _, name := range names {
		m.dialers = append(m.dialers, newDialer(m, name))
	}
	return m
}

// uplink returns the way to Kafka for what comes up, which teaches where devices are.
func (m *member) uplink(to linkspan.Bounded) linkspan.Bounded {
	if m == nil || m.finder == nil {
		return to
	}
	return m.finder.places.Uplink(to)
}

// fleetTopics returns the topics that endpoints that dial need: the fleet's own, which must be as they are told.
func fleetTopics(c *Config, routes *route.Table) (specs []kafka.TopicSpec) {
	for _, t := range c.Fleet.Topics() {
		if t.Name == c.Fleet.ShardsTopic() && c.Fleet.Alone {
			continue
		}
		if locating(routes) || t.Name == c.Fleet.ShardsTopic() || t.Name == c.Fleet.ClientsTopic() {
			specs = append(specs, kafka.TopicSpec{Name: t.Name, Partitions: t.Partitions, Configs: t.Configs, Strict: true})
		}
	}
	return specs
}

// locating reports whether any record goes to where its device is.
func locating(routes *route.Table) bool {
	topics, patterns := routes.Located()
	return len(topics)+len(patterns) > 0
}

// run takes part in the fleet until ctx ends, with Kafka. Parts start from top to bottom, and stop in the reverse order.
func (m *member) run(ctx context.Context) (err error) {
	parts := newParts()
	follow := func(f *kafka.Follower, apply func(*linkspan.Message)) {
		parts.run(func(ctx context.Context) error { return f.Run(ctx, apply) })
	}
	follow(m.known, m.sessions.Apply)
	if m.finder != nil {
		follow(m.finder.devices, m.finder.places.Apply)
		follow(m.finder.parked, m.finder.parking.Apply)
		parts.run(m.finder.run)
	}
	if m.shards == nil {
		parts.run(m.ownAll)
	} else {
		m.share(parts)
	}
	select {
	case <-ctx.Done():
	case err = <-parts.failed:
	}
	return errors.Join(err, parts.stop(ctx))
}

// share runs the endpoints that each process runs, and the lanes that this one has.
func (m *member) share(parts *parts) {
	for _, d := range m.dialers {
		if d.mode == dial.ModeAll {
			parts.run(d.begin().connect)
		}
	}
	fenced := func(ctx context.Context, lane int32) error { return m.dial(ctx, m.inLane(lane, dial.ModeOne)) }
	parts.run(func(ctx context.Context) error { return m.shards.Run(ctx, kafka.Work{Leased: m.own, Fenced: fenced}) })
}

// ownAll does the work of all lanes.
func (m *member) ownAll(ctx context.Context) error {
	var runs []func(context.Context) error
	for lane := range m.cfg.Lanes {
		runs = append(runs, func(ctx context.Context) error { return m.release(ctx, lane) })
	}
	return together(ctx, runs)
}

// startAlone starts what a member that is alone does without Kafka.
func (m *member) startAlone(parts *parts) {
	if m != nil && m.shards == nil {
		parts.run(m.dialAll)
	}
}

// dialAll connects all endpoints, whether Kafka is there or not, until ctx ends.
func (m *member) dialAll(ctx context.Context) error { return m.dial(ctx, slices.Values(m.dialers)) }

// release has the lane's parking released until ctx ends.
func (m *member) release(ctx context.Context, lane int32) error {
	if m.finder != nil {
		m.finder.parking.Own(ctx, lane)
	}
	<-ctx.Done()
	return nil
}

// own does the work of one lane that nothing but the lease keeps from being done twice, until ctx ends.
func (m *member) own(ctx context.Context, lane int32) error {
	if m.finder == nil {
		return nil
	}
	runs := []func(context.Context) error{func(ctx context.Context) error { return m.release(ctx, lane) }}
	for d := range m.inLane(lane, dial.ModeAll) {
		runs = append(runs, func(ctx context.Context) error { return d.last.Load().deliver(ctx) })
	}
	return together(ctx, runs)
}

// dial connects the endpoints of a lane until ctx ends. Their brokers let only one connection have a client identifier. So a
// connection goes on when Kafka is away, with its keep-alives; but no other is made without the lease, lest two members throw
// each other out for ever.
func (m *member) dial(ctx context.Context, endpoints iter.Seq[*dialer]) error {
	var runs []func(context.Context) error
	for d := range endpoints {
		run := d.begin()
		runs = append(runs, run.connect)
		if m.finder != nil {
			runs = append(runs, run.deliver)
		}
	}
	if len(runs) == 0 {
		return nil
	}
	return together(ctx, runs)
}

// inLane ranges over the endpoints of a lane that have that mode.
func (m *member) inLane(lane int32, mode string) iter.Seq[*dialer] {
	return func(yield func(*dialer) bool) {
		for _, d := range m.dialers {
			if d.lane() == lane && d.mode == mode && !yield(d) {
				return
			}
		}
	}
}

// leased reports whether this process knows which endpoints it has to run.
func (m *member) leased() bool { return m.shards == nil || m.shards.Leased() }

// dialers returns the endpoints that dial, by name.
func (b *bridge) dialers() []*dialer {
	if b.member == nil {
		return nil
	}
	return b.member.dialers
}
