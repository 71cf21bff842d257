package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/dial"
)

// A failure is why an attempt to connect failed or a connection ended.
type failure struct {
	cause Cause
	err   error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failed(cause Cause, format string, args ...any) *failure {
	return &failure{cause, fmt.Errorf(format, args...)}
}

func causeOf(err error) Cause {
	var f *failure
	if errors.As(err, &f) {
		return f.cause
	}
	return CauseNetwork
}

// unreached is an attempt to dial that failed.
func unreached(err error) *failure {
	var at *dial.Error
	cause := CauseNetwork
	if errors.As(err, &at) {
		switch at.Stage {
		case dial.TLS:
			cause = CauseTLS
		case dial.WebSocket:
			cause = CauseProtocol
		}
	}
	return &failure{cause, err}
}

// why turns any error of the connection into a failure.
func (c *conn) why(err error) error {
	var f *failure
	var e *frame.Error
	var op *net.OpError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &e) && e.Condition == frame.ConnectionRedirect:
		return c.c.redirected(e)
	case errors.As(err, &e):
		return closed(e)
	case errors.Is(err, sasl.ErrDenied), errors.Is(err, sasl.ErrServer):
		return failed(CauseLogin, "%w; check username and password, and what the broker allows them", err)
	case errors.Is(err, sasl.ErrMechanism):
		return failed(CauseLogin, "%w; the broker wants another login: set username and password, tls.cert, or mechanisms", err)
	case errors.Is(err, engine.ErrProtocol):
		return failed(CauseProtocol, "the other side does not speak AMQP 1.0 there, or wants TLS: use amqps:// or amqpwss:// for its port")
	case errors.Is(err, engine.ErrIdle):
		return failed(CauseTimeout, "the broker is silent: nothing came for %v", c.c.cfg.IdleTimeout)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failed(CauseTimeout, "the broker takes nothing")
	case errors.Is(err, io.EOF), errors.As(err, &op) && !op.Timeout():
		return c.hungUp(err)
	}
	return &failure{CauseNetwork, err}
}

// hungUp is a connection that the broker ended without a word.
func (c *conn) hungUp(err error) *failure {
	select {
	case <-c.opened:
		if errors.Is(err, io.EOF) {
			err = errors.New("the broker closed the connection")
		}
		return &failure{CauseNetwork, err}
	default:
		return failed(CauseProtocol, "the other side hung up: it is no AMQP 1.0 broker, wants TLS (amqps), a client certificate (tls.cert), or not us: %w", err)
	}
}

// closed is a close frame with an error, the broker's or our own [AMQP 2.7.9].
func closed(e *frame.Error) *failure {
	f := failed(CauseRefused, "the connection was closed: %w", e)
	switch e.Condition {
	case frame.UnauthorizedAccess:
		f.cause = CauseLogin
	case frame.FramingError, frame.DecodeError, frame.IllegalState, frame.WindowViolation, frame.ErrantLink, frame.UnattachedHandle, frame.HandleInUse:
		f.cause = CauseProtocol
	case frame.InvalidField: // [AMQP 2.7.1]: what brokers say to a container-id that is in use
		if strings.Contains(string(e.Info), "container-id") {
			f.cause = CauseTaken
			f.err = fmt.Errorf("%w: another client uses our container_id", f.err)
		}
	}
	return f
}

// A refused is the broker's no to a message, or to a link.
type refused struct {
	what  string // "message", "address"
	state frame.StateKind
	why   frame.Error
}

func (r *refused) Error() string {
	text := "the broker refuses the " + r.what
	if r.state != frame.Rejected {
		text = "the broker gives the " + r.what + " back (" + r.state.String() + ")"
	}
	if r.why.Condition == "" {
		return text
	}
	return text + ": " + r.why.Error()
}

func (r *refused) Unwrap() error {
	if r.why.Condition == "" {
		return nil
	}
	return &r.why
}

// passing reports whether a condition is one of the moment: a retry may help.
func passing(condition frame.Symbol) bool {
	switch condition {
	case frame.NotFound, frame.UnauthorizedAccess, frame.NotAllowed, frame.InvalidField, frame.NotImplemented, frame.PreconditionFailed,
		frame.DecodeError, frame.MessageSizeExceeded:
		return false
	}
	return true
}

// doubts is how often a message is sent again whose rejection may be the broker's own trouble: Artemis rejects what comes while it stops.
const doubts = 3

// verdict is what the broker's outcome says of a message that was tried that often before: nil for accepted. A rejection for want of room is
// one of the moment: brokers say so of an address that is full. One with a condition that blames neither message nor address is believed in the end.
func verdict(s frame.State, tries int) error {
	if s.Kind == frame.Accepted {
		return nil
	}
	r := &refused{"message", s.Kind, s.Error}
	if s.Kind != frame.Rejected {
		return r
	}
	switch condition := s.Error.Condition; {
	case condition == frame.ResourceLimitExceeded, condition == frame.ResourceLocked:
		return r
	case condition != "" && passing(condition) && tries < doubts:
		return r
	}
	return linkspan.Permanent(r)
}

// verdictOnLink is what the end of a link says of the messages that waited for it.
func verdictOnLink(e *frame.Error) error {
	if e == nil {
		return errDetached
	}
	r := &refused{"address", frame.Rejected, linkRedirected(*e)}
	if passing(e.Condition) {
		return r
	}
	return linkspan.Permanent(r)
}

var (
	errAway     = errors.New("there is no connection to the broker")
	errLost     = errors.New("the connection to the broker was lost before it settled the message")
	errDetached = errors.New("the broker has detached the link")
	errStore    = errors.New("a message could not be stored; it is asked for again")
	errBehind   = errors.New("a message before it was given back by the broker")
	errStuck    = errors.New("the broker gives no credit for the address")
)

// describe returns what a broker says of itself.
func describe(o *frame.Open) string {
	if product, ok := o.Properties.Get("product").Text(); ok {
		version, _ := o.Properties.Get("version").Text()
		return strings.TrimSpace(strings.Clone(product) + " " + version)
	}
	return o.ContainerID
}
