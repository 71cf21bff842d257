package journal_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	. "github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

// small log: entries of one lane, each with a body that says its number, appended and synced in batches.
const batches, perBatch = 4, 5

// logOf returns a disk with such a log, as it is when the process was killed, and where each entry begins in its segment.
func logOf(t testing.TB) (disk *journaltest.Disk, path string, at []int) {
	disk = journaltest.New()
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	l := lane(t, j, "a")
	off := SegmentHeader
	for b := range batches {
		for i := range perBatch {
			n := b*perBatch + i
			body := bytes.Repeat([]byte{byte('A' + n)}, 3+n%7)
			j.Append(l, []byte("h"), body, func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
			at = append(at, off)
			off += HeaderBytes + 1 + len(body)
		}
		if err := j.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.StorePositions(true); err != nil {
		t.Fatal(err)
	}
	return disk.Kill(), "/spool/" + SegmentName(1), append(at, off)
}

// numbers returns the numbers of the entries that can be read, which must be what was appended.
func numbers(t testing.TB, j *Journal) (out []uint64) {
	t.Helper()
	r := j.NewReader(0)
	defer r.Close()
	for {
		e, ok := r.Next(all)
		if !ok {
			break
		}
		n := int(e.Seq) - 1
		if want := bytes.Repeat([]byte{byte('A' + n)}, 3+n%7); !bytes.Equal(e.Body, want) || string(e.Head) != "h" {
			t.Fatalf("entry %d is %q %q", e.Seq, e.Head, e.Body)
		}
		out = append(out, e.Seq)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return out
}

// recovered opens a disk and returns what can be read, and what was reported. It does it twice: what the first start has
// written has to be good.
func recovered(t testing.TB, disk *journaltest.Disk) ([]uint64, Recovery) {
	t.Helper()
	var found []uint64
	var report Recovery
	for again := range 2 {
		j, rec, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
		if err != nil {
			t.Fatal(err)
		}
		lost := 0
		for _, c := range rec.Cuts {
			if c.Acked {
				lost++
			}
		}
		got := numbers(t, j)
		if n := j.Backlog(1).Messages; n != uint64(len(got)) || j.State().Damaged != uint64(lost) { // P2: no more is met later
			t.Fatalf("backlog %d, can be read %d, damaged %d %+v", n, len(got), j.State().Damaged, rec)
		}
		if again == 0 {
			found, report = got, rec
		} else if !slices.Equal(got, found) || len(rec.Cuts) > 0 {
			t.Fatalf("first %v, then %v %+v", found, got, rec.Cuts)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return found, report
}

func upTo(n int) (out []uint64) {
	for i := range n {
		out = append(out, uint64(i+1))
	}
	return out
}

// P5: cut off at every byte, or nothing but zeroes from there on, a log gives back every entry that is whole.
func TestTruncatedAndZeroed(t *testing.T) {
	disk, path, at := logOf(t)
	whole := disk.Content(path)
	end := at[len(at)-1]
	for off := 0; off <= end; off++ {
		n := 0
		for n+1 < len(at) && at[n+1] <= off {
			n++
		}
		for i, zeroed := range []bool{false, true} {
			if skip(off + i) {
				continue
			}
			d := disk.Kill()
			content := slices.Clone(whole[:off])
			if zeroed {
				content = append(content, make([]byte, len(whole)-off)...)
			}
			d.SetContent(path, content)
			got, rec := recovered(t, d)
			// A body that ends in zeroes is none that we wrote; the last byte alone may be what is gone.
			if !slices.Equal(got, upTo(n)) {
				t.Fatalf("cut at %d: %v, want %d entries", off, got, n)
			}
			left := bytes.Trim(whole[at[n]:max(off, at[n])], "\x00") // of an entry; its sum may begin with zeroes, and they say nothing
			if torn := len(left) > 0; torn && (len(rec.Cuts) != 1 || rec.Cuts[0].Off != int64(at[n]) || !rec.Cuts[0].Acked) {
				t.Fatalf("cut at %d: reported %+v", off, rec.Cuts)
			}
		}
	}
}

// P5: a flipped byte, wherever it is, costs the entry that it is in and no other.
func TestFlippedByte(t *testing.T) {
	disk, path, at := logOf(t)
	whole := disk.Content(path)
	for off := range at[len(at)-1] {
		hit := -1
		for i := range at[1:] {
			if off >= at[i] && off < at[i+1] {
				hit = i
			}
		}
		for _, bits := range []byte{0x01, 0x80, 0xff} {
			if skip(off + int(bits)) {
				continue
			}
			d := disk.Kill()
			content := slices.Clone(whole)
			content[off] ^= bits
			d.SetContent(path, content)
			got, rec := recovered(t, d)
			want := upTo(batches * perBatch)
			if hit >= 0 {
				want = slices.Delete(want, hit, hit+1)
				if len(rec.Cuts) != 1 || !rec.Cuts[0].Acked || rec.Cuts[0].Off != int64(at[hit]) || rec.Cuts[0].Bytes != int64(at[hit+1]-at[hit]) {
					t.Fatalf("byte %d: reported %+v", off, rec.Cuts)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("byte %d of entry %d: %v, %+v", off, hit, got, rec.Cuts)
			}
		}
	}
}

// P5: zeroes over any part of the middle cost what they cover.
func TestZeroedMiddle(t *testing.T) {
	disk, path, at := logOf(t)
	whole := disk.Content(path)
	for from := SegmentHeader; from < at[len(at)-2]; from += 3 {
		for _, n := range []int{1, 40, 100, 300} {
			if skip(from + n) {
				continue
			}
			to := min(from+n, at[len(at)-2])
			d := disk.Kill()
			content := slices.Clone(whole)
			clear(content[from:to])
			d.SetContent(path, content)
			got, _ := recovered(t, d)
			var want []uint64
			for i := range at[1:] {
				if bytes.Equal(content[at[i]:at[i+1]], whole[at[i]:at[i+1]]) {
					want = append(want, uint64(i+1))
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("zeroes in [%d, %d): %v, want %v", from, to, got, want)
			}
		}
	}
}

// P3: of a batch that was on its way when the power went, what is behind a torn entry is left out: its sender sends all of
// it again, in order.
func TestTornBatchKeepsOrder(t *testing.T) {
	disk, _, _ := logOf(t)
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	acked := numbers(t, j)
	next := acked[len(acked)-1] + 1
	for range 3 {
		j.Append(1, []byte("h"), bytes.Repeat([]byte{byte('A' + int(next) - 1)}, 3+(int(next)-1)%7), func(error) {})
		next++
	}
	if err := j.Commit(); err != nil {
		t.Fatal(err)
	}
	disk = disk.Kill() // the positions do not know of the batch yet
	path := "/spool/" + SegmentName(acked[len(acked)-1]+1)
	content := disk.Content(path)
	content[SegmentHeader+HeaderBytes+1] ^= 1
	disk.SetContent(path, content)
	got, rec := recovered(t, disk)
	if !slices.Equal(got, acked) {
		t.Fatalf("%v, %+v", got, rec.Cuts)
	}
	for _, c := range rec.Cuts {
		if c.Acked {
			t.Fatalf("%+v", c)
		}
	}
}

// Damage in a sealed segment, whose index is good, is met when it is read: it is counted, left out, and then made good.
func TestDamageMetWhenRead(t *testing.T) {
	disk, path, at := logOf(t)
	if got, _ := recovered(t, disk); len(got) != batches*perBatch {
		t.Fatal(got)
	}
	for _, off := range []int{at[3] + 1, at[3] + 20, at[3] + HeaderBytes + 2} {
		d := disk.Kill()
		content := d.Content(path)
		content[off] ^= 0x10
		d.SetContent(path, content)
		j, rec, err := Open(Options{Dir: "/spool", OS: d, SegmentBytes: MinSegment})
		if err != nil || rec.Scanned != 0 {
			t.Fatal(err, rec)
		}
		want := slices.Delete(upTo(batches*perBatch), 3, 4)
		if got := numbers(t, j); !slices.Equal(got, want) || j.State().Damaged != 1 {
			t.Fatalf("%v, %d damaged", got, j.State().Damaged)
		}
		if err := j.Chores(); err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, j); !slices.Equal(got, want) || j.State().Damaged != 1 || j.Backlog(1).Messages != uint64(len(want)) {
			t.Fatalf("%v, %d damaged, %+v", got, j.State().Damaged, j.Backlog(1))
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever becomes of the small files, every entry is there: without positions what was settled comes once more, without
// names the lanes have numbers.
func TestDamagedSmallFiles(t *testing.T) {
	disk, _, _ := logOf(t)
	for _, name := range []string{"positions", "lanes"} {
		for _, content := range [][]byte{nil, []byte("x"), make([]byte, 2*SlotBytes), bytes.Repeat([]byte{0xA5}, 2*SlotBytes)} {
			d := disk.Kill()
			d.SetContent(filepath.Join("/spool", name), content)
			got, rec := recovered(t, d)
			if !slices.Equal(got, upTo(batches*perBatch)) {
				t.Fatalf("%s: %v", name, got)
			}
			if lost := len(content) > 0 && content[0] != 0; name == "positions" && rec.PositionsLost != lost || name == "lanes" && !rec.LanesLost {
				t.Fatalf("%s, %d bytes: %+v", name, len(content), rec)
			}
		}
	}
}

// A segment of a newer version is not touched.
func TestNewerVersion(t *testing.T) {
	disk, path, _ := logOf(t)
	content := disk.Content(path)
	content[8] = 99
	binary.LittleEndian.PutUint32(content[24:], crc32.Checksum(content[:24], crc32.MakeTable(crc32.Castagnoli)))
	disk.SetContent(path, content)
	if _, _, err := Open(Options{Dir: "/spool", OS: disk}); err == nil || !bytes.Equal(disk.Content(path), content) {
		t.Fatal(err)
	}
}

// A disk that does not give back what it has is an error of the reader, not damage: it is read when the disk works again.
func TestReadError(t *testing.T) {
	disk, _, _ := logOf(t)
	j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	for _, op := range []string{"read.open", "read.read"} {
		disk.Fail(op, syscall.EIO)
		r := j.NewReader(0)
		for range 3 {
			if e, ok := r.Next(all); ok || r.Err() == nil {
				t.Fatalf("%s: %v", op, e)
			}
		}
		disk.Heal()
		n := 0
		for _, ok := r.Next(all); ok; _, ok = r.Next(all) {
			n++
		}
		if n != batches*perBatch || r.Err() != nil || j.State().Damaged != 0 {
			t.Fatal(n, r.Err())
		}
		r.Close()
	}
}

// FuzzRecover: whatever is in a segment, the journal opens, gives back only what has its sums, and opens again.
func FuzzRecover(f *testing.F) {
	disk, path, at := logOf(f)
	whole := disk.Content(path)[:at[len(at)-1]]
	f.Add(whole, whole)
	f.Add(whole[:100], whole[50:])
	f.Add([]byte{}, whole)
	f.Add(append(slices.Clone(whole), whole...), []byte("lnkspool"))
	sealed := disk.Kill()
	recovered(f, sealed)
	f.Add(sealed.Content(path), []byte{})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := disk.Kill()
		d.SetContent(path, first)
		d.SetContent("/spool/"+SegmentName(11), second)
		last := uint64(0)
		for again := range 2 {
			j, rec, err := Open(Options{Dir: "/spool", OS: d, SegmentBytes: MinSegment})
			if err != nil {
				return // of a newer version
			}
			r := j.NewReader(0)
			for e, ok := r.Next(all); ok; e, ok = r.Next(all) {
				if e.Seq <= last && again == 0 {
					t.Fatalf("%d after %d", e.Seq, last)
				}
				last = e.Seq
			}
			r.Close()
			if again == 1 && len(rec.Cuts) > 0 && j.State().Damaged > 0 {
				t.Fatalf("damaged again: %+v", rec.Cuts)
			}
			j.Append(1, nil, nil, func(error) {})
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzSmallFiles: whatever is in the small files, the journal opens with all of its entries.
func FuzzSmallFiles(f *testing.F) {
	disk, _, _ := logOf(f)
	f.Add(disk.Content("/spool/lanes"), disk.Content("/spool/positions")[:SlotBytes])
	f.Add([]byte("00000000\n"), []byte{})
	f.Add(fmt.Appendf(nil, "%08x\n\"a\"\n", 0), make([]byte, 40))
	f.Fuzz(func(t *testing.T, lanes, positions []byte) {
		d := disk.Kill()
		d.SetContent("/spool/lanes", lanes)
		d.SetContent("/spool/positions", positions)
		j, _, err := Open(Options{Dir: "/spool", OS: d, SegmentBytes: MinSegment})
		if err != nil {
			t.Fatal(err)
		}
		if got := numbers(t, j); j.Settled(1) == 0 && !slices.Equal(got, upTo(batches*perBatch)) {
			t.Fatal(got)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// What was acknowledged behind damage stays, also where the positions were lost: entries tell what was on the disk before them (P5).
func TestDamageWithoutPositions(t *testing.T) {
	disk, path, at := logOf(t)
	content := bytes.Clone(disk.Content(path))
	clear(content[at[1]:at[2]])
	disk.SetContent(path, content)
	disk.SetContent("/spool/positions", nil)
	got, r := recovered(t, disk)
	if want := slices.Delete(upTo(batches*perBatch), 1, 2); !slices.Equal(got, want) || len(r.Cuts) != 1 || r.Cuts[0].Entries != 1 || !r.Cuts[0].Acked {
		t.Errorf("%v %+v", got, r.Cuts)
	}
}

// P4: a position that was synced is never lost again, whatever becomes of the writes that follow: torn by a loss of power, or refused
// half way by a disk.
func TestPositionsOutliveTornWrites(t *testing.T) {
	const synced = 5
	base, _, _ := logOf(t)
	j, _, err := Open(Options{Dir: "/spool", OS: base, SegmentBytes: MinSegment})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 { // a slot of several sectors
		lane(t, j, fmt.Sprint("lane ", i))
	}
	for seed := range uint64(50) {
		disk := base.Kill()
		j, _, err := Open(Options{Dir: "/spool", OS: disk, SegmentBytes: MinSegment})
		if err != nil {
			t.Fatal(err)
		}
		j.Settle(1, synced)
		if err := j.StorePositions(true); err != nil {
			t.Fatal(err)
		}
		refused := seed%5 == 0
		if refused {
			disk.Fail("position.write", syscall.EIO)
		}
		for seq := uint64(synced + 1); seq < 10; seq++ {
			j.Settle(1, seq)
			j.Settle(400, seq)
			if err := j.StorePositions(false); (err != nil) != refused {
				t.Fatal(err)
			}
		}
		after, r, err := Open(Options{Dir: "/spool", OS: disk.PowerLoss(rand.New(rand.NewPCG(seed, 0))), SegmentBytes: MinSegment})
		if err != nil {
			t.Fatal(err)
		}
		if r.PositionsLost || after.Settled(1) < synced {
			t.Fatalf("seed %d: settled up to %d, %+v", seed, after.Settled(1), r)
		}
	}
}
