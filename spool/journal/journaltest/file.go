package journaltest

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/linkspan/linkspan/spool/journal"
)

// A handle is an open file.
type handle struct {
	d      *Disk
	path   string
	i      *inode
	closed bool
}

// Open opens a file.
func (d *Disk) Open(op, path string, flag int) (journal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	path = filepath.Clean(path)
	n := d.names[path]
	missing := n == nil || n.now == nil
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if err := d.step(op, writes); err != nil {
		return nil, pathError("open", path, err)
	}
	switch {
	case missing && flag&os.O_CREATE == 0:
		return nil, pathError("open", path, os.ErrNotExist)
	case !missing && flag&os.O_EXCL != 0:
		return nil, pathError("open", path, os.ErrExist)
	case missing && !d.dirs[filepath.Dir(path)]:
		return nil, pathError("open", path, os.ErrNotExist)
	case missing:
		d.set(path, &inode{dirty: map[int]bool{}})
	}
	h := &handle{d: d, path: path, i: d.names[path].now}
	if flag&os.O_TRUNC != 0 {
		h.i.resize(0)
	}
	return h, nil
}

// set has a name lead to another file, or to none.
func (d *Disk) set(path string, i *inode) {
	n := d.names[path]
	if n == nil {
		n = &name{}
		d.names[path] = n
	}
	n.now = i
	n.past = append(n.past, i)
}

// Mkdir makes a directory with its parents, which no loss of power takes away.
func (d *Disk) Mkdir(op, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = filepath.Clean(dir)
	if err := d.step(op, !d.dirs[dir]); err != nil {
		return pathError("mkdir", dir, err)
	}
	for ; !d.dirs[dir]; dir = filepath.Dir(dir) {
		d.dirs[dir] = true
	}
	return nil
}

// List returns the names in a directory.
func (d *Disk) List(op, dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = filepath.Clean(dir)
	if err := d.step(op, false); err != nil {
		return nil, pathError("open", dir, err)
	}
	if !d.dirs[dir] {
		return nil, pathError("open", dir, os.ErrNotExist)
	}
	var out []string
	for path, n := range d.names {
		if n.now != nil && filepath.Dir(path) == dir {
			out = append(out, filepath.Base(path))
		}
	}
	slices.Sort(out)
	return out, nil
}

// Rename puts a file in the place of another.
func (d *Disk) Rename(op, from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	if err := d.step(op, true); err != nil {
		return pathError("rename", from, err)
	}
	n := d.names[from]
	if n == nil || n.now == nil {
		return pathError("rename", from, os.ErrNotExist)
	}
	i := n.now
	d.set(from, nil)
	d.set(to, i)
	return nil
}

// Remove removes a file.
func (d *Disk) Remove(op, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	path = filepath.Clean(path)
	if err := d.step(op, true); err != nil {
		return pathError("remove", path, err)
	}
	if n := d.names[path]; n == nil || n.now == nil {
		return pathError("remove", path, os.ErrNotExist)
	}
	d.set(path, nil)
	return nil
}

// SyncDir has the names of a directory outlive a loss of power.
func (d *Disk) SyncDir(op, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir = filepath.Clean(dir)
	if err := d.step(op, false); err != nil {
		return pathError("sync", dir, err)
	}
	for path, n := range d.names {
		if filepath.Dir(path) == dir {
			n.safe, n.past = n.now, nil
			if n.now == nil {
				delete(d.names, path)
			}
		}
	}
	return nil
}

// Free returns how many bytes the medium still takes.
func (d *Disk) Free(op, dir string) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(op, false); err != nil {
		return 0, pathError("statfs", dir, err)
	}
	return d.room(), nil
}

// step is that of the disk, for a file that is open.
func (h *handle) step(op string, changes bool) error {
	if err := h.d.step(op, changes); err != nil {
		return err
	}
	if h.closed {
		return os.ErrClosed
	}
	return nil
}

func (h *handle) ReadAt(op string, p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.step(op, false); err != nil {
		return 0, pathError("read", h.path, err)
	}
	if off >= int64(len(h.i.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.i.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *handle) WriteAt(op string, p []byte, off int64) (int, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.step(op, true)
	switch {
	case err == ErrPower:
		return 0, pathError("write", h.path, err)
	case err != nil:
		p = p[:len(p)/2]
	}
	if grow := off + int64(len(p)) - int64(len(h.i.data)); grow > 0 {
		if room := h.d.room(); grow > room {
			p, err = p[:max(int64(len(p))-(grow-room), 0)], syscall.ENOSPC
		}
		h.i.resize(max(int64(len(h.i.data)), off+int64(len(p))))
	}
	n := copy(h.i.data[min(off, int64(len(h.i.data))):], p)
	h.i.touch(off, int64(n))
	return n, pathError("write", h.path, err)
}

func (h *handle) Truncate(op string, size int64) error {
	return h.setSize("truncate", op, func(int64) int64 { return size })
}

func (h *handle) Allocate(op string, size int64) error {
	return h.setSize("fallocate", op, func(is int64) int64 { return max(is, size) })
}

func (h *handle) setSize(call, op string, to func(is int64) int64) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.step(op, true)
	is := int64(len(h.i.data))
	size := to(is)
	if err == nil && size > is && size-is > h.d.room() {
		err = syscall.ENOSPC
	}
	if err != nil {
		return pathError(call, h.path, err)
	}
	h.i.resize(size)
	return nil
}

func (h *handle) Sync(op string) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	err := h.step(op, len(h.i.dirty) > 0)
	if err == ErrPower {
		return pathError("fdatasync", h.path, err)
	}
	if err == nil {
		h.i.keep()
	}
	clear(h.i.dirty) // also when it failed: they are taken for clean from now on
	return pathError("fdatasync", h.path, err)
}

func (h *handle) Size(op string) (int64, error) {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.step(op, false); err != nil {
		return 0, pathError("stat", h.path, err)
	}
	return int64(len(h.i.data)), nil
}

func (h *handle) Lock(op string) error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if err := h.step(op, false); err != nil {
		return pathError("flock", h.path, err)
	}
	if h.i.owner != nil && h.i.owner != h {
		return journal.ErrLocked
	}
	h.i.owner = h
	return nil
}

func (h *handle) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	if h.closed {
		return os.ErrClosed
	}
	h.closed = true
	if h.i.owner == h {
		h.i.owner = nil
	}
	return nil
}

// resize sets the size; what is new is zeroes.
func (i *inode) resize(size int64) {
	was := int64(len(i.data))
	if size <= was {
		i.data = i.data[:size:size]
		return
	}
	i.data = append(i.data, make([]byte, size-was)...)
	if int64(len(i.safe)) > was {
		i.touch(was, size-was) // the medium still has what was there before the file was cut
	}
}

// touch notes which pages are to be written.
func (i *inode) touch(off, n int64) {
	for p := off / page; n > 0 && p <= (off+n-1)/page; p++ {
		i.dirty[int(p)] = true
	}
}

// keep brings the pages that are to be written to the medium.
func (i *inode) keep() {
	if n := len(i.data); n <= len(i.safe) {
		i.safe = i.safe[:n:n]
	} else {
		i.safe = append(i.safe, make([]byte, n-len(i.safe))...)
	}
	for p := range i.dirty {
		if from := p * page; from < len(i.data) {
			copy(i.safe[from:], i.data[from:min(from+page, len(i.data))])
		}
	}
}
