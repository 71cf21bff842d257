package wire

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/linkspan/linkspan/internal/address"
)

// Settings are what the user of a listener may choose whatever it speaks. [DefaultSettings] has the defaults.
type Settings struct {
	// Name is the endpoint's name, which messages carry as where they came from.
	Name string `yaml:"-"`
	// Listen makes the socket. Default nil: [net.Listen].
	Listen func(network, address string) (net.Listener, error) `yaml:"-"`
	// URL is where to listen: SCHEME://HOST:PORT, of a WebSocket with /PATH. The schemes, and the ports where none is said, are for MQTT
	// mqtt (1883), mqtts (8883), ws (80) and wss (443), for AMQP amqp (5672), amqps (5671), amqpws (80) and amqpwss (443). Without
	// HOST all addresses; without PATH /mqtt for MQTT, any for AMQP.
	URL string `yaml:"listen"`
	// TLS is for the schemes with TLS: mqtts and wss, amqps and amqpwss.
	TLS TLSConfig `yaml:"tls"`
	// Origins are the web pages that may connect by WebSocket, as a browser's Origin header names them:
	// https://example.org. Default: any. What is no browser sends no Origin and is always let in.
	Origins []string `yaml:"origins"`

	// MaxConnections bounds the connections that are open at a time; more are closed at once. Default 0: as many as the
	// system allows.
	MaxConnections int `yaml:"max_connections"`
	// ConnectTimeout is how long a client may take from the TCP connection until it has said who it is: with MQTT to its CONNECT
	// packet, with AMQP to its open frame; handshakes of TLS, WebSocket and SASL included. Default 10s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// WriteTimeout is how long a client may take none of the bytes that wait for it before it is disconnected. Default 30s.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// DrainTimeout is how long a stop waits for messages that are not settled yet. Default 10s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`

	// MaxOutgoing is how many bytes may wait to be written to one client; one message always may. Default 64 KiB. Beyond it messages
	// wait in the client's session, or in Kafka, and a client that only asks and never listens is not read any more.
	MaxOutgoing int `yaml:"max_outgoing"`
	// MaxBacklog is how many bytes of messages one connection may hold back while Kafka takes none. Default 256 KiB, and one
	// message more. Beyond it the client is not read any more, and its keep-alives wait too.
	MaxBacklog int `yaml:"max_backlog"`
	// MaxBacklogTotal is the same for all connections of the listener together. Default 256 MiB.
	MaxBacklogTotal int `yaml:"max_backlog_total"`
	// MaxPartialTotal is how many bytes of packets or frames that have not come whole all connections of the listener may hold
	// together. Default 128 MiB. Beyond it a connection that sends more of one ends, with reason 0x89 or
	// amqp:resource-limit-exceeded.
	MaxPartialTotal int `yaml:"max_partial_total"`
}

// DefaultSettings returns the defaults.
func DefaultSettings(name, url string) Settings {
	return Settings{
		Name:            name,
		URL:             url,
		ConnectTimeout:  10 * time.Second,
		WriteTimeout:    30 * time.Second,
		DrainTimeout:    10 * time.Second,
		MaxOutgoing:     64 << 10,
		MaxBacklog:      256 << 10,
		MaxBacklogTotal: 256 << 20,
		MaxPartialTotal: 128 << 20,
	}
}

// Check returns what is wrong with s where the addresses are those of f, all of it. It reads no files.
func (s *Settings) Check(f address.Family) error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	a, err := s.Address(f)
	if err != nil {
		errs = append(errs, err)
	} else if a.TLS {
		check(s.TLS.Cert != "" && s.TLS.Key != "", "tls.cert and tls.key: %s needs both", s.URL)
	} else {
		check(s.TLS == TLSConfig{}, "tls: %s is not encrypted; use %s", s.URL, f.Encrypted())
	}
	check(s.MaxConnections >= 0, "max_connections: %d is negative", s.MaxConnections)
	check(s.ConnectTimeout > 0, "connect_timeout: must be positive")
	check(s.WriteTimeout > 0, "write_timeout: must be positive")
	check(s.DrainTimeout >= 0, "drain_timeout: %v is negative", s.DrainTimeout)
	check(s.MaxOutgoing > 0, "max_outgoing: must be positive")
	check(s.MaxBacklog >= 0, "max_backlog: %d is negative", s.MaxBacklog)
	check(s.MaxBacklogTotal >= 0, "max_backlog_total: %d is negative", s.MaxBacklogTotal)
	check(s.MaxPartialTotal > 0, "max_partial_total: must be positive")
	return errors.Join(errs...)
}

// Address returns what URL says, an address of f.
func (s *Settings) Address(f address.Family) (a address.Address, err error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return a, fmt.Errorf("listen: %q is no address; write %s, or HOST in front of the colon", s.URL, f.Everywhere())
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return a, fmt.Errorf("listen: %q has more than scheme, host, port and path", s.URL)
	}
	if a, err = f.Of(u); err != nil {
		return a, fmt.Errorf("listen: %q: %w; write %s", s.URL, err, f.Everywhere())
	}
	return a, nil
}
