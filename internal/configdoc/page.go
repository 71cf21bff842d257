package main

import (
	_ "embed"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/linkspan/linkspan/bridge"
)

//go:embed intro.md
var intro string

// page returns docs/configuration.md. root is the folder of go.mod.
func page(root string) (string, error) {
	w := writer{comments: comments{root: root}, written: map[reflect.Type]place{}}
	w.b.WriteString(intro)
	w.section(place{}, reflect.ValueOf(bridge.Default()), "")
	return w.b.String(), w.err
}

// A writer writes the sections of the page, each a struct with a table of its keys.
type writer struct {
	b        strings.Builder
	comments comments
	written  map[reflect.Type]place // of a struct's section
	err      error
}

// field is one key of a section.
type field struct {
	key, comment string
	value        reflect.Value
}

// A place is where a section is: the path of its key, and the key that tells its shape where there are several.
type place struct{ path, with string }

func (p place) title() string {
	switch {
	case p.path == "":
		return "All keys"
	case p.with != "":
		return "`" + p.path + "` with `" + p.with + "`"
	}
	return "`" + p.path + "`"
}

// below is a section that is still to be written.
type below struct {
	place place
	about string
	v     reflect.Value
}

// section writes the keys of v, and then the sections under it.
func (w *writer) section(at place, v reflect.Value, about string) {
	fmt.Fprintf(&w.b, "\n## %s\n\n", at.title())
	if about != "" {
		fmt.Fprintf(&w.b, "%s\n\n", about)
	}
	w.b.WriteString("| key | type | default | meaning |\n|---|---|---|---|\n")
	var sections []below
	for _, f := range w.fields(v) {
		inner, suffix := element(f.value)
		key := "`" + f.key + "`"
		if inner.IsValid() {
			to := place{strings.TrimPrefix(at.path+"."+f.key+suffix, "."), at.with}
			next := w.under(to, f.comment, inner)
			if first, again := w.written[inner.Type()]; again {
				to, next = first, nil
			} else {
				to = next[0].place
				w.written[inner.Type()] = to
			}
			sections = append(sections, next...)
			key = fmt.Sprintf("[%s](#%s)", key, anchor(to.title()))
		}
		fmt.Fprintf(&w.b, "| %s | %s | %s | %s |\n", key, kind(f.value.Type()), preset(f.value), cell(f.comment))
	}
	for _, s := range sections {
		w.section(s.place, s.v, s.about)
	}
}

// under returns the sections for a struct: one, or one for each of its shapes.
func (w *writer) under(at place, about string, v reflect.Value) (all []below) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if key, ok := strings.CutPrefix(f.Tag.Get("yaml"), ",shape="); ok {
			comment, err := w.comments.of(v.Type(), f.Name)
			w.err = errors.Join(w.err, err)
			all = append(all, below{place{at.path, strings.Replace(key, ":", ": ", 1)}, comment, fresh(f.Type.Elem())})
		}
	}
	if all == nil {
		all = append(all, below{at, about, v})
	}
	return all
}

// fresh returns a value of t with its defaults.
func fresh(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if d, ok := p.Interface().(interface{ SetDefaults() }); ok {
		d.SetDefaults()
	}
	return p.Elem()
}

// fields returns the keys of a struct, with those of inlined structs in place.
func (w *writer) fields(v reflect.Value) (out []field) {
	t := v.Type()
	names := map[string]string{} // Go's name of a field to its key
	for i := range t.NumField() {
		key, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		names[t.Field(i).Name] = key
	}
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			out = append(out, w.fields(v.Field(i))...)
		case key != "" && key != "-":
			comment, err := w.comments.of(t, f.Name)
			w.err = errors.Join(w.err, err)
			out = append(out, field{key, inKeys(comment, names), v.Field(i)})
		}
	}
	return out
}

// element returns the struct whose keys a value has below it, and what its path needs between: a name, a number.
// Invalid: it is a plain value.
func element(v reflect.Value) (inner reflect.Value, suffix string) {
	t := v.Type()
	if t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
		suffix = map[reflect.Kind]string{reflect.Map: ".NAME", reflect.Slice: "[]"}[t.Kind()]
		t, v = t.Elem(), reflect.Value{}
	}
	if t.Kind() == reflect.Pointer {
		t, v = t.Elem(), reflect.Value{}
	}
	if t.Kind() != reflect.Struct || plain(t) {
		return reflect.Value{}, ""
	}
	if !v.IsValid() {
		v = fresh(t)
	}
	return v, suffix
}

// plain reports whether values of t are written as one text.
func plain(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// kind says in a word or two what is written for a value of t.
func kind(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case plain(t):
		return "text"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Struct:
		return "section"
	case reflect.Slice:
		if inner := kind(t.Elem()); inner != "section" {
			return "list of " + inner
		}
		return "list of sections"
	case reflect.Map:
		if kind(t.Elem()) == "section" {
			return "sections by name"
		}
		return "names with " + kind(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	}
	return "number"
}

// preset returns the default of a plain value, as it would be written, "" for nothing: what zero means is in the comment.
func preset(v reflect.Value) string {
	if v.IsZero() && v.Kind() != reflect.Bool {
		return ""
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return "`" + shorter(d) + "`"
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Pointer:
		if !plain(v.Type()) {
			return ""
		}
	}
	return "`" + fmt.Sprint(v.Interface()) + "`"
}

// shorter prints 20s and 1m for what Go prints as 20s and 1m0s.
func shorter(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var (
	opening = regexp.MustCompile(`^[A-Z]\w*( and [A-Z]\w*)?`)
	word    = regexp.MustCompile(`\b[A-Z]\w*\b`)
	humps   = regexp.MustCompile(`[a-z][A-Z]`)
)

// inKeys replaces the names that fields have in Go by their keys: those that a comment begins with, and those that can
// be nothing else. TLS in the middle of a sentence may well be TLS.
func inKeys(comment string, names map[string]string) string {
	asKey := func(w string) string {
		if key := names[w]; key != "" && key != "-" {
			return "`" + key + "`"
		}
		return w
	}
	start := opening.FindString(comment)
	rest := word.ReplaceAllStringFunc(comment[len(start):], func(w string) string {
		if humps.MatchString(w) {
			return asKey(w)
		}
		return w
	})
	return word.ReplaceAllStringFunc(start, asKey) + rest
}

// cell prepares a comment for a table.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// anchor returns the fragment of a section's heading.
func anchor(title string) string {
	keep := func(r rune) rune {
		switch {
		case strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789_-", r):
			return r
		case r == ' ':
			return '-'
		}
		return -1
	}
	return strings.Map(keep, strings.ToLower(title))
}
