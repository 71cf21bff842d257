package mqtt

import (
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// ListenerConfig says where and how devices may connect. [DefaultListenerConfig] has the defaults.
type ListenerConfig struct {
	wire.Settings `yaml:",inline"`

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
		Settings:          wire.DefaultSettings("mqtt", "mqtt://:1883"),
		MaxPacketSize:     1 << 20,
		ReceiveMaximum:    1024,
		TopicAliasMaximum: 32,
		MaxUserProperties: 1000,
	}
}

// Validate returns what is wrong with c, all of it. It reads no files.
func (c *ListenerConfig) Validate() error {
	errs := []error{c.Check(address.MQTT())}
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(c.MaxPacketSize >= 128 && c.MaxPacketSize <= packet.MaxSize,
		"max_packet_size: %d is not between 128 and %d", c.MaxPacketSize, packet.MaxSize)
	check(c.ReceiveMaximum > 0, "receive_maximum: must be at least 1")
	check(c.MaxKeepAlive == 0 || c.MaxKeepAlive >= time.Second && c.MaxKeepAlive <= 65535*time.Second,
		"max_keep_alive: %v is not between 1s and 65535s", c.MaxKeepAlive)
	check(c.MaxUserProperties >= 0, "max_user_properties: %d is negative", c.MaxUserProperties)
	return errors.Join(errs...)
}

// HostPort returns where c listens, HOST:PORT. HOST is empty for all addresses.
func (c *ListenerConfig) HostPort() (string, error) {
	a, err := c.Address(address.MQTT())
	return a.HostPort(), err
}
