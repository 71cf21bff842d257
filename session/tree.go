package session

import (
	"strings"
	"sync"

	"github.com/linkspan/linkspan"
)

// tree holds the filters of all sessions, one node a level. It is read for every message and written when devices
// subscribe, come and go: a write takes a microsecond, so one lock serves both.
type tree struct {
	mu   sync.RWMutex
	root node
}

// A node is one level of one or more filters. There are millions, most of them with one child or one subscription, so
// children are a list until they are many, and wildcards have their own place.
type node struct {
	parent *node
	level  string
	kids   *node            // first child without wildcard, nil when index is in use
	next   *node            // next child of the same parent's list
	index  map[string]*node // children without wildcard, when there are more than maxList
	plus   *node            // child "+"
	hash   *node            // child "#"
	subs   *subscription    // of the filter that ends here
}

const maxList = 6 // children in a list: a search through more costs more than a map's

// A subscription is one filter of one session. Its options and its node are written with both the session and the tree
// locked, so that either lock is enough to read them; its links belong to the tree.
type subscription struct {
	session    *Session
	node       *node         // nil once removed
	next, prev *subscription // of the same node
	walk       *walk         // in the session's queue, nil: none; guarded by the session only
	at         int32         // index in session.subs
	bytes      int32         // that it counts in session.filterBytes

	id          uint32 // 0: none
	qos         linkspan.QoS
	noLocal     bool
	asPublished bool
}

// takes reports whether sub gets a message that its filter matches: one for its endpoint or for all, and not the
// device's own where it does not want these [MQTT-3.8.3-3].
func (sub *subscription) takes(m *linkspan.Message) bool {
	return (m.Target == "" || m.Target == sub.session.endpoint) && (!sub.noLocal || m.Client != sub.session.client)
}

// validFilter reports whether filter obeys the rules of [MQTT-4.7.1] and [MQTT-4.7.3].
func validFilter(filter string) bool {
	if filter == "" || len(filter) > 65535 || strings.IndexByte(filter, 0) >= 0 {
		return false
	}
	for i := 0; i < len(filter); i++ {
		if c := filter[i]; c != '+' && c != '#' {
			continue
		}
		alone := (i == 0 || filter[i-1] == '/') && (i+1 == len(filter) || filter[i+1] == '/')
		if !alone || filter[i] == '#' && i+1 != len(filter) {
			return false
		}
	}
	return true
}

// filterBytes is about how much memory a filter takes that shares no level with another.
func filterBytes(filter string) int { return 72 + len(filter) + 80*levels(filter) }

// levels returns how many levels a filter has.
func levels(filter string) int { return 1 + strings.Count(filter, "/") }

// levelEnd returns where the level of s that begins at pos ends.
func levelEnd(s string, pos int) int {
	if i := strings.IndexByte(s[pos:], '/'); i >= 0 {
		return pos + i
	}
	return len(s)
}

// add returns the subscription of s to filter, and whether it is a new one. The caller holds s.mu and t.mu.
func (t *tree) add(s *Session, filter string) (sub *subscription, fresh bool) {
	n, owned := &t.root, false
	for pos := 0; pos <= len(filter); {
		end := levelEnd(filter, pos)
		kid := n.child(filter[pos:end])
		if kid == nil {
			if !owned { // one copy serves all the levels that are new
				filter, owned = strings.Clone(filter), true
			}
			kid = n.grow(filter[pos:end])
		}
		n, pos = kid, end+1
	}
	if sub = n.find(s); sub != nil {
		return sub, false
	}
	sub = &subscription{session: s, node: n, next: n.subs, at: int32(len(s.subs))}
	if n.subs != nil {
		n.subs.prev = sub
	}
	n.subs = sub
	s.subs = append(s.subs, sub)
	return sub, true
}

// lookup returns the subscription of s to filter, nil if there is none. The caller holds s.mu and t.mu.
func (t *tree) lookup(s *Session, filter string) *subscription {
	n := &t.root
	for pos := 0; pos <= len(filter); {
		end := levelEnd(filter, pos)
		if n = n.child(filter[pos:end]); n == nil {
			return nil
		}
		pos = end + 1
	}
	return n.find(s)
}

// remove takes sub out of the tree and of its session, with all nodes that are of no more use. The caller holds the
// session's lock and t.mu.
func (t *tree) remove(sub *subscription) {
	s, n := sub.session, sub.node
	last := s.subs[len(s.subs)-1]
	s.subs[sub.at], last.at = last, sub.at
	s.subs[len(s.subs)-1] = nil
	if s.subs = s.subs[:len(s.subs)-1]; len(s.subs) == 0 {
		s.subs = nil
	}
	if sub.next != nil {
		sub.next.prev = sub.prev
	}
	if sub.prev != nil {
		sub.prev.next = sub.next
	} else {
		n.subs = sub.next
	}
	sub.node, sub.next, sub.prev = nil, nil, nil
	for n.parent != nil && n.subs == nil && n.plus == nil && n.hash == nil && n.kids == nil && n.index == nil {
		n.parent.prune(n)
		n = n.parent
	}
}

// match appends to dst the nodes whose filters match topic and have subscriptions. The caller holds t.mu, for reading
// at least.
func (t *tree) match(topic string, dst []*node) []*node {
	return t.root.match(topic, 0, dst)
}

// match does so for the levels of topic from pos on; pos is past the end of topic when none is left.
func (n *node) match(topic string, pos int, dst []*node) []*node {
	wild := pos > 0 || topic == "" || topic[0] != '$' // [MQTT-4.7.2-1]
	if n.hash != nil && wild {
		dst = append(dst, n.hash) // also of the parent level: a/# matches a [MQTT-4.7.1.2]
	}
	if pos > len(topic) {
		if n.subs != nil {
			dst = append(dst, n)
		}
		return dst
	}
	end := levelEnd(topic, pos)
	if n.kids != nil || n.index != nil {
		if kid := n.kid(topic[pos:end]); kid != nil {
			dst = kid.match(topic, end+1, dst)
		}
	}
	if n.plus != nil && wild {
		dst = n.plus.match(topic, end+1, dst)
	}
	return dst
}

// find returns the subscription of s that ends at n. It looks through those of n and those of s side by side, so that
// it is as fast as the shorter list: many sessions share one filter, and some have many filters, seldom both.
func (n *node) find(s *Session) *subscription {
	sub := n.subs
	for i := 0; sub != nil && i < len(s.subs); i++ {
		if sub.session == s {
			return sub
		}
		if s.subs[i].node == n {
			return s.subs[i]
		}
		sub = sub.next
	}
	return nil
}

// child returns the child for a level of a filter.
func (n *node) child(level string) *node {
	switch level {
	case "+":
		return n.plus
	case "#":
		return n.hash
	}
	return n.kid(level)
}

// kid returns the child for a level of a topic.
func (n *node) kid(level string) *node {
	if n.index != nil {
		return n.index[level]
	}
	for k := n.kids; k != nil; k = k.next {
		if k.level == level {
			return k
		}
	}
	return nil
}

// grow adds a child, which is not there yet.
func (n *node) grow(level string) *node {
	kid := &node{parent: n, level: level}
	switch {
	case level == "+":
		n.plus = kid
	case level == "#":
		n.hash = kid
	case n.index != nil:
		n.index[level] = kid
	default:
		count := 0
		for k := n.kids; k != nil; k = k.next {
			count++
		}
		kid.next, n.kids = n.kids, kid
		if count == maxList {
			n.spread()
		}
	}
	return kid
}

// spread turns n's list of children into an index.
func (n *node) spread() {
	n.index = make(map[string]*node, 2*maxList)
	for k := n.kids; k != nil; {
		next := k.next
		n.index[k.level], k.next = k, nil
		k = next
	}
	n.kids = nil
}

// prune takes a child out.
func (n *node) prune(kid *node) {
	switch {
	case kid == n.plus:
		n.plus = nil
	case kid == n.hash:
		n.hash = nil
	case n.index != nil:
		if delete(n.index, kid.level); len(n.index) == 0 {
			n.index = nil
		}
	default:
		p := &n.kids
		for *p != kid {
			p = &(*p).next
		}
		*p = kid.next
	}
}
