package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A batch is what is written and synced in one go. There are two: one is filled while the other is on its way to the disk.
type batch struct {
	buf   []byte // entries as they will be on disk, but for their sums
	dones []func(error)
	first uint64
	time  int64 // milliseconds of the epoch, when it was begun or the second that it has been waiting for
}

// Append adds an entry to a lane, and returns its number. It copies head and body, and never blocks on the disk.
//
// done is called exactly once, by the committer and possibly before Append returns; it must not block. nil means that
// the entry is on the disk. While the disk fails, it is not called: what was appended stays in memory and is tried again.
// At Close it is ErrClosed for what did not get there: the entry may be in the journal or not. For an Append after Close it
// is ErrClosed, for an entry larger than MaxEntry it is ErrTooLarge, and the number is then 0.
//
// A lane that there is none of is a mistake of the caller's: Append panics.
//
// Append takes more than Room says there is: it is the caller that asks first.
func (j *Journal) Append(l Lane, head, body []byte, done func(error)) uint64 {
	length := len(head) + len(body)
	if length > MaxEntry {
		done(ErrTooLarge)
		return 0
	}
	if j.lanes.get(l) == nil {
		panic(fmt.Sprintf("journal: there is no lane %d", l))
	}
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		done(ErrClosed)
		return 0
	}
	b := j.front
	seq := j.next
	j.next++
	idle := len(b.dones) == 0
	if idle {
		b.first, b.time = seq, time.Now().UnixMilli()
	}
	b.buf = appendHeader(b.buf, l, markEntry, seq, len(head), length, b.time)
	b.buf = append(b.buf, head...)
	b.buf = append(b.buf, body...)
	b.dones = append(b.dones, done)
	j.mu.Unlock()
	j.pending.Add(int64(headerBytes + length))
	if idle {
		j.poke()
	}
	return seq
}

// tick has what is appended from now on bear the time of now, however long the batch has been waiting. Buffers that were not
// used for a second are given back.
func (j *Journal) tick() {
	idle := j.committing.TryLock()
	if idle {
		defer j.committing.Unlock()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.front.time = time.Now().UnixMilli()
	if idle && !j.busy && j.back == nil && len(j.front.dones) == 0 {
		*j.front, *j.spare = batch{}, batch{}
	}
	j.busy = false
}

// poke has the committer look.
func (j *Journal) poke() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// commitLoop commits whenever there is something, until ctx ends or Close is called, and then once more.
func (j *Journal) commitLoop(ctx context.Context) {
	for {
		select {
		case <-j.wake:
		case <-j.stop:
		}
		for j.commit() != nil {
			if !j.pause(ctx) {
				return
			}
		}
		if ctx.Err() != nil || j.stopped() {
			return
		}
	}
}

// pause waits until it is time to try again. It returns false if that will not be.
func (j *Journal) pause(ctx context.Context) bool {
	t := time.NewTimer(retryAfter)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-j.stop:
	}
	return false
}

func (j *Journal) stopped() bool {
	select {
	case <-j.stop:
		return true
	default:
		return false
	}
}

// commit writes and syncs what was appended, and calls the functions that wait for it. After an error the batch stays, to
// be written again.
func (j *Journal) commit() error {
	j.committing.Lock()
	defer j.committing.Unlock()
	for {
		b := j.take()
		if b == nil {
			return nil
		}
		began := time.Now()
		j.syncing.Store(began.UnixNano())
		err := j.write(b)
		j.syncing.Store(0)
		j.commits.Add(1)
		j.committed.Add(int64(time.Since(began)))
		if err != nil {
			j.fail(err)
			return err
		}
		j.mend()
		j.publish(b)
		j.touch()
		for i, done := range b.dones {
			done(nil) // P1: after the sync, and nowhere else
			b.dones[i] = nil
		}
		j.mu.Lock() // Ahead looks at it
		j.back, j.spare = nil, b
		b.buf, b.dones = b.buf[:0], b.dones[:0]
		j.mu.Unlock()
	}
}

// take returns the batch that is next: the one that failed, or what has been appended since.
func (j *Journal) take() *batch {
	if j.back != nil {
		return j.back
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.front.dones) == 0 {
		return nil
	}
	j.busy = true
	j.back, j.front, j.spare = j.front, j.spare, nil
	return j.back
}

// write brings b to the disk, into a new segment if the active one is full or has failed.
func (j *Journal) write(b *batch) error {
	size := int64(len(b.buf))
	if s := j.active; s != nil && s.end > segmentHeader && s.end+size > j.o.SegmentBytes {
		j.noteChore(j.seal(s, j.file))
		j.active, j.file = nil, nil
	}
	if j.active == nil {
		if err := j.startSegment(b.first); err != nil {
			return err
		}
	}
	synced := j.synced.Load()
	for p := b.buf; len(p) > 0; {
		p = p[finish(p, synced, j.salt):]
	}
	if _, err := j.file.WriteAt("append.write", b.buf, j.active.end); err != nil {
		return failed("append.write", err)
	}
	return failed("append.sync", j.file.Sync("append.sync"))
}

// startSegment makes the segment that is appended to from now on.
func (j *Journal) startSegment(first uint64) error {
	s, f, err := j.create(first)
	if err != nil {
		return err
	}
	j.active, j.file = s, f
	j.list.Lock()
	j.segments = append(j.segments, s)
	j.list.Unlock()
	j.used.Add(s.end)
	return nil
}

// publish makes the entries of b, which are on the disk, known to readers.
func (j *Journal) publish(b *batch) {
	s := j.active
	j.list.Lock()
	last := uint64(0)
	for p := b.buf; len(p) > 0; {
		h := readHeader(p)
		s.index.add(h, s.end)
		s.end += h.size()
		last = h.seq
		p = p[h.size():]
	}
	s.size = max(s.size, s.end)
	j.list.Unlock()
	j.used.Add(int64(len(b.buf)))
	j.pending.Add(-int64(len(b.buf)))
	j.synced.Store(last)
	j.watch.notify()
}

// fail takes the active segment out of use. A failed sync is not tried again on the same file: the system may have
// dropped the pages and marked them clean, and then the second sync would lie. What was acknowledged is before its end.
func (j *Journal) fail(err error) {
	if s := j.active; s != nil {
		empty := s.end == segmentHeader
		size := s.size
		if !empty && j.file.Truncate("append.trim", s.end) == nil {
			size = s.end
		}
		_ = j.file.Close()
		if empty {
			_ = j.os.Remove("segment.remove", s.path)
		}
		j.list.Lock()
		s.sealed, s.size = true, size
		if empty {
			j.segments = j.segments[:len(j.segments)-1]
		}
		j.list.Unlock()
		if empty {
			j.used.Add(-s.end)
		} else {
			j.used.Add(size - s.end)
		}
		j.active, j.file = nil, nil
	}
	var f *Fault
	if !errors.As(err, &f) {
		f = &Fault{Op: "append", Err: err}
	}
	now := &Fault{Op: f.Op, Err: f.Err, Since: time.Now()}
	if before := j.fault.Load(); before != nil {
		now.Since = before.Since
	} else {
		j.log.Error("spool: the disk fails: nothing more is acknowledged, and it is tried again each second", "operation", f.Op, "error", f.Err, "dir", j.o.Dir)
	}
	j.fault.Store(now)
}

// mend notes that the disk works.
func (j *Journal) mend() {
	if f := j.fault.Swap(nil); f != nil {
		j.log.Info("spool: the disk works again", "after", time.Since(f.Since).Round(time.Millisecond), "operation", f.Op, "dir", j.o.Dir)
	}
}

// giveUp calls the functions of all entries that did not reach the disk. The caller holds committing, and the journal is
// closed.
func (j *Journal) giveUp() {
	for _, b := range []*batch{j.back, j.front} {
		if b == nil {
			continue
		}
		for _, done := range b.dones {
			done(ErrClosed)
		}
		j.pending.Add(-int64(len(b.buf)))
		b.buf, b.dones = nil, nil
	}
	j.back = nil
}
