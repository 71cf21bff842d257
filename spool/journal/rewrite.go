package journal

import (
	"errors"
	"os"
	"slices"
)

const (
	rewriteAfter = 5 // looks, one a second, at which a segment was found nearly dead
	maxRewrites  = 4 // at one look: positions wait meanwhile
	copyBytes    = 1 << 20
)

// chores deletes what is settled, rewrites what nearly is, answers requests, and looks how much room there is.
func (j *Journal) chores() error {
	j.measure()
	j.tick()
	err := j.answerAll()
	if j.tight() {
		err = errors.Join(err, j.retire())
	}
	return errors.Join(err, j.deleteSettled(), j.rewriteNearlyDead(), j.removeLeaving(), j.keep.store(j, true))
}

// dead reports whether everything in a segment is settled. The caller holds list.
func (j *Journal) dead(s *segment) bool {
	for _, t := range s.index.tallies {
		if t.last > j.lanes.settled(t.lane) {
			return false
		}
	}
	return true
}

// retire starts a new segment if the active one is settled, so that it can go: at a limit nothing is appended any more
// that would fill it. While something is being written it can wait for the next look.
func (j *Journal) retire() error {
	if !j.committing.TryLock() {
		return nil
	}
	defer j.committing.Unlock()
	j.list.RLock()
	s := j.active
	settled := s != nil && s.end > segmentHeader && j.dead(s)
	j.list.RUnlock()
	if !settled {
		return nil
	}
	old := j.file
	if err := j.startSegment(s.last() + 1); err != nil {
		return err
	}
	j.list.Lock()
	s.sealed = true
	j.used.Add(s.size - s.end)
	j.list.Unlock()
	return old.Close()
}

// deleteSettled removes segments that have nothing left to read. It does not wait for the positions: what is gone is not
// read again whatever they say, and a disk that is too full for them gets its room back.
func (j *Journal) deleteSettled() error {
	j.list.RLock()
	var dead []*segment
	for _, s := range j.segments {
		if s.sealed && j.dead(s) {
			dead = append(dead, s)
		}
	}
	j.list.RUnlock()
	for _, s := range dead {
		if err := j.os.Remove("delete.remove", s.path); err != nil && !isNotExist(err) {
			return failed("delete.remove", err)
		}
		j.list.Lock()
		j.segments = slices.DeleteFunc(j.segments, func(x *segment) bool { return x == s })
		j.list.Unlock()
		j.used.Add(-s.size)
	}
	return nil
}

// rewriteNearlyDead makes small what a lane that does not get on holds of segments that the others are done with: it
// would keep their bytes from being given back.
func (j *Journal) rewriteNearlyDead() error {
	patience := rewriteAfter
	if j.tight() {
		patience = 1
	}
	var err error
	for n := 0; n < maxRewrites && err == nil; n++ {
		from := j.nearlyDead(n == 0, patience)
		if from == nil {
			return nil
		}
		err = j.rewrite(from)
	}
	return err
}

// nearlyDead returns the first segment that is worth a rewrite, and the one before if both fit in a small one; nil if
// there is none. look says that a second has gone by.
func (j *Journal) nearlyDead(look bool, patience int) []*segment {
	j.list.RLock()
	segments := slices.Clone(j.segments)
	j.list.RUnlock()
	var found []*segment
	for i, s := range segments {
		v := j.viewOf(s)
		if !v.sealed {
			continue // the last one
		}
		live := j.live(s, v)
		if !s.hurt.Load() && (live*4 >= s.size || s.size-live < j.o.SegmentBytes/16) {
			s.looks = 0
			continue
		}
		if look {
			s.looks++
		}
		if found != nil || s.looks < patience && !s.hurt.Load() {
			continue
		}
		found = []*segment{s}
		if i > 0 && segments[i-1].size+live <= j.o.SegmentBytes/4 {
			found = []*segment{segments[i-1], s}
		}
	}
	return found
}

// live returns how many bytes of a sealed segment are not settled.
func (j *Journal) live(s *segment, v view) (n int64) {
	for _, t := range v.tallies {
		x := j.lanes.get(t.lane)
		settled := j.lanes.settled(t.lane)
		switch {
		case t.last <= settled:
		case t.first > settled || x == nil:
			n += t.bytes
		default:
			n += t.bytes - j.count(x, s, t, settled).bytes
		}
	}
	return n
}

// rewrite puts what is not settled of neighbouring sealed segments into one, in the place of the first. A crash before the
// rename leaves a file that is not read; one behind it leaves entries twice, and then those count that are in the segment
// of their number.
func (j *Journal) rewrite(from []*segment) error {
	s := &segment{first: from[0].first, path: from[0].path, whole: true, sealed: true, end: segmentHeader}
	s.index.every = rowEvery(j.o.SegmentBytes)
	tmp := s.path + ".tmp"
	f, err := j.os.Open("rewrite.create", tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return failed("rewrite.create", err)
	}
	err = j.copyLive(f, s, from)
	err = errors.Join(err, f.Close())
	if err == nil && len(s.index.tallies) > 0 {
		err = j.exchange(tmp, s, from)
	} else {
		_ = j.os.Remove("rewrite.remove", tmp) // all of it was settled meanwhile, or it failed
	}
	return err
}

// copyLive writes what is not settled of from to f, which becomes segment s.
func (j *Journal) copyLive(f File, s *segment, from []*segment) error {
	buf := segmentHead(s.first, j.salt)
	at := int64(0)
	flush := func() error {
		_, err := f.WriteAt("rewrite.write", buf, at)
		at += int64(len(buf))
		buf = buf[:0]
		return failed("rewrite.write", err)
	}
	for _, old := range from {
		err := j.each(old, func(c *cursor, h header) error {
			if h.seq <= s.last() || h.seq <= j.lanes.settled(h.lane) {
				return nil
			}
			_, good, err := c.body(h)
			if err != nil || !good {
				return err
			}
			raw, err := c.at(c.off, h.size()) // read just now
			if err != nil {
				return err
			}
			buf = append(buf, raw...)
			s.index.add(h, s.end)
			s.end += h.size()
			if len(buf) >= copyBytes {
				return flush()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	buf = append(buf, s.index.footer(s.end, j.salt)...)
	s.size = at + int64(len(buf))
	s.index.rows = nil
	if err := flush(); err != nil {
		return err
	}
	return failed("rewrite.sync", f.Sync("rewrite.sync"))
}

// each calls visit for the entries of a sealed segment.
func (j *Journal) each(s *segment, visit func(c *cursor, h header) error) error {
	f, err := j.os.Open("rewrite.open", s.path, os.O_RDONLY)
	if err != nil {
		return failed("rewrite.open", err)
	}
	defer f.Close()
	c := cursor{f: f, op: "rewrite.read", salt: j.salt, off: segmentHeader, end: j.viewOf(s).end, cut: func(int64, int64, string) {}}
	for {
		h, ok, err := c.next()
		if err != nil || !ok {
			return err
		}
		if err := visit(&c, h); err != nil {
			return err
		}
		c.pass(h)
	}
}

// exchange puts the file tmp, which is segment s, in the place of from.
func (j *Journal) exchange(tmp string, s *segment, from []*segment) error {
	j.list.Lock()
	err := j.os.Rename("rewrite.rename", tmp, s.path)
	if err == nil {
		i := slices.Index(j.segments, from[0])
		j.segments = slices.Concat(j.segments[:i], []*segment{s}, j.segments[i+len(from):])
	}
	j.list.Unlock()
	if err != nil {
		_ = j.os.Remove("rewrite.remove", tmp)
		return failed("rewrite.rename", err)
	}
	j.used.Add(s.size)
	for i, old := range from {
		j.used.Add(-old.size)
		if i > 0 {
			j.leaving = append(j.leaving, old.path)
		}
	}
	return j.removeLeaving()
}

// removeLeaving removes the files of segments that are part of others now, once that is sure to outlive a loss of power.
func (j *Journal) removeLeaving() error {
	if len(j.leaving) == 0 {
		return nil
	}
	if err := j.os.SyncDir("rewrite.syncdir", j.o.Dir); err != nil {
		return failed("rewrite.syncdir", err)
	}
	for len(j.leaving) > 0 {
		if err := j.os.Remove("rewrite.remove", j.leaving[0]); err != nil && !isNotExist(err) {
			return failed("rewrite.remove", err)
		}
		j.leaving = j.leaving[1:]
	}
	return nil
}
