package main

import (
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

// samples are latencies with the time at which they began.
type samples []struct {
	sent time.Time
	took time.Duration
}

// add takes a message that has come now, by the stamp in its payload.
func (s *samples) add(payload []byte, now time.Time) {
	sent := stamped(payload)
	*s = append(*s, struct {
		sent time.Time
		took time.Duration
	}{sent, now.Sub(sent)})
}

// since returns the latencies of what was sent since from.
func (s samples) since(from time.Time) (l latencies) {
	for i := range s {
		if !s[i].sent.Before(from) {
			l = append(l, s[i].took)
		}
	}
	return l
}

// A result is one measurement. A zero field was not measured.
type result struct {
	name           string
	messages       int
	elapsed        time.Duration
	cpu            time.Duration // of the server under measurement
	broker         time.Duration // processor time of the Mosquitto before or behind it
	ackP50, ackP99 time.Duration // PUBLISH to PUBACK
	endP50, endP99 time.Duration // PUBLISH to the Kafka consumer, or Kafka producer to the device
	bytesEach      int64         // resident memory a connection
	lost           int           // acked and not there; any is a fault
}

// notCounted is for lost.
const notCounted = -1

func (r result) rate() float64 {
	if r.messages == 0 {
		return 0
	}
	return float64(r.messages) / r.elapsed.Seconds()
}

// each returns the µs of CPU a message.
func (r result) each() float64 { return r.over(r.cpu) }

// brokerEach returns the µs of Mosquitto's CPU a message.
func (r result) brokerEach() float64 { return r.over(r.broker) }

func (r result) over(cpu time.Duration) float64 {
	if r.messages == 0 {
		return 0
	}
	return float64(cpu.Nanoseconds()) / 1e3 / float64(r.messages)
}

func (r result) String() string { return strings.Join(cells([]result{r}), "  ") }

// columns of the table. Those of a scenario that were not measured stay empty.
var columns = []struct {
	name   string
	digits int
	value  func(r result) float64
}{
	{"messages/s", 0, result.rate},
	{"CPU µs/message", 2, result.each},
	{"Mosquitto's", 2, result.brokerEach},
	{"PUBACK p50 ms", 1, func(r result) float64 { return ms(r.ackP50) }},
	{"p99", 1, func(r result) float64 { return ms(r.ackP99) }},
	{"end to end p50 ms", 1, func(r result) float64 { return ms(r.endP50) }},
	{"p99", 1, func(r result) float64 { return ms(r.endP99) }},
	{"KiB/connection", 1, func(r result) float64 { return float64(r.bytesEach) / 1024 }},
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// median returns the median of value over rounds, between the smallest and the largest.
func median(rounds []result, value func(result) float64) (least, middle, most float64) {
	var v []float64
	for _, r := range rounds {
		v = append(v, value(r))
	}
	slices.Sort(v)
	n := len(v)
	return v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1]
}

// cells are a scenario's row: of each column the median of all rounds, and the range in brackets; and at the end the most that a
// round lost.
func cells(rounds []result) []string {
	row := make([]string, len(columns)+1)
	lost := notCounted
	for i, c := range columns {
		least, middle, most := median(rounds, c.value)
		switch {
		case most == 0:
		case len(rounds) == 1:
			row[i] = fmt.Sprintf("%.*f", c.digits, middle)
		default:
			row[i] = fmt.Sprintf("%.*f [%.*f–%.*f]", c.digits, middle, c.digits, least, c.digits, most)
		}
	}
	for _, r := range rounds {
		lost = max(lost, r.lost)
	}
	if rounds[0].messages > 0 && lost != notCounted {
		row[len(columns)] = fmt.Sprint(lost)
	}
	return row
}

// writeTable writes the medians of each scenario's rounds, the ratios that matter, and how to read them.
func writeTable(file string, results []result) error {
	var b strings.Builder
	host, _ := os.ReadFile("/proc/cpuinfo")
	_, model, _ := strings.Cut(string(host), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	fmt.Fprintf(&b, "# Measured %s\n\n%d cores (%s), %s. Generator, server and Kafka share them. QoS 1, %d-byte payloads.\n"+
		"Each figure is the median of its rounds, with their range in brackets.\n\n|",
		time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), model, runtime.Version(), payload)
	for _, c := range columns {
		fmt.Fprintf(&b, " | %s", c.name)
	}
	fmt.Fprintf(&b, " | lost |\n|---|%s\n", strings.Repeat("---|", len(columns)+1))
	rounds := map[string][]result{}
	for _, r := range results {
		rounds[r.name] = append(rounds[r.name], r)
	}
	for _, s := range scenarios {
		if r := rounds[s.name]; len(r) > 0 {
			fmt.Fprintf(&b, "| %s | %s |\n", s.name, strings.Join(cells(r), " | "))
		}
	}
	writeRatios(&b, rounds)
	b.WriteString(notes)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fmt.Print(b.String())
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// writeRatios compares rows that stand for a promise of ours.
func writeRatios(b *strings.Builder, rounds map[string][]result) {
	ratio := func(one, other string, value func(result) float64) (float64, bool) {
		if len(rounds[one]) == 0 || len(rounds[other]) == 0 {
			return 0, false
		}
		_, a, _ := median(rounds[one], value)
		_, b, _ := median(rounds[other], value)
		return a / b, true
	}
	b.WriteString("\n")
	for _, pair := range [][2]string{{uplinkBare, bareProducer}, {uplinkFlood, bareHeaders}, {uplinkFlood, bareStock},
		{toLinkspan, barePaced}} {
		if r, ok := ratio(pair[0], pair[1], result.each); ok {
			fmt.Fprintf(b, "* %s: %.2f times the CPU of the %s.\n", pair[0], r, pair[1])
		}
	}
	if r, ok := ratio(uplinkFlood, mosquittoAlone, result.rate); ok {
		fmt.Fprintf(b, "* %s: %.1f times as many messages a second as %s, with nothing behind it.\n", uplinkFlood, r, mosquittoAlone)
	}
	if r, ok := ratio(toLinkspan, toLight, result.rate); ok {
		fmt.Fprintf(b, "* %s: %.2f times as many messages a second as %s.\n", toLinkspan, r, toLight)
	}
	if same := rounds[toLinkspan]; len(same) > 0 {
		_, share, _ := median(same, func(r result) float64 { return r.each() / r.brokerEach() })
		fmt.Fprintf(b, "* %s: Linkspan takes %.0f %% of the CPU of the Mosquitto before it, in the same run.\n", toLinkspan, 100*share)
	}
}

// notes say how to read the table.
const notes = `
**Bare producers.** Like for like is the producer with as many records in flight as the devices have, 50 × 100, each with a payload
of its own: what Kafka stores and how it is batched are the same then, and the ratio is what MQTT adds. The first ratio is without
headers on both sides, the second with, which the bare producer makes only once for each device. The third compares with a producer
that sends one payload from one place in memory, without headers, from a stock of 100,000 records: it makes batches that no
gateway can, since devices wait for their acks, and writes less than half the bytes.

**What is counted.** The processor time is that of the server's process alone. Counting begins one second after the load: the first
messages to a new topic wait for the topic's leaders and for the producer's identity, up to 300 ms, and in a measurement of some
seconds those alone would be the p99. Kafka's JVM has run for some seconds before anything is measured; its compiler takes a core then.
What is left in the p99 on Apache Kafka moves with its JVM, which still compiles now and then and stops for up to 50 ms to collect
garbage, on cores that it shares with the generator. The embedded broker has neither.

**Mosquitto before Linkspan.** Mosquitto keeps all that waits, in memory, and the counting goes on until Kafka, or the subscriber,
has what was published. The subscriber only acknowledges. The bare producer after it is given as many records a second as had come
through, a portion each millisecond: at such a rate batches are small, and what a batch costs outweighs what a record does. The
row with 20 in flight has Linkspan ask for no more (receive_maximum: 20), as many as Mosquitto is set to by itself. A subscriber of
MQTT 5 gets from Mosquitto what it asks for instead, and Linkspan asks for 1,000. Way down, Mosquitto has a subscriber behind it that acknowledges.

**Latency.** PUBACK: from PUBLISH to PUBACK, at the device. End to end, uplink: from PUBLISH to a Kafka consumer. End to end,
downlink: from a Kafka producer that does not linger to the device that subscribes.
`
