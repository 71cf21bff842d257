package engine

// A ledger finds the deliveries of one direction of a session by their ids, which rise. What is removed leaves a gap until
// half of it are gaps: whatever order deliveries are settled in, a step costs next to nothing, and the size follows their
// number.
type ledger struct {
	entries []entry
	live    int
}

type entry struct {
	id uint32
	d  *Delivery // nil: removed
}

// add adds a delivery, whose id is the highest.
func (g *ledger) add(d *Delivery) {
	if len(g.entries) == cap(g.entries) && g.live <= len(g.entries)/2 {
		g.compact()
	}
	g.entries = append(g.entries, entry{d.id, d})
	g.live++
	d.entered = true
}

func (g *ledger) compact() {
	kept := g.entries[:0]
	for _, e := range g.entries {
		if e.d != nil {
			kept = append(kept, e)
		}
	}
	clear(g.entries[len(kept):])
	g.entries = kept
}

// search returns the index of the first entry whose id is not before id; ids are compared as their distance from the
// oldest, since they start again at 0 some day [AMQP 2.8.10].
func (g *ledger) search(id uint32) int {
	if len(g.entries) == 0 {
		return 0
	}
	oldest := g.entries[0].id
	want := id - oldest
	if want > 1<<31 {
		return 0 // before the oldest
	}
	lo, hi := 0, len(g.entries)
	if uint64(want) < uint64(hi) {
		hi = int(want) + 1 // no entry is farther on than its distance
		if g.entries[want].id == id {
			return int(want) // no gap was closed
		}
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if g.entries[mid].id-oldest < want {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (g *ledger) remove(d *Delivery) {
	i := g.search(d.id)
	g.entries[i].d = nil
	d.entered = false
	g.live--
	if g.live == 0 {
		g.entries = g.entries[:0]
	}
}

// after returns the first delivery from id to last, both included, and nil if there is none.
func (g *ledger) after(id, last uint32) *Delivery {
	for i := g.search(id); i < len(g.entries); i++ {
		e := g.entries[i]
		if e.id-id > last-id {
			return nil
		}
		if e.d != nil {
			return e.d
		}
	}
	return nil
}

// shrink gives memory back that is not needed at the moment.
func (g *ledger) shrink() {
	if g.live == 0 {
		g.entries = nil
	}
}
