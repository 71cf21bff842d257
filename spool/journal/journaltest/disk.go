// Package journaltest has a disk in memory for tests of whatever stands on a journal: it loses power and what was not
// synced with it, fills up, becomes read-only, fails at a named step, and takes its time.
package journaltest

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/spool/journal"
)

// ErrPower is what every operation returns once the power is off.
var ErrPower = errors.New("the power is off")

const (
	page   = 4096 // what is kept or lost as one
	sector = 512  // what is written whole even when the power goes
)

// A Disk is a journal.OS in memory. All methods are safe from any goroutine.
//
// What a process writes it reads back at once. What of it outlives a loss of power is decided page by page for files
// that were not synced, and name by name for directories that were not. A sync that fails forgets which pages were not on
// the medium, as Linux does: the next one succeeds without them.
type Disk struct {
	mu       sync.Mutex
	names    map[string]*name
	dirs     map[string]bool
	off      bool
	cutAt    int // the operation before which the power goes; 0: none
	ops      int
	counts   map[string]int
	faults   []*fault
	slow     map[string]time.Duration
	size     int64 // of the medium; 0: no limit
	readOnly bool
}

// A name is an entry of a directory: what it leads to now, and what it led to since the directory was synced.
type name struct {
	now  *inode // nil: nothing
	safe *inode
	past []*inode
}

type inode struct {
	data  []byte       // as a process sees it
	safe  []byte       // as the medium has it
	dirty map[int]bool // pages that differ and are still to be written
	owner *handle      // who has locked it
}

type fault struct {
	op   string
	skip int // so many pass first
	once bool
	err  error
}

// New returns an empty disk.
func New() *Disk {
	return &Disk{names: map[string]*name{}, dirs: map[string]bool{}, counts: map[string]int{}, slow: map[string]time.Duration{}}
}

var _ journal.OS = (*Disk)(nil)

// Fail has every operation of the step op fail with err from now on. op may be the beginning of names, up to a dot:
// "append" is "append.write" and "append.sync". A write that fails writes half of its bytes.
func (d *Disk) Fail(op string, err error) { d.addFault(&fault{op: op, err: err}) }

// FailOnce has the n-th operation of the step op from now on fail with err, counted from 1.
func (d *Disk) FailOnce(op string, n int, err error) {
	d.addFault(&fault{op: op, skip: n - 1, once: true, err: err})
}

func (d *Disk) addFault(f *fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, f)
}

// Heal takes back all that Fail, FailOnce, Slow, SetSize and SetReadOnly have done.
func (d *Disk) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults, d.size, d.readOnly = nil, 0, false
	clear(d.slow)
}

// Slow has every operation of the step op take the time.
func (d *Disk) Slow(op string, t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.slow[op] = t
}

// SetSize has the medium be full at so many bytes: ENOSPC. 0 is no limit.
func (d *Disk) SetSize(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.size = bytes
}

// SetReadOnly has all that changes something fail: EROFS.
func (d *Disk) SetReadOnly(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.readOnly = on
}

// CutAt has the power go before the n-th operation from now on, counted from 1.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt = d.ops + n
}

// Ops returns how many operations there were.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Steps returns the names of the steps that there were, sorted.
func (d *Disk) Steps() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for op := range d.counts {
		out = append(out, op)
	}
	slices.Sort(out)
	return out
}

// Off reports whether the power is off.
func (d *Disk) Off() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.off
}

// PowerLoss turns the power off, and returns the disk as it is when the power is back. r decides what of the unsynced
// is there.
func (d *Disk) PowerLoss(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	return d.copy(func(n *name) *inode {
		may := append([]*inode{n.safe}, n.past...)
		return may[r.IntN(len(may))]
	}, func(i *inode) *inode { return i.afterPowerLoss(r) })
}

// Kill ends all that was open, as the death of the process does: nothing that was written is lost. It returns the disk for
// the next process.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
	return d.copy(func(n *name) *inode { return n.now }, func(i *inode) *inode {
		out := &inode{data: slices.Clone(i.data), safe: slices.Clone(i.safe), dirty: map[int]bool{}}
		for p := range i.dirty {
			out.dirty[p] = true
		}
		return out
	})
}

func (d *Disk) copy(pick func(*name) *inode, clone func(*inode) *inode) *Disk {
	out := New()
	for dir := range d.dirs {
		out.dirs[dir] = true
	}
	clones := map[*inode]*inode{}
	for _, path := range sorted(d.names) {
		i := pick(d.names[path])
		if i == nil {
			continue
		}
		if clones[i] == nil {
			clones[i] = clone(i)
		}
		out.names[path] = &name{now: clones[i], safe: clones[i]}
	}
	return out
}

func sorted(m map[string]*name) []string {
	var out []string
	for n := range m {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// afterPowerLoss returns what the medium has of the file: each page that was to be written is as before, as written, or
// written up to a sector.
func (i *inode) afterPowerLoss(r *rand.Rand) *inode {
	size := len(i.safe)
	if len(i.data) != size && r.IntN(2) == 0 {
		size = len(i.data)
	}
	data := make([]byte, size)
	copy(data, i.safe)
	var pages []int
	for p := range i.dirty {
		pages = append(pages, p)
	}
	slices.Sort(pages)
	for _, p := range pages {
		n := page
		switch r.IntN(3) {
		case 0:
			continue
		case 1:
			n = sector * r.IntN(page/sector)
		}
		from := min(p*page, len(i.data))
		if from < size {
			copy(data[from:], i.data[from:min(from+n, len(i.data))])
		}
	}
	return &inode{data: data, safe: slices.Clone(data), dirty: map[int]bool{}}
}

// Names returns the paths of all files, sorted.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for path, n := range d.names {
		if n.now != nil {
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out
}

// Content returns what is in a file, nil if there is none.
func (d *Disk) Content(path string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[filepath.Clean(path)]; n != nil && n.now != nil {
		return slices.Clone(n.now.data)
	}
	return nil
}

// SetContent puts content in the place of what is in a file, or makes one: what the medium does on its own.
func (d *Disk) SetContent(path string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := &inode{data: slices.Clone(content), safe: slices.Clone(content), dirty: map[int]bool{}}
	d.names[filepath.Clean(path)] = &name{now: i, safe: i}
}

// step counts an operation, and returns the error that it is to have. The caller holds d.mu, which is given up meanwhile
// if the step is slow.
func (d *Disk) step(op string, changes bool) error {
	d.ops++
	d.counts[op]++
	if d.ops == d.cutAt {
		d.off = true
	}
	if d.off {
		return ErrPower
	}
	if t := d.slow[op]; t > 0 {
		d.mu.Unlock()
		<-time.After(t)
		d.mu.Lock()
		if d.off {
			return ErrPower
		}
	}
	for i, f := range d.faults {
		if op != f.op && (len(op) <= len(f.op) || op[:len(f.op)+1] != f.op+".") {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.once {
			d.faults = slices.Delete(d.faults, i, i+1)
		}
		return f.err
	}
	if changes && d.readOnly {
		return syscall.EROFS
	}
	return nil
}

// room returns how many bytes the medium still takes.
func (d *Disk) room() int64 {
	if d.size == 0 {
		return 1 << 50
	}
	used, seen := int64(0), map[*inode]bool{}
	for _, n := range d.names {
		if n.now != nil && !seen[n.now] {
			seen[n.now] = true
			used += int64(len(n.now.data))
		}
	}
	return max(d.size-used, 0)
}

func pathError(op, path string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}
