package journal_test

import (
	"fmt"
	"sync"
	"syscall"
	"testing"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// A reader that goes ahead returns each entry once and in order, from the disk or from memory, while the disk fails, and when it
// has what it had returned before.
func TestAhead(t *testing.T) {
	disk := journaltest.New()
	j, _, err := Open(Options{Dir: "/j", SegmentBytes: MinSegment, OS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	a, b := lane(t, j, "a"), lane(t, j, "b")
	r := j.NewReader(0)
	defer r.Close()
	next, sent := 0, 0
	put := func(n int) {
		for range n {
			j.Append(b, nil, []byte("not wanted"), func(error) {})
			j.Append(a, []byte("head"), fmt.Append(nil, sent), func(error) {})
			sent++
		}
	}
	read := func(most int) {
		t.Helper()
		for range most {
			e, ok := r.Ahead(func(l Lane) bool { return l == a })
			if !ok {
				break
			}
			if string(e.Head) != "head" || string(e.Body) != fmt.Sprint(next) || e.Lane != a || e.Time.IsZero() {
				t.Fatalf("%+v, want %d", e, next)
			}
			next++
		}
	}
	for round := range 50 {
		put(10)
		read(7) // from memory
		switch round % 3 {
		case 0:
			disk.FailOnce("append.sync", 1, syscall.EIO)
			if j.Commit() == nil {
				t.Fatal("the disk does not fail")
			}
			put(3)
			read(5)
		case 1:
			if e, ok := j.NewReader(0).Next(func(l Lane) bool { return l == a }); ok && e.Seq > j.Synced() {
				t.Fatal("Next went ahead")
			}
		}
		if err := j.Commit(); err != nil {
			t.Fatal(err)
		}
		read(1 << 20) // from the disk
		if next != sent || j.Last() != uint64(2*sent) {
			t.Fatalf("read %d of %d, the last is %d", next, sent, j.Last())
		}
	}
}

// The same beside many who append, and one who commits.
func TestAheadOfTheCommitter(t *testing.T) {
	j := start(t, Options{Dir: t.TempDir(), SegmentBytes: 64 << 10})
	l := lane(t, j, "a")
	const senders, each = 4, 2000
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				j.Append(l, nil, fmt.Appendf(nil, "%d %d", s, i), func(error) {})
			}
		})
	}
	r := j.NewReader(0)
	defer r.Close()
	var last uint64
	var from [senders]int
	for n := 0; n < senders*each; {
		e, ok := r.Ahead(func(Lane) bool { return true })
		if !ok {
			continue
		}
		var s, i int
		if _, err := fmt.Sscan(string(e.Body), &s, &i); err != nil || e.Seq != last+1 || i != from[s] {
			t.Fatalf("%d %q after %d: %v", e.Seq, e.Body, last, err)
		}
		last, from[s] = e.Seq, i+1
		n++
	}
	all.Wait()
}
