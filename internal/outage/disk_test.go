package outage

import (
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// faults are what is wrong with the disk. Those of one kind may overlap, so they are counted.
type faults struct{ full, readOnly, writes, syncs, slow int }

// spoil changes what is wrong with the disk.
func (w *world) spoil(change func(f *faults)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.faults)
	w.apply()
}

// apply has the disk be as faulty as it should be. Called with w locked.
func (w *world) apply() {
	w.disk.Heal()
	w.disk.SetSize(w.s.disk)
	if w.faults.full > 0 {
		w.disk.SetSize(1)
	}
	w.disk.SetReadOnly(w.faults.readOnly > 0)
	for _, step := range []string{"append", "segment", "seal", "position", "rewrite", "lanes"} {
		if w.faults.writes > 0 {
			w.disk.Fail(step+".write", syscall.EIO)
		}
		if w.faults.syncs > 0 {
			w.disk.Fail(step+".sync", syscall.EIO)
		}
	}
	if w.faults.slow > 0 {
		w.disk.Slow("append.sync", 300*time.Millisecond)
	}
}

// crash puts in the place of the disk what is left of it.
func (w *world) crash(left func(*world, *journaltest.Disk) *journaltest.Disk) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.disk = left(w, w.disk)
	w.apply()
}

// onDisk counts something wrong with the disk up and down.
func onDisk(count func(*faults, int)) func(*world, *trouble) func() {
	return func(w *world, _ *trouble) func() {
		w.spoil(func(f *faults) { count(f, 1) })
		return func() { w.spoil(func(f *faults) { count(f, -1) }) }
	}
}

// spoiled reports whether something is wrong with the disk, or may be.
func (w *world) spoiled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.faults != faults{} || w.loose
}

// stepFails has one of the next steps of one kind fail.
func stepFails(w *world, _ *trouble) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loose = true
	step := pick(dice{w.random}, "append.write", "append.sync", "append.sync", "segment", "seal", "position", "rewrite", "lanes")
	w.disk.FailOnce(step, 1+w.random.IntN(5), syscall.EIO)
	return nil
}

// survive is a disk after the death of a process.
func survive(_ *world, d *journaltest.Disk) *journaltest.Disk { return d.Kill() }

// losePower takes away all that was not synced.
func losePower(_ *world, d *journaltest.Disk) *journaltest.Disk {
	return d.PowerLoss(rand.New(always(1 << 32)))
}

// losePages takes away some of what was not synced.
func losePages(w *world, d *journaltest.Disk) *journaltest.Disk { return d.PowerLoss(w.random) }

// always is a source of the same number. With 1<<32 the least is drawn, whatever of.
type always uint64

func (a always) Uint64() uint64 { return uint64(a) }
