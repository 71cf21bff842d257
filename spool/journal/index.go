package journal

import (
	"encoding/binary"
	"slices"
)

// An index says what a segment holds: of each lane how much, and, row by row, how much of it is before which place.
// That of the active segment is in memory; that of a sealed one is at its end, and its rows are read when they are needed.
type index struct {
	tallies []tally // in the order in which the lanes first came
	rows    []row
	every   int64 // bytes from row to row
	hit     int   // of the tally that was added to last
}

// A tally is what a segment holds of one lane.
type tally struct {
	lane        Lane
	count       uint64
	bytes       int64
	first, last uint64 // numbers
	begin, end  int64  // times of the first and the last, in milliseconds
}

// A row is a place in a segment, and what is before it.
type row struct {
	off    int64
	seq    uint64 // of the entry at off
	before []portion
}

// A portion is a number of entries of one lane.
type portion struct {
	lane  Lane
	count uint64
	bytes int64
}

// rowEvery is how far apart the rows of a segment are: what has to be read to find one entry.
func rowEvery(segmentBytes int64) int64 { return min(max(segmentBytes/256, 1<<10), 256<<10) }

// add counts the entry h at off.
func (x *index) add(h header, off int64) {
	if x.every > 0 && (len(x.rows) == 0 || off >= x.rows[len(x.rows)-1].off+x.every) {
		r := row{off: off, seq: h.seq, before: make([]portion, len(x.tallies))}
		for i, t := range x.tallies {
			r.before[i] = portion{t.lane, t.count, t.bytes}
		}
		x.rows = append(x.rows, r)
	}
	if x.hit >= len(x.tallies) || x.tallies[x.hit].lane != h.lane {
		x.hit = slices.IndexFunc(x.tallies, func(t tally) bool { return t.lane == h.lane })
		if x.hit < 0 {
			x.hit = len(x.tallies)
			x.tallies = append(x.tallies, tally{lane: h.lane, first: h.seq, begin: h.time})
		}
	}
	t := &x.tallies[x.hit]
	t.count++
	t.bytes += h.size()
	t.last, t.end = h.seq, h.time
}

// of returns the tally of a lane, false when there is nothing of it.
func (x *index) of(l Lane) (tally, bool) {
	for _, t := range x.tallies {
		if t.lane == l {
			return t, true
		}
	}
	return tally{}, false
}

// last returns the highest number, 0 for an empty index.
func (x *index) last() (last uint64) {
	for _, t := range x.tallies {
		last = max(last, t.last)
	}
	return last
}

// seek returns the last row that is not behind the entry seq. The entries that are looked for begin there at the
// earliest.
func seek(rows []row, seq uint64) (row, bool) {
	i, found := slices.BinarySearchFunc(rows, seq, func(r row, seq uint64) int {
		switch {
		case r.seq < seq:
			return -1
		case r.seq > seq:
			return 1
		}
		return 0
	})
	if !found {
		i--
	}
	if i < 0 {
		return row{}, false
	}
	return rows[i], true
}

func (r row) of(l Lane) portion {
	for _, p := range r.before {
		if p.lane == l {
			return p
		}
	}
	return portion{lane: l}
}

// A sealed segment ends with its index: a header with markIndex whose body is the index, and a trailer that says where it
// begins.
const (
	trailerBytes = 12
	trailerMagic = 0x5EA1ED5E
)

// footer returns what seals a segment whose entries end at off.
func (x *index) footer(off int64, salt uint32) []byte {
	body := x.encode(nil)
	p := appendHeader(nil, 0, markIndex, x.last(), 0, len(body), 0)
	p = append(p, body...)
	finish(p, 0, salt)
	p = binary.LittleEndian.AppendUint64(p, uint64(off))
	return binary.LittleEndian.AppendUint32(p, trailerMagic)
}

func (x *index) encode(p []byte) []byte {
	p = binary.AppendUvarint(p, uint64(len(x.tallies)))
	for _, t := range x.tallies {
		for _, v := range []uint64{uint64(t.lane), t.count, uint64(t.bytes), t.first, t.last - t.first, uint64(t.begin)} {
			p = binary.AppendUvarint(p, v)
		}
		p = binary.AppendVarint(p, t.end-t.begin)
	}
	p = binary.AppendUvarint(p, uint64(len(x.rows)))
	for _, r := range x.rows {
		p = binary.AppendUvarint(p, uint64(r.off))
		p = binary.AppendUvarint(p, r.seq)
		p = binary.AppendUvarint(p, uint64(len(r.before)))
		for _, b := range r.before {
			p = binary.AppendUvarint(p, uint64(b.lane))
			p = binary.AppendUvarint(p, b.count)
			p = binary.AppendUvarint(p, uint64(b.bytes))
		}
	}
	return p
}

// decodeIndex is the opposite of encode. Its input has passed its sum, but is not trusted with memory all the same.
func decodeIndex(p []byte) (x index, ok bool) {
	d := decoder{p: p, ok: true}
	for n := d.many(7); n > 0 && d.ok; n-- {
		t := tally{lane: Lane(d.uint()), count: d.uint(), bytes: int64(d.uint()), first: d.uint()}
		t.last = t.first + d.uint()
		t.begin = int64(d.uint())
		t.end = t.begin + d.int()
		x.tallies = append(x.tallies, t)
	}
	for n := d.many(3); n > 0 && d.ok; n-- {
		r := row{off: int64(d.uint()), seq: d.uint()}
		for m := d.many(3); m > 0 && d.ok; m-- {
			r.before = append(r.before, portion{Lane(d.uint()), d.uint(), int64(d.uint())})
		}
		x.rows = append(x.rows, r)
	}
	return x, d.ok && len(d.p) == 0
}

type decoder struct {
	p  []byte
	ok bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.ok = false
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) int() int64 {
	v, n := binary.Varint(d.p)
	if n <= 0 {
		d.ok = false
		return 0
	}
	d.p = d.p[n:]
	return v
}

// many returns how many things of at least size bytes follow.
func (d *decoder) many(size int) uint64 {
	n := d.uint()
	if n > uint64(len(d.p)/size) {
		d.ok = false
		return 0
	}
	return n
}

// readFooter returns the index of a sealed segment, and where its entries end. ok is false for a segment that is not sealed,
// or whose index is damaged.
func readFooter(f File, op string, size int64, salt uint32) (x index, end int64, ok bool) {
	var trailer [trailerBytes]byte
	if size < segmentHeader+headerBytes+trailerBytes {
		return x, 0, false
	}
	if n, _ := f.ReadAt(op, trailer[:], size-trailerBytes); n < trailerBytes {
		return x, 0, false
	}
	off := binary.LittleEndian.Uint64(trailer[:])
	if binary.LittleEndian.Uint32(trailer[8:]) != trailerMagic || off < segmentHeader || off > uint64(size-headerBytes-trailerBytes) {
		return x, 0, false
	}
	p := make([]byte, size-trailerBytes-int64(off))
	if n, _ := f.ReadAt(op, p, int64(off)); n < len(p) {
		return x, 0, false
	}
	h, ok := parseHeader(p, salt)
	if !ok || h.mark != markIndex || h.size() != int64(len(p)) || sum(p[headerBytes:]) != h.body {
		return x, 0, false
	}
	x, ok = decodeIndex(p[headerBytes:])
	return x, int64(off), ok && len(x.tallies) > 0
}
