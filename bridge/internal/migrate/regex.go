package migrate

import (
	"errors"
	"fmt"
	"maps"
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

	// What follows has no text of its own.
	open  // a group begins
	shut  // it ends
	edge  // \b
	first // ^
	last  // $
)

var (
	errBeyond = errors.New("it is beyond what topic filters can say")
	errMany   = fmt.Errorf("%w: it has more than %d alternatives", errBeyond, maxAlternatives)
)

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
	doubt(all)
	return all, nil
}

// doubt takes from each alternative whose filter takes more than it says what a group stands for, where one behind it says otherwise: the
// topic may be of that one.
func doubt(all []converted) {
	for i, c := range all {
		if c.wider == "" {
			continue
		}
		for _, later := range all[i+1:] {
			maps.DeleteFunc(c.groups, func(group int, value string) bool {
				other, known := later.groups[group]
				return !known || other != value && !strings.HasPrefix(value, "{g") // which is the text that the topic has there
			})
		}
	}
}

// expand lists the alternatives of an expression.
func expand(re *syntax.Regexp) (ways [][]piece, err error) {
	one := func(p ...piece) [][]piece { return [][]piece{p} }
	switch re.Op {
	case syntax.OpEmptyMatch:
		return one(), nil
	case syntax.OpBeginText, syntax.OpBeginLine:
		return one(piece{kind: first}), nil
	case syntax.OpEndText, syntax.OpEndLine:
		return one(piece{kind: last}), nil
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
			if len(ways)*len(next) > maxAlternatives {
				return nil, errMany
			}
			ways = product(ways, next)
		}
		return ways, nil
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			next, err := expand(sub)
			if err != nil {
				return nil, err
			}
			ways = append(ways, next...)
		}
		if len(ways) > maxAlternatives {
			return nil, errMany
		}
		return ways, nil
	case syntax.OpCharClass:
		if runes := members(re); runes != nil {
			for _, r := range runes {
				ways = append(ways, []piece{{kind: literally, text: string(r)}})
			}
			return ways, nil
		}
	case syntax.OpQuest:
		return optional(re)
	}
	return wildcard(re)
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
	if inner := re.Sub[0]; inner.Op == syntax.OpConcat && len(inner.Sub) == 2 && inner.Sub[0].String() == "/" && isAnything(inner.Sub[1]) {
		return [][]piece{{{kind: below}}}, nil
	}
	ways, err := expand(re.Sub[0])
	return append(ways, nil), err
}

// isAnything recognises .*
func isAnything(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL)
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
	for i, p := range way {
		if p.kind == first && len(content(way[:i])) > 0 || p.kind == last && len(content(way[i:])) > 0 {
			return c, fmt.Errorf("%w: ^ is not at its beginning, or $ not at its end", errBeyond)
		}
	}
	levels := intoLevels(way)
	var filter []string
	for i, pieces := range levels {
		at := slices.IndexFunc(pieces, func(p piece) bool { return p.kind == rest || p.kind == below })
		if at >= 0 && (i < len(levels)-1 || slices.ContainsFunc(pieces[at+1:], func(p piece) bool { return p.kind < open })) {
			return c, fmt.Errorf("%w: .* is not at its end", errBeyond)
		}
		if at < 0 {
			filter = append(filter, c.level(pieces))
			continue
		}
		filter = append(filter, c.tail(pieces, at, filter)...)
	}
	c.filter = strings.Join(filter, "/")
	c.spanning(way)
	return c, nil
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
	all := content(pieces)
	written := verbatim(textOf(all))
	wild := slices.ContainsFunc(all, isWild)
	if wild {
		written = "+"
		if len(all) > 1 || all[0].kind == partly {
			c.widen(sourceOf(all))
		}
	}
	for i, p := range pieces {
		end := slices.Index(pieces, piece{kind: shut, group: p.group})
		if p.kind != open || end < 0 {
			continue
		}
		inside := content(pieces[i:end])
		switch {
		case !slices.ContainsFunc(inside, isWild):
			c.groups[p.group] = verbatim(textOf(inside))
		case len(inside) == len(all):
			if written == "+" {
				written = "{g" + strconv.Itoa(p.group) + "}"
			}
			c.groups[p.group] = written
		}
	}
	return written
}

// tail writes the last level where it ends in .* or (/.*)?.
func (c *converted) tail(pieces []piece, at int, before []string) []string {
	head := pieces[:at]
	whole := len(content(head)) == 0
	head = slices.DeleteFunc(slices.Clone(head), func(p piece) bool {
		return whole && (p.kind != open || slices.Contains(head, piece{kind: shut, group: p.group}))
	})
	switch {
	case pieces[at].kind == below:
		return []string{c.level(head), "#"}
	case !whole:
		text := c.level(head)
		if slices.ContainsFunc(head, func(p piece) bool { return p.kind == partly }) { // .* may have some of the level
			maps.DeleteFunc(c.groups, func(group int, value string) bool { return value == text })
		}
		c.narrower = fmt.Sprintf("the level has to be %s, not only to begin with it", text)
		return []string{text, "#"}
	case len(head) > 0:
		name := "{g" + strconv.Itoa(head[0].group)
		for _, p := range head {
			c.groups[p.group] = name + "}"
		}
		if len(before) > 0 {
			c.widen("that there is something below")
		}
		return []string{name + "...}"}
	case len(before) == 0:
		return []string{"#"}
	}
	return []string{"+", "#"} // a/.* does not take a itself
}

func (c *converted) widen(by string) {
	if c.wider != "" {
		c.wider += " and "
	}
	c.wider += by
}

// spanning gives groups of literal text over several levels their value.
func (c *converted) spanning(way []piece) {
	for i, p := range way {
		if _, known := c.groups[p.group]; p.kind != open || known {
			continue
		}
		inside := content(way[i:slices.Index(way, piece{kind: shut, group: p.group})])
		if !slices.ContainsFunc(inside, isWild) {
			c.groups[p.group] = verbatim(textOf(inside))
		}
	}
}

// content drops what has no text of its own.
func content(pieces []piece) []piece {
	return slices.DeleteFunc(slices.Clone(pieces), func(p piece) bool { return p.kind >= open })
}

func isWild(p piece) bool { return p.kind != literally }

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
	return strings.NewReplacer("[0-9A-Z_a-z]", `\w`, "[0-9]", `\d`).Replace(text)
}
