package fleet

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
)

// Locations knows at which endpoint each device is, as a switch knows ports: from the messages that come up, and from those
// that say that a device has left.
//
// The log has one key for each device and endpoint, all of a device in one lane, and the newest entry tells where the device is.
// Leaving an endpoint concerns the entry for that endpoint alone, so a late disconnect at the old broker does not remove the
// new one (KAL-A8), and an entry that nobody renews ages out (KAL-A9).
//
// Each process believes what it has read of the log. Two views agree once both have read as far; until then a record can
// still be sent to where the device was. A process writes when a message contradicts its view, so of two brokers the one
// that was heard last wins, and a wrong entry, such as one from messages that a broker held back while we were cut off from
// it, lasts until the device's next message.
type Locations struct {
	cfg   DevicesConfig
	lanes int32
	topic string
	to    linkspan.Sink
	log   *slog.Logger
	clock func() time.Time

	seed    maphash.Seed
	devices [256]devices
	count   atomic.Int64
	names   names
	changed func(device, endpoint string)
	full    atomic.Bool // and said so
	stats   LocationStats
}

// LocationStats counts what [Locations] did since they were made.
type LocationStats struct {
	// Devices is how many are known now.
	Devices *atomic.Int64
	// Learned counts devices that were seen at an endpoint where they were not known to be, Refreshed those seen there again
	// after a quarter of MaxAge, Left those that left.
	Learned, Refreshed, Left atomic.Uint64
	// Flapping counts messages that taught nothing because the device was at too many endpoints within seconds.
	Flapping atomic.Uint64
	// Evicted counts devices that were forgotten because there were more than Max, Aged those that were older than MaxAge.
	Evicted, Aged atomic.Uint64
	// WriteErrors counts entries that could not be written: the device's next message is the next attempt. Malformed counts
	// entries that are none of ours.
	WriteErrors, Malformed atomic.Uint64
}

// devices is one part of the table, so that connections that learn at the same time do not wait for each other.
type devices struct {
	mu  sync.Mutex
	all map[string]*place
	_   [48]byte // a cache line for each
}

// place is where a device is.
type place struct {
	endpoint string // "": nowhere, as far as was read
	offset   int64  // of the entry
	seen     int64  // milliseconds since 1970
	said     saying
	moves    int8  // since
	since    int64 // milliseconds since 1970
}

// saying is an entry that this process has written and not read back.
type saying struct {
	endpoint string // "": none
	left     bool
	at       int64 // milliseconds since 1970
}

const (
	// rereading is how long an entry may take to be read back before it is written again.
	rereading = 10_000 // milliseconds
	// A device that is at more than maxMoves other endpoints within flapTime stays where it is until that has passed: two
	// brokers that are joined behind our back would have it move with every message.
	maxMoves = 4
	flapTime = 10_000 // milliseconds
	// sample is how many devices are looked at to find one to forget.
	sample = 8
)

// NewLocations returns an empty table that writes what it learns to to. It is to be fed what a follower reads of
// [Config.DevicesTopic] by Apply.
func NewLocations(cfg Config, to linkspan.Sink, log *slog.Logger) *Locations {
	l := &Locations{
		cfg: cfg.Devices, lanes: cfg.Lanes, topic: cfg.DevicesTopic(), to: to, log: logger(log), clock: time.Now,
		seed: maphash.MakeSeed(), changed: func(string, string) {},
	}
	for i := range l.devices {
		l.devices[i].all = map[string]*place{}
	}
	l.stats.Devices = &l.count
	return l
}

func logger(log *slog.Logger) *slog.Logger {
	if log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return log
}

// Stats returns the live counters.
func (l *Locations) Stats() *LocationStats { return &l.stats }

// OnChange has f called, by Apply, when a device has appeared at an endpoint or moved there. To be called before Apply.
func (l *Locations) OnChange(f func(device, endpoint string)) {
	before := l.changed
	l.changed = func(device, endpoint string) {
		before(device, endpoint)
		f(device, endpoint)
	}
}

func (l *Locations) of(device string) *devices {
	return &l.devices[maphash.String(l.seed, device)%uint64(len(l.devices))]
}

// Find returns the endpoint where the device is, as far as the log was read. It does not allocate.
func (l *Locations) Find(device string) (endpoint string, ok bool) {
	d := l.of(device)
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.all[device]; p != nil && p.endpoint != "" && !l.old(p.seen) {
		return p.endpoint, true
	}
	return "", false
}

func (l *Locations) old(seen int64) bool {
	return l.clock().UnixMilli()-seen >= l.cfg.MaxAge.Milliseconds()
}

// Learn notes that the device was heard at the endpoint at that time. It writes to the log where that is news, or was
// written long ago, and does nothing else, and without allocation, otherwise. ctx is for the sink. device may be borrowed.
func (l *Locations) Learn(ctx context.Context, device, endpoint string, at time.Time) {
	now := at.UnixMilli()
	d := l.of(device)
	d.mu.Lock()
	p := d.all[device]
	if p != nil && !p.news(endpoint, now, l.cfg.MaxAge.Milliseconds()/4) || !linkspan.Room(l.to, nil) {
		d.mu.Unlock()
		return
	}
	if p == nil {
		p = l.add(d, device)
	}
	if !p.move(endpoint, now) {
		d.mu.Unlock()
		l.stats.Flapping.Add(1)
		return
	}
	count := &l.stats.Learned
	if p.endpoint == endpoint && !p.said.left {
		count = &l.stats.Refreshed
	}
	s := saying{endpoint, false, now}
	p.said = s
	d.mu.Unlock()
	count.Add(1)
	l.write(ctx, device, s, -1)
}

// news reports whether a device that is heard at the endpoint now is to be written.
func (p *place) news(endpoint string, now, quarter int64) bool {
	if p.pending(now) {
		return p.said.left || p.said.endpoint != endpoint
	}
	return p.endpoint != endpoint || now-p.seen >= quarter
}

// pending reports whether an entry of this process is on its way.
func (p *place) pending(now int64) bool { return p.said.endpoint != "" && now-p.said.at < rereading }

// move counts a move to the endpoint, and reports whether it is to be believed.
func (p *place) move(endpoint string, now int64) bool {
	from := p.endpoint
	if p.said.endpoint != "" {
		from = p.said.endpoint
	}
	if from == "" || from == endpoint {
		return true
	}
	if now-p.since >= flapTime || now < p.since {
		p.since, p.moves = now, 0
	}
	if p.moves >= maxMoves {
		return false
	}
	p.moves++
	return true
}

// Leave notes that the device has gone from the endpoint. It writes nothing where the device is not known at all. Where the
// device is elsewhere by now, that stays (KAL-A8).
func (l *Locations) Leave(ctx context.Context, device, endpoint string, at time.Time) {
	now := at.UnixMilli()
	d := l.of(device)
	d.mu.Lock()
	p := d.all[device]
	if p == nil || !linkspan.Room(l.to, nil) {
		d.mu.Unlock()
		return
	}
	s, of := saying{endpoint, true, now}, int64(-1)
	switch pending := p.pending(now); {
	case pending && p.said == (saying{endpoint, true, p.said.at}):
		d.mu.Unlock()
		return
	case pending && p.said.endpoint == endpoint:
		p.said = s
	case !pending && p.endpoint == endpoint:
		p.said, of = s, p.offset
	}
	d.mu.Unlock()
	l.stats.Left.Add(1)
	l.write(ctx, device, s, of)
}

// Uplink returns a sink that learns from the messages that pass on their way to to. Messages out of a broker's store, the
// retained ones, are old news and teach nothing; what a device of a listener wants retained is news.
func (l *Locations) Uplink(to linkspan.Sink) linkspan.Bounded { return uplink{l, to} }

type uplink struct {
	l  *Locations
	to linkspan.Sink
}

// Room reports whether there is room behind.
func (u uplink) Room(m *linkspan.Message) bool { return linkspan.Room(u.to, m) }

// Send learns from m and hands it on.
func (u uplink) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	if stored := m.Retain && m.Client == ""; m.Device != "" && m.Endpoint != "" && !stored {
		if m.Left {
			u.l.Leave(ctx, m.Device, m.Endpoint, m.Received)
		} else {
			u.l.Learn(ctx, m.Device, m.Endpoint, m.Received)
		}
	}
	u.to.Send(ctx, m, done)
}
