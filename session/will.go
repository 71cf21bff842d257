package session

import (
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// A will is what a session leaves behind.
type will struct {
	m      *linkspan.Message
	expiry time.Duration
}

// wills are on their way to the uplink. One goroutine sends them while there are any.
type wills struct {
	mu      sync.Mutex
	waiting []*linkspan.Message
	bytes   int // of all that are not settled
	running bool
}

const (
	maxWillBytes = 64 << 20 // of wills that wait, while the uplink takes none
	willBatch    = 256      // wills sent at a time
)

// publish sends a will to the uplink, now or, if that has no room, later.
func (r *Registry) publish(w *will) {
	m, now := w.m, time.Now()
	if m.Received = now; w.expiry > 0 {
		m.Expires = now.Add(w.expiry)
	}
	if r.cfg.Uplink == nil {
		r.stats.WillsLost.Add(1)
		return
	}
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	if r.wills.bytes+size(m) > maxWillBytes || r.ctx.Err() != nil {
		r.stats.WillsLost.Add(1)
		return
	}
	r.wills.bytes += size(m)
	r.wills.waiting = append(r.wills.waiting, m)
	if !r.wills.running {
		r.wills.running = true
		r.work.Go(r.publishWills)
	}
}

// publishWills sends what waits, batch by batch, until nothing does or the registry stops.
func (r *Registry) publishWills() {
	retry := minRetry
	for {
		batch := r.nextWills()
		if len(batch) == 0 {
			return
		}
		left := r.sendWills(batch)
		if len(left) < len(batch) {
			retry = minRetry
		}
		if len(left) == 0 {
			continue
		}
		r.wills.mu.Lock()
		r.wills.waiting = append(left, r.wills.waiting...)
		r.wills.mu.Unlock()
		sleep(r.ctx, retry)
		retry = min(2*retry, maxRetry)
	}
}

// nextWills takes a batch off what waits. It is empty at the end; after the registry's stop all that waits is lost.
func (r *Registry) nextWills() []*linkspan.Message {
	w := &r.wills
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.ctx.Err() != nil {
		r.stats.WillsLost.Add(int64(len(w.waiting)))
		if len(w.waiting) > 0 {
			r.log.Warn("wills not published before the shutdown ended", "count", len(w.waiting))
		}
		w.waiting, w.bytes = nil, 0
	}
	n := min(willBatch, len(w.waiting))
	batch := w.waiting[:n:n]
	if w.waiting = w.waiting[n:]; len(w.waiting) == 0 {
		w.waiting, w.running = nil, n > 0
	}
	return batch
}

// sendWills sends a batch and returns those that are to be sent again, in their order.
func (r *Registry) sendWills(batch []*linkspan.Message) (left []*linkspan.Message) {
	type outcome struct {
		i   int
		err error
	}
	outcomes := make(chan outcome, len(batch))
	sent := 0
	for sent < len(batch) && linkspan.Room(r.cfg.Uplink) {
		i := sent
		sent++
		r.cfg.Uplink.Send(r.ctx, batch[i], func(err error) { outcomes <- outcome{i, err} })
	}
	errs := make([]error, sent)
	for i := range errs {
		errs[i] = linkspan.ErrClosed // for those that the stop overtakes
	}
	for range sent {
		select {
		case o := <-outcomes:
			errs[o.i] = o.err
		case <-r.ctx.Done():
			return r.sortWills(batch, errs)
		}
	}
	return r.sortWills(batch, errs)
}

// sortWills counts the wills that are settled and returns the others. errs may be shorter than batch.
func (r *Registry) sortWills(batch []*linkspan.Message, errs []error) (left []*linkspan.Message) {
	settled := 0
	for i, m := range batch {
		switch {
		case i < len(errs) && errs[i] == nil:
			r.stats.WillsPublished.Add(1)
			settled += size(m)
		case i < len(errs) && linkspan.IsPermanent(errs[i]):
			r.stats.WillsRefused.Add(1)
			settled += size(m)
			r.log.Warn("will refused", "client", m.Client, "topic", m.Topic, "error", errs[i])
		default:
			left = append(left, m)
		}
	}
	r.wills.mu.Lock()
	r.wills.bytes -= settled
	r.wills.mu.Unlock()
	return left
}
