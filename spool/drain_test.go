package spool

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// A lane that is to be acknowledged from the disk always goes through it, and its order is that of Send. Disk and Kafka may both be about to
// acknowledge: in which order is open.
func TestAckSpool(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckSpool})
		x.cluster.away(false)
		x.start()
		sent := x.sendMany("a", "k", "m", 100)
		pass(time.Second)
		same(t, "acked", sorted(x.acked()), sent)
		same(t, "delivered", x.cluster.payloads(), sent)
		if c := x.lane("a").Counters; c.Spooled != 100 || c.Drained != 100 {
			t.Errorf("%+v", c)
		}
		x.cluster.away(true)
		sent = append(sent, x.sendMany("a", "k", "n", 100)...)
		pass(time.Second)
		same(t, "acked", sorted(x.acked()), sent)
	})
}

// Killed while it spools: what was acknowledged is delivered by the next process, the same to the byte, so that what the
// killed one had delivered without knowing it can be recognised (P5). So is what a route has left behind that is no more.
func TestKilled(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"}, Lane{Name: "old"})
		x.start()
		a := x.sendMany("a", "k", "a", 20)
		old := x.sendMany("old", "l", "old", 5)
		pass(3 * time.Second)
		a = append(a, x.sendMany("a", "k", "later", 20)...)
		pass(time.Second)
		if n := len(x.acked()); n != 45 {
			t.Fatalf("%d acked", n)
		}
		x.disk = x.disk.Kill()
		x.cluster.answer('k', 10) // Kafka has these, and nobody has learned of it
		if err := x.stop(); err == nil {
			t.Log("the end of the killed one went well")
		}
		x.cluster.end()
		before := x.cluster.has()
		x.cluster = newCluster()
		x.to = x.cluster
		x.lanes = []Lane{{Name: "a"}}
		x.cluster.away(false)
		x.start()
		pass(time.Second)
		var gotA, gotOld []string
		for _, d := range x.cluster.has() {
			if d.key == "k" {
				gotA = append(gotA, d.payload)
			} else {
				gotOld = append(gotOld, d.payload)
			}
		}
		same(t, "delivered of a", gotA, a)
		same(t, "delivered of the route that is gone", gotOld, old)
		for i, d := range before {
			if again := x.cluster.has()[slices.Index(x.cluster.payloads(), d.payload)]; again != d {
				t.Errorf("%d: %+v came again as %+v", i, d, again)
			}
		}
		if l := x.lane("old"); !l.Gone || l.Messages != 0 {
			t.Errorf("%+v", l)
		}
	})
}

// What Kafka gives back is given to it again from the first of these on, in order, and what it took meanwhile is left out.
func TestGivenBack(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		var sent []string
		for i := range 30 {
			for _, key := range []string{"k", "l"} {
				sent = append(sent, fmt.Sprintf("%s%02d", key, i))
				x.send("a", key, sent[len(sent)-1])
			}
			if i == 10 {
				pass(3 * time.Second)
			}
		}
		pass(time.Second)
		same(t, "acked", x.acked(), sent)
		x.cluster.mu.Lock()
		x.cluster.judge = func(r *fakeRecord) error {
			if string(r.m.Payload) == "l05" || string(r.m.Payload) == "l25" {
				return errors.New("not now")
			}
			return nil
		}
		x.cluster.mu.Unlock()
		x.cluster.answer('k', 20) // of each some before and some after the spool took over
		x.cluster.answer('l', 20)
		pass(time.Minute)
		x.cluster.mu.Lock()
		x.cluster.judge = nil
		x.cluster.mu.Unlock()
		x.cluster.away(false)
		pass(time.Minute)
		wantPerKey(t, x.cluster.has(), sent)
		x.wantWay("a", Direct)
		if st := x.spool.Stats(); st.Rewinds.Load() == 0 {
			t.Error("nothing came back")
		}
	})
}

// While the outcome of any message of a lane is open, nothing is handed over again: what comes back later would be overtaken.
func TestGivenBackWaitsForTheOthers(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cluster.alone = true
		x.cluster.judge = func(*fakeRecord) error { return errors.New("not now") }
		x.start()
		x.send("a", "k", "k1")
		x.send("a", "k", "k2")
		pass(3 * time.Second)
		x.send("a", "k", "k3")
		pass(time.Second)
		x.cluster.answer('k', 1)
		pass(time.Minute)
		if n := x.cluster.inFlight(); n != 2 {
			t.Errorf("%d in flight, want k2 and k3", n)
		}
		x.cluster.answer('k', 2)
		x.cluster.mu.Lock()
		x.cluster.judge = nil
		x.cluster.mu.Unlock()
		x.cluster.away(false)
		pass(time.Minute)
		same(t, "delivered", x.cluster.payloads(), []string{"k1", "k2", "k3"})
	})
}

// wantPerKey checks that each key's messages, which begin with it, were delivered once and in the order of sent.
func wantPerKey(t *testing.T, got []delivered, sent []string) {
	t.Helper()
	want, have := map[string][]string{}, map[string][]string{}
	for _, p := range sent {
		want[p[:1]] = append(want[p[:1]], p)
	}
	for _, d := range got {
		have[d.key] = append(have[d.key], d.payload)
	}
	for key := range want {
		same(t, "delivered of "+key, have[key], want[key])
	}
}

// A message of the direct way that is given back stays with its sender. One out of the spool has the lane go through the
// disk again, or what comes meanwhile would overtake it.
func TestGivenBackAfterReturn(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		x.spool.Hold(true)
		sent := x.sendMany("a", "k", "k", 10)
		x.send("a", "l", "l")
		pass(time.Second)
		x.spool.Hold(false)
		pass(time.Second)
		x.cluster.answer('l', 1) // so it answers, and all of k is with the producer
		pass(time.Second)
		x.wantWay("a", Direct)
		x.send("a", "k", "kdirect")
		x.cluster.mu.Lock()
		x.cluster.judge = func(*fakeRecord) error { return errors.New("not now") }
		x.cluster.mu.Unlock()
		x.cluster.answer('k', 1)
		x.cluster.mu.Lock()
		x.cluster.judge = nil
		x.cluster.mu.Unlock()
		x.send("a", "k", "kbehind")
		x.cluster.away(false)
		pass(10 * time.Second)
		got := x.cluster.payloads()
		want := append([]string{"l"}, sent...)
		if x.errs["kdirect"] == nil { // or the spool had taken it over by then
			want = append(want, "kdirect")
		}
		same(t, "delivered", got, append(want, "kbehind"))
	})
}

// A lane that does not get on is left behind, and others drain past it; when it gets on it catches up with them.
func TestLanesDoNotWaitForEachOther(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "stuck", Ack: AckSpool}, Lane{Name: "a", Ack: AckSpool}, Lane{Name: "b", Ack: AckSpool})
		x.cfg.Drain.MaxInFlight = 10
		x.start()
		x.spool.Hold(true)
		var sent []string
		stuck := 0
		for i := range 300 {
			for _, key := range []string{"s", "a", "b", "s"} {
				p := fmt.Sprintf("%s%03d", key, i)
				lane := key
				if key == "s" {
					lane, p = "stuck", fmt.Sprintf("s%05d", stuck)
					stuck++
				}
				sent = append(sent, p)
				x.send(lane, key, p)
			}
		}
		pass(time.Second)
		x.spool.Hold(false)
		for range 200 {
			x.cluster.answer('a', 100)
			x.cluster.answer('b', 100)
			pass(100 * time.Millisecond)
		}
		if l := x.lane("a"); l.Messages != 0 {
			t.Errorf("%+v", l)
		}
		if l := x.lane("stuck"); l.Messages != 600 || l.InFlight != 10 || l.Way != Spooling {
			t.Errorf("%+v", l)
		}
		if x.spool.Stats().LeftBehind.Load() == 0 {
			t.Error("nobody was left behind")
		}
		x.cluster.away(false)
		pass(5 * time.Second)
		wantPerKey(t, x.cluster.has(), sent)
		if l := x.lane("stuck"); l.Messages != 0 {
			t.Errorf("%+v", l)
		}
		x.send("b", "b", "b999")
		x.send("stuck", "s", "s99999")
		pass(time.Second)
		wantPerKey(t, x.cluster.has(), append(sent, "b999", "s99999"))
	})
}

// The drain keeps no more bytes with the producer than it may (P6), and one lane leaves half of them to others.
func TestDrainIsBoundedInBytes(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckSpool}, Lane{Name: "b", Ack: AckSpool})
		x.bytes = 90 << 10
		x.start()
		x.sendMany("a", "k", "a", 500)
		pass(time.Second)
		if n := x.cluster.inFlight(); n < 35 || n > 45 {
			t.Errorf("%d in flight", n)
		}
		x.sendMany("b", "l", "b", 500)
		pass(time.Second)
		if n, b := x.cluster.inFlight(), x.lane("b").InFlight; n > 85 || b < 15 {
			t.Errorf("%d in flight, %d of b", n, b)
		}
		for range 1000 {
			x.cluster.answer('k', 1)
			x.cluster.answer('l', 3)
			synctest.Wait()
			if n := x.cluster.inFlight(); n > 90 {
				t.Fatalf("%d in flight", n)
			}
		}
		if n := len(x.cluster.has()); n != 1000 {
			t.Errorf("%d delivered", n)
		}
	})
}

// The drain keeps no more messages of a lane with the producer than it may, and reads on when few are left.
func TestDrainIsBoundedInMessages(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckSpool})
		x.cfg.Drain.MaxInFlight, x.cfg.Drain.Refill = 100, 20
		x.start()
		x.sendMany("a", "k", "a", 500)
		for range 500 {
			synctest.Wait()
			if n := x.cluster.inFlight(); n > 100 || n < 20 && len(x.cluster.has()) < 450 {
				t.Fatalf("%d in flight", n)
			}
			x.cluster.answer('k', 1)
		}
		if n := len(x.cluster.has()); n != 500 {
			t.Errorf("%d delivered", n)
		}
	})
}

// One message that waits does not have the lane remember all that was delivered behind it (P6, CON-W10).
func TestWindowIsBounded(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckSpool})
		x.longest = 50
		x.cfg.Drain.MaxInFlight = 20
		x.start()
		x.send("a", "k", "k")
		for range 100 {
			x.sendMany("a", "l", "l", 10)
			pass(100 * time.Millisecond)
			x.cluster.answer('l', 100)
		}
		if l := x.lane("a"); l.InFlight != 50 || len(x.cluster.has()) != 49 {
			t.Errorf("%d delivered, %+v", len(x.cluster.has()), l)
		}
		x.cluster.away(false)
		pass(10 * time.Second)
		if n := len(x.cluster.has()); n != 1001 {
			t.Errorf("%d delivered", n)
		}
	})
}

// CON-W6: a disk that deletes nothing for a while holds nothing up. All is delivered, more is taken, and Status says what is wrong;
// when it deletes again, what was delivered goes.
func TestDrainWhileNothingIsDeleted(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		sent := x.sendMany("a", "k", strings.Repeat("x", 1000), 200) // more than a file is to have
		pass(10 * time.Second)
		sent = append(sent, x.sendMany("a", "k", "in the next one", 10)...)
		pass(10 * time.Second)
		x.disk.Fail("delete.remove", syscall.EIO)
		files := x.spool.Status().Disk.Segments
		x.cluster.away(false)
		pass(time.Minute)
		same(t, "delivered", x.cluster.payloads(), sent)
		if d := x.spool.Status().Disk; d.Failing == nil || d.Segments < files || files < 2 {
			t.Errorf("%d files, then %+v", files, d)
		}
		x.cluster.away(true)
		sent = append(sent, x.sendMany("a", "k", "later", 10)...)
		pass(10 * time.Second)
		same(t, "acked", x.acked(), sent)
		x.disk.Heal()
		x.cluster.away(false)
		pass(time.Minute)
		same(t, "delivered", x.cluster.payloads(), sent)
		if d := x.spool.Status().Disk; d.Failing != nil || d.Segments > 1 {
			t.Errorf("%+v", d)
		}
	})
}

// At the end what is in flight is settled, what is on disk stays there, and a new process goes on with it (P8).
func TestStopDrains(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		sent := x.sendMany("a", "k", "m", 10)
		go func() {
			time.Sleep(time.Second)
			x.cluster.answer('k', 5)
		}()
		if err := x.stop(); err != nil { // no more than 2 s, as then the spool takes over, and 10 for the rest
			t.Fatal(err)
		}
		same(t, "acked", x.acked(), sent)
		x.send("a", "k", "late")
		if err := x.errs["late"]; !errors.Is(err, linkspan.ErrClosed) {
			t.Errorf("late: %v", err)
		}
		x.cluster.end()
		same(t, "delivered", x.cluster.payloads(), sent[:5])
		x.cluster = newCluster()
		x.to = x.cluster
		x.cluster.away(false)
		x.start()
		pass(time.Second)
		same(t, "delivered by the next one", x.cluster.payloads(), sent[5:])
	})
}

// What the spool takes over while it stops, and Kafka's producer delivers then all the same, the next process does not deliver again.
func TestStopSettlesWhatIsDelivered(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		sent := x.sendMany("a", "k", "m", 10)
		go func() {
			time.Sleep(5 * time.Second)
			x.cluster.answer('k', 10)
		}()
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		same(t, "acked from the disk", x.acked(), sent)
		same(t, "delivered", x.cluster.payloads(), sent)
		x.cluster = newCluster()
		x.to = x.cluster
		x.cluster.away(false)
		x.start()
		pass(time.Second)
		same(t, "delivered by the next one", x.cluster.payloads(), nil)
	})
}

// A lane with a backlog from before stays behind it, also if it may not spool: then only Kafka acknowledges.
func TestBacklogFirst(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		x.spool.Hold(true)
		sent := x.sendMany("a", "k", "m", 10)
		pass(time.Second)
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		x.lanes[0].Ack = AckKafka
		x.start()
		pass(time.Second)
		later := x.sendMany("a", "k", "n", 10)
		pass(time.Minute)
		same(t, "acked", x.acked(), sent)
		x.cluster.away(false)
		pass(time.Second)
		sent = append(sent, later...)
		same(t, "acked", x.acked(), sent)
		same(t, "delivered", x.cluster.payloads(), sent)
		x.wantWay("a", Direct)
	})
}

// AckMemory acknowledges what the producer has; what that gives back later is a dead letter.
func TestAckMemory(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckMemory})
		x.start()
		sent := x.sendMany("a", "k", "m", 3)
		same(t, "acked", x.acked(), sent)
		x.cluster.judge = func(*fakeRecord) error { return errors.New("gone") }
		x.cluster.answer('k', 1)
		pass(time.Second)
		if len(x.letters) != 3 {
			t.Errorf("dead letters %+v", x.letters)
		}
		x.cluster.judge = func(*fakeRecord) error { return linkspan.Permanent(errors.New("no")) }
		x.cluster.away(false)
		x.send("a", "k", "refused at once")
		if x.errs["refused at once"] == nil {
			t.Error("acknowledged")
		}
	})
}
