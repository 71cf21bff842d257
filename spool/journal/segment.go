package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// A segment is a file of entries. The fields of the second group change under the journal's list lock.
type segment struct {
	first uint64 // no entry has a lower number; the file's name
	path  string
	hurt  atomic.Bool // damage was met: a rewrite leaves it out
	looks int         // at which it was found nearly dead; of the chores

	end    int64 // where the durable entries end
	size   int64 // of the file
	sealed bool  // nothing is appended any more
	whole  bool  // the index is in the file, and its rows are read from there
	index  index
}

// A segment's header:
//
//	 0  magic   8 bytes
//	 8  version u32
//	12  first   u64, also in the name
//	20  salt    u32, of the journal, in case that the positions are lost
//	24  sum     u32, CRC-32C of all that
const (
	segmentHeader  = 28
	segmentMagic   = "lnkspool"
	segmentVersion = 1
	segmentSuffix  = ".seg"
)

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// parseName returns the first number of the segment of that name, false for another file.
func parseName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	first, err := strconv.ParseUint(digits, 10, 64)
	return first, err == nil && first > 0
}

func segmentHead(first uint64, salt uint32) []byte {
	p := make([]byte, segmentHeader)
	copy(p, segmentMagic)
	binary.LittleEndian.PutUint32(p[8:], segmentVersion)
	binary.LittleEndian.PutUint64(p[12:], first)
	binary.LittleEndian.PutUint32(p[20:], salt)
	binary.LittleEndian.PutUint32(p[24:], sum(p[:24]))
	return p
}

var errVersion = errors.New("was written by another version of this program")

// checkHead returns errVersion for the header of a segment that we do not understand: it must not be touched. Any other
// header that is wrong is damaged, has no salt, and the entries speak for themselves.
func checkHead(p []byte) (salt uint32, err error) {
	if len(p) < segmentHeader || string(p[:8]) != segmentMagic || binary.LittleEndian.Uint32(p[24:]) != sum(p[:24]) {
		return 0, nil
	}
	if binary.LittleEndian.Uint32(p[8:]) != segmentVersion {
		return 0, errVersion
	}
	return binary.LittleEndian.Uint32(p[20:]), nil
}

// last returns the highest number in the segment, one before its first if it is empty.
func (s *segment) last() uint64 { return max(s.index.last(), s.first-1) }

// create makes a segment on the disk, with room allocated, and returns it open for writing. A file that is left over
// from a failed attempt has entries that were never acknowledged, and goes.
func (j *Journal) create(first uint64) (*segment, File, error) {
	s := &segment{first: first, path: filepath.Join(j.o.Dir, segmentName(first)), end: segmentHeader, size: j.room()}
	s.index.every = rowEvery(j.o.SegmentBytes)
	const flag = os.O_RDWR | os.O_CREATE | os.O_EXCL
	f, err := j.os.Open("segment.create", s.path, flag)
	if errors.Is(err, os.ErrExist) {
		if err = j.os.Remove("segment.remove", s.path); err == nil {
			f, err = j.os.Open("segment.create", s.path, flag)
		}
	}
	if err != nil {
		return nil, nil, failed("segment.create", err)
	}
	op := "segment.allocate"
	if err = f.Allocate(op, s.size); err == nil {
		op = "segment.write"
		_, err = f.WriteAt(op, segmentHead(first, j.salt), 0)
	}
	if err == nil {
		op = "segment.sync"
		err = f.Sync(op)
	}
	if err == nil {
		op = "segment.syncdir"
		err = j.os.SyncDir(op, j.o.Dir)
	}
	if err != nil {
		_ = f.Close()
		_ = j.os.Remove("segment.remove", s.path)
		return nil, nil, failed(op, err)
	}
	return s, f, nil
}

// room returns how large the next segment may be, so that the journal stays within MaxBytes on the disk.
func (j *Journal) room() int64 {
	size := j.o.SegmentBytes
	if j.o.MaxBytes > 0 {
		size = min(size, max(j.o.MaxBytes-j.used.Load(), minSegment))
	}
	return size
}

// seal writes the index behind the entries of s and cuts off what is allocated. Where that fails, the segment is read
// through at the next start; nothing of it is lost.
func (j *Journal) seal(s *segment, f File) error {
	foot := s.index.footer(s.end, j.salt)
	size := s.end + int64(len(foot))
	op := "seal.write"
	_, err := f.WriteAt(op, foot, s.end)
	if err == nil {
		op = "seal.truncate"
		err = f.Truncate(op, size)
	}
	if err == nil {
		op = "seal.sync"
		err = f.Sync(op)
	}
	if err != nil {
		err = failed(op, err)
		size = s.size
		if f.Truncate("seal.trim", s.end) == nil {
			size = s.end
		}
	}
	j.list.Lock()
	j.used.Add(size - s.end)
	s.sealed, s.size = true, size
	if err == nil {
		s.whole, s.index.rows = true, nil
	}
	j.list.Unlock()
	return errors.Join(err, f.Close())
}

// failed names the step that an error of the operating system comes from.
func failed(op string, err error) error {
	var f *Fault
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &Fault{Op: op, Err: err}
}
