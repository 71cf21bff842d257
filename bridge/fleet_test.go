package bridge

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/linkspan/linkspan/kafka"
	"github.com/linkspan/linkspan/mqtt/packet"
	"go.uber.org/goleak"
)

// processEnv has the configuration for a test process that is to be a bridge instead.
const processEnv = "BRIDGE_TEST_PROCESS"

func TestMain(m *testing.M) {
	if text := os.Getenv(processEnv); text != "" {
		os.Exit(process(text))
	}
	flag.Parse()
	_ = flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))) // tests here wait more than they work
	goleak.VerifyTestMain(m)
}

// process runs a bridge until SIGTERM.
func process(text string) int {
	cfg, err := Parse("process.yaml", []byte(text), []string{"LINKSPAN_SPOOL_DIR=off"}) // one that is killed would keep what its spool has
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		err = Run(ctx, cfg, NewLogger(cfg.Log, os.Stderr), func(Status) {})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A proc is a bridge in a process of its own, so that it can be killed.
type proc struct {
	*exec.Cmd
	end func() error
}

func spawn(t *testing.T, text string) *proc {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = []string{processEnv + "=" + text + "\nadmin: {listen: \"127.0.0.1:0\"}", "HOME=" + t.TempDir(), "GORACE=atexit_sleep_ms=10"}
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &proc{cmd, sync.OnceValue(cmd.Wait)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = p.end()
	})
	return p
}

// signal sends a signal and, if it ends the process, waits for that.
func (p *proc) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	if s == syscall.SIGTERM || s == syscall.SIGKILL {
		if err := p.end(); err != nil && s == syscall.SIGTERM {
			t.Errorf("told to stop, it ended with %v", err)
		}
	}
}

// embedded starts an embedded Kafka that outlives all bridges of the test, and returns its address.
func embedded(t *testing.T) string {
	t.Helper()
	cfg := kafka.Default().Embedded
	cfg.Dir, cfg.Partitions, cfg.Listen = t.TempDir(), 1, "127.0.0.1:0"
	e, err := kafka.StartEmbedded(cfg, logger(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e.Addr()
}

// firsts returns values without those that came before.
func firsts(values []string) (first []string) {
	seen := map[string]bool{}
	for _, v := range values {
		if !seen[v] {
			first = append(first, v)
		}
		seen[v] = true
	}
	return first
}

// One process at a time runs an endpoint. When it is stopped, killed or stuck another takes over with the same MQTT session;
// nothing acknowledged is lost in either direction, and order holds but for repeats (P5, P3, P4, P7, KAL-A9, KAL-A10).
func TestTakeover(t *testing.T) {
	t.Parallel()
	at := embedded(t)
	k := cluster(t, at)
	plant := newSite(t, packet.V5)
	text := `
kafka: {brokers: [` + at + `], consumer: {commit_interval: 50ms}}
fleet: {session_timeout: 2s}
endpoints: {plant: {dial: "` + plant.url() + `", username: %s}}` + plantRoutes
	procs := map[string]*proc{}
	begin := func(name string) { procs[name] = spawn(t, fmt.Sprintf(text, name)) }
	begin("first")
	begin("second")
	plant.connected("linkspan-plant")

	var want []string
	more := func() {
		for range 30 {
			v := fmt.Sprint(len(want))
			want = append(want, v)
			plant.publish("site/a", v)
			produce(t, k, "down", "valve/1", v)
		}
	}
	arrived := func() bool {
		n, _ := plant.waiting("linkspan-plant")
		return n == 0 && len(firsts(plant.payloads("valve/1"))) == len(want)
	}
	more()
	eventually(t, "all has arrived", arrived)
	for _, how := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP} {
		more()
		owner := plant.owner("linkspan-plant")
		procs[owner].signal(t, how) // with much in flight
		more()
		eventually(t, fmt.Sprintf("all has arrived after: %v", how), arrived)
		other := plant.owner("linkspan-plant")
		if other == owner {
			t.Fatalf("the endpoint is run by the same process after: %v", how)
		}
		if how != syscall.SIGSTOP {
			begin(owner)
			continue
		}
		procs[owner].signal(t, syscall.SIGCONT) // it wakes up, and must not do as if nothing had happened
		more()
		eventually(t, "all has arrived beside one that woke up", arrived)
	}
	if got := firsts(values(t, k, "up")); !slices.Equal(got, want) {
		t.Errorf("in Kafka: %v", got)
	}
	if got := firsts(plant.payloads("valve/1")); !slices.Equal(got, want) {
		t.Errorf("at the broker: %v", got)
	}
	if n := plant.takeovers(); n < 1 || n > 6 { // of the connection that the stuck one left open; of others a slow machine may see the end late
		t.Errorf("%d connections were ended by another of the same client", n)
	}
}
