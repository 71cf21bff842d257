package strict

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A Shape is one of the forms that a section can have. A struct whose fields are pointers to structs, tagged
// yaml:",shape=KEY", stands for a section with the keys of one of them: of the one whose KEY is there. The other fields stay
// nil, and so do all where no KEY is there.
type Shape struct {
	Key   string // that tells
	Index int    // of the field
	Type  reflect.Type
}

const shapeOption = "shape="

// Shapes returns the forms of a section, none for one that has but one.
func Shapes(t reflect.Type) (shapes []Shape) {
	for i := range t.NumField() {
		_, options, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if key, ok := strings.CutPrefix(options, shapeOption); ok {
			shapes = append(shapes, Shape{key, i, t.Field(i).Type.Elem()})
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
		i := slices.IndexFunc(shapes, func(s Shape) bool { return s.Key == p.key.Value })
		switch {
		case i < 0 || p.value.Tag == "!!null":
		case has >= 0 && has != i:
			d.problem(join(path, p.key.Value), p.key, "stands beside %s, and only one of the two can be; remove one", shapes[has].Key)
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
			d.problem(at, p.key, "goes with %s, and this section has %s; remove it", shapes[other].Key, shapes[has].Key)
		default:
			into := v.Field(shapes[has].Index)
			if into.IsNil() {
				into.Set(newValue(shapes[has].Type).Addr())
			}
			d.entry(path, p.key, p.value, into.Elem())
		}
	}
}
