package spool

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

var (
	seeds = flag.Int("seeds", 75, "how many random schedules TestSchedules runs")
	first = flag.Uint64("seed", 1, "the first of them")
)

// Devices publish, on lanes of different ack points, through everything that can happen to Kafka, to the disk and to the
// process, at random. At the end Kafka has all that was acknowledged (P1, P5), in the order of each device (P3, CON-W7), and
// nothing twice (CON-W5) unless a process was killed, and then the same.
func TestSchedules(t *testing.T) {
	for seed := *first; seed < *first+uint64(*seeds); seed++ {
		in(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.run()
			if t.Failed() {
				t.Logf("go test ./spool -run TestSchedules -seeds 1 -seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// A world is one schedule.
type world struct {
	t       *testing.T
	seed    uint64
	r       *rand.Rand
	cfg     Config
	bytes   int64
	disk    *journaltest.Disk
	cluster *cluster
	log     []delivered // of clusters' producers that were killed
	spool   *Spool
	stop    func() error
	away    bool
	offline atomic.Bool
	kills   int
	events  []string // for people

	mu      sync.Mutex
	life    int // how many processes there were
	devices []*device
	letters map[string]bool
}

// A device sends numbered messages in order, without waiting for each acknowledgement. When one fails it waits for all that are
// under way, and sends what was not acknowledged again, as one that connects again does.
type device struct {
	w          *world
	key, lane  string
	size       int
	sent       int          // numbers below were sent once
	under      int          // way
	broken     bool         // something failed
	settled    map[int]bool // acknowledged, or refused for good
	acked      map[int]bool
	failed     map[int]bool // came back at least once: others may have overtaken it
	poisonEach int
}

func newWorld(t *testing.T, seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, seed: seed, r: r, cfg: Default(), disk: journaltest.New(), cluster: newCluster(), letters: map[string]bool{}}
	w.cfg.Dir, w.cfg.MinFree, w.cfg.MaxBytes, w.cfg.SegmentBytes = "/spool", 0, 1<<20, 64<<10
	w.cfg.After = time.Duration(400+r.IntN(1600)) * time.Millisecond
	w.cfg.Drain.MaxInFlight = 1 + r.IntN(60)
	w.bytes = int64(2+r.IntN(100)) << 10
	for i := range 6 {
		w.devices = append(w.devices, &device{
			w: w, key: string(rune('A'+r.IntN(4))) + string(rune('0'+i)), lane: []string{"a", "b", "spool", "kafka"}[r.IntN(4)], size: r.IntN(1 + r.IntN(3000)),
			settled: map[int]bool{}, acked: map[int]bool{}, failed: map[int]bool{}, poisonEach: r.IntN(40),
		})
	}
	return w
}

// start opens and runs a process.
func (w *world) start() {
	w.mu.Lock()
	w.life++
	life := w.life
	w.mu.Unlock()
	s, err := Open(w.cfg, []Lane{{Name: "a"}, {Name: "b"}, {Name: "spool", Ack: AckSpool}, {Name: "kafka", Ack: AckKafka}}, Parts{
		To: w.cluster, DrainBytes: w.bytes, Connected: func() bool { return !w.offline.Load() }, OS: w.disk,
		Bury: func(_ context.Context, m *linkspan.Message, _ error, _ int, done func(error)) {
			w.mu.Lock()
			if life == w.life {
				w.letters[string(m.Payload)] = true
			}
			w.mu.Unlock()
			done(nil)
		},
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatalf("seed %d: %v", w.seed, err)
	}
	w.spool = s
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-ended })
}

// judge decides what Kafka makes of a record: poison is refused, and now and then the whole of a partition comes back.
func (w *world) judge(bad float64) func(*fakeRecord) error {
	r := rand.New(rand.NewPCG(w.seed, uint64(len(w.events))))
	return func(f *fakeRecord) error {
		if strings.HasSuffix(string(f.m.Payload[:12]), "!") {
			return linkspan.Permanent(errors.New("poison"))
		}
		if r.Float64() < bad {
			return errors.New("not now")
		}
		return nil
	}
}

// setJudge has Kafka judge so from now on. Now and then a Keep takes its time.
func (w *world) setJudge(bad float64) {
	judge := w.judge(bad)
	r := rand.New(rand.NewPCG(w.seed, uint64(len(w.events))+1<<32))
	w.cluster.mu.Lock()
	w.cluster.judge = judge
	w.cluster.stall = func() time.Duration {
		if r.IntN(100) > 0 {
			return 0
		}
		return time.Duration(r.IntN(3000)) * time.Millisecond
	}
	w.cluster.mu.Unlock()
}

func (w *world) run() {
	w.setJudge(0)
	w.cluster.away(false)
	w.start()
	for range 20 + w.r.IntN(40) {
		w.event()
		w.publish()
		if w.t.Failed() {
			break
		}
	}
	w.finish()
}

// publish has all devices send at the same time, while Kafka answers some.
func (w *world) publish() {
	var all sync.WaitGroup
	for _, d := range w.devices {
		n := w.r.IntN(20)
		all.Go(func() { d.send(n) })
	}
	if n := w.r.IntN(50); n > 25 {
		all.Go(func() {
			for _, p := range w.cluster.partitions() {
				w.cluster.answer(p, n-25)
			}
		})
	}
	all.Wait()
	time.Sleep(time.Duration(w.r.IntN(300)) * time.Millisecond)
}

// event is one thing that happens.
func (w *world) event() {
	what := ""
	switch n := w.r.IntN(24); {
	case n < 4:
		w.away = !w.away
		what = fmt.Sprint("away ", w.away)
		w.cluster.away(w.away)
	case n < 6:
		what = fmt.Sprint("online ", w.offline.Load())
		w.offline.Store(!w.offline.Load())
	case n < 8:
		bad := w.r.Float64() * 0.2
		what = fmt.Sprint("bad ", bad)
		w.setJudge(bad)
	case n < 10:
		what = "good"
		w.setJudge(0)
	case n < 12:
		op := []string{"append.write", "append.sync", "append", "position", "segment"}[w.r.IntN(5)]
		what = "fail " + op
		w.disk.Fail(op, syscall.EIO)
	case n < 15:
		what = "heal"
		w.disk.Heal()
	case n < 16:
		what = "one sync fails"
		w.disk.FailOnce("append.sync", 1+w.r.IntN(3), syscall.EIO)
	case n < 18:
		hold := w.r.IntN(2) == 0
		what = fmt.Sprint("hold ", hold)
		w.spool.Hold(hold)
	case n < 22:
		d := time.Duration(w.r.IntN(4000)) * time.Millisecond
		what = fmt.Sprint("time ", d)
		time.Sleep(d)
	case n < 23:
		w.kill()
		what = "kill"
	default:
		w.restart()
		what = "restart"
	}
	w.events = append(w.events, what)
}

// kill ends the process at once, with its producer, of which Kafka may have taken some; and the power, or not.
func (w *world) kill() {
	w.mu.Lock()
	w.life++ // nobody hears of what is acknowledged from here on
	w.mu.Unlock()
	w.kills++
	old := w.disk
	if w.r.IntN(2) == 0 {
		w.disk = old.Kill()
	} else {
		w.disk = old.PowerLoss(w.r)
	}
	w.setJudge(0)
	for _, p := range w.cluster.partitions() {
		w.cluster.answer(p, w.r.IntN(20))
	}
	w.cluster.end()
	_ = w.stop()
	w.next()
	for _, d := range w.devices {
		d.reconnect()
	}
}

// restart stops the process in order, and starts another.
func (w *world) restart() {
	stopped := make(chan struct{})
	go func() { _ = w.stop(); close(stopped) }()
	<-stopped
	w.cluster.end()
	synctest.Wait()
	w.kills++ // what Kafka took while nobody waited for it may come again
	w.next()
	for _, d := range w.devices {
		d.reconnect()
	}
}

// next starts the next process, with a producer of its own.
func (w *world) next() {
	for _, x := range w.cluster.wrong {
		w.t.Error(x)
	}
	w.log = append(w.log, w.cluster.has()...)
	w.cluster = newCluster()
	w.setJudge(0)
	w.cluster.away(w.away)
	w.disk.Heal()
	w.start()
}

// finish heals everything, and waits until all is delivered.
func (w *world) finish() {
	w.disk.Heal()
	w.offline.Store(false)
	w.away = false
	w.setJudge(0)
	w.spool.Hold(false)
	w.cluster.away(false)
	for range 100 {
		pass(time.Second)
		for _, d := range w.devices {
			d.send(0)
		}
		if w.empty() {
			break
		}
	}
	if !w.empty() {
		w.t.Errorf("seed %d: not all is delivered: %+v", w.seed, w.spool.Status())
		for _, d := range w.devices {
			w.t.Errorf("%s: sent %d, settled %d, under way %d, broken %v", d.key, d.sent, len(d.settled), d.under, d.broken)
		}
	}
	if err := w.stop(); err != nil {
		w.t.Errorf("seed %d: %v", w.seed, err)
	}
	w.log = append(w.log, w.cluster.has()...)
	for _, x := range w.cluster.wrong {
		w.t.Error(x)
	}
	for _, d := range w.devices {
		d.check()
	}
	if w.t.Failed() {
		w.t.Log(strings.Join(w.events, ", "))
	}
}

func (w *world) empty() bool {
	for _, l := range w.spool.Status().Lanes {
		if l.Messages > 0 || l.InFlight > 0 || l.Ack != AckSpool && l.Way != Direct {
			return false
		}
	}
	for _, d := range w.devices {
		if w.mu.Lock(); d.under > 0 || d.broken || len(d.settled) < d.sent {
			w.mu.Unlock()
			return false
		}
		w.mu.Unlock()
	}
	return true
}

func (d *device) payload(i int) string {
	mark := "."
	if d.poisonEach > 0 && i%d.poisonEach == d.poisonEach-1 {
		mark = "!"
	}
	return fmt.Sprintf("%s-%08d%s%s", d.key, i, mark, strings.Repeat("x", d.size))
}

// send sends n new messages, if there is room, after what is to be sent again.
func (d *device) send(n int) {
	d.w.mu.Lock()
	if d.broken && d.under > 0 {
		d.w.mu.Unlock()
		return
	}
	var list []int
	if d.broken {
		for i := range d.sent {
			if !d.settled[i] {
				list = append(list, i)
			}
		}
		d.broken = false
	}
	for range n {
		list = append(list, d.sent)
		d.sent++
	}
	d.w.mu.Unlock()
	for k, i := range list {
		d.w.mu.Lock()
		room := !d.broken
		d.w.mu.Unlock()
		if !room || !d.w.spool.Room(&linkspan.Message{Route: d.lane}) {
			d.putBack(list[k:])
			return
		}
		d.publish(i)
	}
}

// putBack notes that messages were not handed over: they are to be sent when there is room.
func (d *device) putBack([]int) {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.broken = true
}

func (d *device) publish(i int) {
	w := d.w
	w.mu.Lock()
	life := w.life
	d.under++
	w.mu.Unlock()
	m := &linkspan.Message{
		Topic: d.key, Payload: []byte(d.payload(i)), Route: d.lane, Received: time.Now(), Mute: i%2 == 0,
		Record: linkspan.Record{Topic: "to", Partition: linkspan.AnyPartition, Key: []byte(d.key), Timestamp: time.UnixMilli(int64(i) + 1)},
	}
	w.spool.Send(context.Background(), m, func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.life != life {
			return
		}
		d.under--
		switch {
		case err == nil:
			d.settled[i], d.acked[i] = true, true
		case linkspan.IsPermanent(err):
			d.settled[i] = true
		default:
			d.failed[i], d.broken = true, true
		}
	})
	clear(m.Payload)
}

// reconnect has the device send all again that was not acknowledged by the process that is gone.
func (d *device) reconnect() {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.under, d.broken = 0, true
}

// check looks for all that was acknowledged, its order, and what came twice.
func (d *device) check() {
	w := d.w
	count, last := map[string]int{}, -1
	number := map[string]int{}
	for i := range d.sent {
		number[d.payload(i)] = i
	}
	for _, r := range w.log {
		if r.key != d.key {
			continue
		}
		i, ok := number[r.payload]
		if !ok || r.stamp != int64(i)+1 {
			w.t.Errorf("seed %d: %s %.20q at %d was never sent", w.seed, d.key, r.payload, r.stamp)
		}
		if count[r.payload]++; count[r.payload] > 1 || d.failed[i] {
			continue
		}
		if i < last {
			w.t.Errorf("seed %d: %s %d came after %d (P3)", w.seed, d.key, i, last)
		}
		last = i
	}
	for i := range d.sent {
		p := d.payload(i)
		switch n := count[p]; {
		case d.acked[i] && n == 0 && !w.letters[p]:
			w.t.Errorf("seed %d: %s %d on lane %s was acknowledged and is lost (P1)", w.seed, d.key, i, d.lane)
		case n > 1 && w.kills == 0:
			w.t.Errorf("seed %d: %s %d came %d times (P5)", w.seed, d.key, i, n)
		}
	}
}
