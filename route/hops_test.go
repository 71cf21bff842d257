package route

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"github.com/linkspan/linkspan"
)

// TestNotBackToItsBroker: a record does not go down to the broker that it came up from, if it would come up again from
// there. On another topic it does, and to other brokers (KAL-A3).
func TestNotBackToItsBroker(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "mqtt:mqtt/{src}/mqtt/{dest}/pub", To: "kafka:mqtt.mqtt", Key: new("{dest}"), Device: "{src}", Headers: map[string]string{"src": "{src}"}},
		{From: "plant-a:state/#", To: "kafka:state"},
		{From: "kafka:mqtt.mqtt", To: "mqtt:mqtt/{header.src}/mqtt/{key}/sub", Device: "{key}"},
		{From: "kafka:state", To: "mqtt:{key}"},
	}, plants())
	for _, c := range []struct {
		origin, topic, to, down string // down "": looped
	}{
		{"plant-a", "mqtt/t1/mqtt/t2/pub", "plant-a", "mqtt/t1/mqtt/t2/sub"},
		{"plant-a", "mqtt/t1/mqtt/t2/pub", "plant-b", "mqtt/t1/mqtt/t2/sub"},
		{"devices", "mqtt/t1/mqtt/t2/pub", "plant-b", "mqtt/t1/mqtt/t2/sub"},
		{"plant-a", "state/t1", "plant-a", ""},
		{"plant-a", "state/t1", "plant-b", "state/t1"},
	} {
		m := from(c.origin, c.topic)
		if _, err := table.Up(m); err != nil {
			t.Fatal(err)
		}
		before := table.Stats()
		got := ""
		sink := table.DownlinkLocated(c.to, linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
			got = m.Topic
			done(nil)
		}))
		calls := 0
		sink.Send(t.Context(), fetched(m), func(err error) {
			if calls++; err != nil {
				t.Errorf("%+v: %v", c, err)
			}
		})
		after := table.Stats()
		looped := after.Routes[3].Looped - before.Routes[3].Looped
		if calls != 1 || got != c.down || (looped == 1) != (c.down == "") {
			t.Errorf("%+v: done %d times, got %q, counted %d", c, calls, got, looped)
		}
	}
	e := table.ExplainDown(fetched(func() *linkspan.Message { m := from("plant-a", "state/t1"); _, _ = table.Up(m); return m }()))
	want := []Way{{Endpoint: "devices"}, {Endpoint: "web"}, {"plant-a", true, false, true}, {"plant-b", true, false, false}}
	if !slices.Equal(e.Ways, want) || e.Located != nil {
		t.Errorf("explained as %+v", e)
	}
}

// TestHopsTravelThroughBrokers: the count goes down as a user property and is taken off on the way up, from brokers
// alone: what a device of ours says of it is a property like any other, and goes no further down.
func TestHopsTravelThroughBrokers(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), plants())
	property := func(values ...string) (props []linkspan.Property) {
		props = append(props, linkspan.Property{Key: "a", Value: "b"})
		for _, v := range values {
			props = append(props, linkspan.Property{Key: "linkspan-hops", Value: v})
		}
		return props
	}
	for _, c := range []struct {
		endpoint string
		given    []string
		hops     string // of the header
		err      error
	}{
		{"plant-a", nil, "", nil},
		{"plant-a", []string{"3"}, "3", nil},
		{"plant-a", []string{"1", "3", "2"}, "3", nil},
		{"plant-a", []string{"many"}, "", nil},
		{"plant-a", []string{"-1"}, "", nil},
		{"plant-a", []string{"256"}, "", nil},
		{"plant-a", []string{"255"}, "", linkspan.ErrLoop},
		{"plant-a", []string{"8"}, "", linkspan.ErrLoop},
		{"devices", []string{"3"}, "", nil},
		{"devices", []string{"8"}, "", nil},
	} {
		m := from(c.endpoint, "x")
		m.UserProperties = property(c.given...)
		if _, err := table.Up(m); err != c.err || err == nil && string(m.Record.Header("linkspan.hops")) != c.hops {
			t.Errorf("%+v: %v, hops %q", c, err, m.Record.Header("linkspan.hops"))
		}
		if want := property(); c.endpoint == "plant-a" && !slices.Equal(m.UserProperties, want) {
			t.Errorf("%+v: properties %q, want %q", c, m.UserProperties, want)
		}
		if c.err != nil {
			continue
		}
		got := fetched(m)
		if ok, err := table.down(got, direct, "plant-b"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		next := map[string]string{"": "1", "3": "4"}[c.hops]
		if want := property(next); !reflect.DeepEqual(got.UserProperties, want) {
			t.Errorf("%+v: down with %q, want %q", c, got.UserProperties, want)
		}
	}
	m := &linkspan.Message{Record: linkspan.Record{Topic: "mqtt.commands", Key: []byte("x")}}
	if ok, err := table.down(m, direct, "plant-b"); !ok || err != nil || len(m.UserProperties) != 0 {
		t.Errorf("what never came up has no count: %v %v %q", ok, err, m.UserProperties)
	}
}

// TestLoopsEnd: brokers that hand back whatever they are sent, to routes that carry everything everywhere, end with as many
// records as max_hops allows.
func TestLoopsEnd(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), plants())
	records := 0
	var publish func(m *linkspan.Message)
	publish = func(m *linkspan.Message) {
		if _, err := table.Up(m); err != nil {
			return
		}
		records++
		for _, to := range []string{"plant-a", "plant-b"} {
			echo := fetched(m)
			if ok, err := table.down(echo, direct, to); !ok || err != nil {
				continue
			}
			back := from(to, echo.Topic)
			back.UserProperties = echo.UserProperties
			publish(back)
		}
	}
	publish(from("plant-a", "x"))
	if s := table.Stats(); records != defaultMaxHops || s.Routes[0].Loop != 1 || s.Routes[1].Looped != defaultMaxHops {
		t.Errorf("%d records, want %d; counted %+v", records, defaultMaxHops, s.Routes)
	}
}
