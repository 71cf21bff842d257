package journal

import (
	"errors"
	"os"
	"time"
)

// Backlog is what is durable and not settled of a lane.
type Backlog struct {
	Messages    uint64
	Bytes       int64     // on disk
	Oldest      time.Time // when the first was appended; zero if there is none
	First, Last uint64    // numbers; 0 if there is none
}

// partial is what is settled of the one segment that a lane's position is in.
type partial struct {
	seg     *segment
	settled uint64
	portion
	first uint64 // the first entry that is not settled
	begin int64
}

// Backlog returns what is not settled of lane l. It reads at most a few hundred kilobytes, and mostly nothing.
func (j *Journal) Backlog(l Lane) Backlog {
	x := j.lanes.get(l)
	if x == nil {
		return Backlog{}
	}
	settled := x.settled.Load()
	var b Backlog
	var begun *segment // the one that is settled in part
	var part tally
	j.list.RLock()
	for _, s := range j.segments {
		t, ok := s.index.of(l)
		if !ok || t.last <= settled {
			continue
		}
		b.Messages += t.count
		b.Bytes += t.bytes
		b.Last = t.last
		if t.first <= settled {
			begun, part = s, t
		} else if b.First == 0 {
			b.First, b.Oldest = t.first, time.UnixMilli(t.begin)
		}
	}
	j.list.RUnlock()
	if begun != nil {
		p := j.count(x, begun, part, settled)
		b.Messages -= min(p.count, b.Messages)
		b.Bytes -= min(p.bytes, b.Bytes)
		b.First, b.Oldest = p.first, time.UnixMilli(p.begin)
	}
	return b
}

// count counts what is settled of lane x in segment s, from the row before the position on.
func (j *Journal) count(x *laneOf, s *segment, t tally, settled uint64) partial {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p := x.partial; p.seg == s && p.settled == settled {
		return p
	}
	p := partial{seg: s, settled: settled, portion: portion{lane: t.lane}, first: t.first, begin: t.begin}
	err := j.walk(s, t.lane, settled+1, func(before portion, h header) bool {
		p.portion = before
		p.first, p.begin = h.seq, h.time
		return h.seq <= settled
	})
	if err == nil {
		x.partial = p
	}
	return p
}

// Between counts the durable entries of l behind from, up to and including to.
func (j *Journal) Between(l Lane, from, to uint64) (messages uint64, bytes int64) {
	for _, h := range j.holding(l, from) {
		if h.first > from && h.last <= to {
			messages += h.count
			bytes += h.bytes
			continue
		}
		_ = j.walk(h.seg, l, from+1, func(_ portion, e header) bool {
			if e.seq > from && e.seq <= to {
				messages++
				bytes += e.size()
			}
			return e.seq < to
		})
	}
	return messages, bytes
}

var errGone = errors.New("the segment is another one now")

// walk calls visit for the entries of lane l in s, with what is before each of them, from a row on that is not behind the
// entry from, until visit returns false.
func (j *Journal) walk(s *segment, l Lane, from uint64, visit func(before portion, h header) bool) error {
	f, err := j.os.Open("count.open", s.path, os.O_RDONLY)
	if err != nil {
		return failed("count.open", err)
	}
	defer f.Close()
	if !j.listed(s) {
		return errGone
	}
	c := cursor{
		f: f, op: "count.read", salt: j.salt, off: segmentHeader, end: j.viewOf(s).end, salvage: true, cut: func(int64, int64, string) {},
	}
	before := portion{lane: l}
	if r, ok := seek(j.rowsOf(s, f), from); ok {
		c.off, c.last, before = r.off, r.seq-1, r.of(l)
	}
	for {
		h, ok, err := c.next()
		if err != nil || !ok {
			return err
		}
		if h.lane == l {
			if !visit(before, h) {
				return nil
			}
			before.count++
			before.bytes += h.size()
		}
		c.pass(h)
	}
}

// Before returns the number of the last entry of l that is not settled and was appended before t, with none behind it in
// the lane's beginning that was not: settling up to it leaves out what is older than t. 0 means that there is none.
func (j *Journal) Before(l Lane, t time.Time) (seq uint64) {
	settled, ms := j.lanes.settled(l), t.UnixMilli()
	if b := j.Backlog(l); b.Messages == 0 || b.Oldest.UnixMilli() >= ms {
		return 0 // mostly, and without reading
	}
	for _, s := range j.holding(l, settled) {
		if s.end < ms {
			seq = s.last
			continue
		}
		_ = j.walk(s.seg, l, settled+1, func(_ portion, h header) bool {
			if h.time >= ms {
				return false
			}
			if h.seq > settled {
				seq = h.seq
			}
			return true
		})
		break
	}
	return seq
}

// Oldest returns the number of the last entry of l in the oldest segment that holds something of it that is not settled:
// settling up to it is the least that may free room. 0 means that there is none.
func (j *Journal) Oldest(l Lane) (seq uint64) {
	if held := j.holding(l, j.lanes.settled(l)); len(held) > 0 {
		return held[0].last
	}
	return 0
}

// A held is a segment with what it holds of a lane.
type held struct {
	seg *segment
	tally
}

// holding returns the segments that have entries of l behind settled.
func (j *Journal) holding(l Lane, settled uint64) (out []held) {
	j.list.RLock()
	defer j.list.RUnlock()
	for _, s := range j.segments {
		if t, ok := s.index.of(l); ok && t.last > settled {
			out = append(out, held{s, t})
		}
	}
	return out
}
