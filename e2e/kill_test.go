package e2e

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// P5, KAL-A10: Linkspan is killed under load, twice; what was acknowledged is in Kafka, in order.
func TestKilled_KAL_A10(t *testing.T) {
	t.Parallel()
	load := topic(t, world.kafka, "killed", 6)
	l := gateway(t, world.kafka, loadRoutes(load))
	fleet := launch(t, 20, 200, func(int) string { return l.Addr(0) })
	for _, part := range []float64{0.25, 0.6} {
		fleet.acked(t, part)
		l.Kill()
		must(t, l.Start(deadline(t)))
	}
	fleet.finish(t)
	balance(t, world.kafka.Addrs(), &fleet.ledger, true, load)
}

// P5, P7, KAL-A10: of three nodes that share nothing but Kafka one is killed, then another; their devices go to the next.
func TestNodesKilled_KAL_A10(t *testing.T) {
	t.Parallel()
	load := topic(t, world.kafka, "nodes-killed", 6)
	var nodes []*harness.Linkspan
	for range 3 {
		nodes = append(nodes, gateway(t, world.kafka, loadRoutes(load)))
	}
	var dials [32]atomic.Int64 // a device that has to connect again tries the next node
	fleet := launch(t, 18, 200, func(i int) string { return nodes[(int64(i)+dials[i].Add(1))%3].Addr(0) })
	fleet.acked(t, 0.25)
	nodes[0].Kill()
	fleet.acked(t, 0.6)
	nodes[1].Kill()
	fleet.finish(t)
	balance(t, world.kafka.Addrs(), &fleet.ledger, true, load)
}

// P8: SIGTERM under load. Linkspan stores and acknowledges what it has, and exits with 0. Nobody is killed, but a
// device may not have got its last acknowledgements, and sends those messages again.
func TestStopped(t *testing.T) {
	t.Parallel()
	load := topic(t, world.kafka, "stopped", 6)
	l := gateway(t, world.kafka, loadRoutes(load))
	fleet := launch(t, 20, 200, func(int) string { return l.Addr(0) })
	fleet.acked(t, 0.4)
	code, err := l.Stop(deadline(t))
	must(t, err)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	must(t, l.Start(deadline(t)))
	fleet.finish(t)
	balance(t, world.kafka.Addrs(), &fleet.ledger, true, load)
}

// P5: with the embedded broker, too, what was acknowledged before a kill is there after it.
func TestEmbeddedKilled(t *testing.T) {
	t.Parallel()
	l := start(t, 2, func(p []int) string {
		return fmt.Sprintf("kafka:\n  embedded: {dir: data, listen: %q}\nendpoints:\n  devices: {listen: \"mqtt://%s\"}\n%s",
			harness.Loopback(p[1]), harness.Loopback(p[0]), loadRoutes("load"))
	})
	fleet := launch(t, 20, 200, func(int) string { return l.Addr(0) })
	for _, part := range []float64{0.25, 0.6} {
		fleet.acked(t, part)
		l.Kill()
		must(t, l.Start(deadline(t)))
	}
	fleet.finish(t)
	balance(t, []string{l.Addr(1)}, &fleet.ledger, true, "load")
}
