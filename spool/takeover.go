package spool

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// watch looks at how things are going, each tick, until ctx ends.
func (s *Spool) watch(ctx context.Context) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.look()
		case <-ctx.Done():
			return
		}
	}
}

// look is one tick. Age is counted in ticks: a process that was suspended gives Kafka the time that it has missed.
func (s *Spool) look() {
	now := s.clock.Add(1)
	count(&s.stuck, s.parts.To.Room(nil))
	if s.journal != nil {
		s.measure()
		patience := s.patience()
		for _, l := range s.lanes {
			l.watch(now, patience)
		}
		if s.limit.Load() {
			s.makeRoom()
		}
	}
	if now%second == 0 {
		for _, l := range s.lanes {
			l.mu.Lock()
			l.rates.turn(&l.counts)
			l.mu.Unlock()
			s.dropOld(l)
		}
	}
	s.poke()
}

// count counts the ticks for which there has been no room.
func count(n *atomic.Uint32, room bool) {
	if room {
		n.Store(0)
	} else {
		n.Add(1)
	}
}

// second is how many ticks a second has.
const second = uint32(time.Second / tick)

func (s *Spool) connected() bool { return s.parts.Connected == nil || s.parts.Connected() }

// patience is how long Kafka may leave a message unacknowledged now.
func (s *Spool) patience() time.Duration {
	if !s.connected() {
		return s.cfg.After / 4
	}
	return s.cfg.After
}

// watch has the spool take over if Kafka does not answer: not to a message of the lane, or to so many of others that there has been
// no room for as long.
func (l *lane) watch(now uint32, patience time.Duration) {
	if !l.mayFallBehind() || l.behind.Load() {
		return
	}
	l.mu.Lock()
	age := time.Duration(l.waited(now)) * tick
	stuck := time.Duration(l.s.stuck.Load()) * tick
	if age < patience && stuck < patience || !l.s.takes(l) {
		l.mu.Unlock()
		return
	}
	n := l.fallBehind()
	l.mu.Unlock()
	l.s.stats.Takeovers.Add(1)
	l.s.told(l, slog.LevelWarn, "spool takes over: Kafka does not answer, and devices get their acknowledgements from the disk", "taken", n, "waited", max(age, stuck))
}

// mayFallBehind reports whether the spool may take over from Kafka.
func (l *lane) mayFallBehind() bool { return l.Ack == AckKafkaElseSpool && l.s.journal != nil }

// takes reports whether the disk is fit to take over a lane: otherwise its messages are better off with the producer, and their
// senders wait.
func (s *Spool) takes(l *lane) bool {
	return !s.failing.Load() && (!s.limit.Load() || l.Full != FullHold)
}

// fallBehind has the lane's messages go to the spool from now on, and appends those that the producer has, in their order (P3): it
// cannot give them back, but their senders need not wait for it. Who is within Keep does so on the way out. The caller holds mu,
// which the promises of all that it grounds have to wait for: so each can still be shown.
func (l *lane) fallBehind() (taken int) {
	l.behind.Store(true)
	l.answered, l.wrote = false, false
	for f := l.direct.head; f != nil; { // they were sent before all that rows have
		next := f.next
		if !f.keeping {
			l.takeFlight(f)
			taken++
		}
		f = next
	}
	for r := l.rows.clear(); r != nil; {
		next := r.next
		taken += l.takeRow(r)
		r = next
	}
	l.shown = linkspan.Message{} // its memory is the producer's
	return taken
}

// takeRow grounds what r has on its way, and appends it but for what is within Keep. The caller holds mu.
func (l *lane) takeRow(r *row) (taken int) {
	r.away = true
	was := r.facts.Or(r.all() * grounded)
	for i := range r.given {
		if was>>i&(landed|grounded) != 0 {
			continue
		}
		if f := l.ground(r, i, was); !f.keeping {
			l.takeFlight(f)
			taken++
		}
	}
	l.rows.release(r)
	return taken
}

// takeFlight appends what the producer has of f, unless that is more than a disk takes. The caller holds mu, and the outcome is not
// known.
func (l *lane) takeFlight(f *flight) {
	f.kept.Show(&l.shown)
	if !fits(&l.shown) {
		return
	}
	l.direct.remove(f)
	l.append(f, &l.shown)
	l.counts.takenOver.Add(1)
}

// giveBack notes that the producer gave f back. What came behind f was given back as well or will be, so all outcomes are awaited
// before anything is handed over again, in order. The caller holds mu.
func (l *lane) giveBack(f *flight) {
	f.back = true
	if !l.failed {
		l.failed, l.again = true, nil
		l.s.failed.Add(1)
		l.backoff = min(max(2*l.backoff, 1), maxBackoff)
		l.retry = l.s.clock.Load() + l.backoff
	}
	if !l.behind.Load() {
		l.s.stats.Takeovers.Add(1)
		l.fallBehind()
	}
}

const maxBackoff = uint32(5 * time.Second / tick)

// tryReturn has the lane's messages go directly to Kafka again, if everything of it is with the producer, behind which they
// line up (P3), and the producer answers. passed is up to where the lane's walk has seen all there is.
func (l *lane) tryReturn(passed uint64) {
	s := l.s
	if !l.behind.Load() || l.Ack == AckSpool || l.gone || s.hold.Load() || !s.connected() || !s.parts.To.Room(nil) {
		return
	}
	l.mu.Lock()
	ok := !l.closed && !l.failed && l.again == nil && l.last <= passed &&
		(l.window.head == nil || l.answered && l.oldest(s.clock.Load()) < s.cfg.After)
	level, inFlight, wrote := slog.LevelDebug, l.window.n, l.wrote
	if wrote {
		level = slog.LevelInfo
	}
	if ok {
		l.behind.Store(false)
		l.backoff = 0
	}
	l.mu.Unlock()
	if ok {
		if wrote { // else it was only the start that kept it from Kafka
			s.stats.Returns.Add(1)
		}
		s.told(l, level, "spool drained: directly to Kafka again", "in_flight", inFlight)
	}
}

// Hold says whether Kafka has not been reached yet since the start, and those who read from it do not know where they begin: nothing
// goes there then. Lanes that may, spool at once, nothing is drained, and there is no room for the others.
func (s *Spool) Hold(spooling bool) {
	if s.hold.Swap(spooling) == spooling {
		return
	}
	for _, l := range s.lanes {
		if !spooling || !l.mayFallBehind() || !s.takes(l) {
			continue
		}
		l.mu.Lock()
		fell := !l.behind.Load() && !l.closed
		if fell {
			l.fallBehind()
		}
		l.mu.Unlock()
		if fell {
			s.told(l, slog.LevelDebug, "spool takes what comes until Kafka is reached")
		}
	}
	s.poke()
}

// told logs a change of a lane's way.
func (s *Spool) told(l *lane, level slog.Level, what string, more ...any) {
	if !s.log.Enabled(context.Background(), level) {
		return
	}
	about := []any{"route", l.Name}
	if b := s.backlog(l); b.Messages > 0 {
		about = append(about, "messages", b.Messages, "bytes", b.Bytes)
	}
	s.log.Log(context.Background(), level, what, append(about, more...)...)
}
