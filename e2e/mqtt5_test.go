package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkspan/linkspan/e2e/harness"
)

// echoRoutes carries what is published through a Kafka topic to whoever subscribed to it, as the default routes do.
func echoRoutes(topic string) string {
	return fmt.Sprintf("routes:\n  - {from: \"mqtt:#\", to: \"kafka:%s\", key: \"{topic}\"}\n  - {from: \"kafka:%s\", to: \"mqtt:{key}\"}\n", topic, topic)
}

// echo starts a Linkspan with these routes, through a Kafka topic of one partition, so that messages of different topics
// keep their order, too. It returns a function that connects devices.
func echo(t *testing.T, name string) func(t *testing.T, m harness.Make, client string) harness.Device {
	t.Helper()
	l := gateway(t, world.kafka, echoRoutes(topic(t, world.kafka, name, 1)))
	return func(t *testing.T, m harness.Make, client string) harness.Device {
		t.Helper()
		return dial(t, m, harness.Options{URL: "mqtt://" + l.Addr(0), Client: client, Version: m.Versions[len(m.Versions)-1]})
	}
}

// A subscription with No Local does not get what its own client publishes [MQTT-3.8.3-3], others do.
func TestNoLocal(t *testing.T) {
	t.Parallel()
	connect := echo(t, "no-local")
	fives(t, func(t *testing.T, m harness.Make) {
		self, other := connect(t, m, m.Name), connect(t, made("paho-go-3"), "other of "+m.Name)
		subscribe(t, self, harness.Subscription{Filter: m.Name, QoS: 1, NoLocal: true})
		subscribe(t, other, harness.Subscription{Filter: m.Name, QoS: 1})
		publish(t, self, harness.Message{Topic: m.Name, Payload: []byte("mine"), QoS: 1})
		if got := next(t, other); string(got.Payload) != "mine" {
			t.Errorf("the other got %+v", got)
		}
		publish(t, other, harness.Message{Topic: m.Name, Payload: []byte("yours"), QoS: 1})
		if got := next(t, self); string(got.Payload) != "yours" {
			t.Errorf("got %+v first", got)
		}
	})
}

// A retained message comes with the flag set to who subscribes later, unless they ask for none [MQTT-3.3.1-6],
// [MQTT-3.3.1-11]; to who is subscribed already without it [MQTT-3.3.1-12], or as published [MQTT-3.3.1-13]; and an empty one
// removes it [MQTT-3.3.1-6].
func TestRetained(t *testing.T) {
	t.Parallel()
	connect := echo(t, "retained")
	fives(t, func(t *testing.T, m harness.Make) {
		early, flagged, sender := connect(t, m, "early "+m.Name), connect(t, m, "flagged "+m.Name), connect(t, m, "sender "+m.Name)
		subscribe(t, early, harness.Subscription{Filter: m.Name + "/#", QoS: 1})
		subscribe(t, flagged, harness.Subscription{Filter: m.Name + "/#", QoS: 1, RetainAsPublished: true})
		publish(t, sender, harness.Message{Topic: m.Name + "/state", Payload: []byte("on"), QoS: 1, Retain: true})
		if got := next(t, early); got.Retain {
			t.Error("the flag came on a live message")
		}
		if got := next(t, flagged); !got.Retain {
			t.Error("the flag did not come as published")
		}
		late, uninterested := connect(t, m, "late "+m.Name), connect(t, m, "uninterested "+m.Name)
		subscribe(t, late, harness.Subscription{Filter: m.Name + "/+", QoS: 1})
		if got := next(t, late); !got.Retain || string(got.Payload) != "on" {
			t.Errorf("got %+v", got)
		}
		subscribe(t, uninterested, harness.Subscription{Filter: m.Name + "/+", QoS: 1, RetainHandling: 2})
		publish(t, sender, harness.Message{Topic: m.Name + "/state", QoS: 1, Retain: true})
		publish(t, sender, harness.Message{Topic: m.Name + "/end", Payload: []byte("end"), QoS: 1})
		for _, d := range []harness.Device{late, uninterested} { // the removal itself is a message, too
			if got := next(t, d); len(got.Payload) != 0 || got.Retain {
				t.Errorf("got %+v", got)
			}
			if got := next(t, d); string(got.Payload) != "end" {
				t.Errorf("got %+v", got)
			}
		}
		again := connect(t, m, "again "+m.Name)
		subscribe(t, again, harness.Subscription{Filter: m.Name + "/+", QoS: 1})
		publish(t, sender, harness.Message{Topic: m.Name + "/live", Payload: []byte("live"), QoS: 1})
		if got := next(t, again); string(got.Payload) != "live" {
			t.Errorf("got %+v of what was removed", got)
		}
	})
}

// One PUBLISH carries the identifiers of all subscriptions that match [MQTT-3.3.4-4].
func TestSubscriptionIDs(t *testing.T) {
	t.Parallel()
	connect := echo(t, "subscription-ids")
	for _, m := range makes {
		if !m.IDs || m.Name == "paho-go-5" { // that one has room for one identifier
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			d := connect(t, m, m.Name)
			subscribe(t, d, harness.Subscription{Filter: m.Name + "/a", QoS: 1, ID: 7})
			subscribe(t, d, harness.Subscription{Filter: m.Name + "/+", QoS: 2, ID: 268435455})
			for _, name := range []string{"/a", "/b"} {
				publish(t, d, harness.Message{Topic: m.Name + name, Payload: []byte(name), QoS: 2})
			}
			first, second := next(t, d), next(t, d)
			slices.Sort(first.SubscriptionIDs)
			if !slices.Equal(first.SubscriptionIDs, []int{7, 268435455}) || first.QoS != 2 || string(first.Payload) != "/a" {
				t.Errorf("first: %+v", first)
			}
			if !slices.Equal(second.SubscriptionIDs, []int{268435455}) || string(second.Payload) != "/b" {
				t.Errorf("second: %+v", second)
			}
		})
	}
}

// Topic aliases, chosen by mqtt.js on its way up, and by Linkspan on the way down [MQTT-3.3.2.3.4].
func TestTopicAlias(t *testing.T) {
	t.Parallel()
	l := gateway(t, world.kafka, echoRoutes(topic(t, world.kafka, "topic-alias", 3)))
	d := dial(t, made("mqtt.js"), harness.Options{URL: "mqtt://" + l.Addr(0), Client: "aliases", Version: 5, AutoAlias: true})
	subscribe(t, d, harness.Subscription{Filter: "long/topic/#", QoS: 1})
	want := map[string]int{}
	for i := range 300 { // more topics than aliases, each over and over
		to := fmt.Sprintf("long/topic/number/%d", i*7%50)
		want[to]++
		publish(t, d, harness.Message{Topic: to, Payload: []byte(to), QoS: byte(i % 2)})
	}
	for range 300 {
		m := next(t, d)
		if string(m.Payload) != m.Topic {
			t.Fatalf("%s came under topic %s", m.Payload, m.Topic)
		}
		want[m.Topic]--
	}
	for to, missing := range want {
		if missing != 0 {
			t.Errorf("%s: %d missing", to, missing)
		}
	}
}

// What waited in Kafka longer than its expiry is not delivered, and what waited for a part of it has that much less
// left [MQTT-3.3.2-5], [MQTT-3.3.2-6].
func TestExpiry(t *testing.T) {
	t.Parallel()
	c := newCall(t, "expiry")
	d := c.dial(t, made("paho-go-5"), 5, "mqtt", "d")
	subscribe(t, d, harness.Subscription{Filter: "down/#", QoS: 1})
	received := strconv.FormatInt(time.Now().Add(-100*time.Second).UnixMilli(), 10)
	must(t, c.client.ProduceSync(deadline(t),
		record(c.down, "k", []byte("too late"), "mqtt.expiry", "99", "mqtt.received", received),
		record(c.down, "k", []byte("in time"), "mqtt.expiry", "500", "mqtt.received", received),
	).FirstErr())
	if got := next(t, d); string(got.Payload) != "in time" || got.Expiry > 400 || got.Expiry < 1 {
		t.Errorf("got %+v", got)
	}
}

// A client that is killed leaves its will, with all its properties; one that disconnects leaves none [MQTT-3.1.2-8],
// [MQTT-3.14.4-3].
func TestWill(t *testing.T) {
	t.Parallel()
	c := newCall(t, "will")
	ctx := deadline(t)
	victim, err := newPython()
	must(t, err)
	t.Cleanup(victim.Kill)
	for _, version := range []int{3, 4, 5} {
		for _, end := range []string{"killed", "closed"} {
			will := &harness.Message{Topic: fmt.Sprintf("up/will/%s/%d", end, version), Payload: []byte("gone"), QoS: byte(version % 3)}
			if version == 5 {
				will.ContentType, will.User = "text/plain", []harness.Pair{{Key: "why", Value: "lost"}}
			}
			d, err := victim.Connect(ctx, harness.Options{URL: c.urls["mqtt"], Client: will.Topic, Version: version, Will: will})
			must(t, err)
			if end == "closed" {
				must(t, d.Close())
				if _, err := d.Next(ctx); err == nil || !strings.Contains(err.Error(), "closed") {
					t.Errorf("the connection did not end: %v", err)
				}
			}
		}
	}
	victim.Kill()
	for _, version := range []int{3, 4, 5} {
		r := c.tap.wait(t, fromTopic(fmt.Sprintf("up/will/killed/%d", version)))
		if string(r.Value) != "gone" || header(r, "mqtt.qos") != fmt.Sprint(version%3) {
			t.Errorf("MQTT %d: %s %v", version, r.Value, r.Headers)
		}
		if version == 5 && (header(r, "mqtt.content-type") != "text/plain" || header(r, "why") != "lost") {
			t.Errorf("properties: %v", r.Headers)
		}
		if len(c.tap.all(fromTopic(fmt.Sprintf("up/will/closed/%d", version)))) > 0 {
			t.Errorf("MQTT %d: a will after a DISCONNECT", version)
		}
	}
}

// A second connection of the same client ends the first [MQTT-3.1.4-3].
func TestTakeover(t *testing.T) {
	t.Parallel()
	connect := echo(t, "takeover")
	for _, m := range makes {
		t.Run(m.Name, func(t *testing.T) {
			first := connect(t, m, m.Name)
			second := connect(t, m, m.Name)
			if got, err := first.Next(deadline(t)); err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first connection goes on: %+v, %v", got, err)
			}
			subscribe(t, second, harness.Subscription{Filter: m.Name, QoS: 1})
			publish(t, second, harness.Message{Topic: m.Name, QoS: 1})
			next(t, second)
		})
	}
}

// KAL-A5: what no route takes is refused with a reason, and counted.
func TestNoRoute_KAL_A5(t *testing.T) {
	t.Parallel()
	l := gateway(t, world.kafka, loadRoutes(topic(t, world.kafka, "no-route", 1)))
	fives(t, func(t *testing.T, m harness.Make) {
		d := dial(t, m, harness.Options{URL: "mqtt://" + l.Addr(0), Client: m.Name, Version: 5})
		err := d.Publish(deadline(t), harness.Message{Topic: "nobody/wants/this", QoS: 1})
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("not refused: %v", err)
		}
		publish(t, d, harness.Message{Topic: "load/x", QoS: 1}) // the connection lives on
	})
}
