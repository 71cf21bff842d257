package engine

import (
	"runtime"
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

// sink is a handler without a memory.
type sink struct{ window uint32 }

func (s *sink) Opened(*Conn) error { return nil }
func (s *sink) Attaching(l *Link) LinkHandler {
	_ = l.Accept(frame.Attach{})
	if !l.Sender() {
		l.Grant(s.window)
	}
	return s
}
func (s *sink) Attached(l *Link) {}
func (s *sink) Transfer(l *Link, d *Delivery, _ []byte) {
	d.Settle(accepted)
	l.Grant(1)
}
func (s *sink) Flow(*Link)                         {}
func (s *sink) Settled(_ *Link, d *Delivery)       { d.Settle(frame.State{}) }
func (s *sink) Detached(*Link, bool, *frame.Error) {}
func (s *sink) Ended(*Session, *frame.Error)       {}
func (s *sink) Closed(error)                       {}

// joined is a client and a server that are joined, and a link from the one to the other.
type joined struct {
	client, server *Conn
	link           *Link
	buf            []byte
}

func join(tb testing.TB, window uint32) *joined {
	h := &sink{window: window}
	j := &joined{client: NewClient(Config{ContainerID: "client"}, h), server: NewServer(Config{ContainerID: "server"}, h)}
	s, err := j.client.Begin()
	if err != nil {
		tb.Fatal(err)
	}
	if j.link, err = s.Attach(sender("up"), h); err != nil {
		tb.Fatal(err)
	}
	for j.carry(tb) {
	}
	return j
}

// carry carries what there is once to and fro, and reports whether there was something.
func (j *joined) carry(tb testing.TB) bool {
	moved := false
	for _, way := range [2][2]*Conn{{j.client, j.server}, {j.server, j.client}} {
		j.buf = way[0].Output(j.buf[:0])
		if n, _, err := way[1].Input(j.buf, now); err != nil || n != len(j.buf) {
			tb.Fatal(n, err)
		}
		moved = moved || len(j.buf) > 0
	}
	return moved
}

// BenchmarkTransfer sends messages of 100 bytes, 100 at a time, which are accepted: the work of both sides together.
func BenchmarkTransfer(b *testing.B) {
	j := join(b, 1000)
	payload := make([]byte, 100)
	b.ReportAllocs()
	for n := 0; n < b.N; {
		for range 100 {
			if _, err := j.link.Send(Outgoing{Tag: []byte("tag"), Payload: payload}); err != nil {
				b.Fatal(err)
			}
			n++
		}
		j.carry(b)
	}
}

// BenchmarkReceive is the work of the receiving side alone, settled transfers aside from the credit.
func BenchmarkReceive(b *testing.B) {
	j := join(b, 1000)
	l := j.server.peer[0].byRemote[0]
	var in []byte
	b.ReportAllocs()
	for n := 0; n < b.N; {
		b.StopTimer()
		in = in[:0]
		for range 500 {
			if _, err := j.link.Send(Outgoing{Tag: []byte("tag"), Payload: make([]byte, 100)}); err != nil {
				b.Fatal(err)
			}
			n++
		}
		in = j.client.Output(in)
		b.StartTimer()
		if _, _, err := l.s.c.Input(in, now); err != nil {
			b.Fatal(err)
		}
		j.buf = j.server.Output(j.buf[:0])
		b.StopTimer()
		if _, _, err := j.client.Input(j.buf, now); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// An idle connection with one session and one link costs little, after messages have been, too.
func TestIdleMemory(t *testing.T) {
	const n = 200
	const most = 4 << 10 // of the engine: socket and nodes need some of the 10 KiB as well
	before := heap()
	all := make([]*joined, n)
	for i := range all {
		all[i] = join(t, 1000)
		for range 100 {
			if _, err := all[i].link.Send(Outgoing{Tag: []byte("tag"), Payload: []byte("payload")}); err != nil {
				t.Fatal(err)
			}
		}
		for all[i].carry(t) {
		}
		all[i].buf = nil
		for _, c := range []*Conn{all[i].client, all[i].server} {
			if _, err := c.Tick(now, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	each := int64(heap()-before) / (2 * n)
	t.Logf("%d bytes", each)
	if each > most {
		t.Errorf("an idle connection has %d bytes, at most %d", each, most)
	}
	runtime.KeepAlive(all)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
