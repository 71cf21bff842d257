package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// loadRoutes carries the load of a fleet to a Kafka topic. more is further YAML of the route, such as "ack: spool".
func loadRoutes(topic string, more ...string) string {
	keys := append([]string{`from: "mqtt:load/{device}"`, fmt.Sprintf("to: %q", "kafka:"+topic), `key: "{device}"`}, more...)
	return fmt.Sprintf("routes:\n  - {%s}\n", strings.Join(keys, ", "))
}

// A fleet is a number of devices that publish numbered messages at a bounded pace, each until all of its own are
// acknowledged. Some are Eclipse Paho's, with one message in flight; the others pipeline.
type fleet struct {
	ledger  harness.Ledger
	loose   harness.Ledger // of those that publish with QoS 0, which nobody acknowledges
	devices []*harness.Publisher
	pahos   []*pahoPublisher
	total   int

	enough  chan struct{} // closed: those that publish all the time end
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	errs    []error
}

// launch starts n pipelining devices with count messages each, and two of Paho's with count/4; 0: all publish until it is enough. Every
// third uses QoS 2. addr is asked before each connection of device i.
func launch(t *testing.T, n, count int, addr func(i int) string) *fleet {
	t.Helper()
	f, ctx := newFleet(t)
	for i := range n {
		p := &harness.Publisher{Client: fmt.Sprintf("device-%02d", i), QoS: 1, Count: uint64(count), Enough: f.enough, Addr: func() string { return addr(i) }}
		if i%3 == 2 {
			p.QoS = 2
		}
		f.total += count
		f.pipeline(ctx, p)
	}
	for i := range 2 {
		p := &pahoPublisher{name: fmt.Sprintf("paho-%d", i), version: 4, qos: byte(i + 1), count: count / 4, enough: f.enough, addr: func() string { return addr(n + i) }}
		f.total += p.count
		f.wait(ctx, p)
	}
	return f
}

// launchAll starts devices that publish all the time until it is enough: with each QoS over MQTT 3.1.1 and 5 one that pipelines, and
// with QoS 1 and 2 one of Paho's. size is that of the pipelined payloads.
func launchAll(t *testing.T, size int, addr func() string) *fleet {
	t.Helper()
	f, ctx := newFleet(t)
	for version := byte(4); version <= 5; version++ {
		for qos := range byte(3) {
			name := fmt.Sprintf("mqtt-%d-qos-%d", version, qos)
			f.pipeline(ctx, &harness.Publisher{Client: name, Version: version, QoS: qos, Enough: f.enough, Pace: 30 * time.Millisecond, Size: size, Addr: addr})
			if qos > 0 {
				f.wait(ctx, &pahoPublisher{name: "paho-" + name, version: int(version), qos: qos, enough: f.enough, pace: 20 * time.Millisecond, addr: addr})
			}
		}
	}
	return f
}

// launchRefusable starts devices that publish all the time with MQTT 5, which may refuse a message and tell why.
func launchRefusable(t *testing.T, size int, addr func() string) *fleet {
	t.Helper()
	f, ctx := newFleet(t)
	for i := range byte(4) {
		f.pipeline(ctx, &harness.Publisher{Client: fmt.Sprintf("refusable-%d", i), Version: 5, QoS: 1 + i%2, Enough: f.enough, Pace: 10 * time.Millisecond,
			Size: size, Addr: addr, Refusable: true})
	}
	return f
}

func newFleet(t *testing.T) (*fleet, context.Context) {
	f := &fleet{enough: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	t.Cleanup(func() {
		stop()
		f.running.Wait()
	})
	return f, ctx
}

// pipeline starts a device that pipelines.
func (f *fleet) pipeline(ctx context.Context, p *harness.Publisher) {
	p.Topic, p.Window, p.KeepAlive, p.Ledger = "load/"+p.Client, 16, 10*time.Second, &f.ledger
	if p.Pace == 0 {
		p.Pace = 10 * time.Millisecond
	}
	if p.QoS == 0 {
		p.Ledger = &f.loose
	}
	f.devices = append(f.devices, p)
	f.running.Go(func() { f.note(p.Run(ctx)) })
}

// wait starts a device that waits for each acknowledgement.
func (f *fleet) wait(ctx context.Context, p *pahoPublisher) {
	p.ledger = &f.ledger
	f.pahos = append(f.pahos, p)
	f.running.Go(func() { f.note(p.run(ctx)) })
}

// failed returns what went wrong with the devices.
func (f *fleet) failed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errs...)
}

// more waits until n more messages are acknowledged than were.
func (f *fleet) more(ctx context.Context, n int) error {
	_, before, _ := f.ledger.Counts()
	return f.until(ctx, before+n)
}

// until waits until n messages are acknowledged.
func (f *fleet) until(ctx context.Context, n int) error {
	return harness.Until(ctx, func() error {
		if err := f.failed(); err != nil {
			return harness.Final(err)
		}
		if _, acked, _ := f.ledger.Counts(); acked < n {
			return fmt.Errorf("%d of %d are acknowledged", acked, n)
		}
		return nil
	})
}

// pinged waits until n more keep-alives of every device are answered. With QoS 0 a device that is held back is stuck in a write, and
// does not ping.
func (f *fleet) pinged(ctx context.Context, n int64) error {
	before := make([]int64, len(f.devices))
	for i, d := range f.devices {
		before[i] = d.Pongs()
	}
	return harness.Until(ctx, func() error {
		for i, d := range f.devices {
			if got := d.Pongs() - before[i]; d.QoS > 0 && got < n {
				return fmt.Errorf("%s: %d of %d keep-alives were answered", d.Client, got, n)
			}
		}
		return nil
	})
}

// end lets those that publish all the time end, and waits until all that they have sent is acknowledged.
func (f *fleet) end(ctx context.Context) error {
	close(f.enough)
	ended := make(chan struct{})
	go func() {
		f.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		f.stop() // each says how far it has got
		<-ended
	}
	return f.failed()
}

// arrived notes a record.
func (f *fleet) arrived(device string, n uint64, partition int32) {
	if strings.HasSuffix(device, "-qos-0") {
		f.loose.Arrived(device, n, partition)
	} else {
		f.ledger.Arrived(device, n, partition)
	}
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
	must(t, f.until(deadline(t), int(part*float64(f.total))))
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
	name    string
	version int // 4 or 5
	qos     byte
	count   int             // 0: until enough
	enough  <-chan struct{} // may be nil
	pace    time.Duration   // between messages; 0: as fast as acknowledgements come
	addr    func() string
	ledger  *harness.Ledger

	connections atomic.Int64
}

// more reports whether message n is to be sent.
func (p *pahoPublisher) more(n int) bool {
	select {
	case <-p.enough:
		return false
	default:
		return p.count == 0 || n <= p.count
	}
}

func (p *pahoPublisher) run(ctx context.Context) error {
	sent := 0 // numbers up to this one
	for n := 1; n <= sent || p.more(n); {
		err := p.connection(ctx, &n, &sent)
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d of %d acked: %w", p.name, n-1, sent, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// connection publishes from number *n on, until all is acknowledged or the connection breaks.
func (p *pahoPublisher) connection(ctx context.Context, n, sent *int) error {
	make := harness.DialPaho3
	if p.version == 5 {
		make = harness.DialPaho5
	}
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d, err := make(dial, harness.Options{URL: "mqtt://" + p.addr(), Client: p.name, Version: p.version})
	if err != nil {
		return err
	}
	defer d.Close()
	p.connections.Add(1)
	for ; *n <= *sent || p.more(*n); *n++ {
		p.ledger.Sent(p.name, uint64(*n))
		*sent = max(*sent, *n)
		m := harness.Message{Topic: "load/" + p.name, QoS: p.qos, Payload: harness.Payload(p.name, uint64(*n), 100)}
		if err := d.Publish(ctx, m); err != nil {
			return err
		}
		p.ledger.Acked(p.name, uint64(*n))
		if p.pace > 0 {
			select {
			case <-time.After(p.pace):
			case <-p.enough:
			}
		}
	}
	return nil
}
