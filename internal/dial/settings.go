package dial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
)

// Settings are what the user of a client may choose whatever it speaks. [DefaultSettings] has the defaults.
type Settings struct {
	// Name is the endpoint's name, which messages carry as where they came from.
	Name string `yaml:"-"`
	// Permit is called before each connection is made, and waits until it may be: false when ctx ends first. nil: it always may.
	Permit func(ctx context.Context) bool `yaml:"-"`

	// Dial is the address of the broker or router: SCHEME://HOST:PORT, of a WebSocket with /PATH. The schemes, and the ports where none
	// is said, are for MQTT mqtt (1883), mqtts (8883), ws (80) and wss (443), for AMQP amqp (5672), amqps (5671), amqpws (80) and
	// amqpwss (443). Without PATH /mqtt for MQTT. Several addresses are ways to one and the same broker or cluster, tried in turn.
	Dial []string `yaml:"dial"`
	// Username and Password are for the broker's login. Default: none.
	Username string          `yaml:"username"`
	Password linkspan.Secret `yaml:"password"`
	// TLS is for the schemes with TLS: mqtts and wss, amqps and amqpwss.
	TLS TLSConfig `yaml:"tls"`
	// Mode is one, the default: one process of the fleet is connected at a time. all: each is, and the broker spreads the messages
	// over them, by shared subscriptions or from a queue, so that their order is kept only as far as the broker keeps it.
	Mode string `yaml:"mode"`

	// MaxInFlightBytes bounds the bytes of messages on their way to the broker, default 16 MiB; one message may be larger.
	MaxInFlightBytes int `yaml:"max_in_flight_bytes"`
	// Reconnect is the pause between attempts to connect, and with AMQP to attach a link that the broker has refused or ended.
	Reconnect Reconnect `yaml:"reconnect"`
	// DrainTimeout is how long a stop waits for messages that are not settled yet. Default 5s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

// The values of Settings.Mode.
const (
	ModeOne = "one"
	ModeAll = "all"
)

// DefaultSettings returns the defaults, without an address.
func DefaultSettings(name string) Settings {
	return Settings{
		Name:             name,
		Mode:             ModeOne,
		MaxInFlightBytes: 16 << 20,
		Reconnect:        Reconnect{Min: 250 * time.Millisecond, Max: 30 * time.Second},
		DrainTimeout:     5 * time.Second,
	}
}

// Check returns what is wrong with s where the addresses are those of f, all of it, each "key: what; remedy". It reads no files.
func (s *Settings) Check(f address.Family) error {
	errs := s.checkAddresses(f)
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(s.Password == "" || s.Username != "", "password: without username; set both")
	check(s.Mode == ModeOne || s.Mode == ModeAll, "mode: %q is not known; use one or all", s.Mode)
	check(s.MaxInFlightBytes > 0, "max_in_flight_bytes: must be positive")
	check(s.Reconnect.Min > 0, "reconnect.min: must be positive")
	check(s.Reconnect.Max >= s.Reconnect.Min, "reconnect.max: %v is less than reconnect.min", s.Reconnect.Max)
	check(s.DrainTimeout >= 0, "drain_timeout: %v is negative", s.DrainTimeout)
	return errors.Join(errs...)
}

func (s *Settings) checkAddresses(f address.Family) (errs []error) {
	if len(s.Dial) == 0 {
		errs = append(errs, fmt.Errorf("dial: no address; write %s", f.Example()))
	}
	encrypted := false
	for _, text := range s.Dial {
		t, err := Parse(f, text)
		if err != nil {
			errs = append(errs, fmt.Errorf("dial: %w", err))
		}
		encrypted = encrypted || t.TLS
	}
	if !encrypted && len(s.Dial) > 0 && !s.TLS.IsZero() {
		errs = append(errs, fmt.Errorf("tls: no address of dial is encrypted; use %s", f.Encrypted()))
	}
	if err := s.TLS.Validate(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// CheckFiles reads the files that s names, and returns what is wrong with them.
func (s *Settings) CheckFiles() error {
	_, err := s.TLS.Load("")
	return err
}
