package group

import (
	"testing"

	"github.com/linkspan/linkspan"
)

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

// P3: a record that is on its way to a receiver does not take the credit that comes right behind the return of an older one.
func TestReturnedWhileTheNextIsOnItsWay(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		l := &link{w: w, credit: 1}
		l.offer = func(m *linkspan.Message) {
			if list := l.got(); string(m.Payload) == "1" && len(list) == 1 {
				list[0].d.Settle(Outcome{State: Released})
				l.grant(1)
			}
		}
		p := w.process(Options{})
		rc, err := p.groups.Join(t.Context(), "g", "t", l)
		if err != nil {
			t.Fatal(err)
		}
		l.rc = rc
		w.feed("t", 0, 0, 2)
		l.wait(2)
		l.grant(2)
		want(t, "delivered", payloads(l.wait(3)), []string{"0", "0", "1"})
	})
}

// P3: nor does one that the source has chosen, and not yet offered.
func TestReturnedWhileTheNextIsChosen(t *testing.T) {
	team := newTeam(New(nil, Options{}, quiet), "g")
	l := &link{credit: plenty}
	l.rc = team.receiving(l)
	p := &part{team: team, key: key{"t", 0}, owner: l.rc}
	team.parts.Store(&map[key]*part{p.key: p})
	first, second := &linkspan.Message{Payload: []byte("0")}, &linkspan.Message{Payload: []byte("1")}
	first.Record, second.Record = linkspan.Record{Topic: "t"}, linkspan.Record{Topic: "t", Offset: 1}
	var back []error
	send := func(m *linkspan.Message) { team.Send(t.Context(), m, func(err error) { back = append(back, err) }) }
	team.Room(first)
	send(first)
	team.Room(second)
	l.got()[0].d.Settle(Outcome{State: Released})
	send(second)
	if len(back) != 2 || len(l.got()) != 1 {
		t.Fatalf("%v came back; delivered %q", back, payloads(l.got()))
	}
	for _, m := range []*linkspan.Message{first, second} {
		team.Room(m)
		send(m)
	}
	want(t, "delivered", payloads(l.got()), []string{"0", "0", "1"})
}
