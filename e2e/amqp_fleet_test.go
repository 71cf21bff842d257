package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// fleetOfGateways starts n processes of one fleet, each with an AMQP listener.
func fleetOfGateways(t *testing.T, brokers []string, n int) (all []*harness.Linkspan) {
	t.Helper()
	name := fmt.Sprintf("fleet-%d", topics.Add(1))
	for range n {
		all = append(all, amqpGateway(t, brokers, fmt.Sprintf("fleet: {name: %s, topic_prefix: \"_%[1]s.\", lanes: 4}\n", name)))
	}
	return all
}

// P1, P3, P4, P5, P7, AKB-A5, AKB-A8: receivers of one group on three processes share the partitions, while senders on all of them send. A
// process is killed: the others take its partitions over, and its senders go to them; it comes back and gets its share again; another one is killed for
// good. All that was accepted is received, and what comes for the first time comes in the order of its partition, whoever gets it.
func TestAMQPFleet_AKB_A5(t *testing.T) {
	t.Parallel()
	in := topic(t, world.kafka, "amqp-fleet", 9)
	fleet := fleetOfGateways(t, world.kafka.Addrs(), 3)
	var urls []func() string
	for i := range 6 { // two on each
		urls = append(urls, func() string { return "amqp://" + fleet[i/2].Addr(0) })
	}
	r := collectFrom(t, group(in, "g"), urls...)
	var turn atomic.Int64
	s := launchSenders(t, 30, 0, &harness.AMQPPublisher{Address: in, Pace: 15 * time.Millisecond, URL: func() string {
		return "amqp://" + fleet[turn.Add(1)%3].Addr(0)
	}})
	share := func(n int, processes ...int) {
		t.Helper()
		for _, p := range processes {
			r.more(t, n, 2*p, 2*p+1)
		}
	}
	share(100, 0, 1, 2)
	killed := time.Now()
	fleet[0].Kill()
	r.goOn(t, 50)
	t.Logf("messages of all partitions come again %v after the kill", time.Since(killed).Round(10*time.Millisecond))
	must(t, fleet[0].Start(deadline(t)))
	share(100, 0, 1, 2)
	fleet[1].Kill()
	share(100, 0, 2)
	r.goOn(t, 50)
	close(s.enough)
	s.wait()
	r.all(t, &s.ledger)
	balance(t, world.kafka.Addrs(), &s.ledger, true, in)
}

// P1, P3, P5, P7, SPK-A1, KAL-A10: two processes and one queue of a broker: one of them has the only connection, both ways. It is killed under load, and the other
// takes over; then that one, after the first is back. How long it takes is printed.
func TestAMQPTakeover_SPK_A1(t *testing.T) {
	t.Parallel()
	site := ownSite(t, "artemis", "")
	proxy := throughProxy(t, strings.TrimPrefix(site.URL("amqp"), "amqp://"))
	in, out := topic(t, world.kafka, "amqp-fleet-down", 3), topic(t, world.kafka, "amqp-fleet-up", 1)
	c := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"kafka:%s\", to: \"quay:queue://queue.load\", qos: 1}\n  - {from: \"quay:queue://queue.load\", to: \"kafka:%s\"}\n", in, out),
		dialTo("quay", "amqp://"+proxy.Addr()))
	c.lanes = 0
	both := c.members(t, 2)
	one := map[string]*harness.Proxy{"quay": proxy}
	held := holders(t, both, one)["quay"]
	var ledger harness.Ledger
	ashore(t, world.kafka, &ledger, out)
	enough := make(chan struct{})
	wait := loadKafka(t, world.kafka, &ledger, in, kafkaLoad{devices: 6, pace: 10 * time.Millisecond, enough: enough})
	for n := range 2 {
		arrived(t, &ledger, 300*(n+1))
		both[held].Kill()
		killed := time.Now()
		next := holders(t, both, one)["quay"]
		t.Logf("another has the connection %v after the kill", time.Since(killed).Round(10*time.Millisecond))
		if next == held {
			t.Error("the dead process holds the connection")
		}
		must(t, both[held].Start(deadline(t)))
		held = next
	}
	close(enough)
	wait()
	settled(t, &ledger, true)
	holders(t, both, one)
}
