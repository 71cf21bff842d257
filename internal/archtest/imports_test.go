package archtest

import (
	"slices"
	"strings"
	"testing"
)

// picture is who may import whom in this module, tests aside. "." is the root package, which everyone but the wire
// formats may import. A package that is missing here is not part of the picture yet: give it its place.
var picture = map[string][]string{
	".":                       {},
	"mqtt/packet":             {},
	"amqp":                    {".", "session", "group", "amqp/frame", "amqp/engine", "amqp/engine/sasl", "amqp/codec", "internal/wire", "internal/pressure", "internal/address"},
	"amqp/frame":              {},
	"kafka":                   {".", "internal/tally"},
	"route":                   {".", "internal/nearest"},
	"session":                 {"."},
	"amqp/engine":             {"amqp/frame", "amqp/engine/sasl"},
	"amqp/engine/sasl":        {},
	"amqp/codec":              {".", "amqp/frame"},
	"fleet":                   {"."},
	"group":                   {"."},
	"mqtt":                    {".", "session", "mqtt/packet", "mqtt/internal/envelope", "internal/address", "internal/pressure", "internal/websocket", "internal/wire"},
	"mqtt/client":             {".", "mqtt/packet", "internal/address", "internal/dial", "mqtt/internal/envelope"},
	"amqp/client":             {".", "amqp/codec", "amqp/engine", "amqp/engine/sasl", "amqp/frame", "internal/address", "internal/dial"},
	"mqtt/internal/envelope":  {".", "mqtt/packet"},
	"admin":                   {"."},
	"spool/journal":           {},
	"spool":                   {".", "spool/journal"},
	"bridge":                  {".", "kafka", "route", "session", "spool", "spool/journal", "fleet", "group", "mqtt", "mqtt/client", "mqtt/packet", "amqp", "amqp/client", "admin", "internal/dial", "internal/nearest", "bridge/internal/strict", "bridge/internal/migrate", "bridge/internal/sample"},
	"bridge/internal/strict":  {"internal/nearest"},
	"bridge/internal/migrate": {"bridge/internal/strict", "internal/nearest"},
	"bridge/internal/sample":  {".", "mqtt/client", "mqtt/packet"},
	"cmd/linkspan":            {"bridge"},
	"internal/archtest":       {},
	"internal/nearest":        {},
	"internal/address":        {},
	"internal/websocket":      {},
	"internal/dial":           {".", "internal/address", "internal/websocket"},
	"internal/pressure":       {},
	"internal/tally":          {},
	"internal/wire":           {".", "internal/address", "internal/pressure", "internal/tally", "internal/websocket"},
	"internal/configdoc":      {"bridge"},
	"internal/outage":         {},
	"bench":                   {"*"},
}

// foreign is who may import what of other people's.
var foreign = map[string][]string{
	"github.com/twmb/franz-go":            {"kafka"},
	"github.com/prometheus/client_golang": {"admin", "bridge"},
	"github.com/alecthomas/kong":          {"cmd/linkspan"},
	"github.com/xdg-go/scram":             {"amqp/engine/sasl"},
	"go.yaml.in/yaml":                     {"bridge/internal/strict"},
}

// under returns the entry of the picture that dir belongs to: itself, or the nearest folder above.
func under(dir string) (string, bool) {
	for d := dir; ; d = d[:strings.LastIndex(d, "/")] {
		if _, ok := picture[d]; ok {
			return d, true
		}
		if !strings.Contains(d, "/") {
			return "", false
		}
	}
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() || s.helper() {
			continue
		}
		place, ok := under(s.dir)
		if !ok {
			t.Errorf("%s: package %s is not in the picture", s.path, s.dir)
			continue
		}
		for _, i := range s.file.Imports {
			imported := strings.Trim(i.Path.Value, `"`)
			if problem := forbidden(s.dir, place, imported); problem != "" {
				t.Errorf("%s:%d: %s", s.path, s.line(i.Pos()), problem)
			}
		}
	}
}

// forbidden says what is wrong with an import, "" for nothing.
func forbidden(dir, place, imported string) string {
	if ours, ok := strings.CutPrefix(imported+"/", module+"/"); ok {
		ours = strings.TrimSuffix(ours, "/")
		if ours == "" {
			ours = "."
		}
		if helper(ours) {
			return "imports the test helper " + imported
		}
		allowed := picture[place]
		if ours == place || strings.HasPrefix(ours, dir+"/") || slices.Contains(allowed, ours) || slices.Contains(allowed, "*") {
			return ""
		}
		return dir + " may not import " + ours
	}
	for prefix, who := range foreign {
		if strings.HasPrefix(imported, prefix) && !slices.Contains(who, place) && !slices.Contains(picture[place], "*") {
			return "only " + strings.Join(who, " and ") + " may import " + prefix
		}
	}
	if place == "." && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") {
		return "the root package imports the standard library alone"
	}
	return ""
}
