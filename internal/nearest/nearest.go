// Package nearest guesses which name was meant by one that does not exist, for error messages.
package nearest

import (
	"slices"
	"strings"
)

// To returns the known name that is most like name, false if none is at all like it: the one with the fewest slips of the
// pen, or one that name is cut short from or goes on after.
func To(name string, known []string) (string, bool) {
	best, distance := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := edits(strings.ToLower(name), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best == "" {
		i := slices.IndexFunc(known, func(k string) bool { // as broker_list for brokers
			return len(name) > 2 && len(k) > 2 && (strings.HasPrefix(k, name) || strings.HasPrefix(name, strings.TrimSuffix(k, "s")))
		})
		if i >= 0 {
			best = known[i]
		}
	}
	return best, best != ""
}

// edits counts the insertions, deletions, replacements and swaps of neighbours that turn a into b.
func edits(a, b string) int {
	before, last, this := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		this[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			this[j] = min(last[j]+1, this[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				this[j] = min(this[j], before[j-2]+1)
			}
		}
		before, last, this = last, this, before
	}
	return last[len(b)]
}
