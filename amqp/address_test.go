package amqp

import (
	"testing"

	"github.com/linkspan/linkspan/amqp/frame"
)

// AKB-A1, AKB-A7, and the form of event hubs.
func TestSourcePlace(t *testing.T) {
	live := func(address string) bool { return address == "sensors/+/t" || address == "lamp" }
	for address, want := range map[string]place{
		"t/group.id/g":                       {topic: "t", group: "g", partition: -1},
		"/t/group.id/g":                      {topic: "t", group: "g", partition: -1},
		"a/b/group.id/g":                     {topic: "a.b", group: "g", partition: -1},
		"queue://a/b/group.id/g":             {topic: "a.b", group: "g", partition: -1},
		"topic://a.b/group.id/g/group.id/h":  {topic: "a.b", group: "g/group.id/h", partition: -1},
		"t/group.id/g/Partitions/1":          {topic: "t", group: "g/Partitions/1", partition: -1},
		"hub/ConsumerGroups/$Default":        {topic: "hub", group: "$Default", partition: -1},
		"hub/ConsumerGroups/g/Partitions/12": {topic: "hub", group: "g", partition: 12},
		"/a/b/consumergroups/g/partitions/0": {topic: "a.b", group: "g", partition: 0},
		"lamp":                               {live: "lamp", partition: -1},
		"topic://sensors/+/t":                {live: "sensors/+/t", partition: -1},
		"/lamp":                              {live: "lamp", partition: -1},
	} {
		if got, err := sourcePlace(address, live); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", address, got, err, want)
		}
	}
}

// AKB-A7: each wrong address has its condition.
func TestSourcePlaceRefusals(t *testing.T) {
	for address, want := range map[string]frame.Symbol{
		"":                                   errNoGroupID,
		"t":                                  errNoGroupID,
		"t/group.id":                         errNoGroupID,
		"t/group.id/":                        errNoGroupID,
		"/group.id/g":                        errNoGroupID,
		"group.id/g":                         errNoGroupID,
		"//group.id/g":                       errNoGroupID,
		"hub/ConsumerGroups/":                errNoGroupID,
		"/ConsumerGroups/g/Partitions/1":     errNoGroupID,
		"hub/ConsumerGroups/g/Partitions/":   errNoPartition,
		"hub/ConsumerGroups/g/Partitions/-1": errNoPartition,
		"hub/ConsumerGroups/g/Partitions/4294967296": errNoPartition,
		"hub/ConsumerGroups//Partitions/1":           errNoGroupID,
		"t t/group.id/g":                             frame.NotFound,
		"../group.id/g":                              frame.NotFound,
	} {
		got, err := sourcePlace(address, nil)
		if err == nil || err.Condition != want || err.Description == "" {
			t.Errorf("%q: %+v, %v, want %s", address, got, err, want)
		}
	}
}

func TestTargetTopic(t *testing.T) {
	for address, want := range map[string]string{
		"t": "t", "a/b": "a/b", "/a/b": "a/b", "queue://q": "q", "topic://a.b": "a.b", "a/": "a/",
		"": "", "/": "", "queue://": "", "a/+": "", "a/#": "", "a\x00": "",
	} {
		got, err := targetTopic(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", address, got, err, want)
		}
	}
}

func FuzzSourcePlace(f *testing.F) {
	for _, s := range []string{"t/group.id/g", "hub/ConsumerGroups/g/Partitions/1", "\xff/consumerGROUPS/\xff/Partitions/0", "queue:///"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, address string) {
		p, err := sourcePlace(address, nil)
		if err == nil && (p.group == "" || !legalTopic(p.topic) || p.partition < -1) {
			t.Errorf("%q: %+v", address, p)
		}
	})
}
