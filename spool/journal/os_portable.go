//go:build !linux

package journal

import "os"

// datasync is fsync; on macOS Go's Sync reaches through to the medium.
func datasync(f *os.File) error { return f.Sync() }

func allocate(f *os.File, size int64) error { return f.Truncate(size) }
