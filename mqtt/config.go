package mqtt

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// ListenerConfig says where and how devices may connect. [DefaultListenerConfig] has the defaults.
type ListenerConfig struct {
	// Name is the endpoint's name, which messages carry as where they came from.
	Name string `yaml:"-"`
	// URL is where to listen: mqtt://HOST:PORT, mqtts://, ws://HOST:PORT/PATH or wss://. Without HOST all addresses,
	// without PORT 1883, 8883, 80 and 443, without PATH /mqtt.
	URL string `yaml:"listen"`
	// TLS is for mqtts and wss.
	TLS TLSConfig `yaml:"tls"`
	// Origins are the web pages that may connect by WebSocket, as a browser's Origin header names them:
	// https://example.org. Default: any. What is no browser sends no Origin and is always let in.
	Origins []string `yaml:"origins"`

	// MaxConnections bounds the connections that are open at a time; more are closed at once. Default 0: as many as the
	// system allows.
	MaxConnections int `yaml:"max_connections"`
	// MaxPacketSize is the largest packet in bytes that a device may send. Default 1 MiB. A longer one ends its connection with
	// reason 0x95. MQTT 5 devices are told (Maximum Packet Size).
	MaxPacketSize int `yaml:"max_packet_size"`
	// ReceiveMaximum is how many QoS 1 and 2 messages a device may have unacknowledged. Default 1024. An MQTT 5 device that
	// sends more is disconnected with reason 0x93; one of MQTT 3 cannot know, and is read more slowly.
	ReceiveMaximum uint16 `yaml:"receive_maximum"`
	// TopicAliasMaximum is how many topic aliases each side of an MQTT 5 connection may use. Default 32; 0: none.
	TopicAliasMaximum uint16 `yaml:"topic_alias_maximum"`
	// MaxKeepAlive is the longest keep-alive, in whole seconds. Default 0: whatever the device asks for. An MQTT 5 device
	// that asks for more, or for none, is told to use this one (Server Keep Alive); with MQTT 3 it is enforced.
	MaxKeepAlive time.Duration `yaml:"max_keep_alive"`

	// ConnectTimeout is how long a device may take from the TCP connection to its CONNECT packet, TLS and WebSocket
	// handshakes included. Default 10s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// WriteTimeout is how long a device may take none of the bytes that wait for it before it is disconnected. Default 30s.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// DrainTimeout is how long a stop waits for messages that are not settled yet. Default 10s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// MaxOutgoing is how many bytes may wait to be written to one device; one packet always may. Default 64 KiB. Beyond
	// it messages wait in the device's session, and a device that only asks and never listens is not read any more.
	MaxOutgoing int `yaml:"max_outgoing"`
	// MaxBacklog is how many bytes of messages one connection may hold back while Kafka takes none. Default 256 KiB, and one
	// packet more. Beyond it the device is not read any more, and its keep-alives wait too.
	MaxBacklog int `yaml:"max_backlog"`
	// MaxBacklogTotal is the same for all connections of the listener together. Default 256 MiB.
	MaxBacklogTotal int `yaml:"max_backlog_total"`

	// MaxPartialTotal is how many bytes of packets that have not come whole all connections of the listener may hold
	// together. Default 128 MiB. Beyond it a connection that sends more of one ends with reason 0x89.
	MaxPartialTotal int `yaml:"max_partial_total"`
	// MaxUserProperties is how many user properties one message of an MQTT 5 device may have, since each takes more
	// memory than its bytes. Default 1000; 0: none. A message with more is refused with reason 0x97.
	MaxUserProperties int `yaml:"max_user_properties"`

	// Authenticate decides who may connect. Default nil: anyone.
	Authenticate func(*Login) packet.Reason `yaml:"-"`
}

// TLSConfig names the files of a TLS listener.
type TLSConfig = wire.TLSConfig

// DefaultListenerConfig returns the defaults, for any address on port 1883.
func DefaultListenerConfig() ListenerConfig {
	return ListenerConfig{
		Name:              "mqtt",
		URL:               "mqtt://:1883",
		MaxPacketSize:     1 << 20,
		ReceiveMaximum:    1024,
		TopicAliasMaximum: 32,
		ConnectTimeout:    10 * time.Second,
		WriteTimeout:      30 * time.Second,
		DrainTimeout:      10 * time.Second,
		MaxOutgoing:       64 << 10,
		MaxBacklog:        256 << 10,
		MaxBacklogTotal:   256 << 20,
		MaxPartialTotal:   128 << 20,
		MaxUserProperties: 1000,
	}
}

// Validate returns what is wrong with c, all of it. It reads no files.
func (c *ListenerConfig) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	a, err := c.address()
	if err != nil {
		errs = append(errs, err)
	} else if a.TLS {
		check(c.TLS.Cert != "" && c.TLS.Key != "", "tls.cert and tls.key: %s needs both", c.URL)
	} else {
		check(c.TLS == TLSConfig{}, "tls: %s is not encrypted; use mqtts:// or wss://", c.URL)
	}
	check(c.MaxConnections >= 0, "max_connections: %d is negative", c.MaxConnections)
	check(c.MaxPacketSize >= 128 && c.MaxPacketSize <= packet.MaxSize,
		"max_packet_size: %d is not between 128 and %d", c.MaxPacketSize, packet.MaxSize)
	check(c.ReceiveMaximum > 0, "receive_maximum: must be at least 1")
	check(c.MaxKeepAlive == 0 || c.MaxKeepAlive >= time.Second && c.MaxKeepAlive <= 65535*time.Second,
		"max_keep_alive: %v is not between 1s and 65535s", c.MaxKeepAlive)
	check(c.ConnectTimeout > 0, "connect_timeout: must be positive")
	check(c.WriteTimeout > 0, "write_timeout: must be positive")
	check(c.DrainTimeout >= 0, "drain_timeout: %v is negative", c.DrainTimeout)
	check(c.MaxOutgoing > 0, "max_outgoing: must be positive")
	check(c.MaxBacklog >= 0, "max_backlog: %d is negative", c.MaxBacklog)
	check(c.MaxBacklogTotal >= 0, "max_backlog_total: %d is negative", c.MaxBacklogTotal)
	check(c.MaxPartialTotal > 0, "max_partial_total: must be positive")
	check(c.MaxUserProperties >= 0, "max_user_properties: %d is negative", c.MaxUserProperties)
	return errors.Join(errs...)
}

// HostPort returns where c listens, HOST:PORT. HOST is empty for all addresses.
func (c *ListenerConfig) HostPort() (string, error) {
	a, err := c.address()
	return a.HostPort(), err
}

func (c *ListenerConfig) address() (a address.Address, err error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return a, fmt.Errorf("listen: %q is no address; write mqtt://:1883, or HOST in front of the colon", c.URL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return a, fmt.Errorf("listen: %q has more than scheme, host, port and path", c.URL)
	}
	if a, err = address.MQTT().Of(u); err != nil {
		return a, fmt.Errorf("listen: %q: %w; write mqtt://:1883", c.URL, err)
	}
	return a, nil
}
