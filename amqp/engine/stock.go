package engine

import "sync"

// A stock is where a connection has its deliveries from, and where they go back to. Most are taken on one processor and come back on
// another, so there is nothing to be gained from asking a pool for each: it is asked for batches of them, side by side in
// memory. A connection without deliveries has none in stock.
type stock struct {
	fresh      *Delivery // to be taken; the rest of a batch
	used, last *Delivery // given back, less than a batch
	n          int       // of used
	out        int       // taken and not given back
}

// batchSize is how many deliveries a batch has. All in the pool have that many: what a stock has and what is out is always a number of
// whole batches.
const batchSize = 16

var batches = sync.Pool{New: func() any {
	all := new([batchSize]Delivery)
	for i := range batchSize - 1 {
		all[i].next = &all[i+1]
	}
	return &all[0]
}}

// take returns an empty delivery.
func (s *stock) take() *Delivery {
	d := s.fresh
	if d == nil {
		d = batches.Get().(*Delivery)
	}
	s.fresh = d.next
	s.out++
	*d = Delivery{}
	return d
}

// give takes a delivery back.
func (s *stock) give(d *Delivery) {
	d.User, d.link, d.next = nil, nil, nil
	if s.used == nil {
		s.used = d
	} else {
		s.last.next = d
	}
	s.last = d
	s.n++
	if s.out--; s.out == 0 {
		d.next, s.fresh = s.fresh, nil
	} else if s.n < batchSize {
		return
	}
	batches.Put(s.used)
	s.used, s.last, s.n = nil, nil, 0
}
