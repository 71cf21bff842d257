package session

import "github.com/linkspan/linkspan"

// A queue holds what waits for a device, oldest first.
type queue struct {
	entries  []entry
	first    int // index of the oldest
	messages int
	bytes    int
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

func (q *queue) push(e entry, bytes int) {
	if q.first > 0 && len(q.entries) == cap(q.entries) && q.first >= len(q.entries)/2 {
		n := copy(q.entries, q.entries[q.first:])
		clear(q.entries[n:])
		q.entries, q.first = q.entries[:n], 0
	}
	q.entries = append(q.entries, e)
	if e.m != nil {
		q.messages++
		q.bytes += bytes
	}
}

// pop takes the oldest out. An empty queue keeps only little memory.
func (q *queue) pop(bytes int) {
	e := q.head()
	if e.m != nil {
		q.messages--
		q.bytes -= bytes
	}
	*e = entry{}
	if q.first++; q.first < len(q.entries) {
		return
	}
	q.entries, q.first = q.entries[:0], 0
	if cap(q.entries) > 16 {
		q.entries = nil
	}
}

// walkOf returns the walk of sub that waits, nil if there is none.
func (q *queue) walkOf(sub *subscription) *walk {
	for i := q.first; i < len(q.entries); i++ {
		if w := q.entries[i].walk; w != nil && w.sub == sub {
			return w
		}
	}
	return nil
}
