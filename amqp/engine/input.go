package engine

import (
	"errors"
	"io"
	"time"

	"github.com/linkspan/linkspan/amqp/frame"
)

var (
	headerAMQP = []byte(frame.ProtocolAMQP)
	headerSASL = []byte(frame.ProtocolSASL)
)

// headerSize is the size of a protocol header in bytes [AMQP 2.2].
const headerSize = 8

// Input takes the bytes p from the peer, as many whole frames as there are, and returns how many bytes it took. What
// remains is to come again, with more; need is then how many bytes the next frame takes, if that is known already, else 0.
// It takes nothing while the connection is [Conn.Blocked]. p may be used again afterwards. The driver takes the output after
// it, whatever it returns.
//
// The error is io.EOF after an orderly end, or why the connection is over; it stays. The output then ends with what the peer
// is told, and the driver closes the socket after that.
func (c *Conn) Input(p []byte, now time.Time) (consumed, need int, err error) {
	c.enter()
	defer c.leave()
	if len(p) > 0 {
		c.heard = now
	}
	for c.over == nil {
		n, need, err := c.step(p[consumed:])
		if err == errNotNow {
			n, need, err = 0, 0, nil
		}
		consumed += n
		switch {
		case err != nil:
			c.run()
			return consumed, 0, c.end(err)
		case n > 0:
		case c.Stirred():
			c.run()
		default:
			return consumed, need, nil
		}
	}
	return consumed, 0, c.over
}

// errNotNow says of a frame that something comes before it.
var errNotNow = errors.New("engine: not now")

// interrupted reports whether something comes before the next frame: a handler is to be told something, or the peer is to read what there is
// for it. It needs mu.
func (c *Conn) interrupted() bool { return len(c.events) > 0 || len(c.out) > c.cfg.MaxOutput }

// end ends the connection for an error of step, and returns the one that stays.
func (c *Conn) end(err error) error {
	if c.over != nil {
		return c.over
	}
	if err == io.EOF {
		c.over = err
		c.finish(nil)
		return err
	}
	c.over = err
	return c.fail(err)
}

// step takes one header or frame; n == 0 if there is none as a whole.
func (c *Conn) step(p []byte) (n, need int, err error) {
	if c.layer == atHeader || c.layer == atAMQPHeader {
		if err := c.foreign(p); err != nil || len(p) < headerSize {
			return 0, headerSize, err
		}
		return headerSize, 0, c.header(string(p[:headerSize]))
	}
	limit := c.cfg.MaxFrameSize
	if c.layer == atSASL {
		limit = maxSASL
	}
	f, n, need, err := frame.Cut(p, limit)
	if err != nil || n == 0 {
		return 0, need, err
	}
	if c.layer == atSASL {
		return n, 0, c.negotiate(f)
	}
	if f.Type != frame.TypeAMQP {
		return n, 0, violation(frame.FramingError, "a SASL frame after SASL")
	}
	return n, 0, c.frame(f)
}

// foreign tells a peer that speaks something else at the first byte that does not belong to AMQP, since the rest of a
// header may never come.
func (c *Conn) foreign(p []byte) error {
	if n := min(len(p), 4); string(p[:n]) != frame.ProtocolAMQP[:n] {
		return c.speak()
	}
	return nil
}

// speak answers with the header that we want [AMQP 2.2].
func (c *Conn) speak() error {
	if !c.client {
		c.mu.Lock()
		if c.needsSASL() && c.layer == atHeader {
			c.write(headerSASL)
		} else {
			c.write(headerAMQP)
		}
		c.mu.Unlock()
	}
	return ErrProtocol
}

// header takes a whole protocol header.
func (c *Conn) header(h string) error {
	switch {
	case h == frame.ProtocolAMQP && (c.layer == atAMQPHeader || !c.needsSASL()):
		c.layer = atAMQP
		if !c.client {
			c.mu.Lock()
			c.ready = true
			c.write(headerAMQP)
			c.mu.Unlock()
		}
		return nil
	case h == frame.ProtocolSASL && c.layer == atHeader && (!c.client || c.cfg.Credentials != nil):
		c.layer = atSASL
		c.beginSASL()
		return nil
	}
	return c.speak()
}

// frame takes one frame of AMQP.
func (c *Conn) frame(f frame.Frame) error {
	if len(f.Body) == 0 {
		return nil // that the peer lives is all it says [AMQP 2.4.5]
	}
	what, err := frame.DescriptorOf(f.Body)
	if err != nil {
		return err
	}
	if what == frame.CodeTransfer && c.openGot { // which has a look of its own, not to lock twice
		return c.transferred(f.Channel, f.Body)
	}
	c.mu.Lock()
	interrupted, deaf := c.interrupted(), c.closeSent
	c.mu.Unlock()
	switch {
	case interrupted:
		return errNotNow
	case deaf && what != frame.CodeClose && what != frame.CodeOpen:
		return nil // [AMQP 2.4.3]
	}
	if (what == frame.CodeOpen) == c.openGot {
		if what == frame.CodeOpen {
			return violation(frame.IllegalState, "a second open")
		}
		return violation(frame.IllegalState, "no open at first")
	}
	switch what {
	case frame.CodeFlow:
		var w frame.Flow
		if err := w.Decode(f.Body); err != nil {
			return err
		}
		return c.flowed(f.Channel, &w)
	case frame.CodeDisposition:
		var d frame.Disposition
		if err := d.Decode(f.Body); err != nil {
			return err
		}
		return c.disposed(f.Channel, &d)
	}
	return c.rare(what, f.Channel, append([]byte(nil), f.Body...))
}

// rare takes the frames that begin and end something. What they say is kept, so body is ours.
func (c *Conn) rare(what frame.Descriptor, channel uint16, body []byte) error {
	switch what {
	case frame.CodeOpen:
		o := new(frame.Open)
		if err := o.Decode(body); err != nil {
			return err
		}
		return c.opened(o)
	case frame.CodeBegin:
		var b frame.Begin
		if err := b.Decode(body); err != nil {
			return err
		}
		return c.begun(channel, &b)
	case frame.CodeAttach:
		a := new(frame.Attach)
		if err := a.Decode(body); err != nil {
			return err
		}
		return c.attached(channel, a, len(body))
	case frame.CodeDetach:
		var d frame.Detach
		if err := d.Decode(body); err != nil {
			return err
		}
		return c.detached(channel, &d)
	case frame.CodeEnd:
		var e frame.End
		if err := e.Decode(body); err != nil {
			return err
		}
		return c.ended(channel, &e)
	case frame.CodeClose:
		var cl frame.Close
		if err := cl.Decode(body); err != nil {
			return err
		}
		return c.closed(&cl)
	}
	return violation(frame.FramingError, "a frame of type %#x", uint64(what))
}

// closed takes the close of the peer, which is answered if it is not an answer.
func (c *Conn) closed(cl *frame.Close) error {
	c.mu.Lock()
	c.closeGot = true
	c.close(nil)
	c.mu.Unlock()
	if err := orNil(&cl.Error); err != nil {
		c.finish(err)
		return err
	}
	return io.EOF
}

// asError returns what the peer is told of an error.
func asError(err error) *frame.Error {
	var e *frame.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrIdle):
		return violation(frame.ResourceLimitExceeded, "nothing was heard for too long")
	}
	return violation(frame.InternalError, "%v", err)
}
