// Package session knows which devices are connected and what they have subscribed to, and hands them what comes down
// from Kafka.
package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/linkspan/linkspan"
)

type Config struct {
	Uplink           linkspan.Sink `yaml:"-"`
	Replay           Replayer      `yaml:"-"`
	MaxQueued        int           `yaml:"max_queued"`
	MaxQueuedBytes   int           `yaml:"max_queued_bytes"`
	MaxSubscriptions int           `yaml:"max_subscriptions"`
	MaxRetained      int           `yaml:"max_retained"`
	MaxRetainedBytes int           `yaml:"max_retained_bytes"`
	SilentShutdown   bool          `yaml:"silent_shutdown"`
}

func DefaultConfig() Config       { return Config{} }
func (c *Config) Validate() error { return nil }

type Replayer interface {
	Replay(ctx context.Context, topic string, partition int32, from int64, visit func(m *linkspan.Message)) (next int64, err error)
}

type Registry struct{}

func NewRegistry(cfg Config, log *slog.Logger) *Registry { return nil }

func (r *Registry) Send(ctx context.Context, m *linkspan.Message, done func(error)) {}
func (r *Registry) Connect(req ConnectRequest) *Session                             { return nil }
func (r *Registry) Close(ctx context.Context) error                                 { return nil }
func (r *Registry) Stats() *Stats                                                   { return nil }

type Stats struct{}

type ConnectRequest struct {
	ClientID       string
	Endpoint       string
	ReceiveMaximum uint16            // of the device, for what it is sent; 0: 65,535
	Will           *linkspan.Message // nil: none. The session's from now on: it borrows nothing
	WillExpiry     time.Duration     // how long the will is of use once it is published; 0: for ever
	Conn           Conn
}

type Session struct{}

type Subscription struct {
	Filter            string
	QoS               linkspan.QoS
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte   // 0, 1, 2 as in MQTT 5
	ID                uint32 // subscription identifier; 0: none
}

type SubscribeResult struct {
	QoS linkspan.QoS // granted
	Err error        // nil: granted; ErrShared, ErrFilter, ErrTooMany
}

var (
	ErrShared  = errors.New("shared subscriptions are not available")
	ErrFilter  = errors.New("not a topic filter")
	ErrTooMany = errors.New("the session has reached its max_subscriptions")
)

func (s *Session) Subscribe(subs []Subscription, ack func(granted []SubscribeResult)) {}
func (s *Session) Unsubscribe(filters []string, ack func(existed []bool))             {}
func (s *Session) PubAck(id uint16) bool                                              { return false }
func (s *Session) PubRec(id uint16, failed bool) (ok bool)                            { return false }
func (s *Session) PubComp(id uint16) bool                                             { return false }
func (s *Session) Receive(id uint16) (first bool)                                     { return false }
func (s *Session) Forget(id uint16)                                                   {}
func (s *Session) Release(id uint16) (known bool)                                     { return false }
func (s *Session) Resume()                                                            {}
func (s *Session) Close(will bool)                                                    {}
