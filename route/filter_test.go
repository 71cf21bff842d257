package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFilterMatches: filters match what MQTT says, neither less (CON-A3) nor more.
func TestFilterMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		captures      []string // nil: no match
	}{
		{"a/b", "a/b", []string{}},
		{"a/b", "a/c", nil},
		{"a/b", "a/b/c", nil},
		{"a/b", "a", nil},
		{"a/+", "a/b", []string{}},
		{"a/+", "a/", []string{}}, // a level may be empty [MQTT 4.7.1.3]
		{"a/+", "a", nil},
		{"+", "a", []string{}},
		{"+/+", "/finance", []string{}}, // [MQTT 4.7.1.3]
		{"/+", "/finance", []string{}},
		{"+", "/finance", nil},
		{"a/#", "a", []string{}}, // [MQTT 4.7.1.2]
		{"a/#", "a/b/c", []string{}},
		{"a/#", "ab", nil},
		{"#", "a/b", []string{}},
		{"#", "/", []string{}},
		{"#", "$SYS/x", nil}, // [MQTT-4.7.2-1]
		{"+/x", "$SYS/x", nil},
		{"{a}/x", "$SYS/x", nil},
		{"{rest...}", "$SYS/x", nil},
		{"$SYS/#", "$SYS/x", []string{}},
		{"$SYS/{what}", "$SYS/x", []string{"x"}},
		{"a/+/b", "a/$x/b", []string{}},
		{"sensors/{site}/{device}/+", "sensors/hall-1/t7/temp", []string{"hall-1", "t7"}},
		{"sensors/{site}/{device}/+", "sensors/hall-1/t7", nil},
		{"sensors/{site}/{device}/+", "sensors//t7/temp", []string{"", "t7"}},
		{"plant/{rest...}", "plant/a/b/c", []string{"a/b/c"}},
		{"plant/{rest...}", "plant", []string{""}},
		{"plant/{rest...}", "plant/", []string{""}},
		{"{all...}", "a//b", []string{"a//b"}},
		{"{a}/+/{b...}", "1/2/3/4", []string{"1", "3/4"}},
		{"räume/{raum}", "räume/Küche 1", []string{"Küche 1"}},
		{"a/{{b}}", "a/{b}", []string{}},
	} {
		f, err := newFilter(c.filter)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		got, ok := f.match(c.topic, []string{})
		if ok != (c.captures != nil) || ok && !slices.Equal(got, c.captures) {
			t.Errorf("%s on %s: got %q %v, want %q", c.filter, c.topic, got, ok, c.captures)
		}
		if why := f.why(c.topic); ok != (why == "") {
			t.Errorf("%s on %s: match %v, but why is %q", c.filter, c.topic, ok, why)
		}
	}
}

func TestFilterErrorsSayWhatToDo(t *testing.T) {
	for filter, want := range map[string]string{
		"":             "missing",
		"a/#/b":        "as the last level",
		"#/#":          "as the last level",
		"a/{r...}/b":   "as the last level",
		"a#":           "whole levels",
		"a/b+/c":       "whole levels",
		"a/{b":         "not closed",
		"a/b}":         "closes nothing",
		"a/{}":         "not a name",
		"a/{1st}":      "not a name",
		"a/{x}/{x}":    "twice",
		"a/{x}y":       "whole level",
		"a/{x}{y}":     "whole level",
		"a/{topic}":    "already means",
		"a/{key}/b":    "already means the key of the Kafka record",
		"a/b\x00c":     "null character",
		"a/b\xff":      "UTF-8",
		"a/{b{c}}":     "not closed",
		"a/{name....}": "not a name",
	} {
		if _, err := newFilter(filter); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", filter, err, want)
		}
	}
}

// TestEveryLegalTopicIsMatched: # takes whatever MQTT lets a device publish to (CON-A3).
func TestEveryLegalTopicIsMatched(t *testing.T) {
	table := mustNew(t, []Config{{From: "mqtt:{all...}", To: "kafka:all", Headers: map[string]string{"t": "{all}"}}}, devices())
	rapid.Check(t, func(t *rapid.T) {
		topic := legalTopic(t)
		m := published(topic)
		if _, err := table.Up(m); err != nil || string(m.Record.Header("t")) != topic {
			t.Fatalf("%q: %v, captured %q", topic, err, m.Record.Header("t"))
		}
	})
}

// legalTopic draws a topic name that a device may publish to.
func legalTopic(t *rapid.T) string {
	return rapid.OneOf(
		rapid.SampledFrom([]string{"/", "//", "a", "a/", "/a", "a//b", "a.b", "a_b", "a/b", "a b", ".", "..", "_", "-", "--", "a--b", "München/Halle 1", "a/$x", "%2f", "a:b,c"}),
		rapid.StringMatching(`[a-c._/ -]{1,12}`),
		rapid.StringN(1, 40, 200).Filter(func(s string) bool { return validTopic(s) && s[0] != '$' }),
	).Draw(t, "topic")
}

// TestFirstMatchWins compares the tree with asking the routes one by one (KAL-A4): whatever overlaps, it is always the
// same one route (CON-W3), so a message makes one record (CON-A2).
func TestFirstMatchWins(t *testing.T) {
	level := rapid.SampledFrom([]string{"a", "b", "", "+", "{x}"})
	rapid.Check(t, func(t *rapid.T) {
		root := newNode()
		var filters []*filter
		var texts []string
		for i := range rapid.IntRange(1, 12).Draw(t, "routes") {
			levels := rapid.SliceOfN(level, 0, 4).Draw(t, "levels")
			for j, l := range levels {
				levels[j] = strings.Replace(l, "x", fmt.Sprintf("x%d", j), 1)
			}
			if len(levels) == 0 || rapid.Bool().Draw(t, "rest") {
				levels = append(levels, "#")
			}
			text := strings.Join(levels, "/")
			if text == "" {
				text = "a"
			}
			f, err := newFilter(text)
			if err != nil {
				t.Fatal(text, err)
			}
			root.add(f, i)
			filters, texts = append(filters, f), append(texts, text)
		}
		topic := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "$c"}), 1, 5).Draw(t, "topic"), "/")
		want := slices.IndexFunc(filters, func(f *filter) bool { _, ok := f.match(topic, nil); return ok })
		if want < 0 {
			want = none
		}
		if got := root.find(topic); got != want {
			t.Fatalf("%q in %q: got %d, want %d", topic, texts, got, want)
		}
	})
}

func TestFiltersOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/+", "+/b", true}, {"a/#", "a", true}, {"a/#", "b/#", false},
		{"#", "x/y", true}, {"a/+", "a/b/c", false}, {"a/+/c", "a/b/#", true}, {"a", "a/+", false},
	} {
		f, _ := newFilter(c.a)
		g, _ := newFilter(c.b)
		if f.overlaps(g) != c.want || g.overlaps(f) != c.want {
			t.Errorf("%s and %s: got %v", c.a, c.b, f.overlaps(g))
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"sensors/{site}/{device}/+", "plant/{rest...}", "#", "a/#", "{", "}}", "a/{x}/{x}", "$SYS/+", "//"} {
		f.Add(s, "sensors/hall-1/t7/temp")
	}
	f.Fuzz(func(t *testing.T, text, topic string) {
		filter, err := newFilter(text)
		if err != nil || !validTopic(topic) {
			return
		}
		captured, ok := filter.match(topic, nil)
		if ok && len(captured) != len(filter.captures) {
			t.Errorf("%q on %q: %d values for %d names", text, topic, len(captured), len(filter.captures))
		}
		if ok != (filter.why(topic) == "") {
			t.Errorf("%q on %q: match %v, why %q", text, topic, ok, filter.why(topic))
		}
		if plain := filter.String(); !strings.ContainsAny(plain, "{}") {
			if g, err := newFilter(plain); err != nil || g.String() != plain {
				t.Errorf("%q subscribes to %q: %v", text, plain, err)
			} else if _, same := g.match(topic, nil); same != ok {
				t.Errorf("%q on %q: match %v, but %q, which is subscribed to, says otherwise", text, topic, ok, plain)
			}
		}
		root := newNode()
		root.add(filter, 0)
		if ok != (root.find(topic) == 0) {
			t.Errorf("%q on %q: match %v, but the tree says otherwise", text, topic, ok)
		}
	})
}
