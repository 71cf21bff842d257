package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/route"
)

// Check looks at what only a look at the machine can tell of a configuration that [Load] returned: the files that it names. It
// returns what is worth knowing and no mistake, and an error for what is one, a line for each. It starts nothing.
func Check(cfg Config) (notes []string, err error) {
	var p problems
	if len(cfg.Kafka.Brokers) > 0 {
		client, err := kafka.New(cfg.Kafka, slog.New(slog.DiscardHandler))
		if err == nil {
			client.Close()
		}
		p.take("", err)
	}
	for _, name := range cfg.listening() {
		if err := checkListener(cfg.Endpoints[name]); err != nil {
			p.add("endpoints."+name+".tls", "%v", err)
		}
	}
	table, err := cfg.table(nil)
	p.take("", err)
	for _, name := range cfg.dialing() {
		if err := cfg.Endpoints[name].checkFiles(); err != nil {
			p.add("endpoints."+name+".tls", "%v", err)
		}
	}
	if len(p) > 0 {
		return nil, located(cfg.origin, errors.Join(p...))
	}
	for _, name := range cfg.clients() {
		notes = append(notes, clientNotes(name, &cfg.Endpoints[name].Client.Config, table)...)
	}
	for _, name := range cfg.amqpClients() {
		notes = append(notes, amqpClientNotes(name, &cfg.Endpoints[name].AMQPClient.Config, table)...)
	}
	notes = append(notes, routeNotes(&cfg, table)...)
	notes = append(notes, custodyNotes(&cfg)...)
	for _, c := range table.Cycles() {
		notes = append(notes, "messages can go round: "+c.String()+"; each broker is spared what came from it under the same topic, and the hop count ends the rest after 8 rounds where the broker speaks MQTT 5; other topics on the way down end it for good")
	}
	return notes, nil
}

// checkListener looks at the files that an endpoint which listens names.
func checkListener(e Endpoint) error {
	anyPort := func(at string) string { // the files matter here, not the port
		if u, err := url.Parse(at); err == nil {
			u.Host = "127.0.0.1:0"
			at = u.String()
		}
		return at
	}
	var l listener
	var err error
	if e.AMQPListener != nil {
		cfg := e.AMQPListener.ListenerConfig
		cfg.URL = anyPort(cfg.URL)
		l, err = amqp.Listen(cfg, amqp.Parts{}, slog.New(slog.DiscardHandler))
	} else {
		cfg := e.Listener.ListenerConfig
		cfg.URL = anyPort(cfg.URL)
		l, err = mqtt.Listen(cfg, nil, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		return err
	}
	return l.Close()
}

// clientNotes is what is worth knowing of an endpoint that dials.
func clientNotes(name string, c *client.Config, table *route.Table) (notes []string) {
	note := func(format string, args ...any) {
		notes = append(notes, "endpoints."+name+": "+fmt.Sprintf(format, args...))
	}
	filters := table.Filters(name)
	switch {
	case len(filters) == 0 && len(c.Subscribe) == 0 && !goesDown(table, name):
		note("no route names it, so nothing goes there or comes from there")
	case len(filters) == 0 && len(c.Subscribe) > 0:
		note("it subscribes, but no route takes what comes: that goes to the dead letter topic")
	}
	if c.TLS.Insecure {
		note("tls.insecure trusts any certificate: whoever is in between can read and change everything; use tls.ca instead")
	}
	if c.SessionExpiry == 0 && c.QoS > 0 {
		note("session_expiry is 0: what is published while Linkspan is away is lost, whatever its QoS")
	}
	if c.Mode == dial.ModeAll {
		note("mode all: %s is the client_id of this process; each needs one of its own, and the same after a restart", c.ClientID)
	}
	if c.Workers > 1 || c.Mode == dial.ModeAll {
		note("several connections share its messages, so the order of a topic is only as good as the broker keeps it")
		if strings.HasPrefix(c.Version, "3") {
			note("with version %s not every broker has the shared subscriptions that workers and mode all need; check --connect tells", c.Version)
		}
	}
	return notes
}

// goesDown reports whether any record may go to an endpoint that dials.
func goesDown(table *route.Table, name string) bool {
	topics, patterns := table.SubscriptionsTo(name)
	located, locatedPatterns := table.Located()
	return len(topics)+len(patterns)+len(located)+len(locatedPatterns) > 0
}

// routeNotes is what is worth knowing of the routes of endpoints that dial.
func routeNotes(cfg *Config, table *route.Table) (notes []string) {
	dialed := cfg.dialing()
	if len(dialed) == 0 {
		return nil
	}
	spoken := func(protocol string) bool {
		return slices.ContainsFunc(dialed, func(name string) bool { return cfg.Endpoints[name].protocol() == protocol })
	}
	taught := false
	for i, r := range cfg.Routes {
		from, _, _ := strings.Cut(r.From, ":")
		if from == "kafka" {
			continue
		}
		taught = taught || r.Device != ""
		if !spoken(from) && !slices.Contains(dialed, from) {
			continue
		}
		key := ""
		if r.Key != nil {
			key = *r.Key
		}
		for _, template := range slices.Concat([]string{r.To, key, r.Partition, r.Device}, slices.Collect(maps.Values(r.Headers))) {
			if publisher.MatchString(template) {
				notes = append(notes, fmt.Sprintf("routes[%d]: a broker does not tell who published, so {client} and {username} are empty in what comes from %s: use a level of the topic", i, strings.Join(dialed, ", ")))
				break
			}
		}
	}
	if locating(table) && !taught {
		notes = append(notes, "routes: records go to where their device is, but no route up tells where devices are, so none is ever found: give the routes from MQTT a device, such as device: \"{device}\"")
	}
	return notes
}

// publisher finds the placeholders that are about who published a message.
var publisher = regexp.MustCompile(`\{(partition )?(client|username)[ }]`)

// CheckClients connects to the broker of each endpoint that dials, with client identifiers of its own, and returns what each can
// do; the error tells of those that cannot be used. It subscribes to nothing that is in use and publishes nothing.
func CheckClients(ctx context.Context, cfg Config) (lines []string, err error) {
	names := cfg.dialing()
	answers, errs := make([][]string, len(names)), make([]error, len(names))
	var probes sync.WaitGroup
	for i, name := range names { // all at a time: one that is away takes no time from the others
		probes.Go(func() {
			if e := cfg.Endpoints[name]; e.AMQPClient != nil {
				answers[i], errs[i] = checkAMQPClient(ctx, name, e.AMQPClient.Config)
			} else {
				c := e.Client.Config
				c.Name = name
				answers[i], errs[i] = checkClient(ctx, c)
			}
			if errs[i] != nil {
				errs[i] = fmt.Errorf("endpoints.%s: %w", name, errs[i])
			}
		})
	}
	probes.Wait()
	return slices.Concat(answers...), errors.Join(errs...)
}

// checkClient connects to one broker.
func checkClient(ctx context.Context, c client.Config) (lines []string, err error) {
	r, err := client.Probe(ctx, c)
	if err != nil {
		return nil, err
	}
	l := r.Limits
	line := fmt.Sprintf("endpoint %s: %s answers with MQTT %s", c.Name, r.URL, r.Version)
	if r.Version == "5" {
		line += fmt.Sprintf(", takes %d messages in flight, QoS up to %d, packets %s, keep-alive %v", l.ReceiveMaximum, l.MaximumQoS, size(l.MaxPacketSize), l.KeepAlive)
	}
	for _, lacks := range []struct {
		what string
		has  bool
	}{{"retained messages", l.Retain}, {"shared subscriptions", l.Shared}, {"wildcards", l.Wildcards}, {"subscription identifiers", l.SubscriptionIDs || r.Version != "5"}} {
		if !lacks.has {
			line += "; no " + lacks.what
		}
	}
	lines = append(lines, line)
	if r.Advice != "" {
		lines = append(lines, "endpoint "+c.Name+": "+r.Advice)
	}
	if !l.Shared && (c.Workers > 1 || c.Mode == dial.ModeAll) {
		err = errors.New("workers and mode all need shared subscriptions, which the broker does not have; use workers: 1 and mode: one")
	}
	return lines, err
}

// size tells a limit in bytes.
func size(n uint32) string {
	if n == 0 {
		return "of any size"
	}
	return fmt.Sprintf("up to %d bytes", n)
}

// CheckKafka reaches the brokers and looks for the topics that the routes name in full. It returns a line for each thing that
// it found out, and an error if the bridge could not run with what is there. It changes nothing.
func CheckKafka(ctx context.Context, cfg Config, log *slog.Logger) (lines []string, err error) {
	if len(cfg.Kafka.Brokers) == 0 {
		return []string{"no kafka.brokers: run starts an embedded Kafka in " + cfg.Kafka.Embedded.Dir}, nil
	}
	create := cfg.Kafka.Topics.Create
	cfg.Kafka.Topics.Create = false // look, do not touch
	client, err := kafka.New(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return nil, err
	}
	lines = append(lines, "Kafka answers at "+strings.Join(cfg.Kafka.Brokers, ", "))
	table, err := cfg.table(nil)
	if err != nil {
		return lines, err
	}
	var errs []error
	specs := append(needed(table), kafka.TopicSpec{Name: cfg.DeadLetter.Topic})
	if len(cfg.dialing()) > 0 {
		specs = append(specs, fleetTopics(&cfg, table)...)
	}
	for _, spec := range specs {
		err := client.EnsureTopics(ctx, []kafka.TopicSpec{spec})
		switch {
		case err == nil:
			lines = append(lines, "topic "+spec.Name+" is there")
		case errors.Is(err, kafka.ErrUnknownTopic) && create:
			lines = append(lines, "topic "+spec.Name+" is missing; run creates it")
		default:
			errs = append(errs, fmt.Errorf("topic %s: %w", spec.Name, err))
		}
	}
	return lines, errors.Join(errs...)
}
