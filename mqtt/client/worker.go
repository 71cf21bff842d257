package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A worker has one session at the broker, and one connection at a time. The first one leads: it finds out whether subscriptions can
// be shared, and is the way down.
type worker struct {
	c   *Client
	n   int    // 0: the leader
	id  string // client identifier
	log *slog.Logger

	// Of the goroutine that runs the worker.

	version packet.Version // that the broker takes; 0: not found yet
	hungUp  int            // times in a row that the broker hung up on it
	late    int            // times that a connection was given up since nothing was acknowledged in time, less those that went well since
	evicted int            // times in a row that the broker closed a connection soon after it was made, without a word
	at      int            // address to try
	clean   bool           // the session is to be dropped
	known   []Subscription // of the session
	sure    bool           // it has no others
	stored  bool           // known is what the next process would load
	loose   bool           // it had others, of which messages may still come
	pauses  dial.BackOff   // between attempts
	again   chan struct{}  // has one in it when shared subscriptions are to be asked for again, see gone
	said    string         // the problem that was logged last

	size   uint64                   // of the window
	window *linkspan.Window[uint64] // of message numbers

	mu        sync.Mutex
	conn      *conn // nil: none
	in        inbox
	out       outbox
	elsewhere *dial.Target // where the broker sent us; nil: nowhere
	moved     bool         // for good
}

func newWorker(c *Client, n int, id string) *worker {
	size := int(c.cfg.ReceiveMaximum)
	w := &worker{c: c, n: n, id: id, log: c.log.With("client_id", id), size: uint64(size),
		clean: c.cfg.CleanStart, again: make(chan struct{}, 1), in: newInbox(size), out: newOutbox(c.cfg.MaxInFlight)}
	w.window = linkspan.NewWindow(size, &c.slots, w.settled)
	return w
}

// run keeps the worker connected until ctx ends. serve has a connection; it returns nil when its work is done.
func (w *worker) run(ctx context.Context, serve func(ctx context.Context, c *conn) error) {
	for w.c.pace(ctx) {
		c, err := w.connect(ctx)
		if err == nil {
			w.clean = false // from now on
			w.connected(c)
			switch err = serve(ctx, c); err {
			case nil:
				return
			case errAgain:
				continue
			}
			w.lost(c, err)
		} else if ctx.Err() == nil {
			w.c.stats.Failures[causeOf(err)].Add(1)
			w.problem("cannot connect to the broker", err)
		}
		if !w.backOff(ctx, c) {
			break
		}
	}
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.c.cfg.DrainTimeout)
	defer cancel()
	w.untilSettled(timeout)
}

// untilSettled waits for what is on its way to the sink, whether it can be acknowledged or not: who is told that we have ended may
// let another begin, whose messages must not come before ours (P3, P8).
func (w *worker) untilSettled(ctx context.Context) {
	if err := w.window.WaitEmpty(ctx); err != nil {
		w.log.Warn("stopping although messages from the broker are not settled; it sends them again", "in_flight", w.window.Len())
	}
}

// backOff waits before the next attempt, longer each time.
func (w *worker) backOff(ctx context.Context, c *conn) bool {
	var lasted time.Duration
	if c != nil {
		lasted = time.Since(c.since)
	}
	return w.pauses.Wait(ctx, w.c.cfg.Reconnect, lasted)
}

func causeOf(err error) Cause {
	var f *failure
	if errors.As(err, &f) {
		return f.cause
	}
	return CauseNetwork
}

// problem logs what is wrong: once as a warning for as long as it is the same.
func (w *worker) problem(what string, err error) {
	w.c.note(w, func(s *Status) { s.LastError, s.LastErrorAt = what+": "+err.Error(), time.Now() })
	text := causeOf(err).String() + err.Error()
	var op *net.OpError
	if errors.As(err, &op) { // its text has a port that differs each time
		text = what + op.Op + op.Err.Error()
	}
	level := slog.LevelWarn
	if text == w.said {
		level = slog.LevelDebug
	}
	w.said = text
	w.log.Log(context.Background(), level, what, "err", err, "retry_within", w.c.cfg.Reconnect.Max)
}

// connected notes a new connection.
func (w *worker) connected(c *conn) {
	s := &w.c.stats
	s.Connects.Add(1)
	if c.present {
		s.Resumed.Add(1)
	}
	w.said = ""
	w.log.Info("connected", "url", c.target.Text, "version", c.version.String(), "session_present", c.present)
	w.c.note(w, func(s *Status) {
		s.Connected, s.Since, s.URL, s.Version = true, c.since, c.target.Text, c.version.String()
		s.SessionPresent, s.Limits = c.present, c.limits
	})
}

// evictions is how many of them in a row make another client likely: MQTT 3 has no word for that one has taken over.
const evictions = 3

// lost notes the end of c.
func (w *worker) lost(c *conn, err error) {
	cause := causeOf(err)
	w.c.stats.Losses[cause].Add(1)
	var f *failure
	if cause == CauseNetwork && errors.As(err, &f) && f.remote && time.Since(c.since) < dial.Steady {
		w.evicted++
	} else {
		w.evicted = 0
	}
	if w.evicted >= evictions {
		err = fmt.Errorf("%w, %d times in a row soon after we connected: does another client use client_id %s?", err, w.evicted, w.id)
	}
	w.problem("connection lost", err)
	if cause == CauseTaken {
		w.log.Error("another client uses our client identifier: another Linkspan outside of this fleet, or a process that has taken "+
			"this endpoint over; if both go on, give one of them another client_id", "client_id", w.id)
	}
}

// resumed reports whether the broker goes on with our session. MQTT 3.1 does not say; there it does if it can.
func (c *conn) resumed() bool {
	return c.present || c.version == packet.V31 && !c.clean
}

// attach makes c the worker's connection, and gives it what waits.
func (w *worker) attach(c *conn) {
	w.mu.Lock()
	w.conn = c
	w.in.begin(c.resumed())
	w.out.begin(c.resumed())
	over := w.pump()
	w.mu.Unlock()
	w.c.finish(over)
}

// latest bounds how patient a worker gets. A message may take longer on a slow line than the broker has time to acknowledge it, and would be
// sent for ever; so each connection on which nothing was acknowledged in time is followed by one with twice the time, up to this many times.
const latest = 4

// detach ends that.
func (w *worker) detach(c *conn) {
	w.c.note(w, func(s *Status) { s.Connected, s.Since = false, time.Now() })
	w.mu.Lock()
	w.conn = nil
	guilty := w.out.blame(c)
	switch {
	case c.acked:
		w.late = max(w.late-1, 0)
	case w.out.n > 0 && c.failure.cause == CauseTimeout:
		w.late = min(w.late+1, latest)
	}
	w.mu.Unlock()
	if guilty != nil {
		w.log.Warn("a message is refused: the broker closes the connection whenever it is published", "times", deadly)
		w.c.finishOne(guilty, errPoison)
	}
}

// serve runs a connection: it subscribes, and waits for the end. It returns nil when ctx has ended and all is settled.
func (w *worker) serve(ctx context.Context, c *conn) error {
	if c.clean && c.version < packet.V5 && w.c.cfg.SessionExpiry > 0 { // a clean session of MQTT 3 would end with the connection
		c.hangUp()
		return errAgain
	}
	c.start()
	defer c.finish()
	if !c.present {
		w.known = nil
	}
	err := w.subscribeAll(ctx, c)
	if err == nil {
		w.c.stats.Connected.Add(1)
		defer w.c.stats.Connected.Add(-1)
		if w.c.shared() && w.c.share() == "" {
			err = w.unshare(ctx, c)
		}
	}
	if err != nil && ctx.Err() == nil {
		c.fail(err)
	}
	for {
		select {
		case <-w.again:
			if err := w.subscribeAll(ctx, c); err != nil && ctx.Err() == nil {
				c.fail(err)
			}
			continue
		case <-c.ended:
			if ctx.Err() == nil {
				return c.failure
			}
		case <-ctx.Done():
		}
		w.drain(c)
		return nil
	}
}

// drain ends a connection in good order (P8): nothing new is handed to the sink or the broker; what is in flight is waited for; the
// session stays.
func (w *worker) drain(c *conn) {
	c.draining.Store(true)
	c.awakeReader()
	w.mu.Lock()
	over := w.out.close()
	empty := w.out.empty
	w.mu.Unlock()
	w.c.finish(over)
	timeout, cancel := context.WithTimeout(context.Background(), w.c.cfg.DrainTimeout)
	defer cancel()
	w.untilSettled(timeout)
	select {
	case <-empty:
	case <-c.ended:
	case <-timeout.Done():
		w.log.Warn("stopping although the broker has not acknowledged all messages")
	}
	c.leave(packet.Disconnect{})
}

// leave says goodbye, and waits a moment for the broker to close: what it has not read yet would be lost if we did.
func (c *conn) leave(d packet.Disconnect) {
	c.w.mu.Lock()
	if !c.shut {
		c.out = d.Append(c.out, c.version)
	}
	c.shut, c.closing, c.said = true, true, true
	c.room.Broadcast()
	c.w.mu.Unlock()
	select {
	case <-c.ended:
	case <-time.After(c.w.c.farewell):
	}
}

// surrender ends the way down: nobody will send what is left.
func (w *worker) surrender() {
	w.mu.Lock()
	over := w.out.close()
	over = append(over, w.out.abandon()...)
	w.mu.Unlock()
	w.c.finish(over)
}
