package outage

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Int("outage.seeds", defaultSeeds, "how many schedules TestOutages runs")
	first = flag.Uint64("outage.first", 1, "the seed of the first")
	seed  = flag.Uint64("outage.seed", 0, "the one schedule to run, and to tell as a story")
)

// TestOutages runs random schedules of outages: whatever happens to Kafka, to the disk and to the process, at the end every message
// that was acknowledged is in Kafka, in order (P1, P3, P5), or counted where the configuration says that it may be dropped (P2); nothing
// is there twice unless a process was killed; and the spool is empty.
func TestOutages(t *testing.T) {
	if *seed != 0 {
		play(t, *seed)
		return
	}
	var next atomic.Uint64
	var failed atomic.Bool
	next.Store(*first - 1)
	for range runtime.GOMAXPROCS(0) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			defer func() { failed.CompareAndSwap(false, t.Failed()) }()
			for n := next.Add(1); n < *first+uint64(*seeds) && !failed.Load(); n = next.Add(1) {
				play(t, n)
			}
		})
	}
}

// play runs one schedule, and tells its story if a promise was broken.
func play(t *testing.T, n uint64) {
	t.Helper()
	s := newSchedule(n)
	stuck := time.AfterFunc(8*time.Minute, func() { panic(fmt.Sprintf("virtual time stands still in %v", s)) })
	defer stuck.Stop()
	tale := ""
	defer func() {
		if t.Failed() || n == *seed {
			t.Logf("\n%s\nonce more: go test ./internal/outage -run TestOutages -v -outage.seed=%d", tale, n)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, s)
		w.run()
		tale = w.tale()
	})
}

// pass lets virtual time pass.
func pass(d time.Duration) { time.Sleep(d) }

// A world takes as long as its troubles, and then this at most until all is well.
const patience = 2 * time.Minute

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var supervisor, devices sync.WaitGroup
	supervisor.Go(func() { w.supervise(ctx) })
	for _, d := range w.devices {
		devices.Go(func() { d.run(ctx) })
	}
	w.play()
	w.tell("--- all is well again")
	well := w.until("all devices are done", func() bool { return w.done() }) && w.until("the spool is empty and out of the way", w.rested)
	if well {
		w.checkPositions()
	}
	w.want(-1)
	cancel()
	devices.Wait()
	supervisor.Wait()
	if p := w.current(); p != nil {
		p.stop()
		w.until("nothing runs any more", func() bool { return w.current() == nil })
	}
	if well {
		w.check()
	}
	w.cluster.Close()
	pass(5 * time.Second) // for what is on its way to find out that nobody is there
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); pass(50 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	w.failf("not within %v: %s%s", patience, what, w.describe())
	return false
}
