package fleet

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

const (
	// expiryInterval is how exactly what is parked expires.
	expiryInterval = time.Second
	// releaseWindow is how many records are on their way out of one lane, and releaseBytes how much is read of it at a time.
	releaseWindow = 256
	releaseBytes  = 1 << 20
	// releaseDrain is how long what is on its way may take to settle when a lane is given up.
	releaseDrain = 5 * time.Second
)

// Own does the work of the lane's owner until ctx ends: it releases what is parked there when its device is seen, and gives
// what has expired to the dead letter topic. It returns once nothing of it is on its way, or releaseDrain has passed.
func (p *Parking) Own(ctx context.Context, number int32) {
	if err := p.barrier.wait(ctx, number); err != nil {
		return
	}
	l := &p.lanes[number]
	l.take()
	defer l.giveUp()
	tick := time.NewTicker(expiryInterval)
	defer tick.Stop()
	r := releaser{p: p, lane: l, number: number}
	all := true
	for ctx.Err() == nil {
		if ok := r.round(ctx, all); !ok {
			p.stats.Errors.Add(1)
			pause(ctx, retryInterval)
			all = true
			continue
		}
		all = false
		select {
		case <-l.wake:
		case <-tick.C:
			all = l.expired(p.clock().UnixMilli())
		case <-ctx.Done():
		}
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (l *lane) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owned, l.due = true, map[string]struct{}{}
}

func (l *lane) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owned, l.due = false, nil
}

// expired reports whether something has waited too long.
func (l *lane) expired(now int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, q := range l.devices {
		if w := q.waiting(); len(w) > 0 && w[0].until <= now {
			return true
		}
	}
	return false
}

// waiting returns what is neither released nor on its way. The lane is locked.
func (q *queue) waiting() []waiting {
	i, _ := slices.BinarySearchFunc(q.records, q.sent+1, func(w waiting, offset int64) int { return int(min(max(w.offset-offset, -1), 1)) })
	return q.records[i:]
}

// releaser works on one lane while it is owned.
type releaser struct {
	p      *Parking
	lane   *lane
	number int32
	mu     sync.Mutex // guards what settles
}

// job is what a round does for one device.
type job struct {
	endpoint string // where to release to; "": nowhere, the time is up
	last     int64  // up to this offset
	missing  int    // records not yet found in the log
	stopped  bool   // at a record that may not go there
	halted   bool   // before the last: to be gone on with

	// What settles:
	sent   int64 // up to this offset all is where it belongs
	failed bool  // behind that something failed
}

// round releases what can be released now, of all devices or of those that are due, and reports whether nothing failed.
func (r *releaser) round(ctx context.Context, all bool) bool {
	jobs, offsets := r.plan(all)
	if len(jobs) > 0 {
		r.release(ctx, jobs, offsets)
	}
	ok := r.note(jobs)
	return r.mark(ctx, jobs, all) && ok
}

// plan returns what is to be done, and the offsets of the records, in order.
func (r *releaser) plan(all bool) (jobs map[string]*job, offsets []int64) {
	l, now := r.lane, r.p.clock().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	jobs = map[string]*job{}
	add := func(device string, q *queue) {
		records := q.waiting()
		endpoint, found := r.p.places.Find(device)
		if !found || endpoint == q.stuck {
			endpoint = ""
			if i := slices.IndexFunc(records, func(w waiting) bool { return w.until > now }); i >= 0 {
				records = records[:i]
			}
		}
		if len(records) == 0 {
			return
		}
		jobs[device] = &job{endpoint: endpoint, last: records[len(records)-1].offset, missing: len(records), sent: q.sent}
		for _, w := range records {
			offsets = append(offsets, w.offset)
		}
	}
	if all {
		for device, q := range l.devices {
			add(device, q)
		}
	} else {
		for device := range l.due {
			add(device, l.devices[device])
		}
	}
	clear(l.due)
	slices.Sort(offsets)
	return jobs, offsets
}

// step is a record on its way out.
type step struct {
	job    *job
	offset int64
}

// release reads the records at these offsets, and has each sent to where its job says, in order.
func (r *releaser) release(ctx context.Context, jobs map[string]*job, offsets []int64) {
	window := linkspan.NewWindow(releaseWindow, new(linkspan.Slots[step]), func(s step, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case err != nil:
			s.job.failed = true
		case !s.job.failed:
			s.job.sent = s.offset
		}
	})
	read := func(m *linkspan.Message) {
		j := jobs[string(m.Record.Key)]
		if i, planned := slices.BinarySearch(offsets, m.Record.Offset); planned && j != nil {
			offsets = offsets[i+1:]
			j.missing--
			r.one(ctx, window, j, m)
		}
	}
	for len(offsets) > 0 && ctx.Err() == nil {
		from := offsets[0]
		next, err := r.p.parts.Read(ctx, r.p.topic, r.number, from, releaseBytes, read)
		switch {
		case linkspan.IsPermanent(err): // retention was faster
			r.p.log.Error("a parked record is no longer in the log", "topic", r.p.topic, "partition", r.number, "offset", from, "err", err)
			next = from + 1
		case err != nil || next <= from:
			halt(jobs)
			offsets = nil
		}
		i, _ := slices.BinarySearch(offsets, next)
		offsets = offsets[i:]
	}
	if len(offsets) > 0 {
		halt(jobs)
	}
	if !settle(ctx, window.WaitEmpty) {
		halt(jobs)
	}
}

// settle waits until nothing is on its way, when ctx ends for a little longer, and reports whether that came.
func settle(ctx context.Context, wait func(context.Context) error) bool {
	if wait(ctx) == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseDrain)
	defer cancel()
	return wait(ctx) == nil
}

// halt ends all jobs where they are.
func halt(jobs map[string]*job) {
	for _, j := range jobs {
		j.halted = true
	}
}

// one sends on a record as it was read from the log.
func (r *releaser) one(ctx context.Context, window *linkspan.Window[step], j *job, m *linkspan.Message) {
	r.mu.Lock()
	failed := j.failed
	r.mu.Unlock()
	if failed || j.stopped || j.halted {
		return
	}
	s := step{j, m.Record.Offset}
	endpoint, why := r.judge(j, m)
	if endpoint == "" && why == nil {
		j.stopped = true
		return
	}
	done, ok := r.open(ctx, window, s)
	if !ok {
		j.halted = true
		return
	}
	ctx = context.WithoutCancel(ctx)
	if why != nil {
		r.refuse(ctx, m, why, done)
		return
	}
	keep := m.Clone()
	w := wrappings.Get().(*wrapping)
	w.forInbox(m, r.p.inbox, r.p.cfg.Lanes, endpoint)
	r.p.parts.To.Send(ctx, &w.m, func(err error) {
		switch {
		case err == nil:
			r.p.stats.Released.Add(1)
			done(nil)
		case linkspan.IsPermanent(err):
			r.refuse(ctx, keep, err, done)
		default:
			done(err)
		}
	})
	w.free()
}

// judge makes m what it was before it was parked, and says to which inbox it goes, or why it is refused; neither if it may
// not go to where its device is.
func (r *releaser) judge(j *job, m *linkspan.Message) (endpoint string, why error) {
	if err := unwrapParked(m, &r.p.names); err != nil {
		return "", err
	}
	if j.endpoint == "" {
		r.p.stats.Expired.Add(1)
		return "", ErrParkedTooLong
	}
	loc, ok, err := r.p.parts.Locate(m)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", ErrNotLocated
	case slices.Contains(loc.Endpoints, j.endpoint):
		return j.endpoint, nil
	case slices.Contains(loc.Listeners, j.endpoint):
		return "", ErrOnListener
	}
	return "", nil
}

// refuse puts m into the dead letter topic.
func (r *releaser) refuse(ctx context.Context, m *linkspan.Message, why error, done func(error)) {
	r.p.parts.Refuse(ctx, m, why, func(err error) {
		if err == nil {
			r.p.stats.Refused.Add(1)
		}
		done(err)
	})
}

// open waits for room, here and behind.
func (r *releaser) open(ctx context.Context, window *linkspan.Window[step], s step) (done func(error), ok bool) {
	for !linkspan.Room(r.p.parts.To, nil) && ctx.Err() == nil {
		pause(ctx, 5*time.Millisecond)
	}
	if ctx.Err() != nil || window.WaitRoom(ctx) != nil {
		return nil, false
	}
	return window.Open(s)
}

// note writes down what became of jobs, and reports whether none failed.
func (r *releaser) note(jobs map[string]*job) (ok bool) {
	r.lane.mu.Lock()
	defer r.lane.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	ok = true
	for device, j := range jobs {
		q := r.lane.devices[device]
		switch {
		case j.failed, j.halted:
			ok = false
		case j.stopped && q != nil:
			q.stuck = j.endpoint
		case !j.stopped:
			r.p.stats.Lost.Add(uint64(j.missing))
			j.sent = j.last
		}
		if q != nil {
			q.sent = max(q.sent, j.sent)
		}
	}
	return ok
}

// mark writes a marker for each device, of jobs or of all, of which there is more released than marked, and reports whether
// all are written.
func (r *releaser) mark(ctx context.Context, jobs map[string]*job, all bool) bool {
	type mark struct {
		device string
		offset int64
	}
	var marks []mark
	r.lane.mu.Lock()
	note := func(device string) {
		if q := r.lane.devices[device]; q != nil && q.sent > q.marked {
			marks = append(marks, mark{device, q.sent})
		}
	}
	for device := range jobs {
		note(device)
	}
	for device := range r.lane.devices {
		if all && jobs[device] == nil {
			note(device)
		}
	}
	r.lane.mu.Unlock()

	var failed atomic.Bool
	window := linkspan.NewWindow(len(marks), new(linkspan.Slots[mark]), func(m mark, err error) {
		if err != nil {
			failed.Store(true)
			return
		}
		r.lane.mu.Lock()
		defer r.lane.mu.Unlock()
		if q := r.lane.devices[m.device]; q != nil {
			q.marked = max(q.marked, m.offset)
		}
	})
	for _, m := range marks {
		done, _ := window.Open(m)
		r.p.parts.To.Send(context.WithoutCancel(ctx), &linkspan.Message{Payload: []byte{}, Record: linkspan.Record{
			Topic: r.p.topic, Partition: r.number, Key: []byte(m.device),
			Headers: []linkspan.Header{{Key: headerReleased, Value: strconv.AppendInt(nil, m.offset, 10)}},
		}}, done)
	}
	return settle(ctx, window.WaitEmpty) && !failed.Load()
}
