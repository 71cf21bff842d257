package client

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/dial"
)

// Config says which broker to connect to, and how. [DefaultConfig] has the defaults.
type Config struct {
	dial.Settings `yaml:",inline"`

	// ContainerID is the name by which the broker knows us, and our durable subscriptions, so it has to stay the same. Default
	// FLEET-ENDPOINT, as in linkspan-plant-a; with mode all the host's name is behind it. Nobody else may use it.
	ContainerID string `yaml:"container_id"`
	// Hostname is which virtual host of the broker we want. Default: the host of the address. RabbitMQ takes vhost:NAME.
	Hostname string `yaml:"hostname"`
	// Mechanisms of SASL that may be used, of ANONYMOUS, PLAIN, EXTERNAL, SCRAM-SHA-256 and SCRAM-SHA-512. Default: EXTERNAL with
	// tls.cert; with username the two SCRAM, and PLAIN where the broker has neither; without username ANONYMOUS.
	Mechanisms []string `yaml:"mechanisms"`

	// Addresses to receive from. Default: those of the routes from this endpoint that have no wildcards. queue://NAME and
	// topic://NAME ask a broker that has both for the one or the other; anything else is sent as it is.
	Addresses []string `yaml:"addresses"`
	// Durable has the broker keep a subscription to each address of the form topic://NAME, and what comes meanwhile, while we
	// are away; and has RabbitMQ 3 make a queue that it does not have yet as one that survives its restart. Default true.
	Durable bool `yaml:"durable"`
	// Credit is how many messages of one address may be on their way to Kafka, default 1000. It is topped up as messages settle, so
	// a slow Kafka means less of it, and the broker keeps the backlog.
	Credit uint32 `yaml:"credit"`
	// Refused says what becomes of a message that Kafka refuses for good: dead_letter, the default, puts it into the dead letter
	// topic, and accepts it; broker rejects it with the reason, and the broker does what it does with such. RabbitMQ throws them
	// away unless the queue has a dead letter exchange.
	Refused string `yaml:"refused"`
	// Codec turns messages into records and back where no route says otherwise: native, default, json or raw. Default native.
	Codec string `yaml:"codec"`
	// MaxMessageSize is the largest message in bytes that the broker may send. Default 64 MiB. A larger one ends its link, and stays
	// with the broker.
	MaxMessageSize int `yaml:"max_message_size"`
	// MaxFrameSize is the largest frame in bytes that the broker may send. Default 64 KiB; at least 512.
	MaxFrameSize uint32 `yaml:"max_frame_size"`
	// MaxBacklog is how many bytes of messages are held back while Kafka takes none, default 16 MiB, and one message more. Beyond
	// it the broker is not read any more.
	MaxBacklog int `yaml:"max_backlog"`

	// MaxInFlight is how many messages may be on their way to the broker, default 1000. Beyond it Kafka is not read any more.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxLinks is how many addresses may be sent to at a time, default 255. For another one the link that has been idle for
	// longest is detached.
	MaxLinks int `yaml:"max_links"`
	// LinkIdle is how long a link that sends nothing stays attached. Default 1m.
	LinkIdle time.Duration `yaml:"link_idle"`

	// IdleTimeout is how long the broker may send nothing at all, not even an empty frame; it is told so. Default 1m; 0: for ever.
	// What the broker asks for itself holds as well.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// ConnectTimeout bounds TCP, TLS and WebSocket handshakes and the broker's answers up to its open frame, together. Default 10s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// AckTimeout is how long the broker may take to settle a message, or take none of the bytes sent to it, before the connection
	// is given up and made anew; and how long messages wait for an address that takes none before those of other addresses go
	// first. Default 30s.
	AckTimeout time.Duration `yaml:"ack_timeout"`
}

// Reconnect is how long to wait before the next attempt to connect.
type Reconnect = dial.Reconnect

// TLSConfig is how a TLS connection is made and verified.
type TLSConfig = dial.TLSConfig

// The values of Config.Refused.
const (
	RefusedDeadLetter = "dead_letter"
	RefusedBroker     = "broker"
)

// DefaultConfig returns the defaults, without an address.
func DefaultConfig() Config {
	return Config{
		Settings:       dial.DefaultSettings("amqp"),
		Durable:        true,
		Credit:         1000,
		Refused:        RefusedDeadLetter,
		Codec:          "native",
		MaxMessageSize: 64 << 20,
		MaxFrameSize:   64 << 10,
		MaxBacklog:     16 << 20,
		MaxInFlight:    1000,
		MaxLinks:       255,
		LinkIdle:       time.Minute,
		IdleTimeout:    time.Minute,
		ConnectTimeout: 10 * time.Second,
		AckTimeout:     30 * time.Second,
	}
}

// Validate returns what is wrong with c, all of it, each "key: what; remedy". It reads no files.
func (c *Config) Validate() error {
	errs := []error{c.Check(address.AMQP())}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	c.checkLogin(check)
	c.checkBounds(check)
	for _, a := range c.Addresses {
		_, err := parsePlace(a)
		check(err == nil, "addresses: %v", err)
	}
	check(c.Refused == RefusedDeadLetter || c.Refused == RefusedBroker, "refused: %q is not known; use dead_letter or broker", c.Refused)
	_, err := codec.ByName(c.Codec)
	check(err == nil, "codec: %v", err)
	return errors.Join(errs...)
}

func (c *Config) checkLogin(check func(ok bool, format string, args ...any)) {
	check(!strings.ContainsRune(c.Username+string(c.Password), 0), "username and password: no login can carry a zero byte")
	all := []string{sasl.Anonymous, sasl.Plain, sasl.External, sasl.ScramSHA256, sasl.ScramSHA512}
	for _, m := range c.Mechanisms {
		check(slices.Contains(all, m), "mechanisms: %q is not known; use %s", m, strings.Join(all, ", "))
		check(m == sasl.Anonymous || m == sasl.External || c.Username != "", "mechanisms: %s needs username and password", m)
		check(m != sasl.External || c.TLS.Cert != "", "mechanisms: EXTERNAL needs tls.cert and tls.key")
	}
}

func (c *Config) checkBounds(check func(ok bool, format string, args ...any)) {
	check(c.Credit > 0 && c.Credit <= 1<<20, "credit: %d is not between 1 and %d", c.Credit, 1<<20)
	check(c.MaxMessageSize >= 512, "max_message_size: %d is less than 512", c.MaxMessageSize)
	check(c.MaxFrameSize >= 512, "max_frame_size: %d is less than 512", c.MaxFrameSize) // [AMQP 2.3.1]
	check(c.MaxBacklog >= 0, "max_backlog: %d is negative", c.MaxBacklog)
	check(c.MaxInFlight > 0, "max_in_flight: must be positive")
	check(c.MaxLinks > 0, "max_links: must be positive")
	check(c.LinkIdle > 0, "link_idle: must be positive")
	check(c.IdleTimeout == 0 || c.IdleTimeout >= time.Second, "idle_timeout: %v is less than 1s", c.IdleTimeout)
	check(c.ConnectTimeout > 0, "connect_timeout: must be positive")
	check(c.AckTimeout > 0, "ack_timeout: must be positive")
}
