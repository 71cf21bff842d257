package mqtt_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/internal/wire/wiretest"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/mqtttest"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// BenchmarkIdle reports the memory of a connection at rest: what the listener's process has grown by for each of 2,000,
// while the devices are another process. LINKSPAN_IDLE changes their number.
func BenchmarkIdle(b *testing.B) {
	n := 2000
	if s := os.Getenv("LINKSPAN_IDLE"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	a := wiretest.NewAuthority(b)
	for _, scheme := range []string{"mqtt", "mqtts", "ws"} {
		var used, resident int64
		b.Run(scheme, func(b *testing.B) {
			defer func() {
				b.ReportMetric(float64(used)/float64(n), "B-live/conn")
				b.ReportMetric(float64(resident)/float64(n), "B-resident/conn")
				b.ReportMetric(0, "ns/op")
			}()
			if b.N > 1 { // there is only one thing to measure
				return
			}
			configure := func(c *mqtt.ListenerConfig) { c.URL = scheme + "://127.0.0.1:0" }
			if scheme == "mqtts" {
				configure = secure(a, scheme)
			}
			l := start(b, configure)
			heapBefore, before := settleMemory()
			leave := idleDevices(b, a, scheme, l.addr, n)
			mqtttest.Until(b, "all are connected", func() bool { return l.Stats().Sessions.Load() == int64(n) })
			heapAfter, after := settleMemory()
			used, resident = heapAfter-heapBefore, after-before
			leave()
		})
	}
}

// settleMemory returns what is used, heap and stacks, and what is resident, when all that can be given back is.
func settleMemory() (live, resident int64) {
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

// idleDevices has another process connect n devices. They leave when leave is called.
func idleDevices(b *testing.B, a *wiretest.Authority, scheme, addr string, n int) (leave func()) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestIdleDevices$")
	cmd.Env = append(os.Environ(), "LINKSPAN_IDLE_DEVICES="+strings.Join([]string{scheme, addr, strconv.Itoa(n), a.File}, " "))
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

// TestIdleDevices is the other process of BenchmarkIdle.
func TestIdleDevices(t *testing.T) {
	job := strings.Fields(os.Getenv("LINKSPAN_IDLE_DEVICES"))
	if len(job) != 4 {
		t.Skip("only for BenchmarkIdle")
	}
	n, _ := strconv.Atoi(job[2])
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	text, err := os.ReadFile(job[3])
	if err != nil {
		t.Fatal(err)
	}
	cfg.RootCAs.AppendCertsFromPEM(text)
	for i := range n {
		nc, err := net.Dial("tcp", job[1])
		if err != nil {
			t.Fatal(err)
		}
		switch job[0] {
		case "mqtts":
			nc = tls.Client(nc, cfg)
		case "ws":
			nc = wiretest.WebSocket(t, nc, "mqtt", "/mqtt")
		}
		c := mqtttest.New(t, nc, packet.V311)
		c.Connect(packet.Connect{ClientID: "idle-" + strconv.Itoa(i), CleanStart: true, KeepAlive: 600})
	}
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
