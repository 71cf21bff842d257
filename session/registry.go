package session

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

// A Registry knows the sessions of all connected devices, and is the sink of the downlink. All methods are safe from
// any goroutine.
type Registry struct {
	cfg     Config
	log     *slog.Logger
	stats   Stats
	started time.Time
	flows   sync.Pool // of *flow

	// ctx ends when Close gives up waiting. work counts the sessions, and the goroutines that they start: each starts
	// while its session counts, so that Close can wait for both.
	ctx     context.Context
	stop    context.CancelFunc
	work    sync.WaitGroup
	reading chan struct{} // holds one value for each read back from Kafka that is under way
	wills   wills

	tree     tree
	retained retained

	mu      sync.Mutex
	closed  bool
	clients map[string]*Session

	// sending is held by Send, and guards dispatcher.
	sending sync.Mutex
	dispatcher

	// Written by Send with tree.mu held for reading, so that whoever holds it for writing sees where the live path is.

	round uint64          // number of the message
	live  map[place]int64 // offset of the next record of each partition; kept only while a session is behind
}

// NewRegistry returns a registry without sessions. cfg must be valid.
func NewRegistry(cfg Config, log *slog.Logger) *Registry {
	r := &Registry{
		cfg:     cfg,
		log:     log,
		started: time.Now(),
		flows:   sync.Pool{New: func() any { return newFlow() }},
		reading: make(chan struct{}, maxReading),
		clients: make(map[string]*Session),
		live:    make(map[place]int64),
	}
	r.retained = retained{maxCount: cfg.MaxRetained, maxBytes: cfg.MaxRetainedBytes, stats: &r.stats}
	r.wills.clients = make(map[string][]*will)
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.wake = make(chan struct{}, 1)
	return r
}

// Stats returns the registry's counters.
func (r *Registry) Stats() *Stats { return &r.stats }

// ConnectRequest is what the registry has to know of a new connection.
type ConnectRequest struct {
	ClientID string
	Endpoint string // its name, for the log
	// ReceiveMaximum is how many QoS 1 and 2 messages the device takes at a time; 0 means 65,535 [MQTT-3.1.2.11.3]. It
	// gets no more than MaxInFlight.
	ReceiveMaximum uint16
	// Will is nil if there is none. It is the session's from now on, and borrows nothing.
	Will *linkspan.Message
	// WillExpiry is how long the will is of use once it is published; 0: for ever [MQTT-3.1.3.2.4].
	WillExpiry time.Duration
	Conn       Conn
}

// Connect begins a session. An older one of the same client is ended first: disconnected with [TakenOver], and its will
// published [MQTT-3.1.4-3]. Nothing is delivered before the first Subscribe. After Close of the registry, the new
// connection itself is disconnected.
//
// Sessions end with their connection, so that every start is a clean one, and a will is due as soon as its session ends
// whatever its delay [MQTT-3.1.3-9].
func (r *Registry) Connect(req ConnectRequest) *Session {
	s := &Session{registry: r, conn: req.Conn, client: req.ClientID, endpoint: req.Endpoint, window: uint16(r.cfg.MaxInFlight)}
	if req.ReceiveMaximum > 0 {
		s.window = min(s.window, req.ReceiveMaximum)
	}
	if req.Will != nil {
		s.will = &will{m: req.Will, expiry: req.WillExpiry}
	}
	s.connecting.Lock()
	defer s.connecting.Unlock()
	r.mu.Lock()
	closed, old := r.closed, r.clients[s.client]
	if !closed {
		r.clients[s.client] = s
		r.stats.Sessions.Add(1)
		r.work.Add(1)
	}
	r.mu.Unlock()
	if closed {
		s.closed = true
		s.conn.Disconnect(ShuttingDown)
		return s
	}
	if old == nil {
		return s
	}
	old.connecting.Lock() // it may still be ending the one before it, which has to stop before this one starts (P3)
	old.connecting.Unlock()
	if old.end(TakenOver, true) {
		r.stats.Takeovers.Add(1)
		r.log.Debug("session taken over", "client", s.client, "from", old.endpoint, "to", s.endpoint)
	}
	return s
}

// SilentShutdown reports whether a shutdown publishes no wills: whoever ends sessions for one asks first.
func (r *Registry) SilentShutdown() bool { return r.cfg.SilentShutdown }

// forget takes s out of the clients, unless a later session has its place already (KAL-A8).
func (r *Registry) forget(s *Session) {
	defer r.work.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Sessions.Add(-1)
	if r.clients[s.client] == s {
		delete(r.clients, s.client)
	}
}

// Close ends all sessions with [ShuttingDown], publishes their wills unless cfg says otherwise, and waits until the
// uplink has taken all wills. It returns ctx's error if that comes first; the wills left are counted as lost. No
// goroutine of the registry is left when it returns. It is safe to call twice.
func (r *Registry) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	sessions := make([]*Session, 0, len(r.clients))
	for _, s := range r.clients {
		sessions = append(sessions, s)
	}
	r.mu.Unlock()
	for _, s := range sessions {
		s.end(ShuttingDown, !r.cfg.SilentShutdown)
	}
	idle := make(chan struct{})
	go func() {
		r.work.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = ctx.Err()
	}
	r.stop()
	r.loseWills()
	<-idle
	return err
}
