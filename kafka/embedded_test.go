package kafka

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func embeddedConfig(dir string) EmbeddedConfig {
	cfg := defaultEmbedded()
	cfg.Dir, cfg.Listen, cfg.MinFree = dir, wiretest.Loopback(), 0
	return cfg
}

func embedded(tb testing.TB, cfg EmbeddedConfig) *Embedded {
	tb.Helper()
	e, err := StartEmbedded(cfg, quiet)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(e.Close)
	return e
}

// A test binary with this variable set is a broker on that directory: it prints its address and serves until it is killed.
const brokerDir = "LINKSPAN_TEST_BROKER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(brokerDir); dir != "" {
		cfg := embeddedConfig(dir)
		cfg.Listen = os.Getenv(brokerDir + "_LISTEN")
		e, err := StartEmbedded(cfg, quiet)
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		fmt.Println(e.Addr())
		_, _ = bufio.NewReader(os.Stdin).ReadByte() // or until the parent is gone
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// brokerProcess starts a broker in a process of its own. kill kills it at once.
func brokerProcess(tb testing.TB, dir, listen string) (addr string, kill func()) {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), brokerDir+"="+dir, brokerDir+"_LISTEN="+listen)
	if _, err := cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // SIGKILL
		_ = cmd.Wait()
	})
	tb.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "failed") {
		tb.Fatal("the broker does not start: ", line, err)
	}
	return strings.TrimSpace(line), kill
}

// load sends numbered messages, 1000 in flight at most, until stopped, and knows which were acknowledged.
type load struct {
	p      *Producer
	acked  sync.Map // number: true
	n      atomic.Int64
	failed atomic.Int64
	stop   chan struct{}
	ended  chan struct{}
	slots  chan struct{}
}

func startLoad(p *Producer, topic string) *load {
	l := &load{p: p, stop: make(chan struct{}), ended: make(chan struct{}), slots: make(chan struct{}, 1000)}
	go func() {
		defer close(l.ended)
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			case l.slots <- struct{}{}:
			}
			m := message(topic, fmt.Sprint("key-", i%10), fmt.Sprint(i))
			p.Send(context.Background(), m, func(err error) {
				if err == nil {
					l.acked.Store(i, true)
					l.n.Add(1)
				} else {
					l.failed.Add(1)
				}
				<-l.slots
			})
		}
	}()
	return l
}

// check compares what is in the topic with what was acknowledged: none lost (P1, P5), order kept by key (P3); it returns how
// many are there twice.
func (l *load) check(tb testing.TB, addr, topic string) (duplicates int) {
	tb.Helper()
	there := map[int]bool{}
	last := map[string]int{}
	for _, records := range contents(tb, addr, topic) {
		for _, r := range records {
			i, err := strconv.Atoi(string(r.Value))
			if err != nil {
				tb.Fatal(err)
			}
			if there[i] {
				duplicates++
				continue
			}
			there[i] = true
			if before, ok := last[string(r.Key)]; ok && before > i {
				tb.Errorf("%d comes after %d of the same key (P3)", i, before)
			}
			last[string(r.Key)] = i
		}
	}
	acked := 0
	l.acked.Range(func(i, _ any) bool {
		acked++
		if !there[i.(int)] {
			tb.Errorf("%v was acknowledged and is lost (P1)", i)
		}
		return true
	})
	if acked == 0 {
		tb.Error("nothing was acknowledged")
	}
	return duplicates
}

// The broker goes away and comes back with the same data: nothing lost, nothing out of order, nothing twice, no message given
// back.
func TestOutage(t *testing.T) {
	dir := t.TempDir()
	cfg := embeddedConfig(dir)
	e := embedded(t, cfg)
	cfg.Listen = e.Addr()
	p := connect(t, testConfig(e.Addr())).Producer()
	l := startLoad(p, "up")
	for range 2 {
		n := l.n.Load()
		until(t, "acks", func() bool { return l.n.Load() > n+2000 })
		e.Close()
		until(t, "a full window", func() bool { return len(l.slots) == cap(l.slots) })
		if p.OldestUnacked() == 0 {
			t.Error("nothing is unacknowledged in an outage")
		}
		e = embedded(t, cfg)
	}
	n := l.n.Load()
	until(t, "acks after the outage", func() bool { return l.n.Load() > n+2000 })
	close(l.stop)
	<-l.ended
	until(t, "the rest", func() bool { return p.Stats().InFlight.Load() == 0 })
	if d := l.check(t, e.Addr(), "up"); d != 0 {
		t.Errorf("%d duplicates", d)
	}
	if f := l.failed.Load(); f != 0 {
		t.Errorf("%d messages were given back", f)
	}
}

// P5: the broker is killed under load, twice. What was acknowledged is there; what the producer was not told about may be there twice.
func TestEmbeddedKilled(t *testing.T) {
	dir := t.TempDir()
	addr, kill := brokerProcess(t, dir, "127.0.0.1:0")
	p := connect(t, testConfig(addr)).Producer()
	l := startLoad(p, "up") // made by the producer, and "auto" by the broker
	auto, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.AllowAutoTopicCreation())
	if err != nil {
		t.Fatal(err)
	}
	defer auto.Close()
	if err := auto.ProduceSync(testContext(t), &kgo.Record{Topic: "auto", Value: []byte("kept")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n := l.n.Load()
		until(t, "acks", func() bool { return l.n.Load() > n+3000 })
		kill()
		addr, kill = brokerProcess(t, dir, addr)
	}
	n := l.n.Load()
	until(t, "acks after the kill", func() bool { return l.n.Load() > n+1000 })
	close(l.stop)
	<-l.ended
	until(t, "the rest", func() bool { return p.Stats().InFlight.Load() == 0 })
	t.Logf("%d acknowledged, %d duplicates, %d given back", l.n.Load(), l.check(t, addr, "up"), l.failed.Load())
	kept := 0
	for _, records := range contents(t, addr, "auto") {
		kept += len(records)
	}
	if kept != 1 {
		t.Errorf("a topic that the broker made by itself has %d records after the kill, want 1", kept)
	}
}

// synced is the disk of a broker, and remembers how large each file was when it was synced last. It fails for those named broken.
func synced(broken string) (d disk, size func(path string) int64) {
	var sizes sync.Map
	d.free = func() (int64, error) { return 1 << 40, nil }
	d.sync = func(path string) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if filepath.Base(path) == broken {
			return errors.New("input/output error")
		}
		defer sizes.Store(path, info.Size())
		return syncFile(path)
	}
	return d, func(path string) int64 {
		n, _ := sizes.Load(path)
		size, _ := n.(int64)
		return size
	}
}

// segment is the file that holds the only partition of a topic.
func segment(tb testing.TB, dir, topic string) (path string, size int64) {
	tb.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "partitions", topic+"-0", "*.dat"))
	if err != nil || len(found) != 1 {
		tb.Fatal(found, err)
	}
	info, err := os.Stat(found[0])
	if err != nil {
		tb.Fatal(err)
	}
	return found[0], info.Size()
}

// What was taken is on disk at the next flush.
func TestEmbeddedFlush(t *testing.T) {
	cfg := embeddedConfig(t.TempDir())
	cfg.Flush, cfg.Partitions = time.Millisecond, 1
	disk, syncedSize := synced("")
	e, err := startEmbedded(cfg, quiet, disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	p := connect(t, testConfig(e.Addr())).Producer()
	for range 3 {
		if err := send(t, p, message("up", "k", "v")); err != nil {
			t.Fatal(err)
		}
		path, size := segment(t, cfg.Dir, "up")
		until(t, "the flush", func() bool { return syncedSize(path) == size })
	}
}

// What was taken is on disk at the end. A file that cannot be synced is told, and keeps none of the others from it.
func TestEmbeddedFlushAtTheEnd(t *testing.T) {
	cfg := embeddedConfig(t.TempDir())
	cfg.Flush, cfg.Partitions = time.Hour, 1
	disk, syncedSize := synced("meta.json")
	var log bytes.Buffer
	e, err := startEmbedded(cfg, slog.New(slog.NewTextHandler(&log, nil)), disk)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	if err := send(t, connect(t, testConfig(e.Addr())).Producer(), message("up", "k", "v")); err != nil {
		t.Fatal(err)
	}
	e.Close()
	if path, size := segment(t, cfg.Dir, "up"); syncedSize(path) != size {
		t.Errorf("%d of %d bytes are synced", syncedSize(path), size)
	}
	if !strings.Contains(log.String(), "input/output error") {
		t.Errorf("nothing is told of the file that cannot be synced: %s", log.String())
	}
}

func TestEmbeddedRefusesDirectories(t *testing.T) {
	start := func(cfg EmbeddedConfig, free int64) error {
		e, err := startEmbedded(cfg, quiet, disk{free: func() (int64, error) { return free, nil }, sync: syncFile})
		if err == nil {
			e.Close()
		}
		return err
	}
	contains := func(err error, part string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not say %q", err, part)
		}
	}
	dir := t.TempDir()
	first := embedded(t, embeddedConfig(dir))
	contains(start(embeddedConfig(dir), 1<<40), "another process")
	first.Close()
	if err := start(embeddedConfig(dir), 1<<40); err != nil {
		t.Errorf("after the first was closed: %v", err)
	}
	full := embeddedConfig(t.TempDir())
	full.MinFree = 64 << 20
	contains(start(full, 1<<20), "full")

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	contains(start(embeddedConfig(file), 1<<40), "not a directory")
	if os.Getuid() != 0 { // root may write anywhere
		locked := t.TempDir()
		if err := os.Chmod(locked, 0o500); err != nil {
			t.Fatal(err)
		}
		contains(start(embeddedConfig(locked), 1<<40), "permission denied")
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "meta.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	contains(start(embeddedConfig(broken), 1<<40), "move it away")

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	taken := embeddedConfig(t.TempDir())
	taken.Listen = ln.Addr().String()
	contains(start(taken, 1<<40), "choose another address")
}

// A disk that fills up while messages flow: nothing is acknowledged that is not there, and all goes on when there is room.
func TestEmbeddedDiskFull(t *testing.T) {
	var free atomic.Int64
	free.Store(1 << 30)
	cfg := embeddedConfig(t.TempDir())
	cfg.MinFree, cfg.Flush = 1<<20, 0
	e, err := startEmbedded(cfg, quiet, disk{free: func() (int64, error) { return free.Load(), nil }, sync: syncFile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	p := connect(t, testConfig(e.Addr())).Producer()
	l := startLoad(p, "up")
	until(t, "acks", func() bool { return l.n.Load() > 2000 })
	free.Store(1<<20 + 10)
	until(t, "the broker to notice", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.full
	})
	stored := func() (n int64) {
		for _, p := range e.cluster.PartitionInfos("up") {
			n += p.HighWatermark
		}
		return n
	}
	full := stored()
	until(t, "a full window", func() bool { return len(l.slots) == cap(l.slots) })
	o := newOutcomes()
	p.Send(context.Background(), message("new-topic", "k", "v"), o.done)
	until(t, "attempts", func() bool { return p.OldestUnacked() > generationSpan })
	if now, acked := stored(), l.n.Load(); now != full || acked > full || o.count() != 0 {
		t.Errorf("stored %d, then %d on a full disk; %d acknowledged; %d of a new topic", full, now, acked, o.count())
	}
	n := l.n.Load()
	free.Store(1 << 30)
	until(t, "acks again", func() bool { return l.n.Load() > n+2000 })
	if err := o.wait(t); err != nil {
		t.Error(err)
	}
	close(l.stop)
	<-l.ended
	until(t, "the rest", func() bool { return p.Stats().InFlight.Load() == 0 })
	if d, f := l.check(t, e.Addr(), "up"), l.failed.Load(); d != 0 || f != 0 {
		t.Errorf("%d duplicates, %d given back", d, f)
	}
}

// Every topic is bounded in bytes, also one that says nothing of it.
func TestEmbeddedRetention(t *testing.T) {
	cfg := embeddedConfig(t.TempDir())
	cfg.RetentionBytes, cfg.Partitions = 1<<20, 1
	e := embedded(t, cfg)
	c := connect(t, testConfig(e.Addr()))
	payload := strings.Repeat("x", 64<<10)
	for range 64 {
		if err := send(t, c.Producer(), message("up", "", payload)); err != nil {
			t.Fatal(err)
		}
	}
	e.cluster.ApplyRetention()
	var size int64
	err := filepath.Walk(cfg.Dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > 3<<19 {
		t.Errorf("%d bytes are on disk of at most 1 MiB and an eighth", size)
	}
	var gone *OffsetError
	if _, err := c.ReadAt(testContext(t), "up", 0, 0, 1<<20, func(*linkspan.Message) {}); !errors.As(err, &gone) || gone.Earliest == 0 || gone.End != 64 {
		t.Errorf("the first record is still there: %v", err)
	}
}

// A limit of the broker that is not Kafka's is found out by the producer, in both directions.
func TestEmbeddedMaxMessageBytes(t *testing.T) {
	for _, limit := range []int32{5000, 2 << 20} {
		cfg := embeddedConfig(t.TempDir())
		cfg.MaxMessageBytes = limit
		client := testConfig(embedded(t, cfg).Addr())
		client.Producer.MaxMessageBytes = 4 << 20
		p := connect(t, client).Producer()
		if err := send(t, p, message("up", "k", strings.Repeat("x", int(limit)-200))); err != nil {
			t.Errorf("%d: %v", limit, err)
		}
		if err := send(t, p, message("up", "k", strings.Repeat("x", int(limit)))); !errors.Is(err, linkspan.ErrTooLarge) {
			t.Errorf("%d: %v", limit, err)
		}
	}
}

func TestEmbeddedAdvertises(t *testing.T) {
	cfg := embeddedConfig(t.TempDir())
	cfg.Listen, cfg.Advertise = "0.0.0.0:0", "localhost"
	e := embedded(t, cfg)
	if !strings.HasPrefix(e.Addr(), "localhost:") {
		t.Errorf("advertised %s", e.Addr())
	}
	if err := send(t, connect(t, testConfig(e.Addr())).Producer(), message("up", "k", "v")); err != nil {
		t.Error(err)
	}
	for _, part := range []string{e.Addr(), cfg.Dir, "not for: production"} {
		if !strings.Contains(e.Banner(), part) {
			t.Errorf("the banner does not say %q:\n%s", part, e.Banner())
		}
	}
	cfg.Advertise = ""
	if _, err := StartEmbedded(cfg, quiet); err == nil || !strings.Contains(err.Error(), "advertise") {
		t.Errorf("a wildcard without an advertised name: %v", err)
	}
}

// TestEmbeddedAdminOfJava: the broker does not offer what Java's admin client cannot read the answer of.
func TestEmbeddedAdminOfJava(t *testing.T) {
	c := connect(t, testConfig(embedded(t, embeddedConfig(t.TempDir())).Addr()))
	versions, err := kadm.NewClient(c.kgo).ApiVersions(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	versions.Each(func(v kadm.BrokerApiVersions) {
		if _, _, there := v.KeyVersions(int16(kmsg.DescribeTopicPartitions)); there {
			t.Error("it offers DescribeTopicPartitions")
		}
		if _, _, there := v.KeyVersions(int16(kmsg.Metadata)); !there {
			t.Error("it does not offer Metadata")
		}
	})
}
