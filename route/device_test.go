package route

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkspan/linkspan"
)

// plants is two listeners, and two brokers that we dial.
func plants() Options {
	return Options{Endpoints: []Endpoint{
		{Name: "devices", Protocol: "mqtt"}, {Name: "web", Protocol: "mqtt"},
		{Name: "plant-a", Protocol: "mqtt", Client: true}, {Name: "plant-b", Protocol: "mqtt", Client: true},
	}}
}

// from returns what a broker hands us.
func from(endpoint, topic string) *linkspan.Message {
	m := published(topic)
	m.Endpoint, m.Client = endpoint, ""
	return m
}

// TestDeviceOfAMessage: a route tells which device a message is from, whichever endpoint it comes from, and whether the
// device has gone. A back end finds it in key and header too (KAL-A1, KAL-W7).
func TestDeviceOfAMessage(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "mqtt:presence/{site}/{device}", To: "kafka:presence", Key: new("{device}"), Device: "{site}/{device}", Presence: &Presence{Offline: []string{"offline", ""}},
			Headers: map[string]string{"device": "{site}/{device}"}},
		{From: "mqtt:by-client/#", To: "kafka:k", Device: "{client}{header.id}"},
		{From: "mqtt:#", To: "kafka:other"},
	}, plants())
	for _, c := range []struct {
		endpoint, topic, payload, device string
		left                             bool
	}{
		{"devices", "presence/hall-1/t7", "online", "hall-1/t7", false},
		{"plant-a", "presence/hall-1/t7", "offline", "hall-1/t7", true},
		{"plant-a", "presence/hall-1/t7", "", "hall-1/t7", true},
		{"plant-a", "presence/hall-1/t7", "Offline", "hall-1/t7", false},
		{"devices", "by-client/x", "offline", "t7no. 1", false},
		{"devices", "other", "offline", "", false},
	} {
		for range 2 { // planned, and remembered
			m := published(c.topic)
			m.Endpoint, m.Payload, m.Device, m.Left = c.endpoint, []byte(c.payload), "old", true
			m.UserProperties = []linkspan.Property{{Key: "id", Value: "no. 1"}}
			if ok, err := table.Up(m); !ok || err != nil || m.Device != c.device || m.Left != c.left {
				t.Errorf("%+v: %v %v, device %q, left %v", c, ok, err, m.Device, m.Left)
			}
			if m.Record.Topic == "presence" && (string(m.Record.Key) != "t7" || string(m.Record.Header("device")) != c.device || string(m.Record.Header("linkspan.origin")) != c.endpoint) {
				t.Errorf("%+v: record %+v", c, m.Record)
			}
		}
	}
}

// TestTopicsOfTwoSlashes: a topic may begin with two slashes [MQTT-4.7.1-1]; behind the name of an endpoint they make no URL.
func TestTopicsOfTwoSlashes(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "plant-a://{device}/+", To: "kafka:k", Key: new("{device}")},
		{From: "kafka:commands", To: "plant-a://{key}"},
	}, plants())
	m := from("plant-a", "//t7/temp")
	if ok, err := table.Up(m); !ok || err != nil || m.Record.Topic != "k" || string(m.Record.Key) != "t7" {
		t.Errorf("%v %v, record %+v", ok, err, m.Record)
	}
}

// TestRetainedCanBeSkipped: what a broker had retained is told apart, and left alone by rule. A device's wish that a
// message be retained is none of that.
func TestRetainedCanBeSkipped(t *testing.T) {
	for _, c := range []struct {
		retained, endpoint string
		retain, want       bool
	}{
		{"", "plant-a", true, true}, {"take", "plant-a", true, true}, {"skip", "plant-a", true, false},
		{"skip", "plant-a", false, true}, {"skip", "devices", true, true},
	} {
		table := mustNew(t, []Config{{From: "mqtt:#", To: "kafka:k", Retained: c.retained}}, plants())
		m := from(c.endpoint, "a/b")
		m.Retain = c.retain
		if e := table.ExplainUp(m); e.Skipped == c.want || e.Err != nil || e.Route != "route-1" {
			t.Errorf("%+v: explained as %+v", c, e)
		}
		handed, calls := 0, 0
		to := linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
			if handed++; (string(m.Record.Header("mqtt.retain")) == "1") != c.retain {
				t.Errorf("%+v: headers %+v", c, m.Record.Headers)
			}
			done(nil)
		})
		table.Uplink(to).Send(t.Context(), m, func(err error) {
			if calls++; err != nil {
				t.Error(err)
			}
		})
		if s := table.Stats().Routes[0]; calls != 1 || (handed == 1) != c.want || (s.Skipped == 0) != c.want || (s.Messages == 1) != c.want {
			t.Errorf("%+v: handed over %d times, done %d times, counted %+v", c, handed, calls, s)
		}
	}
}

// TestFilters: a client endpoint subscribes to what its routes name, in their order, each once.
func TestFilters(t *testing.T) {
	options := plants()
	options.Default = &Config{To: "kafka:unrouted"}
	table := mustNew(t, []Config{
		{From: "plant-a:sensors/{site}/{rest...}", To: "kafka:a"},
		{From: "plant-b:b/#", To: "kafka:b"},
		{From: "mqtt:x/+/{{y}}", To: "kafka:x"},
		{From: "kafka:down", To: "plant-a:{key}"},
		{From: "mqtt:sensors/+/#", To: "kafka:again"},
		{From: "mqtt:/{a}", To: "kafka:slash"},
		{From: "plant-a:{all...}", To: "kafka:rest"},
	}, options)
	for endpoint, want := range map[string]string{
		"plant-a": "sensors/+/# x/+/{y} /+ #", "plant-b": "b/# x/+/{y} sensors/+/# /+", "none": "",
	} {
		if got := strings.Join(table.Filters(endpoint), " "); got != want {
			t.Errorf("%s: got %s, want %s", endpoint, got, want)
		}
	}
}

// TestWaysDown: whatever the routes, each endpoint that the first matching route reaches gets a record in one way: a listener
// from the live path, a client endpoint from its own consumer or, where the device decides, through its inbox; and what
// it takes for that is consumed (KAL-A2, KAL-A14).
func TestWaysDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		options := plants()
		options.Endpoints = slices.DeleteFunc(options.Endpoints, func(Endpoint) bool { return rapid.Bool().Draw(t, "away") })
		names := []string{"mqtt"}
		for _, e := range options.Endpoints {
			names = append(names, e.Name)
		}
		var routes []Config
		for range rapid.IntRange(1, 4).Draw(t, "routes") {
			c := Config{From: "kafka:" + rapid.SampledFrom([]string{"a", "b", "{x}", "/[ab]/", "{x...}"}).Draw(t, "from"), To: rapid.SampledFrom(names).Draw(t, "to") + ":t"}
			if rapid.Bool().Draw(t, "device") {
				c.Device = "{key}"
			}
			routes = append(routes, c)
		}
		table, err := New(routes, options)
		if err != nil {
			t.Fatal(err)
		}
		topic := rapid.SampledFrom([]string{"a", "b", "c", "_linkspan.x"}).Draw(t, "topic")
		record := func() *linkspan.Message {
			return &linkspan.Message{Record: linkspan.Record{Topic: topic, Key: []byte("t7")}}
		}
		var reached []Endpoint
		located := false
		for i, r := range table.routes {
			if _, ok := r.pattern.match(topic); ok {
				to, _, _ := strings.Cut(routes[i].To, ":")
				reached = slices.DeleteFunc(slices.Clone(options.Endpoints), func(e Endpoint) bool { return to != "mqtt" && e.Name != to })
				located = routes[i].Device != "" && len(reached) > 1
				break
			}
		}
		var listeners, clients []string
		for _, e := range reached {
			if e.Client {
				clients = append(clients, e.Name)
			} else {
				listeners = append(listeners, e.Name)
			}
		}
		located = located && clients != nil

		if ok, err := table.Down(record()); ok != (listeners != nil) || err != nil || table.DownAgain(record()) != ok {
			t.Fatalf("live: %v %v", ok, err)
		}
		consumed(t, topic, table.Subscriptions, listeners != nil)
		for _, e := range options.Endpoints {
			if !e.Client {
				continue
			}
			reaches := slices.Contains(clients, e.Name)
			if ok, err := table.down(record(), direct, e.Name); ok != (reaches && !located) || err != nil {
				t.Fatalf("direct to %s: %v %v", e.Name, ok, err)
			}
			consumed(t, topic, func() ([]string, []string) { return table.SubscriptionsTo(e.Name) }, reaches && !located)
			if ok, err := table.down(record(), inbox, e.Name); ok != reaches || (err == linkspan.ErrNoRoute) == reaches {
				t.Fatalf("inbox of %s: %v %v", e.Name, ok, err)
			}
		}
		got, ok, err := table.Locate(record())
		if ok != located || err != nil || ok && (got.Device != "t7" || !slices.Equal(got.Endpoints, clients) || !slices.Equal(got.Listeners, listeners)) {
			t.Fatalf("located: %+v %v %v", got, ok, err)
		}
		consumed(t, topic, table.Located, located)
	})
}

// consumed checks that a topic that is wanted is subscribed to.
func consumed(t *rapid.T, topic string, subscriptions func() (topics, patterns []string), wanted bool) {
	topics, patterns := subscriptions()
	has := slices.Contains(topics, topic) || slices.ContainsFunc(patterns, func(p string) bool { return regexp.MustCompile(p).MatchString(topic) })
	if wanted && !has || !wanted && slices.Contains(topics, topic) {
		t.Fatalf("%s: wanted %v, subscribed to %q and %q", topic, wanted, topics, patterns)
	}
}

// TestLocate: the router learns which device a record is for, where it may be and what to do if nobody knows, and what
// cannot be delivered is refused before it waits for anyone (P2).
func TestLocate(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "kafka:flood", To: "mqtt:to/{key}", Device: "{header.site}/{key}", Unknown: "flood"},
		{From: "kafka:park", To: "mqtt:to/{key}", Device: "{key}", ParkFor: time.Minute},
		{From: "kafka:dead", To: "mqtt:{key}", Device: "{header.d}", Unknown: "dead-letter"},
		{From: "kafka:direct", To: "plant-a:{key}", Device: "{key}"},
	}, plants())
	site := []linkspan.Header{{Key: "site", Value: []byte("hall")}, {Key: "d", Value: []byte("t7")}, {Key: "mqtt.topic", Value: []byte("a")}}
	expired := []linkspan.Header{{Key: "mqtt.expiry", Value: []byte("1")}}
	clients, listeners := []string{"plant-a", "plant-b"}, []string{"devices", "web"}
	for _, c := range []struct {
		topic, key string
		headers    []linkspan.Header
		want       Located
		err        error
	}{
		{"flood", "t7", site, Located{"hall/t7", clients, listeners, UnknownFlood, 0}, nil},
		{"park", "t7", site, Located{"t7", clients, listeners, UnknownPark, time.Minute}, nil},
		{"dead", "x", site, Located{"t7", clients, listeners, UnknownDeadLetter, 0}, nil},
		{"direct", "t7", site, Located{}, nil},
		{"unknown", "t7", site, Located{}, nil},
		{"park", "t7", expired, Located{}, nil},
		{"park", "", nil, Located{}, ErrNoDevice},
		{"dead", "x", nil, Located{}, ErrNoDevice},
		{"dead", "#", site, Located{}, linkspan.ErrInvalidTopic},
	} {
		m := &linkspan.Message{Record: linkspan.Record{Topic: c.topic, Key: []byte(c.key), Headers: c.headers, Timestamp: time.Unix(1, 0)}}
		got, ok, err := table.Locate(m)
		if err != c.err || linkspan.IsPermanent(err) != (err != nil) || ok != (c.want.Device != "") ||
			got.Device != c.want.Device || !slices.Equal(got.Endpoints, c.want.Endpoints) || !slices.Equal(got.Listeners, c.want.Listeners) || got.Unknown != c.want.Unknown || got.ParkFor != c.want.ParkFor {
			t.Errorf("%+v: got %+v %v %v", c, got, ok, err)
		}
		if ok && (m.Device != got.Device || m.Topic == "" || m.Route == "") {
			t.Errorf("%+v: the message is filled in too: %+v", c, m)
		}
	}
	s := table.Stats().Routes
	if s[1].NoDevice != 1 || s[1].Expired != 1 || s[2].NoDevice != 1 || s[2].InvalidTopic != 1 || s[3].NoDevice != 0 {
		t.Errorf("counted %+v", s)
	}
	record := &linkspan.Message{Record: linkspan.Record{Topic: "direct", Key: []byte("t7")}}
	if ok, err := table.down(record, direct, "plant-a"); !ok || err != nil || record.Device != "t7" || record.Target != "plant-a" {
		t.Errorf("a route to one endpoint goes there: %v %v %+v", ok, err, record)
	}
}

func TestDeviceErrorsSayWhereAndWhat(t *testing.T) {
	up := func(change func(*Config)) Config {
		c := Config{From: "mqtt:{device}/#", To: "kafka:k"}
		change(&c)
		return c
	}
	down := func(change func(*Config)) Config {
		c := Config{From: "kafka:k", To: "mqtt:{key}"}
		change(&c)
		return c
	}
	presence := &Presence{Offline: []string{"offline"}}
	for want, c := range map[string]Config{
		"routes[0].device: there is no {devcie} here; did you mean device?":  up(func(c *Config) { c.Device = "{devcie}" }),
		`routes[0].device: "t7" would be the device of every message`:        up(func(c *Config) { c.Device = "t7" }),
		"routes[0].device: {key} is the key of the Kafka record":             up(func(c *Config) { c.Device = "{key}" }),
		"routes[0].device: there is no {devcie} here":                        down(func(c *Config) { c.Device = "{devcie}" }),
		`routes[0].device: "all" would be the device of every`:               down(func(c *Config) { c.Device = "all" }),
		"routes[0].presence: it does not say whose: name the device too":     up(func(c *Config) { c.Presence = presence }),
		"routes[0].presence.offline: it is missing":                          up(func(c *Config) { c.Device, c.Presence = "{device}", &Presence{} }),
		"routes[0].presence: it means nothing on the way down":               down(func(c *Config) { c.Device, c.Presence = "{key}", presence }),
		"routes[0].retained: it means nothing on the way down":               down(func(c *Config) { c.Retained = "skip" }),
		`routes[0].retained: there is no "skp"; did you mean skip?`:          up(func(c *Config) { c.Retained = "skp" }),
		"routes[0].retained: devices is a listener":                          up(func(c *Config) { c.From, c.Retained = "devices:#", "skip" }),
		"routes[0].unknown: it means nothing on the way up":                  up(func(c *Config) { c.Device, c.Unknown = "{device}", "flood" }),
		"routes[0].park_for: it means nothing on the way up":                 up(func(c *Config) { c.ParkFor = time.Hour }),
		"routes[0].unknown: it is about devices that nobody has seen":        down(func(c *Config) { c.Unknown = "flood" }),
		"routes[0].park_for: it is about devices that nobody has seen":       down(func(c *Config) { c.ParkFor = time.Hour }),
		`routes[0].unknown: there is no "flod"; did you mean flood?`:         down(func(c *Config) { c.Device, c.Unknown = "{key}", "flod" }),
		"routes[0].unknown: the route goes to plant-a wherever the device":   down(func(c *Config) { c.To, c.Device, c.Unknown = "plant-a:{key}", "{key}", "park" }),
		"routes[0].park_for: the route goes to plant-a wherever the device":  down(func(c *Config) { c.To, c.Device, c.ParkFor = "plant-a:{key}", "{key}", time.Hour }),
		"routes[0].park_for: -1s is no time to wait":                         down(func(c *Config) { c.Device, c.ParkFor = "{key}", -time.Second }),
		"routes[0].park_for: nothing is parked with unknown: flood":          down(func(c *Config) { c.Device, c.Unknown, c.ParkFor = "{key}", "flood", time.Hour }),
		"routes[0].from: how a subscription is shared is up to the endpoint": up(func(c *Config) { c.From = "mqtt:$share/group/{device}/#" }),
	} {
		_, err := New([]Config{c}, plants())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v:\ngot  %v\nwant %s", c, err, want)
		}
	}
	options := plants()
	options.Default = &Config{To: "kafka:k", Device: "{client}", Presence: presence}
	_, err := New(nil, options)
	for _, want := range []string{"default_route.device: the default route takes whatever", "default_route.presence: the default"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	var place *Error
	if !errors.As(err, &place) || place.Route != -1 {
		t.Errorf("%v has no place", err)
	}
}

// TestLogicalPartitionInEveryTemplate: a number is the same wherever it is written, and it is Kalinka's (KAL-A6).
func TestLogicalPartitionInEveryTemplate(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "mqtt:mqtt/{device}/pub", To: "kafka:{partition device 3}.mqtt", Key: new("k{partition device 3}"), Partition: "{partition device 3}",
			Headers: map[string]string{"p": "{partition device 3}"}, Device: "{partition device 3}"},
		{From: "kafka:{n}.mqtt", To: "mqtt:{partition header.d 3}/{partition key 2}", Device: "{partition header.d 3}"},
	}, plants())
	for p, names := range []string{"cyclops beast archangel mystique", "pyro phoenix rouge colossus", "wolverine iceman sabretooth jean"} {
		want := string(rune('0' + p))
		for _, name := range strings.Fields(names) {
			m := from("plant-a", "mqtt/"+name+"/pub")
			if ok, err := table.Up(m); !ok || err != nil || m.Record.Topic != want+".mqtt" || string(m.Record.Key) != "k"+want ||
				int(m.Record.Partition) != p || string(m.Record.Header("p")) != want || m.Device != want {
				t.Errorf("%s: %v %v %+v", name, ok, err, m)
			}
			m = &linkspan.Message{Record: linkspan.Record{Topic: "0.mqtt", Key: []byte("src"), Headers: []linkspan.Header{{Key: "d", Value: []byte(name)}}}}
			if ok, err := table.Down(m); !ok || err != nil || m.Topic != want+"/1" || m.Device != want {
				t.Errorf("%s: %v %v %+v", name, ok, err, m)
			}
		}
	}
}
