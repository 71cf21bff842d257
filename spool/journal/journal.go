// Package journal is a segment log on the local disk: entries are appended, shared out in lanes, synced in groups, read
// back in order, and settled lane by lane. It knows lanes as numbers and bodies as bytes; what they mean is the
// spool's.
//
// A journal is a directory:
//
//	lock                       held by the process that has it open
//	lanes                      names of the lanes
//	positions                  up to where each lane is settled: two slots, of which one is always whole
//	00000000000000000001.seg   entries from number 1 on; the next segment's name says where this one ends
//	*.request, *.answer        what a command line asks of the running process
//
// A segment begins with a header, has entries one behind the other, and, once it is sealed, an index at its end. The one
// that is written is allocated ahead, so that what follows its last entry is zeroes.
//
// # What it promises
//
// The function that comes with an entry is called with nil after the entry is on the disk, and never before (P1). An
// entry that was so acknowledged is read again after any crash, until it is settled (P5). Entries keep their order, also
// when a torn write takes some that were not acknowledged. What the operating system refuses is tried again each second,
// in a new file: the pages of a failed sync may be gone, though a second sync of them succeeds. What is damaged is left
// out, counted and reported, and takes nothing else with it.
package journal

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Lane is the number of a lane: entries of one lane are settled in order, independently of the other lanes. Numbers
// begin at 1 and are kept on disk with their names.
type Lane uint16

// MaxLanes is how many lanes a journal may have in its life.
const MaxLanes = 2000

// MaxEntry is the largest head and body of an entry together, in bytes.
const MaxEntry = 1 << 30

const (
	defaultSegment = 64 << 20
	minSegment     = 16 << 10
	maxPending     = 16 << 20 // bytes that wait for the disk before Room says no (P6)
	retryAfter     = time.Second
	stuckAfter     = 5 * time.Second // a sync that takes longer is a fault
	positionsEvery = 10 * time.Millisecond
	choresEvery    = time.Second
)

// Errors that callers tell apart.
var (
	// ErrLocked: another process has the journal open.
	ErrLocked = errors.New("in use by another process")
	// ErrClosed: the journal was closed before the entry was on the disk.
	ErrClosed = errors.New("the journal is closed")
	// ErrTooLarge: the entry is larger than MaxEntry.
	ErrTooLarge = errors.New("the entry is larger than a journal takes")
)

// Options say where a journal is and how large it may grow.
type Options struct {
	// Dir is the journal's directory. It is created, with its parents, if it is missing.
	Dir string
	// SegmentBytes is the size of a segment, allocated ahead. Default 64 MiB, at most a quarter of MaxBytes.
	SegmentBytes int64
	// MaxBytes is how many bytes all segments together may have before Room says no. Default 0: no limit.
	MaxBytes int64
	// MinFree is how many bytes of the file system stay free: below it Room says no. Default 0: no limit.
	MinFree int64
	// OS is what files are reached through. Default: the operating system.
	OS OS
	// Log is told of faults and of their end, and what was cut at the start. Default: nowhere.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegment
	}
	if o.MaxBytes > 0 {
		o.SegmentBytes = min(o.SegmentBytes, o.MaxBytes/4)
	}
	o.SegmentBytes = max(o.SegmentBytes, minSegment)
	if o.OS == nil {
		o.OS = System()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// A Journal is open from Open to Close. All methods are safe from any goroutine.
type Journal struct {
	o    Options
	os   OS
	log  *slog.Logger
	lock File
	salt uint32 // what the sums of entries begin with; never 0

	lanes lanes

	mu      sync.Mutex // held on the way of an Append for the copy and the number alone
	front   *batch     // being filled
	next    uint64     // number of the next entry
	busy    bool       // something was written this second
	closing bool       // Run does not begin any more
	closed  bool       // nothing is taken any more

	wake    chan struct{} // a token: front is no longer empty
	stop    chan struct{} // closed by Close
	running sync.WaitGroup

	committing sync.Mutex // held by whoever writes entries: one commit at a time
	back       *batch     // being written, or waiting to be written again; nil when there is none
	spare      *batch     // empty
	active     *segment   // nil after a fault: the next commit begins a new one
	file       File       // of active

	list     sync.RWMutex // guards segments and what can change in them
	segments []*segment   // by first number

	synced  atomic.Uint64
	watch   broadcast     // of synced
	pending atomic.Int64  // bytes in front and back
	used    atomic.Int64  // bytes of all segments, the active one as far as it is written
	free    atomic.Int64  // bytes of the file system, read each second
	damaged atomic.Uint64 // places that could not be read

	fault     atomic.Pointer[Fault]
	chore     atomic.Pointer[Fault]
	rounds    atomic.Uint64 // of chores, that have begun
	round     atomic.Uint64 // the last of them that is over
	syncing   atomic.Int64  // when the commit that is on its way began, nanoseconds of the epoch; 0: none
	commits   atomic.Uint64 // that came back, and
	committed atomic.Int64  // how long they took together, in nanoseconds

	keep    positions
	tidying sync.Mutex // held by the chores
	leaving []string   // files of segments that were put into others, to be removed
	viewing bool       // nothing is written
}

// Fault is an operation that failed.
type Fault struct {
	Op    string    // "append.sync"
	Err   error     // what the operating system said
	Since time.Time // when it began
}

func (f *Fault) Error() string { return f.Op + ": " + f.Err.Error() }

func (f *Fault) Unwrap() error { return f.Err }

// Open opens the journal in o.Dir, or makes one, and recovers what is there. The error is for an operator: it says what
// is wrong and what can be done: a disk that takes nothing is met here. What is appended is not written before Run.
func Open(o Options) (*Journal, Recovery, error) {
	o = o.withDefaults()
	j := &Journal{
		o: o, os: o.OS, log: o.Log,
		front: &batch{}, spare: &batch{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	j.keep.wake = make(chan struct{}, 1)
	if err := j.os.Mkdir("open.mkdir", o.Dir); err != nil {
		return nil, Recovery{}, dirError(o.Dir, hint(failed("open.mkdir", err)))
	}
	lock, err := acquire(j.os, o.Dir)
	if err != nil {
		return nil, Recovery{}, dirError(o.Dir, hint(err))
	}
	j.lock = lock
	r, err := j.recover()
	j.tell(&r)
	if err == nil {
		err = j.begin()
	}
	if err != nil {
		_ = errors.Join(j.sealLast(), j.keep.close(), lock.Close())
		return nil, r, dirError(o.Dir, err)
	}
	j.measure()
	return j, r, nil
}

// Run writes what is appended until ctx ends or Close is called, then writes what is left and returns. It settles,
// deletes and rewrites in the background of that. It runs once; after Close it returns ErrClosed.
func (j *Journal) Run(ctx context.Context) error {
	if !j.enter() {
		return ErrClosed
	}
	defer j.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	unhook := context.AfterFunc(ctx, func() { j.poke() })
	defer unhook()
	var committer sync.WaitGroup
	committer.Go(func() { j.commitLoop(ctx) })
	j.choreLoop(ctx.Done())
	committer.Wait()
	return nil
}

// enter notes that Run runs, unless Close was called.
func (j *Journal) enter() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.closing {
		j.running.Add(1)
	}
	return !j.closing
}

// Close ends Run if it runs, writes what it still can, calls the functions of all other entries with ErrClosed, and
// gives the directory back. What is in the journal stays there. It is safe to call twice.
func (j *Journal) Close() error {
	j.mu.Lock()
	again := j.closing
	j.closing = true
	j.mu.Unlock()
	if again {
		return nil
	}
	close(j.stop)
	j.running.Wait()
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	err := j.commit()
	j.committing.Lock()
	defer j.committing.Unlock()
	j.giveUp()
	return errors.Join(err, j.keep.store(j, true), j.sealLast(), j.keep.close(), j.lock.Close())
}

// A broadcast wakes everyone who waits for a change. Without anyone waiting it costs a lock.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) notify() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Synced returns the number of the last entry that is on the disk, 0 for none.
func (j *Journal) Synced() uint64 { return j.synced.Load() }

// Wait waits until an entry behind after is on the disk. It returns ctx's error if that comes first, ErrClosed after
// Close.
func (j *Journal) Wait(ctx context.Context, after uint64) error {
	for {
		changed := j.watch.wait()
		if j.Synced() > after {
			return nil
		}
		select {
		case <-changed:
		case <-j.stop:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func isNotExist(err error) bool { return errors.Is(err, os.ErrNotExist) }
