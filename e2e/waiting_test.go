package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// P1, P3, P5: Kafka is killed under load and comes back.
func TestKafkaKilled(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	load := topic(t, kafka, "load", 6)
	l := gateway(t, kafka, loadRoutes(load, "ack: kafka"))
	fleet := launch(t, 20, 200, func(int) string { return l.Addr(0) })
	fleet.acked(t, 0.3)
	kafka.Brokers[0].Kill()
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	fleet.finish(t)
	balance(t, kafka.Addrs(), &fleet.ledger, true, load)
	fleet.stayed(t)
}

// P1, P3, P6: Kafka hangs for 30 s under load. Devices wait for their acknowledgements on the connections that they have, and
// their keep-alives, of 10 s, are answered. Linkspan says that it is not ready. Nobody is killed, so nothing is doubled.
func TestKafkaHangs(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	load := topic(t, kafka, "load", 6)
	l := gateway(t, kafka, loadRoutes(load, "ack: kafka"))
	fleet := launch(t, 20, 0, func(int) string { return l.Addr(0) })
	must(t, fleet.until(deadline(t), 1000))
	must(t, kafka.Brokers[0].Freeze())
	outage := time.NewTimer(30 * time.Second)
	defer outage.Stop()
	must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusServiceUnavailable) }))
	must(t, fleet.pinged(deadline(t), 15))
	<-outage.C
	if sent, acked, _ := fleet.ledger.Counts(); acked == sent {
		t.Error("all was acknowledged before Kafka went on")
	}
	must(t, kafka.Brokers[0].Thaw())
	must(t, fleet.more(deadline(t), 1000))
	must(t, fleet.end(deadline(t)))
	balance(t, kafka.Addrs(), &fleet.ledger, false, load)
	fleet.stayed(t)
	must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusOK) }))
}

// stayed checks that every device still has its first connection.
func (f *fleet) stayed(t *testing.T) {
	t.Helper()
	for _, d := range f.devices {
		if n := d.Connections(); n != 1 {
			t.Errorf("%s had %d connections", d.Client, n)
		}
	}
	for _, d := range f.pahos {
		if n := d.connections.Load(); n != 1 {
			t.Errorf("%s had %d connections", d.name, n)
		}
	}
}

// P1, P3, P5: of three brokers the leader of a partition is killed under load.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 3)
	load := topic(t, kafka, "load", 6)
	three := "3"
	for _, name := range []string{"scarce", "probe"} {
		must(t, harness.CreateTopic(deadline(t), kafka.Addrs(), name, 6, map[string]*string{"min.insync.replicas": &three}))
	}
	l := gateway(t, kafka, loadRoutes(load, "ack: kafka"))
	fleet := launch(t, 20, 200, func(int) string { return l.Addr(0) })
	fleet.acked(t, 0.3)
	topics, err := kadm.NewClient(producer(t, kafka)).ListTopics(deadline(t), load)
	must(t, err)
	leader := kafka.Broker(topics[load].Partitions[0].Leader)
	leader.Kill()
	fleet.finish(t)
	balance(t, kafka.Addrs(), &fleet.ledger, true, load)
	fleet.stayed(t)
	t.Run("too few replicas", func(t *testing.T) { tooFewReplicas(t, kafka, leader) })
}

// P1: a topic demands three replicas in sync, and one broker is dead. Nothing is acknowledged until it is back.
func tooFewReplicas(t *testing.T, kafka *harness.Kafka, dead *harness.Broker) {
	l := gateway(t, kafka, loadRoutes("scarce", "ack: kafka"))
	refused(t, kafka, "probe")
	fleet := launch(t, 5, 40, func(int) string { return l.Addr(0) })
	must(t, fleet.pinged(deadline(t), 5))
	refused(t, kafka, "probe")
	if sent, acked, _ := fleet.ledger.Counts(); sent == 0 || acked > 0 {
		t.Errorf("%d of %d were acknowledged without enough replicas", acked, sent)
	}
	must(t, dead.Restart(deadline(t)))
	fleet.finish(t)
	balance(t, kafka.Addrs(), &fleet.ledger, true, "scarce")
	fleet.stayed(t)
}

// refused waits until Kafka refuses records of every partition of a topic for want of replicas in sync.
func refused(t *testing.T, kafka *harness.Kafka, topic string) {
	t.Helper()
	client, err := harness.Client(kafka.Addrs(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite(), kgo.RecordRetries(1))
	must(t, err)
	defer client.Close()
	ctx := deadline(t)
	for partition := range int32(6) {
		must(t, harness.Until(ctx, func() error {
			err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition}).FirstErr()
			if !errors.Is(err, kerr.NotEnoughReplicas) && !errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
				return fmt.Errorf("partition %d: Kafka says %v", partition, err)
			}
			return nil
		}))
	}
}

// Kafka is away when Linkspan starts. Devices connect and publish, wait, and have their acknowledgements when it comes.
func TestKafkaComesLater(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	load := topic(t, kafka, "load", 6)
	kafka.Brokers[0].Kill()
	ports, err := harness.Ports(1)
	must(t, err)
	l := launchLinkspan(t, gatewayConfig(kafka.Addrs(), ports[0], loadRoutes(load, "ack: kafka")))
	fleet := launch(t, 5, 100, func(int) string { return harness.Loopback(ports[0]) })
	must(t, fleet.pinged(deadline(t), 3))
	must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusServiceUnavailable) }))
	if _, acked, _ := fleet.ledger.Counts(); acked > 0 {
		t.Errorf("%d were acknowledged without Kafka", acked)
	}
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	fleet.finish(t)
	balance(t, kafka.Addrs(), &fleet.ledger, false, load)
	fleet.stayed(t)
}
