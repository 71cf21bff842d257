//go:build unix

package wiretest

import (
	"syscall"
	"testing"
	"time"
)

// CPU returns what the whole process has used.
func CPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Report tells what the whole process has used for each message since CPU was began, and how many messages that were a second.
func Report(b *testing.B, began time.Duration) {
	b.Helper()
	b.ReportMetric(float64(CPU()-began)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
