package journal

import (
	"bytes"
	"encoding/binary"
	"io"
)

const (
	readChunk = 256 << 10 // bytes a reader asks for at a time
	pageBytes = 4 << 10
)

// Reasons why something of a segment was passed over.
const (
	Torn     = "torn"     // it ends in the middle of an entry
	Zeroes   = "zeroes"   // zeroes where an entry should be, with more behind them
	Checksum = "checksum" // bytes have changed
)

// A Cut is a part of a segment that was passed over.
type Cut struct {
	File       string // path of the segment
	Off, Bytes int64
	Reason     string // Torn, Zeroes or Checksum
	// Entries is how many entries are missing there, 0 if that cannot be told.
	Entries uint64
	// Acked is true if something acknowledged may have been there: the medium lost it. What was still on its way when the
	// process or the power went is no loss: its sender was told nothing, and sends it again.
	Acked bool
}

// A cursor goes through the entries of a segment. What is damaged it passes over, and tells cut.
type cursor struct {
	f       File
	op      string
	salt    uint32 // of the journal
	off     int64  // of the next entry
	end     int64  // where the entries end
	last    uint64 // number of the last entry passed: those that follow have higher ones
	salvage bool   // read around pages that cannot be read, as if they were zeroes
	cut     func(off, n int64, reason string)

	buf  []byte // what was read last
	base int64  // its place
}

// at returns n bytes at off, fewer where the segment ends before. They are borrowed until the next call.
func (c *cursor) at(off, n int64) ([]byte, error) {
	n = max(min(n, c.end-off), 0)
	if off >= c.base && off+n <= c.base+int64(len(c.buf)) {
		return c.buf[off-c.base:][:n], nil
	}
	want := max(min(readChunk, c.end-off), n)
	if int64(cap(c.buf)) < want || cap(c.buf) > 4*readChunk && want <= readChunk {
		c.buf = make([]byte, max(want, min(readChunk, 2*int64(cap(c.buf)))))
	}
	c.buf, c.base = c.buf[:want], off
	got, err := c.f.ReadAt(c.op, c.buf, off)
	if err == io.EOF {
		err = nil
	}
	if err != nil && c.salvage {
		got, err = c.around(off, err)
	}
	c.buf = c.buf[:got]
	if err != nil {
		c.buf = c.buf[:0]
		return nil, failed(c.op, err)
	}
	return c.buf[:min(n, int64(got))], nil
}

// around reads the chunk page by page. It gives up if no page can be read: then it is not the pages.
func (c *cursor) around(off int64, err error) (int, error) {
	read := false
	for i := 0; i < len(c.buf); {
		p := c.buf[i:min(len(c.buf), i+pageBytes-int((off+int64(i))%pageBytes))]
		n, failure := c.f.ReadAt(c.op, p, off+int64(i))
		if failure == nil || failure == io.EOF {
			read = true
		}
		clear(p[n:])
		i += len(p)
	}
	if !read {
		return 0, err
	}
	return len(c.buf), nil
}

// next returns the header of the next entry, whose place is then c.off. ok is false at the end.
func (c *cursor) next() (h header, ok bool, err error) {
	for {
		p, err := c.at(c.off, headerBytes)
		if err != nil || len(p) == 0 {
			return header{}, false, err
		}
		h, whole := parseHeader(p, c.salt)
		if whole && h.mark == markIndex {
			return header{}, false, nil
		}
		if whole && c.off+h.size() <= c.end {
			if h.seq > c.last {
				return h, true, nil
			}
			c.off += h.size() // a number that was there already: what is read once is not read twice
			continue
		}
		guess := int64(0)
		if len(p) == headerBytes {
			guess = headerBytes + int64(binary.LittleEndian.Uint32(p[4:]))
		}
		zero := allZero(p)
		to, solid, err := c.resume(guess)
		if err != nil {
			return header{}, false, err
		}
		if solid <= c.off {
			c.off = c.end
			return header{}, false, nil // zeroes to the end: nothing was written there
		}
		reason := Checksum
		switch {
		case to >= c.end:
			reason, to = Torn, solid
		case zero:
			reason = Zeroes
		}
		c.cut(c.off, to-c.off, reason)
		if c.off = to; reason == Torn {
			c.off = c.end
		}
	}
}

// resume returns where the next entry is behind damage, the end if there is none, and where the last byte is that is not
// zero. guess is how long the damaged entry says that it is: it is believed first, as what looks like an entry might be
// in a body.
func (c *cursor) resume(guess int64) (to, solid int64, err error) {
	if guess > 0 && guess <= c.end-c.off {
		p, err := c.at(c.off+guess, headerBytes)
		if err != nil {
			return 0, 0, err
		}
		if h, ok := parseHeader(p, c.salt); ok && h.seq > c.last {
			return c.off + guess, c.off + guess, nil
		}
	}
	mark := binary.LittleEndian.AppendUint16(nil, markEntry)
	solid = c.off
	for off := c.off; off < c.end; {
		p, err := c.at(off, readChunk)
		if err != nil || len(p) == 0 {
			return c.end, solid, err
		}
		if n := len(bytes.TrimRight(p, "\x00")); n > 0 {
			solid = off + int64(n)
		}
		for i := 0; ; i++ {
			k := bytes.Index(p[min(i+18, len(p)):], mark)
			if k < 0 {
				break
			}
			i += k
			h, ok := parseHeader(p[i:], c.salt)
			if ok && h.seq > c.last && off+int64(i) > c.off && off+int64(i)+h.size() <= c.end {
				return off + int64(i), max(solid, off+int64(i)), nil
			}
		}
		if len(p) < headerBytes || off+int64(len(p)) >= c.end {
			break
		}
		off += int64(len(p)) - headerBytes + 1
	}
	return c.end, solid, nil
}

// body returns the body of h, which next has just returned, false if it is not what was written.
func (c *cursor) body(h header) ([]byte, bool, error) {
	p, err := c.at(c.off, h.size())
	if err != nil {
		return nil, false, err
	}
	if int64(len(p)) < h.size() || sum(p[headerBytes:]) != h.body {
		return nil, false, nil
	}
	return p[headerBytes:], true, nil
}

// pass goes on behind h.
func (c *cursor) pass(h header) {
	c.off += h.size()
	c.last = h.seq
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
