package spool

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan/spool/journal"
)

// Status is what an operator is told.
type Status struct {
	Verdict Verdict
	Reason  string // in words, "" when all is well
	Disk    Disk
	Lanes   []LaneStatus // those of the configuration in its order, then those that only the disk knows
}

// Verdict is the state of the whole spool.
type Verdict uint8

// The verdicts.
const (
	// OK: nothing waits for longer than it should.
	OK Verdict = iota
	// Degraded: messages wait in the spool; everything is still taken and nothing is lost.
	Degraded
	// NotReady: something is held back, refused or dropped.
	NotReady
)

func (v Verdict) String() string { return [...]string{"ok", "degraded", "not ready"}[v] }

func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Way is where the messages of a lane go.
type Way uint8

// The ways.
const (
	// Direct: to Kafka, not through the disk.
	Direct Way = iota
	// Spooling: to the disk, while Kafka takes nothing of the lane.
	Spooling
	// Draining: to the disk, and from there to Kafka.
	Draining
	// Holding: nowhere; they stay with their senders.
	Holding
	// Dropping: some are refused or dropped, as the lane's Full says.
	Dropping
)

func (w Way) String() string {
	return [...]string{"direct", "spooling", "draining", "holding", "dropping"}[w]
}

func (w Way) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// Disk is the state of the journal.
type Disk struct {
	Full     string    // the limit that is reached: max_bytes or min_free; "" for none
	Failing  error     // what the operating system said last; nil while it works
	Since    time.Time // of Failing
	Bytes    int64     // of all files
	MaxBytes int64
	Segments int
	Pending  int64  // bytes that wait in memory to be synced
	Damaged  uint64 // places that could not be read

	Syncs    uint64        // that came back since the start, each for all messages that waited
	SyncTime time.Duration // that they took together
}

// LaneStatus is the state of one lane.
type LaneStatus struct {
	Name string
	Ack  Ack
	Full Full
	Gone bool // no route has the name any more; what is left is drained all the same
	Way  Way

	Messages, Bytes int64         // in the spool, and not settled
	InFlight        int           // handed to Kafka and not acknowledged, or behind such a one, on the direct way and out of the spool
	Oldest          time.Duration // age of the oldest in the spool, 0 when there is none
	Unacked         time.Duration // how long the oldest was with Kafka that the spool has not taken over, 0 when there is none
	In, Out         float64       // messages a second into the spool and out of it, over the last seconds
	ETA             time.Duration // until the spool is empty, if it goes on like this; 0: not to be seen

	Counters LaneCounters
}

// LaneCounters is what happened in one lane since the start, in messages.
type LaneCounters struct {
	Spooled   uint64 // written to the spool, TakenOver among them
	TakenOver uint64 // that Kafka left unacknowledged
	Drained   uint64 // delivered to Kafka out of the spool
	Buried    uint64 // refused by Kafka for good, and put into the dead letter topic
	Refused   uint64 // refused to their sender: the spool was full
	Oldest    uint64 // dropped: the oldest, the spool being full
	Newest    uint64 // dropped: the newest, the spool being full
	TooOld    uint64 // dropped: older than MaxAge
	Lost      uint64 // acknowledged from memory, and not delivered
}

// Stats counts what the spool did since it was opened.
type Stats struct {
	// Takeovers counts how often Kafka left a lane to the spool, Returns how often one that had used it came back to the direct way, Rewinds
	// how often a lane was drained once more from its first message that Kafka gave back.
	Takeovers, Returns, Rewinds atomic.Uint64
	// LeftBehind counts how often a lane did not get on, and others went past it.
	LeftBehind atomic.Uint64
}

// counts are LaneCounters, being counted.
type counts struct {
	spooled, takenOver, drained, buried, refused, oldest, newest, tooOld, lost atomic.Uint64
}

func (c *counts) load() LaneCounters {
	return LaneCounters{
		Spooled: c.spooled.Load(), TakenOver: c.takenOver.Load(), Drained: c.drained.Load(), Buried: c.buried.Load(), Refused: c.refused.Load(),
		Oldest: c.oldest.Load(), Newest: c.newest.Load(), TooOld: c.tooOld.Load(), Lost: c.lost.Load(),
	}
}

// dropped is what was taken or refused, and nobody delivers.
func (c *LaneCounters) dropped() uint64 { return c.Refused + c.Oldest + c.Newest + c.TooOld + c.Lost }

// rates are what happens in a second, smoothed over some.
type rates struct {
	in, out float64
	was     LaneCounters
	dropped uint32 // seconds for which nothing was dropped, 0: nothing ever was
}

// dropMemory is how many seconds a lane counts as dropping after it has dropped something: never green in between.
const dropMemory = 10

func (r *rates) turn(c *counts) {
	is := c.load()
	const weight = 0.3
	r.in += weight * (float64(is.Spooled-r.was.Spooled) - r.in)
	r.out += weight * (float64(is.Drained+is.Buried-r.was.Drained-r.was.Buried) - r.out)
	switch {
	case is.dropped() > r.was.dropped():
		r.dropped = 1
	case r.dropped > 0 && r.dropped <= dropMemory:
		r.dropped++
	}
	r.was = is
}

func (r *rates) dropping() bool { return r.dropped > 0 && r.dropped <= dropMemory }

// Stats returns the live counters.
func (s *Spool) Stats() *Stats { return &s.stats }

// Status returns how things are now.
func (s *Spool) Status() Status {
	st := Status{Disk: Disk{MaxBytes: s.cfg.MaxBytes}}
	if s.journal != nil {
		j := s.journal.State()
		st.Disk.Bytes, st.Disk.Segments, st.Disk.Pending, st.Disk.Damaged = j.Bytes, j.Segments, j.Pending, j.Damaged
		st.Disk.Syncs, st.Disk.SyncTime = j.Commits, j.Time
		fault := j.Fault
		if fault == nil {
			fault = j.Chore
		}
		if fault != nil {
			st.Disk.Failing, st.Disk.Since = fault, fault.Since
		}
		if j.Condition == journal.Full && j.Limit != "pending" {
			st.Disk.Full = j.Limit
		}
	}
	for _, l := range s.lanes {
		st.Lanes = append(st.Lanes, l.status())
	}
	st.Verdict, st.Reason = st.judge()
	return st
}

func (s *Spool) backlog(l *lane) (b journal.Backlog) {
	if s.journal != nil {
		b = s.journal.Backlog(l.number)
	}
	return b
}

func (l *lane) status() LaneStatus {
	s := l.s
	b := s.backlog(l)
	st := LaneStatus{
		Name: l.Name, Ack: l.Ack, Full: l.Full, Gone: l.gone, Messages: int64(b.Messages), Bytes: b.Bytes, Counters: l.counts.load(),
	}
	if !b.Oldest.IsZero() {
		st.Oldest = max(time.Since(b.Oldest), 0)
	}
	now := s.clock.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows.sweepAll()
	st.InFlight = l.rows.aloft() + l.direct.n + l.window.n
	st.Unacked = time.Duration(l.waited(now)) * tick
	st.In, st.Out = l.rates.in, l.rates.out
	if gain := st.Out - st.In; gain > 0 && b.Messages > 0 {
		st.ETA = time.Duration(min(float64(b.Messages)/gain, longest.Seconds()) * float64(time.Second)).Round(time.Second)
	}
	full, stuck := s.noRoom.Load() >= second, s.stuck.Load() >= second
	if l.mayFallBehind() && s.takes(l) { // which it is about to
		stuck = time.Duration(s.stuck.Load())*tick > s.cfg.After
	}
	switch behind := l.behind.Load(); {
	case l.rates.dropping() || behind && l.Full != FullHold && s.limit.Load():
		st.Way = Dropping
	case behind && (full || l.crowded()), !behind && (s.hold.Load() || stuck):
		st.Way = Holding
	case !behind:
		st.Way = Direct
	case !s.hold.Load() && s.connected() && (l.window.head == nil || l.answered && l.oldest(now) < s.cfg.After):
		st.Way = Draining
	default:
		st.Way = Spooling
	}
	return st
}

// Settled reports whether nothing is in flight that anybody waits for. What is on disk is not waited for while there is no
// connection to Kafka.
func (s *Spool) Settled() bool { return s.settled() }

// judge says how all of it is. It never says ok while something is dropped.
func (st *Status) judge() (Verdict, string) {
	worst, reason := OK, ""
	say := func(v Verdict, format string, args ...any) {
		if v > worst {
			worst, reason = v, fmt.Sprintf(format, args...)
		}
	}
	for i := range st.Lanes {
		l := &st.Lanes[i]
		switch l.Way {
		case Dropping:
			say(NotReady, "route %s drops or refuses messages: the spool is full or they are too old", l.Name)
		case Holding:
			if !l.Gone {
				say(NotReady, "route %s holds its senders back: %s", l.Name, st.Disk.why())
			}
		case Spooling:
			say(Degraded, "buffering: route %s has %d messages in the spool, the oldest for %v", l.Name, l.Messages, l.Oldest.Round(time.Second))
		case Draining:
			if l.Oldest > patienceWithDrain {
				say(Degraded, "draining: route %s has %d messages in the spool, the oldest for %v", l.Name, l.Messages, l.Oldest.Round(time.Second))
			}
		}
	}
	if st.Disk.Failing != nil {
		say(Degraded, "the disk of the spool fails: %v", st.Disk.Failing)
	}
	if st.Disk.Full != "" {
		say(Degraded, "the spool has reached its %s", st.Disk.Full)
	}
	return worst, reason
}

// longest is the longest time that is told: more than that is a guess.
const longest = 365 * 24 * time.Hour

// patienceWithDrain is how old a message may be that only passes through the spool, before this is called buffering.
const patienceWithDrain = 5 * time.Second

// why says what keeps the disk from taking more.
func (d *Disk) why() string {
	switch {
	case d.Failing != nil:
		return fmt.Sprintf("the disk fails: %v", d.Failing)
	case d.Full != "":
		return "the spool has reached its " + d.Full
	}
	return "neither Kafka nor the disk takes more"
}
