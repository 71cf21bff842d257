package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A plant is one broker with a Linkspan beside it, each side behind a proxy, and load both ways.
type plant struct {
	*crossing
	site       *harness.Site
	linkspan   *harness.Linkspan
	mqtt       *harness.Proxy // between Linkspan and the broker
	up, down   harness.Ledger
	uplink     string // Kafka topics
	downlink   string
	downlinked []listener // who gets commands
}

// newPlant starts one that reaches the shared Kafka at those addresses, and acknowledges as ack says. options are those of the client endpoint.
func newPlant(t *testing.T, kafka []string, ack string, site *harness.Site, options ...string) *plant {
	t.Helper()
	p := &plant{site: site, mqtt: throughProxy(t, site.Addr())}
	p.uplink, p.downlink = topic(t, world.kafka, "plant-up", 3), topic(t, world.kafka, "plant-down", 3)
	p.crossing = newCrossing(t, world.kafka, loadRoutes(p.uplink, "ack: "+ack)+fmt.Sprintf("  - {from: \"kafka:%s\", to: \"mqtt:devices/{key}/commands\", qos: 2}\n", p.downlink),
		dialTo("plant", "mqtt://"+p.mqtt.Addr(), append([]string{"qos: 2", "reconnect: {max: 1s}"}, options...)...))
	p.crossing.kafka = kafka
	p.linkspan = p.member(t)
	connected(t, p.linkspan, "plant")
	land(t, world.kafka, &p.up, p.uplink)
	return p
}

// traffic publishes for four devices, n each, of which half use QoS 2, and has as many commands sent to two others. It
// returns a function that waits until the broker and Kafka have acknowledged all of them.
func (p *plant) traffic(t *testing.T, n int, pace time.Duration) (wait func()) {
	t.Helper()
	for i, name := range names("subscriber", 2) {
		subscriber(t, p.site.Addr, name, byte(1+i), &p.down)
		p.downlinked = append(p.downlinked, listener{name: name})
	}
	first := publishers(t, &p.up, 1, n, 10, pace, p.site.Addr, names("one", 2)...)
	second := publishers(t, &p.up, 2, n, 10, pace, p.site.Addr, names("two", 2)...)
	commands := make(chan error, 1)
	client := producer(t, world.kafka)
	ctx := deadline(t)
	go func() { commands <- command(ctx, client, &p.down, p.downlink, p.downlinked, n, pace) }()
	return func() {
		t.Helper()
		first()
		second()
		must(t, <-commands)
	}
}

// KAL-A14, CON-A8: the network between Linkspan and a broker fails in every way there is, under load: connections are reset
// again and again, slow, swallowed for longer than the keep-alive, refused. Publishers stay connected to their broker and go on. All
// that it acknowledged arrives, in order.
func TestNetworkToBroker_CON_A8(t *testing.T) {
	t.Parallel()
	const n = 300
	p := newPlant(t, world.kafka.Addrs(), "kafka-else-spool", ownSite(t, "mosquitto", ""), "keep_alive: 2s")
	wait := p.traffic(t, n, 10*time.Millisecond)

	arrived(t, &p.up, 100)
	ctx, stop := context.WithCancel(deadline(t))
	flapping := p.mqtt.Total()
	flapped := make(chan error, 1)
	go func() { flapped <- harness.Network{p.mqtt}.Flap(ctx, 100*time.Millisecond) }()
	must(t, harness.Until(ctx, func() error {
		if got := p.mqtt.Total() - flapping; got < 4 {
			return fmt.Errorf("%d connections since", got)
		}
		return nil
	}))
	stop()
	must(t, <-flapped)
	p.mqtt.Delay(20 * time.Millisecond)
	p.mqtt.Throttle(50_000)
	arrived(t, &p.up, 400)
	p.mqtt.Heal()

	p.mqtt.BlackHole()
	swallowed := p.mqtt.Total()
	must(t, harness.Until(deadline(t), func() error { // it gives up, and tries anew
		if p.mqtt.Total() == swallowed {
			return fmt.Errorf("%d connections", swallowed)
		}
		return nil
	}))
	p.mqtt.Heal()
	arrived(t, &p.up, 600)

	p.mqtt.Refuse()
	wait() // all is acknowledged while Linkspan is away from the broker
	must(t, harness.Until(deadline(t), func() error { return ready(t, p.linkspan, http.StatusServiceUnavailable) }))
	must(t, p.mqtt.Accept())
	settled(t, &p.up, true) // neither side knows which acknowledgements have arrived when a connection breaks
	settled(t, &p.down, true)
}

// CON-A8: the broker is restarted, twice, under load. It keeps its sessions and what it has acknowledged.
func TestBrokerRestarted_CON_A8(t *testing.T) {
	t.Parallel()
	const n = 300
	p := newPlant(t, world.kafka.Addrs(), "kafka-else-spool", ownSite(t, "mosquitto", ""))
	wait := p.traffic(t, n, 10*time.Millisecond)
	for _, part := range []int{n, 2 * n} {
		arrived(t, &p.up, part)
		must(t, p.site.Restart(deadline(t)))
	}
	wait()
	settled(t, &p.up, true)
	settled(t, &p.down, true)
	if got := gauge(t, p.linkspan, "linkspan_client_resumed_sessions_total", "plant"); got < 2 {
		t.Errorf("the session was resumed %v times", got)
	}
}

// KAL-A10, P5: the broker is killed under load. ActiveMQ writes before it acknowledges.
func TestBrokerKilled(t *testing.T) {
	t.Parallel()
	untilShown(t, func() bool {
		const n = 200
		p := newPlant(t, world.kafka.Addrs(), "kafka-else-spool", ownSite(t, "activemq", ""))
		wait := p.traffic(t, n, 10*time.Millisecond)
		for _, part := range []int{n, 2 * n} {
			arrived(t, &p.up, part)
			p.site.Kill()
			must(t, p.site.Start(deadline(t)))
		}
		wait()
		return shows(t, p.site, &p.up, &p.down)
	})
}

// untilShown runs a test until it shows something, five times at most.
func untilShown(t *testing.T, test func() bool) {
	t.Helper()
	for range 5 {
		if test() {
			return
		}
	}
	t.Error("the broker removed messages of its own accord each time")
}

// shows waits until all that was acknowledged has arrived, and judges it. Now and then ActiveMQ, after a restart, takes a message that it reads back from
// its store for a duplicate, and removes it, sent or not. Then it may have lost one itself, and says so; if one is missing, nothing is shown: false.
func shows(t *testing.T, site *harness.Site, ledgers ...*harness.Ledger) bool {
	t.Helper()
	for _, l := range ledgers {
		var removed time.Time // since when it is known
		must(t, harness.Until(deadline(t), func() error {
			if removed.IsZero() && site.Said("duplicate from store") {
				removed = time.Now()
			}
			if missing := l.Missing(); missing > 0 && (removed.IsZero() || time.Since(removed) < 10*time.Second) {
				return fmt.Errorf("%d have not arrived", missing)
			}
			return nil
		}))
		if r := l.Report(); !removed.IsZero() && r.Err() != nil {
			t.Log("the broker took messages of its store for duplicates: ", r)
			return false
		}
		judge(t, l, true)
	}
	return true
}

// P6, CON-A4 as far as the broker keeps the backlog: Kafka is away for longer than the keep-alive and the session of the fleet's
// group. Linkspan stays connected to the broker, its pings are answered, and the broker keeps what it acknowledges meanwhile. All
// of it arrives, once.
func TestNetworkToKafka(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"one", "all"} {
		t.Run(mode, func(t *testing.T) {
			const n = 200
			kafka := network(t)
			p := newPlant(t, kafka.Addrs(), "kafka", ownSite(t, "mosquitto", ""), "keep_alive: 10s", "mode: "+mode)
			wait := p.traffic(t, n, 10*time.Millisecond)
			arrived(t, &p.up, n)
			kafka.BlackHole()
			must(t, harness.Until(deadline(t), func() error { return ready(t, p.linkspan, http.StatusServiceUnavailable) }))
			wait() // the broker acknowledges all the same
			p.pinged(t, 3)
			must(t, kafka.Heal())
			settled(t, &p.up, false)
			kafka.Cut()
			kafka.Delay(50 * time.Millisecond)
			settled(t, &p.down, true) // others may have had the partitions meanwhile
			must(t, harness.Until(deadline(t), func() error { return ready(t, p.linkspan, http.StatusOK) }))
			if got := p.mqtt.Total(); got != 1 {
				t.Errorf("Linkspan connected to the broker %d times", got)
			}
		})
	}
}

// pinged waits until n more pings, of two bytes each, have been answered.
func (p *plant) pinged(t *testing.T, n int) {
	t.Helper()
	before := gauge(t, p.linkspan, "linkspan_client_received_bytes_total", "plant")
	must(t, harness.Until(deadline(t), func() error {
		if got := gauge(t, p.linkspan, "linkspan_client_received_bytes_total", "plant") - before; got < float64(2*n) {
			return fmt.Errorf("%v bytes came from the broker", got)
		}
		return nil
	}))
}

// UNS-A11: at the start Kafka and one of two brokers are down. Linkspan says that it is not ready, and waits. The broker that is
// there is served when Kafka comes, the other when it comes itself.
func TestAllDownAtStart_UNS_A11(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	early, late := ownSite(t, "mosquitto", ""), ownSite(t, "mosquitto", "")
	up := topic(t, kafka, "up", 3)
	c := newCrossing(t, kafka, loadRoutes(up), dialTo("early", early.URL("mqtt")), dialTo("late", late.URL("mqtt"), "reconnect: {max: 1s}"))
	c.calm = true
	kafka.Brokers[0].Kill()
	late.Kill()
	var ledger harness.Ledger
	l := launchLinkspan(t, c.config())
	must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusServiceUnavailable) }))
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	connected(t, l, "early")
	land(t, kafka, &ledger, up)
	publishers(t, &ledger, 1, 20, 10, 0, early.Addr, "early")()
	settled(t, &ledger, false)
	must(t, late.Start(deadline(t)))
	connected(t, l, "late")
	publishers(t, &ledger, 1, 20, 10, 0, late.Addr, "late")()
	settled(t, &ledger, false)
	must(t, harness.Until(deadline(t), func() error { return ready(t, l, http.StatusOK) }))
}
