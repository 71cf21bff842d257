package session

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// A will is what a session leaves behind.
type will struct {
	m      *linkspan.Message
	expiry time.Duration

	// Of a published one, guarded by wills.mu.

	client  string
	number  uint64        // in the order of publication
	due     time.Time     // when to hand it over again, after it failed
	retry   time.Duration // after which it was due
	passing bool          // it is being handed over
	failed  bool          // and that has failed already

	undecided bool // its connection may have heard a goodbye
}

// wills are on their way to the uplink. A will is handed over by whoever ends its session, before the next session of
// the same client can publish anything; if the uplink has no room or fails, a goroutine does it later, and the next
// session waits for that (P3). The will of a session that was ended from outside waits until its connection has looked for a
// DISCONNECT in what the device had sent by then [MQTT-3.14.4-3].
type wills struct {
	waiting atomic.Int64 // not handed over

	mu        sync.Mutex
	clients   map[string][]*will // those that wait, of each client in order
	published uint64
	unsettled int // waiting or handed over; counts in Registry.work while it is not 0
	bytes     int // of the unsettled
	running   bool
	stopped   bool
}

const maxWillBytes = 64 << 20 // of wills that the uplink does not answer for yet

// MayPublish reports whether the uplink has the wills of all earlier sessions of this client: what the device publishes
// comes after them (P3). It is cheap, and only false for as long as the uplink does not take a will.
func (s *Session) MayPublish() bool {
	w := &s.registry.wills
	if w.waiting.Load() == 0 {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.clients[s.client]) == 0
}

// leave takes the will of a session that has ended among those that wait, for decide at first. It returns nil if there is none,
// or if too many wait.
func (r *Registry) leave(s *Session) *will {
	w := s.will
	if w == nil {
		return nil
	}
	w.client = s.client
	if w.m.Received = time.Now(); w.expiry > 0 {
		w.m.Expires = w.m.Received.Add(w.expiry)
	}
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	if r.cfg.Uplink == nil || r.wills.stopped || r.wills.bytes+size(w.m) > maxWillBytes {
		r.stats.WillsLost.Add(1)
		return nil
	}
	r.wills.published++
	w.number, w.undecided = r.wills.published, true
	r.wills.bytes += size(w.m)
	if r.wills.unsettled++; r.wills.unsettled == 1 {
		r.work.Add(1)
	}
	r.wills.wait(w)
	return w
}

// decide publishes a will that was left, or gives it up. nil: there is none.
func (r *Registry) decide(w *will, publish bool) {
	if w == nil {
		return
	}
	ws := &r.wills
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w.undecided = false
	if !publish && !ws.stopped {
		ws.pass(w)
		r.settled(w)
	}
	r.publish(w.client)
}

// publish hands the wills of a client over at once if it can, or has them handed over. The caller holds wills.mu, which is let
// go meanwhile, since the uplink may answer at once.
func (r *Registry) publish(client string) {
	r.handOverAll(client, time.Time{})
	if left := r.wills.clients[client]; len(left) > 0 && !left[0].passing && !left[0].undecided { // else whoever hands it over, or decides, goes on
		r.publishLater()
	}
}

// publishLater sees to it that what waits is handed over. The caller holds wills.mu.
func (r *Registry) publishLater() {
	if !r.wills.running && !r.wills.stopped {
		r.wills.running = true
		r.work.Go(r.publishWaiting)
	}
}

// publishWaiting hands over what waits, until nothing does or the registry stops.
func (r *Registry) publishWaiting() {
	retry := minRetry
	for {
		moved, left := r.publishSome()
		switch {
		case !left:
			return
		case moved:
			retry = minRetry
		}
		sleep(r.ctx, retry)
		retry = min(2*retry, maxRetry)
	}
}

// publishSome goes once through the wills that wait. It reports whether it got rid of any, and whether any are left.
func (r *Registry) publishSome() (moved, left bool) {
	w := &r.wills
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for client := range w.clients { // handOver lets go of the lock, and leaves what failed where it was
		passed, room := r.handOverAll(client, now)
		if moved = moved || passed; !room {
			break
		}
	}
	w.running = len(w.clients) > 0 && !w.stopped
	return moved, w.running
}

// handOverAll hands over the wills of a client as long as they pass, as handOver does.
func (r *Registry) handOverAll(client string, now time.Time) (passed, room bool) {
	for {
		var one bool
		if one, room = r.handOver(client, now); !one {
			return passed, room
		}
		passed = true
	}
}

// handOver hands the oldest will of a client to the uplink, if one waits that is due and not on its way already. It
// reports whether the will passed, and false for room if it did not for want of that. The caller holds wills.mu, which
// is let go meanwhile: what the uplink has locked when it answers is its own affair.
func (r *Registry) handOver(client string, now time.Time) (passed, room bool) {
	ws := &r.wills
	if len(ws.clients[client]) == 0 {
		return false, true
	}
	w := ws.clients[client][0]
	if w.passing || w.undecided || w.due.After(now) {
		return false, true
	}
	w.passing, w.failed = true, false
	ws.mu.Unlock()
	if room = linkspan.Room(r.cfg.Uplink, w.m); room {
		r.cfg.Uplink.Send(r.ctx, w.m, func(err error) { r.settleWill(w, err) })
	}
	ws.mu.Lock()
	if w.passing = false; !room || w.failed {
		return false, room
	}
	ws.pass(w)
	return true, true
}

// settleWill is told by the uplink what became of w. What is worth a retry waits again, in its place.
func (r *Registry) settleWill(w *will, err error) {
	ws := &r.wills
	ws.mu.Lock()
	defer ws.mu.Unlock()
	switch {
	case ws.stopped: // counted as lost
		return
	case err == nil:
		r.stats.WillsPublished.Add(1)
	case linkspan.IsPermanent(err):
		r.stats.WillsRefused.Add(1)
		r.log.Warn("will refused", "client", w.client, "topic", w.m.Topic, "err", err)
	default:
		w.retry = min(max(2*w.retry, minRetry), maxRetry)
		w.due, w.failed = time.Now().Add(w.retry), true
		if !w.passing {
			ws.wait(w)
		}
		r.publishLater()
		return
	}
	r.settled(w)
}

// settled takes w off the books. The caller holds wills.mu.
func (r *Registry) settled(w *will) {
	ws := &r.wills
	ws.bytes -= size(w.m)
	if ws.unsettled--; ws.unsettled == 0 {
		r.work.Done()
	}
}

// loseWills gives up what is not settled, at the end.
func (r *Registry) loseWills() {
	w := &r.wills
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped = true; w.unsettled > 0 {
		r.stats.WillsLost.Add(int64(w.unsettled))
		r.log.Warn("wills not published before the shutdown ended", "count", w.unsettled)
		r.work.Done()
	}
	clear(w.clients)
	w.waiting.Store(0)
	w.unsettled, w.bytes = 0, 0
}

// wait puts w among those of its client that wait. The caller holds ws.mu, as for pass.
func (ws *wills) wait(w *will) {
	all := ws.clients[w.client]
	i := len(all)
	for i > 0 && all[i-1].number > w.number {
		i--
	}
	ws.clients[w.client] = slices.Insert(all, i, w)
	ws.waiting.Add(1)
}

// pass takes w away from there.
func (ws *wills) pass(w *will) {
	all := ws.clients[w.client]
	i := slices.Index(all, w)
	if i < 0 { // given up meanwhile
		return
	}
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(ws.clients, w.client)
	} else {
		ws.clients[w.client] = all
	}
	ws.waiting.Add(-1)
}
