package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// outageLength is how long a fault lasts at least: no longer than it takes to see what it does, unless the environment says otherwise.
var outageLength, _ = time.ParseDuration(os.Getenv("OUTAGE_LENGTH"))

// table collects what came out of each fault.
var table results

type results struct {
	mu   sync.Mutex
	rows []row
}

// A row is what came out of one fault, or of several Linkspans with the same one.
type row struct {
	fault    string
	brokers  int
	lasted   time.Duration
	report   harness.Report
	loose    harness.Report // of QoS 0
	dropped  int
	kills    int
	deepest  int
	linkspan int // how many there were
}

// add adds a stage. Stages of the same fault share a row.
func (r *results) add(s *stage, report harness.Report, dropped int) {
	s.watching.Lock()
	deepest := s.deepest
	s.watching.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.rows, func(r row) bool { return r.fault == s.name && r.brokers == len(s.kafka.Brokers) })
	if i < 0 {
		i = len(r.rows)
		r.rows = append(r.rows, row{fault: s.name, brokers: len(s.kafka.Brokers)})
	}
	to := &r.rows[i]
	to.lasted, to.deepest = max(to.lasted, s.lasted), max(to.deepest, deepest)
	to.dropped += dropped
	to.kills += s.kills
	to.linkspan++
	to.report, to.loose = plus(to.report, report), plus(to.loose, s.fleet.loose.Report())
}

func plus(a, b harness.Report) harness.Report {
	return harness.Report{
		Devices: a.Devices + b.Devices, Sent: a.Sent + b.Sent, Acked: a.Acked + b.Acked, Arrived: a.Arrived + b.Arrived,
		Lost: a.Lost + b.Lost, OutOfOrder: a.OutOfOrder + b.OutOfOrder, Duplicates: a.Duplicates + b.Duplicates,
		Gone: a.Gone + b.Gone, Longest: max(a.Longest, b.Longest),
	}
}

// write writes the table as Markdown, if the environment names a file for it.
func (r *results) write() error {
	file := os.Getenv("OUTAGE_REPORT")
	if file == "" || len(r.rows) == 0 {
		return nil
	}
	slices.SortFunc(r.rows, func(a, b row) int { return cmp.Or(cmp.Compare(a.brokers, b.brokers), cmp.Compare(a.fault, b.fault)) })
	var s strings.Builder
	fmt.Fprintf(&s, tableHead, time.Now().UTC().Format("2006-01-02 15:04 UTC"), runtime.NumCPU(), strings.TrimPrefix(runtime.Version(), "go"))
	var all row
	for _, row := range r.rows {
		s.WriteString(row.String())
		all.report, all.loose = plus(all.report, row.report), plus(all.loose, row.loose)
		all.dropped += row.dropped
		all.kills += row.kills
		all.deepest = max(all.deepest, row.deepest)
		all.lasted += row.lasted
	}
	all.fault = "**all**"
	s.WriteString(all.String())
	s.WriteString(tableFoot)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(s.String()), 0o644)
}

const tableHead = `# Outages, %s

%d cores, Go %s, Apache Kafka 4.3.1. Devices publish all the time with QoS 0, 1 and 2 over MQTT 3.1.1 and 5. Lost: acknowledged to the device with
QoS 1 or 2, and not in Kafka at the end. Out of order: in Kafka behind a later message of the same device. A duplicate may be there only where
Linkspan was killed.

| fault | Kafka brokers | lasted | sent | acked | in Kafka | lost | out of order | duplicates | kills | longest wait for an ack | backlog at most | QoS 0 sent, in Kafka |
|---|---|---|---|---|---|---|---|---|---|---|---|---|
`

const tableFoot = `
All settings are the defaults but for ` + "`segment_bytes`" + ` and, where the spool is to be full, ` + "`max_bytes`" + ` and the route's ` + "`full`" + `. The network fails in a proxy
between Linkspan and Kafka; the disk is a small file system of its own; fsync fails or waits by way of strace. How: ` + "`e2e/outage_test.go`" + `. Again: ` + "`make outage`" + `.
`

func (r row) String() string {
	lost := fmt.Sprint(r.report.Lost - r.dropped)
	if r.dropped > 0 {
		lost += fmt.Sprintf(" (and %d dropped, as the route says, and counted)", r.dropped)
	}
	if r.report.Gone > 0 {
		lost += fmt.Sprintf(" (and %d that only the lost disk of Kafka had)", r.report.Gone)
	}
	acked := fmt.Sprint(r.report.Acked)
	if refused := r.report.Sent - r.report.Acked; refused > 0 {
		acked += fmt.Sprintf(" (%d refused, and their devices told so)", refused)
	}
	brokers := fmt.Sprint(r.brokers)
	if r.brokers == 0 {
		brokers = "" // of all
	}
	return fmt.Sprintf("| %s | %s | %v | %d | %s | %d | %s | %d | %d | %d | %v | %d | %d, %d |\n", strings.ReplaceAll(r.fault, "_", " "), brokers,
		r.lasted.Round(time.Second/10), r.report.Sent, acked, r.report.Arrived, lost, r.report.OutOfOrder, r.report.Duplicates, r.kills,
		r.report.Longest.Round(time.Second/100), r.deepest, r.loose.Sent, r.loose.Arrived)
}
