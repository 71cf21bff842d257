package wire

import "sync"

// flushers write for connections whose bytes come from elsewhere than their own reader: a fixed number of goroutines, so
// that what many goroutines add meanwhile leaves in one write.
type flushers struct {
	mu     sync.Mutex
	some   sync.Cond
	list   []*Conn // first come, first served, from next on
	next   int
	closed bool
}

func (f *flushers) add(c *Conn) {
	f.mu.Lock()
	f.list = append(f.list, c)
	f.mu.Unlock()
	f.some.Signal()
}

// run flushes until close.
func (f *flushers) run() {
	for {
		f.mu.Lock()
		for f.next == len(f.list) && !f.closed {
			f.list, f.next = f.list[:0], 0
			f.some.Wait()
		}
		if f.next == len(f.list) {
			f.mu.Unlock()
			return
		}
		c := f.list[f.next]
		f.list[f.next] = nil
		if f.next++; f.next >= 1024 && f.next > len(f.list)/2 {
			n := copy(f.list, f.list[f.next:])
			clear(f.list[n:])
			f.list, f.next = f.list[:n], 0
		}
		f.mu.Unlock()
		c.flush()
	}
}

func (f *flushers) close() {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.some.Broadcast()
}
