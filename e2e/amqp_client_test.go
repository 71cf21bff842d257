package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

type brokerQuay struct{ site, scheme, queue string }

// quays are the brokers that a client endpoint dials over AMQP, and what they call a queue. RabbitMQ lets us in by our certificate.
var quays = []brokerQuay{
	{"artemis", "amqp", "queue://queue.load"},
	{"activemq", "amqp", "queue://load"},
	{"rabbitmq", "amqps", "/queue/load"},
}

// SPK-A1, SPK-A6, SPK-W1, AKB-A13, P1, P3, P5: what is in Kafka goes down to a queue of a broker over AMQP, and what is in the queue goes up to
// Kafka. Under load Linkspan is killed, then the broker, and then the broker is stopped in good order: every message is there.
func TestAMQPBrokers_SPK_A1(t *testing.T) {
	t.Parallel()
	for _, q := range quays {
		t.Run(q.site, func(t *testing.T) {
			t.Parallel()
			untilShown(t, func() bool { return q.killed(t) })
		})
	}
}

func (q brokerQuay) killed(t *testing.T) bool {
	t.Helper()
	site := ownSite(t, q.site, "")
	in, out := topic(t, world.kafka, "amqp-down-"+q.site, 3), topic(t, world.kafka, "amqp-up-"+q.site, 1)
	more := []string{"reconnect: {max: 1s}"}
	if q.scheme == "amqps" {
		more = append(more, clientTLS(world.certs.ClientCert, world.certs.ClientKey, "localhost"))
	}
	c := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"kafka:%s\", to: \"quay:%s\", qos: 1}\n  - {from: \"quay:%s\", to: \"kafka:%s\"}\n",
		in, q.queue, q.queue, out), dialTo("quay", site.URL(q.scheme), more...))
	l := c.member(t)
	var ledger harness.Ledger
	ashore(t, world.kafka, &ledger, out)
	wait := loadKafka(t, world.kafka, &ledger, in, kafkaLoad{devices: 6, count: 200})
	arrived(t, &ledger, 250)
	l.Kill()
	must(t, l.Start(deadline(t)))
	arrived(t, &ledger, 500)
	site.Kill()
	must(t, site.Start(deadline(t)))
	arrived(t, &ledger, 750)
	must(t, site.Restart(deadline(t)))
	wait()
	return shows(t, site, &ledger)
}

// clientTLS is the YAML of a client endpoint with a certificate of its own, for a broker of that name.
func clientTLS(cert, key, name string) string {
	return fmt.Sprintf("tls: {ca: %q, cert: %q, key: %q, server_name: %s}", world.certs.CA, cert, key, name)
}

// AKB-A13, SPK-W3: a client endpoint gets into a broker by its certificate alone (EXTERNAL), and not with a stranger's; and does not talk to a broker whose
// certificate is for another name than the one that it asks for.
func TestAMQPBrokerLogin_AKB_A13(t *testing.T) {
	t.Parallel()
	url := sharedSite(t, "rabbitmq").URL("amqps")
	certs, in := world.certs, topic(t, world.kafka, "amqp-broker-login", 1)
	l := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"amqp:/queue/{name}\", to: \"kafka:%s\"}\n", in),
		dialTo("known", url, "addresses: [/queue/known]", clientTLS(certs.ClientCert, certs.ClientKey, "localhost")),
		dialTo("stranger", url, "addresses: [/queue/stranger]", clientTLS(certs.StrangerCert, certs.StrangerKey, "localhost")),
		dialTo("misnamed", url, "addresses: [/queue/misnamed]", clientTLS(certs.ClientCert, certs.ClientKey, harness.CertName))).member(t)
	connected(t, l, "known")
	for _, name := range []string{"stranger", "misnamed"} {
		must(t, harness.Until(deadline(t), func() error {
			if gauge(t, l, "linkspan_amqp_client_connect_failures_total", name) == 0 {
				return fmt.Errorf("%s has not been refused", name)
			}
			return nil
		}))
		if gauge(t, l, "linkspan_amqp_client_connects_total", name) > 0 {
			t.Errorf("%s is connected", name)
		}
	}
	p := meet(t, peerMade("rhea"), harness.PeerOptions{URL: sharedSite(t, "rabbitmq").URL("amqp"), Mechanism: "PLAIN", User: "guest", Password: "guest"})
	send(t, sender(t, p, "/amq/queue/known"), harness.Data([]byte("from a broker")))
	open(t, world.kafka, in).wait(t, withValue("from a broker"))
}

// A kafkaLoad says how much is sent to a Kafka topic.
type kafkaLoad struct {
	devices int
	count   uint64          // of messages of each device; 0: until enough
	pace    time.Duration   // between two of a device
	enough  <-chan struct{} // may be nil
}

// loadKafka sends numbered messages of some devices to a Kafka topic, and returns what waits until all are there.
func loadKafka(t *testing.T, kafka *harness.Kafka, ledger *harness.Ledger, topic string, load kafkaLoad) (wait func()) {
	t.Helper()
	client := producer(t, kafka)
	ctx, stop := context.WithCancel(context.Background())
	var sending sync.WaitGroup
	errs := make(chan error, load.devices)
	for _, device := range names("dev", load.devices) {
		sending.Go(func() {
			for n := uint64(1); load.count == 0 || n <= load.count; n++ {
				ledger.Sent(device, n)
				r := &kgo.Record{Topic: topic, Key: []byte(device), Value: harness.Payload(device, n, 100)}
				if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
					errs <- err
					return
				}
				ledger.Acked(device, n)
				select {
				case <-load.enough:
					return
				case <-time.After(load.pace):
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		sending.Wait()
	})
	return func() {
		t.Helper()
		give := context.AfterFunc(deadline(t), stop)
		sending.Wait()
		give()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
	}
}

// ashore notes in the ledger what comes into a Kafka topic, whatever its key, from its start until the test ends.
func ashore(t *testing.T, kafka *harness.Kafka, ledger *harness.Ledger, topic string) {
	t.Helper()
	client, err := harness.Client(kafka.Addrs(), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond))
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if device, n, err := harness.ParsePayload(r.Value); err != nil {
					t.Error(err)
				} else {
					ledger.Arrived(device, n, r.Partition)
				}
			})
		}
	})
	t.Cleanup(func() {
		stop()
		reading.Wait()
		client.Close()
	})
}
