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
	messages       int
	elapsed        time.Duration
	cpu            time.Duration // of the server under measurement
	broker         time.Duration // processor time of the Mosquitto before or behind it
	ackP50, ackP99 time.Duration // PUBLISH to PUBACK
	endP50, endP99 time.Duration // PUBLISH to the Kafka consumer, or Kafka producer to the device
	bytesEach      int64         // resident memory a connection
	peak           int64         // the most resident memory
	disk           int64         // bytes of the spool
	opened         time.Duration // from the start of the process until it has its spool again
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

func (r result) String() string {
	var known []string
	for _, c := range slices.Concat(columns, spoolColumns[4:]) {
		if v := c.value(r); v != 0 {
			known = append(known, fmt.Sprintf("%s %.*f", c.name, c.digits, v))
		}
	}
	return strings.Join(append(known, fmt.Sprintf("lost %d", max(r.lost, 0))), ", ")
}

// A column is one of a table. What a scenario does not measure stays empty.
type column struct {
	name   string
	digits int
	value  func(r result) float64
}

var columns = []column{
	{"messages/s", 0, result.rate},
	{"CPU µs/message", 2, result.each},
	{"Mosquitto's", 2, result.brokerEach},
	{"PUBACK p50 ms", 1, func(r result) float64 { return ms(r.ackP50) }},
	{"p99", 1, func(r result) float64 { return ms(r.ackP99) }},
	{"end to end p50 ms", 1, func(r result) float64 { return ms(r.endP50) }},
	{"p99", 1, func(r result) float64 { return ms(r.endP99) }},
	{"KiB/connection", 1, func(r result) float64 { return float64(r.bytesEach) / 1024 }},
}

var spoolColumns = []column{
	columns[0], columns[1], columns[3], columns[4],
	{"MiB at most", 0, func(r result) float64 { return float64(r.peak) / (1 << 20) }},
	{"GB on disk", 1, func(r result) float64 { return float64(r.disk) / 1e9 }},
	{"seconds to open", 2, func(r result) float64 { return r.opened.Seconds() }},
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// median returns the median of value over rounds, between the smallest and the largest.
func median(rounds []result, value func(result) float64) (least, middle, most float64) {
	var v []float64
	for _, r := range rounds {
		v = append(v, value(r))
	}
	return spread(v)
}

// paired does so of what two rows have in the same rounds. ok is false if there are none.
func paired(one, other []result, value func(a, b result) float64) (least, middle, most float64, ok bool) {
	var v []float64
	for i := range min(len(one), len(other)) {
		v = append(v, value(one[i], other[i]))
	}
	if len(v) == 0 {
		return 0, 0, 0, false
	}
	least, middle, most = spread(v)
	return least, middle, most, true
}

func spread(v []float64) (least, middle, most float64) {
	slices.Sort(v)
	n := len(v)
	return v[0], (v[(n-1)/2] + v[n/2]) / 2, v[n-1]
}

// cells are a row: of each column the median of all rounds, and the range in brackets; and at the end the most that a round lost.
func cells(columns []column, rounds []result) []string {
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

// writeReport writes the medians of each scenario's rounds, the ratios that matter, and how to read them.
func writeReport(file string, results map[string][]result) error {
	var b strings.Builder
	host, _ := os.ReadFile("/proc/cpuinfo")
	_, model, _ := strings.Cut(string(host), "model name\t: ")
	model, _, _ = strings.Cut(model, "\n")
	fmt.Fprintf(&b, "# Measured %s\n\n%d cores (%s), %s. Generator, server and Kafka share them. QoS 1, %d-byte payloads.\n"+
		"Each figure is the median of its rounds, with their range in brackets.\n",
		time.Now().UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), model, runtime.Version(), payload)
	writeTable(&b, columns, straight, results)
	writeRatios(&b, results)
	b.WriteString(notes)
	fmt.Fprintf(&b, "\n## The spool\n\n%d-byte payloads.\n", large)
	writeTable(&b, spoolColumns, spooled, results)
	writeSpoolRatios(&b, results)
	b.WriteString(spoolNotes)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	fmt.Print(b.String())
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// writeTable writes the rows of scenarios that were measured.
func writeTable(b *strings.Builder, columns []column, scenarios []scenario, results map[string][]result) {
	b.WriteString("\n|")
	for _, c := range columns {
		fmt.Fprintf(b, " | %s", c.name)
	}
	fmt.Fprintf(b, " | lost |\n|---|%s\n", strings.Repeat("---|", len(columns)+1))
	for _, s := range scenarios {
		for _, name := range s.rows {
			if r := results[name]; len(r) > 0 {
				fmt.Fprintf(b, "| %s | %s |\n", name, strings.Join(cells(columns, r), " | "))
			}
		}
	}
	b.WriteString("\n")
}

// writeRatios compares rows that stand for a promise of ours.
func writeRatios(b *strings.Builder, results map[string][]result) {
	ratio := func(one, other string, value func(result) float64) (float64, bool) {
		if len(results[one]) == 0 || len(results[other]) == 0 {
			return 0, false
		}
		_, a, _ := median(results[one], value)
		_, b, _ := median(results[other], value)
		return a / b, true
	}
	for _, pair := range [][2]string{{uplinkBare, bareProducer}, {uplinkFlood, bareHeaders}, {uplinkFlood, bareStock},
		{uplinkSingle, leastSingle}, {toLinkspan, barePaced}, {amqpUplinkFlood, bareHeaders}} {
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
	if same := results[toLinkspan]; len(same) > 0 {
		_, share, _ := median(same, func(r result) float64 { return r.each() / r.brokerEach() })
		fmt.Fprintf(b, "* %s: Linkspan takes %.0f %% of the CPU of the Mosquitto before it, in the same run.\n", toLinkspan, 100*share)
	}
	if _, share, _, ok := paired(results[barePaced], results[toLinkspan], func(bare, chain result) float64 { return bare.each() / chain.brokerEach() }); ok {
		fmt.Fprintf(b, "* %s: the bare producer, which is all that nobody can do without, takes %.0f %% of it.\n", toLinkspan, 100*share)
	}
}

// writeSpoolRatios does so for the spool.
func writeSpoolRatios(b *strings.Builder, results map[string][]result) {
	more := func(a, b result) float64 { return a.each() - b.each() }
	if least, middle, most, ok := paired(results[appendUplink], results[ackRows(unpacedAcks)[0]], more); ok {
		fmt.Fprintf(b, "* %s: %+.2f µs [%+.2f to %+.2f] of CPU a message over ack: %s with Kafka there.\n", appendUplink, middle, least, most, acks[0])
	}
	for _, of := range []string{unpacedAcks, pacedAcks} {
		rows := ackRows(of)
		for i, row := range rows[1:] {
			if least, middle, most, ok := paired(results[row], results[rows[0]], more); ok {
				fmt.Fprintf(b, "* %s: ack: %s takes %+.2f µs [%+.2f to %+.2f] of CPU a message over ack: %s, in the same process.\n",
					of, acks[i+1], middle, least, most, acks[0])
			}
		}
	}
	if least, middle, most, ok := paired(results[drained], results[bareDrain], func(a, b result) float64 { return a.rate() / b.rate() }); ok {
		fmt.Fprintf(b, "* A backlog is drained at %.2f [%.2f to %.2f] times the rate of the bare producer.\n", middle, least, most)
	}
}

// notes say how to read the table.
const notes = `
**Bare producers.** Like for like is the producer with as many records in flight as the devices have, 50 × 100, each with a payload
of its own: what Kafka stores and how it is batched are the same then, and the ratio is what MQTT adds. The first ratio is without
headers, but for the one by which Linkspan's records say where they came from; the second with all of them, which the bare producer
makes only once for each device. The third compares with a producer
that sends one payload from one place in memory, without headers, from a stock of 100,000 records: it makes batches that no
gateway can, since devices wait for their acks, and writes less than half the bytes.

**The least gateway** is some hundred lines of Go between the same devices and the same Kafka client: a goroutine reads each connection, two
write acks, and there is nothing else: no bounds, headers, routes, checks, sessions or spool. Where each message costs a read, a write
and a goroutine that is woken, that is what the kernel, the runtime and the Kafka client take on this machine, and the ratio is what
Linkspan adds.

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

**Latency.** PUBACK: from PUBLISH to PUBACK, at the device; with AMQP from transfer to disposition. End to end, uplink: from PUBLISH to a Kafka consumer. End to end,
downlink: from a Kafka producer that does not linger to the device that subscribes.
`

const spoolNotes = `
**Appending.** Each acknowledgement comes after an fdatasync of what it is for; all that comes while one is under way share the next. What
50 × 100 in flight allow is bounded by how long the disk takes for one. The spool alone is that of a process which has nothing else but
50 senders, of records as a route makes them. It has no generator beside it.

**Ack points.** One Linkspan has a route for each, and devices publish to them in turn, three slices of a third of the length of a
measurement each, in an order in which each comes after each, so a difference is that of the ack points. Its range is that over the rounds.
With ack: spool a message is written to the disk, synced, read from there and brought to Kafka; the processor time is counted until the
last of them is there.

**The backlog.** Devices publish while Kafka is away, until the spool has the size that was wanted (-backlog). Linkspan is then killed
(SIGKILL), and started again with Kafka there. "Seconds to open" are those from the start of the process until it has its spool again; the last
segment had no index yet and is read through. Draining is counted from the first message that is in Kafka to the last. The bare
producer has as many records in flight as the drain may have. "MiB at most" is the most resident memory that the process ever had.
`
