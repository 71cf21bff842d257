package journal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

var faults = []error{syscall.EIO, syscall.ENOSPC, syscall.EROFS}

// stepsOf returns the names of all steps of a schedule, of its end, and of what comes after.
func stepsOf(t *testing.T, seed uint64) []string {
	w := newWorld(t, seed, small)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		w.step()
	}
	steps := w.disk.Steps()
	w.losePower()
	w.check()
	if err := w.j.Close(); err != nil {
		t.Fatal(err)
	}
	steps = append(steps, w.disk.Steps()...)
	slices.Sort(steps)
	return slices.Compact(steps)
}

// P1, P5: each step of the operating system fails in turn, once, and the schedule goes on. Then the power goes.
func TestEveryStepFailsOnce(t *testing.T) {
	const seed = 7
	steps := stepsOf(t, seed)
	for _, op := range []string{"append.sync", "append.write", "rewrite.rename", "segment.allocate", "position.sync", "delete.remove", "seal.sync", "recover.sync"} {
		if !slices.Contains(steps, op) {
			t.Fatalf("the schedule has no %s: %v", op, steps)
		}
	}
	for j, op := range steps {
		for i, n := range []int{1, 2, 7} {
			if skip(j + i) {
				continue
			}
			w := newWorld(t, seed, small)
			w.disk.FailOnce(op, n, faults[i])
			w.reopen()
			for range 200 {
				w.step()
			}
			w.disk.Heal()
			if err := w.j.Commit(); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
			w.check()
			w.losePower()
			w.check()
			w.losePower() // what the start itself wrote
			w.check()
		}
	}
}

// reopen opens the journal, after the fault that is met at that.
func (w *world) reopen() {
	w.t.Helper()
	err := w.open()
	if err == nil {
		return
	}
	if !slices.ContainsFunc(faults, func(f error) bool { return errors.Is(err, f) }) {
		w.t.Fatal(err)
	}
	w.disk.Heal()
	if err := w.open(); err != nil {
		w.t.Fatal(err)
	}
}

// P1: while a step fails for good nothing is acknowledged that is not on the disk, and State says which step and why. When
// the disk works again, all that waited is acknowledged.
func TestEveryStepFailsForAWhile(t *testing.T) {
	const seed = 3
	for i, op := range stepsOf(t, seed) {
		for j, fault := range faults {
			if skip(i + j) {
				continue
			}
			w := newWorld(t, seed, small)
			w.reopen()
			for range 40 {
				w.step()
			}
			w.disk.Fail(op, fault)
			for range 80 {
				w.step()
				if s := w.j.State(); s.Condition == Failing {
					if s.Fault.Op != op || !errors.Is(s.Fault, fault) || s.Fault.Since.IsZero() || w.j.Room() {
						t.Fatalf("%s: %+v, room %v", op, s.Fault, w.j.Room())
					}
				}
			}
			if w.r.IntN(2) == 0 { // the power goes with the fault still there, and both come back
				w.losePower()
				w.check()
				w.accept()
			}
			w.disk.Heal()
			if err := errors.Join(w.j.Commit(), w.j.Chores()); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
			for _, k := range w.entries {
				if !k.acked && !k.gone {
					t.Fatalf("%s: entry %d still waits", op, k.seq)
				}
			}
			if s := w.j.State(); s.Condition != OK || s.Chore != nil {
				t.Fatalf("%s: %+v", op, s)
			}
			w.check()
			w.losePower()
			w.check()
		}
	}
}

// A sync that failed is not tried again on the same file: the second would succeed without the pages of the first.
func TestFailedSyncIsNotRepeated(t *testing.T) {
	w := newWorld(t, 1, small)
	w.reopen()
	w.append(3, 100)
	if err := w.j.Commit(); err != nil {
		t.Fatal(err)
	}
	w.disk.FailOnce("append.sync", 1, syscall.EIO)
	w.append(3, 100)
	if err := w.j.Commit(); err == nil {
		t.Fatal("no error")
	}
	if w.entries[3].acked {
		t.Fatal("acknowledged without a sync") // P1
	}
	if err := w.j.Commit(); err != nil {
		t.Fatal(err)
	}
	w.check()
	w.losePower()
	w.check()
	if n := len(w.entries); n != 6 || !w.entries[5].acked {
		t.Fatal(n)
	}
}

// A disk that takes nothing is told of by Open, with the directory and the reason.
func TestOpenTellsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		fault func(d *journaltest.Disk)
		want  string
	}{
		{func(d *journaltest.Disk) { d.SetReadOnly(true) }, "read-only"},
		{func(d *journaltest.Disk) { d.SetSize(1000) }, "no space left"},
		{func(d *journaltest.Disk) { d.Fail("segment.create", syscall.EACCES) }, "permission denied"},
		{func(d *journaltest.Disk) { d.Fail("segment.sync", syscall.EIO) }, "input/output error"},
	} {
		w := newWorld(t, 1, small)
		c.fault(w.disk)
		if err := w.open(); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "/spool") {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// P6: a disk that is full holds back senders until there is room again, and what was taken is there.
func TestDiskFull(t *testing.T) {
	w := newWorld(t, 1, small)
	w.reopen()
	w.disk.SetSize(200 << 10)
	for w.j.State().Condition == OK {
		w.append(10, 500)
		_ = w.j.Commit()
	}
	s := w.j.State()
	if s.Condition != Failing || !errors.Is(s.Fault, syscall.ENOSPC) || w.j.Room() {
		t.Fatalf("%+v", s)
	}
	w.check()
	for _, l := range w.lanes { // what drains makes room
		w.settle(l, 1)
	}
	if err := w.j.Chores(); err != nil {
		t.Fatal(err)
	}
	if err := w.j.Commit(); err != nil || w.j.State().Condition != OK || !w.j.Room() {
		t.Fatal(err, w.j.State())
	}
	w.check()
	w.losePower()
	w.check()
}

// What waits is tried again each second, and a sync that does not come back is a fault of its own.
func TestRunTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := journaltest.New()
		j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
		if err != nil {
			t.Fatal(err)
		}
		run(t, j)
		l := lane(t, j, "a")
		append := func() *atomic.Bool {
			acked := new(atomic.Bool)
			j.Append(l, nil, []byte("x"), func(err error) { acked.Store(err == nil) })
			return acked
		}
		disk.Fail("append.sync", syscall.EIO)
		first := append()
		time.Sleep(10 * time.Second)
		if s := j.State(); first.Load() || s.Condition != Failing || time.Since(s.Fault.Since) < 9*time.Second || s.Pending == 0 {
			t.Fatalf("%v, %+v", first.Load(), s)
		}
		disk.Heal()
		time.Sleep(1500 * time.Millisecond)
		if s := j.State(); !first.Load() || s.Condition != OK || s.Pending != 0 {
			t.Fatalf("%v, %+v", first.Load(), s)
		}
		disk.Slow("append.sync", 20*time.Second)
		second := append()
		time.Sleep(10 * time.Second)
		if s := j.State(); s.Condition != Failing || s.Fault.Op != "append.sync" {
			t.Fatalf("%+v", s)
		}
		time.Sleep(11 * time.Second)
		if s := j.State(); !second.Load() || s.Condition != OK {
			t.Fatalf("%v, %+v", second.Load(), s)
		}
	})
}

// P6: Room says no at each limit, and State says which.
func TestLimits(t *testing.T) {
	t.Run("max_bytes", func(t *testing.T) {
		w := newWorld(t, 1, Options{SegmentBytes: MinSegment, MaxBytes: 8 * MinSegment})
		w.reopen()
		for w.j.Room() {
			w.append(1, 500)
			if err := w.j.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		used := int64(0)
		for _, name := range w.disk.Names() {
			if strings.HasSuffix(name, ".seg") {
				used += int64(len(w.disk.Content(name)))
			}
		}
		if s := w.j.State(); s.Condition != Full || s.Limit != "max_bytes" || used > 9*MinSegment {
			t.Fatalf("%+v, %d bytes on the disk", s, used)
		}
		for _, l := range w.lanes {
			w.settle(l, 1)
		}
		if err := w.j.Chores(); err != nil || !w.j.Room() || w.j.State().Segments != 1 {
			t.Fatalf("%v, %+v", err, w.j.State())
		}
		w.append(3, 100)
		if err := w.j.Commit(); err != nil {
			t.Fatal(err)
		}
		w.check()
	})
	t.Run("min_free", func(t *testing.T) {
		w := newWorld(t, 1, Options{SegmentBytes: MinSegment, MinFree: 100 << 10})
		w.reopen()
		w.disk.SetSize(110 << 10)
		if err := w.j.Chores(); err != nil {
			t.Fatal(err)
		}
		if s := w.j.State(); s.Condition != Full || s.Limit != "min_free" || w.j.Room() {
			t.Fatalf("%+v", s)
		}
	})
	t.Run("pending", func(t *testing.T) {
		w := newWorld(t, 1, small)
		w.reopen()
		big := make([]byte, MaxPending)
		w.j.Append(w.lanes[0], nil, big, func(error) {})
		if s := w.j.State(); s.Condition != Full || s.Limit != "pending" || w.j.Room() {
			t.Fatalf("%+v", s)
		}
		if err := w.j.Commit(); err != nil || !w.j.Room() {
			t.Fatalf("%v, %+v", err, w.j.State())
		}
	})
}

// What is not on the disk at Close is not acknowledged, and what comes after it neither.
func TestCloseWithAFault(t *testing.T) {
	w := newWorld(t, 1, small)
	w.reopen()
	w.append(2, 100)
	w.disk.Fail("append.write", syscall.EIO)
	var after error
	if err := w.j.Close(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if n := w.j.Append(w.lanes[0], nil, nil, func(err error) { after = err }); n != 0 || after != ErrClosed {
		t.Fatal(n, after)
	}
	if w.entries[0].acked || w.j.Close() != nil {
		t.Fatal("acknowledged, or closed twice")
	}
	if err := w.j.Wait(context.Background(), w.j.Synced()); err != ErrClosed {
		t.Fatal(err)
	}
	w.disk.Heal()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	w.check()
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	j := start(t, Options{Dir: dir})
	_, _, err := Open(Options{Dir: dir})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint("process ", pid)) {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: dir})
}
