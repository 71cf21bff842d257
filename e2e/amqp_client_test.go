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

// quays are the brokers that a client endpoint dials over AMQP, and what they call a queue.
var quays = []struct{ site, queue, login string }{
	{"artemis", "queue://queue.load", ""},
	{"activemq", "queue://load", ""},
	{"rabbitmq", "/queue/load", "username: guest, password: guest"},
}

// SPK-A1, SPK-A6, AKB-A13, P1, P3, P5: what is in Kafka goes down to a queue of a broker over AMQP, and what is in the queue goes up to
// Kafka. Linkspan is killed under load, and the broker is stopped and started again: every message is there.
func TestAMQPBrokers_SPK_A1(t *testing.T) {
	for _, q := range quays {
		t.Run(q.site, func(t *testing.T) {
			t.Parallel()
			site := ownSite(t, q.site, "")
			in, out := topic(t, world.kafka, "amqp-down-"+q.site, 3), topic(t, world.kafka, "amqp-up-"+q.site, 1)
			more := []string{"reconnect: {max: 1s}"}
			if q.login != "" {
				more = append(more, q.login)
			}
			c := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"kafka:%s\", to: \"quay:%s\", qos: 1}\n  - {from: \"quay:%s\", to: \"kafka:%s\"}\n",
				in, q.queue, q.queue, out), dialTo("quay", site.URL("amqp"), more...))
			l := c.member(t)
			var ledger harness.Ledger
			ashore(t, world.kafka, &ledger, out)
			wait := loadKafka(t, world.kafka, &ledger, in, kafkaLoad{devices: 6, count: 200})
			arrived(t, &ledger, 250)
			l.Kill()
			must(t, l.Start(deadline(t)))
			arrived(t, &ledger, 600)
			must(t, site.Restart(deadline(t)))
			wait()
			settled(t, &ledger, true)
		})
	}
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
