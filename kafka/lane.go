package kafka

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A lane is one partition while this consumer has it. Its goroutine hands the records over in order, and its window
// says up to where they are settled (P4). Lanes do not wait for each other.
//
// What the sink gives back is handed over again, before anything newer: the lane waits until nothing is under way, so
// that what was given back is known completely, and sends that in order. A record that was taken meanwhile is not
// repeated. So a sink that keeps the order of what it takes, and gives back all of one device from the first failure on,
// keeps the order of that device (P3).
type lane struct {
	c         *Consumer
	topic     string
	partition int32
	to        linkspan.Sink
	cancel    context.CancelFunc
	ended     chan struct{}
	wake      chan struct{} // holds one: something has changed that run waits for
	window    *linkspan.Window[position]
	end       atomic.Int64 // of the partition, as of the last fetch
	bytes     atomic.Int64 // fetched and not settled
	losses    uint64       // of the consumer, when the lane was made

	mu      sync.Mutex
	queue   []*kgo.Record // fetched, not handed over
	paused  bool
	share   int64     // bytes that it may hold before it is paused
	away    int       // handed over, outcome not known
	failed  []*flight // given back, to be handed over again; in order
	gone    bool      // drained: what comes back now is let go
	settled position  // after the settled prefix; zero: nothing is settled
	stored  position  // what was committed last
}

// position is where to go on in a partition. Its zero value is none: epochs are counted from 0 for offsets from 1 on.
type position struct {
	offset int64
	epoch  int32
}

// flight is a record from its handing over until it is settled.
type flight struct {
	lane   *lane
	record *kgo.Record
	tries  int         // how often it was given back
	settle func(error) // completes it in the window
	finish func(error) // f.done, bound once for the flight's many lives
}

func (c *Consumer) newLane(ctx context.Context, topic string, partition int32, to linkspan.Sink) *lane {
	ctx, cancel := context.WithCancel(ctx)
	l := &lane{
		c: c, topic: topic, partition: partition, to: to, cancel: cancel, ended: make(chan struct{}), wake: make(chan struct{}, 1),
		losses: c.losses.Load(),
	}
	l.window = linkspan.NewWindow(c.settings.MaxInFlight, &c.slots, func(p position, _ error) {
		l.mu.Lock()
		l.settled = p
		l.mu.Unlock()
	})
	go l.run(ctx)
	return l
}

// push queues fetched records, and has the partition paused when too many wait, or when the lane holds more than its share of the
// bytes, which others want to go on with. It does not block.
func (l *lane) push(records []*kgo.Record, share int64) {
	n := int64(0)
	for _, r := range records {
		n += recordBytes(r)
	}
	l.held(n)
	l.mu.Lock()
	l.queue = append(l.queue, records...)
	l.share = share
	if !l.paused && l.crowded() {
		l.paused = true
		l.c.kgo.PauseFetchPartitions(map[string][]int32{l.topic: {l.partition}})
	}
	l.mu.Unlock()
	l.signal()
}

// resume has the partition fetched again once there is room. Called with l locked.
func (l *lane) resume() {
	if l.paused && !l.gone && !l.crowded() {
		l.paused = false
		l.c.kgo.ResumeFetchPartitions(map[string][]int32{l.topic: {l.partition}})
	}
}

// crowded reports whether the partition is not to be fetched. Called with l locked.
//
// A fetch that waits for others does not notice who is resumed, and what it has brought meanwhile is fetched again. So a lane has a deep
// queue, and is resumed when half of it is left. Those that may stand still each by itself have the deepest.
func (l *lane) crowded() bool {
	deep := l.share
	if !l.c.cfg.Apart {
		deep = min(deep, deepQueue*int64(l.c.settings.FetchMaxPartitionBytes))
	}
	if l.paused {
		deep /= 2
	}
	return l.bytes.Load() >= deep
}

// deepQueue is how many fetches of its partition a lane has room for.
const deepQueue = 8

// held counts bytes that are fetched and not settled.
func (l *lane) held(n int64) {
	l.bytes.Add(n)
	l.c.held(n)
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run hands records over until ctx ends.
func (l *lane) run(ctx context.Context) {
	defer close(l.ended)
	var m linkspan.Message
	if l.c.cfg.Apart {
		l.apart(ctx, &m)
		return
	}
	for tries := 0; ; {
		batch, failed := l.next(ctx, tries > 0)
		switch {
		case ctx.Err() != nil:
			l.unread(batch, failed)
			return
		case len(failed) > 0:
			tries++
			l.retry(ctx, failed, tries, &m)
		default:
			tries = 0
			l.deliver(ctx, batch, &m)
		}
	}
}

// deliver hands over records for the first time.
func (l *lane) deliver(ctx context.Context, batch []*kgo.Record, m *linkspan.Message) {
	for i, r := range batch {
		f, ok := l.open(ctx, r)
		if !ok { // something was given back, or ctx has ended
			l.unread(batch[i:], nil)
			return
		}
		l.hand(ctx, f, m, 0)
	}
}

// retry hands over again what was given back, after a while, unless something of it is given back once more: then the rest waits for it.
func (l *lane) retry(ctx context.Context, failed []*flight, tries int, m *linkspan.Message) {
	_ = sleep(ctx, l.c.backoff(tries))
	for i, f := range failed {
		for !linkspan.Room(l.to, nil) && !l.returned() && ctx.Err() == nil {
			l.pause(ctx)
		}
		if ctx.Err() != nil || l.returned() {
			l.unread(nil, failed[i:])
			return
		}
		l.hand(ctx, f, m, tries)
	}
}

// returned reports whether records were given back that are not handed over again yet.
func (l *lane) returned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failed) > 0
}

// next waits for something to do: what was given back, once nothing is away, or else what was fetched. While something
// is being retried nothing newer comes before all of it is done.
func (l *lane) next(ctx context.Context, retrying bool) (batch []*kgo.Record, failed []*flight) {
	for ctx.Err() == nil {
		l.mu.Lock()
		switch {
		case len(l.failed) > 0 && l.away == 0:
			failed, l.failed = l.failed, nil
		case len(l.failed) == 0 && len(l.queue) > 0 && (!retrying || l.away == 0):
			batch, l.queue = l.queue, nil
		}
		l.resume()
		l.mu.Unlock()
		if len(batch) > 0 || len(failed) > 0 {
			return batch, failed
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
	return nil, nil
}

// unread puts back what was not handed over.
func (l *lane) unread(rest []*kgo.Record, failed []*flight) {
	l.mu.Lock()
	l.queue = append(slices.Clip(rest), l.queue...)
	for _, f := range failed {
		l.back(f)
	}
	l.mu.Unlock()
}

// open waits for room in the window and the sink, and returns a flight for r; not so when records were given back.
func (l *lane) open(ctx context.Context, r *kgo.Record) (*flight, bool) {
	for {
		if l.returned() || ctx.Err() != nil {
			return nil, false
		}
		if linkspan.Room(l.to, nil) {
			if f := l.flight(r); f != nil {
				return f, true
			}
		}
		l.pause(ctx)
	}
}

// flight opens a place in the window for r, nil where that is full.
func (l *lane) flight(r *kgo.Record) *flight {
	settle, ok := l.window.Open(position{r.Offset + 1, r.LeaderEpoch})
	if !ok {
		return nil
	}
	f, _ := l.c.flights.Get().(*flight)
	if f == nil {
		f = new(flight)
		f.finish = f.done
	}
	f.lane, f.record, f.tries, f.settle = l, r, 0, settle
	return f
}

// pause waits until a record of this lane is done. A sink's room tells nobody that it is back, so it is asked again
// after some milliseconds too.
func (l *lane) pause(ctx context.Context) {
	t := time.NewTimer(5 * time.Millisecond)
	defer t.Stop()
	select {
	case <-l.wake:
	case <-t.C:
	case <-ctx.Done():
	}
}

// hand hands f over, after that many tries in vain.
func (l *lane) hand(ctx context.Context, f *flight, m *linkspan.Message, tries int) {
	l.mu.Lock()
	l.away++
	l.mu.Unlock()
	l.c.stats.InFlight.Add(1)
	fill(m, f.record, time.Now())
	m.Tries = tries
	l.to.Send(ctx, m, f.finish)
}

// done is what the sink calls: once for each time that f is handed over.
func (f *flight) done(err error) {
	l, c := f.lane, f.lane.c
	c.stats.InFlight.Add(-1)
	if err != nil && !linkspan.IsPermanent(err) {
		c.stats.Retried.Add(1)
		l.mu.Lock()
		l.away--
		if l.gone {
			l.held(-recordBytes(f.record))
		} else {
			f.tries++
			l.back(f)
		}
		l.mu.Unlock()
		l.signal()
		return
	}
	if err != nil {
		c.stats.Refused.Add(1)
	} else {
		c.stats.Records.Add(1)
		c.stats.Bytes.Add(uint64(recordBytes(f.record)))
	}
	size, settle := recordBytes(f.record), f.settle
	f.lane, f.record, f.settle = nil, nil, nil
	c.flights.Put(f)
	settle(err)
	l.held(-size)
	l.mu.Lock()
	l.away--
	l.resume()
	l.mu.Unlock()
	l.signal()
}

// back puts f among those that are to be handed over again. Called with l locked.
func (l *lane) back(f *flight) {
	i, _ := slices.BinarySearchFunc(l.failed, f, func(a, b *flight) int { return cmp.Compare(a.record.Offset, b.record.Offset) })
	l.failed = slices.Insert(l.failed, i, f)
}

// stop ends the lane's goroutine. What is away stays away.
func (l *lane) stop() {
	l.cancel()
	<-l.ended
}

// drain waits until nothing is away, or ctx ends, and lets go of what is left. Called after stop.
func (l *lane) drain(ctx context.Context) {
	for ctx.Err() == nil {
		l.mu.Lock()
		away := l.away
		l.mu.Unlock()
		if away == 0 {
			break
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.queue {
		l.held(-recordBytes(r))
	}
	for _, f := range l.failed { // its place in the window stays open, and the position before it
		l.held(-recordBytes(f.record))
	}
	l.queue, l.failed, l.gone = nil, nil, true
}

// begin says where the lane begins, which is committed. It is called before anything is fetched.
func (l *lane) begin(at position) {
	if at.offset == 0 {
		at.epoch = -1 // or it would be none
	}
	l.mu.Lock()
	if l.settled == (position{}) {
		l.settled, l.stored = at, at
	}
	l.mu.Unlock()
}

// uncommitted returns the settled position if it is not committed.
func (l *lane) uncommitted() (p position, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settled, l.settled != l.stored
}

func (l *lane) committed(p position) {
	l.mu.Lock()
	l.stored = p
	l.mu.Unlock()
}

// lag is how many offsets lie between the settled position and the end.
func (l *lane) lag() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.settled == (position{}) {
		return int64(len(l.queue) + l.away + len(l.failed))
	}
	return max(l.end.Load()-l.settled.offset, 0)
}

// fetchedKeep is what a fetched record costs beside its bytes.
const fetchedKeep = 256

// recordBytes is what a fetched record counts towards MaxInFlightBytes.
func recordBytes(r *kgo.Record) int64 {
	n := len(r.Key) + len(r.Value) + fetchedKeep
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value) + headerKeep
	}
	return int64(n)
}
