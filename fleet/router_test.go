package fleet

import (
	"context"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

// A site is one process with a Kafka that does what the test says, and no others.
type site struct {
	shelf
	*Router
	dead shelf
	loc  Located
	ok   bool
	err  error
	next int64
	log  []*linkspan.Message // what is parked
	gone int                 // what retention has removed of it
}

func newSite() *site {
	s := &site{loc: Located{Endpoints: []string{"plant-a", "plant-b"}, Listeners: []string{"local"}}, ok: true}
	cfg := DefaultConfig()
	cfg.Lanes, cfg.MaxParked = 1, 5
	parts := Parts{To: &s.shelf, Locate: func(m *linkspan.Message) (Located, bool, error) {
		loc := s.loc
		loc.Device = string(m.Record.Key)
		return loc, s.ok, s.err
	}, Read: s.read, Refuse: func(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
		c := m.Clone()
		c.Record.Headers = append(c.Record.Headers, linkspan.Header{Key: "why", Value: []byte(why.Error())})
		s.dead.Send(ctx, c, done)
	}}
	places := NewLocations(cfg, &s.shelf, nil)
	s.Router = NewRouter(cfg, places, NewParking(cfg, places, parts), parts)
	return s
}

func (s *site) read(_ context.Context, _ string, _ int32, from int64, _ int, visit func(*linkspan.Message)) (int64, error) {
	if from < int64(s.gone) {
		return from, linkspan.Permanent(errAway)
	}
	if from < int64(len(s.log)) {
		visit(s.log[from].Clone())
		from++
	}
	return from, nil
}

// put has a device be somewhere.
func (s *site) put(device, endpoint string) {
	s.places.seen(device, endpoint, time.Now().UnixMilli(), 0)
}

// command sends the next record, and returns what becomes of it.
func (s *site) command(device string) *outcome {
	o := new(outcome)
	m := command("commands", device, s.next)
	s.next++
	s.Router.Send(context.Background(), m, o.done)
	scribble(m)
	return o
}

// land has what was sent be stored, and what is sent because of that; it returns it, but for barriers.
func (s *site) land() (landed []*linkspan.Message) {
	for sent := s.take(); len(sent) > 0; sent = s.take() {
		landed = append(landed, s.store(sent)...)
	}
	return landed
}

// store has messages be stored, and read back if they are parked; it returns them, but for barriers.
func (s *site) store(sent []*sending) (stored []*linkspan.Message) {
	for _, x := range sent {
		if x.m.Record.Topic == s.cfg.ParkedTopic() {
			x.m.Record.Offset = int64(len(s.log))
			s.log = append(s.log, x.m)
		}
		if x.m.Record.Header(headerBarrier) == nil {
			stored = append(stored, x.m)
		}
		x.done(nil)
		if x.m.Record.Topic == s.cfg.ParkedTopic() {
			s.parking.Apply(x.m.Clone())
		}
	}
	return stored
}

func (o *outcome) want(t *testing.T, what string, err error) {
	t.Helper()
	if o.calls != 1 || o.err != err {
		t.Errorf("%s: done %d times, with %v, want %v", what, o.calls, o.err, err)
	}
}

func (o *outcome) pending(t *testing.T, what string) {
	t.Helper()
	if o.calls != 0 {
		t.Errorf("%s: done, with %v", what, o.err)
	}
}

// to returns where a record was put.
func to(m *linkspan.Message) string { return m.Record.Topic + " " + string(m.Record.Header(headerTo)) }

// P1, P4: nothing is settled before it is stored.
func TestRouterSettlesWhatIsStored(t *testing.T) {
	s := newSite()
	s.put("pump", "plant-a")
	first := s.command("pump") // waits for what others may have parked
	first.pending(t, "before the barrier")
	if s.Router.Room(nil) {
		t.Error("room while something waits") // P6
	}
	barrier := s.take()
	if len(barrier) != 1 || barrier[0].m.Record.Header(headerBarrier) == nil {
		t.Fatalf("%d records before the barrier", len(barrier))
	}
	s.parking.Apply(barrier[0].m)
	second := s.command("pump")
	sent := s.take()
	if len(sent) != 2 || to(sent[0].m) != "_linkspan.inbox plant-a" || sent[0].m.Record.Partition != 0 || !s.Router.Room(nil) {
		t.Fatalf("sent %d", len(sent))
	}
	first.pending(t, "before it is stored")
	sent[1].done(nil)
	second.want(t, "stored", nil)
	sent[0].done(linkspan.ErrTooLarge)
	first.want(t, "refused", linkspan.ErrTooLarge)
	if st := s.Stats(); st.Inbox.Load() != 1 || st.Refused.Load() != 1 || st.Waited.Load() != 1 || st.Copies.Load() != 1 {
		t.Error("counted wrong")
	}
}

func TestRouterDecides(t *testing.T) {
	s := newSite()
	s.put("pump", "plant-b")
	s.put("valve", "local")
	s.put("lamp", "plant-c") // where the route does not go
	for _, c := range []struct {
		what, device string
		unknown      Unknown
		to           []string
		err          error
		count        func(*RouterStats) uint64
	}{
		{"known", "pump", Flood, []string{"_linkspan.inbox plant-b"}, nil, func(s *RouterStats) uint64 { return s.Inbox.Load() }},
		{"on a listener", "valve", Park, nil, nil, func(s *RouterStats) uint64 { return s.Local.Load() }},
		{"flooded", "nobody", Flood, []string{"_linkspan.inbox plant-a", "_linkspan.inbox plant-b"}, nil, func(s *RouterStats) uint64 { return s.Flooded.Load() }},
		{"elsewhere, flooded", "lamp", Flood, []string{"_linkspan.inbox plant-a", "_linkspan.inbox plant-b"}, nil, func(s *RouterStats) uint64 { return s.Flooded.Load() - 1 }},
		{"refused", "nobody", DeadLetter, nil, ErrUnknownDevice, func(s *RouterStats) uint64 { return s.Unknown.Load() }},
		{"parked", "nobody", Park, []string{"_linkspan.parked "}, nil, func(s *RouterStats) uint64 { return s.Parked.Load() }},
		{"elsewhere, parked", "lamp", Park, []string{"_linkspan.parked "}, nil, func(s *RouterStats) uint64 { return s.Parked.Load() - 1 }},
	} {
		s.loc.Unknown = c.unknown
		o := s.command(c.device)
		landed := s.land()
		if len(landed) != len(c.to) {
			t.Fatalf("%s: %d records", c.what, len(landed))
		}
		for i, m := range landed {
			if to(m) != c.to[i] {
				t.Errorf("%s: put into %s", c.what, to(m))
			}
		}
		o.want(t, c.what, c.err)
		if c.count(s.Stats()) != 1 {
			t.Errorf("%s: counted wrong", c.what)
		}
	}
	s.ok = false
	s.command("pump").want(t, "no concern of ours", nil)
	s.err = linkspan.ErrLoop
	s.command("pump").want(t, "refused by the route", linkspan.ErrLoop)
	if len(s.land()) != 0 || s.Stats().Passed.Load() != 1 {
		t.Error("sent, or counted wrong")
	}
}

// P3: as long as records of a device are parked, later ones are parked behind them, though it is known by then where it is.
func TestRouterParksBehindWhatIsParked(t *testing.T) {
	s := newSite()
	s.command("pump")
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.parked " {
		t.Fatal("not parked")
	}
	s.put("pump", "plant-a")
	s.command("pump")
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.parked " {
		t.Fatal("not parked behind")
	}
	s.parking.lanes[0].mu.Lock()
	s.parking.lanes[0].released(s.parking, "pump", int64(len(s.log)))
	s.parking.lanes[0].mu.Unlock()
	s.command("pump")
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.inbox plant-a" {
		t.Fatal("not sent once nothing is parked")
	}
}

// P3: what is on its way to the inbox could come in after what is parked now and released by another.
func TestRouterParksNothingBesideWhatIsOnItsWay(t *testing.T) {
	s := newSite()
	s.put("pump", "plant-a")
	s.command("pump")
	s.parking.Apply(s.take()[0].m)
	on := s.take()
	s.places.left("pump", "plant-a", entry{Left: true})
	o := s.command("pump")
	if len(on) != 1 || len(s.peek()) != 0 {
		t.Fatal("parked while another was on its way")
	}
	on[0].done(nil)
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.parked " {
		t.Fatal("not parked then")
	}
	o.want(t, "parked", nil)
}

// A partition's records that jump have been with others meanwhile.
func TestRouterReadsOnAfterAGap(t *testing.T) {
	s := newSite()
	s.put("pump", "plant-a")
	s.command("pump")
	s.land()
	s.next += 3
	o := s.command("pump")
	sent := s.take()
	if len(sent) != 1 || sent[0].m.Record.Header(headerBarrier) == nil {
		t.Fatal("no barrier after a gap")
	}
	o.pending(t, "behind a barrier")
	sent[0].done(errAway) // Kafka does not take it
	o.want(t, "given back", errAway)
	if !s.Router.Room(nil) || s.Stats().Failed.Load() != 1 {
		t.Error("no room, or counted wrong")
	}
	s.command("pump").want(t, "newer than what was given back", errBehind)
	s.next -= 2
	o = s.command("pump")
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.inbox plant-a" {
		t.Fatal("not sent again")
	}
	o.want(t, "sent again", nil)
}

// A record failed when others had its partition already: who begins again behind it must read what they have parked, though
// no offset is missing.
func TestRouterReadsOnAfterOthersTookWhatFailed(t *testing.T) {
	s := newSite()
	s.put("pump", "plant-a")
	s.command("pump")
	s.land()
	s.command("pump")
	s.take()[0].done(errAway)
	s.command("pump").want(t, "behind what failed", errBehind)
	s.next--
	o := s.command("pump")
	sent := s.take()
	if len(sent) != 1 || sent[0].m.Record.Header(headerBarrier) == nil {
		t.Fatal("no barrier")
	}
	o.pending(t, "behind a barrier")
	s.parking.Apply(sent[0].m)
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.inbox plant-a" {
		t.Fatal("not sent then")
	}
	o.want(t, "sent", nil)
}

// P3: where one of the inboxes fails, nothing overtakes there while the other one is still open.
func TestRouterLetsNothingOvertakeWhatFailed(t *testing.T) {
	s := newSite()
	s.loc.Unknown = Flood
	first := s.command("pump")
	sent := s.take()
	sent[1].done(errAway)
	first.pending(t, "with one inbox open")
	s.command("pump").want(t, "newer than what failed", errBehind)
	sent[0].done(linkspan.ErrTooLarge)
	first.want(t, "failed in one, refused in the other", errAway)
	s.next = 0
	first = s.command("pump")
	second := s.command("pump")
	if len(s.land()) != 4 {
		t.Error("not sent again, to both")
	}
	first.want(t, "again", nil)
	second.want(t, "after it", nil)
}

// P6: what is parked is bounded; what is too much is refused with the reason (P2).
func TestParkedIsBounded(t *testing.T) {
	s := newSite()
	s.command("pump")
	s.land()
	for range 4 {
		s.command("valve") // on their way count, too
	}
	s.command("lamp").want(t, "too much", ErrParkedFull)
	s.land()
	s.command("lamp").want(t, "too much", ErrParkedFull)
	if s.Stats().Full.Load() != 2 || s.parking.Stats().Records.Load() != 5 || s.parking.Stats().Devices.Load() != 2 {
		t.Error("counted wrong")
	}
}

// P3: what was stored and not read back counts, though what was sent after it failed.
func TestParkedBeforeAFailureCounts(t *testing.T) {
	s := newSite()
	s.command("pump")
	s.parking.Apply(s.take()[0].m)
	stored := s.take()
	stored[0].done(nil)
	o := s.command("pump")
	s.take()[0].done(errAway)
	o.want(t, "not parked", errAway)
	s.put("pump", "plant-a")
	s.next--
	s.command("pump")
	if got := s.land(); len(got) != 1 || to(got[0]) != "_linkspan.parked " {
		t.Fatal("not parked behind what was stored")
	}
}

func TestParkingThatFailsIsGivenBack(t *testing.T) {
	s := newSite()
	s.command("pump")
	s.land()
	o := s.command("valve")
	s.take()[0].done(errAway)
	o.want(t, "not parked", errAway)
	if s.parking.Stats().Devices.Load() != 1 || s.parking.holds(0, "valve") {
		t.Error("counts as parked")
	}
}

func BenchmarkRouter(b *testing.B) {
	cfg, endpoints := DefaultConfig(), []string{"plant-a"}
	parts := Parts{To: nowhere{}, Locate: func(m *linkspan.Message) (Located, bool, error) {
		return Located{Device: m.Topic, Endpoints: endpoints, Unknown: Flood}, true, nil
	}}
	places := NewLocations(cfg, nowhere{}, nil)
	r := NewRouter(cfg, places, NewParking(cfg, places, parts), parts)
	places.seen("pump", "plant-a", time.Now().UnixMilli(), 0)
	m := command("commands", "pump", 0)
	m.Topic = "pump"
	m.Record.Headers = []linkspan.Header{{Key: "h", Value: []byte("v")}}
	done := func(error) {}
	b.ReportAllocs()
	for b.Loop() {
		m.Record.Offset++
		r.Send(context.Background(), m, done)
	}
}
