package migrate

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
)

// maxAlternatives bounds how many filters one regular expression becomes.
const maxAlternatives = 32

// A piece is a step of a regular expression without alternatives.
type piece struct {
	kind  pieceKind
	text  string // literal: the text; wild: its source
	group int    // open, shut
}

type pieceKind int

const (
	literally pieceKind = iota
	level               // any text without a slash: [^/]+
	partly              // text without a slash, but not any: \d{1,4}
	rest                // anything, slashes included: .*
	below               // (/.*)?
	open                // a group begins
	shut                // it ends
	edge                // \b
)

var errBeyond = errors.New("it is beyond what topic filters can say")

// convert turns a regular expression for topics into filters that together take the same topics, or say where they do not.
func convert(expr string) ([]converted, error) {
	expr = strings.ReplaceAll(expr, "\b", `\b`) // what \b in JSON is, and \\b was meant
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("its regular expression is not understood: %w", err)
	}
	ways, err := expand(re)
	if err != nil {
		return nil, err
	}
	var all []converted
	for _, way := range ways {
		c, err := filterOf(way)
		if err != nil {
			return nil, err
		}
		c.count = re.MaxCap()
		all = append(all, c)
	}
	return all, nil
}

// expand lists the alternatives of an expression.
func expand(re *syntax.Regexp) (ways [][]piece, err error) {
	one := func(p ...piece) [][]piece { return [][]piece{p} }
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText, syntax.OpBeginLine, syntax.OpEndLine:
		return one(), nil // a rule matches the whole topic anyway
	case syntax.OpWordBoundary:
		return one(piece{kind: edge}), nil
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return nil, fmt.Errorf("%w: case is ignored", errBeyond)
		}
		return one(piece{kind: literally, text: string(re.Rune)}), nil
	case syntax.OpCapture:
		ways, err = expand(re.Sub[0])
		for i, way := range ways {
			ways[i] = slices.Concat([]piece{{kind: open, group: re.Cap}}, way, []piece{{kind: shut, group: re.Cap}})
		}
		return ways, err
	case syntax.OpConcat:
		ways = one()
		for _, sub := range re.Sub {
			next, err := expand(sub)
			if err != nil {
				return nil, err
			}
			ways = product(ways, next)
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			next, err := expand(sub)
			if err != nil {
				return nil, err
			}
			ways = append(ways, next...)
		}
	case syntax.OpCharClass:
		if runes := members(re); runes != nil {
			for _, r := range runes {
				ways = append(ways, []piece{{kind: literally, text: string(r)}})
			}
			return ways, nil
		}
		return wildcard(re)
	case syntax.OpQuest:
		return optional(re)
	default:
		return wildcard(re)
	}
	if len(ways) > maxAlternatives {
		return nil, fmt.Errorf("%w: it has more than %d alternatives", errBeyond, maxAlternatives)
	}
	return ways, nil
}

func product(a, b [][]piece) (out [][]piece) {
	for _, x := range a {
		for _, y := range b {
			out = append(out, slices.Concat(x, y))
		}
	}
	return out
}

// optional expands X?, of which (/.*)? is the usual one.
func optional(re *syntax.Regexp) ([][]piece, error) {
	inner := re.Sub[0]
	for inner.Op == syntax.OpCapture {
		inner = inner.Sub[0]
	}
	if s := inner.String(); s == `/(?-s:.*)` || s == `/(?s:.*)` || s == `/.*` {
		if re.Sub[0].Op == syntax.OpCapture {
			return [][]piece{{{kind: open, group: re.Sub[0].Cap}, {kind: below}, {kind: rest}, {kind: shut, group: re.Sub[0].Cap}}}, nil
		}
		return [][]piece{{{kind: below}}}, nil
	}
	ways, err := expand(re.Sub[0])
	return append(ways, nil), err
}

// members lists what a class has, nil if that is much.
func members(re *syntax.Regexp) (all []rune) {
	for i := 0; i < len(re.Rune); i += 2 {
		if int(re.Rune[i+1]-re.Rune[i])+len(all) >= 4 {
			return nil
		}
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			all = append(all, r)
		}
	}
	return all
}

// wildcard is what repeats, and what stands for more than a few characters.
func wildcard(re *syntax.Regexp) ([][]piece, error) {
	class := re
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		class = re.Sub[0]
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
	default:
		return nil, fmt.Errorf("%w: %s", errBeyond, re)
	}
	repeated := re.Op == syntax.OpStar || re.Op == syntax.OpPlus
	switch class.Op {
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		if !repeated {
			return nil, fmt.Errorf("%w: %s may match a slash or not", errBeyond, re)
		}
		return [][]piece{{{kind: rest}}}, nil
	case syntax.OpCharClass, syntax.OpLiteral:
	default:
		return nil, fmt.Errorf("%w: %s", errBeyond, re)
	}
	if matchesSlash(class) {
		return nil, fmt.Errorf("%w: %s may match a slash or not", errBeyond, re)
	}
	kind := partly
	if repeated && slices.Equal(class.Rune, []rune{0, '/' - 1, '/' + 1, 0x10FFFF}) {
		kind = level
	}
	return [][]piece{{{kind: kind, text: re.String()}}}, nil
}

func matchesSlash(class *syntax.Regexp) bool {
	if class.Op == syntax.OpLiteral {
		return slices.Contains(class.Rune, '/')
	}
	for i := 0; i < len(class.Rune); i += 2 {
		if class.Rune[i] <= '/' && '/' <= class.Rune[i+1] {
			return true
		}
	}
	return false
}

// filterOf turns one alternative into a filter.
func filterOf(way []piece) (converted, error) {
	c := converted{groups: map[int]string{}}
	levels := intoLevels(way)
	var filter []string
	for i, pieces := range levels {
		last := i == len(levels)-1
		at := slices.IndexFunc(pieces, func(p piece) bool { return p.kind == rest || p.kind == below })
		if at >= 0 && (!last || slices.ContainsFunc(pieces[at+1:], func(p piece) bool { return p.kind != shut && p.kind != rest })) {
			return c, fmt.Errorf("%w: .* is not at its end", errBeyond)
		}
		if at < 0 {
			filter = append(filter, c.level(pieces))
			continue
		}
		filter = append(filter, c.tail(pieces, at, filter)...)
	}
	c.filter = strings.Join(filter, "/")
	return c, c.spanning(way)
}

// intoLevels cuts at the slashes.
func intoLevels(way []piece) [][]piece {
	levels := [][]piece{nil}
	for _, p := range way {
		if p.kind != literally {
			levels[len(levels)-1] = append(levels[len(levels)-1], p)
			continue
		}
		for i, text := range strings.Split(p.text, "/") {
			if i > 0 {
				levels = append(levels, nil)
			}
			if text != "" {
				levels[len(levels)-1] = append(levels[len(levels)-1], piece{kind: literally, text: text})
			}
		}
	}
	return levels
}

// level writes one level, and learns what the groups in it stand for.
func (c *converted) level(pieces []piece) string {
	content := slices.DeleteFunc(slices.Clone(pieces), func(p piece) bool { return p.kind == open || p.kind == shut })
	wild := slices.ContainsFunc(content, func(p piece) bool { return p.kind == level || p.kind == partly })
	if !wild {
		text := textOf(content)
		c.learn(pieces, func(inside []piece) (string, bool) { return verbatim(textOf(inside)), true })
		return verbatim(text)
	}
	inner := slices.DeleteFunc(slices.Clone(content), func(p piece) bool { return p.kind == edge })
	if len(inner) > 1 || inner[0].kind == partly {
		c.widen(sourceOf(inner))
	}
	written := "+"
	c.learn(pieces, func(inside []piece) (string, bool) {
		if len(inside) < len(inner) {
			return verbatim(textOf(inside)), !slices.ContainsFunc(inside, func(p piece) bool { return p.kind != literally })
		}
		if written == "+" {
			written = "{g" + strconv.Itoa(groupOf(pieces)) + "}"
		}
		return written, true
	})
	return written
}

// tail writes the last level where it ends in .* or (/.*)?.
func (c *converted) tail(pieces []piece, at int, before []string) []string {
	head := pieces[:at]
	whole := !slices.ContainsFunc(head, func(p piece) bool { return p.kind != open })
	end := []string{"#"}
	if group := groupOf(head); whole && group > 0 {
		end = []string{"{g" + strconv.Itoa(group) + "...}"}
		for _, p := range head {
			c.groups[p.group] = end[0]
		}
		if len(before) > 0 {
			c.widen("that there is something below")
		}
		return end
	}
	switch {
	case pieces[at].kind == below:
		return append([]string{c.level(head)}, end...)
	case whole && len(before) == 0:
		return end
	case whole:
		return []string{"+", "#"} // a/.* does not take a itself
	}
	text := c.level(head)
	c.narrower = fmt.Sprintf("the level that begins with %s has to be that and no more", text)
	return append([]string{text}, end...)
}

func (c *converted) widen(by string) {
	if c.wider != "" {
		c.wider += " and "
	}
	c.wider += by
}

// learn finds the groups that begin and end in a level, and asks what each stands for.
func (c *converted) learn(pieces []piece, value func(inside []piece) (string, bool)) {
	for i, p := range pieces {
		end := slices.Index(pieces, piece{kind: shut, group: p.group})
		if p.kind != open || end < 0 {
			continue
		}
		inside := slices.DeleteFunc(slices.Clone(pieces[i:end]), func(p piece) bool { return p.kind == open || p.kind == shut || p.kind == edge })
		if v, ok := value(inside); ok {
			c.groups[p.group] = v
		}
	}
}

// spanning gives groups of literal text over several levels their value.
func (c *converted) spanning(way []piece) error {
	for i, p := range way {
		if _, known := c.groups[p.group]; p.kind != open || known {
			continue
		}
		inside := slices.DeleteFunc(slices.Clone(way[i:slices.Index(way, piece{kind: shut, group: p.group})]), func(p piece) bool { return p.kind == open || p.kind == shut || p.kind == edge })
		if !slices.ContainsFunc(inside, func(p piece) bool { return p.kind != literally }) {
			c.groups[p.group] = verbatim(textOf(inside))
		}
	}
	return nil
}

// groupOf returns the first group that begins in pieces, 0 for none.
func groupOf(pieces []piece) int {
	if i := slices.IndexFunc(pieces, func(p piece) bool { return p.kind == open }); i >= 0 {
		return pieces[i].group
	}
	return 0
}

func textOf(pieces []piece) (text string) {
	for _, p := range pieces {
		if p.kind == literally {
			text += p.text
		}
	}
	return text
}

// sourceOf tells what a level has to look like.
func sourceOf(pieces []piece) (text string) {
	for _, p := range pieces {
		text += p.text
	}
	return text
}
