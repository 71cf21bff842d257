package outage

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan/spool/journal/journaltest"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Topics beside those of the lanes.
const (
	deadTopic = "dead"
	warmTopic = "warm"
)

// A world is a Kafka, a disk, devices, and one process of Linkspan after the other, in a bubble of virtual time.
type world struct {
	t       *testing.T
	s       *schedule
	born    time.Time
	log     *slog.Logger
	cluster *kfake.Cluster
	network *network
	addrs   []string
	disk    *journaltest.Disk
	devices []*device

	mu      sync.Mutex
	random  *rand.Rand
	faults  faults
	loose   bool     // a step on the disk is still to fail
	process *process // nil: none
	changed chan struct{}
	down    int  // who does not want a process to run
	rough   bool // a process was killed, or stopped with something on the way: what was there may come twice
	again   bool // Kafka refused something: what was on the way then may come twice
	mixed   bool // and what was direct is to be sent again by its device, when what it sent later is there
	counts  map[string]*counts
	gone    map[string]bool // identities of messages that were in a Kafka that has lost its data

	story  sync.Mutex
	lines  []telling
	failed bool
}

// counts are those of one lane, of all processes that have ended.
type counts struct {
	dropped, lost, refused uint64
	away                   uint64 // with the producer when the process was killed: perhaps dropped, and not counted yet
}

// A telling is one line of the story, made when someone wants to read it.
type telling struct {
	at     time.Duration
	format string
	args   []any
}

func newWorld(t *testing.T, s *schedule) *world {
	w := &world{
		t: t, s: s, born: time.Now(), changed: make(chan struct{}), counts: map[string]*counts{}, gone: map[string]bool{},
		random:  rand.New(rand.NewPCG(s.seed, 3)),
		network: newNetwork(rand.New(rand.NewPCG(s.seed, 2)), s.brokers),
	}
	w.log = slog.New(slog.NewTextHandler(logWriter{w}, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	w.disk = journaltest.New()
	w.apply()
	w.found()
	w.addrs = w.cluster.ListenAddrs()
	for i := range s.devices {
		w.devices = append(w.devices, &device{
			habits: s.devices[i], w: w, random: rand.New(rand.NewPCG(s.seed, uint64(100+i))), wake: make(chan struct{}, 1),
		})
	}
	return w
}

// found makes a Kafka with nothing in it.
func (w *world) found() {
	var ports []int
	for i := range w.s.brokers {
		ports = append(ports, firstPort+i)
	}
	var err error
	w.cluster, err = kfake.NewCluster(kfake.NumBrokers(w.s.brokers), kfake.Ports(ports...), kfake.ListenFn(w.network.wire.Listen), kfake.SeedTopics(w.s.partitions, w.topics()...), kfake.SeedTopics(1, warmTopic))
	if err != nil {
		w.t.Fatal(err)
	}
}

type logWriter struct{ w *world }

func (l logWriter) Write(b []byte) (int, error) {
	l.w.tell("%s", strings.TrimSpace(string(b)))
	return len(b), nil
}

var _ io.Writer = logWriter{}

// tell adds a line to the story. The arguments must not change any more.
func (w *world) tell(format string, args ...any) {
	w.story.Lock()
	defer w.story.Unlock()
	w.lines = append(w.lines, telling{time.Since(w.born), format, args})
}

// failf says that a promise is broken. The world goes on, so that it ends.
func (w *world) failf(format string, args ...any) {
	w.tell("FAILED: "+format, args...)
	w.story.Lock()
	defer w.story.Unlock()
	w.failed = true
	w.t.Errorf("seed %d: "+format, append([]any{w.s.seed}, args...)...)
}

// hang is failf for what cannot be ended: the bubble would wait for it for ever.
func (w *world) hang(what string) {
	w.failf("%s", what)
	panic(w.tale() + what)
}

// tale is the schedule and the story.
func (w *world) tale() string {
	w.story.Lock()
	defer w.story.Unlock()
	var b strings.Builder
	b.WriteString(w.s.String())
	for _, l := range w.lines {
		fmt.Fprintf(&b, "%9.3fs ", l.at.Seconds())
		fmt.Fprintf(&b, l.format+"\n", l.args...)
	}
	return b.String()
}

func (w *world) sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// listening returns the process that devices can send to, and waits for one. It returns nil when ctx ends.
func (w *world) listening(ctx context.Context) *process {
	for {
		w.mu.Lock()
		p, changed := w.process, w.changed
		w.mu.Unlock()
		if p != nil && p.accepts() {
			return p
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// current returns the process that runs, nil if none does.
func (w *world) current() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.process
}

// drive returns what the next process sees of the disk.
func (w *world) drive() *journaltest.Disk {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.disk
}

// end has ended p.
func (w *world) end(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.process == p {
		w.process = nil
	}
}

// blur: from here on, what is delivered may come twice, and what was acknowledged from memory may not come.
func (w *world) blur() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rough = true
}

// account adds up what p counted.
func (w *world) account(p *process) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range p.spool.Status().Lanes {
		c := w.count(l.Name)
		c.dropped += l.Counters.Oldest + l.Counters.Newest + l.Counters.TooOld
		c.lost += l.Counters.Lost
		c.refused += l.Counters.Refused
		c.away += uint64(l.InFlight)
	}
}

// count returns what was counted for a lane.
func (w *world) count(lane string) *counts {
	c := w.counts[lane]
	if c == nil {
		c = new(counts)
		w.counts[lane] = c
	}
	return c
}

// A step is something that happens at its time.
type step struct {
	at time.Duration
	do func()
}

// play has all troubles begin and end. At its end nothing is wrong any more, and a process runs.
func (w *world) play() {
	var steps []step
	for i := range w.s.troubles {
		tr := &w.s.troubles[i]
		var end func()
		steps = append(steps, step{tr.at, func() {
			w.tell("--- %v", tr)
			end = tr.kind.begin(w, tr)
		}})
		if tr.lasts > 0 {
			steps = append(steps, step{tr.at + tr.lasts, func() {
				w.tell("--- end of %v", tr)
				end()
			}})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	for _, s := range steps {
		pass(time.Until(w.born.Add(s.at)))
		s.do()
	}
}

// supervise starts a process whenever there should be one, until ctx ends.
func (w *world) supervise(ctx context.Context) {
	for ctx.Err() == nil {
		w.mu.Lock()
		wanted := w.process == nil && w.down == 0
		w.mu.Unlock()
		if wanted {
			if err := w.start(); err != nil {
				w.tell("Linkspan does not start: %v", err)
			} else {
				w.tell("Linkspan starts")
			}
		}
		w.sleep(ctx, 50*time.Millisecond)
	}
}
