package bridge

import (
	"context"
	"fmt"
	"strings"
	"time"

	amqpclient "github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/route"
)

// completeAMQPClient fills in what an endpoint that dials an AMQP broker has by its name.
func (c *Config) completeAMQPClient(name string, lookup func(string) (string, bool)) {
	e := c.Endpoints[name].AMQPClient
	if e.ContainerID != "" {
		return
	}
	e.ContainerID = c.Fleet.Name + "-" + name
	if e.Mode == dial.ModeAll {
		e.ContainerID += "-" + hostname(lookup)
	}
}

// amqpBroker is a broker that speaks AMQP.
type amqpBroker struct{ *amqpclient.Client }

var _ broker = amqpBroker{}

func (a amqpBroker) connected() bool { return a.Stats().Connected.Load() > 0 }

func (a amqpBroker) describe(now time.Time) string { return describeAMQPStatus(a.Status(), now) }

// newAMQPDialer returns an endpoint that dials an AMQP broker. It is the client that decides what becomes of what is refused: the broker
// can be told.
func newAMQPDialer(m *member, name string) *dialer {
	b := m.b
	cfg := b.cfg.Endpoints[name].AMQPClient.Config
	cfg.Name = name
	if cfg.Mode == dial.ModeOne && m.shards != nil {
		cfg.Permit = m.shards.Lease
	}
	cfg.DrainTimeout = min(cfg.DrainTimeout, b.cfg.DrainTimeout/4) // the rest is for what stops after it
	return &dialer{name: name, b: b, mode: cfg.Mode, dial: func() broker {
		return amqpBroker{amqpclient.New(cfg, b.routes.Filters(name), b.routes, b.log)}
	}}
}

// describeAMQPStatus tells how a client is.
func describeAMQPStatus(s amqpclient.Status, now time.Time) string {
	if !s.Connected {
		return notConnected(s.Since, s.LastError, now)
	}
	text := fmt.Sprintf("connected to %s (%s)", s.URL, s.Broker)
	if len(s.Attached) > 0 {
		text += ", attached to " + strings.Join(s.Attached, ", ")
	}
	for _, r := range s.Refused {
		text += "; not attached to " + r
	}
	return text
}

// amqpClientNotes is what is worth knowing of an endpoint that dials an AMQP broker.
func amqpClientNotes(name string, c *amqpclient.Config, table *route.Table) (notes []string) {
	note := func(format string, args ...any) {
		notes = append(notes, "endpoints."+name+": "+fmt.Sprintf(format, args...))
	}
	filters := table.Filters(name)
	switch {
	case len(filters) == 0 && len(c.Addresses) == 0 && !goesDown(table, name):
		note("no route names it, so nothing goes there or comes from there")
	case len(filters) == 0 && len(c.Addresses) > 0:
		note("it receives, but no route names the addresses: what none takes goes to the dead letter topic")
	}
	if c.TLS.Insecure {
		note("tls.insecure trusts any certificate: whoever is in between can read and change everything; use tls.ca instead")
	}
	if c.Mode == dial.ModeAll {
		note("mode all: %s is the container_id of this process; each needs one of its own, and the same after a restart. The order of a queue is only as good as the broker keeps it", c.ContainerID)
	}
	return notes
}

// checkAMQPClient connects to one broker.
func checkAMQPClient(ctx context.Context, name string, c amqpclient.Config) (lines []string, err error) {
	c.Name = name
	r, err := amqpclient.Probe(ctx, c)
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("endpoint %s: %s answers with AMQP 1.0, as %s; it takes frames %s", name, r.URL, r.Broker, size(r.MaxFrameSize))
	if r.IdleTimeout > 0 {
		line += fmt.Sprintf(", and ends connections that are silent for %v", r.IdleTimeout)
	}
	return []string{line}, nil
}
