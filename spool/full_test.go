package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// fill sends to a lane while Kafka is away, asking for room first, until there is none or n were sent.
func (x *site) fill(lane, key string, n int) (sent []string) {
	for i := range n {
		p := fmt.Sprintf("%s%05d%s", key, i, strings.Repeat("x", 1000))
		if !x.spool.Room(&linkspan.Message{Route: lane}) {
			if pass(2 * tick); !x.spool.Room(&linkspan.Message{Route: lane}) { // the limit is looked at once a tick
				return sent
			}
		}
		sent = append(sent, p)
		x.send(lane, key, p)
		if i%10 == 0 {
			pass(10 * time.Millisecond)
		}
	}
	return sent
}

// Full, and held back: nothing is lost, and nothing is acknowledged that is not there.
func TestFullHold(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"}, Lane{Name: "b"})
		x.start()
		x.spool.Hold(true)
		sent := x.fill("a", "k", 5000)
		pass(2 * time.Second)
		if n := len(sent); n < 400 || n > 600 { // of 2 KiB, in 1 MiB
			t.Fatalf("%d sent %+v", n, x.spool.journal.State())
		}
		same(t, "acked", x.acked(), sent)
		x.wantWay("a", Holding)
		if st := x.spool.Status(); st.Verdict != NotReady || st.Disk.Full != "max_bytes" || x.spool.Room(nil) {
			t.Errorf("%+v", st)
		}
		x.cluster.away(false)
		x.spool.Hold(false)
		pass(5 * time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		if st := x.spool.Status(); st.Verdict != OK || !x.spool.Room(nil) {
			t.Errorf("%+v", st)
		}
	})
}

func TestFullRefuse(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Full: FullRefuse})
		x.start()
		x.spool.Hold(true)
		sent := x.fill("a", "k", 2000)
		pass(2 * time.Second)
		if n := len(x.acked()); n < 400 || n > 700 || len(x.errs) == 0 || n+len(x.errs) != len(sent) {
			t.Fatalf("%d acked, %d refused of %d", n, len(x.errs), len(sent))
		}
		for _, err := range x.errs {
			if !errors.Is(err, linkspan.ErrQuota) {
				t.Fatal(err)
			}
		}
		if l := x.lane("a"); l.Counters.Refused != uint64(len(x.errs)) || l.Way != Dropping || x.spool.Status().Verdict != NotReady {
			t.Errorf("%+v", l)
		}
		x.cluster.away(false)
		x.spool.Hold(false)
		pass(5 * time.Second)
		same(t, "delivered", x.cluster.payloads(), x.acked())
	})
}

func TestFullDropNewest(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Full: FullDropNewest})
		x.start()
		x.spool.Hold(true)
		sent := x.fill("a", "k", 2000)
		pass(2 * time.Second)
		same(t, "acked", x.acked(), sent)
		dropped := int(x.lane("a").Counters.Newest)
		if dropped < 500 {
			t.Errorf("%d dropped", dropped)
		}
		x.cluster.away(false)
		x.spool.Hold(false)
		pass(5 * time.Second)
		got := x.cluster.payloads()
		if len(got) != len(sent)-dropped || !slices.IsSorted(got) {
			t.Errorf("%d delivered, %d dropped of %d", len(got), dropped, len(sent))
		}
		x.wantWay("a", Dropping) // it is remembered for a while
		pass(20 * time.Second)
		x.wantWay("a", Direct)
	})
}

func TestFullDropOldest(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Full: FullDropOldest}, Lane{Name: "b"})
		x.start()
		x.send("b", "b", "b")
		x.sendMany("a", "k", "a", 20)
		pass(3 * time.Second) // taken over: the producer has them, too
		sent := append(x.acked()[:0:0], x.fill("a", "k", 5000)...)
		pass(3 * time.Second)
		if n := len(x.acked()); n != 5021 {
			t.Fatalf("%d acked of 5021", n)
		}
		l := x.lane("a")
		if l.Counters.Oldest < 1000 || l.Counters.Newest != 0 || l.Way != Dropping {
			t.Errorf("%+v", l)
		}
		if st := x.spool.Status(); st.Disk.Bytes > 1<<20+1<<19 || st.Verdict != NotReady {
			t.Errorf("%+v", st)
		}
		x.cluster.away(false)
		pass(10 * time.Second)
		var got []string
		for _, d := range x.cluster.has() {
			if d.key == "k" && strings.HasPrefix(d.payload, "k") {
				got = append(got, d.payload)
			}
		}
		if n := len(got) + int(l.Counters.Oldest); n < 5000 || n > 5020 || !slices.Equal(got[len(got)-400:], sent[len(sent)-400:]) || !slices.IsSorted(got) {
			t.Errorf("%d delivered, %d dropped of 5020", len(got), l.Counters.Oldest)
		}
		if all := x.cluster.payloads(); !slices.Contains(all, "b") || !slices.Contains(all, "a0019") {
			t.Error("what the producer had is not there")
		}
		pass(20 * time.Second)
		x.wantWay("a", Direct)
		if l := x.lane("a"); l.Messages != 0 {
			t.Errorf("%+v", l)
		}
	})
}

// However long the disk takes to delete, no more is dropped than it takes to have room again.
func TestFullDropOldestNoMoreThanNeeded(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Full: FullDropOldest})
		x.disk.Slow("delete.remove", 5*time.Second)
		x.start()
		x.spool.Hold(true)
		for i := 0; x.lane("a").Counters.Oldest == 0; i++ {
			x.send("a", "k", fmt.Sprint(i, strings.Repeat("x", 1000)))
			pass(10 * time.Millisecond)
		}
		pass(time.Minute)
		if st := x.spool.Status(); st.Disk.Full != "" || st.Lanes[0].Counters.Oldest > 64 { // a segment has no more
			t.Errorf("%d dropped, full: %q", st.Lanes[0].Counters.Oldest, st.Disk.Full)
		}
	})
}

func TestMaxAge(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cfg.MaxAge = time.Hour
		x.start()
		x.spool.Hold(true)
		x.sendMany("a", "k", "old", 10)
		pass(59 * time.Minute)
		sent := x.sendMany("a", "k", "new", 10)
		pass(2 * time.Minute)
		if l := x.lane("a"); l.Messages != 10 || l.Counters.TooOld != 10 {
			t.Errorf("%+v", l)
		}
		x.cluster.away(false)
		x.spool.Hold(false)
		pass(time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
	})
}

// A disk that fails takes nothing over while Kafka answers, and says so.
func TestDiskFailsWhileDirect(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"}, Lane{Name: "s", Ack: AckSpool})
		x.cluster.away(false)
		x.start()
		x.disk.Fail("append", syscall.EIO)
		x.send("s", "s", "s1")
		pass(time.Second)
		sent := x.sendMany("a", "k", "m", 10)
		pass(time.Second)
		same(t, "delivered", x.cluster.payloads()[len(x.cluster.payloads())-10:], sent)
		x.wantWay("a", Direct)
		x.wantWay("s", Holding)
		if st := x.spool.Status(); st.Verdict != NotReady || !errors.Is(st.Disk.Failing, syscall.EIO) {
			t.Errorf("%+v", st)
		}
		if x.spool.Room(&linkspan.Message{Route: "s"}) || !x.spool.Room(&linkspan.Message{Route: "a"}) {
			t.Error("room for the wrong one")
		}
		x.cluster.away(true)
		sent = x.sendMany("a", "k", "n", 10)
		pass(time.Minute)
		x.wantWay("a", Direct) // their senders wait
		x.disk.Heal()
		pass(5 * time.Second)
		if got := x.acked(); !slices.Contains(got, sent[9]) || !slices.Contains(got, "s1") {
			t.Errorf("acked %v", got)
		}
	})
}

// The disk fails while it spools: what came since is not acknowledged, and goes to Kafka out of memory when that is back (P1, P3).
func TestDiskFailsWhileSpooling(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		sent := x.sendMany("a", "k", "a", 10)
		pass(3 * time.Second)
		same(t, "acked", x.acked(), sent)
		x.disk.Fail("append", syscall.EIO)
		more := x.sendMany("a", "k", "b", 10)
		pass(time.Minute)
		same(t, "acked", x.acked(), sent)
		x.wantWay("a", Holding)
		x.cluster.away(false)
		pass(10 * time.Second)
		sent = append(sent, more...)
		same(t, "delivered", x.cluster.payloads(), sent)
		same(t, "acked", x.acked(), sent)
		x.wantWay("a", Direct)
		sent = append(sent, x.sendMany("a", "k", "c", 10)...)
		pass(time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		x.disk.Heal()
		pass(5 * time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		same(t, "acked", x.acked(), sent)
	})
}
