// Package e2e tests the Linkspan binary between Apache Kafka itself and MQTT clients that others made, with faults.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// patience is how long a test waits for anything: far longer than it takes, with ten times as much to do as the machine
// has processors, too.
const patience = 8 * time.Minute

// world is what all tests share.
var world struct {
	dir    string
	parts  harness.Parts
	binary string
	certs  *harness.Certs
	issuer *harness.Issuer
	kafka  *harness.Kafka // one broker with all listeners; nobody breaks it

	networks chan harness.Network // ways to it that a test may break, while it has them
}

// networks is how many there are.
const networks = 16

// topics numbers the Kafka topics, so that a test can run more than once.
var topics atomic.Int64

func TestMain(m *testing.M) {
	// Most of the time the tests wait for somebody to start or to notice. The command line may say otherwise.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "linkspan-e2e-")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(dir)
	world.dir = dir
	if err := prepare(); err != nil {
		fmt.Println("preparing the tests:", err)
		return 1
	}
	defer world.issuer.Close()
	defer world.kafka.Close()
	defer func() { closeSites(code != 0) }()
	if code = m.Run(); code != 0 {
		fmt.Println(world.kafka.Log())
	}
	if err := table.write(); err != nil {
		fmt.Println("writing the table of outages:", err)
		return 1
	}
	return code
}

func prepare() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience) // it compiles, too
	defer cancel()
	if world.parts, err = harness.FindParts(); err != nil {
		return err
	}
	if world.binary, err = harness.BuildLinkspan(ctx, world.dir); err != nil {
		return err
	}
	if world.certs, err = harness.NewCerts(world.dir); err != nil {
		return err
	}
	if world.issuer, err = harness.NewIssuer(world.dir); err != nil {
		return err
	}
	world.kafka, err = harness.StartKafka(ctx, harness.KafkaConfig{
		Jars: world.parts.Kafka, Dir: filepath.Join(world.dir, "kafka"), Brokers: 1, Networks: networks,
		Login: &harness.Login{Certs: world.certs, Issuer: world.issuer, User: "bridge", Password: "bridge-secret"},
	})
	if err == nil {
		world.networks = make(chan harness.Network, networks)
		for _, n := range world.kafka.Networks {
			world.networks <- n
		}
	}
	return err
}

// network returns a way to the shared Kafka that is this test's own, to break. Call it before what uses it is started.
func network(t *testing.T) harness.Network {
	t.Helper()
	select {
	case n := <-world.networks:
		t.Cleanup(func() {
			must(t, n.Heal())
			world.networks <- n
		})
		return n
	case <-deadline(t).Done():
		t.Fatal("other tests have all networks")
		return nil
	}
}

// deadline returns a context that ends the test's waiting.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startKafka starts a Kafka for this test alone, one that may be broken, with a network that may.
func startKafka(t *testing.T, brokers int) *harness.Kafka {
	t.Helper()
	k, err := harness.StartKafka(deadline(t), harness.KafkaConfig{Jars: world.parts.Kafka, Dir: t.TempDir(), Brokers: brokers, Networks: 1})
	must(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(k.Log())
		}
		k.Close()
	})
	return k
}

// start starts Linkspan with a configuration for n free ports, and variables. Its log is shown if the test fails.
func start(t *testing.T, n int, config func(ports []int) string, env ...string) *harness.Linkspan {
	t.Helper()
	l, err := harness.StartLinkspan(deadline(t), world.binary, t.TempDir(), n, config, env...)
	if l != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("--- Linkspan\n%s", l.Log())
			}
			l.Kill()
		})
	}
	must(t, err)
	return l
}

// launchLinkspan starts Linkspan and does not wait for it.
func launchLinkspan(t *testing.T, config string) *harness.Linkspan {
	t.Helper()
	l, err := harness.NewLinkspan(world.binary, t.TempDir(), 0, func([]int) string { return config })
	must(t, err)
	must(t, l.Launch())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("--- Linkspan\n%s", l.Log())
		}
		l.Kill()
	})
	return l
}

// ready returns nil if /readyz answers with that status.
func ready(t *testing.T, l *harness.Linkspan, want int) error {
	status, body, err := l.Get(t.Context(), "/readyz")
	if err == nil && status != want {
		err = fmt.Errorf("/readyz says %d, not %d: %s", status, want, body)
	}
	return err
}

// metric returns the value of a metric without labels.
func metric(t *testing.T, l *harness.Linkspan, name string) string {
	t.Helper()
	_, body, err := l.Get(t.Context(), "/metrics")
	must(t, err)
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("there is no metric %s", name)
	return ""
}

// gateway starts Linkspan with one MQTT listener on Kafka. routes is YAML.
func gateway(t *testing.T, kafka *harness.Kafka, routes string) *harness.Linkspan {
	t.Helper()
	return start(t, 1, func(p []int) string { return gatewayConfig(kafka.Addrs(), p[0], routes) })
}

func gatewayConfig(brokers []string, port int, routes string) string {
	return fmt.Sprintf("kafka:\n  brokers: [%s]\nendpoints:\n  devices: {listen: \"mqtt://%s\"}\n%s",
		strings.Join(brokers, ", "), harness.Loopback(port), routes)
}

// topic returns a Kafka topic of this test's own whose name begins with name.
func topic(t *testing.T, kafka *harness.Kafka, name string, partitions int32) string {
	t.Helper()
	name = fmt.Sprintf("%s-%d", name, topics.Add(1))
	must(t, harness.CreateTopic(deadline(t), kafka.Addrs(), name, partitions, nil))
	return name
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// together runs all functions at once, waits for all, and fails the test for each error.
func together(t *testing.T, all ...func() error) {
	t.Helper()
	var running sync.WaitGroup
	errs := make(chan error, len(all))
	for _, f := range all {
		running.Go(func() { errs <- f() })
	}
	running.Wait()
	close(errs)
	failed := 0
	for err := range errs {
		if err == nil {
			continue
		}
		if failed++; failed <= 5 {
			t.Error(err)
		}
	}
	if failed > 0 {
		t.Fatalf("%d of %d failed", failed, len(all))
	}
}
