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
		b.Run(name, func(b *testing.B) {
			table := mustNew(b, DefaultRoutes(), devices())
			m := published("plant/hall-1/line900/t7/temp")
			if _, err := table.Up(m); err != nil {
				b.Fatal(err)
			}
			table = mustNew(b, routes, devices())
			record := m.Clone().Record
			b.ReportAllocs()
			for b.Loop() {
				m.Record, m.Scratch = record, m.Scratch[:0]
				if ok, err := table.Down(m); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}
