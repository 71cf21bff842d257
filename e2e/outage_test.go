package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// P1, P2, P3, P5, CON-A4, CON-A5: Kafka goes away in every way there is, while devices publish all the time. They get their
// acknowledgements on the connections that they have, Linkspan says that it is degraded, and when Kafka is back all that was
// acknowledged gets there, in order, once.
func TestOutage_CON_A4_A5(t *testing.T) {
	t.Parallel()
	for name, fault := range networkFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			via := network(t)
			networkFails(t, plan{kafka: world.kafka, via: via}, via, fault)
		})
	}
	for name, fault := range diskFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fault(t)
		})
	}
	t.Run("one broker", oneBroker)
	t.Run("three brokers", threeBrokers)
	t.Run("killed", killed)
}

// networkFaults begin a fault of the network to Kafka, which ends when it heals, or ctx ends.
var networkFaults = map[string]func(ctx context.Context, n harness.Network) error{
	"refused":             func(_ context.Context, n harness.Network) error { n.Refuse(); return nil },
	"black-holed":         func(_ context.Context, n harness.Network) error { n.BlackHole(); return nil },
	"slow, 1 KB a second": func(_ context.Context, n harness.Network) error { n.Throttle(1000); return nil },
	"flapping every 2 s": func(ctx context.Context, n harness.Network) error {
		ctx, cancel := context.WithTimeout(ctx, max(outageLength, 10*time.Second))
		defer cancel()
		return n.Flap(ctx, 2*time.Second)
	},
}

func networkFails(t *testing.T, p plan, network harness.Network, fault func(context.Context, harness.Network) error) {
	s := newStage(t, p)
	ctx := deadline(t)
	s.begins()
	failing := make(chan error, 1)
	go func() { failing <- fault(ctx, network) }()
	must(t, s.buffers(ctx))
	must(t, s.lasts(ctx))
	must(t, <-failing)
	must(t, network.Heal())
	must(t, s.recovers(ctx))
	s.finish(t)
}

// oneBroker is what befalls a Kafka of a single broker.
func oneBroker(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	broker := kafka.Brokers[0]
	t.Run("restarted with its data", func(t *testing.T) {
		s := newStage(t, plan{kafka: kafka})
		ctx := deadline(t)
		s.begins()
		broker.Kill()
		must(t, s.buffers(ctx))
		must(t, s.lasts(ctx))
		must(t, broker.Restart(ctx))
		must(t, s.recovers(ctx))
		s.finish(t)
	})

	// What Kafka alone had is gone with its disk: nobody else has it. All else that was acknowledged the spool has, and it gets to the
	// Kafka that comes back.
	t.Run("restarted without its data", func(t *testing.T) {
		s := newStage(t, plan{kafka: kafka, via: kafka.Networks[0]})
		ctx := deadline(t)
		s.begins()
		kafka.Networks[0].Refuse()
		must(t, s.buffers(ctx))
		must(t, s.read(ctx))
		s.fleet.ledger.Gone()
		s.fleet.loose.Gone()
		broker.Kill()
		must(t, s.lasts(ctx))
		must(t, broker.Wipe(ctx))
		must(t, broker.Restart(ctx))
		must(t, s.create(ctx))
		must(t, kafka.Networks[0].Heal())
		must(t, s.recovers(ctx))
		s.finish(t)
	})
}

// threeBrokers is what befalls a Kafka of three, where each record is on two at least before it is acknowledged.
func threeBrokers(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 3)
	via := kafka.Networks[0]
	for name, fault := range networkFaults {
		t.Run(name, func(t *testing.T) { networkFails(t, plan{kafka: kafka, via: via}, via, fault) })
	}
	t.Run("one of three black-holed", func(t *testing.T) {
		networkFails(t, plan{kafka: kafka, via: via}, via[:1], networkFaults["black-holed"])
	})
	t.Run("leaders moved", func(t *testing.T) {
		s := newStage(t, plan{kafka: kafka, via: via})
		ctx := deadline(t)
		s.begins()
		for range 3 {
			must(t, harness.MoveLeaders(ctx, kafka.Addrs(), s.topic))
			must(t, s.fleet.more(ctx, 100))
		}
		must(t, s.lasts(ctx))
		must(t, s.recovers(ctx))
		s.finish(t)
	})
	t.Run("too few replicas in sync", func(t *testing.T) {
		s := newStage(t, plan{kafka: kafka, min: 3})
		ctx := deadline(t)
		s.begins()
		kafka.Broker(3).Kill()
		must(t, s.buffers(ctx))
		must(t, s.lasts(ctx))
		must(t, kafka.Broker(3).Restart(ctx))
		must(t, s.recovers(ctx))
		s.finish(t)
	})
	t.Run("one of three restarted without its data", func(t *testing.T) {
		s := newStage(t, plan{kafka: kafka})
		ctx := deadline(t)
		s.begins()
		broker := kafka.Broker(1)
		broker.Kill()
		must(t, broker.Wipe(ctx))
		must(t, s.fleet.more(ctx, 300))
		must(t, s.lasts(ctx))
		must(t, broker.Restart(ctx))
		must(t, harness.InSync(ctx, kafka.Addrs(), s.topic, 3))
		must(t, harness.MoveLeaders(ctx, kafka.Addrs(), s.topic)) // to where there was nothing, too
		must(t, s.fleet.more(ctx, 300))
		must(t, s.recovers(ctx))
		s.finish(t)
	})
}
