package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A quay is a Linkspan where AMQP clients land, one for all tests that break nothing.
type quay struct {
	*harness.Linkspan
	dead string // Kafka topic of dead letters
	live string // Kafka topic of what goes to the addresses live/...
}

// The listeners of the quay.
const (
	byAMQP = iota
	byLogin
	byTLS
	byName // TLS, with a certificate for harness.CertName alone
	byWebSocket
	byWebSocketTLS
	bySmall // credit 100; a receiver too many is detached
	byDefault
	byJSON
	byRaw
	byMQTT
	listeningPorts
)

// quayConfig takes the brokers, the certificates, the topics for live messages and dead letters, and the ports.
func quayConfig(q *quay, p []int) string {
	at := make([]any, len(p))
	for i := range p {
		at[i] = harness.Loopback(p[i])
	}
	listeners := fmt.Sprintf(`
  apps: {listen: "amqp://%s"}
  login: {listen: "amqp://%s", sasl: {users: {app: "a secret"}}}
  secure: {listen: "amqps://%s", tls: {cert: CERT, key: KEY, client_ca: CA}}
  named: {listen: "amqps://%s", tls: {cert: NAMED, key: NAMEDKEY}}
  web: {listen: "amqpws://%s/amqp"}
  secure-web: {listen: "amqpwss://%s/amqp", tls: {cert: CERT, key: KEY, client_ca: CA}}
  small: {listen: "amqp://%s", credit: 100, surplus: detach}
  default-bodies: {listen: "amqp://%s", codec: default}
  json-bodies: {listen: "amqp://%s", codec: json}
  raw-bodies: {listen: "amqp://%s", codec: raw}
  devices: {listen: "mqtt://%s"}
`, at...)
	return fmt.Sprintf("kafka: {brokers: [%s]}\nfleet: {name: quay, topic_prefix: _quay.}\ndead_letter: {topic: %q}\nendpoints:%s", strings.Join(world.kafka.Addrs(), ", "), q.dead,
		strings.NewReplacer("NAMEDKEY", world.certs.NamedKey, "NAMED", world.certs.NamedCert, "CERT", world.certs.ServerCert, "KEY", world.certs.ServerKey, "CA", world.certs.CA).Replace(listeners)) +
		strings.ReplaceAll(`routes:
  - {from: "amqp:live/{rest...}", to: "kafka:LIVE", key: "{rest}"}
  - {from: "mqtt:live/{rest...}", to: "kafka:LIVE", key: "{rest}"}
  - {from: "kafka:LIVE", to: "mqtt:live/{key}"}
  - {from: "amqp:{address...}", to: "kafka:{address}", names: plain}
`, "LIVE", q.live)
}

var theQuay = sync.OnceValues(func() (*quay, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	q := &quay{dead: "quay.dead", live: "quay.live"}
	for _, topic := range []string{q.dead, q.live} {
		if err := harness.CreateTopic(ctx, world.kafka.Addrs(), topic, 1, nil); err != nil {
			return nil, err
		}
	}
	l, err := harness.StartLinkspan(ctx, world.binary, filepath.Join(world.dir, "quay"), listeningPorts, func(p []int) string { return quayConfig(q, p) })
	q.Linkspan = l
	if l != nil {
		started.Lock()
		started.sites = append(started.sites, q)
		started.Unlock()
	}
	return q, err
})

// Close kills it.
func (q *quay) Close() { q.Kill() }

// sharedQuay returns it.
func sharedQuay(t *testing.T) *quay {
	t.Helper()
	q, err := theQuay()
	must(t, err)
	return q
}

// url returns the URL of one of its listeners.
func (q *quay) url(listener int) string {
	switch listener {
	case byTLS:
		return strings.Replace("amqps://"+q.Addr(listener), "127.0.0.1", "localhost", 1)
	case byName:
		return strings.Replace("amqps://"+q.Addr(listener), "127.0.0.1", harness.CertName, 1)
	case byWebSocketTLS:
		return strings.Replace("amqpwss://"+q.Addr(listener)+"/amqp", "127.0.0.1", "localhost", 1)
	case byWebSocket:
		return "amqpws://" + q.Addr(listener) + "/amqp"
	case byMQTT:
		return "mqtt://" + q.Addr(listener)
	}
	return "amqp://" + q.Addr(listener)
}

// meet connects a peer of that make to its first listener.
func (q *quay) meet(t *testing.T, m harness.PeerMake) harness.Peer {
	t.Helper()
	return meet(t, m, harness.PeerOptions{URL: q.url(byAMQP)})
}

// produce writes records 0 to n-1, whose values are their numbers, into a partition.
func produce(t *testing.T, topic string, partition int32, n int) {
	t.Helper()
	client, err := harness.Client(world.kafka.Addrs(), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	defer client.Close()
	var all []*kgo.Record
	for i := range n {
		all = append(all, &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Append(nil, i), Key: fmt.Append(nil, "key ", i)})
	}
	must(t, client.ProduceSync(deadline(t), all...).FirstErr())
}

// section returns the section of a message; its Raw is nil where there is none.
func section(t *testing.T, message []byte, code byte) harness.Section {
	t.Helper()
	all, err := harness.Decode(message)
	must(t, err)
	for _, s := range all {
		if s.Code == code {
			return s
		}
	}
	return harness.Section{Code: code}
}

// annotation returns an annotation of a message as text; "" if it has none.
func annotation(t *testing.T, message []byte, name string) string {
	t.Helper()
	s := section(t, message, harness.AnnotationSection)
	if s.Raw == nil {
		return ""
	}
	return s.Entries()[fmt.Sprintf("symbol %q", name)]
}

// deliveryCount returns how often a message was tried before.
func deliveryCount(t *testing.T, message []byte) string {
	t.Helper()
	s := section(t, message, harness.HeaderSection)
	if s.Raw == nil {
		return "uint 0"
	}
	if count := s.Entries()["4"]; count != "" {
		return count
	}
	return "uint 0"
}

// text returns the text of a message: of its data, or of its value if that is a string.
func text(t *testing.T, message []byte) string {
	t.Helper()
	body, err := harness.Body(message)
	must(t, err)
	if v := section(t, message, harness.ValueSection); v.Raw != nil {
		var s string
		if _, err := fmt.Sscanf(v.Text(), "string %q", &s); err != nil {
			t.Fatalf("%s: %v", v.Text(), err)
		}
		return s
	}
	return string(body)
}
