package migrate

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
)

// takes reports whether a filter with {names} takes a topic, and what the names stand for [MQTT 4.7].
func takes(filter, topic string) (map[string]string, bool) {
	names := map[string]string{}
	levels, rest := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, l := range levels {
		name, named := strings.CutPrefix(strings.TrimSuffix(l, "}"), "{")
		named = named && !strings.HasPrefix(name, "{")
		switch {
		case l == "#":
			return names, true
		case named && strings.HasSuffix(name, "..."):
			names["{"+strings.TrimSuffix(name, "...")+"}"] = strings.Join(rest[min(i, len(rest)):], "/")
			return names, true
		case i >= len(rest):
			return nil, false
		case named:
			names["{"+name+"}"] = rest[i]
		case l != "+" && l != verbatim(rest[i]):
			return nil, false
		}
	}
	return names, len(levels) == len(rest)
}

// topics are made of all the levels that the expressions of a test care for.
func topics() (all []string) {
	levels := []string{"a", "b", "room", "room1", "42", "é x", "", "all", "new"}
	for _, x := range levels {
		all = append(all, x)
		for _, y := range levels {
			all = append(all, x+"/"+y)
			for _, z := range levels {
				all = append(all, x+"/"+y+"/"+z)
			}
		}
	}
	return all
}

// compare checks that filters take what the expression does and fill a template in the same way, except for what is said.
func compare(t *testing.T, expr string, ways []converted) {
	t.Helper()
	re := regexp.MustCompile(`^(?:` + expr + `)$`)
	for _, topic := range topics() {
		m := re.FindStringSubmatch(topic)
		var taken *converted
		var names map[string]string
		for i := range ways {
			if n, ok := takes(ways[i].filter, topic); ok && taken == nil {
				taken, names = &ways[i], n
			}
		}
		empty := topic == "" || strings.Contains("/"+topic+"/", "//") // + takes an empty level, [^/]+ does not
		switch {
		case m == nil && taken != nil && taken.wider == "" && !empty:
			t.Errorf("%s: %s takes %q", expr, taken.filter, topic)
		case m != nil && taken == nil:
			if narrow := func() bool {
				for _, w := range ways {
					if w.narrower != "" {
						return true
					}
				}
				return false
			}(); !narrow {
				t.Errorf("%s: nothing takes %q", expr, topic)
			}
		case m != nil:
			for i, want := range m[1:] {
				value, known := taken.groups[i+1]
				if !known {
					continue
				}
				if name, ok := names[value]; ok {
					value = name
				}
				if value != want && value != verbatim(want) {
					t.Errorf("%s: %q: $%d is %q, want %q", expr, topic, i+1, value, want)
				}
			}
		}
	}
}

func TestExpressionsBecomeFilters(t *testing.T) {
	for expr, want := range map[string]string{
		`a/b`:                      "a/b",
		`^a/b$`:                    "a/b",
		`a\/b`:                     "a/b",
		`a/([^/]+)/b`:              "a/{g1}/b",
		`([^/]+)/([^/]+)`:          "{g1}/{g2}",
		`(([^/]+))/b`:              "{g1}/b",
		`.*`:                       "#",
		`(.*)`:                     "{g1...}",
		`a/.*`:                     "a/+/#",
		`a/(.*)`:                   "a/{g1...}",
		`a.*`:                      "a/#",
		`a(?:\/.*)?$`:              "a/#",
		`([^/]+)(/.*)?`:            "{g1}/+/#|{g1}",
		`a/(all|new)`:              "a/all|a/new",
		`a/(\b(all|new)\b)/[^/]*`:  "a/all/+|a/new/+",
		`(a|b)/(all|new)`:          "a/all|a/new|b/all|b/new",
		`room[12]?/b`:              "room1/b|room2/b|room/b",
		`a/(\d{1,4})`:              "a/{g1}",
		`a/room\d+`:                "a/+",
		`(a/b)/room`:               "a/b/room",
		`(?:a|a/b)/42`:             "a/42|a/b/42",
		`a\+\{x}/b`:                "a+{{x}}/b",
		`(?<site>[^/]+)/(?:room)?`: "{g1}/room|{g1}/",
	} {
		ways, err := convert(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		var got []string
		for _, w := range ways {
			got = append(got, w.filter)
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q, want %s", expr, got, want)
		}
		compare(t, expr, ways)
	}
}

// What no filter can say is an error, never a filter that does something else.
func TestExpressionsThatAreNoFilters(t *testing.T) {
	for expr, want := range map[string]string{
		`a/.*/b`:                    ".* is not at its end",
		`.*a`:                       ".* is not at its end",
		`a/.{1,3}`:                  "may match a slash",
		`a/[^b]+`:                   "may match a slash",
		`([^/]+/)+b`:                "beyond what topic filters can say",
		`(?i)a/b`:                   "case is ignored",
		`a(?!b)`:                    "not understood",
		`a/(`:                       "not understood",
		`[abcd]{4}\Bx`:              "beyond",
		`[abcd][abcd]a[abcd][abcd]`: "more than 32 alternatives",
	} {
		if ways, err := convert(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", expr, ways, err, want)
		}
	}
}

// What a group stands for is not known where the filter takes topics of another alternative, too.
func TestGroupsOfOtherAlternatives(t *testing.T) {
	for expr, known := range map[string]string{
		`(a*0(000))?a`: "",
		`(\d+)|(room)`: "",
		`x(1)\d|y(2)b`: "",
		`(\d+|room)/b`: "{g1}",
		`room(1)\d`:    "1",
	} {
		ways, err := convert(expr)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		if w := ways[0]; w.wider == "" || w.groups[1] != known || w.groups[2] != "" {
			t.Errorf("%s: %+v", expr, w)
		}
		compare(t, expr, ways)
	}
}

func FuzzConvert(f *testing.F) {
	for _, s := range []string{`a/(\w+)/room/(\d{1,4})/.*`, `a.*`, `l/([^/]+)(?:\/.*)?$`, `d/(\b(all|new|old)\b)`, `(a|b(c|d))?/[xy]`, `((a))/((.*))`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, expr string) {
		ways, err := convert(expr)
		if err != nil || strings.ContainsAny(expr, "\b\n+#{}") || strings.Contains(expr, `\b`) || strings.Contains(expr, `\Q`) {
			return // what repeats is compared by the table; + # { } may be literal text here that topics cannot have; \Q quotes what follows
		}
		if re, err := syntax.Parse(expr, syntax.Perl); err == nil && re.MaxCap() < 20 {
			compare(t, expr, ways)
		}
	})
}
