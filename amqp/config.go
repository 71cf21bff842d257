package amqp

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/codec"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/wire"
)

// ListenerConfig says where and how clients may connect. [DefaultListenerConfig] has the defaults.
type ListenerConfig struct {
	wire.Settings `yaml:",inline"`

	// SASL says who may connect. Default: anyone.
	SASL SASLConfig `yaml:"sasl"`

	// Codec turns messages into records and back where no route says otherwise: native, default, json or raw. Default native.
	Codec string `yaml:"codec"`
	// Credit is how many messages one sender link may have sent that are not settled yet. Default 1000. It is topped up as messages
	// settle, so a slow Kafka means less of it.
	Credit uint32 `yaml:"credit"`
	// Unsettled is how many messages one receiver link may have that it has not settled, however much credit it gives. Default
	// 10000.
	Unsettled int `yaml:"unsettled"`
	// Surplus is what happens to a receiver of a group that has more receivers than the topic has partitions: idle, which is the
	// default, waits for one to come free; detach tells it so with io.strimzi:no-free-partitions.
	Surplus string `yaml:"surplus"`

	// MaxGroups is how many consumer groups receivers may read for at a time, and single partitions, each of which is a Kafka client
	// with memory and connections of its own; one more is refused with amqp:resource-limit-exceeded. Default 256. All AMQP listeners
	// together have the sum of theirs.
	MaxGroups int `yaml:"max_groups"`

	// MaxFrameSize is the largest frame in bytes that a client may send, and it is told so; a longer one ends its connection with
	// amqp:connection:framing-error. Default 64 KiB; at least 512.
	MaxFrameSize uint32 `yaml:"max_frame_size"`
	// MaxMessageSize is the largest message in bytes that a client may send over however many frames, and it is told so. A longer
	// one ends its link with amqp:link:message-size-exceeded. Default 1 MiB.
	MaxMessageSize int `yaml:"max_message_size"`
	// MaxSessions is how many sessions a connection may have. Default 256.
	MaxSessions int `yaml:"max_sessions"`
	// MaxLinks is how many links a connection may have, in all its sessions together. Default 1024. More are refused with
	// amqp:resource-limit-exceeded.
	MaxLinks int `yaml:"max_links"`

	// ResumeTimeout is how long a link may at most be kept that its client has left without closing it, for example with its
	// connection. A client asks for that with expiry-policy and timeout of the link's target or source, and is told what it gets. Default
	// 5m; 0: no link is kept.
	ResumeTimeout time.Duration `yaml:"resume_timeout"`
	// MaxSuspended is how many such links there may be, of all clients. Default 1000. Beyond it the one that was left first is
	// forgotten.
	MaxSuspended int `yaml:"max_suspended"`
	// MaxSuspendedTotal is how many bytes may be kept of them. Default 64 MiB. Beyond it those that were left first are forgotten.
	MaxSuspendedTotal int `yaml:"max_suspended_total"`

	// IdleTimeout is how long a client may send nothing at all, not even an empty frame; it is told so. Default 60s; 0: for ever. What
	// the client asks for itself holds as well.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxPartial is how many bytes of messages that have not come whole one connection may hold. Default 4 MiB. Beyond it the
	// connection ends with amqp:resource-limit-exceeded.
	MaxPartial int `yaml:"max_partial"`
}

// SASLConfig says who may connect, and how they prove it.
type SASLConfig struct {
	// Mechanisms are offered in this order: ANONYMOUS, PLAIN, EXTERNAL, SCRAM-SHA-256, SCRAM-SHA-512. Default: with users the
	// two SCRAM and PLAIN, without ANONYMOUS and PLAIN; and first of all EXTERNAL where tls.client_ca is set.
	Mechanisms []string `yaml:"mechanisms"`
	// Users are names and passwords. Default: none, and then anyone may connect, with whatever name.
	Users map[string]linkspan.Secret `yaml:"users"`
}

// TLSConfig names the files of a TLS listener, all PEM. TLS 1.2 is the lowest version.
type TLSConfig = wire.TLSConfig

// What Surplus may be.
const (
	SurplusIdle   = "idle"
	SurplusDetach = "detach"
)

// DefaultListenerConfig returns the defaults, for any address on port 5672.
func DefaultListenerConfig() ListenerConfig {
	return ListenerConfig{
		Settings:          wire.DefaultSettings("amqp", "amqp://:5672"),
		Codec:             "native",
		Credit:            1000,
		Unsettled:         10000,
		Surplus:           SurplusIdle,
		MaxGroups:         256,
		MaxFrameSize:      64 << 10,
		MaxMessageSize:    1 << 20,
		MaxSessions:       256,
		MaxLinks:          1024,
		ResumeTimeout:     5 * time.Minute,
		MaxSuspended:      1000,
		MaxSuspendedTotal: 64 << 20,
		IdleTimeout:       time.Minute,
		MaxPartial:        4 << 20,
	}
}

// offered returns the mechanisms in order.
func (c *ListenerConfig) offered() []string {
	if len(c.SASL.Mechanisms) > 0 {
		return c.SASL.Mechanisms
	}
	m := []string{sasl.Anonymous, sasl.Plain}
	if len(c.SASL.Users) > 0 {
		m = []string{sasl.ScramSHA512, sasl.ScramSHA256, sasl.Plain}
	}
	if c.TLS.ClientCA != "" {
		m = append([]string{sasl.External}, m...)
	}
	return m
}

// Validate returns what is wrong with c, all of it. It reads no files.
func (c *ListenerConfig) Validate() error {
	errs := []error{c.Check(address.AMQP())}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	errs = append(errs, c.validateSASL())
	_, err := codec.ByName(c.Codec)
	check(err == nil, "codec: %v", err)
	check(c.Surplus == SurplusIdle || c.Surplus == SurplusDetach, "surplus: %q is neither idle nor detach", c.Surplus)
	check(c.MaxFrameSize >= 512, "max_frame_size: %d is less than 512", c.MaxFrameSize) // [AMQP 2.3.1]
	for _, bound := range []struct {
		key   string
		value int
		least int
	}{
		{"credit", int(c.Credit), 1},
		{"unsettled", c.Unsettled, 1},
		{"max_groups", c.MaxGroups, 1},
		{"max_message_size", c.MaxMessageSize, 512},
		{"max_sessions", c.MaxSessions, 1},
		{"max_links", c.MaxLinks, 1},
		{"max_suspended", c.MaxSuspended, 0},
		{"max_suspended_total", c.MaxSuspendedTotal, 0},
		{"max_partial", c.MaxPartial, 1},
	} {
		check(bound.value >= bound.least, "%s: %d is less than %d", bound.key, bound.value, bound.least)
	}
	check(c.MaxSessions <= 1<<16, "max_sessions: %d is more than %d", c.MaxSessions, 1<<16)
	check(c.IdleTimeout == 0 || c.IdleTimeout >= time.Second, "idle_timeout: %v is less than 1s", c.IdleTimeout)
	check(c.ResumeTimeout == 0 || c.ResumeTimeout >= time.Second && c.ResumeTimeout <= 24*time.Hour, "resume_timeout: %v is not between 1s and 24h", c.ResumeTimeout)
	return errors.Join(errs...)
}

func (c *ListenerConfig) validateSASL() error {
	mechanisms := []string{sasl.Anonymous, sasl.Plain, sasl.External, sasl.ScramSHA256, sasl.ScramSHA512}
	var errs []error
	for _, m := range c.SASL.Mechanisms {
		scram := m == sasl.ScramSHA256 || m == sasl.ScramSHA512
		switch {
		case !slices.Contains(mechanisms, m):
			errs = append(errs, fmt.Errorf("sasl.mechanisms: %q is none of %v", m, mechanisms))
		case m == sasl.External && c.TLS.ClientCA == "":
			errs = append(errs, errors.New("sasl.mechanisms: EXTERNAL needs tls.client_ca"))
		case scram && len(c.SASL.Users) == 0:
			errs = append(errs, fmt.Errorf("sasl.mechanisms: %s needs sasl.users", m))
		}
	}
	for name, password := range c.SASL.Users {
		if name == "" || password == "" {
			errs = append(errs, fmt.Errorf("sasl.users: %q needs a name and a password", name))
		}
	}
	return errors.Join(errs...)
}

// HostPort returns where c listens, HOST:PORT. HOST is empty for all addresses.
func (c *ListenerConfig) HostPort() (string, error) {
	a, err := c.Address(address.AMQP())
	return a.HostPort(), err
}
