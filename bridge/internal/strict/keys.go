package strict

import (
	"reflect"
	"slices"
	"strings"
)

// A Field is one key of a struct.
type Field struct {
	Key   string // as the yaml tag names it
	Owner reflect.Type
	reflect.StructField
}

// Fields returns the keys of a struct in the order of their declaration, those of inlined structs in place. A field
// without a yaml tag, or with "-", has no key; nor have those that [Shapes] returns.
func Fields(t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case strings.HasPrefix(options, shapeOption): // a section of its own shape
		case options == "inline":
			for _, inner := range Fields(f.Type) {
				inner.Index = append([]int{i}, inner.Index...)
				out = append(out, inner)
			}
		case key != "" && key != "-":
			out = append(out, Field{key, t, f})
		}
	}
	return out
}

// Keys returns the keys of a struct in the order of their declaration, those of all its shapes without repeats.
func Keys(t reflect.Type) []string {
	var keys []string
	for _, s := range Shapes(t) {
		for _, k := range Keys(s.Type) {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	for _, f := range Fields(t) {
		keys = append(keys, f.Key)
	}
	return keys
}

func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	for _, f := range Fields(v.Type()) {
		if f.Key == key {
			return v.FieldByIndex(f.Index), true
		}
	}
	return reflect.Value{}, false
}

// suggest says which of the known names was meant, or all of them where none is near.
func suggest(name string, known []string) string {
	if best, ok := Nearest(name, known); ok {
		return "did you mean " + best + "?"
	}
	return "known keys here: " + strings.Join(known, ", ")
}

// Nearest returns the name that is most like the given one, false if none is at all like it.
func Nearest(name string, known []string) (string, bool) {
	best, distance := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := edits(strings.ToLower(name), strings.ToLower(k)); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best == "" {
		// A name that was cut short or is too long, as in broker_list for brokers.
		i := slices.IndexFunc(known, func(k string) bool {
			return len(name) > 2 && (strings.HasPrefix(k, name) || strings.HasPrefix(name, strings.TrimSuffix(k, "s")))
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
