package journal

import (
	"encoding/binary"
	"time"
)

// ahead is where a reader is in the memory of the entries that are not on the disk yet.
type ahead struct {
	batch *batch
	first uint64 // of the batch, whose memory is used again
	off   int
	buf   []byte // the entry that was returned
}

// Ahead is Next, and goes on with entries that were appended and are not on the disk yet, in order. Next returns none of
// these again.
func (r *Reader) Ahead(want func(Lane) bool) (Entry, bool) {
	j := r.j
	for {
		synced := j.Synced()
		if e, ok := r.Next(want); ok || r.err != nil {
			return e, ok
		}
		j.mu.Lock()
		if j.Synced() == synced { // all that is on the disk has been passed
			break
		}
		j.mu.Unlock()
	}
	defer j.mu.Unlock()
	for _, b := range [...]*batch{j.back, j.front} {
		if b == nil {
			continue
		}
		if e, ok := r.inBatch(b, want); ok {
			return e, true
		}
	}
	return Entry{}, false
}

// inBatch returns the next wanted entry of b. It reads nothing that the committer fills in. The caller holds j.mu.
func (r *Reader) inBatch(b *batch, want func(Lane) bool) (Entry, bool) {
	a := &r.ahead
	if a.batch != b || a.first != b.first || a.off > len(b.buf) {
		a.batch, a.first, a.off = b, b.first, 0
	}
	for a.off < len(b.buf) {
		p := b.buf[a.off:]
		length := int(binary.LittleEndian.Uint32(p[4:]))
		seq, lane := binary.LittleEndian.Uint64(p[8:]), Lane(binary.LittleEndian.Uint16(p[16:]))
		a.off += headerBytes + length
		if seq <= r.Seq() {
			continue
		}
		r.after = seq
		if seq <= r.j.lanes.settled(lane) || !want(lane) {
			continue
		}
		a.buf = append(a.buf[:0], p[headerBytes:headerBytes+length]...)
		head := int(binary.LittleEndian.Uint32(p[20:]))
		return Entry{
			Seq: seq, Lane: lane, Time: time.UnixMilli(int64(binary.LittleEndian.Uint64(p[24:]))), Head: a.buf[:head:head], Body: a.buf[head:],
		}, true
	}
	return Entry{}, false
}

// Last returns the number of the entry that was appended last, on the disk or not; 0 if there was none.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next - 1
}
