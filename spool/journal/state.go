package journal

import (
	"errors"
	"fmt"
	"time"
)

// A Condition is how a journal is.
type Condition string

// The conditions of a journal.
const (
	OK      Condition = "ok"      // it takes entries
	Full    Condition = "full"    // it is at a limit
	Failing Condition = "failing" // the disk fails: nothing is acknowledged
)

// State is how a journal is at a moment.
type State struct {
	Condition Condition
	// Limit is the limit that it is at: "max_bytes", "min_free" or "pending", the bytes that wait for the disk.
	Limit string
	// Fault is what fails when it is Failing.
	Fault *Fault
	// Chore is what fails of the work that no acknowledgement waits for: keeping positions, deleting, rewriting. While it
	// fails, room is not given back and a restart reads more twice.
	Chore *Fault

	Bytes    int64 // of all segments
	Segments int
	Pending  int64  // bytes that wait for the disk
	Free     int64  // bytes of the file system
	Damaged  uint64 // places that could not be read, at Open and since: what was acknowledged there is lost

	// Rounds is how often the background work has begun since Open, and Round the last of these times that is over.
	Rounds, Round uint64

	Commits uint64        // writes with a sync, that came back since Open, each for all entries that waited
	Time    time.Duration // that they took together
}

var errStuck = fmt.Errorf("has not come back for %v", stuckAfter)

// State returns how the journal is.
func (j *Journal) State() State {
	s := State{
		Condition: OK, Bytes: j.used.Load(), Pending: j.pending.Load(), Free: j.free.Load(),
		Damaged: j.damaged.Load(), Fault: j.failing(), Chore: j.chore.Load(),
		Round: j.round.Load(), Rounds: j.rounds.Load(),
		Commits: j.commits.Load(), Time: time.Duration(j.committed.Load()),
	}
	j.list.RLock()
	s.Segments = len(j.segments)
	j.list.RUnlock()
	switch limit := j.limit(); {
	case s.Fault != nil:
		s.Condition = Failing
	case limit != "":
		s.Condition, s.Limit = Full, limit
	}
	return s
}

// Room reports whether an Append now stays within the limits, and the disk works (P6). It is cheap.
func (j *Journal) Room() bool {
	return j.fault.Load() == nil && j.limit() == ""
}

func (j *Journal) limit() string {
	pending := j.pending.Load()
	switch {
	case j.o.MaxBytes > 0 && j.used.Load()+pending >= j.o.MaxBytes:
		return "max_bytes"
	case j.o.MinFree > 0 && j.free.Load() < j.o.MinFree:
		return "min_free"
	case pending >= maxPending:
		return "pending"
	}
	return ""
}

// tight reports whether there is no room until some is given back.
func (j *Journal) tight() bool {
	l := j.limit()
	return l != "" && l != "pending"
}

// failing returns the fault of the disk, nil for none. A sync that does not come back is one, too.
func (j *Journal) failing() *Fault {
	if f := j.fault.Load(); f != nil {
		return f
	}
	if at := j.syncing.Load(); at != 0 {
		if since := time.Unix(0, at); time.Since(since) > stuckAfter {
			return &Fault{Op: "append.sync", Err: errStuck, Since: since}
		}
	}
	return nil
}

// measure reads how much of the file system is free.
func (j *Journal) measure() {
	if n, err := j.os.Free("free", j.o.Dir); err == nil {
		j.free.Store(n)
	}
}

// doChores does the chores, and keeps their outcome for State.
func (j *Journal) doChores() {
	j.tidying.Lock()
	defer j.tidying.Unlock()
	n := j.rounds.Add(1)
	err := j.chores()
	j.round.Store(n)
	if err != nil {
		j.noteChore(err)
	} else if f := j.chore.Swap(nil); f != nil {
		j.log.Info("spool: background work on the disk goes on", "operation", f.Op, "dir", j.o.Dir)
	}
}

// noteChore keeps what failed of the background work for State, and logs it the first time.
func (j *Journal) noteChore(err error) {
	if err == nil {
		return
	}
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{Op: "chore", Err: err}
	}
	now := &Fault{Op: f.Op, Err: f.Err, Since: time.Now()}
	if before := j.chore.Load(); before != nil {
		now.Since = before.Since
	} else {
		j.log.Warn("spool: background work on the disk fails, and is tried again", "operation", f.Op, "error", f.Err, "dir", j.o.Dir)
	}
	j.chore.Store(now)
}
