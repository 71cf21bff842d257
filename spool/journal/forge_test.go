package journal_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// forged returns the bytes of an entry, or with mark 0x1DE7 of an index, as a sender may write them into a payload.
func forged(mark uint16, lane uint16, seq uint64, body []byte) []byte {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	p := make([]byte, HeaderBytes)
	binary.LittleEndian.PutUint32(p[4:], uint32(len(body)))
	binary.LittleEndian.PutUint64(p[8:], seq)
	binary.LittleEndian.PutUint16(p[16:], lane)
	binary.LittleEndian.PutUint16(p[18:], mark)
	binary.LittleEndian.PutUint32(p[36:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(p, crc32.Checksum(p[4:], castagnoli))
	return append(p, body...)
}

// A sender cannot hide what others have sent: a payload that ends in what looks like the index of a sealed segment, where a segment
// happens to end, is a payload (P5).
func TestForgedIndex(t *testing.T) {
	disk := journaltest.New()
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	l := lane(t, j, "a")
	index := binary.AppendUvarint(nil, 1) // one lane
	for _, v := range []uint64{1, 1, 1, 1, 1 << 62, 0, 0} {
		index = binary.AppendUvarint(index, v)
	}
	index = binary.AppendUvarint(index, 0) // no rows
	fake := forged(0x1DE7, 0, 1, index)
	first := []byte("of another device")
	pad := bytes.Repeat([]byte("x"), MinSegment)
	off := SegmentHeader + HeaderBytes + len(first) + HeaderBytes + len(pad)
	fake = binary.LittleEndian.AppendUint64(append(pad, fake...), uint64(off))
	fake = binary.LittleEndian.AppendUint32(fake, 0x5EA1ED5E)
	done := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	j.Append(l, nil, first, done)
	j.Append(l, nil, fake, done)
	if err := j.Commit(); err != nil {
		t.Fatal(err)
	}
	after, r, err := Open(Options{Dir: "/spool", OS: disk.Kill(), SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	read := after.NewReader(0)
	defer read.Close()
	for _, want := range [][]byte{first, fake} {
		if e, ok := read.Next(all); !ok || !bytes.Equal(e.Body, want) {
			t.Fatalf("%v %.20q want %.20q; %+v, next after %d", ok, e.Body, want, r, after.Last())
		}
	}
}

// Nor can it have its payload taken for an entry where the one that it is in is damaged: of any lane, with any number, which those that
// follow would not come up to.
func TestForgedEntry(t *testing.T) {
	disk := journaltest.New()
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	l := lane(t, j, "a")
	body := append(bytes.Repeat([]byte("x"), 6000), forged(0xE17A, 1, 1<<62, []byte("forged"))...)
	j.Append(l, nil, []byte("first"), func(error) {})
	j.Append(l, nil, body, func(error) {})
	j.Append(l, nil, []byte("last"), func(error) {})
	if err := j.Commit(); err != nil {
		t.Fatal(err)
	}
	disk = disk.Kill()
	path := "/spool/" + SegmentName(1)
	p := bytes.Clone(disk.Content(path))
	at := SegmentHeader + HeaderBytes + len("first")
	clear(p[at:4096]) // a page that did not get to the disk
	disk.SetContent(path, p)
	after, r, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	read := after.NewReader(0)
	defer read.Close()
	for {
		e, ok := read.Next(all)
		if !ok {
			break
		}
		if e.Seq > 3 || string(e.Body) == "forged" {
			t.Errorf("%d %q: %+v", e.Seq, e.Body, r)
		}
	}
	if after.Last() > 1000 {
		t.Errorf("last %d", after.Last())
	}
}
