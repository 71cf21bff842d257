package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// killed: P5. Eight Linkspans are killed 200 times in all, at random instants: while they take over what Kafka does not take any more, while
// Kafka is away, as they start, and while they drain. Each is started again within the outage.
func killed(t *testing.T) {
	t.Parallel()
	const sites, outages = 8, 5
	var all []func() error
	var stages []*stage
	for i := range uint64(sites) {
		via := network(t)
		s := newStage(t, plan{kafka: world.kafka, via: via})
		s.name = "kill -9 of eight Linkspans, while Kafka is away and while they drain"
		stages = append(stages, s)
		chance := rand.New(rand.NewPCG(i, 0))
		all = append(all, func() error {
			for range outages {
				if err := s.dies(deadline(t), via, chance); err != nil {
					return err
				}
			}
			return nil
		})
	}
	together(t, all...)
	kills := 0
	for _, s := range stages {
		s.finish(t)
		kills += s.kills
	}
	if kills != 200 {
		t.Errorf("%d kills", kills)
	}
}

// dies goes through an outage, and is killed five times.
func (s *stage) dies(ctx context.Context, via harness.Network, chance *rand.Rand) error {
	upTo := func(d time.Duration) time.Duration { return time.Duration(chance.Int64N(int64(d))) }
	s.begins()
	via.Refuse()
	if err := s.dieAfter(ctx, upTo(3*time.Second)); err != nil { // before, while and after the spool takes over
		return err
	}
	if chance.IntN(4) > 0 {
		if err := s.more(ctx, 1); err != nil {
			return err
		}
	}
	if err := s.dieAfter(ctx, upTo(time.Second)); err != nil {
		return err
	}
	if err := s.more(ctx, 500); err != nil {
		return err
	}
	via.Throttle(300_000) // it takes a while to drain
	if err := via.Accept(); err != nil {
		return err
	}
	for range 3 {
		if err := s.dieAfter(ctx, upTo(3*time.Second)); err != nil {
			return err
		}
	}
	if err := via.Heal(); err != nil {
		return err
	}
	return s.recovers(ctx)
}

// dieAfter kills Linkspan after a while, and starts it again.
func (s *stage) dieAfter(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
	case <-s.Done():
		return fmt.Errorf("%s: Linkspan ended by itself:\n%s", s.name, s.Log())
	case <-ctx.Done():
		return ctx.Err()
	}
	s.Kill()
	s.kills++
	return s.Launch()
}

// more waits until n more messages are acknowledged, and Linkspan lives.
func (s *stage) more(ctx context.Context, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.Done():
			cancel(fmt.Errorf("%s: Linkspan ended by itself:\n%s", s.name, s.Log()))
		case <-ctx.Done():
		}
	}()
	if err := s.fleet.more(ctx, n); err != nil {
		return fmt.Errorf("%w: %w", err, context.Cause(ctx))
	}
	return nil
}

// P5, KAL-A10, CON-A4: one Linkspan behind each make of broker is killed under load: while Kafka is there, while it is away, as it starts without
// Kafka, and while it drains. All that the brokers acknowledged arrives, in order.
func TestKilledBehind_KAL_A10_CON_A4(t *testing.T) {
	t.Parallel()
	for _, b := range berths {
		if b.version == "auto" && b.scheme == "mqtt" {
			t.Run(b.site, func(t *testing.T) {
				t.Parallel()
				b.killed(t)
			})
		}
	}
}

func (b berth) killed(t *testing.T) {
	site, via := sharedSite(t, b.site), network(t)
	up := topic(t, world.kafka, "behind", 3) // the prefix of this test's topics, too
	c := newCrossing(t, world.kafka, fmt.Sprintf("routes:\n  - {from: \"mqtt:%[1]s/{device}\", to: \"kafka:%[1]s\", key: \"{device}\"}\n", up),
		dialTo("site", site.URL("mqtt"), "client_id: "+up, fmt.Sprintf("qos: %d", b.grantQoS), "reconnect: {max: 1s}"))
	c.kafka, c.alone = via.Addrs(), true
	l := c.member(t)
	connected(t, l, "site")

	var ledger harness.Ledger
	land(t, world.kafka, &ledger, up)
	enough := make(chan struct{})
	var all []*harness.Publisher
	for i, name := range names(b.site, 4) {
		all = append(all, &harness.Publisher{Addr: site.Addr, Client: name, Topic: up + "/" + name, QoS: min(1+byte(i%2), b.publishQoS), Enough: enough,
			Window: 10, Pace: 10 * time.Millisecond, Released: true, Ledger: &ledger})
		if b.site == "artemis" { // it acknowledges in an order of its own
			all[i].Window = 1
		}
	}
	wait := publishing(t, all...)
	again := func() {
		t.Helper()
		l.Kill()
		must(t, l.Launch())
	}
	arrived(t, &ledger, 200)
	again()
	arrived(t, &ledger, 400)
	via.Refuse()
	reads(t, l, spoolDepth, atLeast(100))
	again()
	reads(t, l, spoolDepth, atLeast(200))
	again()
	reads(t, l, spoolDepth, atLeast(300))
	via.Throttle(100_000)
	must(t, via.Accept())
	_, _, before := ledger.Counts()
	arrived(t, &ledger, before+50)
	again()
	must(t, via.Heal())
	close(enough)
	wait()
	if b.site == "artemis" { // it hands over what was not acknowledged in an order of its own, to any subscriber
		complete(t, &ledger)
		t.Log(ledger.Report())
		return
	}
	settled(t, &ledger, true)
}
