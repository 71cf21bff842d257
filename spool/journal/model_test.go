package journal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// A world is a journal on a disk that loses power, and what is known of it from outside: the model that it is held against.
type world struct {
	t    testing.TB
	r    *rand.Rand
	disk *journaltest.Disk
	opts Options
	j    *Journal
	rec  Recovery

	lanes   []Lane
	entries []*known // all that were ever appended, in order
	settled map[Lane]uint64
	steps   int
}

// known is an entry as its sender knows it.
type known struct {
	seq   uint64
	lane  Lane
	body  []byte
	acked bool
	gone  bool // was not acknowledged when the power went, and was not found after it
}

func newWorld(t testing.TB, seed uint64, o Options) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 1)), disk: journaltest.New(), settled: map[Lane]uint64{}}
	if o.Dir == "" {
		o.Dir = "/spool"
	}
	w.opts = o
	return w
}

// open opens the journal.
func (w *world) open() error {
	o := w.opts
	o.OS = w.disk
	j, rec, err := Open(o)
	if err != nil {
		return err
	}
	w.j, w.rec = j, rec
	w.lanes = w.lanes[:0]
	for _, name := range []string{"a", "b", "c"} {
		l, err := j.Lane(name)
		if err != nil {
			j.Die()
			return err
		}
		w.lanes = append(w.lanes, l)
	}
	return nil
}

// append appends n entries to random lanes.
func (w *world) append(n, size int) {
	for range n {
		k := &known{lane: w.lanes[w.r.IntN(len(w.lanes))]}
		k.body = binary.BigEndian.AppendUint64(nil, uint64(len(w.entries)))
		for range w.r.IntN(size + 1) {
			k.body = append(k.body, byte(w.r.Uint32()))
		}
		k.seq = w.j.Append(k.lane, k.body[:4], k.body[4:], func(err error) { k.acked = err == nil })
		w.entries = append(w.entries, k)
	}
}

// settle settles a lane up to one of its acknowledged entries.
func (w *world) settle(l Lane, part float64) {
	var of []*known
	for _, k := range w.entries {
		if k.lane == l && k.acked && k.seq > w.settled[l] {
			of = append(of, k)
		}
	}
	if n := int(part * float64(len(of))); n > 0 {
		w.settled[l] = of[n-1].seq
		w.j.Settle(l, of[n-1].seq)
	}
}

// losePower turns the power off and on again, and opens the journal.
func (w *world) losePower() {
	w.t.Helper()
	w.disk = w.disk.PowerLoss(w.r)
	if err := w.open(); err != nil {
		w.t.Fatal(err)
	}
}

// check holds what can be read against what is known.
//
//   - What was acknowledged and is not settled is there, once, in order, unchanged (P1, P5).
//   - What was not acknowledged may be there, but not without what was appended before it (P3).
//   - Nothing else is there, and nothing is reported as lost.
//   - A backlog says what can be read.
func (w *world) check() {
	w.t.Helper()
	for _, c := range w.rec.Cuts {
		if c.Acked {
			w.t.Fatalf("reported as lost: %+v", c)
		}
	}
	r := w.j.NewReader(0)
	defer r.Close()
	found := map[Lane]int{}
	next, missing := 0, -1
	for {
		e, ok := r.Next(all)
		if !ok {
			break
		}
		for ; next < len(w.entries) && (w.entries[next].gone || w.entries[next].seq != e.Seq); next++ {
			if k := w.entries[next]; !k.gone && k.seq > w.settled[k.lane] {
				if k.acked {
					w.t.Fatalf("entry %d of lane %d was acknowledged and is missing before %d", k.seq, k.lane, e.Seq)
				}
				missing = next
			}
		}
		if next == len(w.entries) {
			w.t.Fatalf("entry %d was never appended, or is there twice", e.Seq)
		}
		k := w.entries[next]
		if k.lane != e.Lane || !bytes.Equal(k.body, append(bytes.Clone(e.Head), e.Body...)) {
			w.t.Fatalf("entry %d is %v %x, appended was %v %x", e.Seq, e.Lane, e.Body, k.lane, k.body)
		}
		if !k.acked && missing >= 0 {
			w.t.Fatalf("entry %d is there without %d; neither was acknowledged", e.Seq, w.entries[missing].seq)
		}
		found[e.Lane]++
		next++
	}
	if err := r.Err(); err != nil {
		w.t.Fatal(err)
	}
	for ; next < len(w.entries); next++ {
		if k := w.entries[next]; !k.gone && k.acked && k.seq > w.settled[k.lane] {
			w.t.Fatalf("entry %d of lane %d was acknowledged and is missing at the end", k.seq, k.lane)
		}
	}
	for _, l := range w.lanes {
		if b := w.j.Backlog(l); b.Messages != uint64(found[l]) {
			w.t.Fatalf("lane %d: backlog %+v, %d can be read", l, b, found[l])
		}
	}
	if n := w.j.State().Damaged; n != 0 {
		w.t.Fatalf("%d damaged", n)
	}
}

// accept takes what is there after a crash for what is known: an entry that was not acknowledged is now either durable or
// was never there, and what is settled is what the journal says.
func (w *world) accept() {
	w.t.Helper()
	there := map[uint64]bool{}
	r := w.j.NewReader(0)
	defer r.Close()
	for {
		e, ok := r.Next(all)
		if !ok {
			break
		}
		there[e.Seq] = true
	}
	for _, k := range w.entries {
		if !k.acked && !k.gone {
			k.acked = there[k.seq]
			k.gone = !k.acked
		}
	}
	for l := range w.settled {
		if s := w.j.Settled(l); s > w.settled[l] {
			w.t.Fatalf("lane %d is settled up to %d, %d was asked", l, s, w.settled[l])
		}
		w.settled[l] = w.j.Settled(l)
	}
	// What was settled may be there again, or be deleted already: what is not there is settled.
	for _, k := range w.entries {
		k.gone = k.gone || !there[k.seq]
	}
}

// step does something, chosen at random.
func (w *world) step() {
	w.steps++
	switch w.r.IntN(12) {
	case 0, 1, 2, 3:
		w.append(1+w.r.IntN(12), 900)
	case 4, 5, 6:
		_ = w.j.Commit()
	case 7, 8:
		w.settle(w.lanes[w.r.IntN(2)], w.r.Float64()) // the third lane is blocked
	case 9:
		_ = w.j.StorePositions(w.r.IntN(2) == 0)
	case 10:
		for range 1 + w.r.IntN(RewriteAfter+1) {
			_ = w.j.Chores()
		}
	case 11:
		w.settle(w.lanes[w.r.IntN(3)], 1)
	}
}

// small are options that make much happen with few entries.
var small = Options{SegmentBytes: MinSegment}

// seeds returns how many schedules to try: n, or what JOURNAL_SEEDS says.
func seeds(n int) uint64 {
	if more, err := strconv.Atoi(os.Getenv("JOURNAL_SEEDS")); err == nil {
		n = more
	}
	return uint64(n)
}

// skip leaves out most cases under the race detector, which is slow and has nothing to find in what runs in one goroutine.
func skip(n int) bool { return race && n%7 != 0 }

// P1, P3, P4, P5: the power goes at each operation of a schedule in turn, at every eighth of others. What was not synced is
// there in part, and life goes on with it.
func TestPowerLossAtEveryOperation(t *testing.T) {
	for seed := range seeds(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			stride := 8
			if seed == 0 {
				stride = 1
			}
			for cut := 1 + int(seed)%stride; skip(cut/stride) || powerLossAt(t, seed, cut); cut += stride {
			}
		})
	}
}

// powerLossAt returns false if the schedule is over before its operation cut.
func powerLossAt(t *testing.T, seed uint64, cut int) bool {
	w := newWorld(t, seed, small)
	w.disk.CutAt(cut)
	for whole := w.open() == nil; whole && w.steps < 200; whole = !w.disk.Off() {
		w.step()
	}
	over := !w.disk.Off() && w.j.Close() == nil
	if over && cut < 100 {
		t.Fatalf("only %d operations", cut)
	}
	w.r = rand.New(rand.NewPCG(seed, uint64(cut))) // what is kept
	w.losePower()
	w.check()
	w.accept()
	for range 5 {
		w.step()
	}
	w.losePower()
	w.check()
	return !over
}
