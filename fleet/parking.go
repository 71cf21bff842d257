package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// Parking is where records wait for devices that nobody has seen. They are in a log, each in the lane of its device; every
// process follows it and knows by it which records of which devices wait. Whoever owns a lane releases what is in it.
//
// Order is kept for each device (P3), though the views of processes lag behind each other:
//
//   - While a process sees records of a device parked, or has itself sent one there that it has not read back, it parks
//     later ones behind them. A view that lags makes for one more record that is parked, and no harm.
//   - The owner releases in the order of the log, and writes a marker once all inboxes have what it released. Only behind the marker
//     does a router send to the inbox itself, so that is behind what was released.
//   - A process that is given a partition of a source, or a lane, first reads the log up to where it was then (see barrier).
//     So it knows what those before it have parked or released.
//
// An owner that is killed between release and marker has its work repeated by the next one: records come twice, still in
// order. So do those of an owner that works on without knowing that it is none any more.
type Parking struct {
	cfg     Config
	topic   string // the log's
	inbox   string // name of the topic
	places  *Locations
	parts   Parts
	log     *slog.Logger
	clock   func() time.Time
	barrier *barrier
	numbers atomic.Uint64 // of what this process has parked
	writing atomic.Int64  // records on their way into the log
	lanes   []lane
	names   names
	stats   ParkingStats
}

// ParkingStats counts what a [Parking] did since it was made.
type ParkingStats struct {
	// Records are parked now, as this process sees it, for that many Devices.
	Records, Devices atomic.Int64
	// Released counts records that went to an inbox, Refused those that went to the dead letter topic, of which Expired waited
	// too long. Lost counts those that were no longer in the log when their time had come.
	Released, Refused, Expired, Lost atomic.Uint64
	// Errors counts attempts to release that failed and are made again, Malformed what is in the log and none of ours.
	Errors, Malformed atomic.Uint64
}

// lane is one partition of the log.
type lane struct {
	mu      sync.Mutex
	next    int64 // offset of what is to be applied
	devices map[string]*queue
	owned   bool
	due     map[string]struct{} // devices that may have something to be released; only while owned
	wake    chan struct{}       // holds one: due has grown
}

// queue is what is parked of one device.
type queue struct {
	records []waiting // as read, in order
	own     []uint64  // numbers of what this process has parked and not read back
	sent    int64     // up to this offset all are where they belong, as this process, the lane's owner, knows
	marked  int64     // up to this offset there is a marker, on its way back
	stuck   string    // where the device is, and the next record may not go
}

type waiting struct{ offset, until int64 }

// NewParking returns a parking that knows nothing yet. It is to be fed what a follower reads of [Config.ParkedTopic] by Apply,
// and what is ours of it is released by Own. places must be fed, too.
func NewParking(cfg Config, places *Locations, parts Parts) *Parking {
	p := &Parking{
		cfg: cfg, topic: cfg.ParkedTopic(), inbox: cfg.InboxTopic(), places: places, parts: parts, log: logger(parts.Log), clock: time.Now,
		barrier: newBarrier(cfg.ParkedTopic(), cfg.Lanes, parts.To), lanes: make([]lane, cfg.Lanes),
	}
	for i := range p.lanes {
		p.lanes[i].devices, p.lanes[i].wake = map[string]*queue{}, make(chan struct{}, 1)
	}
	places.OnChange(p.appeared)
	return p
}

// Stats returns the live counters.
func (p *Parking) Stats() *ParkingStats { return &p.stats }

// holds reports whether records of the device are parked, or may be.
func (p *Parking) holds(lane int32, device string) bool {
	if p.stats.Devices.Load() == 0 {
		return false
	}
	l := &p.lanes[lane]
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.devices[device] != nil
}

// park puts m into the log, see [linkspan.Sink].
func (p *Parking) park(ctx context.Context, m *linkspan.Message, loc *Located, lane int32, done func(error)) {
	if p.stats.Records.Load()+p.writing.Load() >= int64(p.cfg.MaxParked) {
		done(ErrParkedFull) // P6
		return
	}
	wait := loc.ParkFor
	if wait <= 0 {
		wait = p.cfg.ParkFor
	}
	device, number := strings.Clone(loc.Device), p.numbers.Add(1)
	l := &p.lanes[lane]
	l.mu.Lock()
	q := l.queue(p, device)
	q.own = append(q.own, number)
	l.mu.Unlock()
	p.writing.Add(1)
	w := wrappings.Get().(*wrapping)
	w.forParking(m, p.topic, lane, device, p.clock().Add(wait), stamp{p.barrier.life, number})
	p.parts.To.Send(ctx, &w.m, func(err error) {
		p.writing.Add(-1)
		if err != nil {
			l.mu.Lock()
			if q := l.devices[device]; q != nil {
				q.forget(number)
				l.tidy(p, device, q)
			}
			l.mu.Unlock()
		}
		done(err)
	})
	w.free()
}

// queue returns the device's queue. l is locked.
func (l *lane) queue(p *Parking, device string) *queue {
	q := l.devices[device]
	if q == nil {
		q = &queue{sent: -1, marked: -1}
		l.devices[device] = q
		p.stats.Devices.Add(1)
	}
	return q
}

// forget notes that what this process parked under that number has been read back, or was not stored.
func (q *queue) forget(number uint64) {
	q.own = slices.DeleteFunc(q.own, func(n uint64) bool { return n == number })
}

// tidy drops a queue that holds nothing. l is locked.
func (l *lane) tidy(p *Parking, device string, q *queue) {
	if len(q.records) == 0 && len(q.own) == 0 {
		delete(l.devices, device)
		delete(l.due, device)
		p.stats.Devices.Add(-1)
	}
}

// Apply takes a record of the log, in the order of its partition.
func (p *Parking) Apply(m *linkspan.Message) {
	if int(m.Record.Partition) >= len(p.lanes) || m.Record.Partition < 0 {
		p.stats.Malformed.Add(1)
		return
	}
	if p.barrier.apply(m) {
		return
	}
	if err := p.apply(&p.lanes[m.Record.Partition], m); err != nil {
		p.stats.Malformed.Add(1)
		p.log.Warn("a record among the parked ones is none of ours", "topic", m.Record.Topic, "partition", m.Record.Partition, "offset", m.Record.Offset, "err", err)
	}
}

func (p *Parking) apply(l *lane, m *linkspan.Message) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Record.Offset < l.next {
		return nil // known
	}
	l.next = m.Record.Offset + 1
	if h := m.Record.Headers; len(h) == 1 && h[0].Key == headerReleased {
		last, err := strconv.ParseInt(string(h[0].Value), 10, 64)
		if err == nil {
			l.released(p, string(m.Record.Key), last)
		}
		return err
	}
	r, err := parseParked(m)
	if err != nil {
		return err
	}
	if len(m.Record.Key) == 0 {
		return errors.New("no device")
	}
	device := string(m.Record.Key)
	q := l.queue(p, device)
	q.records = append(q.records, waiting{m.Record.Offset, r.until})
	if r.by.life == p.barrier.life {
		q.forget(r.by.number)
	}
	p.stats.Records.Add(1)
	if l.owned {
		if _, found := p.places.Find(device); found {
			l.look(device)
		}
	}
	return nil
}

// released applies that the records of a device up to an offset have gone on. l is locked.
func (l *lane) released(p *Parking, device string, last int64) {
	q := l.devices[device]
	if q == nil {
		return
	}
	n := 0
	for n < len(q.records) && q.records[n].offset <= last {
		n++
	}
	p.stats.Records.Add(-int64(n))
	q.records = append([]waiting(nil), q.records[n:]...)
	if n > 0 && q.stuck != "" {
		q.stuck = ""
		if l.owned {
			l.look(device)
		}
	}
	l.tidy(p, device, q)
}

// appeared is told that a device was seen somewhere.
func (p *Parking) appeared(device, _ string) {
	if p.stats.Devices.Load() == 0 {
		return
	}
	l := &p.lanes[Lane(device, p.cfg.Lanes)]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owned && l.devices[device] != nil {
		l.look(strings.Clone(device))
	}
}

// look has the owner look at what is parked of a device. l is locked.
func (l *lane) look(device string) {
	l.due[device] = struct{}{}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
