package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// Config is the `kafka:` section of the configuration. Each setting names the property of Apache Kafka's own clients
// that it mirrors. Start from [Default]: zero is not the default of every field.
type Config struct {
	// Brokers to find the cluster by, as host:port (port 9092 when left out); one that is up is enough. Left out, Linkspan
	// starts the embedded broker. Kafka: bootstrap.servers.
	Brokers []string `yaml:"brokers"`
	// ClientID names this process in the brokers' logs, metrics and quotas. Default linkspan. Kafka: client.id.
	ClientID string `yaml:"client_id"`
	// Rack is where this process runs; consumers then read from a replica there if the brokers allow it. Kafka: client.rack.
	Rack string `yaml:"rack"`
	// TLS encrypts the connections. Left out: no TLS; `tls: {}` is TLS with the system's certificate authorities.
	// Kafka: security.protocol SSL or SASL_SSL.
	TLS *TLSConfig `yaml:"tls"`
	// SASL logs in. Left out: no login. Kafka: security.protocol SASL_PLAINTEXT or SASL_SSL.
	SASL *SASLConfig `yaml:"sasl"`
	// RequestTimeout is how long a broker may take to be connected to, and for one request before the connection is given
	// up and the request is sent again. Default 10s, at least 100ms, at most 15m. Kafka: request.timeout.ms.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// RetryInterval is the least time between two attempts to find the leader of a partition; it decides how soon after an
	// outage messages flow again. Default 200ms, at least 10ms. Kafka: retry.backoff.ms.
	RetryInterval time.Duration `yaml:"retry_interval"`

	// Producer is how messages are written to Kafka.
	Producer ProducerSettings `yaml:"producer"`
	// Consumer is how records are read from Kafka.
	Consumer ConsumerSettings `yaml:"consumer"`
	// Topics is what becomes of topics that do not exist.
	Topics TopicSettings `yaml:"topics"`
	// Embedded is the broker that runs inside this process where kafka.brokers names none.
	Embedded EmbeddedConfig `yaml:"embedded"`

	// Dial makes the connections to brokers, for a network that is not TCP. Nil: TCP, the default. It goes without TLS.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error) `yaml:"-"`
}

// TLSConfig is `kafka.tls`. Files hold PEM.
type TLSConfig struct {
	// CA is a file with the certificate authorities to trust instead of the system's. Kafka: ssl.truststore.location.
	CA string `yaml:"ca"`
	// Cert and Key are the files of the client certificate (mutual TLS). They are read again for each connection, so that
	// renewed ones are used without a restart. Kafka: ssl.keystore.location.
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
	// ServerName is the name to find in the brokers' certificates. Default: the host of the broker's address.
	ServerName string `yaml:"server_name"`
	// Insecure accepts any certificate: anyone on the way can then read and change everything. For tests only.
	// Kafka: ssl.endpoint.identification.algorithm, set to nothing.
	Insecure bool `yaml:"insecure"`
}

// ProducerSettings is `kafka.producer`. Records are always written idempotently and acknowledged by all in-sync
// replicas (enable.idempotence=true, acks=all), and retried until they are stored (delivery.timeout.ms has no
// counterpart): that is what P1 to P3 rest on, so there is no setting to weaken it.
type ProducerSettings struct {
	// Compression of batches: none, gzip, snappy, lz4 or zstd. Default none. Kafka: compression.type.
	Compression string `yaml:"compression"`
	// Linger is how long a batch waits for more records before it is sent; 0 sends at once, and batches form by
	// themselves while earlier requests are on their way. Default 5ms, at most 1m. Kafka: linger.ms.
	Linger time.Duration `yaml:"linger"`
	// MaxBufferedBytes bounds what is handed over and not yet acknowledged: keys, values and headers, and for its keep 1 KiB
	// a record and 48 bytes a header; beyond it, devices are made to wait. Default 64 MiB (67108864), at least 64 KiB. Kafka: buffer.memory.
	MaxBufferedBytes int64 `yaml:"max_buffered_bytes"`
	// MaxMessageBytes bounds a record with its key and headers, and a batch, before compression; a larger message is refused to
	// its sender. A topic's own smaller max.message.bytes is found out and kept. Default 1000012, at least 1024, at most 1 GiB.
	// Kafka: max.request.size.
	MaxMessageBytes int32 `yaml:"max_message_bytes"`
	// Partitioner chooses the partition of records that have a key: murmur2, as Kafka's Java clients do, or crc32, as
	// librdkafka does. Records without a key stick to one partition for 64 KiB, then to another. Default murmur2.
	// Kafka: partitioner.class.
	Partitioner string `yaml:"partitioner"`
	// UnknownTopicTimeout is how long messages for a topic that does not exist wait for it, before they are refused. A
	// restarting cluster does not know its topics for some seconds. Default 15s, at least kafka.retry_interval.
	UnknownTopicTimeout time.Duration `yaml:"unknown_topic_timeout"`
}

// ConsumerSettings is `kafka.consumer`.
type ConsumerSettings struct {
	// SessionTimeout is how long the group waits for an instance that is silent before its partitions go to others.
	// Default 45s, at least 6s on most clusters. Kafka: session.timeout.ms.
	SessionTimeout time.Duration `yaml:"session_timeout"`
	// RebalanceTimeout is how long an instance may take to hand over partitions; Linkspan uses half of it to settle what
	// is in flight. Default 1m. Kafka: max.poll.interval.ms.
	RebalanceTimeout time.Duration `yaml:"rebalance_timeout"`
	// CommitInterval is how often positions are committed. Default 1s, at least 10ms. Kafka: auto.commit.interval.ms.
	CommitInterval time.Duration `yaml:"commit_interval"`
	// StartOffset is where a group starts in a topic that it has no position in: earliest or latest. That is written down
	// at once. Partitions that a topic gets later are read from their beginning. Default earliest, so that nothing is skipped.
	// Kafka: auto.offset.reset.
	StartOffset string `yaml:"start_offset"`
	// IsolationLevel is read_committed or read_uncommitted; the first leaves out what aborted transactions wrote.
	// Default read_committed. Kafka: isolation.level.
	IsolationLevel string `yaml:"isolation_level"`
	// FetchMaxBytes bounds what the answer to one fetch of one broker comes to in memory: of what is compressed, less is asked for.
	// Default 8 MiB (8388608), at most 100 MiB. Kafka: fetch.max.bytes.
	FetchMaxBytes int32 `yaml:"fetch_max_bytes"`
	// FetchMaxPartitionBytes bounds the part of one partition in it. Default 1 MiB (1048576). Kafka: max.partition.fetch.bytes.
	FetchMaxPartitionBytes int32 `yaml:"fetch_max_partition_bytes"`
	// FetchMinBytes is what a broker waits for, up to FetchMaxWait, before it answers. Default 1. Kafka: fetch.min.bytes.
	FetchMinBytes int32 `yaml:"fetch_min_bytes"`
	// FetchMaxWait is how long a broker holds back an answer for want of FetchMinBytes, for AMQP receivers 250ms at most. A partition
	// that was not fetched for a while, since there was no room for more of it, may have to wait for that. Default 500ms, at least 10ms.
	// Kafka: fetch.max.wait.ms.
	FetchMaxWait time.Duration `yaml:"fetch_max_wait"`
	// MaxInFlight bounds the records of one partition that are handed over and not settled; a partition that reaches it
	// waits, others go on. Default 1000, at least 1. Kafka: max.poll.records.
	MaxInFlight int `yaml:"max_in_flight"`
	// MaxInFlightBytes bounds the keys, values and headers that are fetched and not settled, of all partitions together; beyond
	// it nothing is fetched. It may be exceeded by what the brokers send at once. Default 64 MiB (67108864).
	MaxInFlightBytes int64 `yaml:"max_in_flight_bytes"`
	// DiscoveryInterval is how often new topics and partitions are looked for. Default 5s, at least 10ms. Kafka: metadata.max.age.ms.
	DiscoveryInterval time.Duration `yaml:"discovery_interval"`
	// DrainTimeout is how long what is in flight may take to settle at the end. Default 10s.
	DrainTimeout time.Duration `yaml:"drain_timeout"`
}

// TopicSettings is `kafka.topics`.
type TopicSettings struct {
	// Create creates the topics that routes write to or read from when they do not exist. Default true. When false, they are
	// reported at start, and messages for them are refused. Kafka: allow.auto.create.topics.
	Create bool `yaml:"create"`
	// Partitions of a topic that is created, where its route does not say. Default 0: as the brokers have it (num.partitions).
	Partitions int32 `yaml:"partitions"`
	// ReplicationFactor of a topic that is created. Default 0: as the brokers have it (default.replication.factor).
	ReplicationFactor int16 `yaml:"replication_factor"`
	// Configs of a topic that is created, by Kafka's names: {retention.ms: "604800000"}. Default: as the brokers have it.
	Configs map[string]string `yaml:"configs"`
}

// Default returns the configuration without any setting made.
func Default() Config {
	return Config{
		ClientID:       "linkspan",
		RequestTimeout: 10 * time.Second,
		RetryInterval:  200 * time.Millisecond,
		Producer: ProducerSettings{
			Compression: "none", Linger: 5 * time.Millisecond, MaxBufferedBytes: 64 << 20, MaxMessageBytes: 1000012, Partitioner: "murmur2",
			UnknownTopicTimeout: 15 * time.Second,
		},
		Consumer: ConsumerSettings{
			SessionTimeout: 45 * time.Second, RebalanceTimeout: time.Minute, CommitInterval: time.Second,
			StartOffset: "earliest", IsolationLevel: "read_committed",
			FetchMaxBytes: 8 << 20, FetchMaxPartitionBytes: 1 << 20, FetchMinBytes: 1, FetchMaxWait: 500 * time.Millisecond,
			MaxInFlight: 1000, MaxInFlightBytes: 64 << 20, DiscoveryInterval: 5 * time.Second, DrainTimeout: 10 * time.Second,
		},
		Topics:   TopicSettings{Create: true},
		Embedded: defaultEmbedded(),
	}
}

// Validate returns all that is wrong with c, each with its key and a remedy. It opens no file and no connection.
func (c *Config) Validate() error {
	var p problems
	for i, b := range c.Brokers {
		if err := checkAddr(b); err != nil {
			p.add(fmt.Sprintf("brokers[%d]", i), "%v; write host:port", err)
		}
	}
	p.within("request_timeout", c.RequestTimeout, 100*time.Millisecond, 15*time.Minute)
	p.within("retry_interval", c.RetryInterval, 10*time.Millisecond, 5*time.Minute)
	if c.TLS != nil {
		p.check("tls", c.Dial == nil, "does not go with connections that are made elsewhere; remove one or the other")
		c.TLS.validate(&p)
	}
	if c.SASL != nil {
		c.SASL.validate(&p)
	}
	c.Producer.validate(&p, c.RetryInterval)
	c.Consumer.validate(&p)
	p.check("topics.partitions", c.Topics.Partitions >= 0, "must not be negative; 0 takes the brokers' default")
	p.check("topics.replication_factor", c.Topics.ReplicationFactor >= 0, "must not be negative; 0 takes the brokers' default")
	if len(c.Brokers) == 0 {
		c.Embedded.validate(&p)
	}
	return p.err()
}

func (t *TLSConfig) validate(p *problems) {
	p.check("tls.cert", (t.Cert == "") == (t.Key == ""), "cert and key go together; set both or none")
	p.check("tls.insecure", !t.Insecure || t.CA == "" && t.ServerName == "", "ca and server_name have no effect with insecure; remove one or the other")
}

func (s *ProducerSettings) validate(p *problems, retry time.Duration) {
	p.oneOf("producer.compression", s.Compression, "none", "gzip", "snappy", "lz4", "zstd")
	p.oneOf("producer.partitioner", s.Partitioner, "murmur2", "crc32")
	p.within("producer.linger", s.Linger, 0, time.Minute)
	p.check("producer.max_buffered_bytes", s.MaxBufferedBytes >= 64<<10, "must be at least 65536, is %d", s.MaxBufferedBytes)
	p.check("producer.max_message_bytes", s.MaxMessageBytes >= 1024 && s.MaxMessageBytes <= 1<<30, "must be between 1024 and 1073741824, is %d", s.MaxMessageBytes)
	p.within("producer.unknown_topic_timeout", s.UnknownTopicTimeout, retry, time.Hour)
}

func (s *ConsumerSettings) validate(p *problems) {
	p.oneOf("consumer.start_offset", s.StartOffset, "earliest", "latest")
	p.oneOf("consumer.isolation_level", s.IsolationLevel, "read_committed", "read_uncommitted")
	p.within("consumer.session_timeout", s.SessionTimeout, 100*time.Millisecond, time.Hour)
	p.within("consumer.rebalance_timeout", s.RebalanceTimeout, 100*time.Millisecond, time.Hour)
	p.within("consumer.commit_interval", s.CommitInterval, 10*time.Millisecond, time.Hour)
	p.within("consumer.fetch_max_wait", s.FetchMaxWait, 10*time.Millisecond, time.Minute)
	p.within("consumer.discovery_interval", s.DiscoveryInterval, 10*time.Millisecond, time.Hour)
	p.within("consumer.drain_timeout", s.DrainTimeout, 0, time.Hour)
	p.check("consumer.fetch_max_bytes", s.FetchMaxBytes >= 1024 && s.FetchMaxBytes <= 100<<20, "must be between 1024 and 104857600, is %d", s.FetchMaxBytes)
	p.check("consumer.fetch_max_partition_bytes", s.FetchMaxPartitionBytes >= 1024 && s.FetchMaxPartitionBytes <= s.FetchMaxBytes,
		"must be between 1024 and fetch_max_bytes, is %d", s.FetchMaxPartitionBytes)
	p.check("consumer.fetch_min_bytes", s.FetchMinBytes >= 1, "must be at least 1, is %d", s.FetchMinBytes)
	p.check("consumer.max_in_flight", s.MaxInFlight >= 1, "must be at least 1, is %d", s.MaxInFlight)
	p.check("consumer.max_in_flight_bytes", s.MaxInFlightBytes >= 1024, "must be at least 1024, is %d", s.MaxInFlightBytes)
}

// config reads the files of t.
func (t *TLSConfig) config() (*tls.Config, error) {
	c := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("kafka.tls.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kafka.tls.ca: no certificate in %s; it must be PEM (-----BEGIN CERTIFICATE-----)", t.CA)
		}
	}
	if t.Cert != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
			if err != nil {
				return nil, fmt.Errorf("kafka.tls.cert, key: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

// problems collects what is wrong with a configuration.
type problems []error

func (p *problems) add(key, format string, args ...any) {
	*p = append(*p, fmt.Errorf("kafka.%s: "+format, append([]any{key}, args...)...))
}

func (p *problems) check(key string, ok bool, format string, args ...any) {
	if !ok {
		p.add(key, format, args...)
	}
}

func (p *problems) within(key string, v, least, most time.Duration) {
	p.check(key, v >= least && v <= most, "must be between %v and %v, is %v", least, most, v)
}

func (p *problems) oneOf(key, v string, allowed ...string) {
	p.check(key, slices.Contains(allowed, v), "%q is none of %s", v, strings.Join(allowed, ", "))
}

func (p problems) err() error { return errors.Join(p...) }

// checkAddr accepts host and host:port.
func checkAddr(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	if strings.Contains(s, "://") {
		return fmt.Errorf("%q is a URL", s)
	}
	if strings.ContainsAny(s, " \t;/") {
		return fmt.Errorf("%q is not one address", s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if host, port, err = net.SplitHostPort(s + ":9092"); err != nil {
			return err
		}
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("%q is no port", port)
	}
	if host == "" {
		return fmt.Errorf("%q names no host", s)
	}
	return nil
}
