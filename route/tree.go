package route

import (
	"math"
	"strings"
)

// none is the index of no route.
const none = math.MaxInt

// A node is one level of the filters of the routes of one endpoint, so that finding the first that matches takes a few
// steps and not one for each route.
type node struct {
	literal map[string]*node
	any     *node
	end     int // the first route whose filter ends here
	rest    int // the first route whose filter has its # here
	first   int // the first of all at and below this node
}

func newNode() *node { return &node{end: none, rest: none, first: none} }

// add enters the filter of route i. Routes come in their order.
func (n *node) add(f *filter, i int) {
	n.first = min(n.first, i)
	for _, l := range f.levels {
		next := n.any
		if !l.any {
			next = n.literal[l.literal]
		}
		if next == nil {
			next = newNode()
			if l.any {
				n.any = next
			} else {
				if n.literal == nil {
					n.literal = make(map[string]*node)
				}
				n.literal[l.literal] = next
			}
		}
		n = next
		n.first = min(n.first, i)
	}
	if f.rest {
		n.rest = min(n.rest, i)
	} else {
		n.end = min(n.end, i)
	}
}

// find returns the first route whose filter matches topic, or none.
func (n *node) find(topic string) int {
	if !strings.HasPrefix(topic, "$") {
		return n.below(topic, true, none)
	}
	level, rest, more := strings.Cut(topic, "/")
	if next := n.literal[level]; next != nil {
		return next.below(rest, more, none) // [MQTT-4.7.2-1]
	}
	return none
}

// below returns the first route at and below n that matches the levels that are left, or best if that comes before it.
func (n *node) below(topic string, more bool, best int) int {
	best = min(best, n.rest) // a/# matches a [MQTT 4.7.1.2]
	if !more {
		return min(best, n.end)
	}
	level, rest, more := strings.Cut(topic, "/")
	if next := n.literal[level]; next != nil && next.first < best {
		best = next.below(rest, more, best)
	}
	if n.any != nil && n.any.first < best {
		best = n.any.below(rest, more, best)
	}
	return best
}
