package tally

import (
	"sync"
	"testing"
)

func TestTally(t *testing.T) {
	var c Tally
	c.Out(2) // counted in later
	if n := c.Load(); n != 0 {
		t.Errorf("settled before it was counted in: %d under way", n)
	}
	c.In(5)
	if n := c.Load(); n != 3 {
		t.Errorf("%d under way, want 3", n)
	}
	var both sync.WaitGroup
	both.Go(func() {
		for range 1000 {
			c.In(1)
		}
	})
	both.Go(func() {
		for range 1000 {
			c.Out(1)
		}
	})
	both.Wait()
	if n := c.Load(); n != 3 {
		t.Errorf("%d under way at the end, want 3", n)
	}
}
