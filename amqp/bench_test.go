//go:build unix

package amqp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// BenchmarkSend measures messages of 100 bytes that a sink takes at once, with a window for each connection; the clients share the
// machine. cpu-ns/op is what the whole process used, clients included.
func BenchmarkSend(b *testing.B) {
	for _, test := range []struct{ conns, window int }{{1, 64}, {50, 100}, {1000, 1}} {
		b.Run(fmt.Sprintf("conns=%d/window=%d", test.conns, test.window), func(b *testing.B) {
			addr := measured(b)
			clients := make([]*blaster, test.conns)
			for i := range clients {
				clients[i] = blast(b, addr, "bench-"+strconv.Itoa(i), test.window)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			began := wiretest.CPU()
			var running sync.WaitGroup
			for _, c := range clients {
				running.Go(func() {
					for left.Add(-int64(test.window)) > -int64(test.window) {
						if err := c.burst(test.window); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
			b.StopTimer()
			wiretest.Report(b, began)
		})
	}
}

// measured runs a listener on a sink that takes custody at once, and returns where it is.
func measured(b *testing.B) string {
	cfg := amqp.DefaultListenerConfig()
	cfg.URL = "amqp://127.0.0.1:0"
	l, err := amqp.Listen(cfg, amqp.Parts{}, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() {
		ran <- l.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }))
	}()
	b.Cleanup(func() {
		cancel()
		<-ran
	})
	return l.Addr().String()
}

// A blaster is a client that knows just enough to send: it costs as little as it can.
type blaster struct {
	net.Conn
	next    uint32 // delivery-id
	settled uint32
	payload []byte
	out, in []byte
}

// blast connects, and waits for credit.
func blast(b *testing.B, addr, name string, window int) *blaster {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nc.Close() })
	c := &blaster{Conn: nc, payload: frame.AppendData(nil, make([]byte, 100)), in: make([]byte, 0, 64<<10)}
	c.out = append(c.out, "AMQP\x00\x01\x00\x00"...) // without SASL: as nobody
	c.add((&frame.Open{ContainerID: name, MaxFrameSize: 64 << 10, ChannelMax: 0}).Append)
	c.add((&frame.Begin{IncomingWindow: 1 << 30, OutgoingWindow: 1 << 30}).Append)
	c.add((&frame.Attach{Name: "up", Role: frame.Sender, Source: &frame.Source{},
		Target: &frame.Target{Address: frame.Some("sensors")}}).Append)
	if _, err = nc.Write(c.out); err != nil {
		b.Fatal(err)
	}
	if _, err = io.ReadFull(nc, make([]byte, 8)); err != nil { // the header
		b.Fatal(err)
	}
	for credit := uint32(0); credit < uint32(window); {
		var flow frame.Flow
		err := c.read(func(code frame.Descriptor, body []byte) error {
			if code != frame.CodeFlow {
				return nil
			}
			err := flow.Decode(body)
			credit = flow.LinkCredit.Or(credit)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	return c
}

// add adds a frame to what is to be written.
func (c *blaster) add(performative func([]byte) []byte) {
	at := len(c.out)
	c.out = frame.EndFrame(performative(frame.BeginFrame(c.out, frame.TypeAMQP, 0)), at)
}

// burst sends n messages and waits until all are settled.
func (c *blaster) burst(n int) error {
	c.out = c.out[:0]
	var tag [4]byte
	t := frame.Transfer{DeliveryTag: tag[:], Payload: c.payload}
	for range n {
		binary.BigEndian.PutUint32(tag[:], c.next)
		t.DeliveryID = frame.Some(c.next)
		at := len(c.out)
		c.out = frame.EndFrame(t.Append(frame.BeginFrame(c.out, frame.TypeAMQP, 0)), at)
		c.next++
	}
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	for c.settled != c.next {
		if err := c.read(c.take); err != nil {
			return err
		}
	}
	return nil
}

// take counts what a disposition settles.
func (c *blaster) take(code frame.Descriptor, body []byte) error {
	if code != frame.CodeDisposition {
		return nil
	}
	var d frame.Disposition
	if err := d.Decode(body); err != nil {
		return err
	}
	if !d.Settled || d.State.Kind != frame.Accepted {
		return fmt.Errorf("deliveries %d to %d are %v", d.First, d.Last, d.State.Kind)
	}
	c.settled += d.Last - d.First + 1
	return nil
}

// read reads once, and calls f for each frame that is whole.
func (c *blaster) read(f func(code frame.Descriptor, body []byte) error) error {
	n, err := c.Conn.Read(c.in[len(c.in):cap(c.in)])
	if err != nil {
		return err
	}
	c.in = c.in[:len(c.in)+n]
	used := 0
	for {
		fr, k, _, err := frame.Cut(c.in[used:], 64<<10)
		if err != nil {
			return err
		}
		if k == 0 {
			c.in = c.in[:copy(c.in, c.in[used:])]
			return nil
		}
		used += k
		code, err := frame.DescriptorOf(fr.Body)
		if err == nil {
			err = f(code, fr.Body)
		}
		if err != nil {
			return err
		}
	}
}
