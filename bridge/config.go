package bridge

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/linkspan/linkspan/admin"
	"github.com/linkspan/linkspan/bridge/internal/strict"
	"github.com/linkspan/linkspan/fleet"
	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/route"
	"github.com/linkspan/linkspan/session"
	"github.com/linkspan/linkspan/spool"
)

//go:generate go run ../internal/configdoc -o ../docs/configuration.md

// Config is all that a bridge can be told: the sum of what its parts can be told. [Load] reads one, [Default] is what
// holds where nothing is said.
type Config struct {
	// Kafka says where the Kafka cluster is, and how to write to it and read from it.
	Kafka kafka.Config `yaml:"kafka"`
	// Endpoints are the places where messages enter and leave, by names of your own. Routes and metrics use the names.
	// Left out: devices, which listens on mqtt://127.0.0.1:1883, and apps, which listens on amqp://127.0.0.1:5672.
	Endpoints map[string]Endpoint `yaml:"endpoints"`
	// Routes say which message goes where, in both directions. They are tried in order, and the first that matches takes the
	// message. Left out: the default routes.
	Routes []route.Config `yaml:"routes"`
	// DefaultRoute takes what devices publish and no other route takes; it has no from. Left out: such a message is refused
	// to its sender (MQTT 5: topic name invalid) and counted.
	DefaultRoute *route.Config `yaml:"default_route"`
	// Sessions bounds what is kept for devices.
	Sessions session.Config `yaml:"sessions"`
	// Admin is the HTTP port for operators.
	Admin admin.Config `yaml:"admin"`
	// Fleet is what the processes share that run with one configuration. It matters where an endpoint dials.
	Fleet fleet.Config `yaml:"fleet"`
	// DeadLetter is where messages go that nobody takes.
	DeadLetter DeadLetterConfig `yaml:"dead_letter"`
	// Spool keeps on the local disk what Kafka does not take, so that devices get their acknowledgements and go on while it is
	// away. There is one with kafka.brokers, unless no route has a use for it; with the embedded broker only where spool.dir or a
	// route's ack asks for it. [Outages](outages.md) tells the whole.
	Spool spool.Config `yaml:"spool"`
	// Log is what is written to standard error.
	Log LogConfig `yaml:"log"`
	// DrainTimeout bounds how long a stop may take: messages that devices have handed over are given this long to be
	// stored and acknowledged. Default 20s. Keep it below the time after which whatever stops the process kills it, such as
	// Kubernetes' terminationGracePeriodSeconds.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	origin *strict.Decoder // where each key was said; nil: nowhere
}

// LogConfig is what is logged, and how.
type LogConfig struct {
	// Level is the least level that is logged: trace, debug, info, warn or error. Default info. Info has a line for each
	// change of state, debug one for each connection, trace more than that. Payloads and secrets are logged at no level.
	Level string `yaml:"level"`
	// Format is text or json. Default text.
	Format string `yaml:"format"`
}

// Default returns the configuration of a bridge that was told nothing.
func Default() Config {
	k := kafka.Default()
	k.Embedded.Dir = "" // depends on the user
	return Config{
		Kafka:        k,
		Sessions:     session.DefaultConfig(),
		Admin:        admin.DefaultConfig(),
		Fleet:        fleet.DefaultConfig(),
		DeadLetter:   DeadLetterConfig{Topic: "linkspan.deadletter"},
		Spool:        spool.Default(),
		Log:          LogConfig{Level: "info", Format: "text"},
		DrainTimeout: 20 * time.Second,
	}
}

// complete fills in what is left out and depends on more than itself. lookup finds environment variables.
func (c *Config) complete(lookup func(string) (string, bool)) {
	if c.Kafka.Embedded.Dir == "" {
		c.Kafka.Embedded.Dir = dataDir(lookup)
	}
	if s := c.Kafka.SASL; s != nil {
		s.Mechanism = strings.ToLower(s.Mechanism) // Kafka itself writes SCRAM-SHA-512
	}
	if c.Endpoints == nil {
		c.Endpoints = defaultEndpoints()
	}
	if c.Routes == nil {
		c.Routes = route.DefaultRoutes()
	}
	if len(c.Routes) > 0 { // one that is empty is a mistake, and stays it
		c.Routes = route.Complete(c.Routes, c.DefaultRoute, c.routeEndpoints())
	}
	for _, name := range c.clients() {
		c.completeClient(name, lookup)
	}
	for _, name := range c.amqpClients() {
		c.completeAMQPClient(name, lookup)
	}
	c.completeSpool(lookup)
}

// dataDir returns the directory for the data of this user's programs, as the XDG base directory specification has it; "" if
// the environment does not tell.
func dataDir(lookup func(string) (string, bool)) string {
	if dir, _ := lookup("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "linkspan")
	}
	if home, _ := lookup("HOME"); home != "" {
		return filepath.Join(home, ".local", "share", "linkspan")
	}
	return ""
}

var kafkaName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// problems collects what is wrong, each with the path of its key.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf(key+": "+format, args...))
}

// take adds the errors of a part of the configuration whose keys begin with prefix.
func (p *problems) take(prefix string, err error) {
	for _, e := range unjoin(err) {
		*p = append(*p, errors.New(prefix+e.Error()))
	}
}

// unjoin returns the errors that were joined, in order.
func unjoin(err error) (all []error) {
	switch e := err.(type) {
	case nil:
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			all = append(all, unjoin(inner)...)
		}
	default:
		all = append(all, err)
	}
	return all
}

// Validate reports all that is wrong with c, contradictions between its parts included. Each error begins with the path of
// its key. It opens no file and no connection.
func (c *Config) Validate() error {
	var p problems
	k := c.Kafka
	if len(k.Brokers) == 0 && k.Embedded.Dir == "" {
		p.add("kafka.embedded.dir", "the environment has neither XDG_DATA_HOME nor HOME to tell where data belong; name a directory, or kafka.brokers")
		k.Embedded.Dir = "." // to look at the rest
	}
	p.take("", k.Validate())
	p.take("", c.Fleet.Validate())
	if !kafkaName.MatchString(c.DeadLetter.Topic) {
		p.add("dead_letter.topic", "%q is no name that Kafka takes; use 1 to 249 letters, digits, dots, underscores and dashes", c.DeadLetter.Topic)
	}
	p.take("sessions.", c.Sessions.Validate())
	p.take("admin.", c.Admin.Validate())
	c.validateEndpoints(&p)
	c.validateSessions(&p)
	c.validateListens(&p)
	if c.Routes != nil && len(c.Routes) == 0 {
		p.add("routes", "the list is empty, so nothing would go anywhere; leave routes out for the default routes")
	}
	if _, err := c.table(nil); err != nil {
		p.take("", err)
	}
	if _, ok := levels()[c.Log.Level]; !ok {
		p.add("log.level", "%q is none of trace, debug, info, warn, error", c.Log.Level)
	}
	c.validateSpool(&p)
	if c.Log.Format != "text" && c.Log.Format != "json" {
		p.add("log.format", "%q is none of text, json", c.Log.Format)
	}
	if c.DrainTimeout <= 0 {
		p.add("drain_timeout", "must be positive, is %v; what is in flight needs some time to be stored", c.DrainTimeout)
	}
	return errors.Join(p...)
}
