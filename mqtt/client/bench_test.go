//go:build unix

package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// benchmark connects a client and a bare socket that is its broker.
func benchmark(b *testing.B, v packet.Version, to linkspan.Sink) (*client.Client, net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	cfg := client.DefaultConfig()
	cfg.Dial, cfg.Version, cfg.DrainTimeout = []string{"mqtt://" + ln.Addr().String()}, v.String(), time.Millisecond
	c := client.New(cfg, nil, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(b.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx, to) })
	nc, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	if _, err := nc.Read(make([]byte, 1000)); err != nil {
		b.Fatal(err)
	}
	_, _ = nc.Write((&packet.Connack{}).Append(nil, v))
	b.Cleanup(func() {
		cancel()
		_ = nc.Close()
		_ = ln.Close()
		running.Wait()
	})
	return c, nc
}

// BenchmarkUplink measures messages of 100 bytes from the broker, of which window are in flight. cpu-ns/op is what the whole process
// used; the broker's side of it is a loop of system calls.
func BenchmarkUplink(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		for _, window := range []int{20, 500} {
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				b.Run(fmt.Sprintf("qos=%d/window=%d/v=%v", qos, window, v), func(b *testing.B) {
					s := mqtttest.NewBatches()
					defer s.Stop()
					c, nc := benchmark(b, v, s)
					one := publish(qos, 1, "sensors/hall-1/t7/temperature", strings.Repeat("x", 100)).Append(nil, v)
					var burst []byte
					for range window {
						burst = append(burst, one...)
					}
					acks := make([]byte, 64<<10)
					b.ReportAllocs()
					b.ResetTimer()
					began := wiretest.CPU()
					for sent := 0; sent < b.N; sent += window {
						if _, err := nc.Write(burst); err != nil {
							b.Fatal(err)
						}
						for got := 0; qos > 0 && got < 4*window; {
							n, err := nc.Read(acks)
							if err != nil {
								b.Fatal(err)
							}
							got += n
						}
					}
					for c.Stats().Acked[qos].Load() < uint64(b.N) {
						runtime.Gosched()
					}
					b.StopTimer()
					wiretest.Report(b, began)
				})
			}
		}
	}
}

// BenchmarkDownlink measures messages of 100 bytes to the broker, with 100 in flight.
func BenchmarkDownlink(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			b.Run(fmt.Sprintf("qos=%d/v=%v", qos, v), func(b *testing.B) {
				c, nc := benchmark(b, v, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }))
				var running sync.WaitGroup
				running.Go(func() { acknowledge(nc, v) })
				b.Cleanup(running.Wait)
				m := down(qos, "sensors/hall-1/t7/temperature", strings.Repeat("x", 100))
				room := make(chan struct{}, 100)
				done := func(error) { <-room }
				b.ReportAllocs()
				b.ResetTimer()
				began := wiretest.CPU()
				for range b.N {
					room <- struct{}{}
					c.Send(context.Background(), &m, done)
				}
				for range cap(room) {
					room <- struct{}{}
				}
				b.StopTimer()
				wiretest.Report(b, began)
			})
		}
	}
}

// acknowledge answers every QoS 1 PUBLISH until the connection ends.
func acknowledge(nc net.Conn, v packet.Version) {
	in, n := make([]byte, 64<<10), 0
	var out []byte
	for {
		m, err := nc.Read(in[n:])
		if err != nil {
			return
		}
		n += m
		used := 0
		for {
			raw, k, _, _ := packet.Cut(in[used:n], 0)
			if k == 0 {
				break
			}
			used += k
			var p packet.Publish
			if raw.Type() == packet.PUBLISH && p.Decode(v, raw) == nil && p.QoS == 1 {
				out = append(out, 0x40, 2, byte(p.PacketID>>8), byte(p.PacketID))
			}
		}
		n = copy(in, in[used:n])
		if len(out) > 0 {
			if _, err := nc.Write(out); err != nil {
				return
			}
			out = out[:0]
		}
	}
}
