package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
)

func TestExplainUp(t *testing.T) {
	told := 0
	options := devices()
	options.NewTopic = func(TopicSpec) { told++ }
	options.Default = &Config{To: "kafka:unrouted"}
	table := mustNew(t, []Config{
		{Name: "down", From: "kafka:sensors.a", To: "mqtt:{key}"},
		{Name: "plant", From: "plant-a:#", To: "kafka:plant"},
		{Name: "deep", From: "mqtt:sensors/+/+/+/x", To: "kafka:deep"},
		{Name: "actors", From: "mqtt:actors/#", To: "kafka:actors"},
		{Name: "site", From: "mqtt:sensors/{site}/#", To: "kafka:sensors.{site}", Key: new("{client}"), MaxTopics: 1},
		{Name: "never", From: "mqtt:#", To: "kafka:never"},
	}, options)
	m := published("sensors/hall-1/t7")
	m.Endpoint = "" // the first
	e := table.ExplainUp(m)
	if e.Err != nil || e.Route != "site" || e.Default || !e.NewTopic || e.Message.Record.Topic != "sensors.hall-1" || string(e.Message.Record.Key) != "t7" {
		t.Errorf("got %+v, record %+v", e, e.Message.Record)
	}
	for i, want := range []string{
		"down: it takes records of Kafka",
		"plant: it takes messages of plant-a, not of devices",
		"deep: the topic has fewer levels than the filter: 3, not 5",
		`actors: level 1 is "sensors", not "actors"`,
		"site: ",
	} {
		if i >= len(e.Steps) || !strings.HasPrefix(e.Steps[i].Route+": "+e.Steps[i].Why, want) {
			t.Errorf("step %d of %+v: want %s", i, e.Steps, want)
		}
	}
	if len(e.Steps) != 5 || e.Steps[4].Why != "" {
		t.Errorf("it ends with the route that takes the message, got %+v", e.Steps)
	}
	if s := table.Stats().Routes[4]; told != 0 || s.Messages != 0 || s.KafkaTopics != 0 || m.Record.Topic != "" {
		t.Errorf("explaining changed something: told %d, %+v, %+v", told, s, m)
	}

	up(t, table, "sensors/hall-2/t7")
	if e := table.ExplainUp(m); e.Err != linkspan.ErrTooManyTopics || !e.NewTopic {
		t.Errorf("got %+v", e)
	}
	if e := table.ExplainUp(published("sensors/hall-2/t8")); e.Err != nil || e.NewTopic {
		t.Errorf("got %+v", e)
	}
	table = mustNew(t, []Config{{From: "mqtt:a", To: "kafka:a"}}, options)
	if e := table.ExplainUp(published("b")); !e.Default || e.Route != "default_route" || len(e.Steps) != 1 || e.Message.Record.Topic != "unrouted" {
		t.Errorf("got %+v", e)
	}
	if e := table.ExplainUp(published("$b")); e.Err != linkspan.ErrNoRoute || e.Route != "" || len(e.Steps) != 1 {
		t.Errorf("got %+v", e)
	}
	if e := table.ExplainUp(published("a/#")); e.Err != linkspan.ErrInvalidTopic {
		t.Errorf("got %+v", e)
	}
}

func TestExplainDown(t *testing.T) {
	table := mustNew(t, []Config{
		{Name: "up", From: "mqtt:#", To: "kafka:k"},
		{Name: "other", From: "kafka:other", To: "mqtt:{key}"},
		{Name: "pattern", From: "kafka:x.{y}", To: "mqtt:{y}"},
		{Name: "commands", From: "kafka:commands", To: "plant-a:do/{key}"},
	}, devices())
	m := &linkspan.Message{Record: linkspan.Record{Topic: "commands", Key: []byte("t7"), Headers: []linkspan.Header{{Key: "b", Value: []byte{0xff}}}}}
	e := table.ExplainDown(m)
	if e.Err != nil || e.Route != "commands" || e.Message.Topic != "do/t7" || e.Message.Target != "plant-a" || e.HeadersLeftOut != 1 || m.Topic != "" {
		t.Errorf("got %+v, message %+v", e, e.Message)
	}
	for i, want := range []string{"messages of devices", `"commands", not "other"`, "does not match ^x\\.([^.]+)$", ""} {
		if i >= len(e.Steps) || !strings.Contains(e.Steps[i].Why, want) || (want == "") != (e.Steps[i].Why == "") {
			t.Errorf("step %d of %+v: want %s", i, e.Steps, want)
		}
	}
	if e := table.ExplainDown(&linkspan.Message{Record: linkspan.Record{Topic: "none"}}); e.Err != linkspan.ErrNoRoute || len(e.Steps) != 4 {
		t.Errorf("got %+v", e)
	}
	if s := table.Stats(); s.NoRouteDown != 0 || s.Routes[3].Messages != 0 || s.Routes[3].HeadersLeftOut != 0 {
		t.Errorf("explaining counted: %+v", s)
	}
}

// TestExplainDevice: which device a message is from or for, and in which way it gets to each endpoint.
func TestExplainDevice(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "mqtt:presence/{device}", To: "kafka:presence.{client}", Device: "{device}", Presence: &Presence{Offline: []string{"gone"}}},
		{From: "kafka:commands", To: "mqtt:presence/{key}", Device: "{key}", Unknown: "flood"},
		{From: "kafka:plant", To: "plant-a:{key}", Device: "{key}"},
	}, plants())
	m := from("plant-a", "presence/t7")
	m.Payload, m.Client = []byte("gone"), "c1"
	if e := table.ExplainUp(m); e.Err != nil || e.Message.Device != "t7" || !e.Message.Left || e.Message.Record.Topic != "presence.c1" || e.Ways != nil {
		t.Errorf("got %+v, message %+v", e, e.Message)
	}
	record := func(topic, key string) *linkspan.Message {
		return &linkspan.Message{Record: linkspan.Record{Topic: topic, Key: []byte(key), Headers: []linkspan.Header{{Key: "linkspan.origin", Value: []byte("plant-b")}}}}
	}
	e := table.ExplainDown(record("commands", "t7"))
	want := []Way{{Endpoint: "devices"}, {Endpoint: "web"}, {"plant-a", true, true, false}, {"plant-b", true, true, true}}
	if e.Err != nil || !slices.Equal(e.Ways, want) || e.Located == nil || e.Located.Device != "t7" || e.Located.Unknown.String() != "flood" {
		t.Errorf("got %+v, located %+v", e, e.Located)
	}
	if e := table.ExplainDown(record("plant", "t7")); e.Err != nil || !slices.Equal(e.Ways, []Way{{"plant-a", true, false, false}}) || e.Located != nil || e.Message.Device != "t7" {
		t.Errorf("got %+v", e)
	}
	if e := table.ExplainDown(record("plant", "#")); e.Err != linkspan.ErrInvalidTopic || e.Ways != nil {
		t.Errorf("got %+v", e)
	}
	if s := table.Stats(); s.Routes[0].Messages != 0 || s.Routes[1].Looped != 0 {
		t.Errorf("explaining counted: %+v", s)
	}
}

func TestCycles(t *testing.T) {
	listener := Endpoint{Name: "devices", Protocol: "mqtt"}
	a, b := Endpoint{Name: "a", Protocol: "mqtt", Client: true}, Endpoint{Name: "b", Protocol: "mqtt", Client: true}
	for name, c := range map[string]struct {
		endpoints []Endpoint
		routes    []Config
		want      string
	}{
		"device to device through Kafka is none": {[]Endpoint{listener}, DefaultRoutes(), ""},
		"a broker gets back what it sent": {[]Endpoint{listener, a}, DefaultRoutes(),
			"messages-up → messages-down → (a) → messages-up"},
		"other topics": {[]Endpoint{a}, []Config{
			{Name: "up", From: "a:up/#", To: "kafka:k"}, {Name: "down", From: "kafka:k", To: "a:down/{client}"}}, ""},
		"other Kafka topics": {[]Endpoint{a}, []Config{
			{Name: "up", From: "a:#", To: "kafka:k"}, {Name: "down", From: "kafka:l", To: "a:{key}"}}, ""},
		"down to a listener, up from a broker": {[]Endpoint{listener, a}, []Config{
			{Name: "up", From: "a:#", To: "kafka:k"}, {Name: "down", From: "kafka:k", To: "devices:{key}"}}, ""},
		"by pattern": {[]Endpoint{a}, []Config{
			{Name: "up", From: "a:s/{site}", To: "kafka:s.{site}"}, {Name: "down", From: "kafka:{x...}", To: "a:s/{x}"}},
			"up → down → (a) → up"},
		"patterns that begin differently": {[]Endpoint{a}, []Config{
			{Name: "up", From: "a:s/{site}", To: "kafka:s.{site}"}, {Name: "down", From: "kafka:/t[.].*/", To: "a:s/{key}"}}, ""},
		"by literal": {[]Endpoint{a}, []Config{
			{Name: "up", From: "a:s/+/x", To: "kafka:s.{client}"}, {Name: "down", From: "kafka:s.t7", To: "a:s/{partition}-{offset}/x"}},
			"up → down → (a) → up"},
		"other levels": {[]Endpoint{a}, []Config{
			{Name: "up", From: "a:s/{site}/x", To: "kafka:s"}, {Name: "down", From: "kafka:{s}", To: "a:s/{s}/y"}}, ""},
		"over two brokers": {[]Endpoint{a, b}, []Config{
			{Name: "a-up", From: "a:#", To: "kafka:from-a"}, {Name: "b-up", From: "b:#", To: "kafka:from-b"},
			{Name: "b-down", From: "kafka:from-a", To: "b:{key}"}, {Name: "a-down", From: "kafka:from-b", To: "a:{key}"}},
			"a-up → b-down → (b) → b-up → a-down → (a) → a-up"},
	} {
		cycles := mustNew(t, c.routes, Options{Endpoints: c.endpoints}).Cycles()
		var got []string
		for _, cycle := range cycles {
			got = append(got, cycle.String())
		}
		if strings.Join(got, "\n") != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, strings.Join(got, "\n"), c.want)
		}
	}
}
