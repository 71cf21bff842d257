package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// KafkaConfig says which Kafka to start.
type KafkaConfig struct {
	Jars     string // folder of Kafka's jars
	Dir      string // where it keeps its data and logs
	Brokers  int    // 1, or more with min.insync.replicas 2
	Networks int    // between clients and the brokers, beside the direct way; who comes by one of them stays on it
	Login    *Login // every way to log in, each on a listener of its own; one broker only. nil: none
}

// Login is what the listeners that ask for a login accept.
type Login struct {
	Certs    *Certs
	Issuer   *Issuer
	User     string
	Password string
}

// Kafka is a running Apache Kafka, KRaft mode, on loopback.
type Kafka struct {
	Brokers []*Broker

	Networks []Network // with a proxy before each broker

	// Addresses of the listeners that ask for a login; empty without [KafkaConfig.Login].
	SCRAM, Plain, OAuth, OAuthTLS, MTLS string

	cfg  KafkaConfig
	jvm  []string
	done sync.Once
}

// A Broker is one of its brokers, controller too.
type Broker struct {
	ID   int32
	Addr string

	kafka   *Kafka
	process *Process
	config  string // server.properties
}

var errPortTaken = errors.New("a port was taken in the meantime")

// errEnded: somebody else's server ended before it was ready. Several give up their own start on a machine that stalls.
var errEnded = errors.New("ended before it was ready")

// startAgain reports whether a server that somebody else made may start another time.
func startAgain(err error) bool { return errors.Is(err, errPortTaken) || errors.Is(err, errEnded) }

// StartKafka starts Kafka, and returns when every broker is known to all.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	for attempt := 0; ; attempt++ {
		k := &Kafka{cfg: cfg}
		k.cfg.Dir = filepath.Join(cfg.Dir, fmt.Sprint(attempt))
		err := k.start(ctx)
		if err == nil {
			return k, nil
		}
		k.Close()
		if !startAgain(err) || attempt == 4 {
			return nil, err
		}
	}
}

func (k *Kafka) start(ctx context.Context) error {
	k.jvm = []string{"-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.apache.logging.log4j.level=WARN", "-cp", filepath.Join(k.cfg.Jars, "*")}
	if err := k.configure(); err != nil {
		return err
	}
	if err := k.format(ctx); err != nil {
		return err
	}
	for _, b := range k.Brokers {
		if err := b.start(); err != nil {
			return err
		}
	}
	return k.Ready(ctx)
}

// configure writes server.properties of every broker.
func (k *Kafka) configure() error {
	perBroker := 8 + k.cfg.Networks
	k.Networks = make([]Network, k.cfg.Networks)
	ports, err := Ports(k.cfg.Brokers * perBroker)
	if err != nil {
		return err
	}
	voters := make([]string, k.cfg.Brokers)
	for i := range voters {
		voters[i] = fmt.Sprintf("%d@%s", i+1, Loopback(ports[i*perBroker+1]))
	}
	for i := range k.cfg.Brokers {
		p := ports[i*perBroker : (i+1)*perBroker]
		b := &Broker{ID: int32(i + 1), Addr: Loopback(p[0]), kafka: k}
		dir := filepath.Join(k.cfg.Dir, fmt.Sprintf("broker-%d", b.ID))
		b.config = filepath.Join(dir, "server.properties")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		var s strings.Builder
		fmt.Fprintf(&s, baseProperties, b.ID, strings.Join(voters, ","), filepath.Join(dir, "data"))
		listeners, controller := "PLAINTEXT://"+b.Addr, ",CONTROLLER://"+Loopback(p[1])
		if k.cfg.Brokers > 1 {
			s.WriteString(clusterProperties)
		} else {
			s.WriteString(singleProperties)
		}
		if login := k.cfg.Login; login != nil {
			k.SCRAM, k.Plain, k.OAuth, k.MTLS, k.OAuthTLS = Loopback(p[2]), Loopback(p[3]), Loopback(p[4]), Loopback(p[5]), Loopback(p[7])
			listeners += fmt.Sprintf(",SCRAM://%s,PLAIN://%s,OAUTH://%s,MTLS://%s,OAUTHTLS://%s", k.SCRAM, k.Plain, k.OAuth, k.MTLS, k.OAuthTLS)
			fmt.Fprintf(&s, loginProperties, login.Certs.ServerBoth, login.Certs.CA, login.User, login.Password)
			for _, listener := range []string{"oauth", "oauthtls"} {
				fmt.Fprintf(&s, oauthProperties, listener, login.Issuer.JWKS, Audience, IssuerName)
			}
			k.jvm = append([]string{"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=" + login.Issuer.JWKS}, k.jvm...)
		}
		protocols, advertised := "", listeners
		for n, port := range p[8:] {
			proxy, err := NewProxy(Loopback(port))
			if err != nil {
				return err
			}
			k.Networks[n] = append(k.Networks[n], proxy)
			protocols += fmt.Sprintf(",NETWORK%d:PLAINTEXT", n)
			listeners += fmt.Sprintf(",NETWORK%d://%s", n, Loopback(port))
			advertised += fmt.Sprintf(",NETWORK%d://%s", n, proxy.Addr())
			fmt.Fprintf(&s, "listener.name.network%d.num.network.threads=1\n", n)
		}
		fmt.Fprintf(&s, "listener.security.protocol.map=%s%s\n", protocolMap, protocols)
		fmt.Fprintf(&s, "advertised.listeners=%s\n", advertised)
		fmt.Fprintf(&s, "listeners=%s\n", listeners+controller)
		if err := os.WriteFile(b.config, []byte(s.String()), 0o600); err != nil {
			return err
		}
		k.Brokers = append(k.Brokers, b)
	}
	return nil
}

// baseProperties: small internal topics, since creating 50 partitions of each costs seconds.
const baseProperties = `process.roles=broker,controller
node.id=%d
controller.quorum.voters=%s
log.dirs=%s
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
broker.session.timeout.ms=6000
initial.broker.registration.timeout.ms=300000
offsets.topic.num.partitions=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
auto.create.topics.enable=false
`

const protocolMap = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SCRAM:SASL_SSL,PLAIN:SASL_PLAINTEXT,OAUTH:SASL_PLAINTEXT,OAUTHTLS:SASL_SSL,MTLS:SSL"

const singleProperties = `default.replication.factor=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
`

const clusterProperties = `default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
replica.lag.time.max.ms=10000
`

const loginProperties = `ssl.keystore.type=PEM
ssl.keystore.location=%s
ssl.truststore.type=PEM
ssl.truststore.location=%s
listener.name.mtls.ssl.client.auth=required
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.plain.sasl.enabled.mechanisms=PLAIN
listener.name.plain.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_%s="%s";
`

const oauthProperties = `listener.name.%[1]s.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.%[1]s.oauthbearer.connections.max.reauth.ms=60000
listener.name.%[1]s.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.%[1]s.oauthbearer.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
listener.name.%[1]s.oauthbearer.sasl.oauthbearer.jwks.endpoint.url=%[2]s
listener.name.%[1]s.oauthbearer.sasl.oauthbearer.expected.audience=%[3]s
listener.name.%[1]s.oauthbearer.sasl.oauthbearer.expected.issuer=%[4]s
`

// format formats every broker's empty log directory.
func (k *Kafka) format(ctx context.Context) error {
	var all sync.WaitGroup
	errs := make([]error, len(k.Brokers))
	for i, b := range k.Brokers {
		all.Go(func() { errs[i] = b.format(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Addrs returns the brokers' addresses, for clients that do not log in.
func (k *Kafka) Addrs() []string {
	var addrs []string
	for _, b := range k.Brokers {
		addrs = append(addrs, b.Addr)
	}
	return addrs
}

// Ready waits until the brokers that run know each other and nobody else. A broker that ends in the meantime is an
// error.
func (k *Kafka) Ready(ctx context.Context) error {
	var running []*Broker
	for _, b := range k.Brokers {
		if b.process != nil && b.process.Running() {
			running = append(running, b)
		}
	}
	return Until(ctx, func() error {
		for _, b := range running {
			if !b.process.Running() {
				if log := b.process.Tail(8000); strings.Contains(log, "Address already in use") {
					return Final(errPortTaken)
				}
				return Final(fmt.Errorf("broker %d %w:\n%s", b.ID, errEnded, b.process.Tail(8000)))
			}
			if got, err := knownBrokers(ctx, b.Addr); err != nil || got != len(running) {
				return fmt.Errorf("broker %d knows %d of %d brokers: %v\n%s", b.ID, got, len(running), err, b.process.Tail(2000))
			}
		}
		return nil
	})
}

func knownBrokers(ctx context.Context, addr string) (int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RetryTimeout(time.Second), kgo.RequestRetries(0))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request := kmsg.NewMetadataRequest()
	request.Topics = []kmsg.MetadataRequestTopic{}
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return 0, err
	}
	return len(response.Brokers), nil
}

// Close kills the brokers. It may be called twice.
func (k *Kafka) Close() {
	k.done.Do(func() {
		for _, b := range k.Brokers {
			if b.process != nil {
				b.process.Kill()
			}
		}
		for _, n := range k.Networks {
			n.Close()
		}
	})
}

// Broker returns the broker of that id.
func (k *Kafka) Broker(id int32) *Broker { return k.Brokers[id-1] }

// Log returns the end of what the brokers printed.
func (k *Kafka) Log() string {
	var s strings.Builder
	for _, b := range k.Brokers {
		if b.process != nil {
			fmt.Fprintf(&s, "--- Kafka broker %d\n%s", b.ID, b.process.Tail(4000))
		}
	}
	return s.String()
}

func (b *Broker) start() error {
	args := append(b.kafka.jvm[:len(b.kafka.jvm):len(b.kafka.jvm)], "kafka.Kafka", b.config)
	p, err := Start(fmt.Sprintf("kafka broker %d", b.ID), exec.Command("java", args...), filepath.Join(b.dir(), "broker.log"))
	if err != nil {
		return err
	}
	b.process = p
	return nil
}

// format writes the cluster's identity, and the users of SCRAM, into the broker's empty log directory.
func (b *Broker) format(ctx context.Context) error {
	args := append(b.kafka.jvm[:len(b.kafka.jvm):len(b.kafka.jvm)], "kafka.tools.StorageTool", "format", "-t", "bGlua3NwYW4gZTJlIHRlc3Q", "-c", b.config)
	if login := b.kafka.cfg.Login; login != nil {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, login.User, login.Password))
		}
	}
	p, err := Start("kafka format", exec.Command("java", args...), filepath.Join(b.dir(), "format.log"))
	if err != nil {
		return err
	}
	code, err := p.Wait(ctx)
	p.Kill()
	if err == nil && code != 0 {
		err = fmt.Errorf("formatting Kafka's log directory failed:\n%s", p.Tail(4000))
	}
	return err
}

func (b *Broker) dir() string { return filepath.Dir(b.config) }

// Wipe takes everything from a broker that does not run: its log directory is as it was before it started for the first time.
func (b *Broker) Wipe(ctx context.Context) error {
	if err := os.RemoveAll(filepath.Join(b.dir(), "data")); err != nil {
		return err
	}
	return b.format(ctx)
}

// Kill kills the broker with SIGKILL.
func (b *Broker) Kill() { b.process.Kill() }

// Restart starts the broker again after [Broker.Kill], on the same ports and data, and waits until it is back.
func (b *Broker) Restart(ctx context.Context) error {
	for {
		if err := b.start(); err != nil {
			return err
		}
		err := b.kafka.Ready(ctx)
		if !startAgain(err) || ctx.Err() != nil {
			return err
		}
		b.Kill()
		if err := os.Remove(b.process.log); err != nil {
			return err
		}
	}
}

// Freeze stops the broker with SIGSTOP: its connections stay open, and nothing answers.
func (b *Broker) Freeze() error { return b.process.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen broker go on.
func (b *Broker) Thaw() error { return b.process.Signal(syscall.SIGCONT) }
