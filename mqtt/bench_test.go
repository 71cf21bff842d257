//go:build unix

package mqtt_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// immediate takes custody at once.
var immediate = linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) })

// withSink starts a listener on a sink of the benchmark's own.
func withSink(b *testing.B, to linkspan.Sink) *bench {
	s := newSink()
	s.direct = to
	return startWith(b, s)
}

// BenchmarkPublish measures QoS 1 messages of 100 bytes with a window for each connection; the clients share the machine.
// cpu-ns/op is what the whole process used, clients included.
func BenchmarkPublish(b *testing.B) {
	for _, test := range []struct{ conns, window int }{{1, 64}, {50, 100}, {1000, 1}} {
		for _, kind := range []string{"immediate", "batches"} {
			b.Run(fmt.Sprintf("%s/conns=%d/window=%d", kind, test.conns, test.window), func(b *testing.B) {
				var to linkspan.Sink = immediate
				if kind == "batches" {
					s := mqtttest.NewBatches()
					defer s.Stop()
					to = s
				}
				publishLoad(b, withSink(b, to), test.conns, test.window)
			})
		}
	}
}

// publishLoad has conns devices publish b.N messages in all, window at a time.
func publishLoad(b *testing.B, l *bench, conns, window int) {
	one := publish(1, 1, "sensors/hall-1/t7/temperature", strings.Repeat("x", 100)).Append(nil, packet.V311)
	var burst []byte
	for range window {
		burst = append(burst, one...)
	}
	clients := make([]*mqtttest.Client, conns)
	for i := range clients {
		clients[i] = l.join(packet.V311, "bench-"+strconv.Itoa(i))
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	began := wiretest.CPU()
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() {
			acks := make([]byte, 4*window)
			for left.Add(-int64(window)) > -int64(window) {
				if _, err := c.Conn.Write(burst); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c.Conn, acks); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	b.StopTimer()
	wiretest.Report(b, began)
}

// BenchmarkDeliver measures messages of 100 bytes to one and to 50 devices; an operation is one delivery.
func BenchmarkDeliver(b *testing.B) {
	for _, conns := range []int{1, 50} {
		for _, qos := range []byte{0, 1} {
			b.Run(fmt.Sprintf("qos=%d/conns=%d", qos, conns), func(b *testing.B) {
				deliverLoad(b, withSink(b, immediate), conns, qos)
			})
		}
	}
}

func deliverLoad(b *testing.B, l *bench, conns int, qos byte) {
	rounds := b.N/conns + 1
	var running sync.WaitGroup
	for i := range conns {
		c := l.join(packet.V311, "bench-"+strconv.Itoa(i))
		c.Subscribe(1, filter("t", qos))
		running.Go(func() { drink(b, c, rounds) })
	}
	m := linkspan.Message{Topic: "t", Payload: make([]byte, 100), QoS: qos}
	b.ReportAllocs()
	b.ResetTimer()
	began := wiretest.CPU()
	for i := range rounds {
		for int64(i*conns)-drunk.Load() > int64(400*conns) { // a session has a bounded queue
			runtime.Gosched()
		}
		l.registry.Send(context.Background(), &m, func(error) {})
	}
	running.Wait()
	b.StopTimer()
	drunk.Store(0)
	wiretest.Report(b, began)
}

// drunk counts the messages that the subscribers of a benchmark have read.
var drunk atomic.Int64

// drink reads n messages and acknowledges them.
func drink(b *testing.B, c *mqtttest.Client, n int) {
	in := make([]byte, 0, 64<<10)
	var out []byte
	for got := 0; got < n; {
		m, err := c.Conn.Read(in[len(in):cap(in)])
		if err != nil {
			b.Error(err)
			return
		}
		in = in[:len(in)+m]
		used := 0
		for {
			r, k, _, _ := packet.Cut(in[used:], 0)
			if k == 0 {
				break
			}
			var p packet.Publish
			if err := p.Decode(c.Version, r); err != nil {
				b.Error(err)
				return
			}
			if p.QoS == 1 {
				out = append(out, 0x40, 2, byte(p.PacketID>>8), byte(p.PacketID))
			}
			used += k
			got++
			drunk.Add(1)
		}
		in = in[:copy(in, in[used:])]
		if len(out) > 0 {
			if _, err := c.Conn.Write(out); err != nil {
				b.Error(err)
				return
			}
			out = out[:0]
		}
	}
}
