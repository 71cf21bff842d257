package journal

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// An Entry is what was appended. Head and Body are borrowed: they are the reader's again at its next call.
type Entry struct {
	Seq        uint64    // its number: larger than that of every entry appended before
	Lane       Lane      // what it was appended to
	Time       time.Time // when, give or take what a sync takes
	Head, Body []byte    // what was appended
}

// An entry on disk is a header, its head and its body. All numbers are little endian.
//
//	 0  sum    u32  CRC-32C of the journal's salt and the rest of the header
//	 4  length u32  of head and body
//	 8  seq    u64
//	16  lane   u16
//	18  mark   u16  what this is: an entry, or the index of a sealed segment
//	20  head   u32  length of the head
//	24  time   u64  milliseconds of the epoch
//	32  back   u32  how far the last entry that was on the disk was behind, when this one was written
//	36  body   u32  CRC-32C of head and body
//
// The header has a sum of its own, so that a reader that wants other lanes passes over the body without reading it. No sender
// knows the salt: whatever is in a body, and wherever damage has a reader look for the next entry, it is not taken for one.
const headerBytes = 40

const (
	markEntry = 0xE17A
	markIndex = 0x1DE7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

type header struct {
	length int64
	seq    uint64
	lane   Lane
	mark   uint16
	head   int64
	time   int64
	back   uint32
	body   uint32
}

// size returns how many bytes the entry has on disk.
func (h header) size() int64 { return headerBytes + h.length }

// appendHeader appends a header without its sums: whoever appends holds a lock, and the committer fills them in.
func appendHeader(p []byte, l Lane, mark uint16, seq uint64, head, length int, ms int64) []byte {
	var h [headerBytes]byte
	binary.LittleEndian.PutUint32(h[4:], uint32(length))
	binary.LittleEndian.PutUint64(h[8:], seq)
	binary.LittleEndian.PutUint16(h[16:], uint16(l))
	binary.LittleEndian.PutUint16(h[18:], mark)
	binary.LittleEndian.PutUint32(h[20:], uint32(head))
	binary.LittleEndian.PutUint64(h[24:], uint64(ms))
	return append(p, h[:]...)
}

// finish fills in the mark of what is synced and the sums of the entry that p begins with, and returns its size.
func finish(p []byte, synced uint64, salt uint32) int64 {
	size := headerBytes + int64(binary.LittleEndian.Uint32(p[4:]))
	back := min(binary.LittleEndian.Uint64(p[8:])-synced, 1<<32-1)
	binary.LittleEndian.PutUint32(p[32:], uint32(back))
	binary.LittleEndian.PutUint32(p[36:], sum(p[headerBytes:size]))
	binary.LittleEndian.PutUint32(p, crc32.Update(salt, castagnoli, p[4:headerBytes]))
	return size
}

// parseHeader returns the header that p begins with, false if it is none.
func parseHeader(p []byte, salt uint32) (header, bool) {
	if len(p) < headerBytes {
		return header{}, false
	}
	mark := binary.LittleEndian.Uint16(p[18:])
	if mark != markEntry && mark != markIndex || binary.LittleEndian.Uint32(p) != crc32.Update(salt, castagnoli, p[4:headerBytes]) {
		return header{}, false
	}
	h := readHeader(p)
	return h, h.head <= h.length && h.length <= MaxEntry
}

// readHeader returns the header that p begins with, unchecked.
func readHeader(p []byte) header {
	return header{
		length: int64(binary.LittleEndian.Uint32(p[4:])),
		seq:    binary.LittleEndian.Uint64(p[8:]),
		lane:   Lane(binary.LittleEndian.Uint16(p[16:])),
		mark:   binary.LittleEndian.Uint16(p[18:]),
		head:   int64(binary.LittleEndian.Uint32(p[20:])),
		time:   int64(binary.LittleEndian.Uint64(p[24:])),
		back:   binary.LittleEndian.Uint32(p[32:]),
		body:   binary.LittleEndian.Uint32(p[36:]),
	}
}

// entry returns the entry of a header and its body.
func (h header) entry(body []byte) Entry {
	return Entry{Seq: h.seq, Lane: h.lane, Time: time.UnixMilli(h.time), Head: body[:h.head:h.head], Body: body[h.head:]}
}
