package journaltest_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/spool/journal"
	"github.com/linkspan/linkspan/spool/journal/journaltest"
)

func open(t *testing.T, d *journaltest.Disk, flag int) journal.File {
	t.Helper()
	f, err := d.Open("open", "/d/f", flag)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, f journal.File, p []byte) {
	t.Helper()
	if _, err := f.WriteAt("write", p, 0); err != nil {
		t.Fatal(err)
	}
}

func newDisk(t *testing.T) *journaltest.Disk {
	t.Helper()
	d := journaltest.New()
	if err := d.Mkdir("mkdir", "/d"); err != nil {
		t.Fatal(err)
	}
	return d
}

// What is synced, with its directory, is there after a loss of power; of the rest each page and each name may be.
func TestPowerLoss(t *testing.T) {
	old, next := bytes.Repeat([]byte{1}, 3*4096), bytes.Repeat([]byte{2}, 3*4096)
	kept, lost, torn, unnamed := false, false, false, false
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 0))
		d := newDisk(t)
		f := open(t, d, os.O_RDWR|os.O_CREATE)
		write(t, f, old)
		if err := errors.Join(f.Sync("sync"), d.SyncDir("syncdir", "/d")); err != nil {
			t.Fatal(err)
		}
		write(t, f, next)
		if err := d.Rename("rename", "/d/f", "/d/g"); err != nil {
			t.Fatal(err)
		}
		after := d.PowerLoss(r)
		if _, err := f.WriteAt("write", old, 0); !errors.Is(err, journaltest.ErrPower) || !d.Off() {
			t.Fatal(err)
		}
		p := append(after.Content("/d/f"), after.Content("/d/g")...)
		if len(p) == 0 {
			unnamed = true
			continue
		}
		for i := 0; i < 3; i++ {
			switch page := p[i*4096:][:4096]; bytes.Count(page, []byte{2}) {
			case 0:
				lost = true
			case 4096:
				kept = true
			default:
				torn = true
				if page[0] != 2 || page[511] != page[0] || page[4095] != 1 {
					t.Fatal("torn within a sector")
				}
			}
		}
	}
	if !kept || !lost || !torn || !unnamed {
		t.Fatal(kept, lost, torn, unnamed)
	}
}

// A sync that fails drops what it should have written, and the next one says that all is well: as Linux does.
func TestFailedSyncForgets(t *testing.T) {
	d := newDisk(t)
	f := open(t, d, os.O_RDWR|os.O_CREATE)
	if err := errors.Join(f.Truncate("truncate", 10), f.Sync("sync"), d.SyncDir("syncdir", "/d")); err != nil {
		t.Fatal(err)
	}
	d.FailOnce("sync", 1, syscall.EIO)
	write(t, f, []byte("0123456789"))
	if err := f.Sync("sync"); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := f.Sync("sync"); err != nil || string(d.Content("/d/f")) != "0123456789" {
		t.Fatal(err)
	}
	if got := d.PowerLoss(rand.New(rand.NewPCG(1, 1))).Content("/d/f"); !bytes.Equal(got, make([]byte, 10)) {
		t.Fatalf("%q", got)
	}
}

func TestFullReadOnlyAndKilled(t *testing.T) {
	d := newDisk(t)
	f := open(t, d, os.O_RDWR|os.O_CREATE)
	d.SetSize(5)
	if n, err := f.WriteAt("write", []byte("0123456789"), 0); n != 5 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if err := f.Allocate("allocate", 6); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	d.Heal()
	d.SetReadOnly(true)
	if _, err := f.WriteAt("write", []byte("x"), 0); !errors.Is(err, syscall.EROFS) {
		t.Fatal(err)
	}
	if _, err := d.Open("open", "/d/other", os.O_RDWR|os.O_CREATE); !errors.Is(err, syscall.EROFS) {
		t.Fatal(err)
	}
	if err := f.Lock("lock"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, d, os.O_RDONLY).Lock("lock"); !errors.Is(err, journal.ErrLocked) {
		t.Fatal(err)
	}
	d = d.Kill()
	if err := open(t, d, os.O_RDONLY).Lock("lock"); err != nil || string(d.Content("/d/f")) != "01234" {
		t.Fatal(err)
	}
	d.CutAt(2)
	if _, err := d.List("list", "/d"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.List("list", "/d"); !errors.Is(err, journaltest.ErrPower) {
		t.Fatal(err)
	}
}
