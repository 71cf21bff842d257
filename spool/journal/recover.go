package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Recovery is what Open found.
type Recovery struct {
	Segments int             // that hold entries
	Scanned  int             // of them: read through, for want of an index
	Bytes    int64           // of all segments
	Kept     map[Lane]uint64 // entries of each lane, settled ones that are still there included
	Cuts     []Cut           // what was passed over
	// LanesLost is true if the names of the lanes were damaged: lanes with entries are called lane-1, lane-2 and so on.
	LanesLost bool
	// PositionsLost is true if the positions were damaged: what was settled and is still there is read once more.
	PositionsLost bool
	Took          time.Duration
}

// acquire takes the directory for this process.
func acquire(o OS, dir string) (File, error) {
	f, err := o.Open("lock.open", filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, failed("lock.open", err)
	}
	if err := f.Lock("lock.lock"); err != nil {
		who := make([]byte, 20)
		n, _ := f.ReadAt("lock.read", who, 0)
		_ = f.Close()
		if errors.Is(err, ErrLocked) {
			return nil, fmt.Errorf("%w (%s)", ErrLocked, strings.TrimSpace(string(who[:n])))
		}
		return nil, failed("lock.lock", err)
	}
	_ = f.Truncate("lock.write", 0) // who holds it is a help for whoever does not get it, no more
	_, _ = f.WriteAt("lock.write", fmt.Appendf(nil, "process %d", os.Getpid()), 0)
	return f, nil
}

// dirError says which directory, and what can be done about it.
func dirError(dir string, err error) error {
	if errors.Is(err, ErrLocked) {
		return fmt.Errorf("the spool in %s is %w: stop that one, or give this one a spool.dir of its own", dir, err)
	}
	return fmt.Errorf("the spool in %s cannot be used: %w", dir, err)
}

// recover reads the directory: names, positions, and all segments.
func (j *Journal) recover() (r Recovery, err error) {
	began := time.Now()
	r.Kept = map[Lane]uint64{}
	names, err := j.os.List("recover.list", j.o.Dir)
	if err != nil {
		return r, failed("recover.list", err)
	}
	if r.LanesLost, err = j.loadLanes(); err != nil {
		return r, err
	}
	at, err := j.loadPositions(&r)
	if err != nil {
		return r, err
	}
	var firsts []uint64
	for _, name := range names {
		if first, ok := parseName(name); ok {
			firsts = append(firsts, first)
		} else if !j.viewing && (strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, answerSuffix)) {
			_ = j.os.Remove("recover.remove", filepath.Join(j.o.Dir, name))
		}
	}
	j.findSalt(firsts)
	top := max(at.synced, at.next-min(at.next, 1))
	// From the end on, as a segment ends where the next one with entries begins. One without was made in vain, when the disk failed,
	// and removed; a loss of power can bring its name back, while the one before went on.
	limit := uint64(math.MaxUint64)
	for _, first := range slices.Backward(firsts) {
		s, err := j.load(&r, first, limit, at.synced)
		if err != nil {
			return r, err
		}
		top = max(top, first-1)
		if s != nil {
			limit = first
			top = max(top, s.last())
			j.synced.Store(max(j.synced.Load(), s.last()))
			j.segments = append(j.segments, s)
			j.used.Add(s.size)
		}
	}
	slices.Reverse(j.segments)
	slices.Reverse(r.Cuts)
	for _, s := range j.segments {
		for _, t := range s.index.tallies {
			j.lanes.upTo(t.lane)
			r.Kept[t.lane] += t.count
		}
	}
	for i, v := range at.settled {
		j.lanes.upTo(Lane(i + 1))
		j.lanes.get(Lane(i + 1)).settled.Store(v)
	}
	j.next = top + 1
	j.rewriteHurt()
	r.Segments, r.Bytes, r.Took = len(j.segments), j.used.Load(), time.Since(began)
	return r, nil
}

// rewriteHurt leaves out what is damaged, so that no reader meets it again.
func (j *Journal) rewriteHurt() {
	for _, s := range slices.Clone(j.segments) {
		if s.hurt.Load() && !j.viewing {
			j.noteChore(j.rewrite([]*segment{s}))
		}
	}
}

// tell logs what was lost, and counts it (P2).
func (j *Journal) tell(r *Recovery) {
	for _, c := range r.Cuts {
		level, what := slog.LevelWarn, "spool: what was on its way to the disk when the process ended, and not acknowledged, was cut off"
		if c.Acked {
			j.damaged.Add(1)
			level, what = slog.LevelError, "spool: the disk has lost what was on it: messages that were acknowledged are missing"
		}
		j.log.Log(context.Background(), level, what, "file", c.File, "offset", c.Off, "bytes", c.Bytes, "reason", c.Reason, "messages", c.Entries)
	}
	if r.LanesLost {
		j.log.Error("spool: the names of the routes are lost; what they had in the spool is delivered all the same, as lane-1, lane-2 and so on", "dir", j.o.Dir)
	}
	if r.PositionsLost {
		j.log.Error("spool: it is lost how much of the spool was delivered; what is still there comes twice", "dir", j.o.Dir)
	}
}

// loadLanes reads the names of the lanes.
func (j *Journal) loadLanes() (lost bool, err error) {
	p, err := readFile(j.os, "recover.lanes", filepath.Join(j.o.Dir, lanesFile), 64<<20)
	if isNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, failed("recover.lanes", err)
	}
	names, err := decodeLanes(p)
	if err != nil {
		return true, nil
	}
	for _, n := range names {
		j.lanes.add(n)
	}
	return false, nil
}

// loadPositions reads the positions.
func (j *Journal) loadPositions(r *Recovery) (slot, error) {
	p, err := readFile(j.os, "recover.positions", filepath.Join(j.o.Dir, positionsFile), 2*slotBytes)
	if err != nil && !isNotExist(err) {
		return slot{}, failed("recover.positions", err)
	}
	at, damaged := readPositions(p)
	r.PositionsLost = damaged
	j.salt, j.keep.generation, j.keep.good = at.salt, at.generation, at.at
	return at, nil
}

// findSalt takes the salt that a segment has, if the positions are lost, or else a new one.
func (j *Journal) findSalt(firsts []uint64) {
	for i := 0; j.salt == 0 && i < len(firsts); i++ {
		if f, err := j.os.Open("recover.open", filepath.Join(j.o.Dir, segmentName(firsts[i])), os.O_RDONLY); err == nil {
			j.salt, _ = readHead(f)
			_ = f.Close()
		}
	}
	for j.salt == 0 {
		var p [4]byte
		_, _ = rand.Read(p[:])
		j.salt = binary.LittleEndian.Uint32(p[:])
	}
}

// readHead returns the salt in the header of a segment. See checkHead.
func readHead(f File) (salt uint32, err error) {
	p := make([]byte, segmentHeader)
	n, _ := f.ReadAt("recover.read", p, 0)
	return checkHead(p[:n])
}

// load reads segment first, whose entries are below limit. Without an index it is read through, and then sealed: nothing
// is appended to a file that a crash may have left half written. It returns nil for a segment without entries, which goes.
func (j *Journal) load(r *Recovery, first, limit, synced uint64) (*segment, error) {
	s := &segment{first: first, path: filepath.Join(j.o.Dir, segmentName(first)), sealed: true, whole: true}
	flag := os.O_RDWR
	if j.viewing {
		flag = os.O_RDONLY
	}
	f, err := j.os.Open("recover.open", s.path, flag)
	if isNotExist(err) && j.viewing {
		return nil, nil // settled meanwhile
	}
	if err != nil {
		return nil, failed("recover.open", err)
	}
	defer f.Close()
	if s.size, err = f.Size("recover.size"); err != nil {
		return nil, failed("recover.size", err)
	}
	if _, err := readHead(f); err != nil {
		return nil, fmt.Errorf("segment %s %w", s.path, err)
	}
	if x, end, ok := readFooter(f, "recover.index", s.size, j.salt); ok && x.last() < limit {
		x.rows = nil
		s.index, s.end = x, end
		return s, nil
	}
	r.Scanned++
	trust, last := limit-1, limit == math.MaxUint64
	if last {
		trust = synced
	}
	found, err := j.scan(s, f, limit, trust, last)
	if err != nil {
		return nil, err
	}
	r.Cuts = append(r.Cuts, found.cuts...)
	s.index, s.end = found.index, found.end
	switch {
	case j.viewing && len(s.index.tallies) == 0:
		return nil, nil
	case j.viewing:
		s.whole = false
		return s, nil
	case len(s.index.tallies) == 0:
		return nil, j.discard(s, found.cuts)
	}
	s.hurt.Store(slices.ContainsFunc(found.cuts, func(c Cut) bool { return c.Off < s.end }))
	return s, j.sealAgain(s, f)
}

// discard removes a segment without entries. One that may have had some that were acknowledged is kept under another name.
func (j *Journal) discard(s *segment, cuts []Cut) error {
	if slices.ContainsFunc(cuts, func(c Cut) bool { return c.Acked }) {
		return failed("recover.rename", j.os.Rename("recover.rename", s.path, s.path+".damaged"))
	}
	return failed("recover.remove", j.os.Remove("recover.remove", s.path))
}

// sealAgain cuts off what is not an entry, and writes the index.
func (j *Journal) sealAgain(s *segment, f File) error {
	foot := s.index.footer(s.end, j.salt)
	s.size = s.end + int64(len(foot))
	s.index.rows = nil
	if err := f.Truncate("recover.truncate", s.end); err != nil {
		return failed("recover.truncate", err)
	}
	if _, err := f.WriteAt("recover.write", foot, s.end); err != nil {
		return failed("recover.write", err)
	}
	return failed("recover.sync", f.Sync("recover.sync"))
}

// A finding is what a scan found in a segment.
type finding struct {
	index index
	end   int64
	cuts  []Cut
	acked uint64 // the highest number that an entry says was on the disk when it was written
}

// scan reads a segment through. What was acknowledged is kept, wherever damage is (P5). What was still on its way to the disk
// is kept up to the first damage alone, so that of two messages the second is never there without the first (P3).
func (j *Journal) scan(s *segment, f File, limit, trust uint64, last bool) (finding, error) {
	found, err := j.read(s, f, limit, math.MaxUint64)
	if err != nil || len(found.cuts) == 0 {
		return found, err
	}
	if last {
		trust = max(trust, found.acked)
	}
	return j.read(s, f, limit, trust)
}

// read reads a segment through, up to limit, and up to the first damage behind trust.
func (j *Journal) read(s *segment, f File, limit, trust uint64) (finding, error) {
	out := finding{index: index{every: rowEvery(j.o.SegmentBytes)}, end: segmentHeader}
	damaged := false
	c := cursor{f: f, op: "recover.read", salt: j.salt, off: segmentHeader, end: s.size, salvage: true, last: s.first - 1}
	c.cut = func(off, n int64, reason string) {
		damaged = true
		out.cuts = append(out.cuts, Cut{File: s.path, Off: off, Bytes: n, Reason: reason, Acked: c.last < trust})
	}
	kept := s.first - 1 // number of the last entry that is kept
	for {
		h, ok, err := c.next()
		if err != nil {
			return out, err
		}
		if !ok || h.seq >= limit {
			return out, nil
		}
		if damaged && h.seq > kept+1 && h.seq-1 > trust {
			c.cut(c.off, s.size-c.off, Torn)
			return out, nil
		}
		if damaged && len(out.cuts) > 0 {
			out.cuts[len(out.cuts)-1].Entries = h.seq - kept - 1
		}
		_, good, err := c.body(h)
		if err != nil {
			return out, err
		}
		if good {
			out.index.add(h, c.off)
			out.acked = max(out.acked, h.seq-uint64(h.back))
			kept, out.end, damaged = h.seq, c.off+h.size(), false
		} else {
			c.cut(c.off, h.size(), Checksum)
		}
		c.pass(h)
	}
}

// begin makes the segment that is appended to: a disk that takes nothing is told of now, before anything is acknowledged.
func (j *Journal) begin() error {
	if err := j.keep.store(j, true); err != nil {
		return hint(err)
	}
	return hint(j.startSegment(j.next)) // and with it the directory is synced
}

// hint adds what an operator can do.
func hint(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%w: let the user of this process, number %d, write there, or set spool.dir", err, os.Getuid())
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: make room on its file system, or set spool.dir", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: mount its file system for writing, or set spool.dir", err)
	}
	return err
}

// sealLast seals the active segment when the journal is closed, or removes it if it has no entries.
func (j *Journal) sealLast() error {
	s := j.active
	if s == nil {
		return nil
	}
	f := j.file
	j.active, j.file = nil, nil
	if s.end > segmentHeader {
		return j.seal(s, f)
	}
	return errors.Join(f.Close(), j.os.Remove("close.remove", s.path))
}
