package mqtt

import (
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// The backlog holds PUBLISH packets that wait for room in the sink or the window, as they came. While it is not empty, messages
// queue up behind it and everything else is answered at once; when it is full the connection is not read (P6). PUBREL keeps its
// place, too: in front of it there may be a repeat of its message, which behind it would be a new one [MQTT-4.3.3-10].

// keep adds a packet.
func (c *conn) keep(whole []byte) {
	if c.worked > len(c.backlog)/2 {
		c.backlog = append(c.backlog[:0], c.backlog[c.worked:]...)
		c.worked = 0
	}
	c.backlog = append(c.backlog, whole...)
	c.l.stats.Backlog.Add(int64(len(whole)))
}

// workOff hands on what it can.
func (c *conn) workOff() error {
	if len(c.backlog) == 0 {
		return nil
	}
	w := c.Input().Scratch.(*work)
	w.now = time.Now()
	c.Hold()
	defer c.Release()
	for c.worked < len(c.backlog) {
		raw, n, _, err := packet.Cut(c.backlog[c.worked:], 0)
		if err != nil {
			return err
		}
		done := true
		if raw.Type() == packet.PUBREL {
			err = c.acknowledged(w, raw)
		} else {
			done, err = c.published(w, raw)
		}
		if !done {
			return nil
		}
		c.worked += n
		c.l.stats.Backlog.Add(-int64(n))
		if err != nil {
			return err
		}
	}
	c.backlog, c.worked = nil, 0
	return nil
}

// full reports whether the backlog takes no more.
func (c *conn) full() bool {
	n := len(c.backlog) - c.worked
	return n > 0 && (n >= c.l.cfg.MaxBacklog || c.l.stats.Backlog.Load() >= int64(c.l.cfg.MaxBacklogTotal))
}

// mayRead reports whether there is room for what the device may send, and for the answers. If not, the reader is woken
// when there is.
func (c *conn) mayRead() bool {
	return !c.full() && (c.over == nil || c.Undigested) && c.MayRead()
}

// dropBacklog forgets messages that were not acknowledged and will not be: the device has them still, or, with QoS 0, took
// the chance.
func (c *conn) dropBacklog() {
	for c.worked < len(c.backlog) {
		raw, n, _, err := packet.Cut(c.backlog[c.worked:], 0)
		if err != nil {
			break
		}
		if raw.Type() == packet.PUBLISH {
			c.l.stats.Abandoned.Add(1)
		}
		c.worked += n
		c.l.stats.Backlog.Add(-int64(n))
	}
	c.backlog, c.worked = nil, 0
}
