// Package dial is what the clients of brokers share, whatever they speak: the addresses to dial, the byte stream over TCP, TLS and
// WebSocket, and the pauses between attempts.
package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/internal/address"
)

// A Target is what one address to dial says.
type Target struct {
	address.Address
	Text string // as it was written, without the query

	plain string // the schemes without TLS
}

// Parse reads an address of that family. An error says what to write, and quotes nothing that might be a secret.
func Parse(f address.Family, text string) (t Target, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" { // what is quoted might be a password
		return t, fmt.Errorf("this is no address; write %s, and user name and password in keys of their own", f.Example())
	}
	if u.User != nil {
		return t, fmt.Errorf("the address of %q has a user name in it; set username and password", u.Hostname())
	}
	t.Text, _, _ = strings.Cut(text, "?") // a query may hold a token
	t.plain = f.Plain()
	t.Address, err = f.Of(u)
	switch {
	case err != nil:
	case t.Host == "":
		err = errors.New("it has no host")
	case u.Fragment != "":
		err = errors.New("it has a fragment (#)")
	default:
		return t, nil
	}
	return t, fmt.Errorf("%q: %w; write %s", t.Text, err, f.Example())
}

// A Stage is how far an attempt to dial got.
type Stage byte

// The stages.
const (
	Network   Stage = iota // no TCP connection
	TLS                    // no agreement on encryption, or no trust
	WebSocket              // no WebSocket
)

// An Error says at which stage an attempt failed.
type Error struct {
	Stage Stage
	Err   error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// Open opens the byte stream to a broker: TCP, and TLS and WebSocket where the address says so; a WebSocket that carries protocol.
// ctx bounds all of it. Errors are of type *[Error].
//
// A read of it whose deadline has passed still returns what has come.
func Open(ctx context.Context, t Target, cfg *TLSConfig, protocol string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	nc, err := dialer.DialContext(ctx, "tcp", t.HostPort())
	if err != nil {
		return nil, &Error{Network, err}
	}
	tcp, err := newSocket(nc)
	if err != nil {
		_ = nc.Close()
		return nil, &Error{Network, err}
	}
	nc = tcp
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(Past()) })
	defer stop()
	if t.TLS {
		secured, err := secure(ctx, nc, t, cfg)
		if err != nil {
			_ = nc.Close()
			return nil, &Error{TLS, err}
		}
		nc = secured
	}
	if t.WebSocket {
		upgraded, err := upgrade(nc, t, protocol)
		if err != nil {
			_ = nc.Close()
			return nil, &Error{WebSocket, fmt.Errorf("websocket: %w", err)}
		}
		nc = upgraded
	}
	tcp.live = true
	return nc, nil
}

// Past is a deadline that has passed: setting it wakes who waits.
func Past() time.Time { return time.Unix(1, 0) }

func secure(ctx context.Context, nc net.Conn, t Target, cfg *TLSConfig) (net.Conn, error) {
	c, err := cfg.Load(t.Host)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(nc, c)
	return secured, explain(secured.HandshakeContext(ctx), t.plain)
}

// explain adds to the error of a TLS handshake what to do about it. plain are the schemes without TLS.
func explain(err error, plain string) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	hint := ""
	switch {
	case errors.As(err, &unknown):
		hint = "the broker's certificate is from an unknown authority; set tls.ca to its file"
	case errors.As(err, &name):
		hint = "the broker's certificate is for another name; set tls.server_name"
	case errors.As(err, &record), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		hint = "the broker does not seem to speak TLS there; use its TLS port, or " + plain
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		hint = "no answer to the TLS handshake; if the broker does not speak TLS there, use its TLS port, or " + plain
	default:
		return err
	}
	return fmt.Errorf("%s: %w", hint, err)
}
