package journal_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	. "github.com/linkspan/linkspan/spool/journal"
)

// start opens a journal on the real disk and runs it until the test ends.
func start(t testing.TB, o Options) *Journal {
	t.Helper()
	j, _, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, j)
	return j
}

func run(t testing.TB, j *Journal) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = j.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait(); _ = j.Close() })
}

var pid = os.Getpid()

func all(Lane) bool { return true }

func lane(t testing.TB, j *Journal, name string) Lane {
	t.Helper()
	l, err := j.Lane(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// P1, P5: what is acknowledged is read back, in order, also after the journal was closed and opened again.
func TestAppendAndReadBack(t *testing.T) {
	dir := t.TempDir()
	j := start(t, Options{Dir: dir, SegmentBytes: 64 << 10})
	l := lane(t, j, "sensors")
	const n = 5000
	var acked sync.WaitGroup
	acked.Add(n)
	for i := range n {
		j.Append(l, []byte("head"), fmt.Appendf(nil, "body %d", i), func(err error) {
			if err != nil {
				t.Error(err)
			}
			acked.Done()
		})
	}
	acked.Wait()
	check := func(j *Journal) {
		t.Helper()
		r := j.NewReader(0)
		defer r.Close()
		for i := range n {
			e, ok := r.Next(all)
			if !ok || string(e.Body) != fmt.Sprintf("body %d", i) || string(e.Head) != "head" || e.Lane != l || e.Seq != uint64(i+1) {
				t.Fatalf("%d: %v %v, %v", i, e, ok, r.Err())
			}
		}
		if e, ok := r.Next(all); ok {
			t.Fatalf("one more: %v", e)
		}
		if b := j.Backlog(l); b.Messages != n || b.First != 1 || b.Last != n {
			t.Fatalf("%+v", b)
		}
	}
	check(j)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, rec, err := Open(Options{Dir: dir})
	if err != nil || len(rec.Cuts) > 0 || rec.Kept[l] != n || rec.Scanned != 0 {
		t.Fatalf("%+v, %v", rec, err)
	}
	defer j.Close()
	if j.Synced() != n || lane(t, j, "sensors") != l {
		t.Fatal(j.Synced())
	}
	check(j)
}
