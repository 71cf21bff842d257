package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// A lane that does not get on holds its own bytes and no others: what the other lanes are done with goes.
func TestBlockedLaneKeepsItsOwnBytesOnly(t *testing.T) {
	w := newWorld(t, 1, small)
	w.reopen()
	blocked, other := w.lanes[0], w.lanes[1]
	mine := int64(0)
	put := func(l Lane, n int) {
		k := &known{lane: l, body: bytes.Repeat([]byte{byte(len(w.entries))}, n)}
		k.seq = w.j.Append(l, k.body[:1], k.body[1:], func(err error) { k.acked = err == nil })
		w.entries = append(w.entries, k)
	}
	for range 400 {
		put(blocked, 20)
		mine += HeaderBytes + 20
		for range 4 {
			put(other, 1000)
		}
		if err := w.j.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.j.State().Segments; n < 80 {
		t.Fatalf("%d segments only", n)
	}
	w.settle(other, 1)
	for range 200 {
		if err := w.j.Chores(); err != nil {
			t.Fatal(err)
		}
	}
	s := w.j.State()
	if limit := 2*mine + 2*MinSegment; s.Bytes > limit || s.Segments > 20 {
		t.Fatalf("%d bytes in %d segments, the lane has %d", s.Bytes, s.Segments, mine)
	}
	if b := w.j.Backlog(blocked); b.Messages != 400 || b.Bytes != mine || b.First != 1 {
		t.Fatalf("%+v", b)
	}
	w.check()
	w.losePower()
	w.check()
}

// A reader that is in a segment when it is rewritten, put together with another, or deleted, goes on as if nothing had been.
func TestReaderSurvivesDeletionAndRewrite(t *testing.T) {
	for seed := range uint64(40) {
		w := newWorld(t, seed, small)
		w.reopen()
		for range 20 {
			w.append(20, 500)
			if err := w.j.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		r := w.j.NewReader(0)
		last, got := uint64(0), map[uint64]bool{}
		blocked := w.lanes[0]
		for {
			e, ok := r.Next(all)
			if !ok {
				break
			}
			if e.Seq <= last {
				t.Fatalf("%d after %d", e.Seq, last)
			}
			last = e.Seq
			got[e.Seq] = true
			if w.r.IntN(30) == 0 {
				for _, l := range w.lanes[1:] {
					w.settle(l, w.r.Float64())
				}
				for range RewriteAfter + 1 {
					if err := w.j.Chores(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		r.Close()
		for _, k := range w.entries {
			if !got[k.seq] && (k.lane == blocked || k.seq > w.settled[k.lane]) {
				t.Fatalf("seed %d: entry %d of lane %d was passed over", seed, k.seq, k.lane)
			}
		}
		w.check()
	}
}

// A backlog is exact wherever in a segment the position is, and whatever lanes are between.
func TestBacklogIsExact(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, Options{SegmentBytes: 4 * MinSegment})
		w.reopen()
		for range 30 {
			w.append(20, 300)
			if err := w.j.Commit(); err != nil {
				t.Fatal(err)
			}
			l := w.lanes[w.r.IntN(3)]
			w.settle(l, 0.3*w.r.Float64())
			for _, l := range w.lanes {
				var want Backlog
				for _, k := range w.entries {
					if k.lane == l && k.seq > w.settled[l] {
						if want.First == 0 {
							want.First = k.seq
						}
						want.Messages++
						want.Bytes += HeaderBytes + int64(len(k.body))
						want.Last = k.seq
					}
				}
				got := w.j.Backlog(l)
				if got.Oldest.IsZero() == (want.Messages > 0) {
					t.Fatalf("oldest %v", got.Oldest)
				}
				if got.Oldest = want.Oldest; got != want {
					t.Fatalf("seed %d: %+v, want %+v", seed, got, want)
				}
			}
		}
	}
}

// Before and Oldest say what to settle.
func TestBeforeAndOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, small)
		w.reopen()
		start := time.Now()
		for range 50 { // one second each
			w.append(6, 500)
			if err := w.j.Commit(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		l := w.lanes[0]
		if n := w.j.Before(l, start); n != 0 {
			t.Fatal(n)
		}
		for _, second := range []int{1, 7, 30, 49, 60} {
			want := uint64(0)
			for i, k := range w.entries {
				if k.lane == l && i/6 < second {
					want = k.seq
				}
			}
			if n := w.j.Before(l, start.Add(time.Duration(second)*time.Second)); n != want {
				t.Fatalf("before second %d: %d, want %d", second, n, want)
			}
		}
		for w.j.Oldest(l) != 0 {
			before := w.j.Backlog(l)
			upTo := w.j.Oldest(l)
			w.j.Settle(l, upTo)
			if after := w.j.Backlog(l); after.Messages >= before.Messages || after.Messages > 0 && after.First <= upTo {
				t.Fatalf("%+v, %+v", before, after)
			}
		}
		if b := w.j.Backlog(l); b != (Backlog{}) {
			t.Fatalf("%+v", b)
		}
	})
}

// A lane keeps its number, whatever its name is, and there is an end to them.
func TestLanes(t *testing.T) {
	disk := journaltest.New()
	names := []string{"a", "", "sensors/{site}", "line\nbreak", "\xff\x00", strings.Repeat("long", 1000), "dead_letter!"}
	for range 2 {
		j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range names {
			if l := lane(t, j, name); l != Lane(i+1) {
				t.Fatalf("%q is %d", name, l)
			}
		}
		if got := j.Lanes(); len(got) != len(names) || got[3] != (LaneName{4, names[3]}) {
			t.Fatalf("%+v", got)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Entries of every size come back, those that are larger than a segment, a chunk or a buffer too.
func TestSizes(t *testing.T) {
	w := newWorld(t, 1, small)
	w.reopen()
	for _, n := range []int{0, 1, 4095, MinSegment, 256 << 10, 256<<10 - HeaderBytes, 300 << 10, 3 << 20, 5} {
		k := &known{lane: w.lanes[0], body: make([]byte, n)}
		for i := range k.body {
			k.body[i] = byte(w.r.Uint32())
		}
		k.seq = w.j.Append(k.lane, k.body[:n/2], k.body[n/2:], func(err error) { k.acked = err == nil })
		w.entries = append(w.entries, k)
		if err := w.j.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	w.check()
	w.losePower()
	w.check()
}

// Everything at once, for the race detector: senders, a reader and a settler for each lane, chores, views, a fault.
func TestConcurrently(t *testing.T) {
	disk := journaltest.New()
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: 8 * MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	run(t, j)
	const lanes, n = 3, 3000
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	var acked atomic.Int64
	for i := range lanes {
		l := lane(t, j, fmt.Sprint(i))
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 2))
			slots := make(chan struct{}, 100)
			for k := range n {
				slots <- struct{}{}
				j.Append(l, nil, fmt.Appendf(nil, "%d %s", k, strings.Repeat("x", r.IntN(200))), func(err error) {
					if err == nil {
						acked.Add(1)
					}
					<-slots
				})
			}
		})
		wg.Go(func() {
			r := j.NewReader(0)
			defer r.Close()
			for k := 0; k < n; {
				synced := j.Synced()
				e, ok := r.Next(func(x Lane) bool { return x == l })
				if !ok {
					if err := j.Wait(ctx, synced); err != nil {
						t.Errorf("lane %d after %d: %v, %v", l, k, err, r.Err())
						return
					}
					continue
				}
				if !bytes.HasPrefix(e.Body, fmt.Appendf(nil, "%d ", k)) {
					t.Errorf("lane %d: %.20s, want %d", l, e.Body, k)
					return
				}
				k++
				j.Settle(l, e.Seq)
				if k%500 == 0 {
					_ = j.Backlog(l)
					if _, err := InspectOn(disk, "/spool"); err != nil {
						t.Error(err)
					}
					if err := j.Chores(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	disk.FailOnce("append.sync", 3, errors.New("once"))
	wg.Wait()
	if acked.Load() != lanes*n {
		t.Fatal(acked.Load())
	}
	for i := range lanes {
		if b := j.Backlog(Lane(i + 1)); b.Messages != 0 {
			t.Fatalf("%+v", b)
		}
	}
}
