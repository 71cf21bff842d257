package client

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// CON-A3, [MQTT-4.7.1-1] to [MQTT-4.7.2-1]: every legal topic that a filter matches.
func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a/b", false},
		{"a/b", "a", false},
		{"a/#", "a", true},
		{"a/#", "a/", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"#", "a/b", true},
		{"#", "/", true},
		{"#", "$SYS/x", false},
		{"+/x", "$SYS/x", false},
		{"$SYS/#", "$SYS/x", true},
		{"$SYS/+", "$SYS/x", true},
		{"+", "a", true},
		{"+", "", true},
		{"+", "/a", false},
		{"/+", "/a", true},
		{"+/+", "/a", true},
		{"+/+", "a/", true},
		{"a/+/c", "a//c", true},
		{"a/+/c", "a/b b:ü/c", true},
		{"a/+", "a", false},
		{"a/+/#", "a/b", true},
		{"a/+/#", "a", false},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%q matches %q: %v", c.filter, c.topic, got)
		}
	}
}

// CON-A2: what makes one message out of several matching filters on a broker of MQTT 3.
func TestDisjoint(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"a b c", "a b c"},
		{"a/# a/b", "a/#"},
		{"a/b a/#", "a/#"},
		{"a a/#", "a/#"},
		{"a/+ +/b", "+/+"},
		{"a/+ +/b c/d", "+/+"},
		{"x/y a/+ +/b", "+/+"},
		{"a/+/# a/b", "a/+/#"},
		{"a/+ a/#", "a/#"},
		{"a/b/+ a/+/c d/e", "a/+/+ d/e"},
		{"+/# a", "+/#"},
		{"# $SYS/#", "# $SYS/#"},
		{"+/b/# a/+", "+/+/#"},
		{"a/b a/b", "a/b"},
	} {
		if got := strings.Join(disjoint(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("disjoint(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// Whatever the filters: a topic that one of them matches is matched by exactly one of the disjoint ones, and by at most one
// in any case.
func TestDisjointMatchesOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	levels := []string{"a", "b", "", "+", "+", "$s"}
	for range 20_000 {
		var filters []string
		for range 1 + random.IntN(5) {
			f := make([]string, 1+random.IntN(4))
			for i := range f {
				f[i] = levels[random.IntN(len(levels))]
			}
			if random.IntN(3) == 0 {
				f[len(f)-1] = "#"
			}
			if text := strings.Join(f, "/"); text != "" {
				filters = append(filters, text)
			}
		}
		out := disjoint(filters)
		topic := make([]string, 1+random.IntN(4))
		for i := range topic {
			topic[i] = []string{"a", "b", "", "c", "$s"}[random.IntN(5)]
		}
		name := strings.Join(topic, "/")
		if name == "" {
			continue
		}
		match := func(f string) bool { return matches(f, name) }
		n := 0
		for _, f := range out {
			if match(f) {
				n++
			}
		}
		if n > 1 || n == 0 && slices.ContainsFunc(filters, match) {
			t.Fatalf("%q of %q match %q %d times", out, filters, name, n)
		}
	}
}

func FuzzDisjoint(f *testing.F) {
	f.Add("a/+", "+/b", "a/b")
	f.Fuzz(func(t *testing.T, a, b, topic string) {
		if a == "" || b == "" || topic == "" || strings.ContainsAny(topic, "+#") {
			return
		}
		for _, x := range []string{a, b} {
			for i, level := range strings.Split(x, "/") {
				if strings.ContainsAny(level, "+#") && len(level) > 1 || level == "#" && i != strings.Count(x, "/") || isShared(x) {
					return
				}
			}
		}
		n := 0
		for _, g := range disjoint([]string{a, b}) {
			if matches(g, topic) {
				n++
			}
		}
		if n > 1 || n == 0 && (matches(a, topic) || matches(b, topic)) {
			t.Errorf("%q and %q: %q matches %d times", a, b, topic, n)
		}
	})
}
