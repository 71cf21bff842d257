package amqp

import (
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

func TestDefaultsAreValid(t *testing.T) {
	cfg := DefaultListenerConfig()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestHostPort(t *testing.T) {
	for url, want := range map[string]string{
		"amqp://:5672": ":5672", "amqp://h": "h:5672", "amqps://h": "h:5671", "amqpws://h": "h:80", "amqpwss://h/p": "h:443",
		"amqp://[::1]:1/": "[::1]:1",
	} {
		cfg := DefaultListenerConfig()
		cfg.URL = url
		if got, err := cfg.HostPort(); err != nil || got != want {
			t.Errorf("%s: %s, %v", url, got, err)
		}
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ListenerConfig)
		want   string
	}{
		"scheme":     {func(c *ListenerConfig) { c.URL = "mqtt://h" }, "listen"},
		"no slashes": {func(c *ListenerConfig) { c.URL = "amqp:h" }, "no //"},
		"path":       {func(c *ListenerConfig) { c.URL = "amqp://h/queue" }, "path"},
		"user":       {func(c *ListenerConfig) { c.URL = "amqp://a:b@h" }, "more than scheme"},
		"port":       {func(c *ListenerConfig) { c.URL = "amqp://h:65536" }, "no port"},
		"no cert":    {func(c *ListenerConfig) { c.URL = "amqps://h" }, "tls.cert"},
		"plain tls":  {func(c *ListenerConfig) { c.TLS.Cert = "c" }, "not encrypted"},
		"surplus":    {func(c *ListenerConfig) { c.Surplus = "wait" }, "surplus"},
		"frame":      {func(c *ListenerConfig) { c.MaxFrameSize = 511 }, "max_frame_size"},
		"credit":     {func(c *ListenerConfig) { c.Credit = 0 }, "credit"},
		"idle":       {func(c *ListenerConfig) { c.IdleTimeout = time.Millisecond }, "idle_timeout"},
		"sessions":   {func(c *ListenerConfig) { c.MaxSessions = 65537 }, "max_sessions"},
		"mechanism":  {func(c *ListenerConfig) { c.SASL.Mechanisms = []string{"CRAM-MD5"} }, "sasl.mechanisms"},
		"external":   {func(c *ListenerConfig) { c.SASL.Mechanisms = []string{"EXTERNAL"} }, "client_ca"},
		"scram":      {func(c *ListenerConfig) { c.SASL.Mechanisms = []string{"SCRAM-SHA-256"} }, "sasl.users"},
		"password":   {func(c *ListenerConfig) { c.SASL.Users = map[string]linkspan.Secret{"u": ""} }, "sasl.users"},
	} {
		cfg := DefaultListenerConfig()
		c.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
