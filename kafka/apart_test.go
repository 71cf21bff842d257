package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/custody"
)

// The custody suite: P1 to P4 and P8 of a consumer whose sink answers for each record by itself.
func TestApartCustody(t *testing.T) {
	custody.TestSource(t, func(t *testing.T) *custody.Near {
		cluster := startKfake(t, kfake.SeedTopics(1, "down"))
		c := connect(t, testConfig(cluster.ListenAddrs()...))
		return &custody.Near{
			Source: c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", Apart: true}), Window: c.cfg.Consumer.MaxInFlight, Retries: true,
			Feed: func(i int) {
				if err := send(t, c.Producer(), message("down", "k", custody.Payload(i))); err != nil {
					t.Error(err)
				}
			},
			Settled: func() int { return committed(t, c, "g", "down") },
		}
	})
}

// A shelf keeps what it is sent until the test says what becomes of it. It has room for so many.
type shelf struct {
	mu     sync.Mutex
	room   int
	asked  int
	values []string
	dones  []func(error)
}

func (s *shelf) Room(*linkspan.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.room > 0
}

func (s *shelf) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room--
	s.values = append(s.values, string(m.Payload))
	s.dones = append(s.dones, done)
}

func (s *shelf) grant(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room += n
}

func (s *shelf) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.values)
}

// settle says what becomes of the i-th that was sent.
func (s *shelf) settle(i int, err error) {
	s.mu.Lock()
	done := s.dones[i]
	s.mu.Unlock()
	done(err)
}

// P3, P4: what is given back comes again ahead of anything newer, in order, while others of the partition are unsettled; and only when
// the sink says that there is room: until then it is asked once, not again and again.
func TestApartComesAgainInOrder(t *testing.T) {
	virtually(t, func(t *testing.T, n *network) {
		c, _ := n.client(t)
		defer c.Close()
		for _, v := range numbered(6) {
			if err := send(t, c.Producer(), message("down", "k", v)); err != nil {
				t.Fatal(err)
			}
		}
		s := &shelf{room: 4}
		consumer := c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", Apart: true})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- consumer.Run(ctx, s) }()
		want := func(list ...string) {
			t.Helper()
			pass(time.Minute)
			if got := s.got(); !slices.Equal(got, list) {
				t.Fatalf("got %v, want %v", got, list)
			}
		}
		want("0", "1", "2", "3")
		back := errors.New("not now")
		for _, i := range []int{2, 3, 1} {
			s.settle(i, back)
		}
		want("0", "1", "2", "3")
		if s.asked > 20 {
			t.Errorf("asked %d times for room", s.asked)
		}
		s.grant(3)
		want("0", "1", "2", "3")
		consumer.Wake("down", 0)
		consumer.Wake("down", 7) // nobody's
		want("0", "1", "2", "3", "1", "2", "3")
		s.settle(4, nil)
		s.settle(5, linkspan.Permanent(errors.New("never")))
		if at := committed(t, c, "g", "down"); at > 0 {
			t.Errorf("committed %d before the first has settled", at)
		}
		s.grant(100)
		consumer.Wake("down", 0)
		want("0", "1", "2", "3", "1", "2", "3", "4", "5")
		for _, i := range []int{0, 6, 7, 8} {
			s.settle(i, nil)
		}
		pass(time.Minute)
		if at, held := committed(t, c, "g", "down"), consumer.Stats().HeldBytes.Load(); at != 6 || held != 0 {
			t.Errorf("committed %d, %d bytes held", at, held)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}, kfake.SeedTopics(1, "down"))
}

// Topics of a member come and go while it runs: each goes on where the group was, and the rest does not notice.
func TestTopicsComeAndGo(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(2, "a", "b"))
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Consumer.SessionTimeout = 6 * time.Second
	c := connect(t, cfg)
	write := func(topic string, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			m := message(topic, "", fmt.Sprint(topic, i))
			m.Record.Partition = int32(i % 2)
			if err := send(t, c.Producer(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	var mu sync.Mutex
	ours := map[string]int{}
	sink := new(received)
	consumer, stop := consume(t, c, ConsumerConfig{Group: "g", Apart: true, Changed: func(had bool, parts map[string][]int32) {
		mu.Lock()
		defer mu.Unlock()
		for topic, ps := range parts {
			if had {
				ours[topic] += len(ps)
			} else {
				ours[topic] -= len(ps)
			}
		}
	}}, sink)
	has := func(topic string, n int) {
		t.Helper()
		until(t, fmt.Sprint(n, " partitions of ", topic), func() bool { mu.Lock(); defer mu.Unlock(); return ours[topic] == n })
	}
	got := func(topic string) (n int) {
		for _, v := range sink.got() {
			if v[:1] == topic {
				n++
			}
		}
		return n
	}
	write("a", 0, 4)
	write("b", 0, 4)
	consumer.Add("a")
	has("a", 2)
	until(t, "a's records", func() bool { return got("a") == 4 })
	consumer.Add("b")
	has("b", 2)
	until(t, "b's records", func() bool { return got("b") == 4 })
	consumer.Remove("a")
	has("a", 0)
	if at := committed(t, c, "g", "a"); at != 4 {
		t.Errorf("committed %d of the topic that went, want 4", at)
	}
	write("a", 4, 8)
	write("b", 4, 8)
	until(t, "b's records", func() bool { return got("b") == 8 })
	consumer.Add("a")
	consumer.Remove("a") // and changes its mind
	consumer.Add("a")
	has("a", 2)
	until(t, "a's records", func() bool { return got("a") == 8 })
	has("b", 2)
	stop()
	if n := len(sink.got()); n != 16 || committed(t, c, "g", "a")+committed(t, c, "g", "b") != 16 {
		t.Errorf("%d records of 16 were handed over", n)
	}
	has("a", 0)
}

// A partition is read from where it is said to, with and without a group that keeps the position.
func TestPartitionStarts(t *testing.T) {
	c := connect(t, testConfig(startKfake(t, kfake.SeedTopics(2, "down")).ListenAddrs()...))
	first := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 10 {
		m := message("down", "", strconv.Itoa(i))
		m.Record.Partition, m.Record.Timestamp = 1, first.Add(time.Duration(i)*time.Minute)
		if err := send(t, c.Producer(), m); err != nil {
			t.Fatal(err)
		}
	}
	more := 10
	for _, tc := range []struct {
		name  string
		group string
		from  linkspan.Start
		next  int // the record that comes first; -1: the one that is written next
	}{
		{"earliest", "", linkspan.Start{At: linkspan.Earliest}, 0},
		{"latest", "", linkspan.Start{At: linkspan.Latest}, -1},
		{"at an offset", "g", linkspan.Start{At: linkspan.AtOffset, Offset: 7}, 7},
		{"where the group is", "g", linkspan.Start{}, -1},
		{"behind an offset", "", linkspan.Start{At: linkspan.AfterOffset, Offset: 7}, 8},
		{"behind the offset before all", "", linkspan.Start{At: linkspan.AfterOffset, Offset: -1}, 0},
		{"behind the last offset", "", linkspan.Start{At: linkspan.AfterOffset, Offset: 0}, -1},
		{"at a time", "", linkspan.Start{At: linkspan.AtTime, Time: first.Add(150 * time.Second)}, 3},
		{"at a time to come", "", linkspan.Start{At: linkspan.AtTime, Time: first.Add(24 * time.Hour)}, -1},
		{"where a group without a position is", "new", linkspan.Start{}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "behind the last offset" {
				tc.from.Offset = int64(more) - 1
			}
			sink := new(received)
			cfg := ConsumerConfig{Group: tc.group, Partitions: map[string][]int32{"down": {1}}, From: tc.from, Apart: true}
			_, stop := consume(t, c, cfg, sink)
			next := tc.next
			if next < 0 {
				next = more
				m := message("down", "", strconv.Itoa(more))
				m.Record.Partition, m.Record.Timestamp = 1, first.Add(time.Duration(more)*time.Minute)
				if err := send(t, c.Producer(), m); err != nil {
					t.Fatal(err)
				}
				more++
			}
			until(t, "the records", func() bool { return len(sink.got()) >= more-next })
			stop()
			if got := sink.got(); !slices.Equal(got, numbered(more)[next:]) {
				t.Errorf("got %v, want %v", got, numbered(more)[next:])
			}
			if tc.group != "" && positions(t, c, tc.group, "down")[1] != int64(more) {
				t.Errorf("the group is at %v, want %d", positions(t, c, tc.group, "down"), more)
			}
		})
	}
}

// A start that the partition has not come to is an error that says what there is, and so is a consumer that cannot begin.
func TestPartitionStartsNowhere(t *testing.T) {
	c := connect(t, testConfig(startKfake(t).ListenAddrs()...))
	run := func(cfg ConsumerConfig) error {
		return c.NewConsumer(cfg).Run(testContext(t), new(received))
	}
	var never *OffsetError
	for _, from := range []linkspan.Start{{At: linkspan.AtOffset, Offset: 5}, {At: linkspan.AfterOffset, Offset: 0}} {
		if err := run(ConsumerConfig{Partitions: map[string][]int32{"t": {0}}, From: from}); !errors.As(err, &never) || never.End != 0 {
			t.Errorf("%+v: %v", from, err)
		}
	}
	if err := run(ConsumerConfig{Partitions: map[string][]int32{"t": {0}}}); err == nil {
		t.Error("a group that keeps the position is not missed")
	}
}

// How many partitions there are, or that there is no such topic.
func TestPartitions(t *testing.T) {
	c := connect(t, testConfig(startKfake(t).ListenAddrs()...))
	if n, err := c.Partitions(testContext(t), "t"); n != 3 || err != nil {
		t.Errorf("%d partitions, %v", n, err)
	}
	for _, topic := range []string{"nowhere", "no name", ""} {
		if _, err := c.Partitions(testContext(t), topic); !errors.Is(err, ErrUnknownTopic) {
			t.Errorf("%q: %v", topic, err)
		}
	}
	away := connect(t, testConfig("127.0.0.1:1"))
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := away.Partitions(ctx, "t"); err == nil || errors.Is(err, ErrUnknownTopic) {
		t.Errorf("without Kafka: %v", err)
	}
}

// What a record costs on its way through a consumer whose sink settles it at once: what the Kafka client and the broker cost is in it.
func BenchmarkApart(b *testing.B) {
	cluster := startKfake(b, kfake.SeedTopics(1, "down"))
	c := connect(b, testConfig(cluster.ListenAddrs()...))
	fillTopic(b, c, "down", b.N)
	b.ReportAllocs()
	b.ResetTimer()
	var got atomic.Int64
	all := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	consumer := c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", Apart: true})
	go func() {
		ended <- consumer.Run(ctx, linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) {
			done(nil)
			if got.Add(1) == int64(b.N) {
				close(all)
			}
		}))
	}()
	<-all
	b.StopTimer()
	cancel()
	<-ended
}

// fillTopic writes n records of 100 bytes.
func fillTopic(b *testing.B, c *Client, topic string, n int) {
	b.Helper()
	payload := make([]byte, 100)
	o := newOutcomes()
	for i := range n {
		m := &linkspan.Message{Payload: payload}
		m.Record = linkspan.Record{Topic: topic, Partition: linkspan.AnyPartition}
		c.Producer().Send(context.Background(), m, o.done)
		if i >= 5000 {
			o.wait(b)
		}
	}
	for range min(n, 5000) {
		o.wait(b)
	}
}
