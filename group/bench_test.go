package group

import (
	"context"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/twmb/franz-go/pkg/kfake"
)

// idleKafka is a Kafka of one topic that gives nothing by itself.
type idleKafka struct{}

type idleMember struct{}

func (idleKafka) Group(string, func(bool, map[string][]int32)) Member { return idleMember{} }
func (idleKafka) Partition(Partition) Source                          { return idleMember{} }
func (idleKafka) Partitions(context.Context, string) (int, error)     { return 1, nil }
func (idleMember) Run(ctx context.Context, _ linkspan.Sink) error     { <-ctx.Done(); return nil }
func (idleMember) Wake(string, int32)                                 {}
func (idleMember) Add(string)                                         {}
func (idleMember) Remove(string)                                      {}

// backlog is a receiver that settles what it got once it has so many.
type backlog struct {
	list []*Delivery
	n    int
}

func (b *backlog) Deliver(_ *linkspan.Message, d *Delivery) bool {
	if b.list = append(b.list, d); len(b.list) == b.n {
		for _, d := range b.list {
			d.Settle(Outcome{})
		}
		b.list = b.list[:0]
	}
	return true
}

func (*backlog) Idle()      {}
func (*backlog) Gone(error) {}

// aTeam returns a team with one partition and one receiver.
func aTeam(tb testing.TB, to Receiver) *team {
	r := New(idleKafka{}, Options{}, quiet)
	if _, err := r.Join(tb.Context(), "g", "t", to); err != nil {
		tb.Fatal(err)
	}
	t := r.teams["g"]
	t.changed(true, map[string][]int32{"t": {0}})
	return t
}

// What the sharing costs of a record: to ask for room, to deliver, and to settle 100 later.
func BenchmarkDeliver(b *testing.B) {
	t := aTeam(b, &backlog{n: 100})
	m := &linkspan.Message{Record: linkspan.Record{Topic: "t"}}
	done := func(error) {}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Record.Offset = int64(i)
		if t.Room(m) {
			t.Send(b.Context(), m, done)
		}
	}
}

// A record on its way allocates nothing.
func TestDeliverAllocatesNothing(t *testing.T) {
	tm := aTeam(t, &backlog{n: 100})
	m := &linkspan.Message{Record: linkspan.Record{Topic: "t"}}
	done := func(error) {}
	n := testing.AllocsPerRun(1000, func() {
		m.Record.Offset++
		if !tm.Room(m) {
			t.Fatal("no room")
		}
		tm.Send(t.Context(), m, done)
	})
	if n >= 1 {
		t.Errorf("%v allocations a record", n)
	}
}

// A record all the way from a Kafka in memory, which costs most of it, to a receiver of 1000 unsettled records.
func BenchmarkReceive(b *testing.B) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "t", "u"))
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	w := &world{t: b, cluster: cluster}
	cfg := kafka.Default()
	cfg.Brokers = cluster.ListenAddrs()
	c, err := kafka.New(cfg, quiet)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	w.sender = c
	for i := 0; i < b.N; i += 1000 {
		w.feed("t", 0, i, min(i+1000, b.N))
	}
	p := &process{w: w, client: c}
	r := New(p, Options{}, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	b.ReportAllocs()
	b.ResetTimer()
	all := make(chan struct{})
	if _, err := r.Join(ctx, "g", "t", &counting{backlog{n: min(1000, b.N)}, b.N, all}); err != nil {
		b.Fatal(err)
	}
	<-all
	b.StopTimer()
	cancel()
	<-ended
}

type counting struct {
	backlog
	left int
	all  chan struct{}
}

func (c *counting) Deliver(m *linkspan.Message, d *Delivery) bool {
	c.backlog.Deliver(m, d)
	if c.left--; c.left == 0 {
		close(c.all)
	}
	return true
}
