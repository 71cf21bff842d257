package nearest

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTo(t *testing.T) {
	known := []string{"brokers", "embedded", "tls", "sasl", "s", "drain_timeout"}
	for name, want := range map[string]string{
		"broker": "brokers", "Brokers": "brokers", "brokers_list": "brokers", "embeded": "embedded", "tsl": "tls", "drain": "drain_timeout",
		"xyz": "", "": "", "something_else": "",
	} {
		if got, ok := To(name, known); got != want || ok != (want != "") {
			t.Errorf("To(%q) = %q %v, want %q", name, got, ok, want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"device", "devcie", 1}, {"kitten", "sitting", 3}, {"ab", "ba", 1}, {"abc", "ca", 3},
	} {
		if got := edits(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// TestSlips: a name with one slip of the pen is found again, and what is found is always a known name.
func TestSlips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := []byte(rapid.StringMatching(`[a-z]{4,12}`).Draw(t, "name"))
		slip := slices.Clone(name)
		switch i := rapid.IntRange(0, len(name)-2).Draw(t, "place"); rapid.IntRange(0, 3).Draw(t, "slip") {
		case 0:
			slip = slices.Delete(slip, i, i+1)
		case 1:
			slip = slices.Insert(slip, i, '_')
		case 2:
			slip[i] = '_'
		default:
			slip[i], slip[i+1] = slip[i+1], slip[i]
		}
		if got, ok := To(string(slip), []string{string(name), "0123456789abcdef"}); !ok || got != string(name) {
			t.Fatalf("%s for %s: %q %v", slip, name, got, ok)
		}
		known := rapid.SliceOf(rapid.String()).Draw(t, "known")
		if got, ok := To(rapid.String().Draw(t, "any"), known); ok != (got != "") || ok && !slices.Contains(known, got) {
			t.Fatalf("%q is not one of %q", got, known)
		}
	})
}
