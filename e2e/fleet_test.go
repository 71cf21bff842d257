package e2e

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// loadRoutes carries the load of a fleet to a Kafka topic.
func loadRoutes(topic string) string {
	return fmt.Sprintf("routes:\n  - {from: \"mqtt:load/{device}\", to: \"kafka:%s\", key: \"{device}\"}\n", topic)
}

// A fleet is a number of devices that publish numbered messages at a bounded pace, each until all of its own are
// acknowledged. Every third uses QoS 2. Two are Eclipse Paho's, with one message in flight; the others pipeline.
type fleet struct {
	ledger  harness.Ledger
	devices []*harness.Publisher
	pahos   []*pahoPublisher
	total   int

	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// launch starts n pipelining devices with count messages each, and the two others with count/4. addr is asked before
// each connection of device i.
func launch(t *testing.T, n, count int, addr func(i int) string) *fleet {
	t.Helper()
	f := &fleet{}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	for i := range n {
		p := &harness.Publisher{
			Client: fmt.Sprintf("device-%02d", i), QoS: 1, Count: uint64(count), Window: 16, Pace: 10 * time.Millisecond,
			KeepAlive: 5 * time.Second, Addr: func() string { return addr(i) }, Ledger: &f.ledger,
		}
		if i%3 == 2 {
			p.QoS = 2
		}
		p.Topic = "load/" + p.Client
		f.devices = append(f.devices, p)
		f.total += count
		f.running.Go(func() { f.note(p.Run(ctx)) })
	}
	for i := range 2 {
		p := &pahoPublisher{name: fmt.Sprintf("paho-%d", i), qos: byte(i + 1), count: count / 4, addr: func() string { return addr(n + i) }, ledger: &f.ledger}
		f.pahos = append(f.pahos, p)
		f.total += p.count
		f.running.Go(func() { f.note(p.run(ctx)) })
	}
	t.Cleanup(func() {
		stop()
		f.running.Wait()
	})
	return f
}

func (f *fleet) note(err error) {
	if err != nil {
		f.mu.Lock()
		f.errs = append(f.errs, err)
		f.mu.Unlock()
	}
}

// acked waits until part of all messages are acknowledged: 0.5 is half of them.
func (f *fleet) acked(t *testing.T, part float64) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		f.mu.Lock()
		err := errors.Join(f.errs...)
		f.mu.Unlock()
		if err != nil {
			return harness.Final(err)
		}
		if _, acked, _ := f.ledger.Counts(); acked < int(part*float64(f.total)) {
			return fmt.Errorf("%d of %d are acknowledged", acked, f.total)
		}
		return nil
	}))
}

// finish waits until everything is acknowledged and the devices have disconnected.
func (f *fleet) finish(t *testing.T) {
	t.Helper()
	f.acked(t, 1)
	f.running.Wait()
	must(t, errors.Join(f.errs...))
}

// A pahoPublisher does what [harness.Publisher] does with Eclipse Paho's client, one message at a time.
type pahoPublisher struct {
	name   string
	qos    byte
	count  int
	addr   func() string
	ledger *harness.Ledger

	connections atomic.Int64
}

func (p *pahoPublisher) run(ctx context.Context) error {
	for n := 1; n <= p.count; {
		err := p.connection(ctx, &n)
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d of %d acked: %w", p.name, n-1, p.count, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// connection publishes from number *n on, until all is acknowledged or the connection breaks.
func (p *pahoPublisher) connection(ctx context.Context, n *int) error {
	d, err := harness.DialPaho3(ctx, harness.Options{URL: "mqtt://" + p.addr(), Client: p.name, Version: 4})
	if err != nil {
		return err
	}
	defer d.Close()
	p.connections.Add(1)
	for ; *n <= p.count; *n++ {
		p.ledger.Sent(p.name, uint64(*n))
		m := harness.Message{Topic: "load/" + p.name, QoS: p.qos, Payload: harness.Payload(p.name, uint64(*n), 100)}
		if err := d.Publish(ctx, m); err != nil {
			return err
		}
		p.ledger.Acked(p.name, uint64(*n))
	}
	return nil
}
