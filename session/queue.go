package session

import (
	"slices"

	"github.com/linkspan/linkspan"
)

// A queue holds what waits for a device, oldest first.
type queue struct {
	entries  []entry
	first    int // index of the oldest
	messages int
	bytes    int
	dead     int // walks that were stopped
}

// An entry is one message, or one walk over the retained messages.
type entry struct {
	m      *linkspan.Message // shared, nil for a walk
	walk   *walk
	ids    []uint32
	qos    linkspan.QoS
	retain bool
}

func (q *queue) len() int { return len(q.entries) - q.first }

func (q *queue) head() *entry { return &q.entries[q.first] }

// push adds e as the newest.
func (q *queue) push(e entry) {
	if q.first > 0 && len(q.entries) == cap(q.entries) && q.first >= len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.first:])
		clear(q.entries[n:])
		q.entries, q.first = q.entries[:n], 0
	}
	q.entries = append(q.entries, e)
	if e.m != nil {
		q.messages++
		q.bytes += entryBytes(e.m, e.ids)
	}
}

// pop takes the oldest out.
func (q *queue) pop() {
	switch e := q.head(); {
	case e.m != nil:
		q.messages--
		q.bytes -= entryBytes(e.m, e.ids)
	case e.walk.sub == nil:
		q.dead--
	default:
		e.walk.sub.walk = nil
	}
	*q.head() = entry{}
	q.first++
	q.tidy()
}

// tidy sees to it that an empty queue keeps only little memory.
func (q *queue) tidy() {
	if q.first < len(q.entries) {
		return
	}
	q.entries, q.first = q.entries[:0], 0
	if cap(q.entries) > 16 {
		q.entries = nil
	}
}

// stop ends the walk of sub, if there is one. Its entry stays for now, but no more such entries than others.
func (q *queue) stop(sub *subscription) {
	if sub.walk == nil {
		return
	}
	*sub.walk = walk{}
	sub.walk = nil
	if q.dead++; q.dead <= q.len()/2 {
		return
	}
	q.entries = slices.DeleteFunc(q.entries[q.first:], func(e entry) bool { return e.walk != nil && e.walk.sub == nil })
	q.first, q.dead = 0, 0
	q.tidy()
}

// entryBytes is about how much memory a message takes in the queue. Its identifiers are this entry's only.
func entryBytes(m *linkspan.Message, ids []uint32) int { return size(m) + 64 + 4*len(ids) }
