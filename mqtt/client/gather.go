package client

import (
	"net"
	"time"
)

// A gatherer is a socket on which small pieces that come fast are read together. Brokers write message by message, and to wake up
// for each costs several times what is done with it. So a read that has left nothing, soon after the one before, is followed by a
// pause. It is shorter than a record waits for its batch, so that little or nothing is later in Kafka; and what comes alone is read
// at once.
type gatherer struct {
	net.Conn
	hurry <-chan struct{} // ends the pause: the way down waits for what comes
	timer *time.Timer     // of the pause; nil: there was none yet
	last  time.Time       // of the last read
	busy  bool            // a pause pays
}

const (
	gatherPause = 2 * time.Millisecond
	gatherSoon  = 2 * gatherPause // after the read before
	gatherSize  = 16 << 10        // of a piece that is not small
)

// Read pauses where it pays, and reads.
func (g *gatherer) Read(p []byte) (int, error) {
	if g.busy {
		g.pause()
	}
	n, err := g.Conn.Read(p)
	now := time.Now()
	g.busy = n < min(len(p), gatherSize) && now.Sub(g.last) < gatherSoon
	g.last = now
	return n, err
}

func (g *gatherer) pause() {
	if g.timer == nil {
		g.timer = time.NewTimer(gatherPause)
	} else {
		g.timer.Reset(gatherPause)
	}
	select {
	case <-g.timer.C:
	case <-g.hurry:
		g.timer.Stop()
	}
}
