package fleet

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Config is `fleet`: what processes share that run with one configuration.
type Config struct {
	// Name tells this fleet from others on the same Kafka; the names of its consumer groups begin with it. Default linkspan.
	Name string `yaml:"name"`
	// Alone says that no other process runs with this configuration. Then this one runs its endpoints that dial without asking
	// the others through Kafka, and so also while Kafka is away from its start. Two that both say so would throw each other out
	// at the brokers without end. Default false.
	Alone bool `yaml:"alone"`
	// TopicPrefix is what the names of the fleet's own topics begin with. Two fleets on one Kafka need two. Default _linkspan.
	TopicPrefix string `yaml:"topic_prefix"`
	// Lanes is how many parts the fleet's work has that go to different processes; an endpoint or a device belongs to one of
	// them. It is fixed once the topics exist. Default 32, at least 1, at most 1024.
	Lanes int32 `yaml:"lanes"`
	// SessionTimeout is how long a process may be silent before others take over its client endpoints. Default 6s, at least
	// 1s; most clusters take no less than 6s (group.min.session.timeout.ms).
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// Devices is where devices are.
	Devices DevicesConfig `yaml:"devices"`
	// ParkFor is how long a record waits for a device that nobody has seen, where its route does not say; then it goes to the
	// dead letter topic. Default 1h, at least 1s, at most half of fleet.retention.
	ParkFor time.Duration `yaml:"park_for"`
	// MaxParked is how many records may be parked, as each process sees it; further ones go to the dead letter topic. A process
	// keeps some 20 bytes for each, and 150 for each of their devices; the records stay in Kafka. Default 100000, at least 1.
	MaxParked int `yaml:"max_parked"`
	// Retention is how long Kafka keeps what is in inboxes and what is parked; a broker that is away for longer misses records.
	// Not above the brokers' offsets.retention.minutes. Default 168h, at least 1h.
	Retention time.Duration `yaml:"retention"`
}

// DevicesConfig is `fleet.devices`.
type DevicesConfig struct {
	// MaxAge is how long a device counts as being where it was seen last. Where it is, is written again after a quarter
	// of that at the earliest. Default 24h, at least 1m.
	MaxAge time.Duration `yaml:"max_age"`
	// Max is how many devices a process knows of, at some 200 bytes each. It should be more than are active within MaxAge:
	// beyond it, devices that were silent for long are forgotten. Default 1000000, at least 1000.
	Max int `yaml:"max"`
}

// DefaultConfig returns the configuration without any setting made.
func DefaultConfig() Config {
	return Config{
		Name: "linkspan", TopicPrefix: "_linkspan.", Lanes: 32, SessionTimeout: 6 * time.Second,
		Devices: DevicesConfig{MaxAge: 24 * time.Hour, Max: 1_000_000},
		ParkFor: time.Hour, MaxParked: 100_000, Retention: 7 * 24 * time.Hour,
	}
}

// What Kafka takes in names, with room left for what we add to them.
var (
	groupName   = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,100}$`)
	topicPrefix = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,100}$`)
)

// Validate returns all that is wrong with c, each with its key and a remedy.
func (c *Config) Validate() error {
	var errs []error
	check := func(key string, ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("fleet.%s: "+format, append([]any{key}, args...)...))
		}
	}
	check("name", groupName.MatchString(c.Name), "%q must be 1 to 100 letters, digits, dots, underscores and dashes", c.Name)
	check("topic_prefix", topicPrefix.MatchString(c.TopicPrefix), "%q must be at most 100 letters, digits, dots, underscores and dashes", c.TopicPrefix)
	check("lanes", c.Lanes >= 1 && c.Lanes <= 1024, "must be between 1 and 1024, is %d", c.Lanes)
	check("session_timeout", c.SessionTimeout >= time.Second && c.SessionTimeout <= time.Hour, "must be between 1s and 1h, is %v", c.SessionTimeout)
	check("devices.max_age", c.Devices.MaxAge >= time.Minute && c.Devices.MaxAge <= 10*365*24*time.Hour, "must be between 1m and 87600h, is %v", c.Devices.MaxAge)
	check("devices.max", c.Devices.Max >= 1000, "must be at least 1000, is %d", c.Devices.Max)
	check("retention", c.Retention >= time.Hour, "must be at least 1h, is %v", c.Retention)
	check("park_for", c.ParkFor >= time.Second && c.ParkFor <= c.Retention/2, "must be between 1s and half of retention (%v), is %v; lower it, or raise retention", c.Retention/2, c.ParkFor)
	check("max_parked", c.MaxParked >= 1, "must be at least 1, is %d; records for unknown devices are refused by the route's `unknown: dead-letter`", c.MaxParked)
	return errors.Join(errs...)
}

// The fleet's own topics.

// ShardsTopic is never written: whoever is given its partition n by [Config.ShardsGroup] does the work of lane n.
func (c *Config) ShardsTopic() string { return c.TopicPrefix + "shards" }

// DevicesTopic is the log of [Locations].
func (c *Config) DevicesTopic() string { return c.TopicPrefix + "devices" }

// InboxTopic has what waits for client endpoints; partition n is for those of lane n.
func (c *Config) InboxTopic() string { return c.TopicPrefix + "inbox" }

// ParkedTopic is the log of [Parking]; partition n is for devices of lane n.
func (c *Config) ParkedTopic() string { return c.TopicPrefix + "parked" }

// ClientsTopic is the log of [Clients].
func (c *Config) ClientsTopic() string { return c.TopicPrefix + "clients" }

// ShardsGroup is the consumer group that hands out lanes.
func (c *Config) ShardsGroup() string { return c.Name + ".shards" }

// RouterGroup is the consumer group that reads for the [Router].
func (c *Config) RouterGroup() string { return c.Name + ".router" }

// EndpointGroup is the consumer group of what goes to a client endpoint directly.
func (c *Config) EndpointGroup(endpoint string) string { return c.Name + ".endpoint." + endpoint }

// InboxGroup keeps a client endpoint's position in its lane of the inbox. It is one for each endpoint, so that no endpoint
// waits for another one of its lane whose broker is away.
func (c *Config) InboxGroup(endpoint string) string { return c.Name + ".inbox." + endpoint }

// A Topic is one that the fleet needs, with the settings that it relies on.
type Topic struct {
	Name       string
	Partitions int32
	Configs    map[string]string // by Kafka's names
}

// Topics returns the topics that must exist before anything runs.
func (c *Config) Topics() []Topic {
	ms := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	queue := map[string]string{"cleanup.policy": "delete", "retention.ms": ms(c.Retention), "message.timestamp.type": "LogAppendTime"}
	return []Topic{
		{c.ShardsTopic(), c.Lanes, map[string]string{"cleanup.policy": "delete"}},
		// What is refreshed in time is newer than what retention removes, so nobody has to delete devices that are gone.
		{c.DevicesTopic(), c.Lanes, map[string]string{
			"cleanup.policy": "compact,delete", "retention.ms": ms(c.Devices.MaxAge + c.Devices.MaxAge/2), "message.timestamp.type": "LogAppendTime"}},
		{c.InboxTopic(), c.Lanes, queue},
		{c.ParkedTopic(), c.Lanes, queue},
		{c.ClientsTopic(), 1, map[string]string{"cleanup.policy": "compact"}},
	}
}
