package route

import (
	"strings"
	"testing"

	"github.com/linkspan/linkspan"
)

func TestTemplates(t *testing.T) {
	m := &linkspan.Message{
		Client: "pyro", Username: "anna", Endpoint: "devices", QoS: 2,
		UserProperties: []linkspan.Property{{Key: "x", Value: "first"}, {Key: "x", Value: "beast"}},
		Record: linkspan.Record{Topic: "k.t", Partition: 3, Offset: 42, Key: []byte("jean"),
			Headers: []linkspan.Header{{Key: "y", Value: []byte("one")}, {Key: "mqtt.topic", Value: []byte("a/b")}}},
	}
	captures := []capture{{name: "site"}, {name: "rest", rest: true}}
	for _, c := range []struct {
		text, want string
		down       bool
	}{
		{"", "", false},
		{"plain", "plain", false},
		{"{{x}}", "{x}", false},
		{"{site}-{rest}", "hall/1-a/b", false},
		{"{topic}|{client}|{username}|{endpoint}|{qos}", "a/b|pyro|anna|devices|2", false},
		{"{ client }", "pyro", false},
		{"{header.x}", "beast", false},
		{"{header.missing}", "", false},
		{"{partition client 3}", "1", false},
		{"p{partition header.x 2}", "p0", false},
		{"{key}|{kafka.topic}|{partition}|{offset}|{topic}", "jean|k.t|3|42|a/b", true},
		{"{header.y}{header.mqtt.topic}{header.x}", "onea/b", true},
		{"{partition key 3}", "2", true},
	} {
		tmpl, err := newTemplate(c.text, scope{captures: captures, down: c.down})
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		v := &values{m: m, captures: []string{"hall/1", "a/b"}, topic: "a/b", down: c.down}
		if got := string(tmpl.append(nil, v)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.text, got, c.want)
		}
	}
}

func TestTemplateErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		text, want string
		down       bool
	}{
		{"{devcie}", "there is no {devcie} here; did you mean device?", false},
		{"{clinet}", "did you mean client?", false},
		{"{zzzzzzzz}", "(known: device, topic, client", false},
		{"{key}", "on the way down only", false},
		{"{kafka.topic}", "on the way down only", false},
		{"{", "not closed", false},
		{"a}", "closes nothing", false},
		{"{}", "no name in it", false},
		{"{header.}", "missing", false},
		{"{header.mqtt.client}", "names of their own", false},
		{"{partition client}", "write {partition NAME N}", false},
		{"{partition client 0}", "1 or more", false},
		{"{partition client x}", "1 or more", false},
		{"{partition nobody 3}", "no {nobody}", false},
		{"{hash client 3}", "no {hash client 3}", false},
		{"{kafak.topic}", "did you mean kafka.topic?", true},
	} {
		_, err := newTemplate(c.text, scope{captures: []capture{{name: "device"}}, down: c.down})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.text, err, c.want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{site}.{rest}", "{{", "}}", "{partition client 3}", "{header.x}", "a{topic}b{", "{a b c d}"} {
		f.Add(s, "x/ü", true)
	}
	f.Fuzz(func(t *testing.T, text, value string, down bool) {
		tmpl, err := newTemplate(text, scope{captures: []capture{{name: "site"}}, down: down})
		if err != nil {
			return
		}
		v := &values{m: &linkspan.Message{Client: value}, captures: []string{value}, topic: value, down: down}
		if literal, ok := tmpl.literal(); ok && literal != string(tmpl.append(nil, v)) {
			t.Errorf("%q: literal %q differs from what is written", text, literal)
		}
		if !strings.ContainsAny(text, "{}") && text != string(tmpl.append(nil, v)) {
			t.Errorf("%q: text without braces is itself", text)
		}
		for rule := byDot; rule <= byEscape; rule++ {
			if name, ok := tmpl.appendName(nil, v, rule); ok && (len(name) == 0 || len(name) > maxKafkaName) {
				t.Errorf("%q gave a name of %d bytes", text, len(name))
			}
		}
	})
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, topic string
		want           []string // nil: no match
	}{
		{"commands", "commands", []string{}},
		{"commands", "commands2", nil},
		{"sensors.{site}", "sensors.hall-1", []string{"hall-1"}},
		{"sensors.{site}", "sensors.hall.1", nil},
		{"sensors.{site}", "sensors.", nil},
		{"{site}_cmd", "a_b_cmd", []string{"a_b"}},
		{"plant.{rest...}", "plant.a.b", []string{"a.b"}},
		{"{kind}.{site}.{rest...}", "x.y.z.w", []string{"x", "y", "z.w"}},
		{"{all...}", "__consumer_offsets", nil},
		{"{all...}", "_linkspan.sessions", nil},
		{"__consumer_offsets", "__consumer_offsets", []string{}},
		{"/(?<kind>[a-z]+)[.]cmd[.](?P<site>.+)|x/", "valve.cmd.1.2", []string{"valve", "1.2"}},
		{"/(?<kind>[a-z]+)[.]cmd/", "valve.cmd.1", nil},
		{"/(a|b)c/", "bc", []string{}},
	} {
		p, err := newPattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		got, ok := p.match(c.topic)
		if ok != (c.want != nil) || strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s on %s: got %q %v, want %q", c.pattern, c.topic, got, ok, c.want)
		}
		if why := p.why(c.topic); ok != (why == "") {
			t.Errorf("%s on %s: match %v, but why is %q", c.pattern, c.topic, ok, why)
		}
	}
}

func TestPatternErrorsSayWhatToDo(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                       "missing",
		"a/b":                    "'/' cannot be part of a Kafka topic",
		"a b":                    "' ' cannot be part of a Kafka topic",
		"sensors.#":              "no wildcards",
		"sensors.*":              "no wildcards",
		"{rest...}.x":            "at the end",
		"{a}.{a}":                "twice",
		"{a":                     "not closed",
		"/x":                     "between two slashes",
		"//":                     "between two slashes",
		"/(/":                    "does not compile",
		`/\Qx/`:                  "does not end",
		"/(?<topic>x)/":          "already means",
		"..":                     "cannot be named",
		strings.Repeat("a", 250): "250 bytes",
	} {
		if _, err := newPattern(pattern); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", pattern, err, want)
		}
	}
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"sensors.{site}", "{rest...}", "/(?<a>x+)/", "/", "{", "commands"} {
		f.Add(s, "sensors.hall-1")
	}
	f.Fuzz(func(t *testing.T, text, topic string) {
		p, err := newPattern(text)
		if err != nil {
			return
		}
		if captured, ok := p.match(topic); ok && len(captured) != len(p.captures) {
			t.Errorf("%q on %q: %d values for %d names", text, topic, len(captured), len(p.captures))
		}
	})
}
