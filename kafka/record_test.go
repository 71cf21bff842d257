package kafka

import (
	"testing"
	"unsafe"
)

// What is needed at the same time is in the same line of memory: behind the 8 bytes that the allocator puts first, the Kafka
// client's record begins the second line, and what end needs ends the fourth. Of all records together, no lines are nearer to those
// of others than by chance, as they would be if their size was a power of two.
func TestRecordLines(t *testing.T) {
	var r record
	if at := unsafe.Offsetof(r.Record); at != 56 {
		t.Errorf("the Kafka client's record is at %d", at)
	}
	if at := unsafe.Offsetof(r.bytes); at != 248 {
		t.Errorf("the copy is at %d", at)
	}
	if size := unsafe.Sizeof(r); size != 888 {
		t.Errorf("a record has %d bytes", size)
	}
	if k := newRecord(); recordOf(&k.Record) != k || (uintptr(unsafe.Pointer(k))+56)%64 != 0 {
		t.Errorf("a record is at %p", k)
	}
}

// Records come back in the order in which they were given, and none is in two hands.
func TestStock(t *testing.T) {
	var s stock
	used := map[*record]bool{}
	for range 1000 {
		var taken []*record
		for range 50 {
			r := s.take()
			if used[r] {
				t.Fatal("a record was taken twice")
			}
			used[r] = true
			taken = append(taken, r)
		}
		for _, r := range taken {
			delete(used, r)
			s.give(r)
		}
	}
}
