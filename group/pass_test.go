package group

import "testing"

// [AMQP 2.6.13] A receiver takes the place of another: what that one has can still be settled, what comes back and what is new goes to
// the new one, in order.
func TestAnotherTakesThePlace(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 5)
		p := w.process(Options{})
		a := p.link("g", "t", 3)
		list := a.wait(3)
		b := &link{w: w, rc: a.rc, credit: plenty}
		b.accepts()
		a.rc.Pass(b)
		list[0].d.Settle(Outcome{})
		list[1].d.Settle(Outcome{State: Released})
		b.rc.Resume()
		want(t, "at the new one", payloads(b.wait(3)), []string{"1", "3", "4"})
		if n := sum(w.committed("g", "t")); n > 2 {
			t.Errorf("committed %d, and one is at the old receiver (P4)", n)
		}
		list[2].d.Settle(Outcome{})
		w.until("the commit", func() bool { return sum(w.committed("g", "t")) == 5 })
		if n := len(a.got()); n != 3 {
			t.Errorf("%d deliveries to the old one", n)
		}
		b.rc.Leave()
		w.until("the end of the group", func() bool { return p.groups.Stats().Groups.Load() == 0 })
	})
}
