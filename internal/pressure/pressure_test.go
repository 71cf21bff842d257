package pressure

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// waiter counts how often it was woken.
type waiter struct {
	woken    atomic.Int64
	unready  atomic.Bool
	lastWoke atomic.Int64 // nanoseconds of the clock
}

func (w *waiter) Ready() bool { return !w.unready.Load() }

func (w *waiter) Wake() {
	w.woken.Add(1)
	w.lastWoke.Store(time.Now().UnixNano())
}

// in runs a test in virtual time, with a sink whose room it decides about, and which counts the questions.
func in(t *testing.T, f func(t *testing.T, p *Pressure, room *atomic.Bool, asked *atomic.Int64)) {
	synctest.Test(t, func(t *testing.T) {
		var room atomic.Bool
		var asked atomic.Int64
		p := New(func() bool {
			asked.Add(1)
			return room.Load()
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { p.Run(ctx) })
		f(t, p, &room, &asked)
		cancel()
		running.Wait()
	})
}

func (w *waiter) expect(t *testing.T, n int64) {
	t.Helper()
	synctest.Wait()
	if got := w.woken.Load(); got != n {
		t.Errorf("woken %d times, want %d", got, n)
	}
}

// P6: who waits is woken once, when there is room; however many wait, the sink is asked once in each interval, and never when
// nobody waits.
func TestWokenWhenThereIsRoom(t *testing.T) {
	in(t, func(t *testing.T, p *Pressure, room *atomic.Bool, asked *atomic.Int64) {
		time.Sleep(time.Hour)
		waiters := make([]waiter, 100)
		for i := range waiters {
			p.Wait(&waiters[i], 0)
		}
		time.Sleep(20*Interval + Interval/2)
		if n := asked.Load(); n > 22 {
			t.Errorf("asked %d times in 20 intervals", n)
		}
		if n := p.Waiting(); n != len(waiters) {
			t.Errorf("%d wait", n)
		}
		room.Store(true)
		time.Sleep(Interval)
		for i := range waiters {
			waiters[i].expect(t, 1)
		}
		n := asked.Load()
		time.Sleep(time.Hour)
		waiters[0].expect(t, 1)
		if p.Waiting() != 0 || asked.Load() != n {
			t.Errorf("%d wait, asked %d times more", p.Waiting(), asked.Load()-n)
		}
	})
}

// Who asked in vain for its own message waits its while, though there is room; and the while grows up to a bound.
func TestWhile(t *testing.T) {
	in(t, func(t *testing.T, p *Pressure, room *atomic.Bool, _ *atomic.Int64) {
		room.Store(true)
		var w waiter
		var patience time.Duration
		for range 10 {
			patience = Patience(patience)
			p.Wait(&w, patience)
			began := time.Now()
			time.Sleep(patience + Interval)
			synctest.Wait()
			if took := time.Unix(0, w.lastWoke.Load()).Sub(began); took < patience || took > patience+Interval {
				t.Errorf("woken after %v of %v", took, patience)
			}
		}
		if w.expect(t, 10); patience != Longest {
			t.Errorf("the longest while is %v", patience)
		}
	})
}

// Who would not go on, and who is forgotten, is not woken.
func TestNotReady(t *testing.T) {
	in(t, func(t *testing.T, p *Pressure, room *atomic.Bool, _ *atomic.Int64) {
		var gone, shy waiter
		shy.unready.Store(true)
		p.Wait(&gone, 0)
		p.Wait(&shy, 0)
		p.Forget(&gone)
		room.Store(true)
		time.Sleep(10 * Interval)
		gone.expect(t, 0)
		shy.expect(t, 0)
		shy.unready.Store(false)
		time.Sleep(Interval)
		shy.expect(t, 1)
	})
}
