package strict

import (
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/linkspan/linkspan/internal/nearest"
)

// Environ decodes the variables whose names begin with prefix ("LINKSPAN_") into a pointer to a struct, in the order of
// their names. environ has the form of os.Environ.
//
// The rest of the name is the path of a key in upper case, with _ for each character that is no letter or digit:
// LINKSPAN_KAFKA_EMBEDDED_DIR is kafka.embedded.dir. Where a path leads through a name of the user's own, that is the
// name that the struct already has, or else the rest in lower case. A list is a YAML list or plain text with commas, and
// replaces the list as a whole; a section is YAML, and adds to what is there. An empty variable counts as not set. A
// variable that leads nowhere is a problem, unless its name is in others or it is of the kind that Kubernetes puts into
// every container for a service of that name.
func (d *Decoder) Environ(prefix string, environ []string, into any, others ...string) {
	v := reflect.ValueOf(into).Elem()
	d.literal = true
	defer func() { d.literal = false }()
	for _, assignment := range inOrder(environ, v.Type()) {
		name, value, _ := strings.Cut(assignment, "=")
		rest, ours := strings.CutPrefix(name, prefix)
		if !ours || value == "" || slices.Contains(others, name) {
			continue
		}
		d.file = name
		path, t := resolve(rest, v)
		switch {
		case path != nil:
			if n := d.value(value, t); n != nil {
				d.decode("", nest(path, n), v)
			}
		case !fromKubernetes(rest, value):
			known := variables(v)
			hint := "its name does not lead to a key of the configuration"
			if near, ok := nearest.To(rest, known); ok {
				hint = "did you mean " + prefix + near + "?"
			}
			d.problem("", &yaml.Node{}, "unknown variable; %s", hint)
		}
	}
}

// inOrder sorts variables by name, but for those that tell the shape of a section: they come before others of that section.
func inOrder(environ []string, t reflect.Type) []string {
	tell := shapeKeys(t)
	rank := func(assignment string) string {
		name, _, _ := strings.Cut(assignment, "=")
		for _, key := range tell {
			if section, ok := strings.CutSuffix(name, "_"+shout(key)); ok {
				return section + " "
			}
		}
		return name
	}
	return slices.SortedStableFunc(slices.Values(slices.Sorted(slices.Values(environ))), func(a, b string) int {
		return strings.Compare(rank(a), rank(b))
	})
}

// value makes a node of a variable's text, nil if it is not what t takes.
func (d *Decoder) value(text string, t reflect.Type) *yaml.Node {
	plain := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	list := t.Kind() == reflect.Slice
	if !list && !isSection(t) || list && !isSection(t.Elem()) && !strings.HasPrefix(text, "[") {
		return plain
	}
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		d.syntax(err)
		return nil
	}
	if len(doc.Content) == 0 { // nothing but a comment
		return nil
	}
	clearLines(&doc)
	return doc.Content[0]
}

// clearLines makes the problems of a variable speak of it as a whole.
func clearLines(n *yaml.Node) {
	n.Line, n.Column = 0, 0
	for _, c := range n.Content {
		clearLines(c)
	}
}

// nest puts a node under a path of keys.
func nest(path []string, n *yaml.Node) *yaml.Node {
	for _, key := range slices.Backward(path) {
		n = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Value: key}, n}}
	}
	return n
}

var notAlphanumeric = regexp.MustCompile(`[^A-Z0-9]`)

// shout turns a key into its form in the name of a variable.
func shout(key string) string { return notAlphanumeric.ReplaceAllString(strings.ToUpper(key), "_") }

// resolve finds the path of keys in v that a variable's name stands for, and the type that is there. nil: there is none.
func resolve(name string, v reflect.Value) (path []string, t reflect.Type) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v = newValue(v.Type().Elem())
		} else {
			v = v.Elem()
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, s := range chosenFirst(v) {
			if path, t := resolve(name, v.Field(s.Index)); path != nil {
				return path, t
			}
		}
		for _, f := range Fields(v.Type()) {
			if path, t := step(name, f.Key, v.FieldByIndex(f.Index)); path != nil {
				return path, t
			}
		}
	case reflect.Map:
		if !isSection(v.Type().Elem()) {
			return nil, nil
		}
		for _, key := range v.MapKeys() {
			if path, t := step(name, key.String(), v.MapIndex(key)); path != nil {
				return path, t
			}
		}
		for i, c := range name {
			if c == '_' && i > 0 {
				if path, t := resolve(name[i+1:], newValue(v.Type().Elem())); path != nil {
					return append([]string{strings.ToLower(name[:i])}, path...), t
				}
			}
		}
	}
	return nil, nil
}

// step takes one key off a variable's name.
func step(name, key string, v reflect.Value) (path []string, t reflect.Type) {
	rest, ok := strings.CutPrefix(name, shout(key))
	switch {
	case !ok:
		return nil, nil
	case rest == "":
		return []string{key}, v.Type()
	case rest[0] == '_' && isSection(v.Type()):
		if path, t := resolve(rest[1:], v); path != nil {
			return append([]string{key}, path...), t
		}
	}
	return nil, nil
}

// variables lists the names, without the prefix, of all keys that v has.
func variables(v reflect.Value) []string {
	var out []string
	var walk func(prefix string, t reflect.Type)
	walk = func(prefix string, t reflect.Type) {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		out = append(out, prefix)
		if t.Kind() == reflect.Struct && isSection(t) {
			for _, f := range Fields(t) {
				walk(strings.TrimPrefix(prefix+"_"+shout(f.Key), "_"), f.Type)
			}
		}
	}
	walk("", v.Type())
	return out[1:]
}

var kubernetes = regexp.MustCompile(`^([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$`)
var kubernetesPort = regexp.MustCompile(`^(tcp|udp|sctp)://`)

// fromKubernetes reports whether a variable is one that Kubernetes sets for a service whose name begins as ours do, as
// linkspan or linkspan-kafka: LINKSPAN_SERVICE_HOST, LINKSPAN_KAFKA_PORT=tcp://10.0.0.7:9092.
func fromKubernetes(name, value string) bool {
	return kubernetes.MatchString(name) || strings.HasSuffix("_"+name, "_PORT") && kubernetesPort.MatchString(value)
}
