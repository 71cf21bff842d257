// Package bridge joins the parts of Linkspan: it reads the configuration, builds what it asks for, and owns the order in
// which the parts start and stop. It is the only package that knows them all.
package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/route"
	"github.com/linkspan/linkspan/session"
	"github.com/linkspan/linkspan/spool"
)

// The defaults of bridge.patience: without a spool devices would only wait inside.
const (
	patience      = 5 * time.Second
	spoolPatience = 2 * time.Second
)

// A bridge is one running bridge.
type bridge struct {
	cfg      Config
	log      *slog.Logger
	patience time.Duration // how long a start waits for Kafka before devices may connect without it
	phase    atomic.Int32

	client    *kafka.Client
	routes    *route.Table
	uplink    *uplink
	sessions  *session.Registry
	consumer  *kafka.Consumer
	joined    chan struct{} // closed when Kafka has been reached and the consumer knows where it starts
	endpoints []endpoint
	groups    *group.Registry // nil: nobody can be a receiver of one
	member    *member         // nil: no endpoint dials
	dead      *deadLetters
	spool     *spool.Spool
}

// Run runs a bridge until ctx ends, then drains it (P8) and returns nil. started is called once everything is up, or up
// but for a Kafka cluster that cannot be reached, which Run goes on trying. Run returns an error for what it cannot run
// with: a port in use, a data directory that cannot be written, a cluster that refuses the login.
func Run(ctx context.Context, cfg Config, log *slog.Logger, started func(Status)) error {
	b := &bridge{cfg: cfg, log: log, patience: patience, joined: make(chan struct{})}
	if cfg.spooled() {
		b.patience = spoolPatience
	}
	return b.run(ctx, started)
}

func (b *bridge) run(ctx context.Context, started func(Status)) error {
	parts := newParts()
	var status Status
	err := b.start(ctx, parts, &status)
	if err == nil && ctx.Err() == nil {
		b.phase.Store(running)
		started(status)
		select {
		case <-ctx.Done():
		case err = <-parts.failed:
		}
	}
	b.phase.Store(stopping)
	b.log.Info("stopping", "drain_timeout", b.cfg.DrainTimeout)
	drain, cancel := context.WithTimeout(context.Background(), b.cfg.DrainTimeout)
	defer cancel()
	if b.client != nil {
		defer context.AfterFunc(drain, b.client.GiveUp)()
	}
	for _, e := range unjoin(parts.stop(drain)) {
		if errors.Is(e, context.DeadlineExceeded) { // what was not settled was not acknowledged
			b.log.Warn("drain_timeout is over", "err", e)
			continue
		}
		err = errors.Join(err, e)
	}
	b.log.Info("stopped")
	return err
}

// start starts the parts from top to bottom, each before what needs it. They stop in the reverse order.
func (b *bridge) start(ctx context.Context, parts *parts, status *Status) error {
	// The admin port answers first and last, so that one can always ask why nothing moves.
	registry, err := b.startAdmin(parts, status)
	if err != nil {
		return err
	}

	// The embedded broker is there before its client, and outlives it.
	if len(b.cfg.Kafka.Brokers) == 0 {
		if err := b.startEmbedded(parts, status); err != nil {
			return err
		}
	}
	status.Kafka = b.cfg.Kafka.Brokers

	// The producer answers for what it was given until Kafka does. So it is emptied when all who send to it have stopped.
	if err := b.startClient(parts); err != nil {
		return err
	}

	// Routes stand between Kafka and everything else, in both directions.
	if err := b.compileRoutes(status); err != nil {
		return err
	}

	// What is in the spool is acknowledged, and goes to Kafka as soon as that is there. So a disk that cannot be used ends the start
	// here, before anybody hands anything over, and the spool outlives all who do.
	if err := b.openSpool(parts); err != nil {
		return err
	}

	// A process of a fleet runs some of the endpoints that dial. It learns from what comes up where devices are.
	b.member = newMember(b)
	b.uplink = newUplink(b.routes, b.member.uplink(b.spool), b.dead, b.cfg.dialing())

	// Sessions take what comes down, and send wills up.
	sessions := b.cfg.Sessions
	sessions.Uplink, sessions.Replay = b.uplink, replayer{b.client, b.routes}
	b.sessions = session.NewRegistry(sessions, b.log)
	parts.onStop(b.sessions.Close)

	// The consumer reads for the devices of this instance alone (P7), and knows where it starts before one can publish: who
	// has subscribed by then misses nothing after it.
	topics, patterns := b.routes.Subscriptions()
	b.consumer = b.client.NewConsumer(kafka.ConsumerConfig{Topics: topics, Patterns: patterns})
	parts.run(b.join)
	if err := b.waitForKafka(ctx, parts); err != nil {
		return err
	}

	// Who is alone need not be told by Kafka which brokers to dial. Groups are read for receivers, and until those have gone.
	b.member.startAlone(parts)
	b.startGroups(parts)

	// Devices come last, when there is somewhere for their messages to go, and are the first to be told to stop.
	if err := b.listen(parts, status); err != nil {
		return err
	}
	return registry.Register(newCollector(b))
}

// isJoined reports whether Kafka has been reached, and the consumer knows where it starts.
func (b *bridge) isJoined() bool {
	select {
	case <-b.joined:
		return true
	default:
		return false
	}
}
