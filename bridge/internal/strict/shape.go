package strict

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Shape is one of the forms that a section can have. A struct whose fields are pointers to structs, tagged
// yaml:",shape=KEY" or yaml:",shape=KEY:PREFIX", stands for a section with the keys of one of them: of the one whose KEY is there, and
// whose PREFIX the value begins with where there are several. The other fields stay nil, and so do all where no KEY is there.
type Shape struct {
	Key    string // that tells
	Prefix string // of its value; "": any that no other shape has
	Index  int    // of the field
	Type   reflect.Type
}

// String tells the shape as people write it: KEY, or KEY: PREFIX.
func (s Shape) String() string {
	if s.Prefix == "" {
		return s.Key
	}
	return s.Key + ": " + s.Prefix
}

const shapeOption = "shape="

// Shapes returns the forms of a section, none for one that has but one.
func Shapes(t reflect.Type) (shapes []Shape) {
	for i := range t.NumField() {
		_, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if tells, ok := strings.CutPrefix(options, shapeOption); ok {
			key, prefix, _ := strings.Cut(tells, ":")
			shapes = append(shapes, Shape{key, prefix, i, t.Field(i).Type.Elem()})
		}
	}
	return shapes
}

// chosenFirst returns the shapes of v, and first the one that it has.
func chosenFirst(v reflect.Value) []Shape {
	shapes := Shapes(v.Type())
	if i := slices.IndexFunc(shapes, func(s Shape) bool { return !v.Field(s.Index).IsNil() }); i > 0 {
		shapes[0], shapes[i] = shapes[i], shapes[0]
	}
	return shapes
}

// shapeKeys returns the keys that tell the shape of any section in t.
func shapeKeys(t reflect.Type) (keys []string) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for _, s := range Shapes(t) {
		keys = append(keys, s.Key)
	}
	for _, f := range Fields(t) {
		keys = append(keys, shapeKeys(f.Type)...)
	}
	return keys
}

// shaped sets the fields of the struct whose shape the section n has. A section keeps the shape that it was read with before.
func (d *Decoder) shaped(path string, n *yaml.Node, v reflect.Value) {
	type pair struct{ key, value *yaml.Node }
	var pairs []pair
	for key, value := range d.pairs(path, n) {
		pairs = append(pairs, pair{key, value})
	}
	shapes := Shapes(v.Type())
	has := slices.IndexFunc(shapes, func(s Shape) bool { return !v.Field(s.Index).IsNil() })
	for _, p := range pairs {
		i := d.told(shapes, p.key.Value, p.value)
		switch {
		case i < 0 || p.value.Tag == "!!null":
		case has >= 0 && shapes[has].Key != shapes[i].Key:
			d.problem(join(path, p.key.Value), p.key, "stands beside %s, and only one of the two can be; remove one", shapes[has].Key)
			return
		case has >= 0 && has != i:
			d.problem(join(path, p.key.Value), p.key, "this was a section with %s before, which has other keys than one with %s; give that a name of its own", shapes[has], shapes[i])
			return
		default:
			has = i
		}
	}
	for _, p := range pairs {
		at := join(path, p.key.Value)
		known := slices.Contains(Keys(v.Type()), p.key.Value)
		switch {
		case !known:
			d.problem(at, p.key, "unknown key; %s", suggest(p.key.Value, Keys(v.Type())))
		case has < 0:
			d.said(at, d.place(p.key)) // whoever judges the section as a whole says what is missing
		case !slices.Contains(Keys(shapes[has].Type), p.key.Value):
			other := slices.IndexFunc(shapes, func(s Shape) bool { return slices.Contains(Keys(s.Type), p.key.Value) })
			d.problem(at, p.key, "goes with %s, and this section has %s; remove it", shapes[other], shapes[has])
		default:
			into := v.Field(shapes[has].Index)
			if into.IsNil() {
				into.Set(newValue(shapes[has].Type).Addr())
			}
			d.entry(path, p.key, p.value, into.Elem())
		}
	}
}

// told returns which shape a key and its value tell of, -1 for none.
func (d *Decoder) told(shapes []Shape, key string, value *yaml.Node) int {
	text, found := "", -1
	for i, s := range shapes {
		if s.Key != key {
			continue
		}
		if text == "" && s.Prefix != "" {
			text = d.glance(value)
		}
		if strings.HasPrefix(text, s.Prefix) && (found < 0 || s.Prefix != "") {
			found = i
		}
	}
	return found
}

// glance returns the text of a value, or of the first in a list. What is wrong with it is told when it is read.
func (d *Decoder) glance(n *yaml.Node) string {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	switch {
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && n.Content[0].Kind == yaml.ScalarNode:
		return d.glance(n.Content[0])
	case n.Kind != yaml.ScalarNode:
		return ""
	case d.literal || d.Verbatim:
		return n.Value
	}
	return variable.ReplaceAllStringFunc(n.Value, func(s string) string {
		value, _ := d.standsFor(s)
		return value
	})
}
