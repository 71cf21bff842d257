package client_test

import (
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/mqtt/client"
)

// What makes no sense is refused before anything starts, each with its key; what it says of addresses is all that a URL may have.
func TestValidate(t *testing.T) {
	for _, test := range []struct {
		want   string // in the error; "": none
		change func(c *client.Config)
	}{
		{"", func(*client.Config) {}},
		{"", func(c *client.Config) { c.Dial = []string{"mqtt://[::1]", "ws://h/p?q", "wss://h", "mqtts://h:1/"} }},
		{"dial: ", func(c *client.Config) { c.Dial = nil }},
		{"dial: ", func(c *client.Config) { c.Dial = []string{"tcp://h"} }},
		{"dial: ", func(c *client.Config) { c.Dial = []string{"mqtt://:1883"} }},
		{"dial: ", func(c *client.Config) { c.Dial = []string{"mqtt://h/path"} }},
		{"dial: ", func(c *client.Config) { c.Dial = []string{"http://user:hidden@h"} }},
		{"dial: ", func(c *client.Config) { c.Dial = []string{"mqtt://user:hidden@"} }},
		{"dial: ", func(c *client.Config) { c.Dial = []string{"user:hidden@h:1883"} }},
		{"no port 99999", func(c *client.Config) { c.Dial = []string{"ws://h:99999/p?token=hidden"} }},
		{"set username and password", func(c *client.Config) { c.Dial = []string{"mqtt://user:hidden@h"} }},
		{"tls: ", func(c *client.Config) { c.TLS.Insecure = true }},
		{"tls.cert and tls.key: ", func(c *client.Config) { c.Dial[0], c.TLS.Cert = "mqtts://h", "c" }},
		{"tls.key_password: ", func(c *client.Config) { c.Dial[0], c.TLS.KeyPassword = "mqtts://h", "hidden" }},
		{"tls.min_version: ", func(c *client.Config) { c.Dial[0], c.TLS.MinVersion = "mqtts://h", "2" }},
		{"tls.ciphers: ", func(c *client.Config) { c.Dial[0], c.TLS.Ciphers = "mqtts://h", []string{"RC4"} }},
		{"version: ", func(c *client.Config) { c.Version = "4" }},
		{"client_id: ", func(c *client.Config) { c.ClientID = "\xff" }},
		{"username: ", func(c *client.Config) { c.Username = "\x00" }},
		{"password: ", func(c *client.Config) { c.Password = "hidden" }},
		{"keep_alive: ", func(c *client.Config) { c.KeepAlive = time.Millisecond }},
		{"connect_timeout: ", func(c *client.Config) { c.ConnectTimeout = 0 }},
		{"session_expiry: ", func(c *client.Config) { c.SessionExpiry = -1 }},
		{"reconnect.min: ", func(c *client.Config) { c.Reconnect.Min = 0 }},
		{"reconnect.max: ", func(c *client.Config) { c.Reconnect.Max = 1 }},
		{"ack_timeout: ", func(c *client.Config) { c.AckTimeout = 0 }},
		{"drain_timeout: ", func(c *client.Config) { c.DrainTimeout = -1 }},
		{"receive_maximum: ", func(c *client.Config) { c.ReceiveMaximum = 0 }},
		{"max_packet_size: ", func(c *client.Config) { c.MaxPacketSize = 1 }},
		{"max_in_flight: ", func(c *client.Config) { c.MaxInFlight = 70000 }},
		{"max_in_flight_bytes: ", func(c *client.Config) { c.MaxInFlightBytes = 0 }},
		{"workers: ", func(c *client.Config) { c.Workers = 0 }},
		{"retain_handling: ", func(c *client.Config) { c.RetainHandling = 3 }},
		{"qos: ", func(c *client.Config) { c.QoS = 3 }},
		{"mode: ", func(c *client.Config) { c.Mode = "some" }},
		{"share: ", func(c *client.Config) { c.Share = "a/b" }},
		{"subscribe: ", func(c *client.Config) { c.Subscribe = []string{"a/#/b"} }},
		{"will.topic: ", func(c *client.Config) { c.Will.Payload = "x" }},
		{"will.topic: ", func(c *client.Config) { c.Will.Topic = "a/+" }},
		{"will.qos: ", func(c *client.Config) { c.Will.Topic, c.Will.QoS = "a", 3 }},
	} {
		c := client.DefaultConfig()
		c.Dial = []string{"mqtt://h"}
		test.change(&c)
		switch err := c.Validate(); {
		case test.want == "" && err != nil, test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("want %q, got %v", test.want, err)
		case err != nil && (strings.Contains(err.Error(), "hidden") || strings.Contains(err.Error(), "\n")):
			t.Errorf("a secret, or more than one problem: %v", err)
		}
	}
}

func FuzzValidate(f *testing.F) {
	for _, url := range []string{"mqtt://h:1", "wss://[::1]:443/a?b#c", "mqtt://u:p@h", "://", "ws://h/%zz"} {
		f.Add(url)
	}
	f.Fuzz(func(_ *testing.T, url string) {
		c := client.DefaultConfig()
		c.Dial = []string{url}
		_ = c.Validate()
	})
}
