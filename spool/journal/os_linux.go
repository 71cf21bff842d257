package journal

import (
	"errors"
	"os"
	"syscall"
)

// datasync is fdatasync: the data, and of what describes the file only what is needed to read them.
func datasync(f *os.File) error {
	return again("fdatasync", func() error { return syscall.Fdatasync(int(f.Fd())) })
}

// allocate takes the blocks now, so that writing does not change the file's size and rarely meets a full disk. Where the
// file system cannot do that, the file only becomes as large.
func allocate(f *os.File, size int64) error {
	err := again("fallocate", func() error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

func again(call string, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return os.NewSyscallError(call, err)
		}
	}
}
