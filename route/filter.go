package route

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A filter is an MQTT topic filter [MQTT 4.7] whose wildcards may have names: {name} is a + and {name...} a #.
type filter struct {
	levels   []level
	rest     bool // ends in # or {name...}: the level before it and everything below
	named    bool // the rest has a name; its capture is the last
	captures []capture
}

// A level of a filter is literal text, or any one level.
type level struct {
	literal string
	any     bool
	named   bool
}

func newFilter(text string) (*filter, error) {
	if text == "" {
		return nil, errors.New("the topic filter is missing: write mqtt:# for every topic")
	}
	parts, err := scan(text)
	if err != nil {
		return nil, err
	}
	f := &filter{}
	for _, parts := range byLevel(parts) {
		if f.rest {
			return nil, errors.New("# and {name...} stand for all the rest: they come once, as the last level")
		}
		if err := f.add(parts); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// byLevel deals the parts out to the levels between the slashes of the literal ones.
func byLevel(parts []part) [][]part {
	levels := [][]part{nil}
	for _, p := range parts {
		if p.hole {
			levels[len(levels)-1] = append(levels[len(levels)-1], p)
			continue
		}
		for i, text := range strings.Split(p.text, "/") {
			if i > 0 {
				levels = append(levels, nil)
			}
			if text != "" {
				levels[len(levels)-1] = append(levels[len(levels)-1], part{text: text})
			}
		}
	}
	return levels
}

// add takes one more level.
func (f *filter) add(parts []part) error {
	switch {
	case len(parts) == 0:
		f.levels = append(f.levels, level{})
	case len(parts) > 1:
		return errors.New("a placeholder is a whole level: put / before and after it")
	case parts[0].hole:
		c, err := newCapture(parts[0].text, f.captures)
		if err != nil {
			return err
		}
		f.captures = append(f.captures, c)
		if c.rest {
			f.rest, f.named = true, true
		} else {
			f.levels = append(f.levels, level{any: true, named: true})
		}
	case parts[0].text == "#":
		f.rest = true
	case parts[0].text == "+":
		f.levels = append(f.levels, level{any: true})
	case strings.ContainsAny(parts[0].text, "+#"):
		return fmt.Errorf("%q: + and # stand for whole levels [MQTT-4.7.1-1, MQTT-4.7.1-2]", parts[0].text)
	default:
		if err := checkTopicText(parts[0].text); err != nil {
			return err
		}
		f.levels = append(f.levels, level{literal: parts[0].text})
	}
	return nil
}

// match appends to captured what the named parts stand for in topic. captured is worth nothing where it returns false.
func (f *filter) match(topic string, captured []string) ([]string, bool) {
	if strings.HasPrefix(topic, "$") && f.wild() {
		return captured, false // [MQTT-4.7.2-1]
	}
	rest, more := topic, true
	for _, l := range f.levels {
		if !more {
			return captured, false
		}
		var text string
		text, rest, more = strings.Cut(rest, "/")
		if !l.any && l.literal != text {
			return captured, false
		}
		if l.named {
			captured = append(captured, text)
		}
	}
	if f.named {
		captured = append(captured, rest) // "" for a itself under a/{rest...}
	}
	return captured, f.rest || !more
}

// String returns f as MQTT writes it.
func (f *filter) String() string {
	var levels []string
	for _, l := range f.levels {
		if l.any {
			l.literal = "+"
		}
		levels = append(levels, l.literal)
	}
	if f.rest {
		levels = append(levels, "#")
	}
	return strings.Join(levels, "/")
}

// exact reports whether f has no wildcards.
func (f *filter) exact() bool {
	return !f.rest && !slices.ContainsFunc(f.levels, func(l level) bool { return l.any })
}

// wild reports whether the first level is a wildcard.
func (f *filter) wild() bool { return len(f.levels) == 0 || f.levels[0].any }

// why says what keeps topic from matching, "" where it does match.
func (f *filter) why(topic string) string {
	if _, ok := f.match(topic, nil); ok {
		return ""
	}
	if strings.HasPrefix(topic, "$") && f.wild() {
		return "wildcards do not match a topic that begins with $ [MQTT-4.7.2-1]"
	}
	levels := strings.Split(topic, "/")
	for i, l := range f.levels {
		if i < len(levels) && !l.any && l.literal != levels[i] {
			return fmt.Sprintf("level %d is %q, not %q", i+1, levels[i], l.literal)
		}
	}
	if len(levels) < len(f.levels) {
		return fmt.Sprintf("the topic has fewer levels than the filter: %d, not %d", len(levels), len(f.levels))
	}
	return fmt.Sprintf("the topic has more levels than the filter: %d, not %d", len(levels), len(f.levels))
}

// overlaps reports whether some topic matches both filters.
func (f *filter) overlaps(g *filter) bool {
	for i := 0; ; i++ {
		fEnd, gEnd := i == len(f.levels), i == len(g.levels)
		switch {
		case fEnd && f.rest || gEnd && g.rest:
			return true
		case fEnd || gEnd:
			return fEnd && gEnd
		}
		a, b := f.levels[i], g.levels[i]
		if !a.any && !b.any && a.literal != b.literal {
			return false
		}
	}
}

// checkTopicText says what is wrong with text as a part of an MQTT topic name [MQTT 1.5.4].
func checkTopicText(text string) error {
	if !validText(text) {
		return fmt.Errorf("%q is not UTF-8 without a null character, as MQTT wants it [MQTT-1.5.4-1, MQTT-1.5.4-2]", text)
	}
	return nil
}
