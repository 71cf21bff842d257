package route

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/custody"
)

func up(t *testing.T, table *Table, topic string) *linkspan.Message {
	t.Helper()
	m := published(topic)
	if _, err := table.Up(m); err != nil {
		t.Fatalf("%s: %v", topic, err)
	}
	return m
}

// TestDefaultRoutes: everything published goes to mqtt.messages with its topic as the key, which keeps it in order
// (UNS-W5), and comes down from there, and records of mqtt.commands go to the topic in their key.
func TestDefaultRoutes(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), devices())
	m := up(t, table, "sensors/hall-1/t7/temp")
	if m.Record.Topic != "mqtt.messages" || string(m.Record.Key) != m.Topic || m.Record.Partition != linkspan.AnyPartition {
		t.Errorf("got %+v", m.Record)
	}
	got := fetched(m)
	if ok, err := table.Down(got); !ok || err != nil || got.Topic != m.Topic || got.QoS != 1 {
		t.Errorf("%v %v %+v", ok, err, got)
	}
	command := &linkspan.Message{Record: linkspan.Record{Topic: "mqtt.commands", Key: []byte("hall-1/t7")}, Payload: []byte("open")}
	if ok, err := table.Down(command); !ok || err != nil || command.Topic != "hall-1/t7" || command.QoS != 1 || command.Retain {
		t.Errorf("%v %v %+v", ok, err, command)
	}
	if _, err := table.Up(published("$SYS/x")); err != linkspan.ErrNoRoute {
		t.Errorf("wildcards do not take $ topics [MQTT-4.7.2-1]: %v", err)
	}
	topics, patterns := table.Subscriptions()
	if !slices.Equal(topics, []string{"mqtt.messages", "mqtt.commands"}) || patterns != nil {
		t.Errorf("subscriptions %q %q", topics, patterns)
	}
	if got := table.KafkaTopics(); !slices.Equal(got, []TopicSpec{{Name: "mqtt.messages"}, {Name: "mqtt.commands"}}) {
		t.Errorf("topics %v", got)
	}
}

// TestSourceDeviceIsKnown: the payload is the same, and a back end finds the device in key and header (KAL-A1, KAL-W7).
func TestSourceDeviceIsKnown(t *testing.T) {
	table := mustNew(t, []Config{{From: "mqtt:mqtt/{src}/{system}/pub", To: "kafka:{partition src 2}.mqtt.{system}", Key: new("{src}")}}, devices())
	for src, n := range map[string]string{"cyclops": "0", "archangel": "1"} { // KAL-A6
		m := up(t, table, "mqtt/"+src+"/sparkcluster/pub")
		if m.Record.Topic != n+".mqtt.sparkcluster" || string(m.Record.Key) != src || string(m.Record.Header("mqtt.client")) != "t7" || len(m.Payload) != 100 {
			t.Errorf("got %+v", m.Record)
		}
	}
}

// TestRoutesAreOrdered: the first match wins, with captures in topic and key, in both directions; nobody writes code for it (KAL-A4,
// KAL-W8).
func TestRoutesAreOrdered(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "plant-a:sensors/#", To: "kafka:plant-a"},
		{From: "mqtt:sensors/{site}/{device}/+", To: "kafka:sensors.{site}", Key: new("{device}")},
		{From: "mqtt:sensors/#", To: "kafka:other", Key: new("")},
		{From: "kafka:cmd.{site}.{device}", To: "plant-a:{site}/{device}", QoS: new(2), Retain: new(true)},
		{From: "kafka:/cmd[.](?<rest>.*)/", To: "mqtt:{rest}/{partition}", QoS: new(0)},
		{From: "kafka:tree.{path...}", To: "mqtt:down/{path}"},
		{From: "kafka:esc.{path...}", To: "mqtt:{path}", Names: "escape"},
	}, devices())
	for _, c := range []struct{ endpoint, topic, kafka, key string }{
		{"devices", "sensors/hall-1/t7/temp", "sensors.hall-1", "t7"},
		{"devices", "sensors/hall-1", "other", ""},
		{"plant-a", "sensors/hall-1/t7/temp", "plant-a", "sensors/hall-1/t7/temp"},
	} {
		m := published(c.topic)
		m.Endpoint = c.endpoint
		if _, err := table.Up(m); err != nil || m.Record.Topic != c.kafka || string(m.Record.Key) != c.key || (m.Record.Key == nil) != (c.key == "") {
			t.Errorf("%+v: %v, got %s key %q", c, err, m.Record.Topic, m.Record.Key)
		}
	}
	for _, c := range []struct {
		kafka, topic, target string
		qos                  byte
		retain               bool
	}{
		{"cmd.hall-1.t7", "hall-1/t7", "plant-a", 2, true},
		{"cmd.a.b.c", "a.b.c/5", "", 0, false},
		{"tree.a.b.c", "down/a/b/c", "", 1, false},
		{"esc.a.b-20c.--", "a/b c/-", "", 1, false},
	} {
		m := &linkspan.Message{Record: linkspan.Record{Topic: c.kafka, Partition: 5}}
		way := live
		if c.target != "" {
			way = direct
		}
		if ok, err := table.down(m, way, c.target); !ok || err != nil || m.Topic != c.topic || m.Target != c.target || m.QoS != c.qos || m.Retain != c.retain {
			t.Errorf("%+v: %v %v, got %+v", c, ok, err, m)
		}
	}
	bad := &linkspan.Message{Record: linkspan.Record{Topic: "esc.a_b"}}
	if _, err := table.Down(bad); err != linkspan.ErrInvalidTopic {
		t.Errorf("what was not escaped has no MQTT topic, got %v", err)
	}
}

// TestDownAgain: a record that is read a second time is routed in the same way, and not counted twice.
func TestDownAgain(t *testing.T) {
	table := mustNew(t, []Config{{From: "kafka:k", To: "mqtt:{key}"}}, devices())
	expired := []linkspan.Header{{Key: "mqtt.expiry", Value: []byte("1")}}
	for _, c := range []struct {
		record linkspan.Record
		want   bool
	}{
		{linkspan.Record{Topic: "k", Key: []byte("a")}, true},
		{linkspan.Record{Topic: "k", Key: []byte("#")}, false},
		{linkspan.Record{Topic: "k", Key: []byte("a"), Headers: expired, Timestamp: time.Unix(1, 0)}, false},
		{linkspan.Record{Topic: "unknown"}, false},
	} {
		before := table.Stats()
		m := &linkspan.Message{Record: c.record}
		if got := table.DownAgain(m); got != c.want || got && m.Topic != "a" {
			t.Errorf("%+v: got %v, topic %q", c.record, got, m.Topic)
		}
		if after := table.Stats(); !reflect.DeepEqual(after, before) {
			t.Errorf("%+v was counted: %+v", c.record, after)
		}
		if ok, _ := table.Down(&linkspan.Message{Record: c.record}); ok != c.want {
			t.Errorf("%+v: Down says otherwise", c.record)
		}
	}
}

// TestUnmatched: a topic without a route is refused or goes to the default route, and is counted (KAL-A5, P2).
func TestUnmatched(t *testing.T) {
	routes := []Config{{From: "mqtt:a/#", To: "kafka:a"}, {From: "kafka:b", To: "mqtt:{key}"}}
	table := mustNew(t, routes, devices())
	if _, err := table.Up(published("x")); !errors.Is(err, linkspan.ErrNoRoute) || !linkspan.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
	if _, err := table.Up(published("a/+")); err != linkspan.ErrInvalidTopic {
		t.Errorf("got %v", err)
	}
	if ok, err := table.Down(&linkspan.Message{Record: linkspan.Record{Topic: "unknown"}}); ok || err != nil {
		t.Errorf("a record without a route is done: %v %v", ok, err)
	}
	if s := table.Stats(); s.NoRouteUp != 1 || s.InvalidTopic != 1 || s.NoRouteDown != 1 || s.Defaulted != 0 {
		t.Errorf("got %+v", s)
	}

	options := devices()
	options.Default = &Config{To: "kafka:unrouted"}
	table = mustNew(t, routes, options)
	if m := up(t, table, "x"); m.Record.Topic != "unrouted" || m.Route != "default_route" {
		t.Errorf("got %+v", m)
	}
	if _, err := table.Up(published("$SYS/x")); err != linkspan.ErrNoRoute {
		t.Errorf("the default route does not take $ topics: %v", err)
	}
	s := table.Stats()
	if last := s.Routes[2]; s.Defaulted != 1 || last.Route != "default_route" || last.Messages != 1 || last.Bytes != 100 {
		t.Errorf("got %+v", s)
	}
}

// TestMaxTopics: a route stops at its last Kafka topic; those that there are go on. Kafka is told of each once.
func TestMaxTopics(t *testing.T) {
	var told []TopicSpec
	options := devices()
	options.NewTopic = func(s TopicSpec) { told = append(told, s) }
	for _, to := range []string{"kafka:s.{site}", "kafka:s.{client}"} { // the same for a topic, and different for each message
		told = nil
		table := mustNew(t, []Config{{From: "mqtt:{site}", To: to, MaxTopics: 2, Partitions: 3, Replication: 1}}, options)
		send := func(site string) error {
			m := published(site)
			m.Client = site
			_, err := table.Up(m)
			return err
		}
		for range 2 {
			if err := errors.Join(send("a"), send("b")); err != nil {
				t.Error(err)
			}
			if err := send("c"); err != linkspan.ErrTooManyTopics {
				t.Errorf("got %v", err)
			}
		}
		if want := []TopicSpec{{"s.a", 3, 1}, {"s.b", 3, 1}}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		table.Learn([]string{"s.c", "other", "_linkspan.x"})
		if err := send("c"); err != nil {
			t.Errorf("a topic that Kafka has goes on: %v", err)
		}
		if s := table.Stats().Routes[0]; s.KafkaTopics != 3 || s.TooManyTopics != 2 || s.Messages != 5 || len(told) != 2 {
			t.Errorf("got %+v", s)
		}
	}
}

// TestIllegalNames: a name that is empty or too long is refused, never sent.
func TestIllegalNames(t *testing.T) {
	table := mustNew(t, []Config{
		{From: "mqtt:empty/{rest...}", To: "kafka:{rest}"},
		{From: "mqtt:user/#", To: "kafka:{username}"},
		{From: "mqtt:long/{rest...}", To: "kafka:x.{rest}", Names: "escape"},
		{From: "mqtt:part/{n}", To: "kafka:p", Partition: "{n}"},
		{From: "kafka:k", To: "mqtt:{key}"},
	}, devices())
	for _, topic := range []string{"empty", "user/x", "long/" + strings.Repeat("-", 200), "part/x", "part/-1", "part/2147483648"} {
		if _, err := table.Up(published(topic)); !errors.Is(err, linkspan.ErrInvalidTopic) || !linkspan.IsPermanent(err) {
			t.Errorf("%s: got %v", topic, err)
		}
	}
	if m := up(t, table, "part/7"); m.Record.Partition != 7 {
		t.Errorf("got partition %d", m.Record.Partition)
	}
	for _, key := range []string{"", "a/+", "#", "a\x00", "\xff", strings.Repeat("x", 65536)} {
		m := &linkspan.Message{Record: linkspan.Record{Topic: "k", Key: []byte(key)}}
		if ok, err := table.Down(m); ok || err != linkspan.ErrInvalidTopic {
			t.Errorf("key %.10q: got %v %v", key, ok, err)
		}
	}
	if s := table.Stats().Routes[4]; s.InvalidTopic != 6 || s.Messages != 0 {
		t.Errorf("got %+v", s)
	}
}

// TestLoopGuard: each way up through Kafka counts, and the count is limited.
func TestLoopGuard(t *testing.T) {
	options := devices()
	options.MaxHops = 3
	table := mustNew(t, DefaultRoutes(), options)
	m := published("a")
	for hops := 1; hops <= 3; hops++ {
		if _, err := table.Up(m); err != nil {
			t.Fatal(err)
		}
		m = fetched(m)
		if ok, err := table.Down(m); !ok || err != nil || int(m.Hops) != hops || m.Endpoint != "devices" {
			t.Fatalf("%v %v, %d hops of %d, from %s", ok, err, m.Hops, hops, m.Endpoint)
		}
	}
	if _, err := table.Up(m); err != linkspan.ErrLoop {
		t.Errorf("got %v", err)
	}
	if got := table.Stats().Routes[0].Loop; got != 1 {
		t.Errorf("counted %d", got)
	}
}

func TestConfigErrorsSayWhereAndWhat(t *testing.T) {
	base := func(change func(*Config)) Config {
		c := Config{From: "mqtt:{site}/#", To: "kafka:k"}
		change(&c)
		return c
	}
	down := func(change func(*Config)) Config {
		c := Config{From: "kafka:k", To: "mqtt:{key}"}
		change(&c)
		return c
	}
	for want, c := range map[string]Config{
		"routes[0].from: it is missing":                                        {To: "kafka:k"},
		"routes[0].to: it is missing":                                          {From: "mqtt:#"},
		`routes[0].from: "a/#" does not say of what: write mqtt:a/#`:           {From: "a/#", To: "kafka:k"},
		`routes[0].from: there is no endpoint "device"; did you mean devices?`: {From: "device:#", To: "kafka:k"},
		`routes[0].to: there is no endpoint "kafak"; did you mean kafka?`:      down(func(c *Config) { c.To = "kafak:k" }),
		"routes[0].to: a route joins Kafka with devices":                       {From: "kafka:a", To: "kafka:b"},
		"routes[0].to: a route joins devices with Kafka":                       {From: "mqtt:a", To: "mqtt:b"},
		"is a URL":                                         {From: "mqtt://localhost", To: "kafka:b"},
		"routes[0].to: there is no {sight} here":           base(func(c *Config) { c.To = "kafka:{sight}" }),
		"routes[0].to: a target is one topic":              base(func(c *Config) { c.To = "kafka:k.#" }),
		"routes[0].to: '/' cannot be part":                 base(func(c *Config) { c.To = "kafka:a/{site}" }),
		"routes[0].to: the Kafka topic is missing":         base(func(c *Config) { c.To = "kafka:" }),
		`routes[0].to: a Kafka topic cannot be named ".."`: base(func(c *Config) { c.To = "kafka:.." }),
		"routes[0].key: there is no {sit} here":            base(func(c *Config) { c.Key = new("{sit}") }),
		"routes[0].partition: \"x\" is no number":          base(func(c *Config) { c.Partition = "x" }),
		"routes[0].facts: there is no fact \"clint\"":      base(func(c *Config) { c.Facts = []string{"clint"} }),
		"routes[0].facts: all stands alone":                base(func(c *Config) { c.Facts = []string{"all", "qos"} }),
		"routes[0].headers.mqtt.x: names that begin":       base(func(c *Config) { c.Headers = map[string]string{"mqtt.x": "y"} }),
		"routes[0].headers.x: the { at":                    base(func(c *Config) { c.Headers = map[string]string{"x": "{"} }),
		`routes[0].names: there is no rule "dots"`:         base(func(c *Config) { c.Names = "dots" }),
		"routes[0].headers.amqp.x: names that begin":       base(func(c *Config) { c.Headers = map[string]string{"amqp.x": "y"} }),
		"routes[0].to: topics that begin with __":          base(func(c *Config) { c.To = "kafka:__{site}" }),
		"routes[0].codec: it is about messages of AMQP":    base(func(c *Config) { c.Codec = "raw" }),
		`routes[0].codec: there is no codec "jsn"`:         down(func(c *Config) { c.Codec = "jsn" }),
		"routes[0].max_topics: `to` is one Kafka topic":    base(func(c *Config) { c.MaxTopics = 5 }),
		"routes[0].max_topics: it is 1 or more":            base(func(c *Config) { c.To, c.MaxTopics = "kafka:{site}", -1 }),
		"routes[0].qos: it means nothing on the way up":    base(func(c *Config) { c.QoS = new(1) }),
		"routes[0].expiry: 1ms is no expiry":               base(func(c *Config) { c.Expiry = time.Millisecond }),
		"routes[0].partitions: partitions and":             base(func(c *Config) { c.Partitions = -1 }),
		"routes[0].key: it means nothing on the way down":  down(func(c *Config) { c.Key = new("x") }),
		"routes[0].qos: 3 is no quality of service":        down(func(c *Config) { c.QoS = new(3) }),
		"routes[0].to: a target is one topic and has":      down(func(c *Config) { c.To = "mqtt:a/#" }),
		"routes[0].to: the topic or address is missing":    down(func(c *Config) { c.To = "mqtt:" }),
	} {
		_, err := New([]Config{c}, devices())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v:\ngot  %v\nwant %s", c, err, want)
		}
		var place *Error
		if !errors.As(err, &place) || place.Route != 0 {
			t.Errorf("%v has no place", err)
		}
	}

	_, err := New([]Config{{From: "x"}, {Name: "n", From: "mqtt:#", To: "kafka:k"}, {Name: "n", From: "mqtt:#", To: "kafka:{}"}},
		Options{Endpoints: []Endpoint{{Name: "mqtt", Protocol: "mqtt"}}, Default: &Config{From: "mqtt:#", To: "mqtt:x"}})
	for _, want := range []string{"routes[0].from", "routes[0].to", "routes[2].name", "routes[2].to", "endpoints.mqtt", "default_route.from", "default_route.to"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("all mistakes are told at once: %s is missing in\n%v", want, err)
		}
	}
}

// TestCacheIsBounded: whatever devices publish to, no more is remembered than there are places (P6).
func TestCacheIsBounded(t *testing.T) {
	options := devices()
	options.CacheSize = 64
	table := mustNew(t, []Config{{From: "mqtt:{a}/#", To: "kafka:k", Key: new("{a}")}}, options)
	var wait sync.WaitGroup
	for g := range 4 {
		wait.Go(func() {
			for i := range 2000 {
				name := fmt.Sprint(g, "-", i%500)
				m := published(name + "/x")
				if _, err := table.Up(m); err != nil || string(m.Record.Key) != name || string(m.Record.Header("mqtt.topic")) != name+"/x" {
					t.Errorf("%s: %v, key %q", name, err, m.Record.Key)
				}
			}
		})
	}
	up(t, table, strings.Repeat("long", 1000))
	wait.Wait()
	if len(table.plansUp.slots) != 64 {
		t.Errorf("%d places", len(table.plansUp.slots))
	}
	for i := range table.plansUp.slots {
		if p := table.plansUp.slots[i].Load(); p != nil && len(p.topic) > maxCached {
			t.Error("a topic longer than maxCached was remembered")
		}
	}
}

// bounded is a sink that says whether it has room, and tells each sender the same.
type bounded struct {
	room bool
	err  error
}

func (b bounded) Room(*linkspan.Message) bool                                   { return b.room }
func (b bounded) Send(_ context.Context, _ *linkspan.Message, done func(error)) { done(b.err) }

func TestSinksPassOn(t *testing.T) {
	table := mustNew(t, DefaultRoutes(), devices())
	failure := errors.New("later")
	record := &linkspan.Message{Record: linkspan.Record{Topic: "mqtt.commands", Key: []byte("a")}}
	for _, c := range []struct {
		sink func(linkspan.Sink) linkspan.Bounded
		good *linkspan.Message
		bad  *linkspan.Message
		want error
	}{
		{table.Uplink, published("a"), published("$a"), linkspan.ErrNoRoute},
		{table.Downlink, record, &linkspan.Message{Record: linkspan.Record{Topic: "mqtt.commands"}}, linkspan.ErrInvalidTopic},
		{table.Downlink, record, &linkspan.Message{Record: linkspan.Record{Topic: "unknown"}}, nil},
	} {
		if c.sink(bounded{}).Room(nil) || !c.sink(bounded{room: true}).Room(nil) || !c.sink(linkspan.SinkFunc(discard)).Room(nil) {
			t.Error("there is room while the next sink has room")
		}
		calls := 0
		c.sink(bounded{err: failure}).Send(t.Context(), c.good, func(err error) {
			if calls++; err != failure {
				t.Errorf("got %v", err)
			}
		})
		c.sink(bounded{err: failure}).Send(t.Context(), c.bad, func(err error) {
			if calls++; err != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
		if calls != 2 {
			t.Errorf("done was called %d times for 2 messages", calls)
		}
	}
}

// farEnd is a far end that keeps what reaches it.
type farEnd struct {
	mu    sync.Mutex
	mode  custody.Mode
	held  []string
	later []func()
}

func (f *farEnd) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	payload := string(m.Payload)
	take := func() {
		f.held = append(f.held, payload)
		go done(nil)
	}
	switch f.mode {
	case custody.Accept:
		take()
	case custody.Delay:
		f.later = append(f.later, take)
	case custody.Refuse:
		go done(linkspan.ErrNotAuthorized)
	default:
		go done(errors.New("later"))
	}
}

func (f *farEnd) set(mode custody.Mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mode = mode; mode == custody.Accept {
		for _, take := range f.later {
			take()
		}
		f.later = nil
	}
}

// TestCustody: routes change nothing of who answers for a message (P1 to P4).
func TestCustody(t *testing.T) {
	options := Options{Endpoints: []Endpoint{{Name: "custody", Protocol: "mqtt"}}}
	routes := []Config{{From: "mqtt:#", To: "kafka:custody"}, {From: "kafka:custody", To: "mqtt:{key}"}}
	for name, sink := range map[string]func(*Table, linkspan.Sink) linkspan.Bounded{"up": (*Table).Uplink, "down": (*Table).Downlink} {
		t.Run(name, func(t *testing.T) {
			custody.TestSink(t, func(t *testing.T) *custody.Far {
				far := &farEnd{}
				return &custody.Far{
					Sink: sink(mustNew(t, routes, options), far), Set: far.set,
					Modes: []custody.Mode{custody.Delay, custody.Refuse, custody.Fail},
					Stored: func() []string {
						far.mu.Lock()
						defer far.mu.Unlock()
						return slices.Clone(far.held)
					},
				}
			})
		})
	}
}
