package journal_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// A view says what is in the journal, with the process that has it open beside it, and changes nothing.
func TestInspect(t *testing.T) {
	w := newWorld(t, 1, small)
	if _, err := InspectOn(w.disk, "/spool"); err == nil {
		t.Fatal("there is no spool")
	}
	w.reopen()
	for range 20 {
		w.append(10, 500)
		if err := w.j.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	w.settle(w.lanes[0], 0.5)
	if err := w.j.StorePositions(false); err != nil {
		t.Fatal(err)
	}
	w.append(3, 100) // not on the disk yet
	before := map[string]string{}
	for _, name := range w.disk.Names() {
		before[name] = string(w.disk.Content(name))
	}
	w.disk.SetReadOnly(true)
	v, err := InspectOn(w.disk, "/spool")
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Lanes) != 3 || len(v.Cuts) != 0 {
		t.Fatalf("%+v", v)
	}
	want := map[Lane]uint64{}
	for _, l := range v.Lanes {
		if b := w.j.Backlog(l.Lane); b != l.Backlog || l.Settled != w.settled[l.Lane] || b.Messages == 0 {
			t.Fatalf("%+v, want %+v", l, b)
		}
		want[l.Lane] = l.Backlog.Messages
	}
	for range 2 {
		got := map[Lane]uint64{}
		if err := v.Each(all, func(e Entry) bool { got[e.Lane]++; return true }); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	for _, name := range w.disk.Names() {
		if before[name] != string(w.disk.Content(name)) {
			t.Fatalf("%s has changed", name)
		}
	}
	w.disk.Heal()
	for _, l := range w.lanes { // what goes meanwhile is no error
		w.settle(l, 1)
	}
	if err := w.j.Chores(); err != nil {
		t.Fatal(err)
	}
	if err := v.Each(all, func(e Entry) bool { return true }); err != nil {
		t.Fatal(err)
	}
}

func TestRequest(t *testing.T) {
	for _, running := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			disk := journaltest.New()
			open := func() *Journal {
				j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
				if err != nil {
					t.Fatal(err)
				}
				return j
			}
			j := open()
			l := lane(t, j, "sensors")
			for range 100 {
				j.Append(l, nil, make([]byte, 500), func(error) {})
				j.Append(lane(t, j, "other"), nil, nil, func(error) {})
				if err := j.Commit(); err != nil {
					t.Fatal(err)
				}
			}
			if running {
				run(t, j)
			} else if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ask := func(d Drop, want uint64, problem string) {
				t.Helper()
				got, err := RequestOn(ctx, disk, "/spool", d)
				if got.Messages != want || (err == nil) != (problem == "") || err != nil && !strings.Contains(err.Error(), problem) || got.Bytes != int64(want)*(500+HeaderBytes) {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			ask(Drop{Lane: "sensors", UpTo: 20}, 10, "")
			ask(Drop{Lane: "sensors", UpTo: 20}, 0, "")
			ask(Drop{Lane: "sensors", All: true, UpTo: 60}, 20, "")
			ask(Drop{Lane: "sensors", Before: time.Unix(1, 0)}, 0, "")
			ask(Drop{Lane: "sensor", All: true}, 0, "sensors, other")
			ask(Drop{Lane: "sensors"}, 0, "say what")
			ask(Drop{Lane: "sensors", All: true, Before: time.Now().Add(time.Hour)}, 70, "")
			if !running {
				j = open()
				defer j.Close()
			} else if n := j.Dropped(l); n != 100 {
				t.Fatal(n)
			}
			if b := j.Backlog(l); b.Messages != 0 {
				t.Fatalf("%+v", b)
			}
			if b := j.Backlog(2); b.Messages != 100 {
				t.Fatalf("%+v", b)
			}
			for _, name := range disk.Names() {
				if strings.Contains(name, "request") || strings.Contains(name, "answer") {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// A request that nobody answers is taken back.
func TestRequestWithoutAnswer(t *testing.T) {
	disk := journaltest.New()
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment}) // and does not run
	if err != nil {
		t.Fatal(err)
	}
	lane(t, j, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := RequestOn(ctx, disk, "/spool", Drop{Lane: "a", All: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	for _, name := range disk.Names() {
		if strings.Contains(name, "request") {
			t.Errorf("%s is left", name)
		}
	}
}

// A request that cannot be read is told so, and keeps no other from being carried out; the disk has not failed.
func TestRequestOfAnotherUser(t *testing.T) {
	disk := journaltest.New()
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	j.Append(lane(t, j, "a"), nil, []byte("x"), func(error) {})
	if err := j.Commit(); err != nil {
		t.Fatal(err)
	}
	disk.SetContent("/spool/A.request", nil)
	disk.SetContent("/spool/B.request", []byte(`{"lane": "a", "all": true}`))
	disk.FailOnce("request.read", 1, os.ErrPermission)
	if err := j.Chores(); err != nil {
		t.Error(err)
	}
	if p := string(disk.Content("/spool/A.answer")); !strings.Contains(p, "permission") {
		t.Errorf("%s", p)
	}
	if p := string(disk.Content("/spool/B.answer")); !strings.Contains(p, `"messages":1`) || j.Backlog(1).Messages != 0 {
		t.Errorf("%s", p)
	}
}

// What is answered as dropped is not delivered any more, at whatever operation the process is killed or the power goes.
func TestDroppedForGood(t *testing.T) {
	for _, end := range []func(*journaltest.Disk) *journaltest.Disk{
		(*journaltest.Disk).Kill,
		func(d *journaltest.Disk) *journaltest.Disk { return d.PowerLoss(rand.New(rand.NewPCG(1, 2))) },
	} {
		answered, left := 0, 0
		for cut := 1; ; cut++ {
			disk := journaltest.New()
			j, l := asked(t, disk)
			disk.CutAt(cut)
			whole := j.Chores() == nil
			told := strings.Contains(string(disk.Content("/spool/A.answer")), `"messages":1`)
			j, _, err := Open(Options{Dir: "/spool", OS: end(disk), SegmentBytes: MinSegment})
			if err != nil {
				t.Fatal(err)
			}
			switch n := j.Backlog(l).Messages; {
			case told && n > 0:
				t.Errorf("the power went before operation %d: told that it is dropped, and it is there", cut)
			case told:
				answered++
			case n > 0:
				left++
			}
			if whole {
				break
			}
		}
		if answered < 2 || left < 2 {
			t.Errorf("answered %d times, and left %d times", answered, left)
		}
	}
}

// A disk that does not keep what is dropped is told to who asks.
func TestDroppedOnFailingDisk(t *testing.T) {
	disk := journaltest.New()
	j, _ := asked(t, disk)
	disk.FailOnce("position.sync", 1, errors.New("broken"))
	if err := j.Chores(); err != nil { // which keeps it, at the second attempt
		t.Error(err)
	}
	if p := string(disk.Content("/spool/A.answer")); !strings.Contains(p, "broken") || !strings.Contains(p, "after a crash") || strings.Contains(p, `"messages":1`) {
		t.Errorf("%s", p)
	}
}

// asked returns a journal with one entry, durable, and a request to drop it.
func asked(t *testing.T, disk *journaltest.Disk) (*Journal, Lane) {
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	l := lane(t, j, "a")
	j.Append(l, nil, []byte("x"), func(error) {})
	if err := errors.Join(j.Commit(), j.StorePositions(true)); err != nil {
		t.Fatal(err)
	}
	disk.SetContent("/spool/A.request", []byte(`{"lane": "a", "all": true}`))
	return j, l
}

// The child of TestKill: it appends, and prints the number of each entry that is acknowledged.
func TestMain(m *testing.M) {
	dir := os.Getenv("JOURNAL_CHILD")
	if dir == "" {
		os.Exit(m.Run())
	}
	j, _, err := Open(Options{Dir: dir, SegmentBytes: 256 << 10})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go func() { _ = j.Run(context.Background()) }()
	l, err := j.Lane("a")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	acked := make(chan uint64, 1000)
	go func() {
		for n := uint64(1); ; n++ {
			j.Append(l, nil, fmt.Appendf(nil, "%d %0100d", n, n), func(error) { acked <- n })
			for len(acked) == cap(acked) {
				<-time.After(time.Millisecond)
			}
		}
	}()
	for n := range acked {
		fmt.Println(n)
	}
}

// P1, P5: a process that is killed at any instant has lost nothing that it has acknowledged.
func TestKill(t *testing.T) {
	for i := range 4 {
		dir := t.TempDir()
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "JOURNAL_CHILD="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		last, lines := 0, bufio.NewScanner(out)
		for lines.Scan() {
			n := 0
			if _, err := fmt.Sscan(lines.Text(), &n); err != nil || n != last+1 {
				break // the last line may be cut off
			}
			if last = n; n == 500+i*3000 {
				if err := child.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = child.Wait()
		if last < 500 {
			t.Fatalf("the child said %q", lines.Text())
		}
		j, rec, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		r := j.NewReader(0)
		n := 0
		for e, ok := r.Next(all); ok; e, ok = r.Next(all) {
			n++
			if e.Seq != uint64(n) || string(e.Body) != fmt.Sprintf("%d %0100d", n, n) {
				t.Fatalf("entry %d is %d %s", n, e.Seq, e.Body)
			}
		}
		r.Close()
		if n < last || r.Err() != nil {
			t.Fatalf("%d were acknowledged, %d are there: %+v", last, n, rec)
		}
		for _, c := range rec.Cuts {
			if c.Acked {
				t.Fatalf("%+v", c)
			}
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
