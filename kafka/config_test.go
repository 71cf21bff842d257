package kafka

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

func TestDefaultIsValid(t *testing.T) {
	cfg := Default()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`kafka.brokers[1]: "http://x" is a URL`:    func(c *Config) { c.Brokers = []string{"ok", "http://x"} },
		"kafka.brokers[0]: is empty":               func(c *Config) { c.Brokers = []string{""} },
		`kafka.brokers[0]: "99999999" is no port`:  func(c *Config) { c.Brokers = []string{"a:99999999"} },
		"kafka.request_timeout: must be between":   func(c *Config) { c.RequestTimeout = 0 },
		"kafka.retry_interval":                     func(c *Config) { c.RetryInterval = time.Millisecond },
		"kafka.tls.cert: cert and key go together": func(c *Config) { c.TLS = &TLSConfig{Cert: "x"} },
		"kafka.tls: does not go with": func(c *Config) {
			c.TLS, c.Dial = &TLSConfig{}, func(context.Context, string, string) (net.Conn, error) { return nil, nil }
		},
		"kafka.tls.insecure": func(c *Config) { c.TLS = &TLSConfig{CA: "x", Insecure: true} },
		`kafka.sasl.mechanism: "gssapi" is none of plain, `: func(c *Config) { c.SASL = &SASLConfig{Mechanism: "gssapi"} },
		"kafka.sasl.password: plain needs a password":       func(c *Config) { c.SASL = &SASLConfig{Mechanism: "plain", Username: "u"} },
		"kafka.sasl.oauth: oauthbearer needs":               func(c *Config) { c.SASL = &SASLConfig{Mechanism: "oauthbearer"} },
		"kafka.sasl.oauth.token_endpoint": func(c *Config) {
			c.SASL = &SASLConfig{Mechanism: "oauthbearer", OAuth: &OAuthConfig{TokenEndpoint: "x"}}
		},
		"kafka.sasl.oauth.token_file: is instead of": func(c *Config) {
			c.SASL = &SASLConfig{Mechanism: "oauthbearer", OAuth: &OAuthConfig{TokenFile: "x", ClientID: "y"}}
		},
		"kafka.sasl.aws: has no effect with plain": func(c *Config) {
			c.SASL = &SASLConfig{Mechanism: "plain", Username: "u", Password: "p", AWS: &AWSConfig{}}
		},
		"kafka.sasl.username: aws-msk-iam takes no username": func(c *Config) { c.SASL = &SASLConfig{Mechanism: "aws-msk-iam", Username: "u"} },
		`kafka.producer.compression: "zip" is none of`:       func(c *Config) { c.Producer.Compression = "zip" },
		"kafka.producer.partitioner":                         func(c *Config) { c.Producer.Partitioner = "" },
		"kafka.producer.linger":                              func(c *Config) { c.Producer.Linger = -1 },
		"kafka.producer.max_buffered_bytes":                  func(c *Config) { c.Producer.MaxBufferedBytes = 1 },
		"kafka.producer.max_message_bytes":                   func(c *Config) { c.Producer.MaxMessageBytes = 1 },
		"kafka.producer.unknown_topic_timeout":               func(c *Config) { c.Producer.UnknownTopicTimeout = 0 },
		"kafka.consumer.start_offset":                        func(c *Config) { c.Consumer.StartOffset = "none" },
		"kafka.consumer.isolation_level":                     func(c *Config) { c.Consumer.IsolationLevel = "" },
		"kafka.consumer.fetch_max_partition_bytes":           func(c *Config) { c.Consumer.FetchMaxPartitionBytes = 100 << 20 },
		"kafka.consumer.max_in_flight: must be at least 1":   func(c *Config) { c.Consumer.MaxInFlight = 0 },
		"kafka.topics.partitions":                            func(c *Config) { c.Topics.Partitions = -1 },
		"kafka.embedded.listen":                              func(c *Config) { c.Embedded.Listen = "9092" },
		"kafka.embedded.advertise: is needed with":           func(c *Config) { c.Embedded.Listen = ":9092" },
		"kafka.embedded.retention_bytes":                     func(c *Config) { c.Embedded.RetentionBytes = 1 },
	} {
		cfg := Default()
		change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	cfg := Default()
	cfg.Brokers, cfg.Embedded = []string{"a", "b:1", "[::1]:9093"}, EmbeddedConfig{} // without effect
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
}
