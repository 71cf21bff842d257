package route

import (
	"slices"
	"strings"
)

// A Cycle is a set of routes along which a message can go round: up to Kafka, down to a broker, which sends it to its
// subscribers and so to us again. It takes a client endpoint. What a listener sends to a device ends there: if the
// device publishes an answer, that is a new message.
type Cycle struct {
	Routes    []string // names, in the order of the way: up, down, up, down ...
	Endpoints []string // the client endpoint that joins each down with the next up
}

// String tells the way round.
func (c Cycle) String() string {
	var b strings.Builder
	for i, endpoint := range c.Endpoints {
		b.WriteString(c.Routes[2*i] + " → " + c.Routes[2*i+1] + " → (" + endpoint + ") → ")
	}
	b.WriteString(c.Routes[0])
	return b.String()
}

// A turn is a step from one route up to the next: down by a route, and back by an endpoint.
type turn struct {
	from, down, to *route
	endpoint       string
}

// Cycles returns the ways on which messages may go round, one for each set of routes. It looks at names alone and so may
// report one that no message takes in practice; it misses none that the routes can cause. The hop limit stops those
// that happen.
func (t *Table) Cycles() []Cycle {
	var turns []turn
	for _, up := range t.ups() {
		for _, down := range t.routes {
			if down.down && down.pattern.meets(up.topic) {
				turns = append(turns, t.turns(up, down)...)
			}
		}
	}
	var cycles []Cycle
	var seen []string
	for _, up := range t.ups() {
		way := shortest(turns, up)
		if way == nil {
			continue
		}
		var c Cycle
		for _, step := range way {
			c.Routes = append(c.Routes, step.from.name, step.down.name)
			c.Endpoints = append(c.Endpoints, step.endpoint)
		}
		set := strings.Join(slices.Sorted(slices.Values(c.Routes)), "\n")
		if !slices.Contains(seen, set) {
			seen, cycles = append(seen, set), append(cycles, c)
		}
	}
	return cycles
}

// turns returns the ways back up for what up sends to Kafka and down fetches from there.
func (t *Table) turns(up, down *route) []turn {
	var turns []turn
	sent := down.sent()
	for _, client := range down.clients {
		for _, next := range t.ups() {
			if slices.Contains(next.endpoints, client) && next.filter.overlaps(sent) {
				turns = append(turns, turn{up, down, next, client})
			}
		}
	}
	return turns
}

// shortest returns the shortest way from start back to it, nil where there is none.
func shortest(turns []turn, start *route) []turn {
	ways := [][]turn{nil}
	reached := map[*route]bool{}
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		at := start
		if len(way) > 0 {
			at = way[len(way)-1].to
		}
		for _, next := range turns {
			if next.from != at || reached[next.to] {
				continue
			}
			longer := append(slices.Clone(way), next)
			if next.to == start {
				return longer
			}
			reached[next.to] = true
			ways = append(ways, longer)
		}
	}
	return nil
}

// meets reports whether p can match a topic that the template gives. Between two that are not fixed only what they
// begin with is compared.
func (p *pattern) meets(target *template) bool {
	if name, ok := target.literal(); ok {
		_, match := p.match(name)
		return match
	}
	if p.literal != "" {
		return target.pattern().MatchString(p.literal)
	}
	begin := ""
	if target.ops[0].kind == opLiteral {
		begin = target.ops[0].text
	}
	return strings.HasPrefix(begin, p.prefix) || strings.HasPrefix(p.prefix, begin)
}

// sent returns a filter for all topics that a route down can send to: a level that a placeholder is part of may be any, and
// one that may hold slashes may be any number.
func (r *route) sent() *filter {
	f := &filter{}
	var current level
	for _, o := range r.topic.ops {
		if o.kind != opLiteral {
			oneLevel := o.n > 0 || o.kind == opCapture && !r.pattern.captures[o.index].rest && r.rule != byEscape
			if !oneLevel {
				f.rest = true
				return f
			}
			current.any = true
			continue
		}
		for i, text := range strings.Split(o.text, "/") {
			if i > 0 {
				f.levels = append(f.levels, current)
				current = level{}
			}
			current.literal += text
		}
	}
	f.levels = append(f.levels, current)
	return f
}
