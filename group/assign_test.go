package group

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/kafka"
)

// assign gives a new link one partition.
func (p *process) assign(s Partition, credit int) (*link, error) {
	l := &link{w: p.w, credit: credit}
	rc, err := p.groups.Assign(p.w.t.Context(), s, l)
	l.rc = rc
	return l, err
}

// A receiver of one partition reads it from where it says, beside the others; with a group it goes on where it was.
func TestAssign(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.feed("t", 1, 0, 10)
		p := w.process(Options{})
		start := func(s Partition) *link {
			t.Helper()
			s.Topic, s.Partition = "t", 1
			l, err := p.assign(s, plenty)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		a := start(Partition{From: linkspan.Start{At: linkspan.AtOffset, Offset: 7}}).accepts()
		b := start(Partition{From: linkspan.Start{At: linkspan.AfterOffset, Offset: 7}}).accepts()
		c := start(Partition{}).accepts()
		d := start(Partition{Group: "g"})
		want(t, "at an offset", payloads(a.wait(3)), numbered(7, 10))
		want(t, "behind an offset", payloads(b.wait(2)), numbered(8, 10))
		want(t, "without a group", payloads(c.wait(10)), numbered(0, 10))
		list := d.wait(10)
		for _, i := range []int{0, 1, 2, 5} {
			list[i].d.Settle(Outcome{})
		}
		list[4].d.Settle(Outcome{State: Modified, DeliveryFailed: true})
		if x := d.wait(11)[10]; x.payload != "4" || x.count != 1 {
			t.Errorf("%+v came again", x)
		}
		d.rc.Leave()
		w.until("the commit", func() bool { return w.committed("g", "t")[1] == 3 })
		e := start(Partition{Group: "g"}).accepts()
		want(t, "where the group was", payloads(e.wait(7)), numbered(3, 10))
		for _, l := range []*link{a, b, c, d, e} {
			l.rc.Leave()
		}
		w.until("the end of all consumers", func() bool { return p.groups.Stats().Receivers.Load() == 0 && p.held() == 0 })
		p.stop()
	})
}

// What does not exist is said so, at once or when Kafka says it; the registry goes on.
func TestWhatDoesNotExist(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		p := w.process(Options{})
		if _, err := p.groups.Join(t.Context(), "g", "nowhere", new(link)); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("a topic that is none: %v", err)
		}
		if _, err := p.assign(Partition{Topic: "nowhere"}, 0); !errors.Is(err, kafka.ErrUnknownTopic) {
			t.Errorf("a partition of a topic that is none: %v", err)
		}
		for _, n := range []int32{-1, 2} {
			if _, err := p.assign(Partition{Topic: "t", Partition: n}, 0); !errors.Is(err, ErrNoPartition) {
				t.Errorf("partition %d: %v", n, err)
			}
		}
		l, err := p.assign(Partition{Topic: "t", From: linkspan.Start{At: linkspan.AtOffset, Offset: 100}}, plenty)
		if err != nil {
			t.Fatal(err)
		}
		w.until("the word", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.gone) == 1 })
		var never *kafka.OffsetError
		if !errors.As(l.gone[0], &never) || never.End != 0 {
			t.Errorf("an offset that is not there yet: %v", l.gone)
		}
		l.rc.Leave()
		w.feed("t", 0, 0, 1)
		p.link("g", "t", plenty).wait(1)
	})
}

// Kafka clients are bounded: a group more, or a partition more, is refused, and comes when another has gone. More receivers of the same
// group are not.
func TestMaxReaders(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.process(Options{MaxReaders: 2})
		a := p.link("a", "t", plenty)
		one, err := p.assign(Partition{Topic: "t"}, plenty)
		if err != nil {
			t.Fatal(err)
		}
		p.link("a", "t", plenty)
		if _, err := p.groups.Join(t.Context(), "b", "t", new(link)); !errors.Is(err, ErrTooMany) {
			t.Errorf("a group more: %v", err)
		}
		if _, err := p.assign(Partition{Topic: "t"}, plenty); !errors.Is(err, ErrTooMany) {
			t.Errorf("a partition more: %v", err)
		}
		one.rc.Leave()
		w.until("there is room", func() bool { p.groups.mu.Lock(); defer p.groups.mu.Unlock(); return len(p.groups.all) == 1 })
		b := p.link("b", "t", plenty).accepts()
		a.accepts()
		w.feed("t", 0, 0, 1)
		b.wait(1)
	})
}

// Topics of a group come and go with their receivers, by one Kafka consumer; the position is kept while nobody receives.
func TestTopicsOfAGroup(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		p := w.process(Options{})
		w.feed("t", 0, 0, 5)
		w.feed("u", 0, 0, 5)
		a := p.link("g", "t", plenty).accepts()
		a.wait(5)
		for n := range 3 {
			b := p.link("g", "u", 5)
			list := b.wait(5)
			want(t, fmt.Sprint("of the other topic, time ", n), payloads(list), numbered(n, n+5))
			if members := w.members("g"); members != 1 {
				t.Fatalf("%d members", members)
			}
			list[0].d.Settle(Outcome{})
			w.feed("u", 0, n+5, n+6)
			b.rc.Leave()
			w.until("the commit", func() bool { return w.committed("g", "u")[0] == int64(n)+1 })
		}
		w.feed("t", 0, 5, 10)
		want(t, "of the first", payloads(a.wait(10)), numbered(0, 10))
		a.rc.Leave()
		w.until("the end", func() bool { return w.members("g") == 0 })
		if n := p.groups.Stats().Groups.Load(); n != 0 || w.committed("g", "t")[0] != 10 {
			t.Errorf("%d groups, %v committed", n, w.committed("g", "t"))
		}
	})
}

// P8: at the end nothing more is delivered, what is unsettled may still be settled, and that is committed. What is not comes again.
func TestDrain(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 10)
		p := w.process(Options{}, func(cfg *kafka.Config) { cfg.Consumer.DrainTimeout = time.Minute })
		a := p.link("g", "t", 5)
		list := a.wait(5)
		p.cancel()
		pass(time.Second)
		a.grant(plenty)
		pass(time.Second)
		if n := len(a.got()); n != 5 {
			t.Fatalf("%d deliveries after the end began", n)
		}
		if _, err := p.groups.Join(t.Context(), "h", "t", new(link)); !errors.Is(err, linkspan.ErrClosed) {
			t.Errorf("joined at the end: %v", err)
		}
		if _, err := p.assign(Partition{Topic: "t"}, 0); !errors.Is(err, linkspan.ErrClosed) {
			t.Errorf("assigned at the end: %v", err)
		}
		for _, x := range list[:4] {
			x.d.Settle(Outcome{})
		}
		list[4].d.Settle(Outcome{State: Released})
		p.stop()
		if at := w.committed("g", "t")[0]; at != 4 {
			t.Errorf("committed %d, settled 4", at)
		}
		if len(a.gone) != 1 || !errors.Is(a.gone[0], linkspan.ErrClosed) {
			t.Errorf("the receiver was told %v", a.gone)
		}
		a.rc.Leave()
		q := w.process(Options{})
		want(t, "the rest", payloads(q.link("g", "t", plenty).wait(6)), numbered(4, 10))
	})
}

// A receiver may settle in Deliver, leave in Idle and in Deliver, and a registry may be joined before it runs.
func TestReceiversMayCallEverything(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 10)
		p := w.process(Options{})
		a := p.link("g", "t", plenty)
		leaves := &link{w: w, credit: plenty}
		rc, err := p.groups.Join(t.Context(), "g", "t", impatient{leaves})
		if err != nil {
			t.Fatal(err)
		}
		leaves.mu.Lock()
		leaves.rc = rc
		leaves.mu.Unlock()
		w.until("the leaving", func() bool { return leaves.idled() == 1 && p.groups.Stats().Receivers.Load() == 1 })
		b := p.link("g", "t", plenty).accepts()
		list := a.wait(10)
		a.mu.Lock()
		a.auto = func(delivered) { a.rc.Leave() }
		a.mu.Unlock()
		list[4].d.Settle(Outcome{State: Released})
		want(t, "after that", payloads(b.wait(10)), numbered(0, 10))
	})
}

// impatient leaves when it idles.
type impatient struct{ *link }

func (i impatient) Idle() {
	i.link.Idle()
	go func() { // the registration is not back yet
		i.w.until("the registration", func() bool { i.mu.Lock(); defer i.mu.Unlock(); return i.rc != nil })
		i.rc.Leave()
	}()
}

// Joined before it runs, a registry reads when it does; it runs once.
func TestJoinBeforeRun(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.feed("t", 0, 0, 3)
		p := w.process(Options{})
		early := New(p, Options{}, quiet)
		l := &link{w: w, credit: plenty}
		var err error
		if l.rc, err = early.Join(t.Context(), "early", "t", l); err != nil {
			t.Fatal(err)
		}
		gone := &link{w: w}
		if gone.rc, err = early.Join(t.Context(), "gone", "t", gone); err != nil {
			t.Fatal(err)
		}
		gone.rc.Leave()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- early.Run(ctx) }()
		l.wait(3)
		if err := early.Run(ctx); err == nil {
			t.Error("it runs twice")
		}
		l.rc.Leave()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
