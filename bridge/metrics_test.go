package bridge

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// There are metrics (KAL-W12, CON-W11, UNS-W9). The names follow Prometheus' rules: units, _total for counters, help texts.
func TestMetricsLint(t *testing.T) {
	t.Parallel()
	plant := newSite(t, packet.V5)
	r := start(t, parse(t, `
endpoints: {plant: {dial: "`+plant.url()+`"}, devices: {listen: "mqtt://:0"}, apps: {listen: "amqp://127.0.0.1:0"}, hub: {dial: "amqp://127.0.0.1:1"}}
spool: {dir: `+t.TempDir()+`}
routes: [{from: kafka:commands, to: "mqtt:{key}", device: "{key}"}]
default_route: {to: kafka:rest}`))
	for _, name := range []string{"plant", "hub"} {
		eventually(t, name+" is run", func() bool { return r.metric(`linkspan_client_owned{endpoint="`+name+`"}`) == "1" })
	}
	d := r.device("d")
	d.Send(publish("a", "x", 1, 1))
	d.Ping()
	_, body := r.get("/metrics")
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newCollector(r.bridge))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, f := range newCollector(r.bridge).families {
		if !strings.Contains(body, "\n# HELP "+f.name+" ") && !slices.Contains(f.labels, "reason") { // no reason yet
			t.Errorf("%s is not on the page", f.name)
		}
	}
}

// docs/operations.md lists every metric with its help text, and no other (UNS-W8).
func TestOperationsListMetrics(t *testing.T) {
	var table strings.Builder
	table.WriteString("| metric | labels | meaning |\n|---|---|---|\n")
	for _, f := range newCollector(nil).families {
		kind := ""
		if f.kind == prometheus.GaugeValue {
			kind = " (gauge)"
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s%s |\n", f.name, strings.Join(f.labels, ", "), f.help, kind)
	}
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)<!-- metrics -->\n(.*?)<!-- end of metrics -->`).FindSubmatch(text)
	if m == nil || string(m[1]) != table.String() {
		t.Errorf("docs/operations.md does not have this table:\n%s", &table)
	}
}
