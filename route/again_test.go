package route

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/linkspan/linkspan"
	"pgregory.net/rapid"
)

// putAside is a message as it comes back from where it was put aside, with what was added there.
func putAside(m *linkspan.Message) *linkspan.Message {
	again := fetched(m)
	again.Topic, again.Endpoint = m.Topic, m.Endpoint
	again.Record.Topic, again.Record.Partition = "linkspan.deadletter", m.Record.Partition
	again.Record.Headers = append(again.Record.Headers,
		linkspan.Header{Key: "linkspan.reason", Value: []byte("too large")}, linkspan.Header{Key: "linkspan.topic", Value: []byte(m.Topic)})
	return again
}

// TestUpAgainIsUp: what was put aside comes up as it would have the first time, whatever the device said of it.
func TestUpAgainIsUp(t *testing.T) {
	table := mustNew(t, []Config{{From: "mqtt:#", To: "kafka:{topic}", Names: "escape", Key: new("{client}"), Partition: "{partition client 12}", Headers: map[string]string{"h": "{topic}"}}}, devices())
	rapid.Check(t, func(t *rapid.T) {
		sent := drawMessage(t)
		if _, err := table.Up(sent); err != nil {
			t.Skip(err)
		}
		again := putAside(sent)
		if ok, err := table.UpAgain(again); !ok || err != nil {
			t.Fatal(ok, err)
		}
		a, b := again.Record, sent.Record
		equal := func(x, y linkspan.Header) bool { return x.Key == y.Key && string(x.Value) == string(y.Value) }
		if a.Topic != b.Topic || a.Partition != b.Partition || string(a.Key) != string(b.Key) || !slices.EqualFunc(a.Headers, b.Headers, equal) || again.Hops != sent.Hops {
			t.Fatalf("got %+v\nnot %+v", a, b)
		}
	})
}

// TestUpAgainWithOtherRoutes: the topic is what the routes say now; key and headers are what they said then, or now where none took
// the message then.
func TestUpAgainWithOtherRoutes(t *testing.T) {
	before := mustNew(t, []Config{{From: "mqtt:a/{x}", To: "kafka:old", Key: new("{x}"), Facts: []string{"topic"}}}, devices())
	now := mustNew(t, []Config{
		{From: "mqtt:a/{x}", To: "kafka:new.{x}", Key: new("other")}, {From: "mqtt:b/{x}", To: "kafka:b", Key: new("{x}")},
		{From: "plant-a:old/#", To: "kafka:old", Retained: "skip"},
	}, devices())
	m := up(t, before, "a/1")
	again := putAside(m)
	if ok, err := now.UpAgain(again); !ok || err != nil || again.Record.Topic != "new.1" || string(again.Record.Key) != "1" || len(again.Record.Headers) != 2 || again.Route != "route-1" {
		t.Errorf("%v %v %+v", ok, err, again)
	}
	again = putAside(published("b/2"))
	if ok, err := now.UpAgain(again); !ok || err != nil || again.Record.Topic != "b" || string(again.Record.Key) != "2" || string(again.Record.Header("mqtt.topic")) != "b/2" || again.Record.Header("linkspan.reason") != nil {
		t.Errorf("%v %v %+v", ok, err, again)
	}
	if ok, err := now.UpAgain(putAside(published("c"))); ok || !errors.Is(err, linkspan.ErrNoRoute) {
		t.Error(ok, err)
	}
	retained := from("plant-a", "old/x")
	retained.Record.Headers = []linkspan.Header{{Key: "mqtt.retain", Value: []byte("1")}}
	if ok, err := now.UpAgain(putAside(retained)); ok || err != nil {
		t.Error(ok, err)
	}
	for _, r := range now.Stats().Routes {
		if r.Messages+r.Skipped > 0 {
			t.Errorf("counted: %+v", r)
		}
	}
}

// TestUpAgainAsAsked: what an AMQP sender asked for, and only such a one, is as it was, where the route of now leaves it to the sender
// (AKB-A2).
func TestUpAgainAsAsked(t *testing.T) {
	table := mustNew(t, []Config{{From: "amqp:own/#", To: "kafka:k", Key: new("{topic}"), Partition: "1"}, {From: "amqp:#", To: "kafka:k"}, {From: "mqtt:#", To: "kafka:k"}}, links())
	for _, c := range []struct {
		endpoint, topic, key string
		partition            int32
	}{{"links", "hall", "asked", 7}, {"links", "own/t", "own/t", 1}, {"devices", "hall", "hall", linkspan.AnyPartition}} {
		m := sent(c.topic)
		m.Endpoint, m.Record.Key, m.Record.Partition = c.endpoint, []byte("asked"), 7
		again := putAside(m)
		if ok, err := table.UpAgain(again); !ok || err != nil || string(again.Record.Key) != c.key || again.Record.Partition != c.partition {
			t.Errorf("%s of %s: %v, key %q, partition %d", c.topic, c.endpoint, err, again.Record.Key, again.Record.Partition)
		}
	}
}

// TestDescribeIsUndone: what is said of a message that no route took comes up with it when one does, whatever the device said of it,
// and be it names of ours.
func TestDescribeIsUndone(t *testing.T) {
	table := mustNew(t, []Config{{From: "mqtt:#", To: "kafka:k", Key: new("{client}")}}, devices())
	rapid.Check(t, func(t *rapid.T) {
		sent := drawMessage(t)
		sent.UserProperties = append(sent.UserProperties, linkspan.Property{Key: "linkspan.offset", Value: "1"}, linkspan.Property{Key: "linkspan.origin", Value: "x"}, linkspan.Property{Key: "mqtt.client", Value: "x"})
		want := sent.Clone()
		if ok, err := table.Up(want); !ok || err != nil {
			t.Skip(err)
		}
		table.Describe(sent)
		for _, name := range []string{"linkspan.offset", "linkspan.origin"} {
			if sent.Record.Header(name) != nil {
				t.Fatalf("%s is forged: %+v", name, sent.Record.Headers)
			}
		}
		again := putAside(sent)
		if ok, err := table.UpAgain(again); !ok || err != nil {
			t.Fatal(ok, err)
		}
		a, b := again.Record, want.Record
		equal := func(x, y linkspan.Header) bool { return x.Key == y.Key && string(x.Value) == string(y.Value) }
		if a.Topic != b.Topic || string(a.Key) != string(b.Key) || !slices.EqualFunc(a.Headers, b.Headers, equal) || again.Hops != want.Hops {
			t.Fatalf("got %+v\nnot %+v", a, b)
		}
	})
}

// TestUpAgainEndsLoops: what went round once too often does so from where it was put aside, too.
func TestUpAgainEndsLoops(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), devices())
	m := published("a")
	m.Hops = defaultMaxHops - 1
	if _, err := table.Up(m); err != nil {
		t.Fatal(err)
	}
	again := putAside(m)
	again.Record.Headers = slices.DeleteFunc(again.Record.Headers, func(h linkspan.Header) bool { return h.Key == headerHops })
	again.Record.Headers = append(again.Record.Headers, linkspan.Header{Key: headerHops, Value: []byte("8")})
	if _, err := table.UpAgain(again); !errors.Is(err, linkspan.ErrLoop) {
		t.Error(err)
	}
}

// TestForOneEndpoint: a record that is written once more for one endpoint goes to that alone, by whichever way it is read; with a
// device, to where that is.
func TestForOneEndpoint(t *testing.T) {
	table := mustNew(t, []Config{{From: "kafka:down", To: "mqtt:{key}"}, {From: "kafka:located", To: "mqtt:{key}", Device: "{key}"}}, plants())
	record := func(topic, only string) *linkspan.Message {
		return &linkspan.Message{Record: linkspan.Record{Topic: topic, Key: []byte("a"), Headers: []linkspan.Header{{Key: HeaderFor, Value: []byte(only)}}}}
	}
	takes := func(sink func(to linkspan.Sink) linkspan.Bounded, m *linkspan.Message) (taken bool) {
		sink(linkspan.SinkFunc(func(_ context.Context, _ *linkspan.Message, done func(error)) {
			taken = true
			done(nil)
		})).Send(t.Context(), m, func(err error) {
			if err != nil {
				t.Error(err)
			}
		})
		return taken
	}
	to := func(endpoint string) func(linkspan.Sink) linkspan.Bounded {
		return func(s linkspan.Sink) linkspan.Bounded { return table.DownlinkTo(endpoint, s) }
	}
	located := func(s linkspan.Sink) linkspan.Bounded { return table.DownlinkLocated("plant-b", s) }
	for _, c := range []struct {
		name string
		sink func(to linkspan.Sink) linkspan.Bounded
		m    *linkspan.Message
		want bool
	}{
		{"its endpoint", to("plant-a"), record("down", "plant-a"), true},
		{"another endpoint", to("plant-b"), record("down", "plant-a"), false},
		{"listeners", table.Downlink, record("down", "plant-a"), false},
		{"no endpoint in particular", table.Downlink, record("located", ""), false},
		{"where the device is now", located, record("located", "plant-a"), true},
	} {
		if got := takes(c.sink, c.m); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if table.DownAgain(record("down", "plant-a")) {
		t.Error("read back for a listener")
	}
	if _, ok, err := table.Locate(record("located", "plant-a")); !ok || err != nil {
		t.Error(ok, err)
	}
}
