//go:build unix

package journal_test

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	. "github.com/linkspan/linkspan/spool/journal"
)

// appendMany appends n entries of 200 bytes from 50 goroutines, each with up to window of them not acknowledged.
func appendMany(j *Journal, l Lane, n, window int) {
	const senders = 50
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			body, head := make([]byte, 180), make([]byte, 20)
			slots := make(chan struct{}, window)
			done := func(error) { <-slots }
			for range n/senders + min(1, max(0, n%senders-s)) {
				slots <- struct{}{}
				j.Append(l, head, body, done)
			}
			for range window {
				slots <- struct{}{}
			}
		})
	}
	wg.Wait()
}

// The figure of the issue: 500,000 entries a second, 0.4 µs of CPU each.
func BenchmarkAppend(b *testing.B) {
	for _, window := range []int{1, 20, 1000} {
		b.Run("window="+strconv.Itoa(window), func(b *testing.B) {
			j := start(b, Options{Dir: b.TempDir()})
			l := lane(b, j, "sensors")
			b.ReportAllocs()
			b.SetBytes(200)
			b.ResetTimer()
			cpu := cpuTime()
			appendMany(j, l, b.N, window)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/msg")
			b.StopTimer()
			j.Settle(l, j.Synced())
			_ = j.Chores()
		})
	}
}

func BenchmarkRead(b *testing.B) {
	j := start(b, Options{Dir: b.TempDir()})
	l := lane(b, j, "sensors")
	appendMany(j, l, b.N, 1000)
	b.ReportAllocs()
	b.SetBytes(200)
	b.ResetTimer()
	r := j.NewReader(0)
	defer r.Close()
	for range b.N {
		if _, ok := r.Next(all); !ok {
			b.Fatal(r.Err())
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// What it takes to open a journal of JOURNAL_GB gigabytes. Without that it is not run.
func BenchmarkRecover(b *testing.B) {
	gb, _ := strconv.Atoi(os.Getenv("JOURNAL_GB"))
	if gb == 0 {
		b.Skip("JOURNAL_GB is not set")
	}
	dir := b.TempDir()
	j, _, err := Open(Options{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(b.Context())
	go func() { _ = j.Run(ctx); close(done) }()
	l := lane(b, j, "sensors")
	appendMany(j, l, gb*(1<<30)/240, 1000)
	cancel()
	<-done
	j.Die()
	for b.Loop() {
		began := time.Now()
		j, rec, err := Open(Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/open")
		b.ReportMetric(float64(rec.Bytes)/(1<<30), "GiB")
		b.Logf("%d segments, %d read through, backlog %+v", rec.Segments, rec.Scanned, j.Backlog(l))
		_ = j.Close()
	}
}
