package kafka

import "sync"

// A stock is the records that are free. Who sends takes them on one processor and who finishes them gives them back on another,
// where each one by itself would have to be stolen from the other's sync.Pool; so they go in magazines, and in the order in which they
// came: then who uses them goes through memory in the order of addresses. What is free for long goes to the garbage collector.
type stock struct{ filled, emptied sync.Pool } // of *magazine, some records of which were taken, and given

type magazine struct {
	n       int // taken, or given
	records [32]*record
}

func (s *stock) take() *record {
	m, _ := s.filled.Get().(*magazine)
	if m == nil {
		return newRecord()
	}
	r := m.records[m.n]
	if m.n++; m.n < len(m.records) {
		s.filled.Put(m)
	} else {
		m.n = 0
		s.emptied.Put(m)
	}
	return r
}

func (s *stock) give(r *record) {
	m, _ := s.emptied.Get().(*magazine)
	if m == nil {
		m = new(magazine)
	}
	m.records[m.n] = r
	if m.n++; m.n < len(m.records) {
		s.emptied.Put(m)
	} else {
		m.n = 0
		s.filled.Put(m)
	}
}
