// Package strict reads YAML and environment variables into Go structs and tells every mistake at once, each with its
// file, line, key and remedy.
//
// The type of the struct decides what a value means, not the look of the text: `port: "80"` and `port: 80` are the same
// to an int, and `name: 80` is the text 80 to a string. A key that the struct does not have is a mistake. What the
// input does not mention keeps the value that it had before, so that defaults, a file and the environment are simply
// decoded one after the other.
package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A Place is where in the input something was said. Line is 0 for an environment variable, whose name is the File.
type Place struct {
	File         string
	Line, Column int
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// A Problem is one mistake: where it is, the path of its key such as endpoints.devices.listen ("" for the file as a
// whole), and what is wrong together with the remedy.
type Problem struct {
	Place Place
	Key   string
	Text  string
}

func (p Problem) Error() string {
	if p.Key == "" {
		return p.Place.String() + ": " + p.Text
	}
	return p.Place.String() + ": " + p.Key + ": " + p.Text
}

// A Decoder reads one or several inputs into a struct, and remembers where each key was said.
type Decoder struct {
	// Lookup is what ${NAME} in a value is looked up with, os.LookupEnv for example. nil: there are no variables.
	Lookup func(name string) (value string, ok bool)
	// ReadFile is what ${file:PATH} in a value is read with, os.ReadFile for example. nil: there are no files.
	ReadFile func(name string) ([]byte, error)
	// Verbatim says that ${ has no meaning in files either: they are another program's.
	Verbatim bool

	places   map[string]Place
	problems []error

	file    string // being read
	literal bool   // ${NAME} has no meaning in it
}

// Err returns the problems found so far, joined, or nil. Each is a [Problem].
func (d *Decoder) Err() error { return errors.Join(d.problems...) }

// Locate returns where the key of that path was said, or the nearest key above it. False: nowhere.
func (d *Decoder) Locate(path string) (Place, bool) {
	for {
		if p, ok := d.places[path]; ok {
			return p, true
		}
		if path == "" {
			return Place{}, false
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// Said returns where exactly that key was said. False: nowhere.
func (d *Decoder) Said(path string) (Place, bool) {
	p, ok := d.places[path]
	return p, ok
}

// File decodes the text of a YAML file into a pointer to a struct.
func (d *Decoder) File(name string, text []byte, into any) {
	d.file = name
	d.said("", Place{File: name})
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF): // an empty file says nothing
		return
	case err != nil:
		d.syntax(err)
		return
	}
	d.decode("", doc.Content[0], reflect.ValueOf(into).Elem())
	if err := dec.Decode(&doc); !errors.Is(err, io.EOF) {
		d.problem("", &doc, "there is more than one YAML document; remove what follows ---")
	}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// syntax reports what the YAML parser says, without the text that it may quote: that could be a password.
func (d *Decoder) syntax(err error) {
	m := yamlLine.FindStringSubmatch(strings.TrimPrefix(err.Error(), "yaml: "))
	line, _ := strconv.Atoi(m[1])
	if d.literal {
		line = 0 // a variable is one line
	}
	text := m[2]
	switch {
	case strings.HasPrefix(text, "unknown anchor"):
		text = "an alias without its anchor; put a value that begins with * in quotes"
	case strings.HasSuffix(text, "cannot start any token"):
		text += "; indent with spaces, not tabs, and put a value that begins with @, ` or % in quotes"
	}
	d.problems = append(d.problems, Problem{Place{d.file, line, min(line, 1)}, "", "not YAML: " + text})
}

// problem reports a mistake at a node.
func (d *Decoder) problem(path string, n *yaml.Node, format string, args ...any) {
	d.problems = append(d.problems, Problem{d.place(n), path, fmt.Sprintf(format, args...)})
}

func (d *Decoder) place(n *yaml.Node) Place { return Place{d.file, n.Line, n.Column} }

// said remembers where a key was said.
func (d *Decoder) said(path string, p Place) {
	if d.places == nil {
		d.places = map[string]Place{}
	}
	d.places[path] = p
}

var variable = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}?`)
var variableName = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:-(.*))?\}$`)
var variableFile = regexp.MustCompile(`^\$\{file:(.+)\}$`)

// maxFile bounds what ${file:PATH} stands for: a value, not a document.
const maxFile = 1 << 20

// expand replaces ${NAME}, ${NAME:-default} and ${file:PATH} in a scalar. $${ stands for ${ itself.
func (d *Decoder) expand(path string, n *yaml.Node) (text string, ok bool) {
	if d.literal || d.Verbatim {
		return n.Value, true
	}
	ok = true
	text = variable.ReplaceAllStringFunc(n.Value, func(s string) string {
		value, err := d.standsFor(s)
		if err != nil {
			d.problem(path, n, "%v", err)
			ok = false
		}
		return value
	})
	return text, ok
}

// standsFor returns what one match of variable is to be replaced with.
func (d *Decoder) standsFor(s string) (string, error) {
	if s == "$${" {
		return "${", nil
	}
	if m := variableFile.FindStringSubmatch(s); m != nil {
		return d.content(m[1])
	}
	m := variableName.FindStringSubmatch(s)
	if m == nil {
		return "", fmt.Errorf("%s is not a variable; write ${NAME}, ${NAME:-default}, ${file:/path}, or $${ for ${ itself", s)
	}
	var value string
	var set bool
	if d.Lookup != nil {
		value, set = d.Lookup(m[1])
	}
	switch {
	case m[2] != "" && value == "":
		return m[3], nil
	case !set:
		return "", fmt.Errorf("the environment has no variable %s; set it, or write ${%s:-default}", m[1], m[1])
	}
	return value, nil
}

// content returns what a file holds, without the line end that editors and `echo` put at the end of it.
func (d *Decoder) content(name string) (string, error) {
	if strings.Contains(name, "${") {
		return "", fmt.Errorf("${file:%s}: variables do not nest; write the path in full", name)
	}
	if d.ReadFile == nil {
		return "", fmt.Errorf("${file:%s}: files cannot be named here", name)
	}
	text, err := d.ReadFile(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("${file:%s}: %w; the path is seen from where the process was started", name, err)
	case len(text) > maxFile:
		return "", fmt.Errorf("${file:%s}: the file has %d bytes; a value has at most %d", name, len(text), maxFile)
	case !utf8.Valid(text):
		return "", fmt.Errorf("${file:%s}: the file is not text (UTF-8)", name)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
