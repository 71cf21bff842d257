package kafka

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// EmbeddedConfig is `kafka.embedded`: the broker inside this process.
type EmbeddedConfig struct {
	// Dir holds its data. It is created if needed, and belongs to one process at a time. Default: linkspan
	// in the directory of the user's data ($XDG_DATA_HOME, or ~/.local/share). Nobody else can read it. Kafka: log.dirs.
	Dir string `yaml:"dir"`
	// Listen is its address. Default 127.0.0.1:9092; port 0 takes any free one. Kafka: listeners.
	Listen string `yaml:"listen"`
	// Advertise is the host or host:port by which clients reach it. Default: as in Listen; needed when that is a wildcard such as
	// 0.0.0.0. Kafka: advertised.listeners.
	Advertise string `yaml:"advertise"`
	// Partitions of topics that are created without saying. Default 3. Kafka: num.partitions.
	Partitions int `yaml:"partitions"`
	// Retention is how long records are kept, where a topic does not say. Default 168h. Kafka: log.retention.ms.
	Retention time.Duration `yaml:"retention"`
	// RetentionBytes is how many bytes of a partition are kept, where a topic does not say, within one eighth.
	// Default 256 MiB (268435456), at least 1 MiB. Kafka: log.retention.bytes.
	RetentionBytes int64 `yaml:"retention_bytes"`
	// Flush is how often what was taken is synced to disk. A process that is killed loses nothing all the same, but a
	// power cut may take with it what came since. 0 syncs each batch before it is acknowledged; the broker then stands
	// still whenever the disk does. Default 1s. Kafka: log.flush.interval.ms.
	Flush time.Duration `yaml:"flush"`
	// MinFree is the free space on the disk below which nothing more is taken. Producers wait until there is more.
	// Default 64 MiB (67108864).
	MinFree int64 `yaml:"min_free"`
	// MaxMessageBytes is the largest batch that is taken. Default 1048588. Kafka: message.max.bytes.
	MaxMessageBytes int32 `yaml:"max_message_bytes"`
}

func defaultEmbedded() EmbeddedConfig {
	return EmbeddedConfig{
		Dir: "linkspan-data", Listen: "127.0.0.1:9092", Partitions: 3, Retention: 7 * 24 * time.Hour, RetentionBytes: 256 << 20,
		Flush: time.Second, MinFree: 64 << 20, MaxMessageBytes: 1048588,
	}
}

func (e *EmbeddedConfig) validate(p *problems) {
	host, _, err := net.SplitHostPort(e.Listen)
	if err != nil {
		p.add("embedded.listen", "%v; write host:port, such as 127.0.0.1:9092", err)
	} else if ip := net.ParseIP(host); e.Advertise == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		p.add("embedded.advertise", "is needed with listen %s: the host name by which clients reach this machine", e.Listen)
	}
	p.check("embedded.dir", e.Dir != "", "must not be empty")
	p.check("embedded.partitions", e.Partitions >= 1 && e.Partitions <= 1000, "must be between 1 and 1000, is %d", e.Partitions)
	p.check("embedded.retention", e.Retention >= time.Second, "must be at least 1s, is %v", e.Retention)
	p.check("embedded.retention_bytes", e.RetentionBytes >= 1<<20, "must be at least 1048576, is %d", e.RetentionBytes)
	p.check("embedded.flush", e.Flush >= 0, "must not be negative")
	p.check("embedded.min_free", e.MinFree >= 0, "must not be negative")
	p.check("embedded.max_message_bytes", e.MaxMessageBytes >= 1024, "must be at least 1024, is %d", e.MaxMessageBytes)
}

// Embedded is a Kafka-compatible broker inside this process, on disk, for a first run, for tests and for demonstrations.
// Each batch is with the operating system before it is acknowledged (P1), so a process that is killed loses nothing; it is one copy on
// one disk all the same, and what a power cut takes is for EmbeddedConfig.Flush to say. After a kill a producer may repeat what it
// was not told about.
type Embedded struct {
	cfg     EmbeddedConfig
	log     *slog.Logger
	cluster *kfake.Cluster
	addr    string
	unlock  func()
	disk    disk
	took    atomic.Bool // something is to be flushed
	flushed time.Time   // when the last flush began
	wanted  chan string // topics that clients want to be created
	cancel  context.CancelFunc
	ended   sync.WaitGroup
	close   sync.Once

	mu   sync.Mutex
	full bool
}

// A disk is what the broker asks of the one that its directory is on.
type disk struct {
	free func() (int64, error)   // bytes
	sync func(path string) error // of a file or a directory
}

// StartEmbedded starts the broker on its directory and address. It fails, before anything is acknowledged, on a directory
// that another process uses, that cannot be written, or whose disk is full.
func StartEmbedded(cfg EmbeddedConfig, log *slog.Logger) (*Embedded, error) {
	return startEmbedded(cfg, log, disk{free: func() (int64, error) { return diskFree(cfg.Dir) }, sync: syncFile})
}

func startEmbedded(cfg EmbeddedConfig, log *slog.Logger, disk disk) (_ *Embedded, err error) {
	var p problems
	if cfg.validate(&p); len(p) > 0 {
		return nil, p.err()
	}
	e := &Embedded{cfg: cfg, log: log, disk: disk, wanted: make(chan string, 100)}
	if err := e.takeDir(); err != nil {
		return nil, fmt.Errorf("kafka.embedded.dir: %w", err)
	}
	defer func() {
		if err != nil {
			e.unlock()
		}
	}()
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("kafka.embedded.listen: %w; stop what listens there, or choose another address", err)
	}
	e.addr = e.advertised(ln.Addr())
	if e.cluster, err = kfake.NewCluster(e.options(ln)...); err != nil {
		ln.Close()
		return nil, fmt.Errorf("kafka.embedded.dir %s: %w; move it away to start afresh", cfg.Dir, err)
	}
	e.watch()
	waiting, err := newWaiters(e.cluster, ln.Addr().String())
	if err != nil {
		e.cluster.Close()
		return nil, fmt.Errorf("kafka.embedded.listen: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.ended.Go(func() { waiting.run(ctx) })
	e.ended.Go(func() { e.retain(ctx) })
	e.ended.Go(func() { e.createTopics(ctx) })
	if cfg.Flush > 0 {
		e.ended.Go(func() { e.flushes(ctx) })
	}
	return e, nil
}

// options are those of a broker that listens on ln.
func (e *Embedded) options(ln net.Listener) []kfake.Opt {
	cfg := &e.cfg
	segment := min(max(cfg.RetentionBytes/8, 1<<17), 64<<20)
	opts := []kfake.Opt{
		kfake.NumBrokers(1), kfake.ClusterID("linkspan-embedded"), kfake.DefaultNumPartitions(cfg.Partitions),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return listener{ln, e.addr}, nil }),
		kfake.DataDir(cfg.Dir),
		kfake.WithLogger(kfakeLog{e.log}), kfake.MaxVersions(versions()),
		kfake.BrokerConfigs(map[string]string{
			"log.retention.ms":    strconv.FormatInt(cfg.Retention.Milliseconds(), 10),
			"log.retention.bytes": strconv.FormatInt(cfg.RetentionBytes, 10),
			"log.segment.bytes":   strconv.FormatInt(segment, 10),
			"message.max.bytes":   strconv.FormatInt(int64(cfg.MaxMessageBytes), 10),
			// One broker waits for nobody when a group's only member joins.
			"group.min.session.timeout.ms": strconv.FormatInt(minSession.Milliseconds(), 10),
		}),
	}
	if cfg.Flush == 0 {
		opts = append(opts, kfake.SyncWrites())
	}
	return opts
}

// watch has the broker refuse what the disk may not hold, and tell of topics that clients want.
//
// All that we add to the broker is a fault that looks at requests in the broker's own loop. Its control functions run beside the
// loop, which then takes a request more while it is being closed, and forgets about it.
//
// What the disk may not hold is refused before it is tried: after a write that fails half-way the broker has already counted the
// batch's sequence numbers as seen, and would acknowledge a repeat without storing it (P1).
func (e *Embedded) watch() {
	e.cluster.Fault(
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce, kmsg.CreateTopics}, Err: kerr.KafkaStorageError, Count: -1,
			When: func(req kmsg.Request) bool { e.took.Store(true); return !e.room(payload(req)) },
		},
		kfake.Fault{
			Keys: []kmsg.Key{kmsg.Metadata}, Observe: true, Count: -1,
			When: func(req kmsg.Request) bool { e.notice(req.(*kmsg.MetadataRequest)); return false },
		},
	)
}

// versions are those of requests that the broker takes. A broker that was killed has forgotten which batches its producers have sent.
// Kafka since 2.5 takes any batch from a producer that it does not know, so one that was sent behind another would be stored
// before it. At this version of InitProducerId the broker answers as Kafka did before, and the producer starts over in order (P3).
//
// Java's admin client, and with it Spark, cannot read what the broker answers to DescribeTopicPartitions. Where that is not known, it asks
// for metadata.
func versions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.InitProducerID), 2)
	v.SetMaxKeyVersion(int16(kmsg.DescribeTopicPartitions), -1)
	return v
}

// takeDir locks the directory for this process and makes sure that it takes data.
func (e *Embedded) takeDir() error {
	if err := os.MkdirAll(e.cfg.Dir, 0o700); err != nil {
		return err
	}
	unlock, err := lockFile(filepath.Join(e.cfg.Dir, "lock"))
	if err != nil {
		return err
	}
	e.unlock = unlock
	free, err := e.disk.free()
	if err == nil && free < e.cfg.MinFree {
		err = fmt.Errorf("the disk of %s is full: %d MiB are free, min_free is %d MiB; make room, or lower min_free", e.cfg.Dir, free>>20, e.cfg.MinFree>>20)
	}
	if err == nil {
		err = tryWrite(filepath.Join(e.cfg.Dir, "probe.tmp"))
	}
	if err != nil {
		unlock()
	}
	return err
}

// tryWrite finds out what only a write can tell: a read-only file system, a quota, a full disk.
func tryWrite(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer os.Remove(path)
	_, err = f.Write(make([]byte, 64<<10))
	return errors.Join(err, f.Sync(), f.Close())
}

func (e *Embedded) advertised(bound net.Addr) string {
	host, port, _ := net.SplitHostPort(bound.String())
	if e.cfg.Advertise == "" {
		if h, _, _ := net.SplitHostPort(e.cfg.Listen); h != "" {
			host = h
		}
		return net.JoinHostPort(host, port)
	}
	if h, p, err := net.SplitHostPort(e.cfg.Advertise); err == nil {
		return net.JoinHostPort(h, p)
	}
	return net.JoinHostPort(e.cfg.Advertise, port)
}

// Addr is the address to find it by: kafka.brokers of its clients.
func (e *Embedded) Addr() string { return e.addr }

// Banner says in a few lines what it is for, and what not.
func (e *Embedded) Banner() string {
	flush := "too"
	if e.cfg.Flush > 0 {
		flush = fmt.Sprintf("but for those of the last %v", e.cfg.Flush)
	}
	return fmt.Sprintf(`Embedded Kafka broker on %s, data in %s
  for: a first run, development, tests, demonstrations. Records are kept through a kill, and through a power cut %s.
  not for: production. One process, one disk, one copy: no replication, no failover. Set kafka.brokers for a real cluster.
  keeps %v and %d MiB of each partition; stops taking records when less than %d MiB of disk are free.`,
		e.addr, e.cfg.Dir, flush, e.cfg.Retention, e.cfg.RetentionBytes>>20, e.cfg.MinFree>>20)
}

// Close stops the broker after what it has begun, and gives its directory back. Safe to call twice.
func (e *Embedded) Close() {
	e.close.Do(func() {
		e.cancel()
		e.ended.Wait()
		e.cluster.Close()
		if e.cfg.Flush > 0 {
			e.flush()
		}
		e.unlock()
	})
}

// retain applies the retention: the broker does so by itself only for topics that have settings of their own.
func (e *Embedded) retain(ctx context.Context) {
	for every := time.Minute; sleep(ctx, every) == nil; {
		e.cluster.ApplyRetention()
	}
}

// flushes syncs to disk what was taken, also by the process before this one.
//
// It runs beside the broker's loop. A sync now and then takes 50 ms and more, longest when others write to the same disk, and
// in the loop all topics would wait for it.
func (e *Embedded) flushes(ctx context.Context) {
	for before := true; sleep(ctx, e.cfg.Flush) == nil; {
		took := e.took.Swap(false)
		if took || before { // what was just being taken at the last flush
			e.flush()
		}
		before = took
	}
}

// flush syncs what has changed since the last time, by the time of its change.
func (e *Embedded) flush() {
	since := e.flushed.Add(-2 * time.Second) // file systems round to up to that
	e.flushed = time.Now()
	var failed error
	_ = filepath.WalkDir(e.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		var info fs.FileInfo
		if err == nil {
			info, err = d.Info()
		}
		if err == nil && info.ModTime().After(since) {
			err = e.disk.sync(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // retention may be faster
			failed = err
		}
		return nil
	})
	if failed != nil {
		e.log.Error("the embedded broker cannot sync its data to disk", "dir", e.cfg.Dir, "err", failed)
	}
}

// syncFile syncs a file or a directory to disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// room reports whether n more bytes fit on the disk.
func (e *Embedded) room(n int) bool {
	free, err := e.disk.free()
	ok := err == nil && free-int64(n) >= e.cfg.MinFree
	e.mu.Lock()
	changed := e.full == ok
	e.full = !ok
	e.mu.Unlock()
	switch {
	case changed && !ok:
		e.log.Error("disk full: the embedded broker takes no more records", "dir", e.cfg.Dir, "free_bytes", free, "min_free_bytes", e.cfg.MinFree, "err", err)
	case changed:
		e.log.Info("the embedded broker takes records again", "dir", e.cfg.Dir, "free_bytes", free)
	}
	return ok
}

// payload is how many bytes a request asks to be written.
func payload(kreq kmsg.Request) (n int) {
	req, ok := kreq.(*kmsg.ProduceRequest)
	if !ok {
		return 0
	}
	for i := range req.Topics {
		for j := range req.Topics[i].Partitions {
			n += len(req.Topics[i].Partitions[j].Records)
		}
	}
	return n
}

// notice passes on which topics a client asks for and lets be created.
func (e *Embedded) notice(req *kmsg.MetadataRequest) {
	if !req.AllowAutoTopicCreation {
		return
	}
	for _, t := range req.Topics {
		if t.Topic != nil {
			select {
			case e.wanted <- *t.Topic:
			default: // the client asks again
			}
		}
	}
}

// createTopics creates the topics that clients ask for. The broker could do that by itself, but would not write them down
// before it is closed in good order.
func (e *Embedded) createTopics(ctx context.Context) {
	for {
		select {
		case topic := <-e.wanted:
			if !legalName(topic) || e.cluster.TopicInfo(topic) != nil || !e.room(0) {
				continue
			}
			if err := e.cluster.CreateTopic(topic, 0, nil); err == nil {
				e.log.Info("kafka topic created", "topic", topic, "by", "a client of the embedded broker")
			}
		case <-ctx.Done():
			return
		}
	}
}

// listener makes the broker tell its clients the advertised address.
type listener struct {
	net.Listener
	advertised string
}

func (l listener) Addr() net.Addr { return address(l.advertised) }

type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// kfakeLog passes on what the broker complains about.
type kfakeLog struct{ log *slog.Logger }

func (l kfakeLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError, kfake.LogLevelWarn:
		l.log.Warn("embedded kafka: " + fmt.Sprintf(format, args...))
	}
}
