package route

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A pattern says which Kafka topics a route takes: one name; a name with captures, where {name} is one or more
// characters without a dot and {name...} one or more of any; or a regular expression between slashes, whose named groups are
// captures.
type pattern struct {
	literal  string         // the one topic; "" for the others
	re       *regexp.Regexp // anchored
	captures []capture
	groups   []int // group of re that each capture is
	prefix   string
}

func newPattern(text string) (*pattern, error) {
	if len(text) > 1 && text[0] == '/' {
		return newRegexpPattern(text)
	}
	parts, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &pattern{}
	var expr strings.Builder
	for i, part := range parts {
		if !part.hole {
			if strings.ContainsAny(part.text, "+#*") {
				return nil, errors.New("there are no wildcards for Kafka topics: write {name} for a part of the name, {name...} for the rest, or kafka:/regexp/")
			}
			if err := checkKafkaName(part.text); err != nil && part.text != "." && part.text != ".." {
				return nil, err
			}
			expr.WriteString(regexp.QuoteMeta(part.text))
			continue
		}
		c, err := newCapture(part.text, p.captures)
		switch {
		case err != nil:
			return nil, err
		case c.rest && i < len(parts)-1:
			return nil, errors.New("{name...} stands for all the rest: it comes once, at the end")
		case c.rest:
			expr.WriteString("(.+)")
		default:
			expr.WriteString("([^.]+)")
		}
		p.captures = append(p.captures, c)
		p.groups = append(p.groups, len(p.captures))
	}
	if len(p.captures) == 0 {
		p.literal = text
		return p, checkKafkaName(text)
	}
	p.re, err = regexp.Compile("^" + expr.String() + "$")
	if err == nil && !parts[0].hole {
		p.prefix = parts[0].text
	}
	return p, err
}

func newRegexpPattern(text string) (*pattern, error) {
	expr, ok := strings.CutSuffix(text[1:], "/")
	if !ok || expr == "" {
		return nil, errors.New("a regular expression stands between two slashes: kafka:/sensors[.](?<site>[a-z]+)/")
	}
	bare, err := regexp.Compile(expr)
	if err != nil {
		return nil, fmt.Errorf("the regular expression does not compile: %w", err)
	}
	p := &pattern{}
	p.prefix, _ = bare.LiteralPrefix()
	if p.re, err = regexp.Compile("^(?:" + expr + ")$"); err != nil { // such as \Q without \E
		return nil, fmt.Errorf("the regular expression does not end: %w", err)
	}
	for i, name := range p.re.SubexpNames() {
		if name == "" {
			continue
		}
		c, err := newCapture(name, p.captures)
		if err != nil {
			return nil, err
		}
		p.captures, p.groups = append(p.captures, c), append(p.groups, i)
	}
	return p, nil
}

// internal reports whether a topic is one that programs keep for themselves. Patterns do not match those, as MQTT's
// wildcards do not match topics that begin with $.
func internal(topic string) bool {
	return strings.HasPrefix(topic, "__") || strings.HasPrefix(topic, "_linkspan.")
}

// match returns what the captures stand for in topic.
func (p *pattern) match(topic string) ([]string, bool) {
	if p.literal != "" {
		return nil, p.literal == topic
	}
	if internal(topic) {
		return nil, false
	}
	groups := p.re.FindStringSubmatch(topic)
	if groups == nil {
		return nil, false
	}
	captured := make([]string, len(p.groups))
	for i, g := range p.groups {
		captured[i] = groups[g]
	}
	return captured, true
}

// why says what keeps topic from matching, "" where it does match.
func (p *pattern) why(topic string) string {
	if _, ok := p.match(topic); ok {
		return ""
	}
	if p.literal != "" {
		return fmt.Sprintf("the Kafka topic is %q, not %q", topic, p.literal)
	}
	if internal(topic) {
		return "patterns do not match internal topics (__ and _linkspan.)"
	}
	return fmt.Sprintf("the Kafka topic %q does not match %s", topic, p.re)
}
