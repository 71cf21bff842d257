package mqtt

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan"
)

// Whoever refuses a device's message for good says so in the log, once a minute, with how many there were.
func TestRefusalsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := &Listener{log: slog.New(slog.NewTextHandler(&b, nil))}
		for range 90 {
			l.rejected("d1", linkspan.Permanent(errors.New("no route matches the topic")))
			time.Sleep(time.Second) // in the bubble's time
		}
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[0], "messages=1 ") || !strings.Contains(lines[1], "messages=60 ") ||
			!strings.Contains(lines[1], "no route matches") || !strings.Contains(lines[1], "client_id=d1") {
			t.Errorf("%q", lines)
		}
		var n uint64
		for i := range l.stats.Rejected {
			n += l.stats.Rejected[i].Load()
		}
		if n != 90 {
			t.Errorf("%d counted", n)
		}
	})
}
