package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/e2e/harness"
)

// amqpGateway starts Linkspan with one AMQP listener. more is YAML of further sections.
func amqpGateway(t *testing.T, brokers []string, more string) *harness.Linkspan {
	t.Helper()
	return start(t, 1, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s], consumer: {session_timeout: 6s}}\nendpoints: {apps: {listen: \"amqp://%s\"}}\n%s", strings.Join(brokers, ", "), harness.Loopback(p[0]), more)
	})
}

// senders are AMQP publishers that run.
type senders struct {
	ledger harness.Ledger
	all    []*harness.AMQPPublisher
	wait   func() // until all is accepted
}

// launchSenders starts n of them, which send count messages each.
func launchSenders(t *testing.T, n int, count uint64, url func() string, address string) *senders {
	t.Helper()
	s := &senders{}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	errs := make([]error, n)
	for i, name := range names("app", n) {
		p := &harness.AMQPPublisher{URL: url, Name: name, Address: address, Count: count, Window: 100, Ledger: &s.ledger}
		s.all = append(s.all, p)
		running.Go(func() { errs[i] = p.Run(ctx) })
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	s.wait = func() {
		t.Helper()
		give := context.AfterFunc(deadline(t), stop)
		running.Wait()
		give()
		must(t, errors.Join(errs...))
	}
	return s
}

// accepted waits until so many messages are accepted.
func (s *senders) accepted(t *testing.T, n int) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		if _, acked, _ := s.ledger.Counts(); acked < n {
			return fmt.Errorf("%d of %d accepted", acked, n)
		}
		return nil
	}))
}

// P1, P3, P5, AKB-A3: Linkspan is killed under load, twice; what was accepted is in Kafka, that of each sender in order.
func TestAMQPKilled_AKB_A3(t *testing.T) {
	t.Parallel()
	in := topic(t, world.kafka, "amqp-killed", 6)
	l := amqpGateway(t, world.kafka.Addrs(), "")
	s := launchSenders(t, 10, 3000, func() string { return "amqp://" + l.Addr(0) }, in)
	for _, n := range []int{5000, 15_000} {
		s.accepted(t, n)
		l.Kill()
		must(t, l.Start(deadline(t)))
	}
	s.wait()
	balance(t, world.kafka.Addrs(), &s.ledger, true, in)
}

// P8: SIGTERM under load. What Linkspan has taken it stores and accepts; the rest is released, and sent again; the exit code is 0.
func TestAMQPStopped(t *testing.T) {
	t.Parallel()
	in := topic(t, world.kafka, "amqp-stopped", 6)
	l := amqpGateway(t, world.kafka.Addrs(), "")
	s := launchSenders(t, 10, 3000, func() string { return "amqp://" + l.Addr(0) }, in)
	s.accepted(t, 8000)
	code, err := l.Stop(deadline(t))
	must(t, err)
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	must(t, l.Start(deadline(t)))
	s.wait()
	balance(t, world.kafka.Addrs(), &s.ledger, true, in)
}

// P1, P3, AKB-A3: Kafka is killed under load and comes back, with no spool and with one. The senders notice nothing but a pause: their
// connections live, and there are no duplicates. Receivers get all, too, in order.
func TestAMQPKafkaKilled_AKB_A3(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	in := topic(t, kafka, "amqp-kafka-killed", 4)
	l := amqpGateway(t, kafka.Addrs(), "spool: {dir: \"off\"}\n")
	r := collectFrom(t, func() string { return "amqp://" + l.Addr(0) }, group(in, "g"))
	s := launchSenders(t, 10, 2000, func() string { return "amqp://" + l.Addr(0) }, in)
	s.accepted(t, 5000)
	kafka.Brokers[0].Kill()
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	s.wait()
	balance(t, kafka.Addrs(), &s.ledger, false, in)
	for _, p := range s.all {
		if p.Connections() != 1 {
			t.Errorf("%s has connected %d times", p.Name, p.Connections())
		}
	}
	r.all(t, &s.ledger)
}

// P4, P5, AKB-A8: Linkspan is killed while receivers work, twice: what they had not accepted comes again, nothing is left out, and what comes
// for the first time comes in order.
func TestAMQPReceiversKilled_AKB_A8(t *testing.T) {
	t.Parallel()
	in := topic(t, world.kafka, "amqp-receivers", 4)
	l := amqpGateway(t, world.kafka.Addrs(), "")
	url := func() string { return "amqp://" + l.Addr(0) }
	r := collectFrom(t, url, group(in, "g"))
	s := launchSenders(t, 5, 4000, url, in)
	for _, n := range []int{4000, 12_000} {
		r.arrived(t, n)
		l.Kill()
		must(t, l.Start(deadline(t)))
	}
	s.wait()
	r.all(t, &s.ledger)
}

// A collector is a receiver that accepts what comes, and connects again when its connection ends.
type collector struct {
	mu     sync.Mutex
	seen   map[string]uint64 // highest number of each sender
	first  int               // messages that came for the first time
	broken error
}

// collectFrom starts one.
func collectFrom(t *testing.T, url func() string, address string) *collector {
	t.Helper()
	c := &collector{seen: map[string]uint64{}}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			if err := c.connection(ctx, url(), address); err == nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return c
}

// connection receives until its connection ends: an error. nil: what came is wrong.
func (c *collector) connection(ctx context.Context, url, address string) error {
	p, err := peerMade("go-amqp").Dial(ctx, harness.PeerOptions{URL: url, Container: "collector"})
	if err != nil {
		return err
	}
	defer p.Drop()
	r, err := p.Attach(ctx, harness.LinkOptions{Address: address, Receiver: true})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if n%100 == 0 {
			if err := r.Flow(ctx, 100, false); err != nil {
				return err
			}
		}
		d, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := c.note(d.Payload); err != nil {
			return nil
		}
		if err := r.Settle(ctx, d, harness.Outcome{State: harness.Accepted}); err != nil {
			return err
		}
	}
}

// note notes a message: each is the next of its sender, or has come before.
func (c *collector) note(message []byte) error {
	body, err := harness.Body(message)
	var name string
	var n uint64
	if err == nil {
		name, n, err = harness.ParsePayload(body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.seen[name]; err == nil && n > last+1 {
		err = fmt.Errorf("%s: message %d came after %d", name, n, last)
	}
	if err != nil {
		c.broken = err
		return err
	}
	if n > c.seen[name] {
		c.seen[name] = n
		c.first++
	}
	return nil
}

// arrived waits until n messages have come.
func (c *collector) arrived(t *testing.T, n int) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.broken != nil {
			return harness.Final(c.broken)
		}
		if c.first < n {
			return fmt.Errorf("%d of %d have come", c.first, n)
		}
		return nil
	}))
}

// all waits until all that was accepted has come.
func (c *collector) all(t *testing.T, ledger *harness.Ledger) {
	t.Helper()
	_, acked, _ := ledger.Counts()
	c.arrived(t, acked)
}
