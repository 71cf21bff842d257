package kafka

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

func TestSpans(t *testing.T) {
	cluster := startKfake(t, kfake.SeedTopics(2, "dead"))
	c := connect(t, testConfig(cluster.ListenAddrs()...))
	at := time.UnixMilli(1_700_000_000_000)
	for i := range 10 {
		m := message("dead", "", "v")
		m.Record.Partition, m.Record.Timestamp = 1, at.Add(time.Duration(i)*time.Minute)
		if err := send(t, c.Producer(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := cluster.DeleteRecords("dead", 1, 2); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		since time.Time
		start int64
	}{{time.Time{}, 2}, {at, 2}, {at.Add(5 * time.Minute), 5}, {at.Add(5*time.Minute + 1e6), 6}, {at.Add(time.Hour), 10}} {
		got, err := c.Spans(testContext(t), "dead", x.since)
		if want := []Span{{0, 0, 0}, {1, x.start, 10}}; err != nil || !slices.Equal(got, want) {
			t.Errorf("since %v: %v, %v, want %v", x.since, got, err, want)
		}
	}
	if _, err := c.Spans(testContext(t), "missing", time.Time{}); !errors.Is(err, ErrUnknownTopic) {
		t.Error(err)
	}
}
