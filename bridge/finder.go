package bridge

import (
	"context"
	"errors"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/route"
)

// A finder brings records to the one broker where their device is.
type finder struct {
	places   *fleet.Locations
	parking  *fleet.Parking
	router   *fleet.Router
	guard    *guard // of the router
	consumer *kafka.Consumer
	devices  *kafka.Follower
	parked   *kafka.Follower
}

// newFinder returns what the routes need, nil if none of them asks where a device is.
func newFinder(b *bridge) *finder {
	if !locating(b.routes) {
		return nil
	}
	cfg, producer := b.cfg.Fleet, b.client.Producer()
	topics, patterns := b.routes.Located()
	l := &finder{
		places: fleet.NewLocations(cfg, producer, b.log),
		consumer: b.client.NewConsumer(kafka.ConsumerConfig{
			Topics: topics, Patterns: patterns, Group: cfg.RouterGroup(), SessionTimeout: cfg.SessionTimeout,
		}),
		devices: b.client.Follow(cfg.DevicesTopic()),
		parked:  b.client.Follow(cfg.ParkedTopic()),
	}
	l.guard = &guard{dead: b.dead}
	parts := fleet.Parts{Locate: locate(b.routes), To: producer, Read: reader(b.client), Refuse: l.guard.Refuse, Log: b.log}
	l.parking = fleet.NewParking(cfg, l.places, parts)
	l.router = fleet.NewRouter(cfg, l.places, l.parking, parts)
	l.guard.to = l.router
	return l
}

// locate tells the fleet in its own words what the routes say of a record.
func locate(routes *route.Table) func(m *linkspan.Message) (fleet.Located, bool, error) {
	unknown := map[route.Unknown]fleet.Unknown{
		route.UnknownPark: fleet.Park, route.UnknownFlood: fleet.Flood, route.UnknownDeadLetter: fleet.DeadLetter,
	}
	return func(m *linkspan.Message) (fleet.Located, bool, error) {
		l, ok, err := routes.Locate(m)
		return fleet.Located{
			Device: l.Device, Endpoints: l.Endpoints, Listeners: l.Listeners, Unknown: unknown[l.Unknown], ParkFor: l.ParkFor,
		}, ok, err
	}
}

// reader reads back for the fleet. What Kafka no longer has is gone for good.
func reader(c *kafka.Client) fleet.Reader {
	return func(ctx context.Context, topic string, partition int32, from int64, maxBytes int, visit func(m *linkspan.Message)) (int64, error) {
		next, err := c.ReadAt(ctx, topic, partition, from, maxBytes, visit)
		var gone *kafka.OffsetError
		if errors.As(err, &gone) {
			err = linkspan.Permanent(err)
		}
		return next, err
	}
}

// run routes records until ctx ends, once the logs have been read that it decides by.
func (l *finder) run(ctx context.Context) error {
	for _, f := range []*kafka.Follower{l.devices, l.parked} {
		select {
		case <-f.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	return l.consumer.Run(ctx, l.guard)
}
