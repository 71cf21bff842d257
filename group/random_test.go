package group

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Receivers join and leave, settle in any order and by any outcome, and run out of credit; the process stops, or is killed, and another comes.
// Whatever the schedule: no record is lost (P2), a process gets those of a partition in order, and again before anything newer
// what came back (P3), and positions never pass what is not settled (P4).
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				s := newSchedule(t, w, seed)
				s.most, s.second, s.calm = 1, time.Second, synctest.Wait
				s.run(250)
			})
		})
	}
}

// The same with several processes, in real time.
func TestRandomSchedulesOfProcesses(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed ", seed)
	var tcp net.Dialer
	quick := map[string]string{"group.min.session.timeout.ms": "100", "group.initial.rebalance.delay.ms": "0"}
	newWorld(t, 3, tcp.DialContext, kfake.BrokerConfigs(quick))(func(t *testing.T, w *world) {
		s := newSchedule(t, w, seed)
		s.most, s.second, s.calm = 3, 10*time.Millisecond, func() {}
		s.slack = 1 // a record may be on its way while an older one comes back
		s.change = func(cfg *kafka.Config) {
			c := &cfg.Consumer
			c.SessionTimeout, c.RebalanceTimeout, c.CommitInterval = time.Second, 500*time.Millisecond, 10*time.Millisecond
			c.DrainTimeout, c.FetchMaxWait, cfg.RetryInterval = 50*time.Millisecond, 50*time.Millisecond, 10*time.Millisecond
		}
		s.run(150)
	})
}

type place struct {
	partition int32
	offset    int64
}

// A run is one partition at one Kafka consumer, from when Kafka gives it to that until it takes it away.
type run struct {
	c         *kafka.Consumer
	partition int32
}

type progress struct {
	next int64         // what comes for the first time; -1: not known yet
	back map[int64]int // came back, and is to come again; how many newer ones came before
}

// unsure is how often newer records may come before one that is just coming back.
const unsure = -1 << 30

// isBack says that those that were about to come back have done so.
func (s *schedule) isBack(list ...held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range list {
		if x.run.back[x.offset] < 0 {
			x.run.back[x.offset] = 0
		}
	}
}

// returned reports whether the record at offset comes again.
func (r *progress) returned(offset int64) bool {
	_, ok := r.back[offset]
	delete(r.back, offset)
	return ok
}

// A schedule does random things, and keeps what must be true of them.
type schedule struct {
	t         *testing.T
	w         *world
	rng       *rand.Rand
	processes []*process
	links     []*tracked
	fed       [3]int

	most   int                 // processes at a time
	second time.Duration       // how long one is here
	calm   func()              // waits until nothing moves
	slack  int                 // how many newer records may overtake one that comes back
	change func(*kafka.Config) // of processes

	mu      sync.Mutex
	runs    map[run]*progress
	settled map[place]bool
}

// tracked is a link with what is unsettled there.
type tracked struct {
	*link
	p    *process
	left bool // guarded by the schedule's lock
	mu   sync.Mutex
	open []held
}

type held struct {
	delivered
	run *progress
}

func newSchedule(t *testing.T, w *world, seed uint64) *schedule {
	s := &schedule{t: t, w: w, rng: rand.New(rand.NewPCG(seed, 0)), runs: map[run]*progress{}, settled: map[place]bool{}, change: func(*kafka.Config) {}}
	w.watch = s
	return s
}

// run takes steps, and then has everything settled.
func (s *schedule) run(steps int) {
	for range steps {
		if s.t.Failed() {
			return
		}
		s.calm()
		s.step()
		s.check()
	}
	s.finish()
}

func (s *schedule) process() {
	opts := Options{IdleAfter: s.second, MovePatience: time.Duration(1+s.rng.IntN(10)) * s.second}
	s.processes = append(s.processes, s.w.process(opts, s.change))
}

func (s *schedule) step() {
	switch n := s.rng.IntN(100); {
	case len(s.processes) == 0 || n < 2 && len(s.processes) < s.most:
		s.process()
	case len(s.links) == 0 || n < 10 && len(s.links) < 8:
		s.join()
	case n < 20:
		p := s.rng.IntN(3)
		more := 1 + s.rng.IntN(20)
		s.w.feed("t", int32(p), s.fed[p], s.fed[p]+more)
		s.fed[p] += more
	case n < 25:
		s.leave(s.rng.IntN(len(s.links)))
	case n < 27:
		s.end(s.rng.IntN(len(s.processes)), n == 25)
	case n < 45:
		s.links[s.rng.IntN(len(s.links))].grant(1 + s.rng.IntN(10))
	case n < 55:
		pass(time.Duration(s.rng.IntN(8)) * s.second)
	default:
		s.settle(s.links[s.rng.IntN(len(s.links))])
	}
}

func (s *schedule) join() {
	p := s.processes[s.rng.IntN(len(s.processes))]
	l := &tracked{p: p, link: &link{w: s.w, credit: s.rng.IntN(20)}}
	l.auto = func(x delivered) { s.delivered(l, x) }
	var err error
	if l.rc, err = p.groups.Join(s.t.Context(), "g", "t", l); err != nil {
		s.t.Fatal(err)
	}
	s.links = append(s.links, l)
}

// delivered checks the order.
func (s *schedule) delivered(l *tracked, x delivered) {
	s.mu.Lock()
	r := s.runs[run{x.d.rc.team.member.(guarded).Consumer, x.partition}]
	switch {
	case r == nil && (l.left || l.p.ending.Load()): // the consumer is at its end
		r = &progress{back: map[int64]int{}}
	case r == nil:
		s.t.Errorf("%d/%d was delivered by a consumer that does not have the partition", x.partition, x.offset)
		r = &progress{back: map[int64]int{}}
	case r.returned(x.offset):
	case r.next >= 0 && r.next != x.offset:
		s.t.Errorf("%d/%d was delivered when %d was to come", x.partition, x.offset, r.next)
	default:
		r.next = x.offset + 1
	}
	for o := range r.back {
		if o < x.offset {
			r.back[o]++
		}
		if r.back[o] > s.slack {
			s.t.Errorf("%d/%d was delivered before %d, which came back", x.partition, x.offset, o)
		}
	}
	if l.left { // it comes again
		r.back[x.offset] = unsure
	}
	l.mu.Lock() // before somebody else can have l leave without it
	l.open = append(l.open, held{x, r})
	l.mu.Unlock()
	s.mu.Unlock()
}

func (s *schedule) changed(c *kafka.Consumer, ours bool, partitions map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range partitions["t"] {
		delete(s.runs, run{c, n})
		if ours {
			s.runs[run{c, n}] = &progress{next: -1, back: map[int64]int{}}
		}
	}
}

func (s *schedule) buried(c *kafka.Consumer, r linkspan.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled[place{r.Partition, r.Offset}] = true
	if run := s.runs[run{c, r.Partition}]; run != nil {
		delete(run.back, r.Offset)
	}
}

// settle settles some of what a link holds.
func (s *schedule) settle(l *tracked) {
	for range 1 + s.rng.IntN(5) {
		l.mu.Lock()
		if len(l.open) == 0 {
			l.mu.Unlock()
			return
		}
		i := s.rng.IntN(len(l.open))
		if s.rng.IntN(2) == 0 {
			i = 0
		}
		x := l.open[i]
		l.open = slices.Delete(l.open, i, i+1)
		l.mu.Unlock()
		o := []Outcome{{}, {}, {}, {}, {}, {State: Rejected}, {State: Released}, {State: Modified, DeliveryFailed: true}, {State: Modified, UndeliverableHere: true}}[s.rng.IntN(9)]
		s.mu.Lock()
		if o.State == Accepted || o.State == Rejected {
			s.settled[place{x.partition, x.offset}] = true
		} else {
			x.run.back[x.offset] = unsure
		}
		s.mu.Unlock()
		x.d.Settle(o)
		s.isBack(x)
		s.calm()
	}
}

func (s *schedule) leave(i int) {
	s.w.steady("g")
	l := s.links[i]
	s.links = slices.Delete(s.links, i, i+1)
	s.mu.Lock()
	l.left = true
	l.mu.Lock()
	for _, x := range l.open {
		x.run.back[x.offset] = unsure
	}
	list := l.open
	l.mu.Unlock()
	s.mu.Unlock()
	l.rc.Leave()
	s.isBack(list...)
}

// end stops a process, or kills it.
func (s *schedule) end(i int, kill bool) {
	p := s.processes[i]
	s.processes = slices.Delete(s.processes, i, i+1)
	s.w.steady("g")
	if kill {
		p.kill()
		s.w.expel("g", p.name)
	} else {
		p.stop()
	}
	s.links = slices.DeleteFunc(s.links, func(l *tracked) bool { return l.p == p })
}

// check compares what is committed with what is settled (P4).
func (s *schedule) check() {
	at := s.w.committed("g", "t")
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, end := range at {
		for o := range end {
			if !s.settled[place{p, o}] {
				s.t.Errorf("partition %d is committed up to %d, but %d is not settled", p, end, o)
			}
		}
	}
}

// finish has everything settled.
func (s *schedule) finish() {
	for len(s.links) > 0 {
		s.calm()
		s.leave(0)
	}
	for len(s.processes) > 0 {
		s.end(0, false)
	}
	s.w.expel("g", "")
	s.process()
	p := s.processes[0]
	l := &link{w: s.w, credit: plenty}
	l.auto = func(x delivered) {
		s.mu.Lock()
		s.settled[place{x.partition, x.offset}] = true
		s.mu.Unlock()
		x.d.Settle(Outcome{})
	}
	var err error
	if l.rc, err = p.groups.Join(s.t.Context(), "g", "t", l); err != nil {
		s.t.Fatal(err)
	}
	s.w.until("everything to be committed", func() bool {
		s.check()
		return sum(s.w.committed("g", "t")) == s.fed[0]+s.fed[1]+s.fed[2]
	})
	if n, b := p.groups.Stats().Unsettled.Load(), p.held(); n != 0 || b != 0 {
		s.t.Errorf("%d unsettled and %d bytes held in the end", n, b)
	}
	p.stop()
}
