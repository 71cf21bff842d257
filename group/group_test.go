package group

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
)

func want(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// AKB-A5, AKB-W10: receivers of one group share its partitions, and one Kafka consumer; each group gets everything.
func TestReceiversShareAGroup(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		p := w.process(Options{})
		a, b := p.link("g", "t", plenty).accepts(), p.link("g", "t", plenty).accepts()
		other := p.link("h", "t", plenty).accepts()
		w.until("members", func() bool { return w.members("g") == 1 && w.members("h") == 1 })
		for i := range int32(4) {
			w.feed("t", i, 0, 10)
		}
		w.until("all deliveries", func() bool { return len(a.got())+len(b.got()) == 40 && len(other.got()) == 40 })
		w.until("the commits", func() bool { return sum(w.committed("g", "t")) == 40 && sum(w.committed("h", "t")) == 40 })
		pa, pb := partitionsOf(a.got()), partitionsOf(b.got())
		if len(pa) != 2 || len(pb) != 2 || pa[0] == pb[0] || len(partitionsOf(other.got())) != 4 {
			t.Errorf("partitions %v and %v of one group, %v of the other", pa, pb, partitionsOf(other.got()))
		}
		if n := w.members("g"); n != 1 {
			t.Errorf("%d Kafka consumers of one group in one process", n)
		}
	})
}

// AKB-A8, AKB-W2, AKB-W4: settled out of order, then the process is killed: all that was not settled comes again, and of
// what was settled only that which lies behind it.
func TestSettledPrefixOutlivesAKill(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 20)
		p := w.process(Options{})
		a := p.link("g", "t", plenty)
		list := a.wait(20)
		for _, i := range []int{19, 3, 0, 12, 2, 1, 5} { // 0 to 3 are the prefix
			list[i].d.Settle(Outcome{})
		}
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 4 })
		pass(time.Minute)
		if at := sum(w.committed("g", "t")); at != 4 {
			t.Fatalf("committed %d, settled 4", at)
		}
		p.kill()
		p = w.process(Options{})
		b := p.link("g", "t", plenty).accepts()
		want(t, "after the kill", payloads(b.wait(16)), numbered(4, 20))
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 20 })
	})
}

// AKB-A9, AKB-W3: only accepted and rejected settle. Released and modified come again at once, ahead of anything newer, and count as the
// outcome says [AMQP 3.4.4, 3.4.5].
func TestOutcomes(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 6)
		p := w.process(Options{})
		a := p.link("g", "t", 4)
		list := a.wait(4)
		for _, o := range []Outcome{{State: Released}, {State: Modified, DeliveryFailed: true}} {
			list[1].d.Settle(o)
			a.grant(1)
			list = a.wait(len(list) + 1)
			list[1] = list[len(list)-1]
		}
		want(t, "released, then modified", payloads(list), []string{"0", "1", "2", "3", "1", "1"})
		if list[4].count != 0 || list[5].count != 1 {
			t.Errorf("delivery counts %d and %d, want 0 and 1", list[4].count, list[5].count)
		}
		list[2].d.Settle(Outcome{})
		list[5].d.Settle(Outcome{State: Rejected, Err: errors.New("bad taste")})
		list[3].d.Settle(Outcome{State: Modified})
		a.grant(plenty)
		list = a.wait(9)
		want(t, "in the end", payloads(list), []string{"0", "1", "2", "3", "1", "1", "3", "4", "5"})
		want(t, "dead letters", p.deadLetters(), []string{"1: rejected by the receiver: bad taste"})
		pass(time.Minute)
		if at := sum(w.committed("g", "t")); at > 0 {
			t.Fatalf("committed %d before anything was settled", at)
		}
		for _, i := range []int{0, 6, 7, 8} {
			list[i].d.Settle(Outcome{})
		}
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 6 })
	})
}

// What one receiver cannot take goes to another one, and is a dead letter when there is none [AMQP 3.4.5].
func TestUndeliverableHere(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		p := w.process(Options{})
		a, b := p.link("g", "t", plenty), p.link("g", "t", plenty)
		w.until("the partitions", func() bool { return w.members("g") == 1 })
		w.feed("t", 0, 0, 3)
		w.until("all deliveries", func() bool { return len(a.got())+len(b.got()) == 3 })
		if len(a.got()) == 0 {
			a, b = b, a
		}
		x := a.got()[1]
		x.d.Settle(Outcome{State: Modified, DeliveryFailed: true, UndeliverableHere: true})
		y := b.wait(1)[0]
		if y.payload != "1" || y.count != 1 {
			t.Fatalf("the other got %+v", y)
		}
		w.feed("t", 0, 3, 4)
		want(t, "the owner goes on", payloads(a.wait(4)), []string{"0", "1", "2", "3"})
		y.d.Settle(Outcome{State: Modified, UndeliverableHere: true})
		w.until("the dead letter", func() bool { return len(p.deadLetters()) == 1 })
		for _, i := range []int{0, 2, 3} {
			a.got()[i].d.Settle(Outcome{})
		}
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 4 })
		if n := p.groups.Stats().Undeliverable.Load(); n != 1 {
			t.Errorf("%d records counted as undeliverable", n)
		}
	})
}

// P2: what waits for the credit of another one, since the owner cannot take it, does not wait for one who has left.
func TestUndeliverableHereAndTheOtherLeaves(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.process(Options{})
		a := p.link("g", "t", plenty)
		w.until("the partition", func() bool { return w.members("g") == 1 })
		b := p.link("g", "t", 0)
		w.feed("t", 0, 0, 3)
		a.wait(3)[1].d.Settle(Outcome{State: Modified, UndeliverableHere: true})
		pass(time.Minute)
		if n := len(a.got()) + len(b.got()); n != 3 || len(p.deadLetters()) != 0 {
			t.Fatalf("%d deliveries, dead letters %v, while the other one has no credit", n, p.deadLetters())
		}
		b.rc.Leave()
		w.until("the dead letter", func() bool { return len(p.deadLetters()) == 1 })
		for _, i := range []int{0, 2} {
			a.got()[i].d.Settle(Outcome{})
		}
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 3 })
	})
}

// P3, P6: what the owner cannot take goes to whoever else has credit, and holds up its partition only while nobody else has any.
func TestUndeliverableHereGoesToWhoHasCredit(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.process(Options{})
		a := p.link("g", "t", plenty)
		w.until("the partition", func() bool { return w.members("g") == 1 })
		b, c, d := p.link("g", "t", 0), p.link("g", "t", 1), p.link("g", "t", 0)
		w.feed("t", 0, 0, 3)
		list := a.wait(3)
		list[0].d.Settle(Outcome{State: Modified, UndeliverableHere: true})
		want(t, "the one with credit", payloads(c.wait(1)), []string{"0"})
		list[1].d.Settle(Outcome{State: Modified, UndeliverableHere: true})
		w.feed("t", 0, 3, 5)
		pass(time.Minute)
		if got := payloads(a.got()); len(got) != 3 {
			t.Fatalf("the owner got %v, and 1 is nowhere yet", got)
		}
		d.grant(1)
		want(t, "the one that has credit by now", payloads(d.wait(1)), []string{"1"})
		want(t, "the owner goes on", payloads(a.wait(5)), numbered(0, 5))
		if n := len(b.got()); n > 0 || len(p.deadLetters()) > 0 {
			t.Errorf("%d deliveries without credit, dead letters %v", n, p.deadLetters())
		}
		for _, x := range slices.Concat(a.got()[2:], c.got(), d.got()) {
			x.d.Settle(Outcome{})
		}
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 5 })
	})
}

// AKB-A10, P6: without credit nothing is delivered and a bounded number of bytes is held, however long; credit has it go on, record by
// record.
func TestZeroCredit(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.process(Options{}, func(cfg *kafka.Config) {
			cfg.Consumer.MaxInFlightBytes, cfg.Consumer.FetchMaxBytes, cfg.Consumer.FetchMaxPartitionBytes = 64<<10, 2048, 1024
		})
		a := p.link("g", "t", 0)
		for i := range 50 {
			w.feed("t", 0, 100*i, 100*i+100)
		}
		w.until("the first fetch", func() bool { return p.held() > 0 })
		pass(time.Hour)
		most := p.held()
		if len(a.got()) != 0 || most > 100<<10 {
			t.Fatalf("%d deliveries without credit, %d bytes held", len(a.got()), most)
		}
		for n := range 5 {
			a.grant(1)
			a.wait(n + 1)
			pass(time.Minute)
			if len(a.got()) != n+1 {
				t.Fatalf("%d deliveries for %d credits", len(a.got()), n+1)
			}
		}
		for _, x := range a.got() {
			x.d.Settle(Outcome{})
		}
		a.accepts().grant(plenty)
		want(t, "all", payloads(a.wait(5000)), numbered(0, 5000))
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 5000 })
		if n := p.held(); n != 0 {
			t.Errorf("%d bytes held in the end", n)
		}
	})
}

// AKB-A12: a receiver too many is told so, and gets its share when another one leaves. Where it is not certain it is told after a while.
func TestSurplusReceiver(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		p := w.process(Options{})
		a, b := p.link("g", "t", plenty).accepts(), p.link("g", "t", plenty).accepts()
		c := p.link("g", "t", plenty).accepts()
		if a.idled() != 0 || b.idled() != 0 || c.idled() != 1 {
			t.Fatalf("told: %d, %d, %d times", a.idled(), b.idled(), c.idled())
		}
		q := w.process(Options{IdleAfter: time.Minute})
		far := q.link("g", "t", plenty).accepts()
		w.until("both members", func() bool { return w.members("g") == 2 })
		pass(time.Minute) // each has one
		a.rc.Leave()
		b.rc.Leave()
		for i := range int32(2) {
			w.feed("t", i, 0, 10)
		}
		c.wait(10)
		far.wait(10)
		far2 := q.link("g", "t", plenty).accepts()
		if far2.idled() != 0 {
			t.Error("told at once, when others might give partitions back")
		}
		w.until("the word", func() bool { return far2.idled() == 1 })
		if s := q.groups.Stats(); s.Idle.Load() != 1 || s.Receivers.Load() != 2 {
			t.Errorf("%d idle of %d", s.Idle.Load(), s.Receivers.Load())
		}
		far2.rc.Leave()
		if n := q.groups.Stats().Idle.Load(); n != 0 {
			t.Errorf("%d idle in the end", n)
		}
	})
}

// What a receiver has not settled when it leaves goes to the next one, in order, and counts as delivered in vain (P3).
func TestLeavingGivesBackInOrder(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 30)
		p := w.process(Options{})
		a, b := p.link("g", "t", 20), p.link("g", "t", plenty).accepts()
		list := a.wait(20)
		for _, i := range []int{5, 6, 17} {
			list[i].d.Settle(Outcome{})
		}
		list[9].d.Settle(Outcome{State: Released})
		a.grant(1)
		a.wait(21)
		a.rc.Leave()
		a.rc.Leave()
		list[0].d.Settle(Outcome{}) // too late
		got := b.wait(27)
		var expected []string
		for i := range 30 {
			if i != 5 && i != 6 && i != 17 {
				expected = append(expected, fmt.Sprint(i))
			}
		}
		want(t, "the next one", payloads(got), expected)
		for _, x := range got {
			if again := x.offset < 20; again != (x.count == 1) {
				t.Errorf("record %s has the delivery count %d", x.payload, x.count)
			}
		}
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 30 })
		pass(time.Minute)
		if len(a.got()) != 21 || p.groups.Stats().Returned.Load() != 17 || p.groups.Stats().Unsettled.Load() != 0 {
			t.Errorf("%d at the first, %d returned, %d unsettled", len(a.got()), p.groups.Stats().Returned.Load(), p.groups.Stats().Unsettled.Load())
		}
	})
}

// A partition moves to a receiver that comes later only when nothing of it is unsettled at the one that has it (P3). One that settles
// nothing for a while gets more: it may wait for that.
func TestPartitionMovesWhenSettled(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		p := w.process(Options{MovePatience: 10 * time.Second})
		a := p.link("g", "t", plenty)
		w.feed("t", 0, 0, 5)
		w.feed("t", 1, 0, 5)
		list := a.wait(10)
		b := p.link("g", "t", plenty).accepts()
		moving := int32(0)
		w.feed("t", moving, 5, 6)
		settle := func(x delivered) {
			x.d.Settle(Outcome{})
		}
		var left []delivered
		for _, x := range list {
			if x.partition != moving {
				settle(x)
			} else {
				left = append(left, x)
			}
		}
		for _, x := range left[:3] { // slowly, but it does
			pass(9 * time.Second)
			settle(x)
		}
		if len(a.got()) != 10 || len(b.got()) != 0 {
			t.Fatalf("%d and %d deliveries while the partition is to move", len(a.got()), len(b.got()))
		}
		list = a.wait(11) // patience is over
		settle(list[10])
		settle(left[3])
		w.feed("t", moving, 6, 7)
		list = a.wait(12)
		settle(list[11])
		settle(left[4])
		w.feed("t", moving, 7, 9)
		want(t, "the new one", payloads(b.wait(2)), []string{"7", "8"})
	})
}

// Processes that come and go share the partitions of a group. What is settled before a partition is handed over does not come again.
func TestProcessesShareAGroup(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		p, q := w.process(Options{}), w.process(Options{})
		a := p.link("g", "t", plenty).accepts()
		feed := func(from, to int) {
			for i := range int32(4) {
				w.feed("t", i, from, to)
			}
		}
		feed(0, 10)
		a.wait(40)
		w.until("the commits", func() bool { return sum(w.committed("g", "t")) == 40 })
		b := q.link("g", "t", plenty).accepts()
		w.until("both members", func() bool { return w.members("g") == 2 })
		pass(time.Minute)
		feed(10, 20)
		w.until("all deliveries", func() bool { return len(a.got())+len(b.got()) >= 80 })
		if n := len(partitionsOf(b.got())); n != 2 {
			t.Errorf("the second has %d of 4 partitions", n)
		}
		p.stop()
		feed(20, 30)
		w.until("all deliveries", func() bool { return len(a.got())+len(b.got()) >= 120 })
		if n := len(a.got()) + len(b.got()); n != 120 {
			t.Errorf("%d deliveries of 120 records", n)
		}
		q.stop()
		if at := sum(w.committed("g", "t")); at != 120 {
			t.Errorf("committed %d at the end, want 120 (P8)", at)
		}
		if len(a.gone) != 1 || !errors.Is(a.gone[0], linkspan.ErrClosed) {
			t.Errorf("the receiver was told %v", a.gone)
		}
	})
}
