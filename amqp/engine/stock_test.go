package engine

import (
	"math/rand/v2"
	"testing"
)

// TestStock: who takes a delivery has it alone and empty, whatever order they come back in; a connection that has none out has none in
// stock (P6); and batches that go back are whole.
func TestStock(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := &Link{}
	var s stock
	var out []*Delivery
	have := map[*Delivery]bool{}
	for step := range 100_000 {
		rising := step/500%2 == 0
		if len(out) == 0 || rising != (random.IntN(4) == 0) && len(out) < 200 {
			d := s.take()
			if have[d] || *d != (Delivery{}) {
				t.Fatalf("step %d: taken before, or not empty: %+v", step, d)
			}
			d.link, d.User, d.tagLen, d.remote.kind, d.settled = l, l, 3, 1, true
			have[d], out = true, append(out, d)
		} else {
			i := random.IntN(len(out))
			d := out[i]
			out[i], out = out[len(out)-1], out[:len(out)-1]
			delete(have, d)
			s.give(d)
			if d.link != nil || d.User != nil {
				t.Fatalf("step %d: still holds something", step)
			}
		}
		if s.out != len(out) || len(out) == 0 && s != (stock{}) {
			t.Fatalf("step %d: %d out, stock %+v", step, len(out), s)
		}
	}
	for range 100 {
		n := 0
		for d := batches.Get().(*Delivery); d != nil; d = d.next {
			n++
		}
		if n != batchSize {
			t.Fatalf("a batch of %d", n)
		}
	}
}
