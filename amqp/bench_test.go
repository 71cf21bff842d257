//go:build unix

package amqp_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/group"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// A raw client knows just enough of AMQP to cost little beside what is measured.
type raw struct {
	testing.TB
	net.Conn
	in []byte // read and not taken
}

// dialRaw connects without SASL, and attaches one link with handle 0.
func dialRaw(t testing.TB, addr string, a frame.Attach) *raw {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	c := &raw{TB: t, Conn: nc, in: make([]byte, 0, 64<<10)}
	b := []byte(frame.ProtocolAMQP)
	for _, p := range []interface{ Append([]byte) []byte }{
		&frame.Open{ContainerID: nc.LocalAddr().String(), MaxFrameSize: 64 << 10, ChannelMax: 1},
		&frame.Begin{IncomingWindow: 1 << 30, OutgoingWindow: 1 << 30, HandleMax: 1},
		&a,
	} {
		at := len(b)
		b = frame.EndFrame(p.Append(frame.BeginFrame(b, frame.TypeAMQP, 0)), at)
	}
	c.write(b)
	for len(c.in) < 8 {
		c.read()
	}
	c.in = c.in[:copy(c.in, c.in[8:])]
	for attached := false; ; c.read() {
		c.frames(func(what frame.Descriptor, _ []byte) { attached = attached || what == frame.CodeAttach })
		if attached {
			return c
		}
	}
}

func (c *raw) write(b []byte) {
	if _, err := c.Conn.Write(b); err != nil {
		c.Error(err)
	}
}

func (c *raw) read() {
	n, err := c.Conn.Read(c.in[len(c.in):cap(c.in)])
	if err != nil {
		c.Fatal(err)
	}
	c.in = c.in[:len(c.in)+n]
}

// frames calls visit for each whole frame that was read.
func (c *raw) frames(visit func(what frame.Descriptor, body []byte)) {
	used := 0
	for {
		f, n, _, err := frame.Cut(c.in[used:], 0)
		if err != nil {
			c.Fatal(err)
		}
		if n == 0 {
			break
		}
		if used += n; len(f.Body) > 0 {
			what, err := frame.DescriptorOf(f.Body)
			if err != nil {
				c.Fatal(err)
			}
			visit(what, f.Body)
		}
	}
	c.in = c.in[:copy(c.in, c.in[used:])]
}

// benchmark starts a listener on a sink, and groups that read from k.
func benchmark(b *testing.B, to linkspan.Sink, k group.Kafka) *amqp.Listener {
	cfg := amqp.DefaultListenerConfig()
	cfg.URL = "amqp://127.0.0.1:0"
	groups := group.New(k, group.Options{}, quiet)
	l, err := amqp.Listen(cfg, amqp.Parts{Groups: groups}, quiet)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = l.Run(ctx, to) })
	running.Go(func() { _ = groups.Run(ctx) })
	b.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return l
}

// BenchmarkSend measures unsettled messages of 100 bytes that come a hundred at a time; cpu-ns/op is what the whole process used, the
// clients included.
func BenchmarkSend(b *testing.B) {
	take := linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) })
	for _, conns := range []int{1, 50} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) { sendLoad(b, benchmark(b, take, nil), conns) })
	}
}

func sendLoad(b *testing.B, l *amqp.Listener, conns int) {
	const window = 100
	a := frame.Attach{Name: "s", Role: frame.Sender, SenderSettleMode: frame.SendMixed, Source: &frame.Source{}, Target: &frame.Target{Address: frame.Some("t")}}
	clients := make([]*raw, conns)
	for i := range clients {
		clients[i] = dialRaw(b, l.Addr().String(), a)
	}
	payload := data(strings.Repeat("x", 100))
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	began := wiretest.CPU()
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() {
			id, out := uint32(0), []byte(nil)
			for left.Add(-window) > -window {
				out = out[:0]
				for range window {
					at := len(out)
					t := frame.Transfer{DeliveryID: frame.Some(id), DeliveryTag: []byte{byte(id), byte(id >> 8)}, Payload: payload}
					out = frame.EndFrame(t.Append(frame.BeginFrame(out, frame.TypeAMQP, 0)), at)
					id++
				}
				c.write(out)
				for open := window; open > 0; {
					c.read()
					c.frames(func(what frame.Descriptor, body []byte) {
						var d frame.Disposition
						if what == frame.CodeDisposition && d.Decode(body) == nil && d.State.Kind == frame.Accepted {
							open -= int(d.Last - d.First + 1)
						}
					})
				}
			}
		})
	}
	running.Wait()
	b.StopTimer()
	wiretest.Report(b, began)
}

// endless is a Kafka that always has another record.
type endless struct{}

func (endless) Partitions(context.Context, string) (int, error) { return 1, nil }

func (endless) Group(_ string, changed func(bool, map[string][]int32)) group.Member {
	return &spring{changed: changed, topic: make(chan string, 1), wake: make(chan struct{}, 1)}
}

func (endless) Partition(group.Partition) group.Source { return nil }

type spring struct {
	changed func(bool, map[string][]int32)
	topic   chan string
	wake    chan struct{}
}

func (s *spring) Add(topic string) { s.topic <- topic }

func (s *spring) Remove(string) {}

func (s *spring) Wake(string, int32) {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *spring) Run(ctx context.Context, to linkspan.Sink) error {
	m := linkspan.Message{Payload: []byte(strings.Repeat("x", 100))}
	m.Record.Topic = <-s.topic
	s.changed(true, map[string][]int32{m.Record.Topic: {0}})
	done := func(error) {}
	for ctx.Err() == nil {
		if !linkspan.Room(to, &m) {
			select {
			case <-s.wake:
			case <-ctx.Done():
			}
			continue
		}
		to.Send(ctx, &m, done)
		m.Record.Offset++
	}
	return nil
}

// BenchmarkReceive measures unsettled messages of 100 bytes to receivers with a credit of 1000, which accept them a few hundred at a
// time; an operation is one delivery.
func BenchmarkReceive(b *testing.B) {
	for _, conns := range []int{1, 50} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) { receiveLoad(b, benchmark(b, nil, endless{}), conns) })
	}
}

func receiveLoad(b *testing.B, l *amqp.Listener, conns int) {
	clients := make([]*raw, conns)
	for i := range clients {
		clients[i] = dialRaw(b, l.Addr().String(), frame.Attach{Name: "r", Role: frame.Receiver, SenderSettleMode: frame.SendMixed,
			Source: &frame.Source{Address: frame.Some(fmt.Sprint("t/group.id/", i))}, Target: &frame.Target{}})
	}
	each := b.N/conns + 1
	b.ReportAllocs()
	b.ResetTimer()
	began := wiretest.CPU()
	var running sync.WaitGroup
	for _, c := range clients {
		running.Go(func() { c.drink(each) })
	}
	running.Wait()
	b.StopTimer()
	wiretest.Report(b, began)
}

// drink receives and accepts n messages.
func (c *raw) drink(n int) {
	var out []byte
	settled := 0
	for got := 0; ; {
		at := len(out)
		flow := frame.Flow{NextIncomingID: frame.Some(uint32(got)), IncomingWindow: 1 << 30, OutgoingWindow: 1 << 30,
			Handle: frame.Some[uint32](0), DeliveryCount: frame.Some(uint32(got)), LinkCredit: frame.Some(uint32(min(n-got, 1000)))}
		c.write(frame.EndFrame(flow.Append(frame.BeginFrame(out, frame.TypeAMQP, 0)), at))
		if out = out[:0]; got >= n {
			return
		}
		for got-settled < min(500, n-settled) {
			c.read()
			c.frames(func(what frame.Descriptor, _ []byte) {
				if what == frame.CodeTransfer {
					got++
				}
			})
		}
		d := frame.Disposition{Role: frame.Receiver, First: uint32(settled), Last: uint32(got - 1), Settled: true, State: frame.State{Kind: frame.Accepted}}
		out = frame.EndFrame(d.Append(frame.BeginFrame(out, frame.TypeAMQP, 0)), 0)
		settled = got
	}
}
