package strict

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// maxDepth ends a value that contains itself through an alias.
const maxDepth = 50

// decode sets v from n. v keeps what n does not mention.
func (d *Decoder) decode(path string, n *yaml.Node, v reflect.Value) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if strings.Count(path, ".")+strings.Count(path, "[") > maxDepth {
		d.problem(path, n, "an alias contains itself")
		return
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // `key:` and `key: null` say nothing
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.scalar(path, n, v)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(newValue(v.Type().Elem()).Addr())
		}
		d.decode(path, n, v.Elem())
	case reflect.Struct:
		d.object(path, n, v)
	case reflect.Map:
		d.dictionary(path, n, v)
	case reflect.Slice:
		d.list(path, n, v)
	default:
		d.scalar(path, n, v)
	}
}

// newValue returns an addressable value of that type with its defaults.
func newValue(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if s, ok := p.Interface().(interface{ SetDefaults() }); ok {
		s.SetDefaults()
	}
	return p.Elem()
}

// object sets the fields of a struct.
func (d *Decoder) object(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(path, n, "must be a section with keys, not %s; known keys: %s", kindOf(n), strings.Join(Keys(v.Type()), ", "))
		return
	}
	if Shapes(v.Type()) != nil {
		d.shaped(path, n, v)
		return
	}
	for key, value := range d.pairs(path, n) {
		d.entry(path, key, value, v)
	}
}

// entry sets the field of a struct that a key names.
func (d *Decoder) entry(path string, key, value *yaml.Node, v reflect.Value) {
	at := join(path, key.Value)
	field, ok := fieldByKey(v, key.Value)
	if !ok {
		d.problem(at, key, "unknown key; %s", suggest(key.Value, Keys(v.Type())))
		return
	}
	d.said(at, d.place(key))
	d.decode(at, value, field)
}

// dictionary sets entries of a map with text keys.
func (d *Decoder) dictionary(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.MappingNode {
		d.problem(path, n, "must be names with their values (NAME: ...), not %s", kindOf(n))
		return
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	for key, value := range d.pairs(path, n) {
		at := join(path, key.Value)
		d.said(at, d.place(key))
		name := reflect.ValueOf(key.Value).Convert(v.Type().Key())
		elem := newValue(v.Type().Elem())
		if old := v.MapIndex(name); old.IsValid() {
			elem.Set(old)
		}
		d.decode(at, value, elem)
		v.SetMapIndex(name, elem)
	}
}

// list replaces a slice. A list of plain values may be written as one text with commas, as it comes from a variable.
func (d *Decoder) list(path string, n *yaml.Node, v reflect.Value) {
	out := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	add := func(n *yaml.Node) {
		at := fmt.Sprintf("%s[%d]", path, out.Len())
		d.said(at, d.place(n))
		elem := newValue(v.Type().Elem())
		d.decode(at, n, elem)
		out = reflect.Append(out, elem)
	}
	switch {
	case n.Kind == yaml.SequenceNode:
		for _, c := range n.Content {
			add(c)
		}
	case n.Kind == yaml.ScalarNode && !isSection(v.Type().Elem()):
		text, ok := d.expand(path, n)
		if !ok {
			return
		}
		was := d.literal
		d.literal = true
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				add(&yaml.Node{Kind: yaml.ScalarNode, Value: part, Line: n.Line, Column: n.Column})
			}
		}
		d.literal = was
	default:
		d.problem(path, n, "must be a list, not %s; put - before each entry", kindOf(n))
		return
	}
	v.Set(out)
}

// isSection reports whether values of t have keys of their own.
func isSection(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return false
	}
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Map
}

// scalar sets a single value.
func (d *Decoder) scalar(path string, n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.ScalarNode {
		remedy := ""
		if n.Style&yaml.FlowStyle != 0 && n.Kind == yaml.MappingNode {
			remedy = "; a text that begins with { needs quotes"
		}
		d.problem(path, n, "must be %s, not %s%s", wanted(v), kindOf(n), remedy)
		return
	}
	text, ok := d.expand(path, n)
	if !ok {
		return
	}
	if err := set(v, text); err != nil {
		shown := strconv.Quote(text)
		if text != n.Value {
			shown = "what " + n.Value + " stands for" // it may be a secret that got into the wrong place
		}
		if _, own := v.Addr().Interface().(encoding.TextUnmarshaler); own {
			d.problem(path, n, "%v", err)
			return
		}
		d.problem(path, n, "%s is not %s%s", shown, wanted(v), spelled(v, text))
	}
}

// spelled tells how to write a size that has a unit.
func spelled(v reflect.Value, text string) string {
	number := strings.TrimRight(text, "BbiKkMmGgTt ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(number):]))
	size, err := strconv.ParseFloat(number, 64)
	if err != nil || unit == "" || !v.CanInt() {
		return ""
	}
	of := 1000.0
	if strings.Contains(unit, "I") {
		of = 1024
	}
	size *= math.Pow(of, float64(strings.IndexByte("BKMGT", unit[0])))
	if size < 1 || size > 1<<60 {
		return ""
	}
	return fmt.Sprintf("; write %.0f", size)
}

var durationType = reflect.TypeFor[time.Duration]()

// set parses text into v.
func set(v reflect.Value, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	if v.Type() == durationType {
		t, err := time.ParseDuration(text)
		v.SetInt(int64(t))
		return err
	}
	plain := strings.ReplaceAll(text, "_", "") // 1_000_000
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return strconv.ErrSyntax
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(plain, 10, v.Type().Bits())
		v.SetInt(i)
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i, err := strconv.ParseUint(plain, 10, v.Type().Bits())
		v.SetUint(i)
		return err
	case reflect.Float32, reflect.Float64:
		f, err := strconv.ParseFloat(plain, v.Type().Bits())
		v.SetFloat(f)
		return err
	default:
		panic("strict: a configuration struct has a field of type " + v.Type().String())
	}
	return nil
}

// wanted says what text v takes.
func wanted(v reflect.Value) string {
	if v.Type() == durationType {
		return "a duration such as 20s, 150ms or 1m30s"
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if bits := v.Type().Bits(); bits < 64 {
			return fmt.Sprintf("a whole number from %d to %d", -1<<(bits-1), 1<<(bits-1)-1)
		}
		return "a whole number"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if bits := v.Type().Bits(); bits < 64 {
			return fmt.Sprintf("a whole number from 0 to %d", 1<<bits-1)
		}
		return "a whole number, not negative"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "a single value"
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section with keys"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// pairs yields the keys of a mapping with their values. Keys merged in with << come first where the mapping itself does
// not have them.
func (d *Decoder) pairs(path string, n *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	return func(yield func(k, v *yaml.Node) bool) {
		own := map[string]*yaml.Node{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			switch first, twice := own[k.Value]; {
			case k.Kind != yaml.ScalarNode:
				d.problem(path, k, "a key must be a single value")
				return
			case twice:
				d.problem(join(path, k.Value), k, "is there twice; the first is in line %d", first.Line)
			default:
				own[k.Value] = k
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag != "!!merge" {
				continue
			}
			for k, v := range d.merged(path, n.Content[i+1]) {
				if own[k.Value] == nil && !yield(k, v) {
					return
				}
			}
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Tag != "!!merge" && !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// merged yields the pairs of what << refers to.
func (d *Decoder) merged(path string, n *yaml.Node) func(yield func(k, v *yaml.Node) bool) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Kind != yaml.MappingNode || slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return c.Tag == "!!merge" }) {
		d.problem(path, n, "<< takes the alias of one section (<<: *name) that has no << itself")
		return func(func(k, v *yaml.Node) bool) {}
	}
	return d.pairs(path, n)
}
