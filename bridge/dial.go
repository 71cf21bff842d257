package bridge

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/client"
)

// completeClient fills in what an endpoint that dials has by its name.
func (c *Config) completeClient(name string, lookup func(string) (string, bool)) {
	e := c.Endpoints[name].Client
	session := c.Fleet.Name + "-" + name
	if e.Mode == client.ModeAll {
		if e.Share == "" {
			e.Share = session
		}
		session += "-" + hostname(lookup)
	}
	if e.ClientID == "" {
		e.ClientID = session
	}
}

// hostname tells the processes of a fleet apart: it is the same again after a restart.
func hostname(lookup func(string) (string, bool)) string {
	name, _ := lookup("HOSTNAME")
	if name == "" {
		name, _ = os.Hostname()
	}
	return strings.Map(func(r rune) rune {
		if r == '+' || r == '#' || r == '/' {
			return '-'
		}
		return r
	}, name)
}

// A dialer is an endpoint that dials, whether this process runs it or not.
type dialer struct {
	name string
	b    *bridge
	cfg  client.Config
	know *fleet.Clients // what brokers know of endpoints

	owned atomic.Bool            // this process runs it
	last  atomic.Pointer[dialed] // the run that goes on, or the last one; nil: there was none
}

func newDialer(m *member, name string) *dialer {
	cfg := m.b.cfg.Endpoints[name].Client.Config
	cfg.Name = name
	if cfg.Mode == client.ModeOne && m.shards != nil {
		cfg.Permit = m.shards.Lease
	}
	cfg.DrainTimeout = min(cfg.DrainTimeout, m.b.cfg.DrainTimeout/4) // the rest is for what stops after it
	return &dialer{name: name, b: m.b, cfg: cfg, know: m.sessions}
}

// lane is the lane of the fleet that the endpoint belongs to.
func (d *dialer) lane() int32 { return fleet.Lane(d.name, d.b.cfg.Fleet.Lanes) }

// dialed is one run of a dialer: from when this process is to run it until another is.
type dialed struct {
	*dialer
	client *client.Client
	direct *kafka.Consumer
	inbox  atomic.Pointer[kafka.Consumer] // nil: this process does not read it
}

// begin makes the parts of a run.
func (d *dialer) begin() *dialed {
	routes := d.b.routes
	topics, patterns := routes.SubscriptionsTo(d.name)
	run := &dialed{
		dialer: d,
		client: client.New(d.cfg, routes.Filters(d.name), sessionState{d}, d.b.log),
		direct: d.b.client.NewConsumer(kafka.ConsumerConfig{
			Topics: topics, Patterns: patterns, Group: d.b.cfg.Fleet.EndpointGroup(d.name), Alone: d.cfg.Mode == client.ModeOne,
			SessionTimeout: d.b.cfg.Fleet.SessionTimeout,
		}),
	}
	d.last.Store(run)
	return run
}

// connect keeps the endpoint connected, and carries both ways until ctx ends. Then its parts stop at once: nothing more is read
// from the broker or from Kafka, what is in flight settles within the drain times, and what does not is given back to
// whoever has custody (P8).
func (d *dialed) connect(ctx context.Context) error {
	d.owned.Store(true)
	defer d.owned.Store(false)
	return together(ctx, []func(context.Context) error{
		func(ctx context.Context) error { return d.client.Run(ctx, mute{d.b.uplink}) },
		func(ctx context.Context) error {
			return d.direct.Run(ctx, d.guard(d.b.routes.DownlinkTo(d.name, d.client)))
		},
	})
}

// deliver carries what the fleet has put into the inbox of the endpoint until ctx ends.
func (d *dialed) deliver(ctx context.Context) error {
	cfg := &d.b.cfg.Fleet
	inbox := d.b.client.NewConsumer(kafka.ConsumerConfig{
		Partitions: map[string][]int32{cfg.InboxTopic(): {d.lane()}}, Group: cfg.InboxGroup(d.name),
	})
	d.inbox.Store(inbox)
	defer d.inbox.Store(nil)
	return inbox.Run(ctx, fleet.NewInbox(d.name, d.guard(d.b.routes.DownlinkLocated(d.name, d.client))))
}

// guard returns a sink that has what to refuses for good written to the dead letter topic.
func (d *dialer) guard(to linkspan.Bounded) *guard {
	return &guard{dead: d.b.dead, to: to, endpoint: d.name}
}

// A sessionState keeps in Kafka what the sessions at one broker know of us, for whichever process runs the endpoint next.
type sessionState struct{ *dialer }

var _ client.State = sessionState{}

// key is that of one endpoint; or of one process of it, if all are connected.
func (s sessionState) key() string {
	if s.cfg.Mode == client.ModeAll {
		return s.name + "/" + s.cfg.ClientID
	}
	return s.name
}

// Load returns what is known. While Kafka does not tell, it is nothing: then the endpoint subscribes once more than it needs to.
func (s sessionState) Load() (known client.Subscribed) {
	if s.b.cfg.Fleet.Alone && !s.b.isJoined() { // nobody waits for Kafka
		return known
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.Kafka.RequestTimeout)
	defer cancel()
	value, err := s.know.Load(ctx, s.key())
	if err == nil && len(value) > 0 {
		err = json.Unmarshal(value, &known)
	}
	if err != nil {
		s.b.log.Warn("what the broker's session knows could not be read", "endpoint", s.name, "err", err)
	}
	return known
}

// Save stores what is known. One who is alone does not wait for a Kafka that is away: the record is on its way, and nobody else
// asks for it.
func (s sessionState) Save(known client.Subscribed) {
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.Kafka.RequestTimeout)
	defer cancel()
	if s.b.cfg.Fleet.Alone && !(s.b.isJoined() && s.b.client.Connected()) {
		cancel()
	}
	value, err := json.Marshal(known)
	if err == nil {
		err = s.know.Store(ctx, s.key(), value)
	}
	if err != nil && ctx.Err() != context.Canceled {
		s.b.log.Warn("what the broker's session knows could not be stored", "endpoint", s.name, "err", err)
	}
}
