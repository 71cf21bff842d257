package engine

import (
	"time"

	"github.com/linkspan/linkspan/amqp/frame"
)

// minHeartbeat is the shortest idle time-out of a peer that we keep to.
const minHeartbeat = 100 * time.Millisecond

// Tick looks at the clock: it ends a connection whose peer was silent for Config.IdleTimeout, with an error like Input's, and
// writes to a peer that expects to hear something. Until seen the driver has read all that came, and found nothing that Input has not
// been given; the zero time: who knows. What came in time is not silence, however late it is read. next is when Tick wants to be called
// again, at the latest; the zero time: never. The driver takes the output after it.
func (c *Conn) Tick(now, seen time.Time) (next time.Time, err error) {
	c.enter()
	defer c.leave()
	c.run()
	if c.over != nil {
		return time.Time{}, c.over
	}
	if c.heard.IsZero() {
		c.heard = now
	}
	if patience := c.cfg.IdleTimeout; patience > 0 {
		next = c.heard.Add(patience)
		if !seen.Before(next) {
			return time.Time{}, c.end(ErrIdle)
		}
	}
	if beat := c.beat(now); !beat.IsZero() && (next.IsZero() || beat.Before(next)) {
		next = beat
	}
	return next, nil
}

// Listen says that the driver has not listened to the peer until now, for want of room: as far as Tick goes, it was not
// silent.
func (c *Conn) Listen(now time.Time) { c.heard = now }

// beat sends an empty frame if nothing was written since the last time, which is a quarter of the peer's patience ago: so
// it is never without a sign of us for more than half of that. It returns when it wants to be called again.
func (c *Conn) beat(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shrink()
	if c.heartbeat == 0 || c.closeSent {
		return time.Time{}
	}
	pause := c.heartbeat / 4
	if now.Sub(c.ticked) < pause {
		return c.ticked.Add(pause)
	}
	c.ticked = now
	if !c.wrote && !c.pending() {
		c.grab()
		c.out = frame.AppendHeartbeat(c.out)
	}
	c.wrote = false
	return now.Add(pause)
}

// shrink gives memory back that is not needed at the moment: an idle connection has next to none. It needs mu.
func (c *Conn) shrink() {
	c.spare = nil
	if len(c.events) == 0 {
		c.events = nil
	}
	if len(c.due) == 0 {
		c.due = nil
	}
	for _, s := range c.local {
		if s == nil {
			continue
		}
		s.in.shrink()
		s.out.shrink()
		if len(s.settled) == 0 {
			s.settled = nil
		}
	}
}
