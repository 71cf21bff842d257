package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A stage is one Linkspan with a spool, between devices that publish all the time and a Kafka, while something fails. Its methods
// return errors, so that several stages can be led at once.
type stage struct {
	*harness.Linkspan
	name    string // of the fault
	brokers []string
	fleet   *fleet

	topic    string
	settings map[string]*string // of it

	kafka   *harness.Kafka
	kills   int       // of Linkspan
	deepest int       // backlog seen
	began   time.Time // the fault
	lasted  time.Duration

	watching sync.Mutex // guards deepest
}

// A plan says how a stage is set up.
type plan struct {
	kafka *harness.Kafka
	via   harness.Network                                         // to it; nil: directly
	spool []string                                                // YAML of its keys, such as "max_after: 1s"
	dir   string                                                  // of the spool; "": one of its own
	route []string                                                // YAML of keys of the route, such as "ack: spool"
	size  int                                                     // of payloads; 0: 100 bytes
	fleet func(t *testing.T, size int, addr func() string) *fleet // the devices; nil: launchAll
	min   int                                                     // min.insync.replicas of the topic; 0: the cluster's
}

// newStage starts Linkspan and the devices, and waits until messages flow.
func newStage(t *testing.T, p plan) *stage {
	t.Helper()
	s := &stage{kafka: p.kafka, brokers: p.kafka.Addrs()}
	s.name = t.Name()[strings.LastIndexByte(t.Name(), '/')+1:]
	if p.via != nil {
		s.brokers = p.via.Addrs()
	}
	s.topic = fmt.Sprintf("stage-%d", topics.Add(1))
	if p.min > 0 {
		text := strconv.Itoa(p.min)
		s.settings = map[string]*string{"min.insync.replicas": &text}
	}
	must(t, s.create(deadline(t)))
	if p.dir == "" {
		p.dir = filepath.Join(t.TempDir(), "spool")
	}
	spool := append([]string{fmt.Sprintf("dir: %q", p.dir), "segment_bytes: 1048576"}, p.spool...)
	s.Linkspan = start(t, 1, func(ports []int) string {
		return gatewayConfig(s.brokers, ports[0], loadRoutes(s.topic, p.route...)) + fmt.Sprintf("spool: {%s}\n", strings.Join(spool, ", "))
	})
	if p.fleet == nil {
		p.fleet = launchAll
	}
	s.fleet = p.fleet(t, p.size, func() string { return s.Addr(0) })
	must(t, s.fleet.until(deadline(t), 100))
	s.watch(t)
	return s
}

// create creates its topic.
func (s *stage) create(ctx context.Context) error {
	return harness.CreateTopic(ctx, s.kafka.Addrs(), s.topic, 3, s.settings)
}

// watch notes how deep the backlog gets, until the test ends.
func (s *stage) watch(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			depth, err := s.sum(ctx, spoolDepth)
			s.watching.Lock()
			if err == nil {
				s.deepest = max(s.deepest, int(depth))
			}
			s.watching.Unlock()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		stop()
		watching.Wait()
	})
}

// Metrics of the spool.
const (
	spoolDepth   = "linkspan_spool_messages"
	spoolAge     = "linkspan_spool_oldest_age_seconds"
	spoolDropped = "linkspan_spool_dropped_messages_total"
)

// sum returns the sum of a metric over all its labels; an error if there is none.
func (s *stage) sum(ctx context.Context, name string) (float64, error) {
	return sum(ctx, s.Linkspan, name)
}

func sum(ctx context.Context, l *harness.Linkspan, name string) (float64, error) {
	_, body, err := l.Get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	total, found := 0.0, false
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
		if err != nil {
			return 0, err
		}
		total, found = total+v, true
	}
	if !found {
		err = fmt.Errorf("there is no metric %s", name)
	}
	return total, err
}

// reads waits until a metric, summed over its labels, is as want has it, and returns it.
func reads(t *testing.T, l *harness.Linkspan, name string, want func(float64) bool) (v float64) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() (err error) {
		if v, err = sum(t.Context(), l, name); err == nil && !want(v) {
			err = fmt.Errorf("%s is %v", name, v)
		}
		return err
	}))
	return v
}

func atLeast(n float64) func(float64) bool { return func(v float64) bool { return v >= n } }

func exactly(n float64) func(float64) bool { return func(v float64) bool { return v == n } }

// says waits until /readyz answers with that status and, at the beginning, that word.
func (s *stage) says(ctx context.Context, status int, word string) error {
	if err := says(ctx, s.Linkspan, status, word); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

func says(ctx context.Context, l *harness.Linkspan, status int, word string) error {
	return harness.Until(ctx, func() error {
		got, body, err := l.Get(ctx, "/readyz")
		if err == nil && (got != status || !strings.HasPrefix(body, word)) {
			err = fmt.Errorf("/readyz says %d %s, want %d %s", got, body, status, word)
		}
		return err
	})
}

// begins notes that the fault begins.
func (s *stage) begins() { s.began = time.Now() }

// buffers waits until Linkspan says that it buffers, and devices go on all the same.
func (s *stage) buffers(ctx context.Context) error {
	if err := s.says(ctx, http.StatusOK, "degraded"); err != nil {
		return err
	}
	return s.fleet.more(ctx, 300)
}

// holds waits until Linkspan says that it is not ready, and then for a while without an acknowledgement, while keep-alives are answered:
// what was on its way to a disk that is slow is safe a little later, and then nobody is told that a message is safe.
func (s *stage) holds(ctx context.Context) error {
	if err := s.says(ctx, http.StatusServiceUnavailable, ""); err != nil {
		return err
	}
	return harness.Until(ctx, func() error {
		_, before, _ := s.fleet.ledger.Counts()
		if err := s.fleet.pinged(ctx, 2); err != nil {
			return harness.Final(err)
		}
		if _, after, _ := s.fleet.ledger.Counts(); after > before {
			return fmt.Errorf("%d messages were acknowledged while Linkspan said that it is not ready", after-before)
		}
		return nil
	})
}

// lasts waits until the fault has lasted as long as faults are to last in this run.
func (s *stage) lasts(ctx context.Context) error {
	select {
	case <-time.After(outageLength - time.Since(s.began)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// recovers waits until all is well again: nothing is in the spool, and messages go to Kafka directly.
func (s *stage) recovers(ctx context.Context) error {
	s.lasted += time.Since(s.began)
	return errors.Join(s.says(ctx, http.StatusOK, "ok"), s.empties(ctx))
}

// empties waits until nothing is in the spool.
func (s *stage) empties(ctx context.Context) error { return s.zero(ctx, spoolDepth) }

// zero waits until a metric is 0.
func (s *stage) zero(ctx context.Context, name string) error {
	return harness.Until(ctx, func() error {
		v, err := s.sum(ctx, name)
		if err == nil && v > 0 {
			err = fmt.Errorf("%s: %s is %v", s.name, name, v)
		}
		return err
	})
}

// ends lets the devices end, waits until all is in Kafka, and draws the balance.
func (s *stage) ends(ctx context.Context) (harness.Report, error) {
	if err := errors.Join(s.fleet.end(ctx), s.zero(ctx, "linkspan_mqtt_in_flight_messages"), s.empties(ctx), s.read(ctx)); err != nil {
		return harness.Report{}, fmt.Errorf("%s: %w", s.name, err)
	}
	return s.fleet.ledger.Report(), nil
}

// read notes in the ledgers what is in Kafka.
func (s *stage) read(ctx context.Context) error {
	var broken error
	err := harness.Read(ctx, s.kafka.Addrs(), func(r *kgo.Record) {
		device, n, err := harness.ParsePayload(r.Value)
		if err == nil && string(r.Key) != device {
			err = fmt.Errorf("the record of %s has key %q", device, r.Key)
		}
		if err != nil {
			broken = err
			return
		}
		s.fleet.arrived(device, n, r.Partition)
	}, s.topic)
	return errors.Join(err, broken)
}

// finish ends a stage, notes its row in the table of results, and fails the test for anything that must not be: duplicates, too, unless
// Linkspan was killed.
func (s *stage) finish(t *testing.T) {
	t.Helper()
	report, err := s.ends(deadline(t))
	must(t, err)
	s.judge(t, report, 0)
	if s.kills == 0 {
		s.fleet.stayed(t)
	}
}

// judge notes the row of a stage of whose messages so many were dropped, as its route says, and counted.
func (s *stage) judge(t *testing.T, r harness.Report, dropped int) {
	t.Helper()
	table.add(s, r, dropped)
	t.Logf("%v; QoS 0: %v", r, s.fleet.loose.Report())
	if s.kills == 0 && r.Duplicates > 0 {
		t.Errorf("%d duplicates, and Linkspan was not killed", r.Duplicates)
	}
	if dropped == 0 {
		must(t, r.Err())
	}
	if l := s.fleet.loose.Report(); s.kills+dropped == 0 && l.Sent != l.Arrived+l.Gone { // its connections have lived
		t.Errorf("of %d messages with QoS 0 %d have arrived", l.Sent, l.Arrived+l.Gone)
	}
	if r.Acked < 100 {
		t.Errorf("only %d messages were acknowledged", r.Acked)
	}
}
