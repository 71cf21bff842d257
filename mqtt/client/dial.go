package client

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
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A target is what one address of Config.Dial says.
type target struct {
	address.Address
	text string // as it was written, without the query
}

func parseTarget(text string) (t target, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" { // what is quoted might be a password
		return t, errors.New("this is no address; write mqtt://HOST:1883, and user name and password in keys of their own")
	}
	if u.User != nil {
		return t, fmt.Errorf("the address of %q has a user name in it; set username and password", u.Hostname())
	}
	t.text, _, _ = strings.Cut(text, "?") // a query may hold a token
	t.Address, err = address.MQTT().Of(u)
	switch {
	case err != nil:
	case t.Host == "":
		err = errors.New("it has no host")
	case u.Fragment != "":
		err = errors.New("it has a fragment (#)")
	default:
		return t, nil
	}
	return t, fmt.Errorf("%q: %w; write mqtt://HOST:1883", t.text, err)
}

// dial opens the byte stream to a broker: TCP, and TLS and WebSocket where the address says so. ctx bounds all of it.
func dial(ctx context.Context, t target, cfg *TLSConfig, v packet.Version) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	nc, err := dialer.DialContext(ctx, "tcp", t.HostPort())
	if err != nil {
		return nil, &failure{cause: CauseNetwork, err: err}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(past) })
	defer stop()
	if t.TLS {
		secured, err := secure(ctx, nc, t, cfg)
		if err != nil {
			_ = nc.Close()
			return nil, &failure{cause: CauseTLS, err: err}
		}
		nc = secured
	}
	if t.WebSocket {
		upgraded, err := upgrade(nc, t, v)
		if err != nil {
			_ = nc.Close()
			return nil, &failure{cause: CauseProtocol, err: fmt.Errorf("websocket: %w", err)}
		}
		nc = upgraded
	}
	return nc, nil
}

// past is a deadline that has passed: setting it wakes who waits.
var past = time.Unix(1, 0)

func secure(ctx context.Context, nc net.Conn, t target, cfg *TLSConfig) (net.Conn, error) {
	c, err := cfg.load(t.Host)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(nc, c)
	return secured, explain(secured.HandshakeContext(ctx))
}

// explain adds to the error of a TLS handshake what to do about it.
func explain(err error) error {
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
		hint = "the broker does not seem to speak TLS there; use its TLS port, or mqtt:// or ws://"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		hint = "no answer to the TLS handshake; if the broker does not speak TLS there, use its TLS port, or mqtt:// or ws://"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", hint, err)
}
