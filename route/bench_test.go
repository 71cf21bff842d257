package route

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
)

func devices() Options {
	return Options{Endpoints: []Endpoint{{Name: "devices", Protocol: "mqtt"}, {Name: "plant-a", Protocol: "mqtt", Client: true}}}
}

func mustNew(t testing.TB, routes []Config, options Options) *Table {
	t.Helper()
	table, err := New(routes, options)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func published(topic string) *linkspan.Message {
	return &linkspan.Message{
		Topic: topic, Payload: make([]byte, 100), QoS: 1, Endpoint: "devices", Client: "t7",
		Received: time.UnixMilli(1_700_000_000_000),
	}
}

// thousand is a table of 1,000 routes, of which the last takes everything.
func thousand() []Config {
	var routes []Config
	for i := range 999 {
		routes = append(routes, Config{
			From: fmt.Sprintf("mqtt:plant/{site}/line%d/{device}/+", i),
			To:   "kafka:plant.{site}",
		})
	}
	return append(routes, Config{From: "mqtt:#", To: "kafka:rest"})
}

func discard(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }

func BenchmarkUplinkHit(b *testing.B) {
	for name, routes := range map[string][]Config{
		"default": DefaultRoutes(),
		"1000":    thousand(),
		"device":  {{From: "mqtt:plant/{site}/+/{device}/+", To: "kafka:plant.{site}", Device: "{device}", Presence: &Presence{Offline: []string{"offline"}}}},
		"client":  {{From: "mqtt:plant/{site}/#", To: "kafka:plant.{site}.{client}", Key: new("{client}"), Partition: "{partition client 12}"}},
	} {
		b.Run(name, func(b *testing.B) {
			table := mustNew(b, routes, devices())
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				sink := table.Uplink(linkspan.SinkFunc(discard))
				m := published("plant/hall-1/line900/t7/temp")
				done := func(error) {}
				for pb.Next() {
					m.Scratch = m.Scratch[:0]
					sink.Send(b.Context(), m, done)
				}
			})
		})
	}
}

func BenchmarkUplinkMiss(b *testing.B) {
	for name, routes := range map[string][]Config{"default": DefaultRoutes(), "1000": thousand()} {
		b.Run(name, func(b *testing.B) {
			table := mustNew(b, routes, devices())
			topics := make([]string, 1<<17) // four times what the cache holds
			for i := range topics {
				topics[i] = fmt.Sprintf("plant/hall-1/line%d/t%d/temp", i%1000, i)
			}
			m := published("")
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m.Topic, m.Scratch = topics[i%len(topics)], m.Scratch[:0]
				if _, err := table.Up(m); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDownlink(b *testing.B) {
	for name, routes := range map[string][]Config{
		"default": DefaultRoutes(),
		"pattern": {{From: "kafka:mqtt.{kind}", To: "mqtt:{kind}/{key}/{header.mqtt.client}"}},
	} {
		b.Run(name, func(b *testing.B) { benchmarkDown(b, mustNew(b, routes, devices()), (*Table).Down) })
	}
}

// BenchmarkDownlinkTo is the way to a client endpoint: to another than the record came from, and to the same.
func BenchmarkDownlinkTo(b *testing.B) {
	routes := []Config{{From: "mqtt:other/#", To: "kafka:k"}, {From: "kafka:mqtt.messages", To: "mqtt:{key}"}}
	options := Options{Endpoints: []Endpoint{{"devices", "mqtt", true}, {"plant-a", "mqtt", true}}}
	for name, endpoint := range map[string]string{"other": "plant-a", "same": "devices"} {
		b.Run(name, func(b *testing.B) {
			benchmarkDown(b, mustNew(b, routes, options), func(t *Table, m *linkspan.Message) (bool, error) { return t.down(m, direct, endpoint) })
		})
	}
}

func BenchmarkLocate(b *testing.B) {
	table := mustNew(b, []Config{{From: "kafka:mqtt.messages", To: "mqtt:{key}", Device: "{key}"}}, devices())
	benchmarkDown(b, table, func(t *Table, m *linkspan.Message) (bool, error) {
		_, ok, err := t.Locate(m)
		return ok, err
	})
}

// benchmarkDown sends down what a device has published on the endpoint devices.
func benchmarkDown(b *testing.B, table *Table, down func(*Table, *linkspan.Message) (bool, error)) {
	m := published("plant/hall-1/line900/t7/temp")
	if _, err := mustNew(b, DefaultRoutes(), devices()).Up(m); err != nil {
		b.Fatal(err)
	}
	record := m.Clone().Record
	b.ReportAllocs()
	for b.Loop() {
		m.Record, m.Scratch = record, m.Scratch[:0]
		if ok, err := down(table, m); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// TestHitsDoNotAllocate: a topic seen before costs no memory, in any direction.
func TestHitsDoNotAllocate(t *testing.T) {
	table := mustNew(t, append([]Config{
		{From: "mqtt:p/{site}/#", To: "kafka:p.{site}.{client}", Key: new("{client}"), Partition: "{partition client 12}", Headers: map[string]string{"site": "{site}"}},
		{From: "mqtt:presence/{device}", To: "kafka:presence", Device: "{header.k}/{device}", Presence: &Presence{Offline: []string{"0", "offline"}}},
		{From: "kafka:located", To: "mqtt:{key}", Device: "{header.k}/{key}"},
	}, DefaultRoutes()...), plants())
	for _, topic := range []string{"p/hall 1/t7", "presence/t7", "sensors/t7"} {
		m := from("plant-a", topic)
		m.Expires = time.Now().Add(time.Hour)
		// One that stays: each route remembers few names, and two may be in each other's way.
		props := []linkspan.Property{{Key: "k", Value: "v"}, {Key: hopsProperty, Value: "1"}}
		zero(t, topic+" up", func() (bool, error) {
			m.Scratch, m.UserProperties = m.Scratch[:0], append(m.UserProperties[:0], props...)
			return table.Up(m)
		})
		got := fetched(m)
		got.Record.Key = []byte(topic)
		for kafka, ways := range map[string]map[string]func() (bool, error){
			"mqtt.messages": {
				"live":   func() (bool, error) { return table.Down(got) },
				"direct": func() (bool, error) { return table.down(got, direct, "plant-b") },
			},
			"located": {
				"inbox":  func() (bool, error) { return table.down(got, inbox, "plant-b") },
				"router": func() (bool, error) { _, ok, err := table.Locate(got); return ok, err },
			},
		} {
			for name, down := range ways {
				zero(t, topic+" "+name, func() (bool, error) {
					got.Scratch, got.Record.Topic = got.Scratch[:0], kafka
					return down()
				})
			}
		}
	}
}

// zero checks that f goes through, and allocates nothing.
func zero(t *testing.T, what string, f func() (bool, error)) {
	t.Helper()
	if n := testing.AllocsPerRun(100, func() {
		if ok, err := f(); !ok || err != nil {
			t.Fatal(what, ok, err)
		}
	}); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}
