package route

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func kafkaName(t testing.TB, rule naming, topic string) (string, bool) {
	t.Helper()
	name, ok := rule.finish(rule.append(nil, topic), 0)
	if ok {
		if err := checkKafkaName(string(name)); err != nil {
			t.Fatalf("%q became %q: %v", topic, name, err)
		}
	}
	return string(name), ok
}

// TestNames: `a/b/c` is a.b.c unless told otherwise, _ can be chosen, and what would collide or be illegal is told apart (UNS-A1).
func TestNames(t *testing.T) {
	// * stands for a digest.
	for _, c := range []struct{ topic, dot, underscore, escape string }{
		{"a/b/c", "a.b.c", "a_b_c", "a.b.c"},
		{"hall-1/t7", "hall-1.t7", "hall-1_t7", "hall--1.t7"},
		{"a_b", "a_b", "a_b--*", "a-_b"},
		{"a.b", "a_b--*", "a.b", "a-2eb"},
		{"a b", "a_b--*", "a_b--*", "a-20b"},
		{"ü", "_--*", "_--*", "-c3-bc"},
		{"a--b", "a--b--*", "a--b--*", "a----b"},
		{"/a//", ".a..", "_a__", ".a.."},
		{"/", ".--*", "_", "-2f"},
		{"//", "..--*", "", "-2f-2f"},
	} {
		for rule, want := range map[naming]string{byDot: c.dot, byUnderscore: c.underscore, byEscape: c.escape} {
			got, ok := kafkaName(t, rule, c.topic)
			if readable, marked := strings.CutSuffix(want, "*"); marked && len(got) == len(readable)+digestLen {
				want = readable + got[len(readable):]
			}
			if ok == (want == "") || got != want && ok {
				t.Errorf("%q by rule %d: got %q %v, want %q", c.topic, rule, got, ok, want)
			}
		}
	}
}

// TestLongNames: the lossy rules cut and mark, the escape refuses: it could not be turned back (UNS-A1).
func TestLongNames(t *testing.T) {
	long := strings.Repeat("a", maxKafkaName)
	for rule := byDot; rule <= byPlain; rule++ {
		if got, ok := kafkaName(t, rule, long); !ok || got != long {
			t.Errorf("rule %d: %d bytes fit", rule, maxKafkaName)
		}
	}
	one, ok1 := kafkaName(t, byDot, long+"1")
	two, ok2 := kafkaName(t, byDot, long+"2")
	if !ok1 || !ok2 || one == two || len(one) != maxKafkaName {
		t.Errorf("longer ones are cut and told apart, got %q and %q", one, two)
	}
	if _, ok := kafkaName(t, byEscape, long+"1"); ok {
		t.Error("the escape refuses what does not fit")
	}
	if _, ok := kafkaName(t, byDot, ""); ok {
		t.Error("an empty name is refused")
	}
}

// TestNamesDiffer: no rule gives two topics one name (UNS-A1, UNS-W6). The escape gives none that Kafka, which counts dot
// and underscore as one, would take for another's.
func TestNamesDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := legalTopic(t), legalTopic(t)
		if a == b {
			return
		}
		for rule := byDot; rule <= byEscape; rule++ {
			x, ok1 := rule.finish(rule.append(nil, a), 0)
			y, ok2 := rule.finish(rule.append(nil, b), 0)
			if !ok1 || !ok2 {
				continue
			}
			if rule == byEscape {
				x, y = []byte(strings.ReplaceAll(string(x), ".", "_")), []byte(strings.ReplaceAll(string(y), ".", "_"))
			}
			if string(x) == string(y) {
				t.Fatalf("%q and %q are both %q by rule %d", a, b, x, rule)
			}
		}
	})
}

func TestEscapeIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { escapeRoundTrip(t, legalTopic(t)) })
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func escapeRoundTrip(t fataler, topic string) {
	name := string(byEscape.append(nil, topic))
	if got, ok := unescape(name); !ok || got != topic {
		t.Fatalf("%q became %q and came back as %q %v", topic, name, got, ok)
	}
	for _, r := range name {
		if !isKafka(r) {
			t.Fatalf("%q became %q", topic, name)
		}
	}
	if name == "." || name == ".." {
		t.Fatalf("%q became %q", topic, name)
	}
}

func TestUnescapeRefusesWhatWasNotEscaped(t *testing.T) {
	for _, name := range []string{"a_b", "a-", "a-2", "a-zz", "a-2F", "a b", "ü"} {
		if got, ok := unescape(name); ok {
			t.Errorf("%q came back as %q", name, got)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"a/b", "/", "//", "a.b_c-d", "ü/$x y", "--", strings.Repeat("ab/", 100)} {
		f.Add(s)
	}
	f.Add("__consumer_offsets")
	f.Add("_linkspan/sessions")
	f.Fuzz(func(t *testing.T, topic string) {
		if !validTopic(topic) {
			return
		}
		escapeRoundTrip(t, topic)
		for rule := byDot; rule <= byPlain; rule++ {
			if name, ok := kafkaName(t, rule, topic); ok && internal(name) {
				t.Errorf("%q by rule %d is %q", topic, rule, name)
			}
		}
	})
}

func FuzzUnescape(f *testing.F) {
	f.Add("a.b-2e--c-_")
	f.Fuzz(func(t *testing.T, name string) {
		if text, ok := unescape(name); ok {
			if again, ok := unescape(string(byEscape.append(nil, text))); !ok || again != text {
				t.Errorf("%q is %q, which comes back as %q", name, text, again)
			}
		}
	})
}

// TestLogicalPartitions are Kalinka's own vectors (KAL-A6).
func TestLogicalPartitions(t *testing.T) {
	for p, names := range []string{"cyclops beast archangel mystique", "pyro phoenix rouge colossus", "wolverine iceman sabretooth jean"} {
		for _, name := range strings.Fields(names) {
			if got := logicalPartition(name, 3); got != uint32(p) {
				t.Errorf("%s of 3: got %d, want %d", name, got, p)
			}
		}
	}
	for name, p := range map[string]uint32{"cyclops": 0, "archangel": 1, "beast": 0, "src": 1} {
		if got := logicalPartition(name, 2); got != p {
			t.Errorf("%s of 2: got %d, want %d", name, got, p)
		}
	}
}
