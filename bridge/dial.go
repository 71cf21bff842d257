package bridge

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/client"
)

// completeClient fills in what an endpoint that dials has by its name.
func (c *Config) completeClient(name string, lookup func(string) (string, bool)) {
	e := c.Endpoints[name].Client
	session := c.Fleet.Name + "-" + name
	if e.Mode == dial.ModeAll {
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

// A broker is what an endpoint that dials is the client of, whatever protocol it speaks: it gives what comes up, and takes what
// goes down.
type broker interface {
	linkspan.Source
	linkspan.Bounded
	connected() bool
	describe(now time.Time) string
}

// mqttBroker is a broker that speaks MQTT.
type mqttBroker struct{ *client.Client }

var _ broker = mqttBroker{}

func (m mqttBroker) connected() bool { return m.Stats().Connected.Load() > 0 }

func (m mqttBroker) describe(now time.Time) string { return describeStatus(m.Status(), now) }

// A dialer is an endpoint that dials, whether this process runs it or not.
type dialer struct {
	name string
	b    *bridge
	mode string        // dial.ModeOne or ModeAll
	dial func() broker // makes the client of a run
	mute bool          // it does not tell the broker of refusals

	owned atomic.Bool            // this process runs it
	last  atomic.Pointer[dialed] // the run that goes on, or the last one; nil: there was none
}

func newDialer(m *member, name string) *dialer {
	b := m.b
	if b.cfg.Endpoints[name].AMQPClient != nil {
		return newAMQPDialer(m, name)
	}
	cfg := b.cfg.Endpoints[name].Client.Config
	cfg.Name = name
	if cfg.Mode == dial.ModeOne && m.shards != nil {
		cfg.Permit = m.shards.Lease
	}
	cfg.DrainTimeout = min(cfg.DrainTimeout, b.cfg.DrainTimeout/4) // the rest is for what stops after it
	state := sessionState{b: b, name: name, key: name, know: m.sessions}
	if cfg.Mode == dial.ModeAll {
		state.key = name + "/" + cfg.ClientID
	}
	return &dialer{name: name, b: b, mode: cfg.Mode, mute: true, dial: func() broker {
		return mqttBroker{client.New(cfg, b.routes.Filters(name), state, b.log)}
	}}
}

// lane is the lane of the fleet that the endpoint belongs to.
func (d *dialer) lane() int32 { return fleet.Lane(d.name, d.b.cfg.Fleet.Lanes) }

// dialed is one run of a dialer: from when this process is to run it until another is.
type dialed struct {
	*dialer
	broker broker
	direct *kafka.Consumer
	inbox  atomic.Pointer[kafka.Consumer] // nil: this process does not read it
}

// begin makes the parts of a run.
func (d *dialer) begin() *dialed {
	routes := d.b.routes
	topics, patterns := routes.SubscriptionsTo(d.name)
	run := &dialed{
		dialer: d,
		broker: d.dial(),
		direct: d.b.client.NewConsumer(kafka.ConsumerConfig{
			Topics: topics, Patterns: patterns, Group: d.b.cfg.Fleet.EndpointGroup(d.name), Alone: d.mode == dial.ModeOne,
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
		func(ctx context.Context) error {
			if d.mute {
				return d.broker.Run(ctx, mute{d.b.uplink})
			}
			return d.broker.Run(ctx, d.b.uplink)
		},
		func(ctx context.Context) error {
			return d.direct.Run(ctx, d.guard(d.b.routes.DownlinkTo(d.name, d.broker)))
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
	return inbox.Run(ctx, fleet.NewInbox(d.name, d.guard(d.b.routes.DownlinkLocated(d.name, d.broker))))
}

// guard returns a sink that has what to refuses for good written to the dead letter topic.
func (d *dialer) guard(to linkspan.Bounded) *guard {
	return &guard{dead: d.b.dead, to: to, endpoint: d.name}
}

// A sessionState keeps in Kafka what the sessions at one broker know of us, for whichever process runs the endpoint next.
type sessionState struct {
	b    *bridge
	name string         // of the endpoint
	key  string         // of the endpoint; or of one process of it, if all are connected
	know *fleet.Clients // what brokers know of endpoints
}

var _ client.State = sessionState{}

// Load returns what is known. While Kafka does not tell, it is nothing: then the endpoint subscribes once more than it needs to.
func (s sessionState) Load() (known client.Subscribed) {
	if s.b.cfg.Fleet.Alone && !s.b.isJoined() { // nobody waits for Kafka
		return known
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.Kafka.RequestTimeout)
	defer cancel()
	value, err := s.know.Load(ctx, s.key)
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
func (s sessionState) Save(known client.Subscribed) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.b.cfg.Kafka.RequestTimeout)
	defer cancel()
	if s.b.cfg.Fleet.Alone && !(s.b.isJoined() && s.b.client.Connected()) {
		cancel()
	}
	value, err := json.Marshal(known)
	if err == nil {
		err = s.know.Store(ctx, s.key, value)
	}
	if err != nil && ctx.Err() != context.Canceled {
		s.b.log.Warn("what the broker's session knows could not be stored", "endpoint", s.name, "err", err)
	}
	return err
}
