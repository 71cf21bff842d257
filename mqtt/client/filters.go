package client

import (
	"slices"
	"strings"
)

const sharePrefix = "$share/"

// unshared returns the filter of a shared subscription without $share/NAME/ [MQTT 4.8.2], and any other as it is.
func unshared(filter string) string {
	rest, shared := strings.CutPrefix(filter, sharePrefix)
	if _, inner, ok := strings.Cut(rest, "/"); shared && ok {
		return inner
	}
	return filter
}

func isShared(filter string) bool { return strings.HasPrefix(filter, sharePrefix) }

// matches reports whether a topic name matches a filter, not a shared one [MQTT 4.7.1].
func matches(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && (filter[0] == '+' || filter[0] == '#') { // [MQTT-4.7.2-1]
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		want, wants, moreWanted := strings.Cut(filter, "/")
		have, has, more := strings.Cut(topic, "/")
		if want != "+" && want != have {
			return false
		}
		if !more {
			return !moreWanted || wants == "#" // a/# matches a, too
		}
		if !moreWanted {
			return false
		}
		filter, topic = wants, has
	}
}

// A pattern is a filter by its levels.
type pattern []string

func split(filter string) pattern { return strings.Split(unshared(filter), "/") }

// system reports whether the pattern matches only topics that begin with $, which wildcards do not.
func (p pattern) system() bool { return strings.HasPrefix(p[0], "$") }

func (p pattern) wild() bool { return p[0] == "+" || p[0] == "#" }

// overlaps reports whether there is a topic that both match.
func (p pattern) overlaps(q pattern) bool {
	if p.wild() && q.system() || q.wild() && p.system() {
		return false
	}
	for i := 0; ; i++ {
		switch {
		case i < len(p) && p[i] == "#", i < len(q) && q[i] == "#":
			return true
		case i == len(p) || i == len(q):
			return len(p) == len(q)
		case p[i] != q[i] && p[i] != "+" && q[i] != "+":
			return false
		}
	}
}

// join returns the narrowest filter that covers two that overlap.
func (p pattern) join(q pattern) pattern {
	var out pattern
	for i := 0; ; i++ {
		switch {
		case i == len(p) && i == len(q):
			return out
		case i == len(p) || i == len(q) || p[i] == "#" || q[i] == "#":
			return append(out, "#")
		case p[i] == q[i]:
			out = append(out, p[i])
		default:
			out = append(out, "+")
		}
	}
}

// overlapping returns the pairs of filters that have topics in common, as one text each.
func overlapping(filters []string) (pairs []string) {
	for i, f := range filters {
		for _, g := range filters[:i] {
			if split(g).overlaps(split(f)) {
				pairs = append(pairs, g+" and "+f)
			}
		}
	}
	return pairs
}

// disjoint returns filters of which no two have topics in common, and which together match all that the given ones do. Where
// two overlap in part the result matches more: what neither of them does.
func disjoint(filters []string) []string {
	out := slices.Clone(filters)
	for i := 0; i < len(out); i++ {
		for j := 0; j < i; j++ {
			p, q := split(out[j]), split(out[i])
			if !p.overlaps(q) {
				continue
			}
			out[j] = strings.Join(p.join(q), "/")
			out = slices.Delete(out, i, i+1)
			i = -1 // the joined one may overlap others
			break
		}
	}
	return out
}
