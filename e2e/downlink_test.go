package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// commandRoutes carries the records of a Kafka topic to the devices that are their keys.
func commandRoutes(topic string) string {
	return fmt.Sprintf("routes:\n  - {from: \"kafka:%s\", to: \"mqtt:devices/{key}/commands\", qos: 2}\n", topic)
}

// A listener is a device that waits for commands.
type listener struct {
	harness.Device
	name string
}

// listen connects device name and subscribes it to its commands.
func listen(t *testing.T, m harness.Make, version int, addr, name string, qos byte) listener {
	t.Helper()
	d := dial(t, m, harness.Options{URL: "mqtt://" + addr, Client: name, Version: version})
	subscribe(t, d, harness.Subscription{Filter: "devices/" + name + "/commands", QoS: qos})
	return listener{d, name}
}

// listeners connects one device of each make that can be had in this process or a driver, with QoS 1 and 2 by turns.
func listeners(t *testing.T, addr string) []listener {
	t.Helper()
	var all []listener
	for i, of := range []struct {
		make    string
		version int
	}{{"paho-go-3", 4}, {"paho-go-3", 3}, {"paho-go-5", 5}, {"paho-go-5", 5}, {"paho-python", 5}, {"paho-python", 4}} {
		all = append(all, listen(t, made(of.make), of.version, addr, fmt.Sprintf("%s-%d", of.make, i), byte(1+i%2)))
	}
	return all
}

// command writes records 1 to n for each device, a pace apart, and a last one by which its device knows the end.
func command(ctx context.Context, client *kgo.Client, ledger *harness.Ledger, topic string, devices []listener, n int, pace time.Duration) error {
	var failed error
	var once sync.Once
	for i := uint64(1); i <= uint64(n)+1; i++ {
		for _, d := range devices {
			ledger.Sent(d.name, i)
			client.Produce(ctx, record(topic, d.name, harness.Payload(d.name, i, 100)), func(_ *kgo.Record, err error) {
				if err != nil {
					once.Do(func() { failed = err })
					return
				}
				ledger.Acked(d.name, i)
			})
		}
		if pace > 0 {
			select {
			case <-time.After(pace):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	return failed
}

// collect takes what comes for the device until the last of n commands, and one more.
func (l listener) collect(ctx context.Context, ledger *harness.Ledger, n int) error {
	for {
		m, err := l.Next(ctx)
		if err != nil {
			_, acked, arrived := ledger.Counts()
			return fmt.Errorf("%s: %w (in all %d of %d arrived)", l.name, err, arrived, acked)
		}
		device, i, err := harness.ParsePayload(m.Payload)
		if err != nil {
			return err
		}
		if want := "devices/" + l.name + "/commands"; device != l.name || m.Topic != want {
			return fmt.Errorf("%s got a message for %s, topic %s", l.name, device, m.Topic)
		}
		ledger.Arrived(device, i, 0)
		if i == uint64(n)+1 {
			return nil
		}
	}
}

// P3: what is written to Kafka reaches subscribers of QoS 1 and 2, all of it once and in order.
func TestDownlink(t *testing.T) {
	t.Parallel()
	const n = 500
	commands := topic(t, world.kafka, "downlink", 4)
	l := gateway(t, world.kafka, commandRoutes(commands))
	deliver(t, world.kafka, commands, listeners(t, l.Addr(0)), n)
}

// deliver writes n commands for each device, and checks that exactly these come, in order.
func deliver(t *testing.T, kafka *harness.Kafka, topic string, devices []listener, n int) {
	t.Helper()
	var ledger harness.Ledger
	ctx := deadline(t)
	client := producer(t, kafka)
	all := []func() error{func() error { return command(ctx, client, &ledger, topic, devices, n, 0) }}
	for _, d := range devices {
		all = append(all, func() error { return d.collect(ctx, &ledger, n) })
	}
	together(t, all...)
	exact(t, &ledger, len(devices)*(n+1))
}

// exact fails the test unless want messages arrived, each once.
func exact(t *testing.T, ledger *harness.Ledger, want int) {
	t.Helper()
	if report := judge(t, ledger, false); report.Arrived != want || report.Acked != want {
		t.Errorf("want %d", want)
	}
}

// P3, P4: Kafka is killed while commands are written and delivered, and comes back. The devices notice nothing but a pause.
func TestDownlinkKafkaKilled(t *testing.T) {
	t.Parallel()
	const n = 300
	kafka := startKafka(t, 1)
	commands := topic(t, kafka, "commands", 4)
	l := gateway(t, kafka, commandRoutes(commands))
	devices := listeners(t, l.Addr(0))
	var ledger harness.Ledger
	ctx := deadline(t)
	client := producer(t, kafka)
	all := []func() error{
		func() error { return command(ctx, client, &ledger, commands, devices, n, 10*time.Millisecond) },
		func() error {
			if err := harness.Until(ctx, func() error {
				if _, _, arrived := ledger.Counts(); arrived < n*len(devices)/3 {
					return fmt.Errorf("%d arrived", arrived)
				}
				return nil
			}); err != nil {
				return err
			}
			kafka.Brokers[0].Kill()
			return kafka.Brokers[0].Restart(ctx)
		},
	}
	for _, d := range devices {
		all = append(all, func() error { return d.collect(ctx, &ledger, n) })
	}
	together(t, all...)
	exact(t, &ledger, len(devices)*(n+1))
}

// P6: a device that does not read holds up nobody else, and gets all of it in order when it reads again: more than
// Linkspan keeps in memory for one device.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	const n, size = 15_000, 1000 // more than the kernel and Linkspan hold
	commands := topic(t, world.kafka, "slow-reader", 1)
	l := start(t, 1, func(p []int) string {
		return fmt.Sprintf("kafka: {brokers: [%s]}\nendpoints:\n  devices: {listen: \"mqtt://%s\", write_timeout: 10m}\n"+
			"routes:\n  - {from: \"kafka:%s\", to: \"mqtt:broadcast\", qos: 1}\n", world.kafka.Addrs()[0], harness.Loopback(p[0]), commands)
	})
	ctx := deadline(t)
	slow, err := harness.DialWire(ctx, l.Addr(0), "slow", 4, time.Hour)
	must(t, err)
	defer slow.Close()
	slow.Subscribe(1, "broadcast", 1)
	must(t, slow.Flush())
	if _, err := slow.Read(); err != nil {
		t.Fatal(err)
	}
	quick := dial(t, made("paho-go-5"), harness.Options{URL: "mqtt://" + l.Addr(0), Client: "quick", Version: 5})
	subscribe(t, quick, harness.Subscription{Filter: "broadcast", QoS: 1})

	client := producer(t, world.kafka)
	var records []*kgo.Record
	var quickLedger, slowLedger harness.Ledger
	for i := range uint64(n) {
		records = append(records, record(commands, "k", harness.Payload("k", i+1, size)))
		quickLedger.Sent("k", i+1)
		slowLedger.Sent("k", i+1)
	}
	must(t, client.ProduceSync(ctx, records...).FirstErr())
	for range n {
		m := next(t, quick)
		_, i, err := harness.ParsePayload(m.Payload)
		must(t, err)
		quickLedger.Arrived("k", i, 0)
		quickLedger.Acked("k", i)
	}
	exact(t, &quickLedger, n)
	if metric(t, l, "linkspan_sessions_behind") == "0" {
		t.Error("the slow reader has not fallen behind")
	}

	stop := context.AfterFunc(ctx, func() { _ = slow.Close() })
	defer stop()
	for _, _, arrived := slowLedger.Counts(); arrived < n; _, _, arrived = slowLedger.Counts() {
		p, err := slow.Read()
		must(t, err)
		_, i, err := harness.ParsePayload(p.Payload)
		must(t, err)
		slowLedger.Arrived("k", i, 0)
		slowLedger.Acked("k", i)
		slow.Puback(p.ID)
		must(t, slow.Flush())
	}
	exact(t, &slowLedger, n)
}
