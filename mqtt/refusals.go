package mqtt

import (
	"log/slog"
	"sync"
	"time"

	"github.com/linkspan/linkspan/mqtt/internal/envelope"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// refusalsEvery is the least time between two lines in the log about refused messages: a device that sends what nobody takes may
// send a lot of it, and MQTT 3 devices send it again and again.
const refusalsEvery = time.Minute

// refusals keeps when the log had its last line, and how many messages were refused since.
type refusals struct {
	mu    sync.Mutex
	last  time.Time
	since uint64
}

// next counts a message, and reports whether it is time for a line, and for how many messages.
func (r *refusals) next(now time.Time) (n uint64, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since++
	if now.Sub(r.last) < refusalsEvery {
		return 0, false
	}
	n, r.last, r.since = r.since, now, 0
	return n, true
}

// rejected counts a message that was refused for good, and tells the log now and then: the device may have no way to say so.
func (l *Listener) rejected(clientID string, err error) (reason packet.Reason, text string) {
	reason, text = envelope.Refusal(err)
	l.stats.rejected(reason)
	if n, due := l.refusals.next(time.Now()); due {
		about := []any{"messages", n, "reason", reason.String(), "err", err}
		if clientID != "" {
			about = append(about, slog.String("client_id", clientID))
		}
		l.log.Warn("messages of devices are refused for good; the last of them", about...)
	}
	return reason, text
}
