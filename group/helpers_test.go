package group

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// A world is a Kafka in memory, and the processes that read it.
type world struct {
	t       testing.TB
	cluster *kfake.Cluster
	dial    dialer
	admin   *kgo.Client
	sender  *kafka.Client
	watch   watcher // nil: nobody
	running []*process
	made    int
}

// A watcher sees what happens in the processes.
type watcher interface {
	changed(c *kafka.Consumer, ours bool, partitions map[string][]int32)
	buried(c *kafka.Consumer, r linkspan.Record)
}

// inWorld runs a test in time that passes only when nothing else is left to do, with a Kafka that has the topics t and u of so many
// partitions. The Kafka client waits for a lock when it commits while it joins a group anew, and such a wait stops that time: tests have
// nothing to commit when processes join that are not alone.
func inWorld(t *testing.T, partitions int, test func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var wire kfake.VirtualNetwork
		defer pass(time.Second)
		newWorld(t, partitions, wire.DialContext, kfake.Ports(9092), kfake.ListenFn(wire.Listen))(test)
	})
}

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// newWorld returns what runs a test with a Kafka that has these options.
func newWorld(t *testing.T, partitions int, dial dialer, opts ...kfake.Opt) func(test func(t *testing.T, w *world)) {
	return func(test func(t *testing.T, w *world)) {
		t.Helper()
		w := &world{t: t, dial: dial}
		var err error
		w.cluster, err = kfake.NewCluster(append(opts, kfake.NumBrokers(1), kfake.SeedTopics(int32(partitions), "t", "u"))...)
		if err != nil {
			t.Fatal(err)
		}
		defer w.cluster.Close()
		w.admin, err = kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.Dialer(dial))
		if err != nil {
			t.Fatal(err)
		}
		defer w.admin.Close()
		w.sender = w.client(dial, nil)
		defer w.sender.Close()
		defer func() {
			for len(w.running) > 0 {
				w.running[0].stop()
			}
		}()
		test(t, w)
	}
}

// pass lets time pass.
func pass(d time.Duration) { <-time.After(d) }

// patience bounds how long a test waits for what must happen; it is no measure of how long that takes.
const patience = 10 * time.Minute

func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(patience); !ok(); pass(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("waited in vain for %s", what)
		}
	}
}

func (w *world) client(dial dialer, change func(*kafka.Config)) *kafka.Client {
	w.t.Helper()
	cfg := kafka.Default()
	cfg.Brokers, cfg.Dial = w.cluster.ListenAddrs(), dial
	cfg.Consumer.SessionTimeout = 6 * time.Second
	if change != nil {
		change(&cfg)
	}
	c, err := kafka.New(cfg, quiet)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// feed writes records from..to-1 of partition p; their payload is their number.
func (w *world) feed(topic string, p int32, from, to int) {
	w.t.Helper()
	var stored sync.WaitGroup
	for i := from; i < to; i++ {
		m := &linkspan.Message{Payload: fmt.Append(nil, i)}
		m.Record = linkspan.Record{Topic: topic, Partition: p}
		stored.Add(1)
		w.sender.Producer().Send(w.t.Context(), m, func(err error) {
			if err != nil {
				w.t.Error(err)
			}
			stored.Done()
		})
	}
	stored.Wait()
}

// committed returns the positions of a group in a topic.
func (w *world) committed(group, topic string) map[int32]int64 {
	w.t.Helper()
	all := map[int32]int64{}
	offsets, err := kadm.NewClient(w.admin).FetchOffsets(w.t.Context(), group)
	if err != nil {
		return all // it has none yet
	}
	for p, o := range offsets[topic] {
		all[p] = o.At
	}
	return all
}

func sum(m map[int32]int64) (n int) {
	for _, v := range m {
		n += int(v)
	}
	return n
}

// members returns how many members a group has.
func (w *world) members(group string) int {
	w.t.Helper()
	all, err := kadm.NewClient(w.admin).DescribeGroups(w.t.Context(), group)
	if err != nil {
		w.t.Fatal(err)
	}
	return len(all[group].Members)
}

// steady waits until no member of a group joins it.
func (w *world) steady(group string) {
	w.t.Helper()
	w.until("a steady group", func() bool {
		all, err := kadm.NewClient(w.admin).DescribeGroups(w.t.Context(), group)
		return err == nil && slices.Contains([]string{"Stable", "Empty", "Dead"}, all[group].State)
	})
}

// expel removes the members of a group that are of a process, or all: this broker does not notice that one is gone which died while it
// joined.
func (w *world) expel(group, process string) {
	w.t.Helper()
	all, err := kadm.NewClient(w.admin).DescribeGroups(w.t.Context(), group)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range all[group].Members {
		if process == "" || m.ClientID == process {
			req := kmsg.NewPtrLeaveGroupRequest()
			req.Group = group
			req.Members = []kmsg.LeaveGroupRequestMember{{MemberID: m.MemberID}}
			if _, err := req.RequestWith(w.t.Context(), w.admin); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// A process has a registry of its own.
type process struct {
	w      *world
	name   string
	client *kafka.Client
	groups *Registry
	cancel context.CancelFunc
	ending atomic.Bool
	ended  chan error

	mu        sync.Mutex
	letters   []string // dead letters: payload and reason
	consumers []*kafka.Consumer
	cut       bool
	conns     []net.Conn
}

func (w *world) process(opts Options, change ...func(*kafka.Config)) *process {
	w.made++
	p := &process{w: w, name: fmt.Sprint("process ", w.made), ended: make(chan error, 1)}
	p.client = w.client(p.dial, func(cfg *kafka.Config) {
		cfg.ClientID = p.name
		for _, f := range change {
			f(cfg)
		}
	})
	p.groups = New(p, opts, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.ended <- p.groups.Run(ctx) }()
	w.running = append(w.running, p)
	return p
}

func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := p.w.dial(ctx, network, addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case p.cut:
		c.Close()
		return nil, errors.New("connection refused")
	}
	p.conns = append(p.conns, c)
	return c, nil
}

// kill cuts p off from Kafka at once, and lets it end.
func (p *process) kill() {
	p.ending.Store(true)
	p.mu.Lock()
	p.cut = true
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.client.GiveUp()
	p.stop()
}

// stop ends p as a signal does.
func (p *process) stop() {
	p.w.t.Helper()
	p.ending.Store(true)
	p.w.running = slices.DeleteFunc(p.w.running, func(q *process) bool { return q == p })
	p.cancel()
	if err := <-p.ended; err != nil {
		p.w.t.Errorf("registry: %v", err)
	}
	p.client.Close()
}

// Group, Partition and Partitions are Kafka for the registry, with a dead letter topic before its sink.
func (p *process) Group(name string, changed func(bool, map[string][]int32)) Member {
	var g guarded
	g = p.consumer(kafka.ConsumerConfig{Group: name, Apart: true, Changed: func(ours bool, partitions map[string][]int32) {
		if p.w.watch != nil {
			p.w.watch.changed(g.Consumer, ours, partitions)
		}
		changed(ours, partitions)
	}})
	return g
}

func (p *process) Partition(s Partition) Source {
	return p.consumer(kafka.ConsumerConfig{
		Group: s.Group, Apart: true, Partitions: map[string][]int32{s.Topic: {s.Partition}},
		From: s.From,
	})
}

func (p *process) Partitions(ctx context.Context, topic string) (int, error) {
	return p.client.Partitions(ctx, topic)
}

type guarded struct {
	*kafka.Consumer
	p *process
}

func (p *process) consumer(cfg kafka.ConsumerConfig) guarded {
	c := p.client.NewConsumer(cfg)
	p.mu.Lock()
	p.consumers = append(p.consumers, c)
	p.mu.Unlock()
	return guarded{c, p}
}

func (g guarded) Run(ctx context.Context, to linkspan.Sink) error {
	return g.Consumer.Run(ctx, guard{to.(linkspan.Bounded), g})
}

type guard struct {
	linkspan.Bounded
	from guarded
}

func (g guard) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	payload, record := string(m.Payload), m.Record
	g.Bounded.Send(ctx, m, func(err error) {
		if linkspan.IsPermanent(err) {
			g.from.p.mu.Lock()
			g.from.p.letters = append(g.from.p.letters, payload+": "+err.Error())
			g.from.p.mu.Unlock()
			if g.from.p.w.watch != nil {
				g.from.p.w.watch.buried(g.from.Consumer, record)
			}
			err = nil
		}
		done(err)
	})
}

func (p *process) deadLetters() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.letters)
}

// held returns the bytes that all consumers of p hold.
func (p *process) held() (n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.consumers {
		n += c.Stats().HeldBytes.Load()
	}
	return n
}

// A link is a receiver with credit, which keeps what it gets until the test says what becomes of it.
type link struct {
	w  *world
	rc *Receiving

	mu     sync.Mutex
	credit int
	auto   func(x delivered)         // settles at once; nil: later
	offer  func(m *linkspan.Message) // is called before anything is looked at; nil: not
	list   []delivered
	idle   int
	gone   []error
}

type delivered struct {
	d         *Delivery
	topic     string
	partition int32
	offset    int64
	payload   string
	count     uint32
}

// plenty of credit.
const plenty = 1 << 30

// link joins a group's share of a topic.
func (p *process) link(group, topic string, credit int) *link {
	p.w.t.Helper()
	l := &link{w: p.w, credit: credit}
	rc, err := p.groups.Join(p.w.t.Context(), group, topic, l)
	if err != nil {
		p.w.t.Fatal(err)
	}
	l.rc = rc
	return l
}

func (l *link) Deliver(m *linkspan.Message, d *Delivery) bool {
	if l.offer != nil {
		l.offer(m)
	}
	l.mu.Lock()
	if l.credit == 0 || d.Overtaken() {
		l.mu.Unlock()
		return false
	}
	l.credit--
	r := m.Record
	x := delivered{d, r.Topic, r.Partition, r.Offset, string(m.Payload), d.Count}
	l.list = append(l.list, x)
	auto := l.auto
	l.mu.Unlock()
	if auto != nil {
		auto(x)
	}
	return true
}

func (l *link) Idle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle++
}

func (l *link) Gone(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = append(l.gone, err)
}

// grant gives credit.
func (l *link) grant(n int) {
	l.mu.Lock()
	l.credit += n
	l.mu.Unlock()
	l.rc.Resume()
}

func (l *link) got() []delivered {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list)
}

// idled returns how often l was told that it idles.
func (l *link) idled() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idle
}

// wait waits for n deliveries in all.
func (l *link) wait(n int) []delivered {
	l.w.t.Helper()
	l.w.until(fmt.Sprint(n, " deliveries"), func() bool { return len(l.got()) >= n })
	return l.got()
}

// accepts settles everything from now on at once.
func (l *link) accepts() *link {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.auto = func(x delivered) { x.d.Settle(Outcome{}) }
	return l
}

// payloads lists what was delivered.
func payloads(list []delivered) (all []string) {
	for _, x := range list {
		all = append(all, x.payload)
	}
	return all
}

// numbered returns from..to-1 as payloads.
func numbered(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// partitionsOf lists the partitions that deliveries are of, in order.
func partitionsOf(list []delivered) (all []int32) {
	for _, x := range list {
		all = append(all, x.partition)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
