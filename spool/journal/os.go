package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"sort"
)

// OS is every operation on files that a journal makes. Each call begins with the name of the step that it is for, such
// as "append.sync", so that a test can have one exact step fail. [System] is the real one; journaltest.Disk is one in
// memory that loses power.
type OS interface {
	// Open opens a file with the flags of the os package. A file that is created is its owner's alone.
	Open(op, name string, flag int) (File, error)
	// Mkdir makes a directory with its parents. One that is there is no error.
	Mkdir(op, dir string) error
	// List returns the names in a directory, sorted.
	List(op, dir string) ([]string, error)
	// Rename puts a file in the place of another.
	Rename(op, from, to string) error
	// Remove removes a file.
	Remove(op, name string) error
	// SyncDir makes what was created, renamed and removed in a directory survive a loss of power.
	SyncDir(op, dir string) error
	// Free returns how many bytes of the file system of dir we may still fill.
	Free(op, dir string) (int64, error)
}

// File is an open file. Offsets and sizes are in bytes.
type File interface {
	// ReadAt reads as io.ReaderAt does.
	ReadAt(op string, p []byte, off int64) (int, error)
	// WriteAt writes as io.WriterAt does.
	WriteAt(op string, p []byte, off int64) (int, error)
	// Truncate sets the size.
	Truncate(op string, size int64) error
	// Allocate makes the file size bytes large, zeroes at the end, with the room for it taken from the file system.
	Allocate(op string, size int64) error
	// Sync makes what was written survive a loss of power: fdatasync.
	Sync(op string) error
	// Size returns the size.
	Size(op string) (int64, error)
	// Lock takes the file for this process until it is closed. It does not wait: the error is ErrLocked if another has it.
	Lock(op string) error
	// Close closes the file. What was not synced may be lost.
	Close() error
}

// System returns the operating system's files.
func System() OS { return system{} }

type system struct{}

type file struct{ *os.File }

func (system) Open(_, name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Mkdir syncs the directory above each one that it makes: what is in a directory is lost with its name.
func (s system) Mkdir(op, dir string) error {
	if i, err := os.Stat(dir); err == nil && i.IsDir() {
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := s.Mkdir(op, above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := syncDir(above); !errors.Is(err, os.ErrPermission) { // we may write there, but not read
		return err
	}
	return nil
}

func (system) List(_, dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1)
	sort.Strings(names)
	return names, errors.Join(err, d.Close())
}

func (system) Rename(_, from, to string) error { return os.Rename(from, to) }

func (system) Remove(_, name string) error { return os.Remove(name) }

func (system) SyncDir(_, dir string) error { return syncDir(dir) }

func (system) Free(_, dir string) (int64, error) { return free(dir) }

func (f file) ReadAt(_ string, p []byte, off int64) (int, error) { return f.File.ReadAt(p, off) }

func (f file) WriteAt(_ string, p []byte, off int64) (int, error) { return f.File.WriteAt(p, off) }

func (f file) Truncate(_ string, size int64) error { return f.File.Truncate(size) }

func (f file) Allocate(_ string, size int64) error { return allocate(f.File, size) }

func (f file) Sync(string) error { return datasync(f.File) }

func (f file) Size(string) (int64, error) {
	i, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return i.Size(), nil
}

func (f file) Lock(string) error { return lockFile(f.File) }

// readFile returns what is in a small file, at most limit bytes of it.
func readFile(o OS, op, name string, limit int64) ([]byte, error) {
	f, err := o.Open(op, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size(op)
	if err != nil {
		return nil, err
	}
	p := make([]byte, min(size, limit))
	n, err := f.ReadAt(op, p, 0)
	if err == io.EOF {
		err = nil
	}
	return p[:n], err
}

// replaceFile puts a file with the given content in the place of name, so that a crash leaves the old one or the new
// one. Its steps are op followed by .create, .write, .sync, .rename and .syncdir.
func replaceFile(o OS, op, name string, content []byte) error {
	tmp := name + ".tmp"
	f, err := o.Open(op+".create", tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(op+".write", content, 0); err == nil {
		err = f.Sync(op + ".sync")
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = o.Rename(op+".rename", tmp, name)
	}
	if err != nil {
		_ = o.Remove(op+".remove", tmp)
		return err
	}
	return o.SyncDir(op+".syncdir", filepath.Dir(name))
}
