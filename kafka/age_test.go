package kafka

import (
	"testing"
	"time"
)

// The age of the oldest record in flight is right within a generation, however long an outage lasts.
func TestAges(t *testing.T) {
	var a ages
	now := time.Unix(1_700_000_000, 0)
	if a.oldest(now) != 0 {
		t.Error("nothing is old")
	}
	first := a.enter(10, now)
	for range 1000 {
		now = now.Add(generationSpan)
		before := a.enter(20, now)
		a.leave(30, a.enter(30, now))
		a.leave(20, before)
	}
	if age := a.oldest(now); age != 1000*generationSpan {
		t.Errorf("oldest %v", age)
	}
	a.leave(10, first)
	if age := a.oldest(now); age != 0 {
		t.Errorf("oldest %v when all are out", age)
	}
	var waiting []int32
	for range 100 { // more generations than there are: nothing is acknowledged for ten seconds
		now = now.Add(generationSpan + 1)
		waiting = append(waiting, a.enter(1, now))
	}
	if age := a.oldest(now); age < 99*generationSpan || age > 100*generationSpan+100 {
		t.Errorf("oldest %v, want 9.9s", age)
	}
	if n := a.total(); n != 100 {
		t.Errorf("%d bytes, want 100", n)
	}
	for _, place := range waiting {
		a.leave(1, place)
	}
	if age := a.oldest(now); age != 0 {
		t.Errorf("oldest %v after the outage", age)
	}
}

// Who asks for room gets it as long as less than the bound is in flight, and no longer, however the bytes spread over time (P6).
func TestAgesBelow(t *testing.T) {
	const most, size = 1000, 30
	for _, step := range []time.Duration{0, time.Millisecond, generationSpan / 3, 2 * generationSpan} {
		var a ages
		now := time.Unix(1_700_000_000, 0)
		var inside []int32
		full := 0
		for i := range 20 * generations {
			if room := a.below(most); room != (a.total() < most) {
				t.Fatalf("step %v: room %v with %d bytes", step, room, a.total())
			} else if room {
				inside = append(inside, a.enter(size, now))
			} else {
				full++
			}
			if now = now.Add(step); len(inside) > 0 && i%7 > 3 {
				a.leave(size, inside[0])
				inside = inside[1:]
			}
		}
		if full == 0 {
			t.Errorf("step %v: never full", step)
		}
	}
}
