package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"syscall"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/admin"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Status is what runs where.
type Status struct {
	Endpoints []EndpointStatus // by name
	Kafka     []string         // addresses of the brokers
	DataDir   string           // of the embedded broker; "": there is none
	Banner    string           // of the embedded broker: what it is for; "": there is none
	Admin     string           // host:port; "": there is none
	Routes    []string         // the routes in force, for people to read
}

// EndpointStatus is where one endpoint listens.
type EndpointStatus struct{ Name, URL string }

// An endpoint is a listener that runs, with its name.
type endpoint struct {
	name string
	listener
}

// A listener is what devices or applications connect to, of whatever protocol.
type listener interface {
	linkspan.Source
	Addr() net.Addr
	Close() error // of one that does not run
}

var (
	_ listener = (*mqtt.Listener)(nil)
	_ listener = (*amqp.Listener)(nil)
)

// startAdmin opens the port for operators, and returns what they are shown.
func (b *bridge) startAdmin(parts *parts, status *Status) (*prometheus.Registry, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	operators, err := admin.Listen(b.cfg.Admin, registry, b.health, b.log, admin.Page{Path: spoolPath, Answer: b.spoolPage})
	if err != nil {
		return nil, err
	}
	parts.run(operators.Run)
	status.Admin = operators.Addr()
	return registry, nil
}

// startEmbedded starts the embedded broker and makes it the cluster of the bridge. It keeps what it acknowledges, so the
// bridge needs to keep nothing to survive a kill: P5 holds as it does on a cluster.
func (b *bridge) startEmbedded(parts *parts, status *Status) error {
	broker, err := kafka.StartEmbedded(b.cfg.Kafka.Embedded, b.log)
	if err != nil {
		return err
	}
	parts.onStop(func(context.Context) error {
		broker.Close()
		return nil
	})
	b.cfg.Kafka.Brokers = []string{broker.Addr()}
	status.DataDir, status.Banner = b.cfg.Kafka.Embedded.Dir, broker.Banner()
	b.log.Info("embedded Kafka started", "listen", broker.Addr(), "dir", status.DataDir)
	return nil
}

// startClient makes the client of the cluster, which connects by itself when there is something to do.
func (b *bridge) startClient(parts *parts) (err error) {
	cfg := b.cfg.Kafka
	cfg.Consumer.DrainTimeout = min(cfg.Consumer.DrainTimeout, b.cfg.DrainTimeout/4) // leaves time for the producer
	if b.client, err = kafka.New(cfg, b.log); err != nil {
		return err
	}
	parts.onStop(func(ctx context.Context) error {
		defer b.client.Close()
		if b.spool != nil && !b.client.Connected() && b.spool.Settled() {
			return nil // what Kafka has not acknowledged is on disk, and goes to it after the next start
		}
		return b.client.Producer().Drain(ctx)
	})
	return nil
}

// join reaches Kafka, however long that takes, and then delivers what comes down until ctx ends. It gives up only on what
// no waiting can mend, such as a refused login.
func (b *bridge) join(ctx context.Context) error {
	if err := b.prepareKafka(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	runs := []func(ctx context.Context) error{
		func(ctx context.Context) error { return b.consumer.Run(ctx, b.routes.Downlink(b.sessions)) },
		func(ctx context.Context) error {
			select {
			case <-b.consumer.Ready():
				close(b.joined)
				b.spool.Hold(false)
				b.uplink.open.Store(true)
				<-ctx.Done()
			case <-ctx.Done():
			}
			return nil
		},
	}
	if b.member != nil {
		runs = append(runs, b.member.run)
	}
	return together(ctx, runs)
}

// prepareKafka returns once Kafka has been reached and the topics that routes name are there, or cannot be had.
func (b *bridge) prepareKafka(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := b.client.Ping(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		var err error
		if b.member != nil {
			err = b.client.EnsureTopics(ctx, fleetTopics(&b.cfg, b.routes))
			if linkspan.IsPermanent(err) || errors.Is(err, kafka.ErrTopicSettings) {
				return err // it cannot work
			}
		}
		if err == nil {
			err = b.client.EnsureTopics(ctx, append(needed(b.routes), kafka.TopicSpec{Name: b.cfg.DeadLetter.Topic}))
		}
		if names, e := b.client.Topics(ctx); e == nil {
			b.routes.Learn(names) // what was created before counts for max_topics
		}
		switch {
		case err == nil:
			return nil
		case linkspan.IsPermanent(err):
			// Devices are told what Kafka does not let us write when they try to; all else goes on.
			b.log.Error("not all Kafka topics can be used", "err", err)
			return nil
		}
		b.log.Warn("the Kafka topics are not ready, trying again", "err", err)
		select {
		case <-time.After(b.cfg.Kafka.RetryInterval):
		case <-ctx.Done():
		}
	}
	return nil
}

// waitForKafka waits until the bridge has joined Kafka, but not for ever: devices that find the door closed give up, and
// then so may people. From then on the spool takes what they publish. It returns early when ctx ends.
func (b *bridge) waitForKafka(ctx context.Context, parts *parts) error {
	select {
	case <-b.joined:
		return nil
	case <-ctx.Done():
		return nil
	case err := <-parts.failed:
		return err
	case <-time.After(b.patience):
		b.log.Warn("Kafka cannot be reached yet; "+b.meanwhile(), "brokers", b.cfg.Kafka.Brokers)
		if b.cfg.spooled() {
			b.uplink.open.Store(true)
		}
		return nil
	}
}

// meanwhile tells what becomes of messages until Kafka has been joined.
func (b *bridge) meanwhile() string {
	text := "nothing is acknowledged until it is"
	if b.cfg.spooled() {
		text = "the spool takes what routes let it have"
	}
	if b.member != nil && !b.cfg.Fleet.Alone {
		text += ", and no broker is dialled"
	}
	return text
}

// listen opens the endpoints to devices and applications.
func (b *bridge) listen(parts *parts, status *Status) error {
	var runs []func(context.Context) error
	for _, name := range b.cfg.listening() {
		l, at, err := b.open(name)
		if err != nil {
			for _, e := range b.endpoints {
				_ = e.Close()
			}
			if errors.Is(err, syscall.EADDRINUSE) {
				err = fmt.Errorf("%w; stop what listens there, or choose another port", err)
			}
			return fmt.Errorf("endpoints.%s.listen: %w", name, err)
		}
		b.endpoints = append(b.endpoints, endpoint{name, l})
		u, _ := url.Parse(at) // it is valid
		u.Host = l.Addr().String()
		status.Endpoints = append(status.Endpoints, EndpointStatus{name, u.String()})
		runs = append(runs, func(ctx context.Context) error { return l.Run(ctx, b.uplink) })
		b.log.Info("listening", "endpoint", name, "url", u.String())
	}
	if len(runs) > 0 {
		parts.run(func(ctx context.Context) error { return together(ctx, runs) })
	}
	return nil
}

// open makes the listener of an endpoint, and returns the URL that it was told to listen at.
func (b *bridge) open(name string) (l listener, at string, err error) {
	drain := b.cfg.DrainTimeout / 2 // the other half is for what stops after it
	if e := b.cfg.Endpoints[name].AMQPListener; e != nil {
		cfg := e.ListenerConfig
		cfg.Name, cfg.DrainTimeout = name, min(cfg.DrainTimeout, drain)
		l, err = amqp.Listen(cfg, b.amqpParts(), b.log)
		return l, cfg.URL, err
	}
	cfg := b.cfg.Endpoints[name].Listener.ListenerConfig
	cfg.Name, cfg.DrainTimeout = name, min(cfg.DrainTimeout, drain)
	l, err = mqtt.Listen(cfg, b.sessions, b.log)
	return l, cfg.URL, err
}
