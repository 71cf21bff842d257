package e2e

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkspan/linkspan/e2e/harness"
)

// A crossing is what processes of one fleet have in common that carry between MQTT brokers and Kafka: their configuration.
type crossing struct {
	name      string   // of the fleet, and what the names of its topics begin with
	kafka     []string // brokers
	endpoints []string // YAML of each
	routes    string   // YAML
	more      string   // YAML of further sections
	lanes     int      // 0: few, which are made sooner than the default's
	alone     bool     // there is one process only
	calm      bool     // no process dies, and none takes another that is slow for dead: for half a minute
}

// newCrossing returns one between Kafka and endpoints, each the YAML of one. routes has %s for each Kafka topic.
func newCrossing(t *testing.T, kafka *harness.Kafka, routes string, endpoints ...string) *crossing {
	t.Helper()
	name := fmt.Sprintf("fleet-%d", topics.Add(1))
	return &crossing{name: name, kafka: kafka.Addrs(), endpoints: endpoints, routes: routes, lanes: 4}
}

// dialTo is the YAML of a client endpoint; more is further YAML, such as "version: 5".
func dialTo(name, url string, more ...string) string {
	return fmt.Sprintf("%s: {%s}", name, strings.Join(append([]string{fmt.Sprintf("dial: %q", url)}, more...), ", "))
}

func (c *crossing) config() string {
	options := ""
	if c.lanes > 0 {
		options = fmt.Sprintf(", lanes: %d", c.lanes)
	}
	if c.alone {
		options += ", alone: true"
	}
	if c.calm {
		options += ", session_timeout: 30s"
	}
	return fmt.Sprintf("kafka: {brokers: [%s]}\nfleet: {name: %s, topic_prefix: \"_%s.\"%s}\ndead_letter: {topic: %s}\nendpoints:\n  %s\n%s\n%s",
		strings.Join(c.kafka, ", "), c.name, c.name, options, c.deadLetters(), strings.Join(c.endpoints, "\n  "), strings.TrimSpace(c.routes), c.more)
}

// deadLetters is the topic of the fleet's dead letters.
func (c *crossing) deadLetters() string { return c.name + ".dead" }

// member starts a process and waits until it is ready.
func (c *crossing) member(t *testing.T) *harness.Linkspan {
	t.Helper()
	return start(t, 0, func([]int) string { return c.config() })
}

// members starts n processes at once.
func (c *crossing) members(t *testing.T, n int) []*harness.Linkspan {
	t.Helper()
	all := make([]*harness.Linkspan, n)
	for i := range all {
		all[i] = launchLinkspan(t, c.config())
	}
	for _, l := range all {
		must(t, harness.Until(deadline(t), func() error { return ready(t, l, 200) }))
	}
	return all
}

// gauge returns the value of a metric of an endpoint; 0 where there is none.
func gauge(t *testing.T, l *harness.Linkspan, name, endpoint string) float64 {
	t.Helper()
	_, body, err := l.Get(t.Context(), "/metrics")
	if err != nil {
		return 0 // it was killed
	}
	sum := 0.0
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, name+"{") && strings.Contains(line, fmt.Sprintf("endpoint=%q", endpoint)) {
			v, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			must(t, err)
			sum += v
		}
	}
	return sum
}

// owner waits until exactly one of the processes is connected to the endpoint's broker, and returns which.
func owner(t *testing.T, members []*harness.Linkspan, endpoint string) int {
	t.Helper()
	var owner int
	must(t, harness.Until(deadline(t), func() error {
		owners := 0
		for i, l := range members {
			if gauge(t, l, "linkspan_client_connections", endpoint)+gauge(t, l, "linkspan_amqp_client_connections", endpoint) > 0 {
				owner = i
				owners++
			}
		}
		if owners != 1 {
			return fmt.Errorf("%d processes are connected to the broker of %s", owners, endpoint)
		}
		return nil
	}))
	return owner
}

// connected waits until the process is connected to the brokers of the endpoints, and has subscribed.
func connected(t *testing.T, l *harness.Linkspan, endpoints ...string) {
	t.Helper()
	for _, e := range endpoints {
		owner(t, []*harness.Linkspan{l}, e)
	}
}

// land notes in the ledger what comes into Kafka topics, from their start until the test ends. The key of each record is its device, or the
// MQTT topic load/DEVICE.
func land(t *testing.T, kafka *harness.Kafka, ledger *harness.Ledger, topics ...string) {
	t.Helper()
	client, err := harness.Client(kafka.Addrs(), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	var broken error
	reading.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				device, n, err := harness.ParsePayload(r.Value)
				if err == nil && strings.TrimPrefix(string(r.Key), "load/") != device {
					err = fmt.Errorf("the record of %s has key %q", device, r.Key)
				}
				if err != nil {
					broken = err
					return
				}
				ledger.Arrived(device, n, r.Partition)
			})
		}
	})
	t.Cleanup(func() {
		stop()
		reading.Wait()
		client.Close()
		if broken != nil {
			t.Error(broken)
		}
	})
}

// settled waits until all that was acknowledged has arrived, and returns the balance. Loss, disorder, and what nobody sent fail
// the test; duplicates do unless they are allowed.
func settled(t *testing.T, ledger *harness.Ledger, duplicates bool) harness.Report {
	t.Helper()
	complete(t, ledger)
	return judge(t, ledger, duplicates)
}

// complete waits until all that was acknowledged has arrived.
func complete(t *testing.T, ledger *harness.Ledger) {
	t.Helper()
	if err := harness.Until(deadline(t), func() error {
		if missing := ledger.Missing(); missing > 0 {
			return fmt.Errorf("%d have not arrived", missing)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// arrived waits until n messages have arrived.
func arrived(t *testing.T, ledger *harness.Ledger, n int) {
	t.Helper()
	must(t, harness.Until(deadline(t), func() error {
		if _, _, got := ledger.Counts(); got < n {
			return fmt.Errorf("%d of %d have arrived", got, n)
		}
		return nil
	}))
}

// subscriber starts a device with a lasting session that notes what it gets for topic devices/NAME/commands.
func subscriber(t *testing.T, addr func() string, name string, qos byte, ledger *harness.Ledger) {
	t.Helper()
	s := &harness.Subscriber{Addr: addr, Client: name + "-ear", Filter: "devices/" + name + "/commands", QoS: qos, Ledger: ledger}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var err error
	running.Go(func() { err = s.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		if err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.Subscribed():
	case <-deadline(t).Done():
		t.Fatalf("%s could not subscribe", name)
	}
}

// publishers starts devices that each publish count numbered messages on load/NAME, and returns a function that waits until all
// are acknowledged.
func publishers(t *testing.T, ledger *harness.Ledger, qos byte, count, window int, pace time.Duration, addr func() string, names ...string) (wait func()) {
	t.Helper()
	var all []*harness.Publisher
	for _, name := range names {
		all = append(all, &harness.Publisher{Addr: addr, Client: name, Topic: "load/" + name, QoS: qos, Count: uint64(count),
			Window: window, Pace: pace,
			Released: true, Ledger: ledger})
	}
	return publishing(t, all...)
}

// publishing starts publishers, and returns a function that waits until they are done.
func publishing(t *testing.T, all ...*harness.Publisher) (wait func()) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	errs := make([]error, len(all))
	for i, p := range all {
		running.Go(func() { errs[i] = p.Run(ctx) })
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return func() {
		t.Helper()
		give := context.AfterFunc(deadline(t), stop)
		running.Wait()
		give()
		must(t, errors.Join(errs...))
	}
}

// names returns prefix-0, prefix-1, ...
func names(prefix string, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("%s-%d", prefix, i))
	}
	return all
}
