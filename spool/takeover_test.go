package spool

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// While Kafka answers nothing is written to disk.
func TestDirect(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cluster.away(false)
		x.start()
		sent := x.sendMany("a", "k", "m", 100)
		pass(time.Second)
		same(t, "acked", x.acked(), sent)
		same(t, "delivered", x.cluster.payloads(), sent)
		if slices.Contains(x.disk.Steps(), "append.write") {
			t.Error("written to disk")
		}
		x.wantWay("a", Direct)
	})
}

// Kafka goes away: what the producer has is taken over and acknowledged from the disk (P1), what comes goes behind it (P3),
// and nothing is delivered twice when Kafka is back. Then messages go directly again.
func TestTakeoverAndBack(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		sent := x.sendMany("a", "k", "early", 10)
		pass(time.Second)
		same(t, "acked before it takes over", x.acked(), nil)
		pass(2 * time.Second)
		same(t, "acked from the disk", x.acked(), sent)
		sent = append(sent, x.sendMany("a", "k", "late", 1000)...)
		pass(time.Minute)
		same(t, "acked from the disk", x.acked(), sent)
		x.wantWay("a", Spooling)
		if st := x.spool.Status(); st.Verdict != Degraded || st.Lanes[0].Messages != 1010 {
			t.Errorf("%+v", st)
		}
		x.cluster.away(false)
		pass(time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		x.wantWay("a", Direct)
		if st := x.spool.Status(); st.Verdict != OK || st.Lanes[0].Messages != 0 {
			t.Errorf("%+v", st)
		}
		steps := x.disk.Ops()
		sent = append(sent, x.sendMany("a", "k", "again", 10)...)
		synctest.Wait()
		same(t, "acked", x.acked(), sent)
		same(t, "delivered", x.cluster.payloads(), sent)
		if x.disk.Ops() != steps {
			t.Error("not the direct way")
		}
		if c := x.lane("a").Counters; c.TakenOver != 10 || c.Spooled != 1010 || c.Drained != 1010 {
			t.Errorf("%+v", c)
		}
	})
}

// Without a connection to any broker it takes over sooner.
func TestTakeoverOnDisconnect(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.offline.Store(true)
		x.start()
		sent := x.sendMany("a", "k", "m", 3)
		pass(700 * time.Millisecond)
		same(t, "acked", x.acked(), sent)
	})
}

// A lane whose messages are to be acknowledged by Kafka alone waits for it.
func TestAckKafkaWaits(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckKafka})
		x.start()
		sent := x.sendMany("a", "k", "m", 10)
		pass(time.Hour)
		same(t, "acked", x.acked(), nil)
		if l := x.lane("a"); l.Way != Direct || l.Unacked < 59*time.Minute {
			t.Errorf("%+v", l)
		}
		x.cluster.away(false)
		pass(time.Second)
		same(t, "acked", x.acked(), sent)
	})
}

// A producer that is full with what others wait for takes nothing of a lane that has nothing in flight: that goes to the spool, too.
func TestTakeoverWithoutRoom(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckKafka}, Lane{Name: "b"})
		x.cluster.bound = 10 * 1024
		x.start()
		x.sendMany("a", "k", "a", 10)
		if m := (&linkspan.Message{Route: "b"}); x.spool.Room(m) || x.spool.Room(nil) {
			t.Fatal("there is room")
		}
		pass(3 * time.Second)
		if m := (&linkspan.Message{Route: "b"}); !x.spool.Room(m) || !x.spool.Room(nil) {
			t.Fatal("there is no room for b")
		}
		if m := (&linkspan.Message{Route: "a"}); x.spool.Room(m) || x.spool.Room(&linkspan.Message{}) {
			t.Fatal("there is room for a")
		}
		sent := x.sendMany("b", "l", "b", 10)
		pass(time.Second)
		same(t, "acked", x.acked(), sent)
		x.cluster.answer('l', 100)
		pass(time.Second)
		if n := len(x.cluster.has()); n != 10 {
			t.Errorf("%d of b delivered", n)
		}
	})
}

// A slowKeeper does not return from Keep until it may.
type slowKeeper struct {
	*cluster
	slow   map[string]chan struct{}
	before bool // it does not even begin
}

func (k *slowKeeper) Keep(ctx context.Context, m *linkspan.Message, done func(error)) linkspan.Kept {
	wait := k.slow[string(m.Payload)]
	if k.before && wait != nil {
		<-wait
	}
	kept := k.cluster.Keep(ctx, m, done)
	if wait != nil {
		<-wait
	}
	return kept
}

// The spool takes over while a Keep has not returned: its message is written by its own Send, and left to the producer.
func TestTakeoverDuringKeep(t *testing.T) {
	for _, before := range []bool{false, true} {
		in(t, func(t *testing.T) {
			x := newSite(t, Lane{Name: "a"})
			release := make(chan struct{})
			x.to = &slowKeeper{x.cluster, map[string]chan struct{}{"slow": release}, before}
			x.start()
			x.send("a", "k", "1")
			go x.send("a", "l", "slow")
			synctest.Wait()
			x.send("a", "k", "2")
			pass(3 * time.Second)
			x.send("a", "k", "3")
			pass(time.Second)
			same(t, "acked", x.acked(), []string{"1", "2", "3"})
			close(release)
			pass(time.Second)
			same(t, "acked", x.acked(), []string{"1", "2", "3", "slow"})
			x.cluster.away(false)
			pass(time.Second)
			got := x.cluster.payloads()
			slices.Sort(got)
			same(t, "delivered", got, []string{"1", "2", "3", "slow"})
			x.wantWay("a", Direct)
		})
	}
}

// The outcome comes while Keep has not returned.
func TestOutcomeDuringKeep(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		release := make(chan struct{})
		x.to = &slowKeeper{x.cluster, map[string]chan struct{}{"slow": release, "bad": release}, false}
		x.cluster.judge = func(r *fakeRecord) error {
			if string(r.m.Payload) == "bad" {
				return linkspan.Permanent(errors.New("no"))
			}
			return nil
		}
		x.cluster.away(false)
		x.start()
		go x.sendAs("a", "k", "slow", true)
		go x.sendAs("a", "l", "bad", true)
		pass(10 * time.Second)
		x.send("a", "m", "3") // by then the spool has taken over what has no outcome: not these two
		close(release)
		pass(time.Second)
		got := x.acked()
		slices.Sort(got)
		same(t, "acked", got, []string{"3", "bad", "slow"})
		if len(x.letters) != 1 || x.letters[0].payload != "bad" || x.letters[0].attempts != 1 || x.letters[0].route != "a" {
			t.Errorf("dead letters %+v", x.letters)
		}
	})
}

// What Kafka refuses for good is refused to a sender that can be told, and a dead letter otherwise (P2).
func TestRefusedDirectly(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		no := linkspan.Permanent(errors.New("no"))
		x.cluster.judge = func(*fakeRecord) error { return no }
		x.start()
		x.send("a", "k", "ears")
		x.sendAs("a", "k", "mute", true)
		x.cluster.answerAll()
		pass(time.Second)
		if !errors.Is(x.errs["ears"], no) {
			t.Errorf("ears: %v", x.errs["ears"])
		}
		same(t, "acked", x.acked(), []string{"mute"})
		if len(x.letters) != 1 || x.letters[0] != (letter{"mute", "no", "from/k", "a", 1}) {
			t.Errorf("dead letters %+v", x.letters)
		}
		x.bury = func(string) error { return errors.New("away") }
		x.sendAs("a", "k", "nobody", true)
		x.cluster.answerAll()
		pass(time.Second)
		if err := x.errs["nobody"]; err == nil || linkspan.IsPermanent(err) {
			t.Errorf("nobody has it, but: %v", err)
		}
	})
}

// What was taken over and acknowledged, and is refused then, is a dead letter; while that topic takes nothing it stays in the spool.
func TestRefusedAfterTakeover(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		x.send("a", "k", "good1")
		x.send("a", "k", "bad1")
		pass(3 * time.Second)
		x.send("a", "k", "bad2")
		x.send("a", "k", "good2")
		pass(time.Second)
		same(t, "acked", x.acked(), []string{"good1", "bad1", "bad2", "good2"})
		closed := true
		x.bury = func(string) error {
			if closed {
				return linkspan.Permanent(errors.New("dead letters are refused"))
			}
			return nil
		}
		x.cluster.mu.Lock()
		x.cluster.judge = func(r *fakeRecord) error {
			if r.m.Payload[0] == 'b' {
				return linkspan.Permanent(errors.New("no"))
			}
			return nil
		}
		x.cluster.mu.Unlock()
		x.cluster.away(false)
		pass(time.Minute)
		same(t, "delivered", x.cluster.payloads(), []string{"good1", "good2"})
		if l := x.lane("a"); l.Messages != 3 || l.Way == Direct { // good2 is behind what is left
			t.Errorf("%+v", l)
		}
		x.mu.Lock()
		closed = false
		x.mu.Unlock()
		pass(time.Minute)
		if len(x.letters) != 2 || x.letters[0].payload != "bad1" || x.letters[1].payload != "bad2" || x.letters[1].attempts < 2 {
			t.Errorf("dead letters %+v", x.letters)
		}
		same(t, "delivered", x.cluster.payloads(), []string{"good1", "good2"})
		x.wantWay("a", Direct)
		if l := x.lane("a"); l.Messages != 0 || l.Counters.Buried != 2 {
			t.Errorf("%+v", l)
		}
	})
}

// Kafka goes and comes every two seconds.
func TestFlapping(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cfg.After = 400 * time.Millisecond
		x.start()
		var sent []string
		for i := range 20 {
			x.cluster.away(i%2 == 0)
			for range 20 {
				sent = append(sent, x.sendMany("a", "k", string(rune('a'+i))+time.Now().Format("05.000")+"-", 3)...)
				pass(100 * time.Millisecond)
			}
		}
		x.cluster.away(false)
		pass(10 * time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		got := x.acked()
		slices.Sort(got)
		slices.Sort(sent)
		same(t, "acked", got, sent)
		if st := x.spool.Stats(); st.Takeovers.Load() < 5 || st.Returns.Load() < 5 {
			t.Errorf("%d takeovers, %d returns", st.Takeovers.Load(), st.Returns.Load())
		}
		x.wantWay("a", Direct)
	})
}

// Until Kafka has been reached everything that may goes to the disk, and nothing to Kafka.
func TestHold(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"}, Lane{Name: "b", Ack: AckKafka})
		x.cluster.away(false)
		x.start()
		x.spool.Hold(true)
		sent := x.sendMany("a", "k", "m", 10)
		pass(time.Minute)
		same(t, "acked", x.acked(), sent)
		same(t, "delivered", x.cluster.payloads(), nil)
		if x.spool.Room(&linkspan.Message{Route: "b"}) || !x.spool.Room(&linkspan.Message{Route: "a"}) || !x.spool.Room(nil) {
			t.Error("room for the wrong one")
		}
		x.spool.Hold(false)
		pass(time.Second)
		same(t, "delivered", x.cluster.payloads(), sent)
		x.wantWay("a", Direct)
		if !x.spool.Room(&linkspan.Message{Route: "b"}) {
			t.Error("no room for b")
		}
	})
}

// Without a disk a spool still buries what is refused to the mute, and holds back what Kafka does not take.
func TestWithoutDisk(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cfg.Dir = ""
		x.cluster.judge = func(*fakeRecord) error { return linkspan.Permanent(errors.New("no")) }
		x.start()
		x.sendAs("a", "k", "m", true)
		pass(time.Minute)
		same(t, "acked", x.acked(), nil)
		x.spool.Hold(true)
		if x.spool.Room(nil) {
			t.Error("room while held")
		}
		x.spool.Hold(false)
		x.cluster.away(false)
		pass(time.Second)
		same(t, "acked", x.acked(), []string{"m"})
		x.wantWay("a", Direct)
		if _, err := Open(x.cfg, []Lane{{Name: "b", Ack: AckSpool}}, Parts{To: x.cluster}, x.spool.log); err == nil {
			t.Error("ack spool without a spool")
		}
	})
}
