package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kslog"
)

// quietly passes the client's warnings on, each text once a minute: an outage makes hundreds of each. With the log at
// debug level everything is passed on.
type quietly struct {
	*kslog.Logger
	log *slog.Logger

	mu   sync.Mutex
	last map[string]*repeated
}

type repeated struct {
	at      time.Time
	skipped int
}

const repeatAfter = time.Minute

func newLogger(log *slog.Logger) *quietly {
	return &quietly{Logger: kslog.New(log), log: log, last: map[string]*repeated{}}
}

// Level is warn, unless all of it was asked for.
func (q *quietly) Level() kgo.LogLevel {
	if l := q.Logger.Level(); l == kgo.LogLevelDebug || l < kgo.LogLevelWarn {
		return l
	}
	return kgo.LogLevelWarn
}

// Log passes on a message unless the same was passed on within the last minute.
func (q *quietly) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	if q.log.Enabled(context.Background(), slog.LevelDebug) {
		q.Logger.Log(level, msg, keyvals...)
		return
	}
	if said(msg, keyvals) {
		return
	}
	now := time.Now()
	q.mu.Lock()
	r := q.last[msg]
	if r == nil {
		if len(q.last) >= 1000 { // texts with numbers in them
			clear(q.last)
		}
		r = new(repeated)
		q.last[msg] = r
	}
	if now.Sub(r.at) < repeatAfter {
		r.skipped++
		q.mu.Unlock()
		return
	}
	skipped := r.skipped
	r.at, r.skipped = now, 0
	q.mu.Unlock()
	if skipped > 0 {
		keyvals = append(keyvals, "repeated", skipped)
	}
	q.Logger.Log(level, msg, keyvals...)
}

// said reports whether we say ourselves, and better, what the client is about to.
func said(msg string, keyvals []any) bool {
	switch msg {
	case "group manage loop errored", "unable to open connection to broker":
		return true // "kafka group failed" and "kafka broker unreachable"
	case "read from broker errored, killing connection after 0 successful responses (is SASL missing?)":
		return true // a broker that stops has this too; where it is the login, the attempt to reach the cluster says so
	case "received an OffsetCommitResponse after our group session has ended, unable to handle this (were we kicked from the group?)":
		return true // where a group begins is committed before the session; what is committed is in our books, not in the client's
	case "produce partition load error, bumping error count on first stored batch":
		for i := 0; i+1 < len(keyvals); i += 2 {
			if keyvals[i] == "is_network_err" {
				return keyvals[i+1] == true // "kafka broker unreachable"
			}
		}
	}
	return false
}

// reach keeps which brokers can be reached, and logs when that changes. It is a kgo hook.
type reach struct {
	log *slog.Logger
	tls bool

	mu      sync.Mutex
	brokers map[string]*broker // by address; brokers are few
}

type broker struct {
	up       bool
	since    time.Time
	answered time.Time // when an attempt last succeeded
	err      error
}

// OnBrokerConnect is called after each attempt to connect and log in, with how long it took. Attempts overlap, and the client tells of one that
// it made twice in the opposite order: that one failed which began before another succeeded says nothing.
func (r *reach) OnBrokerConnect(meta kgo.BrokerMetadata, took time.Duration, _ net.Conn, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return // says something about us, not about the broker
	}
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	now := time.Now()
	r.mu.Lock()
	b, known := r.brokers[addr]
	if !known {
		b = new(broker)
		r.brokers[addr] = b
	}
	if err == nil {
		b.answered = now
	} else if now.Add(-took).Before(b.answered) {
		r.mu.Unlock()
		return
	}
	changed := !known || b.up != (err == nil)
	was := b.since
	b.up, b.err = err == nil, err
	if changed {
		b.since = now
	}
	r.mu.Unlock()
	switch {
	case !changed:
	case err != nil:
		r.log.Warn("kafka broker unreachable", "broker", addr, "err", r.why(err))
	case known:
		r.log.Info("kafka broker reachable again", "broker", addr, "after", now.Sub(was).Round(time.Millisecond))
	default:
		r.log.Info("kafka broker connected", "broker", addr)
	}
}

// why adds to an error of connecting what to do about it. A broker that waits for a request makes nothing of a TLS handshake, and
// goes on waiting.
func (r *reach) why(err error) error {
	var timeout net.Error
	if r.tls && errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("no answer in time; if the broker does not speak TLS there, remove kafka.tls or use its TLS port: %w", err)
	}
	return explain(err)
}

// up reports whether the last attempt to connect succeeded with any broker.
func (r *reach) up() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.brokers {
		if b.up {
			return true
		}
	}
	return false
}

// lastError returns why a broker cannot be reached, nil when none is known.
func (r *reach) lastError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.brokers {
		if b.err != nil {
			return b.err
		}
	}
	return nil
}
