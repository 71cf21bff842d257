package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// put writes a record to a partition, with a client that knows the partition.
func put(tb testing.TB, cfg Config, topic string, partition int32, payload string) {
	tb.Helper()
	m := message(topic, "", payload)
	m.Record.Partition = partition
	c := connect(tb, cfg)
	if err := send(tb, c.Producer(), m); err != nil {
		tb.Fatal(err)
	}
	c.Close()
}

func addPartitions(tb testing.TB, c *Client, topic string, n int32) {
	tb.Helper()
	more := kmsg.NewPtrCreatePartitionsRequest()
	more.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: n}}
	if _, err := more.RequestWith(testContext(tb), c.kgo); err != nil {
		tb.Fatal(err)
	}
}

// readers are the two kinds of consumers whose positions a group keeps.
var readers = map[string]ConsumerConfig{
	"member": {Topics: []string{"down"}, Group: "g"},
	"alone":  {Topics: []string{"down"}, Group: "g", Alone: true},
}

// P2: a group that begins at the end has that written down before anything is read, so what comes while it is away is not
// skipped, in no partition, not even in those that are new by then.
func TestGroupBeginsOnce(t *testing.T) {
	for kind, reader := range readers {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(startKfake(t, kfake.SeedTopics(2, "down")).ListenAddrs()...)
			cfg.Consumer.StartOffset = "latest"
			c := connect(t, cfg)
			put(t, cfg, "down", 0, "before")
			put(t, cfg, "down", 1, "before")
			sink := new(received)
			_, stop := consume(t, c, reader, sink)
			until(t, "positions", func() bool { return maps.Equal(positions(t, c, "g", "down"), map[int32]int64{0: 1, 1: 1}) })
			stop()
			put(t, cfg, "down", 0, "while away")
			addPartitions(t, c, "down", 3)
			put(t, cfg, "down", 2, "new partition")
			consume(t, c, reader, sink)
			until(t, "both records", func() bool { return len(sink.got()) == 2 })
			addPartitions(t, c, "down", 4)
			put(t, cfg, "down", 3, "newer partition")
			until(t, "the third", func() bool { return len(sink.got()) == 3 })
			got := sink.got()
			slices.Sort(got)
			if !slices.Equal(got, []string{"new partition", "newer partition", "while away"}) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Without a position and with nothing said, a group begins at the beginning, and goes on from where it was (P4).
func TestGroupGoesOn(t *testing.T) {
	for kind, reader := range readers {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(startKfake(t, kfake.SeedTopics(2, "down")).ListenAddrs()...)
			c := connect(t, cfg)
			sink := new(received)
			var want []string
			for i := range 4 {
				for p := range int32(2) {
					want = append(want, fmt.Sprint(i, " ", p))
					put(t, cfg, "down", p, want[len(want)-1])
				}
				_, stop := consume(t, c, reader, sink)
				until(t, "the records", func() bool { return len(sink.got()) >= len(want) })
				stop()
			}
			got := sink.got()
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// When where to begin cannot be written down nothing is read: it is tried again.
func TestGroupBeginsWhenItCanCommit(t *testing.T) {
	for kind, reader := range readers {
		t.Run(kind, func(t *testing.T) {
			cluster := startKfake(t, kfake.SeedTopics(1, "down"))
			cfg := testConfig(cluster.ListenAddrs()...)
			cfg.Consumer.StartOffset = "latest"
			c := connect(t, cfg)
			refused := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: 2})
			sink := new(received)
			consume(t, c, reader, sink)
			until(t, "a position", func() bool { return len(positions(t, c, "g", "down")) == 1 })
			if n := refused.Hits(); n != 2 {
				t.Errorf("%d commits were refused", n)
			}
			put(t, cfg, "down", 0, "after")
			until(t, "the record", func() bool { return len(sink.got()) == 1 })
		})
	}
}

// Readers of fixed partitions share a group without being members; each has its own positions, which outlive it.
func TestFixedPartitions(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(4, "inbox")).ListenAddrs()...)
	c := connect(t, cfg)
	read := func(sink linkspan.Sink, parts ...int32) func() {
		_, stop := consume(t, c, ConsumerConfig{Group: "g", Partitions: map[string][]int32{"inbox": parts}}, sink)
		return stop
	}
	a, b := new(received), new(received)
	stopA, stopB := read(a, 0, 3), read(b, 1)
	for p := range int32(4) {
		put(t, cfg, "inbox", p, fmt.Sprint("first ", p))
	}
	until(t, "all", func() bool { return len(a.got()) == 2 && len(b.got()) == 1 })
	stopA()
	put(t, cfg, "inbox", 0, "second 0")
	put(t, cfg, "inbox", 1, "second 1")
	until(t, "the other", func() bool { return len(b.got()) == 2 })
	stopB()
	if at := positions(t, c, "g", "inbox"); !maps.Equal(at, map[int32]int64{0: 1, 1: 2, 3: 1}) {
		t.Errorf("positions %v", at)
	}
	all := new(received)
	read(all, 0, 1, 2, 3)
	until(t, "the rest", func() bool { return len(all.got()) == 2 })
	got := all.got()
	slices.Sort(got)
	if !slices.Equal(got, []string{"first 2", "second 0"}) {
		t.Errorf("the next owner got %q", got)
	}
}

// P4, P5: a reader that is killed leaves the position of its settled prefix, and the next one goes on there at once.
func TestAloneKilled(t *testing.T) {
	virtually(t, func(t *testing.T, n *network) {
		c, _ := n.client(t)
		defer c.Close()
		for _, v := range numbered(20) {
			c.Producer().Send(context.Background(), message("down", "k", v), func(error) {})
		}
		if err := c.Producer().Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		reader := ConsumerConfig{Topics: []string{"down"}, Group: "g", Alone: true}
		killed, l := n.client(t)
		defer killed.Close()
		sink := &received{decide: func(m *linkspan.Message, done func(error)) {
			if m.Record.Offset != 12 { // which holds back the prefix
				done(nil)
			}
		}}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- killed.NewConsumer(reader).Run(ctx, sink) }()
		pass(5 * time.Second)
		l.change(true, true)
		if at := positions(t, c, "g", "down")[0]; at != 12 {
			t.Errorf("position %d, want 12", at)
		}
		next := new(received)
		go func() { ended <- c.NewConsumer(reader).Run(ctx, next) }()
		pass(time.Second)
		if !slices.Equal(next.got(), numbered(20)[12:]) {
			t.Errorf("the next got %q", next.got())
		}
		end()
		<-ended
		<-ended
	}, kfake.SeedTopics(1, "down"))
}

// Kafka forgets positions that are not written for a week, also of a group that is there but has nothing to do.
func TestAloneKeepsPositions(t *testing.T) {
	virtually(t, func(t *testing.T, n *network) {
		c, _ := n.client(t)
		defer c.Close()
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", Alone: true}).Run(ctx, new(received))
		}()
		pass(3*time.Hour + time.Minute)
		for p, commit := range n.cluster.GroupInfo("g").Commits["down"] {
			if age := time.Since(commit.At); age > keepPositions {
				t.Errorf("the position of partition %d was written %v ago", p, age)
			}
		}
		end()
		<-ended
	}, kfake.SeedTopics(2, "down"))
}

// A group with members refuses positions from outside. That is said, with what to do about it.
func TestAloneAmongMembers(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...)
	c := connect(t, cfg)
	consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, new(received))
	put(t, cfg, "down", 0, "v")
	until(t, "the member's commit", func() bool { return committed(t, c, "g", "down") == 1 })
	alone := c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", Alone: true})
	cl, err := kgo.NewClient(append(c.common[:len(c.common):len(c.common)], topicsByName())...)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	alone.kgo = cl
	err = alone.write(testContext(t), map[string]map[int32]kgo.EpochOffset{"down": {0: {Offset: 1, Epoch: -1}}}, func(string, int32) { t.Error("written") })
	if !errors.Is(err, kerr.UnknownMemberID) || !strings.Contains(err.Error(), "the group has members") {
		t.Errorf("refused with %v", err)
	}
	if err := c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Alone: true}).Run(context.Background(), new(received)); err == nil {
		t.Error("no group, and no error")
	}
}

// What has settled of a partition that was lost is not committed under a membership that came after: another member may have
// gone on from there (P4).
func TestGroupDoesNotCommitWhatItLost(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...)
	cfg.Consumer.CommitInterval = time.Hour // the test commits
	c := connect(t, cfg)
	held := make(chan func(error), 1)
	sink := &received{decide: func(_ *linkspan.Message, done func(error)) { held <- done }}
	if err := send(t, c.Producer(), message("down", "k", "0")); err != nil {
		t.Fatal(err)
	}
	consumer, _ := consume(t, c, ConsumerConfig{Topics: []string{"down"}, Group: "g"}, sink)
	done := <-held
	lanes := consumer.all()
	consumer.losses.Add(1) // the group gives us up, between asking the lanes and the commit
	done(nil)
	consumer.commit(func() []*lane { return lanes })
	if at := committed(t, c, "g", "down"); at != 0 {
		t.Errorf("committed %d", at)
	}
}

// P2: what was put into a fixed partition before its reader was first there is for that reader, wherever groups begin otherwise.
func TestFixedPartitionsFromTheBeginning(t *testing.T) {
	cfg := testConfig(startKfake(t, kfake.SeedTopics(2, "inbox")).ListenAddrs()...)
	cfg.Consumer.StartOffset = "latest"
	c := connect(t, cfg)
	put(t, cfg, "inbox", 1, "early")
	sink := new(received)
	consume(t, c, ConsumerConfig{Group: "g", Partitions: map[string][]int32{"inbox": {1}}}, sink)
	put(t, cfg, "inbox", 1, "late")
	until(t, "both", func() bool { return slices.Equal(sink.got(), []string{"early", "late"}) })
}
