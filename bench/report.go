package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// latencies are samples of one latency.
type latencies []time.Duration

// quantile returns the q-th quantile, 0 without samples.
func (l latencies) quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(int(q*float64(len(l))), len(l)-1)]
}

// A result is one measurement. A zero field was not measured.
type result struct {
	name           string
	messages       int
	elapsed        time.Duration
	cpu            time.Duration // of the server under measurement
	ackP50, ackP99 time.Duration // PUBLISH to PUBACK
	endP50, endP99 time.Duration // PUBLISH to the Kafka consumer, or Kafka to the device
	bytesEach      int64         // resident memory a connection
	lost           int           // acked and not there; any is a fault
}

func (r result) rate() float64 { return float64(r.messages) / r.elapsed.Seconds() }

func (r result) each() float64 { // µs of CPU a message
	return float64(r.cpu.Nanoseconds()) / 1e3 / float64(r.messages)
}

func (r result) String() string { return strings.Join(r.cells(), "  ") }

var columns = []string{"messages/s", "CPU µs/message", "PUBACK p50 / p99 ms", "end to end p50 / p99 ms", "KiB/connection", "lost"}

func (r result) cells() []string {
	cells := make([]string, len(columns))
	if r.messages > 0 {
		cells[0] = fmt.Sprintf("%.0f", r.rate())
		cells[1] = fmt.Sprintf("%.2f", r.each())
		cells[5] = fmt.Sprint(r.lost)
	}
	if r.ackP99 > 0 {
		cells[2] = fmt.Sprintf("%s / %s", ms(r.ackP50), ms(r.ackP99))
	}
	if r.endP99 > 0 {
		cells[3] = fmt.Sprintf("%s / %s", ms(r.endP50), ms(r.endP99))
	}
	if r.bytesEach > 0 {
		cells[4] = fmt.Sprintf("%.1f", float64(r.bytesEach)/1024)
	}
	return cells
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1e3) }

// writeTable writes the median of each scenario's rounds, with the range of its CPU, and the ratios that matter.
func writeTable(file string, results []result) error {
	var b strings.Builder
	host, _ := os.ReadFile("/proc/cpuinfo")
	_, model, _ := strings.Cut(string(host), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	fmt.Fprintf(&b, "# Measured %s\n\n%d cores (%s), %s. Generator, server and Kafka share them. QoS 1, 100-byte payloads.\n"+
		"Each row is the median of its rounds by CPU, with the range of the CPU in brackets.\n\n",
		time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), model, runtime.Version())
	fmt.Fprintf(&b, "| | %s |\n|---|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	median := map[string]result{}
	for _, s := range scenarios {
		var rounds []result
		for _, r := range results {
			if r.name == s.name {
				rounds = append(rounds, r)
			}
		}
		if len(rounds) == 0 {
			continue
		}
		slices.SortFunc(rounds, func(a, b result) int {
			return cmp.Or(cmp.Compare(a.cpu.Seconds()*float64(b.messages), b.cpu.Seconds()*float64(a.messages)), cmp.Compare(a.bytesEach, b.bytesEach))
		})
		r := rounds[len(rounds)/2]
		for _, other := range rounds {
			r.lost = max(r.lost, other.lost)
		}
		median[s.name] = r
		cells := r.cells()
		if r.messages > 0 && len(rounds) > 1 {
			cells[1] += fmt.Sprintf(" [%.2f–%.2f]", rounds[0].each(), rounds[len(rounds)-1].each())
		}
		fmt.Fprintf(&b, "| %s | %s |\n", s.name, strings.Join(cells, " | "))
	}
	writeRatios(&b, median)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fmt.Print(b.String())
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// writeRatios compares rows that stand for a promise of ours.
func writeRatios(b *strings.Builder, median map[string]result) {
	up, alone := median[uplinkFlood], median[mosquittoAlone]
	for _, name := range []string{bareProducer, sameProducer} {
		if bare := median[name]; up.messages > 0 && bare.messages > 0 {
			fmt.Fprintf(b, "\nUplink on Apache Kafka costs %.2f times the CPU of the %s.\n", up.each()/bare.each(), name)
		}
	}
	if up.messages > 0 && alone.messages > 0 {
		fmt.Fprintf(b, "\nUplink on Apache Kafka takes %.1f times as many messages a second as Mosquitto with nothing behind it.\n", up.rate()/alone.rate())
	}
}
