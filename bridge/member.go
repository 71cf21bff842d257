package bridge

import (
	"context"
	"errors"
	"iter"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/route"
)

// A member is this process as one of its fleet: it runs the endpoints that dial and whose lanes Kafka has given to it (P7).
type member struct {
	b        *bridge
	cfg      *fleet.Config
	dialers  []*dialer // by name
	shards   *kafka.Shards
	sessions *fleet.Clients  // what brokers know of the endpoints
	known    *kafka.Follower // feeds sessions
	finder   *finder         // nil: no route asks where a device is
}

// newMember returns the member that a configuration with endpoints that dial needs, nil for any other.
func newMember(b *bridge) *member {
	names := b.cfg.clients()
	if len(names) == 0 {
		return nil
	}
	cfg := &b.cfg.Fleet
	m := &member{
		b: b, cfg: cfg, finder: newFinder(b),
		shards:   b.client.NewShards(kafka.ShardsConfig{Topic: cfg.ShardsTopic(), Group: cfg.ShardsGroup(), SessionTimeout: cfg.SessionTimeout}),
		sessions: fleet.NewClients(*cfg, b.client.Producer()),
		known:    b.client.Follow(cfg.ClientsTopic()),
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

// fleetTopics returns the topics that endpoints that dial need: that of dead letters, and the fleet's own, which must be as
// they are told.
func fleetTopics(c *Config, routes *route.Table) []kafka.TopicSpec {
	specs := []kafka.TopicSpec{{Name: c.DeadLetter.Topic}}
	for _, t := range c.Fleet.Topics() {
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

// run takes part in the fleet until ctx ends. Parts start from top to bottom, and stop in the reverse order.
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
	for _, d := range m.dialers {
		if d.cfg.Mode == client.ModeAll {
			parts.run(d.begin().connect)
		}
	}
	parts.run(func(ctx context.Context) error { return m.shards.Run(ctx, kafka.Work{Leased: m.own, Fenced: m.dial}) })
	select {
	case <-ctx.Done():
	case err = <-parts.failed:
	}
	return errors.Join(err, parts.stop(ctx))
}

// own does the work of one lane that nothing but the lease keeps from being done twice, until ctx ends.
func (m *member) own(ctx context.Context, lane int32) error {
	if m.finder == nil {
		return nil
	}
	runs := []func(context.Context) error{func(ctx context.Context) error {
		m.finder.parking.Own(ctx, lane)
		<-ctx.Done()
		return nil
	}}
	for d := range m.inLane(lane, client.ModeAll) {
		runs = append(runs, func(ctx context.Context) error { return d.last.Load().deliver(ctx, lane) })
	}
	return together(ctx, runs)
}

// dial connects the endpoints of one lane until ctx ends. Their brokers let only one connection have a client identifier. So a
// connection goes on when Kafka is away, with its keep-alives; but no other is made without the lease, lest two members throw
// each other out for ever.
func (m *member) dial(ctx context.Context, lane int32) error {
	var runs []func(context.Context) error
	for d := range m.inLane(lane, client.ModeOne) {
		run := d.begin()
		runs = append(runs, run.connect)
		if m.finder != nil {
			runs = append(runs, func(ctx context.Context) error { return run.deliver(ctx, lane) })
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
			if fleet.Lane(d.name, m.cfg.Lanes) == lane && d.cfg.Mode == mode && !yield(d) {
				return
			}
		}
	}
}

// dialers returns the endpoints that dial, by name.
func (b *bridge) dialers() []*dialer {
	if b.member == nil {
		return nil
	}
	return b.member.dialers
}
