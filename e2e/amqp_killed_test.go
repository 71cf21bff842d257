package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// amqpGateway starts Linkspan with one AMQP listener. more is YAML of further endpoints and sections.
func amqpGateway(t *testing.T, brokers []string, more string) *harness.Linkspan {
	t.Helper()
	return start(t, 1, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s], consumer: {session_timeout: 6s}}\nendpoints:\n  apps: {listen: \"amqp://%s\"}\n%s",
			strings.Join(brokers, ", "), harness.Loopback(p[0]), more)
	})
}

// senders are AMQP publishers that run.
type senders struct {
	ledger harness.Ledger
	all    []*harness.AMQPPublisher
	enough chan struct{} // closed: those without a count end
	wait   func()        // until all is accepted
}

// launchSenders starts n of them, which send count messages each; 0: until it is enough. like says the rest of them.
func launchSenders(t *testing.T, n int, count uint64, like *harness.AMQPPublisher) *senders {
	t.Helper()
	s := &senders{enough: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	errs := make([]error, n)
	for i, name := range names("app", n) {
		p := &harness.AMQPPublisher{URL: like.URL, Name: name, Address: like.Address, Count: count, Enough: s.enough, Window: cmp.Or(like.Window, 100),
			Size: like.Size, Pace: like.Pace, Ledger: &s.ledger}
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

// goOn waits until n messages more of each are accepted.
func (s *senders) goOn(t *testing.T, n uint64) {
	t.Helper()
	for _, p := range s.all {
		before := p.Accepted()
		must(t, harness.Until(deadline(t), func() error {
			if got := p.Accepted() - before; got < n {
				return fmt.Errorf("%s: %d of %d accepted", p.Name, got, n)
			}
			return nil
		}))
	}
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
	s := launchSenders(t, 10, 3000, &harness.AMQPPublisher{URL: func() string { return "amqp://" + l.Addr(0) }, Address: in})
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
	s := launchSenders(t, 10, 3000, &harness.AMQPPublisher{URL: func() string { return "amqp://" + l.Addr(0) }, Address: in})
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

// P1, P3, AKB-A3, SPK-A5: Kafka is killed under load and comes back, with no spool. The senders notice nothing but a pause: their
// connections live, and there are no duplicates. Receivers get all, too, in order; and what goes down to a broker's queue, and from there up to Kafka
// again, gets there.
func TestAMQPKafkaKilled_AKB_A3(t *testing.T) {
	t.Parallel()
	kafka := startKafka(t, 1)
	in, down, up := topic(t, kafka, "amqp-kafka-killed", 4), topic(t, kafka, "amqp-down", 3), topic(t, kafka, "amqp-up", 1)
	l := amqpGateway(t, kafka.Addrs(), strings.NewReplacer("DOWN", down, "UP", up, "SITE", sharedSite(t, "artemis").URL("amqp")).Replace(`  quay: {dial: "SITE"}
routes:
  - {from: "apps:{address...}", to: "kafka:{address}", names: plain}
  - {from: "kafka:DOWN", to: "quay:queue://queue.DOWN", qos: 1}
  - {from: "quay:queue://queue.DOWN", to: "kafka:UP"}
spool: {dir: "off"}
`))
	connected(t, l, "quay")
	url := func() string { return "amqp://" + l.Addr(0) }
	r := collectFrom(t, group(in, "g"), url)
	s := launchSenders(t, 10, 2000, &harness.AMQPPublisher{URL: url, Address: in})
	var ledger harness.Ledger
	ashore(t, kafka, &ledger, up)
	wait := loadKafka(t, kafka, &ledger, down, kafkaLoad{devices: 6, count: 200})
	s.accepted(t, 5000)
	arrived(t, &ledger, 100)
	kafka.Brokers[0].Kill()
	must(t, kafka.Brokers[0].Restart(deadline(t)))
	s.wait()
	wait()
	balance(t, kafka.Addrs(), &s.ledger, false, in)
	for _, p := range s.all {
		if p.Connections() != 1 {
			t.Errorf("%s has connected %d times", p.Name, p.Connections())
		}
	}
	r.all(t, &s.ledger)
	settled(t, &ledger, true)
}

// P1, P4, P5, AKB-A8: clients are killed under load. What a sender has been told of as accepted is in Kafka, in order; what a receiver had not
// accepted comes again to the next one, in order, with all that follows.
func TestAMQPClientsKilled_AKB_A8(t *testing.T) {
	t.Parallel()
	const enough = 500
	q, in := sharedQuay(t), topic(t, world.kafka, "amqp-clients-killed", 1)
	sends, err := newDriver("rhea that is killed", rhea())
	must(t, err)
	t.Cleanup(sends.Kill)
	p, err := sends.Peer(deadline(t), harness.PeerOptions{URL: q.url(byAMQP), Container: "killed sender"})
	must(t, err)
	s := sender(t, p, in)
	var ledger harness.Ledger
	receipts := make(chan *harness.Receipt, 100)
	var sending sync.WaitGroup
	sending.Go(func() {
		defer close(receipts)
		for n := uint64(1); ; n++ {
			ledger.Sent("killed", n)
			receipt, err := s.Send(deadline(t), annotated(string(harness.Payload("killed", n, 100)), "x-opt-partition-key", harness.String("killed")))
			if err != nil {
				return
			}
			receipts <- receipt
		}
	})
	for n := uint64(1); ; n++ {
		receipt, more := <-receipts
		if !more {
			break
		}
		if o, err := receipt.Outcome(deadline(t)); err == nil && o.State == harness.Accepted {
			ledger.Acked("killed", n)
		}
		if n == enough {
			sends.Kill()
		}
	}
	sending.Wait()
	report := balance(t, world.kafka.Addrs(), &ledger, false, in)
	if report.Acked < enough {
		t.Fatalf("%d were accepted", report.Acked)
	}

	takes, err := newDriver("proton that is killed", exec.Command(world.parts.Proton, client("proton_python.py")))
	must(t, err)
	t.Cleanup(takes.Kill)
	p, err = takes.Peer(deadline(t), harness.PeerOptions{URL: q.url(byAMQP), Container: "killed receiver"})
	must(t, err)
	r, next := receiver(t, p, group(in, "g"), 10*enough), uint64(1)
	take := func() (n uint64) {
		d := came(t, r)
		body, err := harness.Body(d.Payload)
		must(t, err)
		_, n, err = harness.ParsePayload(body)
		must(t, err)
		settle(t, r, d, harness.Accepted)
		return n
	}
	for ; next <= enough/2; next++ {
		if n := take(); n != next {
			t.Fatalf("message %d came in place of %d", n, next)
		}
	}
	takes.Kill()
	r = receiver(t, q.meet(t, peerMade("go-amqp")), group(in, "g"), 10*enough)
	first := take()
	if first > next {
		t.Fatalf("message %d is the first that comes again, %d had come", first, next-1)
	}
	for n := first + 1; n <= uint64(report.Arrived); n++ {
		if got := take(); got != n {
			t.Fatalf("message %d came in place of %d", got, n)
		}
	}
}

// P4, P5, AKB-A8: Linkspan is killed while receivers work, twice: what they had not accepted comes again, nothing is left out, and what comes
// for the first time comes in order.
func TestAMQPReceiversKilled_AKB_A8(t *testing.T) {
	t.Parallel()
	in := topic(t, world.kafka, "amqp-receivers", 4)
	l := amqpGateway(t, world.kafka.Addrs(), "")
	url := func() string { return "amqp://" + l.Addr(0) }
	r := collectFrom(t, group(in, "g"), url)
	s := launchSenders(t, 5, 4000, &harness.AMQPPublisher{URL: url, Address: in})
	for _, n := range []int{4000, 12_000} {
		r.arrived(t, n)
		l.Kill()
		must(t, l.Start(deadline(t)))
	}
	s.wait()
	r.all(t, &s.ledger)
}

// A collector is receivers of one group that accept what comes, and connect again when their connections end. What one of them gets is noted
// before it is accepted, so that the order in which messages come for the first time is that of their partition, whoever gets them.
type collector struct {
	mu     sync.Mutex
	seen   map[string]uint64 // highest number of each sender
	by     []int             // messages of each receiver
	first  int               // messages that came for the first time
	broken error
}

// collectFrom starts one receiver for each URL.
func collectFrom(t *testing.T, address string, urls ...func() string) *collector {
	t.Helper()
	c := &collector{seen: map[string]uint64{}, by: make([]int, len(urls))}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for i, url := range urls {
		running.Go(func() {
			for ctx.Err() == nil {
				if err := c.connection(ctx, i, url(), address); err == nil {
					return
				}
				select { // the other side may be down: no busy loop
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return c
}

// connection receives until its connection ends: an error. nil: what came is wrong.
func (c *collector) connection(ctx context.Context, i int, url, address string) error {
	p, err := peerMade("go-amqp").Dial(ctx, harness.PeerOptions{URL: url, Container: fmt.Sprint("collector ", topics.Add(1))})
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
		if err := c.note(i, d.Payload); err != nil {
			return nil
		}
		if err := r.Settle(ctx, d, harness.Outcome{State: harness.Accepted}); err != nil {
			return err
		}
	}
}

// note notes a message: each is the next of its sender, or has come before.
func (c *collector) note(i int, message []byte) error {
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
	c.by[i]++
	if n > c.seen[name] {
		c.seen[name] = n
		c.first++
	}
	return nil
}

// until waits for a condition, which is asked under the lock.
func (c *collector) until(t *testing.T, cond func() error) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.broken != nil {
			return harness.Final(c.broken)
		}
		return cond()
	}))
}

// arrived waits until n messages have come.
func (c *collector) arrived(t *testing.T, n int) {
	t.Helper()
	c.until(t, func() error {
		if c.first < n {
			return fmt.Errorf("%d of %d have come", c.first, n)
		}
		return nil
	})
}

// more waits until these receivers have n messages more, together.
func (c *collector) more(t *testing.T, n int, receivers ...int) {
	t.Helper()
	c.mu.Lock()
	before := slices.Clone(c.by)
	c.mu.Unlock()
	c.until(t, func() error {
		got := 0
		for _, i := range receivers {
			got += c.by[i] - before[i]
		}
		if got < n {
			return fmt.Errorf("receivers %v have got %d of %d", receivers, got, n)
		}
		return nil
	})
}

// goOn waits until n messages more of each sender have come.
func (c *collector) goOn(t *testing.T, n uint64) {
	t.Helper()
	c.mu.Lock()
	before := maps.Clone(c.seen)
	c.mu.Unlock()
	c.until(t, func() error {
		for name, had := range before {
			if got := c.seen[name] - had; got < n {
				return fmt.Errorf("%d of %d have come from %s", got, n, name)
			}
		}
		return nil
	})
}

// all waits until all that was accepted has come.
func (c *collector) all(t *testing.T, ledger *harness.Ledger) {
	t.Helper()
	_, acked, _ := ledger.Counts()
	c.arrived(t, acked)
}
