package route

import (
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/internal/nearest"
)

// A part of a filter, pattern or template is a stretch of literal text, or a hole: what stands between { and }.
type part struct {
	text string
	hole bool
}

// scan cuts s into its parts. {{ and }} stand for the braces themselves.
func scan(s string) ([]part, error) {
	var parts []part
	var literal strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c != '{' && c != '}':
			literal.WriteByte(c)
		case i+1 < len(s) && s[i+1] == c:
			literal.WriteByte(c)
			i++
		case c == '}':
			return nil, fmt.Errorf("the } at character %d closes nothing: write }} for the character itself", i+1)
		default:
			n := strings.IndexAny(s[i+1:], "{}")
			if n < 0 || s[i+1+n] == '{' {
				return nil, fmt.Errorf("the { at character %d is not closed: write } after the name, or {{ for the character itself", i+1)
			}
			if literal.Len() > 0 {
				parts = append(parts, part{text: literal.String()})
				literal.Reset()
			}
			parts = append(parts, part{text: strings.TrimSpace(s[i+1 : i+1+n]), hole: true})
			i += n + 1
		}
	}
	if literal.Len() > 0 {
		parts = append(parts, part{text: literal.String()})
	}
	return parts, nil
}

// A capture is a named part of a topic.
type capture struct {
	name string
	rest bool // {name...}: all that is left
}

// newCapture reads the inside of a hole of a filter or pattern whose earlier captures are taken.
func newCapture(text string, taken []capture) (capture, error) {
	c := capture{name: text}
	c.name, c.rest = strings.CutSuffix(text, "...")
	if !isName(c.name) {
		return c, fmt.Errorf("{%s} is not a name: letters, digits, - and _, and ... after the last one", text)
	}
	if f, ok := fieldByName(c.name); ok {
		return c, fmt.Errorf("{%s} already means %s: choose another name", c.name, f.means)
	}
	for _, other := range taken {
		if other.name == c.name {
			return c, fmt.Errorf("{%s} is there twice: give each part its own name", c.name)
		}
	}
	return c, nil
}

func isName(s string) bool {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r != '-' && (r < '0' || r > '9')) {
			return false
		}
	}
	return s != ""
}

// meant returns "; did you mean X?" for the known name that is closest to s, "" where none is close.
func meant(s string, known []string) string {
	if best, ok := nearest.To(s, known); ok {
		return "; did you mean " + best + "?"
	}
	return ""
}
