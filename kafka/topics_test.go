package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestEnsureTopics(t *testing.T) {
	cluster := startKfake(t)
	cfg := testConfig(cluster.ListenAddrs()...)
	cfg.Topics = TopicSettings{Create: true, Partitions: 4, Configs: map[string]string{"retention.ms": "1234"}}
	c := connect(t, cfg)
	ctx := testContext(t)
	specs := []TopicSpec{{Name: "t"}, {Name: "a"}, {Name: "b", Partitions: 2, Configs: map[string]string{"cleanup.policy": "compact"}}}
	for range 2 { // what is there already is fine
		if err := c.EnsureTopics(ctx, specs); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := len(cluster.PartitionInfos("a")), len(cluster.PartitionInfos("b")); a != 4 || b != 2 {
		t.Errorf("%d and %d partitions", a, b)
	}
	configs, err := c.topicConfigs(ctx, []string{"a", "b"})
	if err != nil || configs["a"]["retention.ms"] != "1234" || configs["b"]["cleanup.policy"] != "compact" {
		t.Errorf("configs %v, %v", configs, err)
	}
	strict := TopicSpec{Name: "b", Partitions: 3, Configs: map[string]string{"cleanup.policy": "delete", "retention.ms": "1234"}, Strict: true, Hint: "or set fleet.lanes: 2"}
	err = c.EnsureTopics(ctx, []TopicSpec{strict})
	for _, part := range []string{
		"b has 2 partitions, not 3; cleanup.policy=compact, not delete; ", "delete it while nothing uses it", "--entity-name b --add-config 'cleanup.policy=[delete]'; ", "or set fleet.lanes: 2",
	} {
		if !errors.Is(err, ErrTopicSettings) || !strings.Contains(err.Error(), part) {
			t.Errorf("other settings: %v, without %q", err, part)
		}
	}
	both := TopicSpec{Name: "both", Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact,delete"}, Strict: true}
	if err := c.EnsureTopics(ctx, []TopicSpec{both}); err != nil {
		t.Fatal(err)
	}
	both.Configs = map[string]string{"cleanup.policy": "delete,compact"}
	if err := c.EnsureTopics(ctx, []TopicSpec{both}); err != nil {
		t.Errorf("the order of a list: %v", err)
	}
	if err := c.EnsureTopics(ctx, []TopicSpec{{Name: "a/b"}}); !errors.Is(err, linkspan.ErrInvalidTopic) {
		t.Errorf("an illegal name: %v", err)
	}
	for refusal, part := range map[*kerr.Error]string{
		kerr.InvalidReplicationFactor: "no more than there are brokers", kerr.PolicyViolation: "create Kafka topic c",
		kerr.ClusterAuthorizationFailed: "not authorized",
	} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: refusal})
		if err := c.EnsureTopics(ctx, []TopicSpec{{Name: "c"}}); !linkspan.IsPermanent(err) || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: %v", refusal, err)
		}
	}
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "t", Err: kerr.LeaderNotAvailable, Count: 5}) // as after a topic was made
	if err := c.EnsureTopics(ctx, specs); err != nil {
		t.Errorf("leaders that take their time: %v", err)
	}
	if err := c.EnsureTopics(ctx, nil); err != nil {
		t.Errorf("none: %v", err)
	}
}

func TestEnsureTopicsReportsMissing(t *testing.T) {
	cfg := testConfig(startKfake(t).ListenAddrs()...)
	cfg.Topics.Create = false
	err := connect(t, cfg).EnsureTopics(testContext(t), []TopicSpec{{Name: "t"}, {Name: "y"}, {Name: "x"}, {Name: "z", Partitions: 32, Configs: map[string]string{"cleanup.policy": "compact"}}})
	if !errors.Is(err, ErrUnknownTopic) || !strings.Contains(err.Error(), "x; create it, or set kafka.topics.create: true") || !strings.Contains(err.Error(), "y") || !strings.Contains(err.Error(), "z; create it with 32 partitions, cleanup.policy=compact, or set") {
		t.Errorf("missing topics: %v", err)
	}
}

func TestEnsureTopicsWithoutKafka(t *testing.T) {
	c := connect(t, testConfig("127.0.0.1:1"))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := c.EnsureTopics(ctx, []TopicSpec{{Name: "t"}}); err == nil {
		t.Error("no error")
	}
	if err := c.Ping(ctx); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || c.Connected() {
		t.Errorf("ping: %v, connected %v", err, c.Connected())
	}
}

// The same warning is passed on once a minute, with how often it came meanwhile; what we say ourselves, not at all.
func TestLogIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		q := newLogger(slog.New(slog.NewTextHandler(&b, nil)))
		if q.Level() != kgo.LogLevelWarn {
			t.Errorf("level %v", q.Level())
		}
		for range 100 {
			q.Log(kgo.LogLevelWarn, "something")
			q.Log(kgo.LogLevelWarn, "unable to open connection to broker")
			q.Log(kgo.LogLevelWarn, "produce partition load error, bumping error count on first stored batch", "topic", "t", "is_network_err", true)
			q.Log(kgo.LogLevelWarn, "something else")
			_ = sleep(t.Context(), time.Second) // in the bubble's time
		}
		if n := strings.Count(b.String(), "\n"); n != 4 || !strings.Contains(b.String(), "repeated=59") {
			t.Errorf("%d lines:\n%s", n, b.String())
		}
	})
}

// A broker that does not speak TLS, and waits for more of what it takes for a request, is not just slow.
func TestReachSuspectsTLS(t *testing.T) {
	silent := &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	for tls, want := range map[bool]bool{true: true, false: false} {
		if err := (&reach{tls: tls}).why(silent); !errors.Is(err, silent) || strings.Contains(err.Error(), "remove kafka.tls") != want {
			t.Errorf("tls %v: %v", tls, err)
		}
	}
}

// An outage is two lines for each broker.
func TestReachLogsChanges(t *testing.T) {
	var b bytes.Buffer
	r := &reach{log: slog.New(slog.NewTextHandler(&b, nil)), brokers: map[string]*broker{}}
	meta := kgo.BrokerMetadata{Host: "kafka", Port: 9092}
	for _, err := range []error{nil, nil, errors.New("refused"), errors.New("refused"), context.Canceled, nil, nil} {
		r.OnBrokerConnect(meta, 0, nil, err)
	}
	if n := strings.Count(b.String(), "\n"); n != 3 || !r.up() {
		t.Errorf("%d lines, up %v:\n%s", n, r.up(), b.String())
	}
}

// The outcome of an attempt to connect may be told after that of a later one: a broker that has answered since is reachable, and nothing would
// mend the opposite before somebody has to connect again.
func TestReachTakesOutcomesInTheOrderOfAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reach{log: slog.New(slog.DiscardHandler), brokers: map[string]*broker{}}
		meta := kgo.BrokerMetadata{Host: "kafka", Port: 9092}
		attempt := func(began time.Time, err error) { r.OnBrokerConnect(meta, time.Since(began), nil, err) }
		first := time.Now()
		_ = sleep(t.Context(), time.Second)
		second := time.Now()
		_ = sleep(t.Context(), time.Second)
		attempt(second, nil)
		attempt(first, errors.New("reset"))
		if !r.up() {
			t.Error("an attempt that had begun before is taken for the last word")
		}
		_ = sleep(t.Context(), time.Second)
		attempt(time.Now(), errors.New("refused"))
		if r.up() {
			t.Error("a later attempt is not")
		}
		attempt(first, nil)
		if !r.up() {
			t.Error("a broker that answers is reachable, however long it took")
		}
	})
}
