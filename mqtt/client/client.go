// Package client dials an MQTT broker that is already there, and carries messages both ways: it is the client endpoint of
// Linkspan, for MQTT 3.1, 3.1.1 and 5.
//
//	broker ─► reader ─► published ─► sink ┄ done ┄► settled ─► out ─► writer ─► broker
//	Kafka  ─► Send ─► outbox ─► pump ─────────────────────────► out ─► writer ─► broker
//	broker ─► reader ─► acknowledged ─► done
//
// A [Client] has one worker, or several that share its subscriptions. A worker is a session at the broker: what it has received
// and not acknowledged (inbox), and what the broker has not acknowledged (outbox), outlive its connections.
package client

import (
	"context"
	"hash/maphash"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/address"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A Client is the endpoint of one broker. Its way up is [Client.Run], its way down [Client.Send].
type Client struct {
	cfg     Config
	targets []dial.Target
	filters []string // wanted, without repeats
	state   State    // nil: none
	log     *slog.Logger
	stats   Stats
	slots   linkspan.Slots[uint64]
	echoes  echoes
	workers []*worker // the leader, and those that follow when subscriptions are shared

	quiet, farewell time.Duration

	to      linkspan.Sink
	sending context.Context // of Send to it
	running sync.WaitGroup  // workers
	decide  sync.Once
	sharing atomic.Bool // subscriptions are shared

	mu      sync.Mutex
	status  Status
	attempt time.Time // before which no other connection is made

	saving sync.Mutex
	saved  Subscribed
}

var (
	_ linkspan.Source  = (*Client)(nil)
	_ linkspan.Bounded = (*Client)(nil)
)

// New returns a client that is not connected yet. cfg must be valid. filters are what the routes want from the broker, in their
// order; cfg.Subscribe counts instead if it is not empty. state may be nil: then nothing is known of the sessions at the broker.
func New(cfg Config, filters []string, state State, log *slog.Logger) *Client {
	if len(cfg.Subscribe) > 0 {
		filters = cfg.Subscribe
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "linkspan-" + cfg.Name
	}
	c := &Client{cfg: cfg, state: state, log: log.With("endpoint", cfg.Name), echoes: echoes{seed: maphash.MakeSeed()}, quiet: quiet, farewell: farewell}
	for _, f := range filters {
		if !slices.Contains(c.filters, f) {
			c.filters = append(c.filters, f)
		}
	}
	for _, text := range cfg.Dial {
		t, _ := dial.Parse(address.MQTT(), text) // Validate has said what is wrong with it
		c.targets = append(c.targets, t)
	}
	for n := range cfg.Workers {
		c.workers = append(c.workers, newWorker(c, n, workerID(cfg.ClientID, n)))
	}
	c.status = Status{ClientID: cfg.ClientID, Since: time.Now()}
	return c
}

// ClientIDs returns the client identifiers that the workers use.
func (c *Config) ClientIDs() (ids []string) {
	for n := range c.Workers {
		ids = append(ids, workerID(c.ClientID, n))
	}
	return ids
}

// workerID returns the client identifier of the n-th worker.
func workerID(id string, n int) string {
	if n == 0 {
		return id
	}
	return id + "-" + strconv.Itoa(n+1)
}

// Run connects, and connects again for ever when the connection is lost, with pauses that grow; it subscribes to what the session
// lacks, and hands what comes to the sink. Each message of QoS 1 or 2 is acknowledged when the sink has custody, in order (P1).
// One that the sink refuses for good is refused to the broker, which only MQTT 5 can hear; with MQTT 3, and when the sink fails in
// passing, the connection is closed and the broker sends the message again. Without room in the sink nothing is read, and the
// keep-alive goes on (P6).
//
// Run ends when ctx does: it waits up to DrainTimeout for what is in flight, and leaves the session to the broker (P8). It always
// returns nil.
func (c *Client) Run(ctx context.Context, to linkspan.Sink) error {
	c.to = to
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	c.sending = sending
	c.warn()
	if c.state != nil {
		c.saved = c.state.Load()
		for _, w := range c.workers {
			w.recall(c.saved)
		}
	}
	leader := c.workers[0]
	c.running.Go(func() { leader.run(ctx, leader.serve) })
	c.running.Wait()
	leader.surrender()
	return nil
}

// warn says what the configuration means that its author may not have meant.
func (c *Client) warn() {
	if c.cfg.TLS.Insecure {
		c.log.Warn("tls.insecure: the broker's certificate is not verified; anyone in between can read and change everything")
	}
	if pairs := overlapping(c.filters); len(pairs) > 0 {
		c.log.Warn("topic filters overlap; a message that several match becomes one record, by the first route that matches", "filters", pairs)
	}
}

// pacing is the least time between two attempts to connect, of all workers.
const pacing = 50 * time.Millisecond

// pace waits for the turn to connect. It returns false when ctx has ended.
func (c *Client) pace(ctx context.Context) bool {
	if c.cfg.Permit != nil && !c.cfg.Permit(ctx) {
		return false
	}
	c.mu.Lock()
	now := time.Now()
	turn := now
	if c.attempt.After(now) {
		turn = c.attempt
	}
	c.attempt = turn.Add(pacing)
	c.mu.Unlock()
	return ctx.Err() == nil && dial.Sleep(ctx, turn.Sub(now))
}

// shared reports whether subscriptions are shared with other workers or processes.
func (c *Client) shared() bool { return c.sharing.Load() }

// share returns the name of the shared subscription, "" where none is asked for.
func (c *Client) share() string {
	switch {
	case c.cfg.Workers == 1 && c.cfg.Mode != dial.ModeAll:
		return ""
	case c.cfg.Share != "":
		return c.cfg.Share
	}
	return shareName(c.cfg.ClientID)
}

// shareName replaces what may not be in the name of a shared subscription [MQTT-4.8.2-2].
func shareName(id string) string {
	out := []byte(id)
	for i, b := range out {
		if b == '/' || b == '+' || b == '#' {
			out[i] = '_'
		}
	}
	return string(out)
}

// subscribeAll brings the session of a connection to what the worker is to subscribe to. The leader finds out whether the broker has
// shared subscriptions; where it has none it does everything alone.
func (w *worker) subscribeAll(ctx context.Context, c *conn) error {
	share := w.c.share()
	if share == "" && c.present {
		share = w.sharedBefore()
	}
	if share != "" && w.n == 0 && !c.mayShare() {
		return w.alone(ctx, c)
	}
	w.c.sharing.Store(share != "")
	denied, err := w.subscribe(ctx, c, share)
	if err != nil {
		return err
	}
	if share != "" && w.n == 0 && unable(denied, c.version) && len(denied) == len(w.want(c, share).all) {
		return w.alone(ctx, c)
	}
	w.subscribed(ctx, denied, share != "")
	return nil
}

// sharedBefore returns the name of the shared subscription that the session has, "" if it has none. Who is left over of several
// workers goes on with it, until unshare can end that without loss.
func (w *worker) sharedBefore() string {
	for _, s := range w.known {
		if rest, ok := strings.CutPrefix(s.Filter, sharePrefix); ok && !slices.Contains(w.c.filters, s.Filter) {
			name, _, _ := strings.Cut(rest, "/")
			return name
		}
	}
	return ""
}

// alone subscribes without sharing.
func (w *worker) alone(ctx context.Context, c *conn) error {
	if w.c.cfg.Mode == dial.ModeAll {
		return failed(CauseRefused, "mode all needs shared subscriptions, which the broker does not have; use mode one")
	}
	w.log.Warn("the broker has no shared subscriptions: one worker does it all", "workers", w.c.cfg.Workers)
	w.c.sharing.Store(false)
	denied, err := w.subscribe(ctx, c, "")
	if err == nil {
		w.subscribed(ctx, denied, false)
	}
	return err
}

// mayShare reports whether it makes sense to ask for a shared subscription.
func (c *conn) mayShare() bool {
	return c.version == packet.V311 || c.version == packet.V5 && c.limits.Shared
}

// unable reports whether a broker that denied shared subscriptions said that it has none, or what may mean that.
func unable(denied map[string]packet.Reason, v packet.Version) bool {
	for _, r := range denied {
		if v == packet.V311 || r == packet.SharedSubscriptionsNotSupported {
			return true
		}
	}
	return false
}

// subscribed notes what a worker is subscribed to, and the first time that the leader is, starts what had to wait for that.
func (w *worker) subscribed(ctx context.Context, denied map[string]packet.Reason, shared bool) {
	var no []string
	for f, r := range denied {
		no = append(no, f+": "+r.String())
	}
	slices.Sort(no)
	if len(no) > 0 {
		w.log.Error("the broker refuses subscriptions; what is published there does not come", "filters", no)
	}
	var filters []string
	for _, s := range w.known {
		filters = append(filters, s.Filter)
	}
	w.c.note(w, func(s *Status) { s.Filters, s.RefusedFilters, s.Shared = filters, no, shared })
	if w.n == 0 {
		w.c.decide.Do(func() { w.c.startOthers(ctx, shared) })
	}
}

// startOthers starts the other workers if they have something to do, and empties sessions that earlier ones have left.
func (c *Client) startOthers(ctx context.Context, shared bool) {
	active := c.workers[:1]
	if shared && len(c.workers) > 1 {
		c.log.Warn("workers share the messages of the broker: the order of a topic is kept only as far as the broker keeps it",
			"workers", len(c.workers))
		active = c.workers
		for _, w := range c.workers[1:] {
			c.running.Go(func() { w.run(ctx, w.serve) })
		}
	}
	c.saving.Lock()
	left := slices.Clone(c.saved.Workers)
	c.saving.Unlock()
	for _, s := range left {
		if c.cfg.Mode == dial.ModeAll && !strings.HasPrefix(s.ClientID, c.cfg.ClientID+"-") {
			continue // another process may be connected as that
		}
		if !slices.ContainsFunc(active, func(w *worker) bool { return w.id == s.ClientID }) {
			w := newWorker(c, len(c.workers), s.ClientID)
			w.clean = false
			w.recall(Subscribed{Workers: []WorkerState{s}})
			c.running.Go(func() { w.run(ctx, w.dissolve) })
		}
	}
}

// recall takes over what is known of the worker's session.
func (w *worker) recall(s Subscribed) {
	for _, k := range s.Workers {
		if k.ClientID == w.id {
			w.known, w.sure, w.stored = slices.Clone(k.Subscriptions), true, true
		}
	}
}

// remember notes what the worker's session is subscribed to, and reports whether that will be known when we are no more.
func (w *worker) remember(known []Subscription) bool {
	w.known = known
	w.stored = w.c.save(w.id, known, true)
	return w.stored
}

// save notes what a session is subscribed to, or that there is no such session any more, and reports whether that is stored.
func (c *Client) save(id string, known []Subscription, exists bool) bool {
	c.saving.Lock()
	defer c.saving.Unlock()
	all := slices.DeleteFunc(slices.Clone(c.saved.Workers), func(s WorkerState) bool { return s.ClientID == id })
	if exists {
		all = append(all, WorkerState{ClientID: id, Subscriptions: slices.Clone(known)})
	}
	c.saved = Subscribed{Workers: all}
	return c.state == nil || c.state.Save(c.saved) == nil
}

// Stats returns the client's counters.
func (c *Client) Stats() *Stats { return &c.stats }
