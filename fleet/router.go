package fleet

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/linkspan/linkspan"
)

// A Router is the sink of what reads, for the whole fleet, the Kafka topics of routes that ask where a device is. It puts each
// record into the inbox of the endpoint where its device is, or does what the route says of unknown devices; a record is done
// when it is stored there (P1, P4), or was no concern of ours.
//
// The records of one partition that are for one device get into an inbox in their order (P3), whichever processes route
// them one after the other, and whether they were parked or not. Where a device moves from one broker to another, what
// was put into the first one's inbox before the move was known stays there, and is sent there; there is no order between
// inboxes, and if the router is killed while records are on their way to both, what it repeats may be for the other one.
type Router struct {
	cfg     Config
	inbox   string // name of the topic
	places  *Locations
	parking *Parking
	parts   Parts
	log     *slog.Logger
	flights sync.Pool
	held    atomic.Int64
	stats   RouterStats

	mu      sync.RWMutex
	sources map[sourceKey]*source
}

var _ linkspan.Bounded = (*Router)(nil)

// RouterStats counts what became of the records that a [Router] was sent, since it was made.
type RouterStats struct {
	// Inbox counts records that are in one inbox, Flooded those in all inboxes of their route, in so many Copies.
	Inbox, Flooded, Copies atomic.Uint64
	// Parked counts records that wait for their device, Local those whose device is on a listener, which has them from the
	// live path.
	Parked, Local atomic.Uint64
	// Unknown counts records that were refused because nobody has seen the device, Full those because of MaxParked.
	Unknown, Full atomic.Uint64
	// Passed counts records that are no concern of ours, Refused those that were refused for any other reason.
	Passed, Refused atomic.Uint64
	// Failed counts records that could not be stored and stay with the sender, Waited those that had to wait until we had read
	// what others, or we, had parked or sent before.
	Failed, Waited atomic.Uint64
}

type sourceKey struct {
	topic     string
	partition int32
}

// NewRouter returns a router. Before it is sent anything, places and parking must have applied what was in their logs at the
// start.
func NewRouter(cfg Config, places *Locations, parking *Parking, parts Parts) *Router {
	r := &Router{cfg: cfg, inbox: cfg.InboxTopic(), places: places, parking: parking, parts: parts, log: logger(parts.Log), sources: map[sourceKey]*source{}}
	parking.barrier.moved = r.moved
	return r
}

// Stats returns the live counters.
func (r *Router) Stats() *RouterStats { return &r.stats }

// Room reports whether nothing waits here, and there is room behind. So what waits is at most one record for each partition.
func (r *Router) Room(*linkspan.Message) bool {
	return r.held.Load() == 0 && linkspan.Room(r.parts.To, nil)
}

// Send routes m, see [linkspan.Sink].
func (r *Router) Send(ctx context.Context, m *linkspan.Message, done func(error)) {
	s := r.source(m)
	s.mu.Lock()
	if !s.follow(m.Record.Offset) {
		r.refuse(errBehind, done)
	} else if len(s.held) > 0 || !r.route(ctx, s, m, done) {
		s.held = append(s.held, held{ctx, m.Clone(), done})
		r.held.Add(1)
		r.stats.Waited.Add(1)
		s.again.Store(true) // what it waits for may have come before it could be seen waiting
	}
	s.mu.Unlock()
	s.run()
}

// source returns what m came out of.
func (r *Router) source(m *linkspan.Message) *source {
	key := sourceKey{m.Record.Topic, m.Record.Partition}
	r.mu.RLock()
	s := r.sources[key]
	r.mu.RUnlock()
	if s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s = r.sources[key]; s == nil {
		s = &source{r: r, late: -1}
		s.back.Store(none)
		r.sources[key] = s
	}
	return s
}

// route decides on m and sends it on its way, or returns false: it cannot know yet. s is locked.
func (r *Router) route(ctx context.Context, s *source, m *linkspan.Message, done func(error)) bool {
	loc, ok, err := r.parts.Locate(m)
	switch {
	case err != nil:
		r.refuse(err, done)
		return true
	case !ok:
		r.stats.Passed.Add(1)
		done(nil)
		return true
	}
	endpoint, found := r.places.Find(loc.Device)
	switch {
	case found && slices.Contains(loc.Listeners, endpoint):
		r.stats.Local.Add(1)
		done(nil)
	case loc.Unknown == Park:
		return r.parkOrSend(ctx, s, m, &loc, endpoint, done)
	case found && slices.Contains(loc.Endpoints, endpoint):
		r.send(ctx, s, m, nil, endpoint, done)
	case loc.Unknown == Flood && len(loc.Endpoints) > 0:
		r.flood(ctx, s, m, loc.Endpoints, done)
	default:
		r.refuse(ErrUnknownDevice, done)
	}
	return true
}

// parkOrSend is route for a record that is to be parked when its device is unknown; endpoint is "" then.
func (r *Router) parkOrSend(ctx context.Context, s *source, m *linkspan.Message, loc *Located, endpoint string, done func(error)) bool {
	lane := Lane(loc.Device, r.cfg.Lanes)
	if !r.parking.barrier.passed(lane, s.since) {
		r.parking.barrier.ask(ctx, lane, s.since)
		return false
	}
	away := s.away(loc.Device)
	if slices.Contains(loc.Endpoints, endpoint) && !r.parking.holds(lane, loc.Device) {
		r.send(ctx, s, m, away, endpoint, done)
		return true
	}
	if away.Load() > 0 {
		return false // what is on its way to an inbox could come in after what is parked now and released by another
	}
	offset := m.Record.Offset
	r.parking.park(ctx, m, loc, lane, func(err error) {
		if err == nil {
			r.stats.Parked.Add(1)
			done(nil)
			return
		}
		if !linkspan.IsPermanent(err) {
			s.giveBack(offset, err)
		}
		r.refuse(err, done)
	})
	return true
}

// refuse gives a record back with an error.
func (r *Router) refuse(err error, done func(error)) {
	switch {
	case !linkspan.IsPermanent(err):
		r.stats.Failed.Add(1)
	case err == ErrUnknownDevice:
		r.stats.Unknown.Add(1)
	case err == ErrParkedFull:
		r.stats.Full.Add(1)
	default:
		r.stats.Refused.Add(1)
	}
	done(err)
}

// send puts m into the inbox of one endpoint. away, if any, is counted up meanwhile.
func (r *Router) send(ctx context.Context, s *source, m *linkspan.Message, away *atomic.Int32, endpoint string, done func(error)) {
	f := r.flight(s, m.Record.Offset, 1, away, done)
	w := wrappings.Get().(*wrapping)
	w.forInbox(m, r.inbox, r.cfg.Lanes, endpoint)
	r.parts.To.Send(ctx, &w.m, f.finish)
	w.free()
}

// flood puts m into the inboxes of all endpoints.
func (r *Router) flood(ctx context.Context, s *source, m *linkspan.Message, endpoints []string, done func(error)) {
	f := r.flight(s, m.Record.Offset, len(endpoints), nil, done)
	w := wrappings.Get().(*wrapping)
	for _, endpoint := range endpoints {
		w.forInbox(m, r.inbox, r.cfg.Lanes, endpoint)
		r.parts.To.Send(ctx, &w.m, f.finish)
	}
	w.free()
}
