package strict

import (
	"reflect"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/internal/nearest"
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
	if best, ok := nearest.To(name, known); ok {
		return "did you mean " + best + "?"
	}
	return "known keys here: " + strings.Join(known, ", ")
}
