package client_test

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan/amqp/client"
)

func TestDefaultsAreValid(t *testing.T) {
	cfg := client.DefaultConfig()
	if err := cfg.Validate(); err == nil || err.Error() != "dial: no address; write amqp://HOST:5672" {
		t.Error(err)
	}
	cfg.Dial = []string{"amqp://broker", "amqps://broker:5671", "amqpws://broker/amqp", "amqpwss://broker"}
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if err := cfg.CheckFiles(); err != nil {
		t.Error(err)
	}
}

// Each mistake is told by its key.
func TestValidate(t *testing.T) {
	cases := map[string]func(*client.Config){
		"dial: ":                     func(c *client.Config) { c.Dial = []string{"mqtt://x"} },
		"a user name in it":          func(c *client.Config) { c.Dial = []string{"amqp://u:p@x"} },
		"tls: no address":            func(c *client.Config) { c.TLS.CA = "x" },
		"tls.cert and tls.key":       func(c *client.Config) { c.TLS.Cert = "x" },
		"password: ":                 func(c *client.Config) { c.Password = "p" },
		"username and password: ":    func(c *client.Config) { c.Username = "a\x00b" },
		`mechanisms: "GSSAPI"`:       func(c *client.Config) { c.Mechanisms = []string{"GSSAPI"} },
		"mechanisms: PLAIN needs":    func(c *client.Config) { c.Mechanisms = []string{"PLAIN"} },
		"mechanisms: EXTERNAL needs": func(c *client.Config) { c.Mechanisms = []string{"EXTERNAL"} },
		"addresses: an address is":   func(c *client.Config) { c.Addresses = []string{"queue://"} },
		"addresses: \"xxx":           func(c *client.Config) { c.Addresses = []string{strings.Repeat("x", 256)} },
		"refused: ":                  func(c *client.Config) { c.Refused = "never" },
		"mode: ":                     func(c *client.Config) { c.Mode = "some" },
		"codec: ":                    func(c *client.Config) { c.Codec = "xml" },
		"credit: ":                   func(c *client.Config) { c.Credit = 0 },
		"max_message_size: ":         func(c *client.Config) { c.MaxMessageSize = 1 },
		"max_frame_size: ":           func(c *client.Config) { c.MaxFrameSize = 511 },
		"max_backlog: ":              func(c *client.Config) { c.MaxBacklog = -1 },
		"max_in_flight: ":            func(c *client.Config) { c.MaxInFlight = 0 },
		"max_in_flight_bytes: ":      func(c *client.Config) { c.MaxInFlightBytes = 0 },
		"max_links: ":                func(c *client.Config) { c.MaxLinks = 0 },
		"link_idle: ":                func(c *client.Config) { c.LinkIdle = 0 },
		"idle_timeout: ":             func(c *client.Config) { c.IdleTimeout = 1 },
		"connect_timeout: ":          func(c *client.Config) { c.ConnectTimeout = 0 },
		"reconnect.min: ":            func(c *client.Config) { c.Reconnect.Min = 0 },
		"reconnect.max: ":            func(c *client.Config) { c.Reconnect.Max = 1 },
		"ack_timeout: ":              func(c *client.Config) { c.AckTimeout = 0 },
		"drain_timeout: ":            func(c *client.Config) { c.DrainTimeout = -1 },
	}
	for says, change := range cases {
		cfg := client.DefaultConfig()
		cfg.Dial = []string{"amqp://broker"}
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", says, err)
		}
	}
}

func TestCauses(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range client.Causes() {
		if s := c.String(); s == "" || seen[s] {
			t.Errorf("%d is called %q", c, s)
		}
		seen[c.String()] = true
	}
}
