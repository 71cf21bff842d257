// Package migrate turns the settings of other programs into a Linkspan configuration: the environment of connector, the
// settings of the UNS Kafka mapper, the topic mapping rules of the Strimzi MQTT bridge.
//
// It writes YAML for people to read and keep, which is then loaded as any other: what a setting may be is decided in one
// place. What has no equivalent is said, beside the place where it would be and in [Result.Notes]. A setting that it does
// not know is an error.
package migrate

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A File is the text of a file, with the name that messages about it call it by.
type File struct {
	Name string
	Text []byte
}

// A Result is a configuration made from another program's settings.
type Result struct {
	// Text is the configuration, in YAML.
	Text string
	// Notes are what is different from the other program, a sentence or two each.
	Notes []string
	// Variables are the environment variables that Text refers to for its secrets, which it does not contain.
	Variables []string
}

// endpoint is the name that generated configurations give to the broker that they dial.
const endpoint = "broker"

// problems collects what is wrong, so that all of it is told at once.
type problems []error

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Errorf(format, args...)) }

func (p problems) err() error { return errors.Join(p...) }

// verbatim writes text so that it means itself in filters and templates.
func verbatim(s string) string {
	return strings.NewReplacer("{", "{{", "}", "}}").Replace(s)
}

// overlap reports whether there is a topic that both filters match.
func overlap(a, b string) bool {
	first, second := strings.Split(a, "/"), strings.Split(b, "/")
	if wild := []string{"+", "#"}; strings.HasPrefix(a, "$") && slices.Contains(wild, second[0]) || strings.HasPrefix(b, "$") && slices.Contains(wild, first[0]) {
		return false // [MQTT-4.7.2-1]
	}
	for i := range max(len(first), len(second)) {
		x, y := at(first, i), at(second, i)
		switch {
		case x == "#" || y == "#":
			return true
		case i >= len(first) || i >= len(second):
			return false
		case x != y && x != "+" && y != "+":
			return false
		}
	}
	return true
}

func at(levels []string, i int) string {
	if i < len(levels) {
		return levels[i]
	}
	return ""
}
