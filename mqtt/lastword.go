package mqtt

import (
	"time"

	"github.com/linkspan/linkspan/internal/wire"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// hearing is how long a device that has more to say is listened to after somebody else has ended its connection.
const hearing = 2 * time.Second

// A lastWord looks for a DISCONNECT in what the device had sent when somebody else ended its connection: it may lie unread behind
// messages that had no room, and then the will is not published all the same [MQTT-3.14.4-3]. What comes before it is passed
// over, unacknowledged.
type lastWord struct {
	end   *ending // why the connection ends
	until time.Time
	skip  int  // bytes to come of a packet that is passed over
	some  bool // there was something unread, so more may be on its way
	said  bool // nothing comes after it
}

// hearOut returns why the connection ends once the last word is said, or what Receive says if that may be yet to come.
func (c *conn) hearOut() error {
	l := c.last
	for c.passOver(); !l.said && time.Now().Before(l.until); c.passOver() {
		c.Need = 0
		err := c.Receive(false)
		switch {
		case err == nil:
		case wire.NothingYet(err) && l.some:
			return err
		default:
			l.until = time.Time{} // after a look at what came with the end
		}
	}
	return l.end
}

// passOver takes away what was read, up to the last word.
func (c *conn) passOver() {
	l, in := c.last, c.Input()
	for !l.said && len(in.Unread()) > 0 {
		l.some = true
		if n := min(l.skip, len(in.Unread())); n > 0 {
			in.Consume(n)
			l.skip -= n
			continue
		}
		left := in.Unread()
		raw, n, need, err := packet.Cut(left, c.l.cfg.MaxPacketSize)
		goodbye := left[0] == byte(packet.DISCONNECT)<<4
		switch {
		case err != nil:
			l.said = true
		case n == 0 && (need == 0 || goodbye):
			return // more is to come
		case n == 0:
			l.skip = need
		case goodbye:
			if e, err := c.goodbye(raw); err == nil && e.noWill {
				l.end = &ending{l.end.reason, l.end.text, l.end.quiet, true, l.end.closeCode}
			}
			l.said = true
		default:
			in.Consume(n)
		}
	}
}
