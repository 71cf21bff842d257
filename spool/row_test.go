package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inRows returns how many rows the first lane has on the direct way, and how many are spare.
func (x *site) inRows() (n, spare int) {
	l := x.spool.lanes[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows.n, l.rows.spares
}

// takeOver has the first lane fall behind now.
func (x *site) takeOver() {
	l := x.spool.lanes[0]
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.behind.Load() {
		l.fallBehind()
	}
}

// without returns list without some.
func without(list []string, some ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(some, s) })
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// A message that lands takes its seat along for the next: however many pass, one row is enough for who sends one after the other.
func TestRowsAreUsedAgain(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cluster.away(false)
		x.start()
		x.sendMany("a", "k", "m", 100*seats+1)
		if n, spare := x.inRows(); n+spare != 1 {
			t.Errorf("%d rows, and %d spare", n, spare)
		}
		x.cluster.away(true)
		x.sendMany("a", "k", "n", 10*seats)
		if n, spare := x.inRows(); n != 11 || spare != 0 {
			t.Errorf("%d rows, and %d spare", n, spare)
		}
		if l := x.lane("a"); l.InFlight != 10*seats {
			t.Errorf("%+v", l)
		}
		x.cluster.away(false)
		x.sendMany("a", "k", "o", 3*seats)
		if n, spare := x.inRows(); n+spare != 11 {
			t.Errorf("%d rows, and %d spare", n, spare)
		}
	})
}

// A lane keeps rows for what comes, but not all that there ever were (P6).
func TestSpareRowsAreBounded(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.start()
		x.sendMany("a", "k", "m", (spareRows+100)*seats)
		x.cluster.away(false)
		x.lane("a")
		if n, spare := x.inRows(); n != 0 || spare != spareRows {
			t.Errorf("%d rows, and %d spare", n, spare)
		}
	})
}

// P6: one partition does not answer. What others have been told of goes from between those that wait, and nothing is held for it.
func TestStragglers(t *testing.T) {
	const rows = 2 * minCrowd
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckKafka})
		x.start()
		for i := range rows { // one in each row waits
			x.send("a", "z", fmt.Sprint("waits", i))
			x.sendMany("a", "k", fmt.Sprint("m", i, "-"), seats-1)
		}
		x.cluster.answer('k', 1<<30)
		if l := x.lane("a"); l.InFlight != rows {
			t.Errorf("%d in flight", l.InFlight)
		}
		l := x.spool.lanes[0]
		for r := l.rows.head; r != nil; r = r.next {
			for i := range seats {
				if held := r.dones[i] != nil || r.kepts[i] != nil; held != (i == 0) {
					t.Fatalf("seat %d of a row: held %v", i, held)
				}
			}
		}
		for range 100 {
			x.sendMany("a", "k", "n", minCrowd)
			x.cluster.answer('k', 1<<30)
		}
		if n, _ := x.inRows(); n > 2*rows+minCrowd+1 {
			t.Errorf("%d rows for %d messages that wait", n, rows)
		}
		pass(time.Hour)
		if l := x.lane("a"); l.InFlight != rows || l.Unacked < time.Hour {
			t.Errorf("%+v", l)
		}
		x.cluster.away(false)
		if l := x.lane("a"); l.InFlight != 0 || l.Unacked != 0 {
			t.Errorf("%+v", l)
		}
		if n, _ := x.inRows(); n > 1 { // the newest may have seats left
			t.Errorf("%d rows", n)
		}
	})
}

// The age of a lane is that of the oldest that is on its way, not of the row that it has its seat in.
func TestAgeIsTheMessages(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a", Ack: AckKafka})
		x.start()
		x.send("a", "k", "1")
		pass(time.Minute)
		x.send("a", "l", "2")
		if l := x.lane("a"); l.Unacked < 59*time.Second {
			t.Errorf("%v", l.Unacked)
		}
		x.cluster.answer('k', 1)
		if l := x.lane("a"); l.Unacked > time.Second || l.InFlight != 1 {
			t.Errorf("%v", l.Unacked)
		}
		x.cluster.answer('l', 1)
		if l := x.lane("a"); l.Unacked != 0 || l.InFlight != 0 {
			t.Errorf("%+v", l)
		}
	})
}

// One in the middle of a row comes back: its sender alone is told, wherever its neighbours are (P2). When the spool takes over then, what
// is in front of it and behind it is in the journal in order (P3).
func TestErrorInARow(t *testing.T) {
	in(t, func(t *testing.T) {
		x := newSite(t, Lane{Name: "a"})
		x.cluster.alone = true
		x.cluster.judge = func(r *fakeRecord) error {
			if r.m.Record.Key[0] == 'F' {
				return errors.New("not now")
			}
			return nil
		}
		x.start()
		var sent []string
		for i := range 2*seats + 3 { // each in a partition of its own
			name := string(rune('A' + i))
			x.send("a", name, name)
			sent = append(sent, name)
		}
		for _, p := range []byte("DHFT") {
			x.cluster.answer(p, 1)
		}
		same(t, "acked", x.acked(), []string{"D", "H", "T"})
		if len(x.errs) != 1 || x.errs["F"] == nil {
			t.Errorf("%v", x.errs)
		}
		if l := x.lane("a"); l.InFlight != len(sent)-4 {
			t.Errorf("%+v", l)
		}
		pass(3 * time.Second)
		left := without(sent, "D", "F", "H", "T")
		same(t, "acked from the disk", x.acked()[3:], left)
		x.cluster.judge = func(*fakeRecord) error { return errors.New("not now") }
		for _, p := range x.cluster.partitions() { // all comes back, so that it is read from the disk
			x.cluster.answer(p, 1)
		}
		x.cluster.judge = nil
		x.cluster.away(false)
		pass(time.Minute)
		same(t, "delivered", x.cluster.payloads()[3:], left)
		x.wantWay("a", Direct)
		if n, spare := x.inRows(); n != 0 || spare != 3 {
			t.Errorf("%d rows, and %d spare", n, spare)
		}
	})
}

// Who is within Keep is not waited for: what lands meanwhile is told to its sender, and to its neighbours. But nobody else gets the seat.
func TestKeepReturnsLate(t *testing.T) {
	for _, c := range []struct {
		name              string
		answer, over, err bool
	}{
		{"landed", true, false, false}, {"taken over", false, true, false}, {"landed, then taken over", true, true, false},
		{"came back", true, false, true}, {"came back, then taken over", true, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			in(t, func(t *testing.T) {
				x := newSite(t, Lane{Name: "a"})
				release := make(chan struct{})
				x.to = &slowKeeper{x.cluster, map[string]chan struct{}{"slow": release}, false}
				x.cluster.alone = true
				x.start()
				sent := x.sendMany("a", "k", "of old", 3*seats) // the rows have had another life, and flights
				x.takeOver()
				x.cluster.away(false)
				pass(time.Second)
				x.cluster.away(true)
				x.cluster.judge = func(r *fakeRecord) error {
					if c.err && string(r.m.Payload) == "slow" {
						return errors.New("not now")
					}
					return nil
				}
				sent = append(sent, x.sendMany("a", "k", "before", 3)...)
				go x.send("a", "s", "slow")
				synctest.Wait()
				sent = append(sent, x.sendMany("a", "k", "behind", 2*seats)...)
				x.cluster.answer('k', 1<<30)
				if c.answer {
					x.cluster.answer('s', 1)
				}
				same(t, "acked", sorted(without(x.acked(), "slow")), sorted(sent))
				if c.over {
					x.takeOver()
				}
				if l := x.lane("a"); (l.InFlight == 1) == (c.answer && !c.err) {
					t.Errorf("%+v", l)
				}
				if n, spare := x.inRows(); c.over && (n != 0 || spare != 2) || !c.over && (n != 2 || spare != 1) { // its own and the newest
					t.Errorf("%d rows, and %d spare, while a Keep has not returned", n, spare)
				}
				close(release)
				x.cluster.away(false)
				pass(time.Second)
				if got := x.errs["slow"] != nil; got != c.err {
					t.Errorf("its sender was told of an error: %v", got)
				}
				if !c.err {
					sent = append(sent, "slow")
				}
				same(t, "acked", sorted(x.acked()), sorted(sent))
				same(t, "delivered", sorted(x.cluster.payloads()), sorted(sent))
				x.wantWay("a", Direct)
				if l := x.lane("a"); l.InFlight != 0 {
					t.Errorf("%+v", l)
				}
				if n, spare := x.inRows(); c.over && (n != 0 || spare != 3) || !c.over && (n != 1 || spare != 2) {
					t.Errorf("%d rows, and %d spare", n, spare)
				}
				x.cluster.away(true)
				sent = append(sent, x.sendMany("a", "k", "once more", 3*seats)...) // all can be used again, each by one
				x.takeOver()
				pass(time.Second)
				same(t, "acked", sorted(x.acked()), sorted(sent))
			})
		})
	}
}

// Messages land, come back and are sent while the spool takes over, all at the same time: each sender is told once (the site sees to that), and
// what it was told is true: Kafka has it once, in order (P1, P3), or it is a dead letter (P2).
func TestLandBesideTakeover(t *testing.T) {
	const senders, rounds, each = 3, 30, 50
	for _, ack := range []Ack{AckKafkaElseSpool, AckKafka, AckMemory} {
		t.Run(ack.String(), func(t *testing.T) {
			in(t, func(t *testing.T) {
				x := newSite(t, Lane{Name: "a", Ack: ack})
				random := rand.New(rand.NewPCG(1, uint64(ack)))
				x.cluster.judge = func(*fakeRecord) error {
					if random.IntN(200) == 0 {
						return errors.New("not now") // and so comes back what is behind it
					}
					return nil
				}
				x.start()
				for round := range rounds {
					var devices, others sync.WaitGroup
					var sent atomic.Int32
					for i := range senders {
						key := string(rune('a' + i))
						devices.Go(func() {
							for n := range each {
								x.send("a", key, fmt.Sprintf("%s%02d-%02d", key, round, n))
								sent.Add(1)
							}
						})
						others.Go(func() {
							for sent.Load() < senders*each {
								x.cluster.answer(key[0], 1+round)
								runtime.Gosched()
							}
						})
					}
					others.Go(func() {
						for sent.Load() < int32(round*senders*each/rounds) {
							runtime.Gosched()
						}
						x.takeOver()
					})
					devices.Wait()
					others.Wait()
					x.cluster.away(false)
					pass(10 * time.Second)
					x.wantWay("a", Direct)
					x.cluster.away(true)
				}
				if l := x.lane("a"); l.InFlight != 0 || l.Messages != 0 {
					t.Errorf("%+v", l)
				}
				acked := x.acked()
				if n := len(acked) + len(x.errs); n != senders*rounds*each {
					t.Errorf("%d of %d were told", n, senders*rounds*each)
				}
				got := x.cluster.payloads()
				for key := range senders {
					mine := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s[0] != byte('a'+key) })
					same(t, "in order", mine, sorted(mine))
				}
				for _, dead := range x.letters {
					got = append(got, dead.payload)
				}
				same(t, "delivered or dead", sorted(got), sorted(acked))
				if n, _ := x.inRows(); n > 1 {
					t.Errorf("%d rows", n)
				}
			})
		})
	}
}

// A message on the direct way leaves nothing to be collected.
func TestDirectAllocatesNothing(t *testing.T) {
	to := new(stub)
	s, err := Open(Config{}, []Lane{{Name: "a", Ack: AckKafka}}, Parts{To: to}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	m, done := benchMessage(200), func(error) {}
	send := func() { s.Send(context.Background(), m, done) }
	for range 2 * len(to.ring) {
		send()
	}
	if n := testing.AllocsPerRun(10000, send); n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}
