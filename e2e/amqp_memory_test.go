package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// bounded fails the test if a process has ever had more than that many megabytes of resident memory.
func bounded(t *testing.T, l *harness.Linkspan, megabytes int64) {
	t.Helper()
	peak, err := l.Peak()
	must(t, err)
	t.Logf("at most %d MB of resident memory", peak>>20)
	if peak>>20 > megabytes {
		t.Errorf("at most %d MB are expected", megabytes)
	}
}

// P6, AKB-A10: a topic of 100 MB, a twentieth of it on the wire, and receivers that give no credit, and others that give credit for all of it and do not read: their process is
// stopped, and then killed. The memory of Linkspan is bounded, another receiver gets all of it meanwhile, and senders go on. The groups of those who took nothing
// are where they were.
func TestAMQPMemory_AKB_A10(t *testing.T) {
	t.Parallel()
	const devices, count, size, groups = 10, 1000, 10_000, 4
	from, aside := topic(t, world.kafka, "amqp-plenty", 3), topic(t, world.kafka, "amqp-aside", 1)
	plenty(t, from, devices, count, size)
	l := start(t, 1, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s], consumer: {max_in_flight_bytes: 16777216}}\nendpoints: {apps: {listen: \"amqp://%s\"}}\n", strings.Join(world.kafka.Addrs(), ", "), harness.Loopback(p[0]))
	})
	url := func() string { return "amqp://" + l.Addr(0) }

	var idle []harness.Link
	stuck, err := newDriver("rhea that is stopped", rhea())
	must(t, err)
	t.Cleanup(stuck.Kill)
	for i := range groups {
		p := meet(t, peerMade("go-amqp"), harness.PeerOptions{URL: url()})
		idle = append(idle, attach(t, p, harness.LinkOptions{Address: group(from, fmt.Sprint("idle-", i)), Receiver: true}))
		stalls, err := stuck.Peer(deadline(t), harness.PeerOptions{URL: url(), Container: fmt.Sprint("stuck ", i)})
		must(t, err)
		receiver(t, stalls, group(from, fmt.Sprint("stuck-", i)), devices*count)
	}
	must(t, stuck.Signal(syscall.SIGSTOP))

	s := launchSenders(t, 2, 0, &harness.AMQPPublisher{URL: url, Address: aside, Pace: 5 * time.Millisecond})
	collectFrom(t, group(from, "all"), url).arrived(t, devices*count)
	s.goOn(t, 100)
	bounded(t, l, 400)
	close(s.enough)
	s.wait()
	balance(t, world.kafka.Addrs(), &s.ledger, false, aside)

	stuck.Kill()
	for i, r := range idle {
		if d, err := r.Next(ended(t)); err == nil {
			t.Fatalf("%x came without credit", d.Tag)
		}
		flow(t, r, 1)
		again := receiver(t, meet(t, peerMade("go-amqp"), harness.PeerOptions{URL: url()}), group(from, fmt.Sprint("stuck-", i)), 1)
		for _, r := range []harness.Link{r, again} {
			if at := annotation(t, came(t, r).Payload, "x-opt-bridge.offset"); at != "long 0" {
				t.Errorf("the first message is that of offset %s", at)
			}
		}
	}
}

// plenty fills a topic with numbered messages of that size, which compress well.
func plenty(t *testing.T, topic string, devices int, count uint64, size int) {
	t.Helper()
	client, ctx := producer(t, world.kafka), deadline(t)
	failed := make(chan error, 1)
	for n := uint64(1); n <= count; n++ {
		for _, device := range names("dev", devices) {
			r := &kgo.Record{Topic: topic, Key: []byte(device), Value: harness.Payload(device, n, size)}
			client.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			})
		}
	}
	must(t, client.Flush(ctx))
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
}

// P1, P3, P6, SPK-A5, AKB-A3: Kafka is stopped while senders have 150 MB to send, and one many small messages. Nobody has more under way than there was
// credit for, which is used up; the memory of Linkspan is bounded, and all connections live. When Kafka goes on, all is accepted, in order, once.
func TestAMQPBackPressure_SPK_A5(t *testing.T) {
	t.Parallel()
	const credit = 200
	kafka := startKafka(t, 1)
	in, small := topic(t, kafka, "amqp-large", 3), topic(t, kafka, "amqp-small", 1)
	l := start(t, 1, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s], producer: {max_buffered_bytes: 16777216}}\nendpoints: {apps: {listen: \"amqp://%s\", credit: %d}}\nspool: {dir: \"off\"}\n",
			strings.Join(kafka.Addrs(), ", "), harness.Loopback(p[0]), credit)
	})
	url := func() string { return "amqp://" + l.Addr(0) }
	few := launchSenders(t, 1, 0, &harness.AMQPPublisher{URL: url, Address: small, Window: 10_000, Pace: time.Millisecond})
	many := launchSenders(t, 10, 300, &harness.AMQPPublisher{URL: url, Address: in, Window: 10_000, Size: 50_000})
	few.accepted(t, 100)
	many.accepted(t, 300)
	must(t, kafka.Brokers[0].Freeze())
	all := append(many.all, few.all...)
	must(t, harness.Until(deadline(t), func() error {
		if n := few.all[0].Unsettled(); n < credit/2 { // it is given anew by halves
			return fmt.Errorf("%d messages are under way", n)
		}
		return nil
	}))
	says503(t, l)
	for _, p := range all { // one more may wait for credit
		if n := p.Unsettled(); n > credit+1 {
			t.Errorf("%s has %d messages under way", p.Name, n)
		}
	}
	bounded(t, l, 180)
	must(t, kafka.Brokers[0].Thaw())
	close(few.enough)
	few.wait()
	many.wait()
	bounded(t, l, 180)
	balance(t, kafka.Addrs(), &few.ledger, false, small)
	balance(t, kafka.Addrs(), &many.ledger, false, in)
	for _, p := range all {
		if n := p.Connections(); n != 1 {
			t.Errorf("%s has connected %d times", p.Name, n)
		}
	}
}
