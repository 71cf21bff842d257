package journal

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// The file of positions has two slots. One is written until it is synced, and then the other: whatever becomes of a write, there is
// one that is whole. A slot:
//
//	 0  sum         u32  CRC-32C of what follows
//	 4  lanes       u32
//	 8  generation  u64  the higher one counts
//	16  synced      u64  number of the last entry that was on the disk
//	24  next        u64  no number below was left to give
//	32  salt        u64  of the journal
//	40  settled     u64  of each lane, from lane 1 on
const (
	positionsFile = "positions"
	slotBytes     = 16 << 10
	slotHeader    = 40
)

// positions are the file of positions. It is written by one goroutine at a time.
type positions struct {
	dirty atomic.Bool
	wake  chan struct{} // a token: dirty

	mu         sync.Mutex
	file       File
	generation uint64
	good       int64 // the slot that was synced last
	written    bool  // the other one was written since
	unsynced   bool  // anything was
	buf        []byte
}

// A slot is what the file of positions says.
type slot struct {
	generation, synced, next uint64
	salt                     uint32
	settled                  []uint64
	at                       int64 // which of the two it is
}

func (s slot) encode(p []byte) []byte {
	p = append(p[:0], 0, 0, 0, 0)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(s.settled)))
	p = binary.LittleEndian.AppendUint64(p, s.generation)
	p = binary.LittleEndian.AppendUint64(p, s.synced)
	p = binary.LittleEndian.AppendUint64(p, s.next)
	p = binary.LittleEndian.AppendUint64(p, uint64(s.salt))
	for _, v := range s.settled {
		p = binary.LittleEndian.AppendUint64(p, v)
	}
	binary.LittleEndian.PutUint32(p, sum(p[4:]))
	return p
}

func decodeSlot(p []byte) (s slot, ok bool) {
	if len(p) < slotHeader {
		return s, false
	}
	n := binary.LittleEndian.Uint32(p[4:])
	if n > MaxLanes || len(p) < slotHeader+8*int(n) || binary.LittleEndian.Uint32(p) != sum(p[4:slotHeader+8*n]) {
		return s, false
	}
	s = slot{
		generation: binary.LittleEndian.Uint64(p[8:]),
		synced:     binary.LittleEndian.Uint64(p[16:]),
		next:       binary.LittleEndian.Uint64(p[24:]),
		salt:       uint32(binary.LittleEndian.Uint64(p[32:])),
		settled:    make([]uint64, n),
	}
	for i := range s.settled {
		s.settled[i] = binary.LittleEndian.Uint64(p[slotHeader+8*i:])
	}
	return s, s.generation > 0
}

// readPositions returns the newer slot of the file's content. damaged is true if there is content, but no slot.
func readPositions(p []byte) (s slot, damaged bool) {
	for i := 0; i < 2 && i*slotBytes < len(p); i++ {
		if x, ok := decodeSlot(p[i*slotBytes : min(len(p), (i+1)*slotBytes)]); ok && x.generation > s.generation {
			s = x
			s.at = int64(i)
		}
	}
	return s, s.generation == 0 && !allZero(p)
}

// store writes the positions as they are, and syncs them if it is asked to. A position moves over a settled prefix only
// (P4): it is what Settle was told.
func (k *positions) store(j *Journal, sync bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.open(j); err != nil {
		return err
	}
	if k.dirty.Swap(false) {
		k.written, k.unsynced = true, true
		if _, err := k.file.WriteAt("position.write", k.next(j), (1-k.good)*slotBytes); err != nil {
			return k.forget("position.write", err)
		}
	}
	if sync && k.unsynced {
		if err := k.file.Sync("position.sync"); err != nil {
			return k.forget("position.sync", err)
		}
		if k.unsynced = false; k.written {
			k.good, k.written = 1-k.good, false
		}
	}
	return nil
}

// open opens the file, with room for both slots, so that a full disk does not keep positions from being written.
func (k *positions) open(j *Journal) error {
	if k.file != nil {
		return nil
	}
	f, err := j.os.Open("position.open", filepath.Join(j.o.Dir, positionsFile), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return failed("position.open", err)
	}
	k.file, k.unsynced = f, true
	if err := f.Allocate("position.allocate", 2*slotBytes); err != nil {
		return k.forget("position.allocate", err)
	}
	return nil
}

// next returns the slot that is written next.
func (k *positions) next(j *Journal) []byte {
	k.generation++
	s := slot{generation: k.generation, synced: j.synced.Load(), salt: j.salt}
	for _, x := range j.lanes.list() {
		s.settled = append(s.settled, x.settled.Load())
	}
	j.mu.Lock()
	s.next = j.next
	j.mu.Unlock()
	k.buf = s.encode(k.buf)
	return k.buf
}

// forget closes the file after an error: the next attempt opens it again, and writes all of it again.
func (k *positions) forget(op string, err error) error {
	_ = k.file.Close()
	k.file = nil
	k.dirty.Store(true)
	return failed(op, err)
}

func (k *positions) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		return nil
	}
	f := k.file
	k.file = nil
	return f.Close()
}

// Settle says that everything of lane l up to and including the entry upTo is settled. It is cheap, and may be called
// often; a number behind an earlier one changes nothing. It is on the disk within 10 ms for a process that is killed,
// within a second for a loss of power: what was settled in between is read once more after it.
func (j *Journal) Settle(l Lane, upTo uint64) {
	x := j.lanes.get(l)
	if x == nil {
		return
	}
	for {
		was := x.settled.Load()
		if upTo <= was {
			return
		}
		if x.settled.CompareAndSwap(was, upTo) {
			break
		}
	}
	j.touch()
}

// touch has the positions written.
func (j *Journal) touch() {
	if !j.keep.dirty.Load() && !j.keep.dirty.Swap(true) {
		select {
		case j.keep.wake <- struct{}{}:
		default:
		}
	}
}

// Settled returns up to where l is settled, 0 for nothing.
func (j *Journal) Settled(l Lane) uint64 { return j.lanes.settled(l) }

// choreLoop writes positions as they change, and each second does what else there is to do.
func (j *Journal) choreLoop(done <-chan struct{}) {
	seconds := time.NewTicker(choresEvery)
	defer seconds.Stop()
	for {
		select {
		case <-j.keep.wake:
			j.noteChore(j.keep.store(j, false))
			rest := time.NewTimer(positionsEvery)
			select {
			case <-rest.C:
			case <-done:
			case <-j.stop:
			}
			rest.Stop()
		case <-seconds.C:
			j.doChores()
		case <-done:
			return
		case <-j.stop:
			return
		}
	}
}
