package linkspan

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
)

// TestWindowSettlesInOrder completes what is in flight in random order from several goroutines and expects it to be
// settled in the order of Open, each once, with its own outcome (P3, P4).
func TestWindowSettlesInOrder(t *testing.T) {
	const n, size = 20000, 64
	type settledAs struct {
		v   int
		err error
	}
	var slots Slots[int]
	var settled []settledAs
	w := NewWindow(size, &slots, func(v int, err error) { settled = append(settled, settledAs{v, err}) })

	odd := errors.New("odd")
	work := make(chan func(), size)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for f := range work {
				mine := []func(){f}
			gather: // what is there: waiting with one in hand could be waiting for oneself
				for len(mine) < 8 {
					select {
					case f, ok := <-work:
						if !ok {
							break gather
						}
						mine = append(mine, f)
					default:
						break gather
					}
				}
				r.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				for _, f := range mine {
					f()
				}
			}
		})
	}
	for i := range n {
		if err := w.WaitRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
		done, ok := w.Open(i)
		if !ok {
			t.Fatalf("no room for %d after WaitRoom", i)
		}
		var err error
		if i%2 == 1 {
			err = odd
		}
		work <- func() { done(err) }
	}
	close(work)
	wg.Wait()
	if err := w.WaitEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(settled) != n {
		t.Fatalf("settled %d of %d", len(settled), n)
	}
	if w.oldest != nil || w.newest != nil {
		t.Fatal("an empty window holds slots")
	}
	for i, s := range settled {
		if s.v != i || (s.err != nil) != (i%2 == 1) {
			t.Fatalf("place %d settled %d with %v", i, s.v, s.err)
		}
	}
}

func TestWindowIsBounded(t *testing.T) {
	var slots Slots[string]
	w := NewWindow(2, &slots, func(string, error) {})
	a, _ := w.Open("a")
	b, _ := w.Open("b")
	if _, ok := w.Open("c"); ok || !w.Full() {
		t.Fatal("a third opened in a window of two (P6)")
	}
	b(nil) // behind an open one: not settled, so no room yet (P4)
	if v, _ := w.Oldest(); v != "a" || w.Len() != 2 {
		t.Fatalf("oldest %q of %d, want a of 2", v, w.Len())
	}
	a(nil)
	if _, ok := w.Oldest(); ok || w.Len() != 0 {
		t.Fatalf("%d in flight after all were settled", w.Len())
	}
}

// P3: a failure shows at once, though it is settled in its turn; a refusal for good is none.
func TestWindowShowsFailure(t *testing.T) {
	w := NewWindow(3, new(Slots[int]), func(int, error) {})
	var done [3]func(error)
	for i := range done {
		done[i], _ = w.Open(i)
	}
	done[2](Permanent(errors.New("no")))
	if w.Failed() {
		t.Error("failed by a refusal")
	}
	if done[1](errors.New("later, perhaps")); !w.Failed() || w.Len() != 3 {
		t.Errorf("failed %v, with %d in flight", w.Failed(), w.Len())
	}
	done[0](nil)
}

func TestWindowWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slots Slots[int]
		w := NewWindow(1, &slots, func(int, error) {})
		done, _ := w.Open(1)

		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- w.WaitRoom(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want the context's error", err)
		}

		got := make(chan error, 2)
		go func() { got <- w.WaitRoom(t.Context()) }()
		go func() { got <- w.WaitEmpty(t.Context()) }()
		synctest.Wait()
		done(nil)
		for range 2 {
			if err := <-got; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// BenchmarkWindow settles messages that are alone in their window, and, flooded, those of 50 windows with 100 each that one
// goroutine opens and another completes.
func BenchmarkWindow(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		var slots Slots[uint16]
		w := NewWindow(100, &slots, func(uint16, error) {})
		b.ReportAllocs()
		for i := range b.N {
			done, _ := w.Open(uint16(i))
			done(nil)
		}
	})
	b.Run("flooded", func(b *testing.B) {
		const windows, size, turn = 50, 100, 50
		var slots Slots[uint16]
		var all [windows]*Window[uint16]
		for i := range all {
			all[i] = NewWindow(size, &slots, func(uint16, error) {})
		}
		opened, free := make(chan []func(error), windows*size/turn), make(chan []func(error), windows*size/turn)
		for range cap(free) {
			free <- make([]func(error), 0, turn)
		}
		var completing sync.WaitGroup
		completing.Go(func() {
			for batch := range opened {
				for _, done := range batch {
					done(nil)
				}
				free <- batch[:0]
			}
		})
		b.ReportAllocs()
		for i := 0; i < b.N; i += turn {
			batch, w := <-free, all[i/turn%windows]
			for range turn {
				done, ok := w.Open(uint16(i))
				if !ok {
					b.Fatal("full")
				}
				batch = append(batch, done)
			}
			opened <- batch
		}
		close(opened)
		completing.Wait()
	})
}

// TestWindowDoesNotAllocate holds the path per message to its budget: for one that is alone, and for many.
func TestWindowDoesNotAllocate(t *testing.T) {
	for _, n := range []int{1, 3*blockSize + 1} {
		var slots Slots[uint16]
		w := NewWindow(n, &slots, func(uint16, error) {})
		all := make([]func(error), n)
		allocs := testing.AllocsPerRun(1000, func() {
			for i := range all {
				all[i], _ = w.Open(uint16(i))
			}
			for _, done := range all {
				done(nil)
			}
		})
		if allocs >= 1 && !raceEnabled {
			t.Errorf("%v allocations for %d messages, want 0", allocs, n)
		}
	}
}
