package journal

import (
	"os"
	"sort"
	"time"
)

// A Reader reads the durable entries that are not settled, in order. It is one goroutine's. Segments that are deleted or
// rewritten while it reads them do not disturb it.
type Reader struct {
	j     *Journal
	after uint64 // everything up to here has been passed
	seg   *segment
	c     cursor
	ahead ahead
	err   error
	fails int       // times in a row, counted once a second, that the place could not be read
	since time.Time // when that was counted last
}

// A place that could not be read so often is read around: the rest of the segment counts more than one page of it.
const patience = 5

// NewReader returns a reader of the entries behind from. It must be closed.
func (j *Journal) NewReader(from uint64) *Reader { return &Reader{j: j, after: from} }

// Next returns the next entry of a lane that want wants, false when there is none yet or it cannot be read: see Err. want
// is asked anew for each entry, and must not call the reader. What is not wanted is passed over for good. The entry is
// borrowed until the next call.
func (r *Reader) Next(want func(Lane) bool) (Entry, bool) {
	r.err = nil
	for {
		if r.seg == nil && !r.open(want) {
			return Entry{}, false
		}
		e, ok := r.step(want)
		if ok {
			return e, true
		}
		if r.err != nil || !r.turn() {
			return Entry{}, false
		}
	}
}

// Err returns why the last Next found nothing, nil if it was for want of entries. The reader stands where it stood: it is
// worth another try, after a second.
func (r *Reader) Err() error { return r.err }

// Seq returns up to where the reader has passed.
func (r *Reader) Seq() uint64 { return max(r.after, r.c.last) }

// Close gives back the file that the reader is in.
func (r *Reader) Close() {
	if r.c.f != nil {
		_ = r.c.f.Close()
	}
	r.seg, r.c = nil, cursor{buf: r.c.buf}
}

// open goes to the next segment that has something wanted behind r.after. The oldest that has a higher number is the one,
// also if others were deleted, or put into one, meanwhile.
func (r *Reader) open(want func(Lane) bool) bool {
	for {
		s, v := r.j.segmentAfter(r.after)
		if s == nil {
			return false
		}
		if v.sealed && !r.wanted(v, want) {
			r.after = v.last
			continue
		}
		f, err := r.j.os.Open("read.open", s.path, os.O_RDONLY)
		switch {
		case isNotExist(err) && r.j.viewing:
			r.after = v.last // the process that has the journal open is done with it
			continue
		case err == nil && !r.j.listed(s):
			_ = f.Close() // rewritten this moment: the file is another one
			continue
		case isNotExist(err) && !r.j.listed(s):
			continue // deleted this moment
		case err != nil:
			r.err = failed("read.open", err)
			return false
		}
		r.seg = s
		r.c = cursor{f: f, op: "read.read", salt: r.j.salt, off: segmentHeader, end: v.end, buf: r.c.buf[:0], cut: r.damage}
		if r.after >= s.first {
			if at, ok := seek(r.j.rowsOf(s, f), r.after+1); ok {
				r.c.off, r.c.last = at.off, at.seq-1
			}
		}
		return true
	}
}

// wanted reports whether a sealed segment has unsettled entries of a lane that want wants.
func (r *Reader) wanted(v view, want func(Lane) bool) bool {
	for _, t := range v.tallies {
		if t.last > r.after && t.last > r.j.lanes.settled(t.lane) && want(t.lane) {
			return true
		}
	}
	return false
}

// step returns the next wanted entry of the segment.
func (r *Reader) step(want func(Lane) bool) (Entry, bool) {
	for r.c.off < r.c.end {
		h, ok, err := r.c.next()
		if err != nil {
			r.unreadable(err)
			return Entry{}, false
		}
		if !ok {
			r.c.off = r.c.end
			break
		}
		if h.seq <= r.after || h.seq <= r.j.lanes.settled(h.lane) || !want(h.lane) {
			r.c.pass(h)
			continue
		}
		body, good, err := r.c.body(h)
		if err != nil {
			r.unreadable(err)
			return Entry{}, false
		}
		r.fails = 0
		off := r.c.off
		r.c.pass(h)
		if !good {
			r.damage(off, h.size(), Checksum)
			continue
		}
		return h.entry(body), true
	}
	return Entry{}, false
}

// unreadable notes that the reader stands where the disk gives nothing back.
func (r *Reader) unreadable(err error) {
	r.err = err
	if now := time.Now(); now.Sub(r.since) >= retryAfter {
		r.fails++
		r.since = now
	}
	r.c.salvage = r.fails >= patience
}

// turn looks for more at the end of the segment, and leaves it if there will be none.
func (r *Reader) turn() bool {
	v := r.j.viewOf(r.seg)
	if v.end > r.c.end {
		r.c.end = v.end
		return true
	}
	if !v.sealed {
		return false
	}
	r.after = max(r.after, v.last)
	r.Close()
	return true
}

// damage counts what cannot be read.
func (r *Reader) damage(off, n int64, reason string) {
	r.j.damaged.Add(1)
	r.seg.hurt.Store(true)
	r.j.log.Error("spool: entries on the disk are damaged and left out", "file", r.seg.path, "offset", off, "bytes", n, "reason", reason)
}

// A view is what a segment is at a moment.
type view struct {
	end     int64
	last    uint64
	sealed  bool
	tallies []tally // of a sealed segment: they change no more
}

func (s *segment) view() view {
	v := view{end: s.end, last: s.last(), sealed: s.sealed}
	if s.sealed {
		v.tallies = s.index.tallies
	}
	return v
}

func (j *Journal) viewOf(s *segment) view {
	j.list.RLock()
	defer j.list.RUnlock()
	return s.view()
}

// segmentAfter returns the first segment with a number above after, nil if there is none.
func (j *Journal) segmentAfter(after uint64) (*segment, view) {
	j.list.RLock()
	defer j.list.RUnlock()
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].last() > after })
	if i == len(j.segments) {
		return nil, view{}
	}
	return j.segments[i], j.segments[i].view()
}

// listed reports whether s is still one of the journal's segments.
func (j *Journal) listed(s *segment) bool {
	j.list.RLock()
	defer j.list.RUnlock()
	for _, x := range j.segments {
		if x == s {
			return true
		}
	}
	return false
}

// rowsOf returns the rows of s: from memory, or from its file. Without any it is read from its beginning.
func (j *Journal) rowsOf(s *segment, f File) []row {
	j.list.RLock()
	rows, whole := s.index.rows, s.whole
	j.list.RUnlock()
	if !whole {
		return rows
	}
	size, err := f.Size("read.size")
	if err != nil {
		return nil
	}
	x, _, _ := readFooter(f, "read.index", size, j.salt)
	return x.rows
}
