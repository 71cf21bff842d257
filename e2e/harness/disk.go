package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// A Disk is a small file system of its own, that may become full or read-only. Mounting takes root.
type Disk struct {
	Dir string // where it is mounted

	image string // file that an ext4 file system is in
}

// NewMemoryDisk mounts a tmpfs of so many bytes.
func NewMemoryDisk(dir string, size int) (*Disk, error) {
	d := &Disk{Dir: dir}
	return d, d.mount("-t", "tmpfs", "-o", fmt.Sprint("size=", size), "tmpfs", dir)
}

// NewDisk mounts an ext4 file system of so many bytes, in a file beside dir.
func NewDisk(dir string, size int64) (*Disk, error) {
	d := &Disk{Dir: dir, image: dir + ".img"}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return nil, err
	}
	if err := command("mkfs.ext4", "-q", d.image); err != nil {
		return nil, err
	}
	return d, d.mount("-o", "loop", d.image, dir)
}

func (d *Disk) mount(args ...string) error {
	if err := os.MkdirAll(d.Dir, 0o755); err != nil {
		return err
	}
	return command("mount", args...)
}

// Fill takes all the space that is left.
func (d *Disk) Fill() error {
	f, err := os.Create(d.filler())
	if err != nil {
		return err
	}
	defer f.Close()
	for b := make([]byte, 64<<10); ; {
		_, err := f.Write(b)
		switch {
		case err == nil:
		case !errors.Is(err, syscall.ENOSPC):
			return err
		case len(b) > 1:
			b = b[:len(b)/2]
		default:
			return nil
		}
	}
}

// Free gives back what Fill took.
func (d *Disk) Free() error { return os.Remove(d.filler()) }

func (d *Disk) filler() string { return filepath.Join(d.Dir, "filler") }

// ReadOnly makes an ext4 file system read-only for good, as the kernel does with one that is damaged: under open files, too.
func (d *Disk) ReadOnly() error {
	_ = command("mount", "-o", "remount,abort", d.Dir) // mount says that it went wrong, and it has worked
	err := os.WriteFile(d.filler(), nil, 0o600)
	if !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%s can be written: %v", d.Dir, err)
	}
	return nil
}

// Close unmounts it as soon as nobody uses it any more.
func (d *Disk) Close() error { return command("umount", "-l", d.Dir) }

// command runs an administrator's command.
func command(name string, args ...string) error {
	if out, err := exec.Command(server(name), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
