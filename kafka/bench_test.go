//go:build linux || darwin

package kafka

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cpu is what this process has used of the processors: on a busy machine it says more than the time. The broker is in it too.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// What the producer itself costs: the Kafka client is a goroutine that writes what that writes into a record, and calls the promise.
// 5000 are in flight at most, and pass in batches of 100.
func BenchmarkKeep(b *testing.B) {
	p := connect(b, testConfig("127.0.0.1:1")).Producer()
	free, sent := make(chan []*record, 50), make(chan []*record, 50)
	for range cap(free) {
		free <- make([]*record, 0, 100)
	}
	var finished sync.WaitGroup
	finished.Go(func() {
		for batch := range sent {
			for i, r := range batch {
				r.Offset, r.ProducerID, r.LeaderEpoch = int64(i), 1, -1
				p.finish(&r.Record, nil)
			}
			free <- batch[:0]
		}
	})
	m := &linkspan.Message{Topic: "site/1/device/2", Payload: []byte(strings.Repeat("x", 100)), Endpoint: "devices", Route: "up", Received: time.Now()}
	m.Record = linkspan.Record{Topic: "t", Partition: linkspan.AnyPartition, Key: []byte("device-2")}
	settle := func(err error) {
		if err != nil {
			b.Error(err)
		}
	}
	b.ReportAllocs()
	before := cpu(b)
	batch := <-free
	for range b.N {
		if !p.Room(m) {
			b.Fatal("no room")
		}
		r, err := p.enter(m, m.Topic, settle)
		if err != nil {
			b.Fatal(err)
		}
		r.Timestamp = r.Timestamp.Truncate(time.Millisecond)
		if batch = append(batch, r); len(batch) == cap(batch) {
			sent <- batch
			batch = <-free
		}
	}
	sent <- batch
	close(sent)
	finished.Wait()
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// The producer against the Kafka client that it wraps: the same options, broker and records, 5000 in flight at most.
func BenchmarkProduce(b *testing.B) {
	for _, linger := range []time.Duration{0, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond} {
		cluster := startKfake(b, kfake.BlackholeProduce())
		cfg := testConfig(cluster.ListenAddrs()...)
		cfg.Producer.Linger = linger
		payload := []byte(strings.Repeat("x", 100))
		keys := numbered(100)
		window := func(run func(i int, done func(error))) func(b *testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				slots := make(chan struct{}, 5000)
				var wg sync.WaitGroup
				before := cpu(b)
				done := func(err error) {
					if err != nil {
						b.Error(err)
					}
					<-slots
					wg.Done()
				}
				for i := range b.N {
					slots <- struct{}{}
					wg.Add(1)
					run(i, done)
				}
				wg.Wait()
				b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			}
		}
		b.Run("linkspan/linger="+linger.String(), func(b *testing.B) {
			c := connect(b, cfg)
			p := c.Producer()
			m := new(linkspan.Message)
			if err := send(b, p, message("t", "k", "warm")); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			window(func(i int, done func(error)) {
				m.Reset()
				m.Payload, m.Record.Topic = payload, "t"
				m.Record.Key = append(m.Record.Key[:0], keys[i%100]...)
				m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: "mqtt.client", Value: m.Record.Key})
				p.Send(context.Background(), m, done)
			})(b)
		})
		b.Run("bare/linger="+linger.String(), func(b *testing.B) {
			c := connect(b, cfg)
			cl := c.kgo
			b.ResetTimer()
			window(func(i int, done func(error)) {
				key := []byte(keys[i%100])
				r := &kgo.Record{Topic: "t", Key: key, Value: payload, Partition: -1, Headers: []kgo.RecordHeader{{Key: "mqtt.client", Value: key}}}
				cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) { done(err) })
			})(b)
		})
	}
}
