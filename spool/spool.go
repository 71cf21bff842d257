// Package spool keeps messages on the local disk while Kafka does not take them, so that devices get their
// acknowledgements, and hands them over when it does, in order.
//
// A [Spool] is a sink before Kafka's producer. Messages of one route are a lane, and each lane goes its own way:
//
//	direct    → the producer. Nothing is written. When Kafka leaves a message unacknowledged for too long,
//	            the spool takes over: all that the producer has of the lane is written to disk as well, and so
//	            is what comes from now on. Whichever is first, the disk or Kafka, acknowledges.
//	spooling  → the disk. A walk reads it back in order and hands it to the producer, as far as a window allows. What the
//	            producer had before is left to it; while Kafka is away the window does not move.
//	draining  → the disk, as before: but Kafka answers, and the window moves. When everything of the lane is with the
//	            producer, messages go directly again, behind it.
//
// The producer keeps the order of what it is given, so a lane only changes its way when all that went before has been
// given to it, or is written (P3). What it gives back is given to it again, from the first of these on, once all
// outcomes are known. The position of a lane moves over what has been delivered without a gap (P4). After a kill
// only the journal counts: what is behind the positions is delivered again, byte for byte (P5).
//
// row.go has the messages that nothing happens to on the direct way, flight.go all others. takeover.go decides when a lane changes its
// way, walk.go and drain.go empty the disk, full.go is about its limits.
// [github.com/linkspan/linkspan/spool/journal] is the disk.
package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/spool/journal"
)

// DeadLetters is the name of the lane for dead letters, which no route can have.
const DeadLetters = "dead_letter!"

// tick is how often the spool looks at how things are going, and its measure of age.
const tick = 100 * time.Millisecond

// maxWindow is how long a lane's window may get, as others than its first message are delivered; about 20 MiB.
const maxWindow = 100_000

// A Lane is what keeps its order in the spool: the messages of one route, which carry its name in Route, or the dead letters.
type Lane struct {
	Name string
	Ack  Ack
	Full Full
}

// Parts are what a spool is joined to.
type Parts struct {
	// To is where messages go in the end: Kafka's producer.
	To linkspan.Keeper
	// DrainBytes bounds the bytes that are read from the spool and are with To, each message with 1 KiB for its keep; a
	// lane takes no more of them than it leaves to others. Default 16 MiB.
	DrainBytes int64
	// Connected reports whether there is a connection to Kafka. Nil: there always is.
	Connected func() bool
	// Bury takes what To has refused for good (P2), after that many attempts. It is used as Send is: m is borrowed. While it
	// fails, what was acknowledged stays in the spool and is tried again. It also gets dead letters that are refused,
	// and has to make one of them that is taken. Route and Topic are those of the message, Record is what To has refused.
	Bury func(ctx context.Context, m *linkspan.Message, why error, attempts int, done func(error))
	// OS is what the disk is reached through. Nil: the operating system.
	OS journal.OS
}

// A Spool is a [linkspan.Bounded] sink before Kafka's producer.
type Spool struct {
	cfg      Config
	parts    Parts
	log      *slog.Logger
	refill   int              // DrainConfig.Refill
	longest  int              // window, with what has been delivered behind a message that waits
	journal  *journal.Journal // nil: there is no disk
	recovery journal.Recovery
	from     uint64 // where the drain begins
	lanes    []*lane
	byName   map[string]*lane
	byNumber []*lane // by journal.Lane; nil for those that nobody has

	clock  atomic.Uint32 // ticks
	away   atomic.Int64  // bytes out of the spool that the producer has
	failed atomic.Int32  // lanes that are failed
	hold   atomic.Bool

	// What is looked at once a tick.

	failing atomic.Bool   // the disk fails
	limit   atomic.Bool   // the disk is as full as it may be
	stuck   atomic.Uint32 // ticks for which the producer has had no room
	noRoom  atomic.Uint32 // ticks for which the journal has had none
	deleted uint64        // the watch's: the journal's round that deletes what was dropped last

	idle atomic.Bool   // the drain sleeps or is about to
	wake chan struct{} // a token for it

	stats Stats
}

var _ linkspan.Bounded = (*Spool)(nil)

// Open opens the spool in cfg.Dir, or makes one, and recovers what is in it, which [Spool.Run] then delivers. Lanes that
// are on disk and not among lanes are delivered, too. The error is for an operator: it says what is wrong and what can be done.
//
// Without a Dir there is no disk: what would wait there stays with its senders. Then no lane can have AckSpool.
func Open(cfg Config, lanes []Lane, parts Parts, log *slog.Logger) (*Spool, error) {
	if parts.DrainBytes <= 0 {
		parts.DrainBytes = 16 << 20
	}
	s := &Spool{cfg: cfg, parts: parts, log: log, refill: cfg.Drain.Refill, byName: map[string]*lane{}, wake: make(chan struct{}, 1)}
	if s.refill == 0 {
		s.refill = cfg.Drain.MaxInFlight / 2
	}
	s.longest = max(maxWindow, cfg.Drain.MaxInFlight)
	if err := s.open(); err != nil {
		return nil, err
	}
	for _, c := range lanes {
		if err := s.add(c, false); err != nil {
			return nil, errors.Join(err, s.close())
		}
	}
	if s.journal != nil {
		for _, n := range s.journal.Lanes() {
			if s.byName[n.Name] == nil && s.journal.Backlog(n.Lane).Messages > 0 {
				if err := s.add(Lane{Name: n.Name, Ack: AckSpool}, true); err != nil {
					return nil, errors.Join(err, s.close())
				}
			}
		}
	}
	s.warn()
	return s, nil
}

// warn names the lanes that may lose what they have acknowledged.
func (s *Spool) warn() {
	var names []string
	for _, l := range s.lanes {
		if l.Ack == AckMemory {
			names = append(names, l.Name)
		}
	}
	if len(names) > 0 {
		s.log.Warn("messages are acknowledged from memory: what Kafka does not have yet is lost with the process", "ack", AckMemory, "routes", names)
	}
}

// open opens the journal, if there is one.
func (s *Spool) open() (err error) {
	if s.cfg.Dir == "" {
		return nil
	}
	if err := s.cfg.Validate(); err != nil {
		return err
	}
	s.journal, s.recovery, err = journal.Open(journal.Options{
		Dir: s.cfg.Dir, SegmentBytes: s.cfg.SegmentBytes, MaxBytes: s.cfg.MaxBytes, MinFree: s.cfg.MinFree, OS: s.parts.OS, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("open the spool: %w", err)
	}
	s.from = s.journal.Synced()
	return nil
}

// add makes a lane. One that has something in the spool begins behind it, whatever its ack point (P3).
func (s *Spool) add(c Lane, gone bool) (err error) {
	l := &lane{Lane: c, s: s, gone: gone}
	switch {
	case s.byName[c.Name] != nil:
		return fmt.Errorf("spool: there are two routes named %s", c.Name)
	case s.journal == nil && c.Ack == AckSpool:
		return fmt.Errorf("spool: route %s has ack %s, but there is no spool; set spool.dir", c.Name, c.Ack)
	case s.journal != nil:
		if l.number, err = s.journal.Lane(c.Name); err != nil {
			return fmt.Errorf("open the spool: %w", err)
		}
		b := s.journal.Backlog(l.number)
		l.last = b.Last
		l.cursor = s.journal.Settled(l.number)
		l.behind.Store(b.Messages > 0 || c.Ack == AckSpool)
		s.byNumber = append(s.byNumber, make([]*lane, max(0, int(l.number)+1-len(s.byNumber)))...)
		s.byNumber[l.number] = l
		if b.Messages > 0 {
			s.from, l.wrote = min(s.from, l.cursor), true
			s.log.Info("spool has messages from before", "route", c.Name, "messages", b.Messages, "bytes", b.Bytes, "oldest", b.Oldest, "route_exists", !gone)
		}
	}
	s.lanes = append(s.lanes, l)
	s.byName[c.Name] = l
	return nil
}

// Run writes, takes over and drains until ctx ends. Then it hands over nothing more, still takes over what Kafka leaves, waits until
// what is in flight is settled or on disk, at most for the drain's timeout, and closes the spool: from then on Send is done
// with [linkspan.ErrClosed]. What is in the spool stays there for the next start (P8). It runs once, and has to.
func (s *Spool) Run(ctx context.Context) error {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var work, disk sync.WaitGroup
	var err error
	if s.journal != nil {
		disk.Go(func() { err = s.journal.Run(last) })
		work.Go(func() { s.newDrain().run(ctx, last) })
	}
	work.Go(func() { s.watch(last) })
	<-ctx.Done()
	s.settle()
	end()
	work.Wait()
	s.shut()
	disk.Wait()
	return errors.Join(err, s.close())
}

// settle waits until nothing is in flight, or for the drain's timeout.
func (s *Spool) settle() {
	deadline := time.NewTimer(s.cfg.Drain.Timeout)
	defer deadline.Stop()
	t := time.NewTicker(tick / 10)
	defer t.Stop()
	for !s.settled() {
		select {
		case <-t.C:
		case <-deadline.C:
			return
		}
	}
}

// settled reports whether nothing is in flight. While there is no connection to Kafka, what is on disk is not waited for.
func (s *Spool) settled() bool {
	connected := s.connected()
	for _, l := range s.lanes {
		l.mu.Lock()
		busy := l.direct.n+l.rows.aloft() > 0
		for _, q := range [...]*list{&l.written, &l.window} {
			for f := q.head; f != nil && !busy; f = f.next {
				busy = f.writing || f.sent && (connected || f.done != nil)
			}
		}
		l.mu.Unlock()
		if busy {
			return false
		}
	}
	return true
}

// shut has the lanes take nothing more. Who still waits for the spool alone is told.
func (s *Spool) shut() {
	for _, l := range s.lanes {
		l.mu.Lock()
		l.closed = true
		var left []func(error)
		for _, q := range [...]*list{&l.written, &l.window} {
			for f := q.head; f != nil; f = f.next {
				if f.done != nil && !f.sent && !f.writing {
					left = append(left, f.tell())
				}
			}
		}
		l.mu.Unlock()
		for _, done := range left {
			done(linkspan.ErrClosed)
		}
	}
}

func (s *Spool) close() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.Close()
}

// Recovery says what was found on disk, and what was cut.
func (s *Spool) Recovery() journal.Recovery { return s.recovery }

// lane returns the lane of a route, nil where it has none. Mostly there are few, and the name is the very string that the lane has: then it is
// there without a hash.
func (s *Spool) lane(route string) *lane {
	for _, l := range s.lanes[:min(len(s.lanes), 4)] {
		if l.Name == route {
			return l
		}
	}
	return s.byName[route]
}

// newDrain returns a drain, with all lanes on one walk from the first message that is not settled.
func (s *Spool) newDrain() *drain {
	d := &drain{s: s}
	d.start(s.from, s.lanes...)
	return d
}
