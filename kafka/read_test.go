package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kfake"
)

// readFrom reads a partition from an offset to its end.
func readFrom(tb testing.TB, c *Client, topic string, partition int32, from int64) (list []string) {
	tb.Helper()
	for {
		next, err := c.ReadAt(testContext(tb), topic, partition, from, 4096, func(m *linkspan.Message) { list = append(list, string(m.Payload)) })
		if err != nil {
			tb.Fatal(err)
		}
		if next == from {
			return list
		}
		from = next
	}
}

func TestReadAt(t *testing.T) {
	c := connect(t, testConfig(startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()...))
	for _, v := range numbered(300) {
		if err := send(t, c.Producer(), message("down", "k", v)); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []int64{0, 1, 150, 299, 300} {
		if got := readFrom(t, c, "down", 0, from); !slices.Equal(got, numbered(300)[from:]) {
			t.Errorf("from %d: %v", from, got)
		}
	}
	n := 0
	if next, err := c.ReadAt(testContext(t), "down", 0, 0, 1, func(*linkspan.Message) { n++ }); err != nil || n == 0 || next != int64(n) {
		t.Errorf("less than a batch: %d records, next %d, %v", n, next, err)
	}
}

func TestReadAtOffsetOutOfRange(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(1, "down"))
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	for range 10 {
		if err := send(t, c.Producer(), message("down", "k", "v")); err != nil {
			t.Fatal(err)
		}
	}
	if err := cluster.DeleteRecords("down", 0, 4); err != nil {
		t.Fatal(err)
	}
	for _, from := range []int64{0, 3, 11} {
		var gone *OffsetError
		next, err := c.ReadAt(testContext(t), "down", 0, from, 4096, func(*linkspan.Message) {})
		if !errors.As(err, &gone) || gone.Earliest != 4 || gone.End != 10 || gone.Offset != from || next != from {
			t.Errorf("at %d: next %d, %v", from, next, err)
		}
	}
}

// Control records and what was aborted are not visited, and still passed.
func TestReadAtTransactions(t *testing.T) {
	addr := startKfake(t, kfake.SeedTopics(1, "down")).ListenAddrs()[0]
	writeTransactions(t, addr, "down")
	if got := readFrom(t, connect(t, testConfig(addr)), "down", 0, 0); !slices.Equal(got, []string{"committed"}) {
		t.Errorf("got %v", got)
	}
}

func TestReadAtFollowsLeader(t *testing.T) {
	cluster := startKfake(t, kfake.NumBrokers(3), kfake.SeedTopics(1, "down"))
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	if err := send(t, c.Producer(), message("down", "k", "v")); err != nil {
		t.Fatal(err)
	}
	for node := range int32(3) {
		if err := cluster.MoveTopicPartition("down", 0, node); err != nil {
			t.Fatal(err)
		}
		if got := readFrom(t, c, "down", 0, 0); !slices.Equal(got, []string{"v"}) {
			t.Errorf("leader %d: %v", node, got)
		}
	}
}

func TestReadAtFails(t *testing.T) {
	cfg := testConfig(startKfake(t).ListenAddrs()...)
	cfg.RequestTimeout = 200 * time.Millisecond
	c := connect(t, cfg)
	for topic, partition := range map[string]int32{"t": 3, "none": 0} {
		if _, err := c.ReadAt(context.Background(), topic, partition, 0, 4096, func(*linkspan.Message) {}); err == nil {
			t.Errorf("%s %d: no error", topic, partition)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.ReadAt(ctx, "t", 0, 0, 4096, func(*linkspan.Message) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func BenchmarkReadAt(b *testing.B) {
	c := connect(b, testConfig(startKfake(b, kfake.SeedTopics(1, "down")).ListenAddrs()...))
	for i := range 1000 {
		c.Producer().Send(context.Background(), message("down", "k", fmt.Sprint(i)), func(error) {})
	}
	if err := c.Producer().Drain(testContext(b)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.ReadAt(context.Background(), "down", 0, 0, 1<<20, func(*linkspan.Message) {}); err != nil {
			b.Fatal(err)
		}
	}
}
