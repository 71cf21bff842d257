package wiretest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// Idle is a benchmark of the memory of a connection at rest: what this process has grown by for each of 2000, while their other
// ends are in another one; LINKSPAN_IDLE changes their number. It reports B-live/conn, heap and stacks, and B-resident/conn.
//
// start starts a server. The devices are the test of that name in the same package, which calls [Devices] and gets job; wait
// returns when all have connected.
func Idle(b *testing.B, name, devices string, start func(b *testing.B, conns int) (wait func(), job []string)) {
	conns := 2000
	if n, err := strconv.Atoi(os.Getenv("LINKSPAN_IDLE")); err == nil {
		conns = n
	}
	var live, resident int64
	b.Run(name, func(b *testing.B) {
		defer func() {
			b.ReportMetric(float64(live)/float64(conns), "B-live/conn")
			b.ReportMetric(float64(resident)/float64(conns), "B-resident/conn")
			b.ReportMetric(0, "ns/op")
		}()
		if b.N > 1 { // there is only one thing to measure
			return
		}
		wait, job := start(b, conns)
		heapBefore, before := settled()
		leave := elsewhere(b, devices, append([]string{strconv.Itoa(conns)}, job...))
		wait()
		heapAfter, after := settled()
		live, resident = heapAfter-heapBefore, after-before
		leave()
	})
}

// settled returns what is used, heap and stacks, and what is resident, when all that can be given back is.
func settled() (live, resident int64) {
	for range 4 { // stacks shrink by half at a time
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var pages int64
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size int64
		_, _ = fmt.Sscan(string(text), &size, &pages)
	}
	return int64(m.HeapAlloc + m.StackInuse), pages * int64(os.Getpagesize())
}

// theirs is the environment variable that has the job of the other process.
const theirs = "LINKSPAN_IDLE_DEVICES"

// elsewhere starts the other process. It ends when leave is called.
func elsewhere(b *testing.B, test string, job []string) (leave func()) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), theirs+"="+strings.Join(job, " "))
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "connected\n" {
		b.Fatal(line, err)
	}
	return func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
}

// Devices is the body of the test that [Idle] names: it calls connect with the number of each device and the job, and stays until
// it has been measured. Anywhere else it skips the test.
func Devices(t *testing.T, connect func(i int, job []string)) {
	t.Helper()
	job := strings.Fields(os.Getenv(theirs))
	if len(job) == 0 {
		t.Skip("only for BenchmarkIdle")
	}
	n, err := strconv.Atoi(job[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		connect(i, job[1:])
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
