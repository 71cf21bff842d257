package fleet

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// parkedSite returns a site with so many records parked for the pump.
func parkedSite(t *testing.T, records int) *site {
	s := newSite()
	for range records {
		s.command("pump").pending(t, "parking")
		s.land()
	}
	return s
}

// own does the work of the lane's owner, up to when it has nothing to do; end ends that.
func (s *site) own(t *testing.T) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.parking.Own(ctx, 0)
	}()
	synctest.Wait()
	if sent := s.shelf.peek(); len(sent) != 1 || sent[0].m.Record.Header(headerBarrier) == nil {
		t.Fatalf("sent %d records before the barrier", len(sent))
	}
	s.step()
	return func() {
		cancel()
		<-ended
	}
}

// step has what was sent by now be stored, and waits for what the owner does then. Unlike land, it leaves that where it is.
func (s *site) step() {
	s.store(s.take())
	synctest.Wait()
}

// appear has a device be heard at an endpoint, and waits for what comes of it.
func (s *site) appear(device, endpoint string) {
	s.put(device, endpoint)
	synctest.Wait()
}

// offsets returns which records of the source these are, and what they are: marker, or to whom.
func describe(sent []*sending) (out []string) {
	var n names
	for _, x := range sent {
		m := x.m.Clone()
		switch {
		case m.Record.Header(headerReleased) != nil:
			out = append(out, "released "+string(m.Record.Header(headerReleased)))
		default:
			_, _ = unwrapInbox(m, string(m.Record.Header(headerTo)), &n)
			out = append(out, to(x.m)+" "+string(rune('0'+m.Record.Offset)))
		}
	}
	return out
}

func (s *site) wantSent(t *testing.T, want ...string) {
	t.Helper()
	if got := describe(s.shelf.peek()); !slices.Equal(got, want) {
		t.Fatalf("sent %q, want %q", got, want)
	}
}

func (s *site) wantParked(t *testing.T, records int64) {
	t.Helper()
	if n := s.parking.stats.Records.Load(); n != records {
		t.Fatalf("%d are parked, want %d", n, records)
	}
}

func TestOwnerReleasesWhenTheDeviceAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 2)
		end := s.own(t)
		s.wantSent(t)
		s.appear("valve", "plant-a")
		s.wantSent(t)
		s.appear("pump", "plant-a")
		s.wantSent(t, "_linkspan.inbox plant-a 0", "_linkspan.inbox plant-a 1")
		s.step()
		s.wantParked(t, 2)
		s.wantSent(t, "released 2")
		s.step()
		s.wantParked(t, 0)
		if s.parking.holds(0, "pump") || s.parking.stats.Released.Load() != 2 {
			t.Error("still parked, or counted wrong")
		}
		s.command("pump")
		s.wantSent(t, "_linkspan.inbox plant-a 2")
		end()
	})
}

// A device that is known when its records are parked behind others, or when the lane changes hands, is not waited for.
func TestOwnerReleasesWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 1)
		s.put("pump", "plant-b")
		end := s.own(t)
		s.wantSent(t, "_linkspan.inbox plant-b 0")
		s.command("pump")
		s.wantSent(t, "_linkspan.inbox plant-b 0", "_linkspan.parked  0")
		s.step()
		s.step() // marker
		s.wantSent(t, "_linkspan.inbox plant-b 1")
		s.step()
		s.step()
		s.wantParked(t, 0)
		end()
	})
}

// P2: what waited too long goes to the dead letter topic, as it was, with the reason.
func TestParkedExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 1)
		time.Sleep(s.cfg.ParkFor / 2)
		s.loc.ParkFor = time.Second // and behind what waits for longer
		s.command("pump")
		s.land()
		end := s.own(t)
		time.Sleep(s.cfg.ParkFor/2 - 2*expiryInterval)
		synctest.Wait()
		if len(s.dead.peek()) != 0 {
			t.Fatal("expired too soon")
		}
		time.Sleep(3 * expiryInterval)
		synctest.Wait()
		dead := s.dead.take()
		if len(dead) != 2 || string(dead[0].m.Record.Header("why")) != ErrParkedTooLong.Error() {
			t.Fatalf("%d expired", len(dead))
		}
		dead[0].m.Record.Headers = nil
		sameRecord(t, dead[0].m, command("commands", "pump", 0))
		s.wantSent(t)
		for _, d := range dead {
			d.done(nil)
		}
		synctest.Wait()
		s.wantSent(t, "released 2")
		s.step()
		s.wantParked(t, 0)
		if st := s.parking.Stats(); st.Expired.Load() != 2 || st.Refused.Load() != 2 || st.Released.Load() != 0 {
			t.Error("counted wrong")
		}
		end()
	})
}

// P2: whatever keeps a record from its inbox, it ends in the dead letter topic.
func TestParkedIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(s *site)
		at      string
		why     error
	}{
		"on a listener":          {func(*site) {}, "local", ErrOnListener},
		"no longer asked for":    {func(s *site) { s.ok = false }, "plant-a", ErrNotLocated},
		"refused by the route":   {func(s *site) { s.err = linkspan.ErrLoop }, "plant-a", linkspan.ErrLoop},
		"too large for an inbox": {func(s *site) { s.fails = linkspan.ErrTooLarge }, "plant-a", linkspan.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := parkedSite(t, 1)
				end := s.own(t)
				c.prepare(s)
				s.appear("pump", c.at)
				s.fails = nil
				dead := s.dead.take()
				if len(dead) != 1 || string(dead[0].m.Record.Header("why")) != c.why.Error() {
					t.Fatalf("%d refused", len(dead))
				}
				dead[0].m.Record.Headers = nil
				sameRecord(t, dead[0].m, command("commands", "pump", 0))
				dead[0].done(nil)
				synctest.Wait()
				s.wantSent(t, "released 1")
				end()
			})
		})
	}
}

// A device is where the record's route does not lead: the record goes on waiting.
func TestParkedWaitsForAnEndpointOfItsRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 2)
		end := s.own(t)
		s.appear("pump", "plant-c")
		s.wantSent(t)
		s.appear("pump", "plant-a")
		s.wantSent(t, "_linkspan.inbox plant-a 0", "_linkspan.inbox plant-a 1")
		end()
	})
}

// P3: what fails is tried again, with all behind it; what is stored is not sent again for want of a marker.
func TestReleaseIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 3)
		end := s.own(t)
		s.appear("pump", "plant-a")
		sent := s.take()
		sent[0].done(nil)
		sent[1].done(errAway)
		sent[2].done(nil)
		synctest.Wait()
		s.wantSent(t, "released 1")
		s.take()[0].done(errAway)
		synctest.Wait()
		s.wantSent(t)
		time.Sleep(retryInterval)
		synctest.Wait()
		s.wantSent(t, "_linkspan.inbox plant-a 1", "_linkspan.inbox plant-a 2")
		s.step()
		s.wantSent(t, "released 3")
		s.step()
		s.wantParked(t, 0)
		if s.parking.Stats().Errors.Load() != 1 {
			t.Error("counted wrong")
		}
		end()
	})
}

func TestRefusalIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 1)
		end := s.own(t)
		s.appear("pump", "local")
		s.dead.take()[0].done(linkspan.ErrNotAuthorized)
		synctest.Wait()
		s.wantSent(t)
		time.Sleep(retryInterval)
		synctest.Wait()
		if len(s.dead.take()) != 1 {
			t.Error("not tried again")
		}
		end()
	})
}

// What retention has removed is counted, and keeps nothing else.
func TestLostRecordsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 3)
		s.gone = 3 // the barrier, and two
		end := s.own(t)
		s.appear("pump", "plant-a")
		s.wantSent(t, "_linkspan.inbox plant-a 2")
		s.step()
		s.wantSent(t, "released 3")
		s.step()
		s.wantParked(t, 0)
		if s.parking.Stats().Lost.Load() != 2 {
			t.Errorf("%d lost", s.parking.Stats().Lost.Load())
		}
		end()
	})
}

func TestOwnerWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 1)
		end := s.own(t)
		s.shutter(true)
		s.appear("pump", "plant-a")
		s.wantSent(t) // P6
		s.shutter(false)
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		s.wantSent(t, "_linkspan.inbox plant-a 0")
		end()
	})
}

// P8: who gives up a lane waits for what is on its way, and marks it; but not for ever.
func TestOwnerDrains(t *testing.T) {
	for _, lands := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := parkedSite(t, 2)
			end := s.own(t)
			s.appear("pump", "plant-a")
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				end()
			}()
			synctest.Wait()
			select {
			case <-ended:
				t.Fatal("did not wait")
			default:
			}
			if lands {
				s.step()
				s.wantSent(t, "released 2")
				s.step()
			}
			<-ended
			if lands {
				s.wantParked(t, 0)
			} else {
				s.wantParked(t, 2)
			}
		})
	}
}

func TestOwnerThatNeverGetsToRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := parkedSite(t, 1)
		s.put("pump", "plant-a")
		s.fails = errAway
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s.parking.Own(ctx, 0)
		s.wantSent(t)
	})
}

func TestForeignParkedRecordsAreCounted(t *testing.T) {
	s := newSite()
	for i, m := range []linkspan.Message{
		{Record: linkspan.Record{Partition: 7}},
		{Record: linkspan.Record{Partition: -1}},
		{Record: linkspan.Record{Key: []byte("pump")}},
		{Record: linkspan.Record{Key: []byte("pump"), Headers: []linkspan.Header{{Key: headerReleased, Value: []byte("x")}}}},
	} {
		m.Record.Offset = int64(i)
		s.parking.Apply(&m)
	}
	if n := s.parking.Stats().Malformed.Load(); n != 4 || s.parking.holds(0, "pump") {
		t.Errorf("%d malformed", n)
	}
}

// A follower may begin again: what is known is not counted twice.
func TestParkedIsAppliedOnce(t *testing.T) {
	s := parkedSite(t, 2)
	for _, m := range s.log {
		s.parking.Apply(m.Clone())
	}
	s.wantParked(t, 2)
}

func TestClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var kafka shelf
		cfg := DefaultConfig()
		a, b := NewClients(cfg, &kafka), NewClients(cfg, &kafka)
		var log []*linkspan.Message
		land := func(readers ...*Clients) {
			synctest.Wait()
			for _, s := range kafka.take() {
				log = append(log, s.m)
				s.done(nil)
			}
			for _, m := range log {
				for _, c := range readers {
					c.Apply(m.Clone())
				}
			}
			synctest.Wait()
		}
		stored := make(chan error, 1)
		go func() { stored <- a.Store(t.Context(), "plant-a", []byte("filters")) }()
		synctest.Wait()
		select {
		case <-stored:
			t.Fatal("stored before Kafka has it") // P1
		default:
		}
		land(a)
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		loaded := make(chan string, 1)
		go func() {
			v, err := b.Load(t.Context(), "plant-a")
			if err != nil {
				t.Error(err)
			}
			loaded <- string(v)
		}()
		synctest.Wait()
		select {
		case v := <-loaded:
			t.Fatalf("loaded %q before it was read", v)
		default:
		}
		land(b)
		if v := <-loaded; v != "filters" {
			t.Errorf("loaded %q", v)
		}
		b.Apply(&linkspan.Message{Record: linkspan.Record{Key: []byte("plant-a")}})
		if b.values["plant-a"] != nil {
			t.Error("a tombstone deletes nothing")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Load(ctx, "plant-a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := a.Store(ctx, "plant-a", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}
