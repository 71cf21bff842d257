package spool

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// A stub is as little of a producer as there can be: it answers for each message when it has been given some more.
type stub struct {
	mu       sync.Mutex
	ring     [1024]func(error)
	at       int
	answered atomic.Int64
	mute     atomic.Bool // no answer, and nothing is kept
}

func (s *stub) Room(*linkspan.Message) bool { return true }

func (s *stub) Show(*linkspan.Message) {}

func (s *stub) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	s.Keep(ctx, m, done)
}

func (s *stub) Keep(_ context.Context, _ *linkspan.Message, done func(error)) linkspan.Kept {
	if s.mute.Load() {
		return s
	}
	s.mu.Lock()
	old := s.ring[s.at]
	s.ring[s.at] = done
	s.at = (s.at + 1) % len(s.ring)
	s.mu.Unlock()
	if old != nil {
		old(nil)
		s.answered.Add(1)
	}
	return s
}

// flush answers for all that is left.
func (s *stub) flush() {
	s.mu.Lock()
	left := s.ring
	s.ring = [1024]func(error){}
	s.mu.Unlock()
	for _, done := range left {
		if done != nil {
			done(nil)
			s.answered.Add(1)
		}
	}
}

// await waits until n messages were answered.
func (s *stub) await(n int64) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for s.answered.Load() < n {
		if <-t.C; s.answered.Load() >= n-int64(len(s.ring)) {
			s.flush()
		}
	}
}

func benchMessage(size int) *linkspan.Message {
	return &linkspan.Message{
		Topic: "sensors/7/temperature", Payload: make([]byte, size), Route: "a", Endpoint: "devices", Received: time.Now(),
		Record: linkspan.Record{Topic: "sensors", Partition: linkspan.AnyPartition, Key: []byte("7"), Headers: []linkspan.Header{{Key: "mqtt.topic", Value: []byte("sensors/7/temperature")}}},
	}
}

func openBench(b *testing.B, to linkspan.Keeper, ack Ack) *Spool {
	cfg := Default()
	cfg.Dir, cfg.MinFree, cfg.MaxBytes = b.TempDir(), 0, 64<<30
	s, err := Open(cfg, []Lane{{Name: "a", Ack: ack}}, Parts{To: to, DrainBytes: 64 << 20}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func runBench(b *testing.B, s *Spool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkDirect is a message on the direct way. What the spool adds is the difference to BenchmarkBareProducer.
func BenchmarkDirect(b *testing.B) {
	to := new(stub)
	s := openBench(b, to, AckKafkaElseSpool)
	b.Cleanup(runBench(b, s))
	b.Cleanup(to.flush)
	benchSends(b, s)
}

func BenchmarkBareProducer(b *testing.B) { benchSends(b, new(stub)) }

func benchSends(b *testing.B, to linkspan.Sink) {
	done := func(error) {}
	for _, parallel := range []bool{false, true} {
		b.Run(map[bool]string{false: "one", true: "parallel"}[parallel], func(b *testing.B) {
			b.ReportAllocs()
			begin := cpuTime()
			defer func() { b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op") }()
			if !parallel {
				m := benchMessage(200)
				for b.Loop() {
					to.Send(context.Background(), m, done)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				m := benchMessage(200)
				for pb.Next() {
					to.Send(context.Background(), m, done)
				}
			})
		})
	}
}

// BenchmarkFlood is 50 senders on the direct way, each with 100 messages under way, and one who lands them on another processor, as
// Kafka's client does: what it adds to what the bare producer costs is mostly memory that goes from one processor to the other.
func BenchmarkFlood(b *testing.B) {
	for _, name := range []string{"spool", "bare"} {
		b.Run(name, func(b *testing.B) {
			far := newPier()
			var to linkspan.Sink = far
			if name == "spool" {
				s := openBench(b, far, AckKafkaElseSpool)
				b.Cleanup(runBench(b, s))
				to = s
			}
			b.Cleanup(far.close)
			b.ReportAllocs()
			begin := cpuTime()
			b.ResetTimer()
			sendAll(to, b.N)
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A pier is a producer with a record of 1 KiB for each message, as Kafka's is: so nothing of the others stays in the processors' caches.
// A thread of its own lands them.
type pier struct {
	mu     sync.Mutex
	some   sync.Cond
	ring   [1 << 13]moored
	in     int // number of the next
	out    int // numbers below were taken to be landed
	closed bool
	ended  chan struct{}
}

type moored struct {
	done  func(error)
	bytes [1016]byte
}

func newPier() *pier {
	p := &pier{ended: make(chan struct{})}
	p.some.L = &p.mu
	go p.run()
	return p
}

func (p *pier) Room(*linkspan.Message) bool { return true }

func (p *pier) Show(*linkspan.Message) {}

func (p *pier) Send(ctx context.Context, m *linkspan.Message, done func(error)) { p.Keep(ctx, m, done) }

func (p *pier) Keep(_ context.Context, m *linkspan.Message, done func(error)) linkspan.Kept {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &p.ring[p.in%len(p.ring)]
	r.done = done
	for at := 0; at < len(r.bytes); {
		at += copy(r.bytes[at:], m.Payload)
	}
	if p.in++; p.in == p.out+1 {
		p.some.Signal()
	}
	return p
}

func (p *pier) run() {
	runtime.LockOSThread()
	defer close(p.ended)
	p.mu.Lock()
	defer p.mu.Unlock()
	for !p.closed || p.in > p.out {
		if p.in == p.out {
			p.some.Wait()
			continue
		}
		from, to := p.out, p.in
		p.mu.Unlock()
		for i := from; i < to; i++ {
			p.ring[i%len(p.ring)].done(nil)
		}
		p.mu.Lock()
		p.out = to
	}
}

func (p *pier) close() {
	p.mu.Lock()
	p.closed = true
	p.some.Signal()
	p.mu.Unlock()
	<-p.ended
}

// BenchmarkAppend is 50 senders to a lane that spools, on the disk of this machine, each with 100 messages under way.
func BenchmarkAppend(b *testing.B) {
	to := new(stub)
	to.mute.Store(true)
	s := openBench(b, to, AckKafkaElseSpool)
	s.Hold(true)
	stop := runBench(b, s)
	b.ReportAllocs()
	b.SetBytes(200)
	begin := cpuTime()
	b.ResetTimer()
	sendAll(s, b.N)
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
	stop()
}

// BenchmarkAppendAndDrain is the same with a producer that takes it all: what the whole way costs a message.
func BenchmarkAppendAndDrain(b *testing.B) {
	to := new(stub)
	s := openBench(b, to, AckSpool)
	stop := runBench(b, s)
	b.ReportAllocs()
	b.SetBytes(200)
	begin := cpuTime()
	b.ResetTimer()
	sendAll(s, b.N)
	to.await(int64(b.N))
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
	stop()
}

// sendAll sends n messages from 50 goroutines, and waits until all are done.
func sendAll(to linkspan.Sink, n int) {
	var all sync.WaitGroup
	const senders = 50
	for g := range senders {
		all.Go(func() {
			m := benchMessage(200)
			room := make(chan struct{}, 100)
			done := func(error) { <-room }
			for i := g; i < n; i += senders {
				for !linkspan.Room(to, m) {
					runtime.Gosched()
				}
				room <- struct{}{}
				to.Send(context.Background(), m, done)
			}
			for range cap(room) {
				room <- struct{}{}
			}
		})
	}
	all.Wait()
}

// BenchmarkDrain is a backlog that is handed over.
func BenchmarkDrain(b *testing.B) {
	to := new(stub)
	to.mute.Store(true)
	s := openBench(b, to, AckKafkaElseSpool)
	s.Hold(true)
	stop := runBench(b, s)
	sendAll(s, b.N)
	to.mute.Store(false)
	b.ReportAllocs()
	b.SetBytes(200)
	begin := cpuTime()
	b.ResetTimer()
	s.Hold(false)
	to.await(int64(b.N))
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
	stop()
}

// BenchmarkDecode is a message read from its entry.
func BenchmarkDecode(b *testing.B) {
	m, got, d := benchMessage(200), new(linkspan.Message), new(decoder)
	e := journal.Entry{Head: appendHead(nil, m), Body: m.Payload}
	b.ReportAllocs()
	begin := cpuTime()
	for b.Loop() {
		if err := d.decode("a", e, got); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
}
