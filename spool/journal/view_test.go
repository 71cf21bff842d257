package journal_test

import (
	"testing"
	"time"

	. "github.com/linkspan/linkspan/spool/journal"
)

// A view begins where it is asked to, and knows what a drop would take.
func TestViewFromTheMiddle(t *testing.T) {
	w := newWorld(t, 1, small)
	w.reopen()
	for range 30 {
		w.append(10, 500)
		if err := w.j.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	v, err := InspectOn(w.disk, "/spool")
	if err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	var times []time.Time
	if err := v.Each(all, func(e Entry) bool { seqs, times = append(seqs, e.Seq), append(times, e.Time); return true }); err != nil {
		t.Fatal(err)
	}
	for i, after := range seqs {
		var got []uint64
		if err := v.EachAfter(after, all, func(e Entry) bool { got = append(got, e.Seq); return len(got) < 2 }); err != nil {
			t.Fatal(err)
		}
		if want := seqs[i+1 : min(i+3, len(seqs))]; len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Fatalf("after %d: %v, want %v", after, got, want)
		}
	}
	for _, l := range v.Lanes {
		var n, before uint64
		middle := seqs[len(seqs)/2]
		if err := v.Each(func(x Lane) bool { return x == l.Lane }, func(e Entry) bool {
			if e.Seq <= middle {
				n++
			}
			if e.Time.Before(times[len(times)/2]) {
				before = e.Seq
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if got := v.Before(l.Lane, times[len(times)/2]); got != before {
			t.Errorf("%s: before is %d, want %d", l.Name, got, before)
		}
		if got, err := v.Preview(Drop{Lane: l.Name, UpTo: middle}); err != nil || got.Messages != n || got.Bytes <= 0 {
			t.Errorf("%s: %+v %v, want %d", l.Name, got, err, n)
		}
		if got, err := v.Preview(Drop{Lane: l.Name, All: true}); err != nil || got.Messages != l.Backlog.Messages || got.Bytes != l.Backlog.Bytes {
			t.Errorf("%s: all %+v %v, want %+v", l.Name, got, err, l.Backlog)
		}
	}
	if _, err := v.Preview(Drop{Lane: "none", All: true}); err == nil {
		t.Error("no such lane")
	}
}
