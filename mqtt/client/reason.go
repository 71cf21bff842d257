package client

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/internal/dial"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A failure is why an attempt to connect failed or a connection ended.
type failure struct {
	cause  Cause
	reason packet.Reason // that the broker gave, or that it is to be told; 0: none
	told   bool          // the broker said so: there is nothing to tell it
	remote bool          // the broker closed the connection, without or with a word
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func failed(cause Cause, format string, args ...any) *failure {
	return &failure{cause: cause, err: fmt.Errorf(format, args...)}
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
	return failedWith(cause, err)
}

// violation is for a broker that breaks the protocol. It is told the reason, with MQTT 5 [MQTT-4.13.1-1].
func violation(reason packet.Reason, format string, args ...any) *failure {
	f := failed(CauseProtocol, format, args...)
	f.reason = reason
	return f
}

// why turns any error of reading, decoding or writing into a failure.
func why(err error) *failure {
	var f *failure
	var p *packet.Error
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &p):
		return violation(p.Reason, "the broker sent a bad packet: %w", p)
	case errors.Is(err, io.EOF):
		return &failure{cause: CauseNetwork, remote: true, err: errors.New("the broker closed the connection")}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return failed(CauseTimeout, "no answer in time")
	}
	return &failure{cause: CauseNetwork, remote: true, err: err}
}

// refusedConnect is a CONNACK with a failure [MQTT 3.2.2.2].
func refusedConnect(r packet.Reason, text string) *failure {
	f := &failure{cause: CauseRefused, reason: r, told: true, err: fmt.Errorf("the broker refuses the connection: %v", r)}
	switch r {
	case packet.BadUsernameOrPassword, packet.NotAuthorized, packet.ClientIdentifierNotValid, packet.Banned, packet.BadAuthenticationMethod:
		f.cause = CauseLogin
		f.err = fmt.Errorf("%w; check username, password and client_id, and what the broker allows them", f.err)
	case packet.UnsupportedProtocolVersion, packet.MalformedPacket, packet.ProtocolError:
		f.cause = CauseProtocol
	}
	if text != "" {
		f.err = fmt.Errorf("%w: %s", f.err, text)
	}
	return f
}

// ended is a DISCONNECT from the broker [MQTT 3.14.2.1].
func ended(d *packet.Disconnect) *failure {
	f := &failure{cause: CauseRefused, reason: d.Reason, told: true, remote: true,
		err: fmt.Errorf("the broker ends the connection: %v", d.Reason)}
	switch d.Reason {
	case packet.SessionTakenOver:
		f.cause = CauseTaken
		f.err = fmt.Errorf("%w: another client has connected with our client identifier", f.err)
	case packet.KeepAliveTimeout:
		f.cause = CauseTimeout
	case packet.MalformedPacket, packet.ProtocolError, packet.TopicAliasInvalid, packet.ReceiveMaximumExceeded:
		f.cause = CauseProtocol
	case packet.NotAuthorized:
		f.cause = CauseLogin
	}
	if d.Properties.ReasonString != "" {
		f.err = fmt.Errorf("%w: %s", f.err, d.Properties.ReasonString)
	}
	return f
}

// blameless reports whether a connection that the broker ended with f did not end for what we published.
func (f *failure) blameless() bool {
	if !f.remote {
		return true
	}
	switch f.reason {
	case packet.ServerShuttingDown, packet.ServerBusy, packet.KeepAliveTimeout, packet.SessionTakenOver,
		packet.AdministrativeAction, packet.UseAnotherServer, packet.ServerMoved, packet.ConnectionRateExceeded,
		packet.MaximumConnectTime:
		return true
	}
	return false
}

// A refused is the broker's no to a message.
type refused struct {
	reason packet.Reason
	text   string
}

func (r *refused) Error() string {
	if r.text == "" {
		return "the broker refuses the message: " + r.reason.String()
	}
	return "the broker refuses the message: " + r.reason.String() + ": " + r.text
}

var (
	errPoison = linkspan.Permanent(errors.New("the broker closes the connection whenever this message is published"))
	errBroken = linkspan.Permanent(errors.New("the message cannot be written as an MQTT packet"))
)
