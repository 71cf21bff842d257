package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// diskFaults are what befalls the disk of the spool while Kafka is away (P1, P2). What was acknowledged before is there, nothing is
// acknowledged that is not on the disk, and Linkspan says so.
var diskFaults = map[string]func(t *testing.T){
	"disk full":          diskFull,
	"disk read-only":     diskReadOnly,
	"fsync fails":        syncFails,
	"fsync takes 300 ms": syncSlow,
	"spool full: hold":   spoolFull,
	"spool full: refuse": spoolFullRefuse,

	"spool full: drop oldest": dropping("drop-oldest"),
	"spool full: drop newest": dropping("drop-newest"),
}

// aground starts a stage whose spool is in dir, takes Kafka away, and waits until the spool is in use.
func aground(t *testing.T, p plan) (*stage, harness.Network) {
	t.Helper()
	p.kafka, p.via = world.kafka, network(t)
	s := newStage(t, p)
	s.begins()
	p.via.Refuse()
	must(t, s.buffers(deadline(t)))
	return s, p.via
}

// Somebody else takes all the space, and gives it back later.
func diskFull(t *testing.T) {
	disk, err := harness.NewMemoryDisk(filepath.Join(t.TempDir(), "disk"), 32<<20)
	must(t, err)
	t.Cleanup(func() { must(t, disk.Close()) })
	s, via := aground(t, plan{dir: disk.Dir, spool: []string{"min_free: 0"}})
	ctx := deadline(t)
	must(t, disk.Fill())
	must(t, s.holds(ctx))
	must(t, s.lasts(ctx))
	must(t, disk.Free())
	must(t, s.buffers(ctx))
	must(t, via.Heal())
	must(t, s.recovers(ctx))
	s.finish(t)
}

// The disk stays read-only. When Kafka is back, what is on the disk gets there, and what waits for its acknowledgement gets it from Kafka.
// Linkspan does not start again on such a disk.
func diskReadOnly(t *testing.T) {
	disk, err := harness.NewDisk(filepath.Join(t.TempDir(), "disk"), 64<<20)
	must(t, err)
	t.Cleanup(func() { must(t, disk.Close()) })
	s, via := aground(t, plan{dir: filepath.Join(disk.Dir, "spool"), spool: []string{"min_free: 0"}})
	ctx := deadline(t)
	must(t, disk.ReadOnly())
	must(t, s.holds(ctx))
	must(t, s.lasts(ctx))
	must(t, via.Heal())
	must(t, s.fleet.more(ctx, 300))
	s.lasted = time.Since(s.began)
	s.finish(t)

	s.Kill()
	must(t, s.Launch())
	code, err := s.Wait(ctx)
	must(t, err)
	if log := s.Log(); code == 0 || !strings.Contains(log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:], "read-only file system") {
		t.Errorf("exit code %d: %s", code, log)
	}
}

// The disk takes what is written and fails to sync it, for a while. What was synced in vain is not trusted: it is written anew.
func syncFails(t *testing.T) {
	s, via := aground(t, plan{})
	ctx := deadline(t)
	fault, err := harness.Inject(ctx, s.PID(), "fdatasync,fsync:error=EIO", filepath.Join(t.TempDir(), "strace.log"))
	must(t, err)
	t.Cleanup(fault.Close)
	must(t, fault.Done(ctx, 1))
	must(t, s.holds(ctx))
	must(t, s.lasts(ctx))
	fault.Close()
	must(t, s.buffers(ctx))
	must(t, via.Heal())
	must(t, s.recovers(ctx))
	s.finish(t)
}

// The disk is slow: acknowledgements are late, and go on.
func syncSlow(t *testing.T) {
	s, via := aground(t, plan{})
	ctx := deadline(t)
	fault, err := harness.Inject(ctx, s.PID(), "fdatasync,fsync:delay_enter=300000", filepath.Join(t.TempDir(), "strace.log"))
	must(t, err)
	t.Cleanup(fault.Close)
	must(t, fault.Done(ctx, 5))
	must(t, s.buffers(ctx))
	must(t, s.lasts(ctx))
	must(t, via.Heal())
	must(t, s.recovers(ctx))
	fault.Close()
	s.finish(t)
}

// small is a spool that is full in no time.
func small(full string) plan {
	return plan{spool: []string{"max_bytes: 4194304"}, route: []string{"full: " + full}, size: 4000}
}

// A full spool that holds back: devices wait, and nothing is lost (P6).
func spoolFull(t *testing.T) {
	s, via := aground(t, small("hold"))
	ctx := deadline(t)
	must(t, s.holds(ctx))
	must(t, s.lasts(ctx))
	must(t, via.Heal())
	must(t, s.recovers(ctx))
	s.finish(t)
}

// A full spool that refuses, as the route says: Linkspan is not ready while it does, devices are told the reason, and each message that they were
// told of is counted. What was not refused is there.
func spoolFullRefuse(t *testing.T) {
	p := small("refuse")
	p.fleet = launchRefusable
	s, via := aground(t, p)
	ctx := deadline(t)
	must(t, s.says(ctx, http.StatusServiceUnavailable, ""))
	reads(t, s.Linkspan, spoolDropped, atLeast(100))
	must(t, s.lasts(ctx))
	must(t, via.Heal())
	must(t, s.recovers(ctx))
	s.finish(t)
	refused := uint64(0)
	for _, d := range s.fleet.devices {
		refused += d.Refused()
	}
	if counted, err := s.sum(ctx, spoolDropped); err != nil || counted != float64(refused) {
		t.Errorf("%d messages were refused, %v were counted: %v", refused, counted, err)
	}
}

// A full spool that drops, as the route says: Linkspan is not ready while it does, and what is missing is what it counted (P2).
func dropping(full string) func(t *testing.T) {
	return func(t *testing.T) {
		s, via := aground(t, small(full))
		ctx := deadline(t)
		must(t, s.says(ctx, http.StatusServiceUnavailable, ""))
		must(t, s.fleet.more(ctx, 300)) // devices do not notice
		reads(t, s.Linkspan, spoolDropped, atLeast(1))
		must(t, s.lasts(ctx))
		must(t, via.Heal())
		must(t, s.recovers(ctx))
		report, err := s.ends(ctx)
		must(t, err)
		dropped, err := s.sum(ctx, spoolDropped)
		must(t, err)
		loose := s.fleet.loose.Report()
		if missing := report.Lost + loose.Sent - loose.Arrived; missing != int(dropped) || missing == 0 {
			t.Errorf("%d messages are missing, %v were counted as dropped", missing, dropped)
		}
		s.judge(t, report, report.Lost)
	}
}
