package client

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// Config says which broker to connect to, and how. [DefaultConfig] has the defaults.
type Config struct {
	dial.Settings `yaml:",inline"`

	// Version is the version of MQTT: 5, 3.1.1, 3.1 or auto, the default. auto tries 5, then 3.1.1, then 3.1, and stays with
	// what the broker took until it refuses that.
	Version string `yaml:"version"`
	// ClientID is the client identifier by which the broker knows our session, so that it survives us. Default
	// FLEET-ENDPOINT, as in linkspan-plant-a; with mode all the host's name is behind it. The second worker has "-2" behind it,
	// and so on. Nobody else may use it. A broker of MQTT 3.1 may refuse more than 23 characters.
	ClientID string `yaml:"client_id"`

	// KeepAlive is how long the connection may be silent, in whole seconds, default 30s. A PING goes out after half of that.
	// A broker of MQTT 5 may set another (Server Keep Alive).
	KeepAlive time.Duration `yaml:"keep_alive"`
	// ConnectTimeout bounds TCP, TLS and WebSocket handshakes and the broker's answer to CONNECT and SUBSCRIBE, each. Default 10s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// SessionExpiry is how long the broker keeps our session, and what it has for us, while we are away. Default 24h; 0: it
	// ends with the connection, and what is published meanwhile is lost. MQTT 3 has no such time: there anything above 0 is for ever.
	SessionExpiry time.Duration `yaml:"session_expiry"`
	// CleanStart drops the session that the broker has when Linkspan starts. Default false.
	CleanStart bool `yaml:"clean_start"`
	// ReceiveMaximum is how many messages from the broker may be on their way to Kafka, default 1000. MQTT 5 brokers are told;
	// most have a smaller limit of their own.
	ReceiveMaximum uint16 `yaml:"receive_maximum"`
	// MaxPacketSize is the largest packet in bytes that the broker may send. Default 0: as large as MQTT allows, 256 MiB. An
	// MQTT 5 broker drops what is larger; with MQTT 3 it ends the connection.
	MaxPacketSize int `yaml:"max_packet_size"`
	// MaxInFlight is how many messages may be on their way to the broker, default 100. A broker of MQTT 5 may want fewer
	// (Receive Maximum). Beyond it Kafka is not read any more.
	MaxInFlight int `yaml:"max_in_flight"`
	// Will is published by the broker when the connection ends without a goodbye. Default: none.
	Will Will `yaml:"will"`

	// QoS of the subscriptions: 0, 1 or 2, default 1.
	QoS linkspan.QoS `yaml:"qos"`
	// Subscribe are the topic filters to subscribe to. Default: those of the routes from this endpoint.
	Subscribe []string `yaml:"subscribe"`
	// RetainHandling says when the broker sends its retained messages, with MQTT 5: 0 at each subscribing, 1 when the
	// subscription is new, the default, 2 never. An MQTT 3 broker sends them at each subscribing.
	RetainHandling uint8 `yaml:"retain_handling"`
	// Workers is how many connections share the messages from the broker, by shared subscriptions, default 1. Which of
	// them gets a message is the broker's choice, so the order of a topic is kept only as far as the broker keeps it. The way
	// down uses the first. A broker without shared subscriptions gets one connection, with a warning. Mosquitto 2.0 forgets
	// shared subscriptions when it restarts, and loses what is published from then until we are back.
	Workers int `yaml:"workers"`
	// Share is the name of the shared subscription, of which / + # are no part. Default: the client identifier, and with mode
	// all FLEET-ENDPOINT, since it must be the same for all.
	Share string `yaml:"share"`

	// FollowRedirect lets a broker of MQTT 5 send us to another one (Server Reference). Default false: it is only logged.
	FollowRedirect bool `yaml:"follow_redirect"`
	// AckTimeout is how long the broker may take to acknowledge a message, or take none of the bytes sent to it, before the
	// connection is given up and made anew. While that does not help, as when a message takes longer on a slow line, the next
	// connection has twice the time, up to sixteen times. Default 30s.
	AckTimeout time.Duration `yaml:"ack_timeout"`
}

// Will is a message that the broker publishes for us [MQTT 3.1.2.5].
type Will struct {
	// Topic it is published on. Default "": no will.
	Topic string `yaml:"topic"`
	// Payload is its text.
	Payload string `yaml:"payload"`
	// QoS of its publication: 0, the default, 1 or 2.
	QoS linkspan.QoS `yaml:"qos"`
	// Retain has the broker keep it for later subscribers. Default false.
	Retain bool `yaml:"retain"`
}

// Reconnect is how long to wait before the next attempt to connect.
type Reconnect = dial.Reconnect

// TLSConfig is how a TLS connection is made and verified.
type TLSConfig = dial.TLSConfig

// DefaultConfig returns the defaults, without an address.
func DefaultConfig() Config {
	return Config{
		Settings:       dial.DefaultSettings("mqtt"),
		Version:        "auto",
		KeepAlive:      30 * time.Second,
		ConnectTimeout: 10 * time.Second,
		SessionExpiry:  24 * time.Hour,
		ReceiveMaximum: 1000,
		MaxInFlight:    100,
		QoS:            1,
		RetainHandling: 1,
		Workers:        1,
		AckTimeout:     30 * time.Second,
	}
}

// Validate returns what is wrong with c, all of it, each "key: what; remedy". It reads no files.
func (c *Config) Validate() error {
	errs := []error{c.Check(address.MQTT())}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, known := versions[c.Version]
	check(known, "version: %q is not known; use auto, 5, 3.1.1 or 3.1", c.Version)
	check(packet.ValidText(c.ClientID) == nil, "client_id: %q is no text that MQTT can carry; use well-formed UTF-8", c.ClientID)
	check(packet.ValidText(c.Username) == nil, "username: is no text that MQTT can carry; use well-formed UTF-8")
	check(len(c.Password) <= math.MaxUint16, "password: longer than 65,535 bytes")
	c.checkTimes(check)
	c.checkBounds(check)
	c.checkTopics(check)
	return errors.Join(errs...)
}

func (c *Config) checkTimes(check func(ok bool, format string, args ...any)) {
	check(c.KeepAlive >= time.Second && c.KeepAlive <= math.MaxUint16*time.Second,
		"keep_alive: %v is not between 1s and 65535s", c.KeepAlive)
	check(c.ConnectTimeout > 0, "connect_timeout: must be positive")
	check(c.SessionExpiry >= 0, "session_expiry: %v is negative", c.SessionExpiry)
	check(c.AckTimeout > 0, "ack_timeout: must be positive")
}

func (c *Config) checkBounds(check func(ok bool, format string, args ...any)) {
	check(c.ReceiveMaximum > 0, "receive_maximum: must be at least 1")
	check(c.MaxPacketSize == 0 || c.MaxPacketSize >= 128 && c.MaxPacketSize <= packet.MaxSize,
		"max_packet_size: %d is neither 0 nor between 128 and %d", c.MaxPacketSize, packet.MaxSize)
	check(c.MaxInFlight > 0 && c.MaxInFlight <= math.MaxUint16, "max_in_flight: %d is not between 1 and 65535", c.MaxInFlight)
	check(c.Workers > 0 && c.Workers <= 1000, "workers: %d is not between 1 and 1000", c.Workers)
	check(c.RetainHandling <= 2, "retain_handling: %d is not 0, 1 or 2", c.RetainHandling)
	check(c.QoS <= 2, "qos: %d is not 0, 1 or 2", c.QoS)
}

func (c *Config) checkTopics(check func(ok bool, format string, args ...any)) {
	check(!strings.ContainsAny(c.Share, "/+#") && packet.ValidText(c.Share) == nil,
		"share: %q is no share name; leave out / + and #", c.Share)
	for _, f := range c.Subscribe {
		err := packet.ValidFilter(f)
		check(err == nil, "subscribe: %q is no topic filter: %v", f, err)
	}
	w := &c.Will
	if w.Topic == "" {
		check(*w == Will{}, "will.topic: missing; name the topic, or leave out will")
		return
	}
	err := packet.ValidTopicName(w.Topic)
	check(err == nil, "will.topic: %q is no topic name: %v", w.Topic, err)
	check(len(w.Payload) <= math.MaxUint16, "will.payload: longer than 65,535 bytes")
	check(w.QoS <= 2, "will.qos: %d is not 0, 1 or 2", w.QoS)
}

// versions are what each setting of Config.Version tries, in turn.
var versions = map[string][]packet.Version{
	"auto":  {packet.V5, packet.V311, packet.V31},
	"5":     {packet.V5},
	"3.1.1": {packet.V311},
	"3.1":   {packet.V31},
}
