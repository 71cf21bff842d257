package migrate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A page is a configuration as it is written: YAML with comments.
type page struct {
	b      strings.Builder
	depth  int
	bullet bool // the next key is the first of an entry of a list
	result Result
}

// pageWidth is where comments are wrapped.
const pageWidth = 110

// comment writes a comment of its own lines.
func (p *page) comment(text string) {
	indent := strings.Repeat("  ", p.depth)
	line := indent + "#"
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > pageWidth && line != indent+"#" {
			p.b.WriteString(line + "\n")
			line = indent + "#"
		}
		line += " " + word
	}
	p.b.WriteString(line + "\n")
}

// note says something that is different from the other program: here, and to whoever asked for the page.
func (p *page) note(text string) {
	p.comment(text)
	p.tell(text)
}

// tell is a note without a place on the page.
func (p *page) tell(text string) { p.result.Notes = append(p.result.Notes, text) }

// blank parts what precedes from what follows.
func (p *page) blank() { p.b.WriteString("\n") }

// section writes a key with what is below it; nothing at all if that is empty.
func (p *page) section(key string, inside func()) {
	start := p.b.Len()
	p.line(key, "")
	before := p.b.Len()
	p.depth++
	inside()
	p.depth--
	if p.b.Len() == before {
		text := p.b.String()[:start]
		p.b.Reset()
		p.b.WriteString(text)
	}
}

// entry writes one entry of a list of sections.
func (p *page) entry(inside func()) {
	p.depth++
	p.bullet = true
	inside()
	p.depth--
}

// set writes a key with a text that means itself. "" is not written.
func (p *page) set(key, value string) {
	if value != "" {
		p.line(key, quote(literal(value)))
	}
}

// plain writes a key with a value that is YAML already, such as a number.
func (p *page) plain(key, value string) { p.line(key, value) }

// list writes a key with texts that mean themselves. An empty list is not written.
func (p *page) list(key string, values []string) {
	if len(values) == 0 {
		return
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(literal(v))
	}
	p.line(key, "["+strings.Join(quoted, ", ")+"]")
}

// secret writes a key whose value is an environment variable.
func (p *page) secret(key, variable string) {
	p.line(key, "${"+variable+"}")
	if !slices.Contains(p.result.Variables, variable) {
		p.result.Variables = append(p.result.Variables, variable)
	}
}

func (p *page) line(key, value string) {
	indent := strings.Repeat("  ", p.depth)
	if p.bullet {
		indent = indent[2:] + "- "
		p.bullet = false
	}
	p.b.WriteString(strings.TrimRight(indent+quote(key)+": "+value, " ") + "\n")
}

// done returns what was written.
func (p *page) done() Result {
	p.result.Text = p.b.String()
	return p.result
}

// literal keeps ${ in a text from being read as a variable.
func literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

var (
	needsNoQuotes = regexp.MustCompile(`^[A-Za-z0-9_/.$][A-Za-z0-9_/.:@%=+$-]*$`)
	meansNothing  = regexp.MustCompile(`^(?i:null)$|:$`)
)

// quote writes text as one YAML value.
func quote(s string) string {
	if needsNoQuotes.MatchString(s) && !meansNothing.MatchString(s) {
		return s
	}
	return strconv.Quote(s) // Go's escapes are among YAML's
}
