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
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/linkspan/linkspan/mqtt/packet"
)

// A target is what one address of Config.Dial says.
type target struct {
	text string
	host string // without port
	addr string // host:port
	tls  bool
	path string // of the WebSocket, with the query; "": none
}

func parseTarget(text string) (t target, err error) {
	u, err := url.Parse(text)
	if err != nil { // its text may quote a password
		return t, errors.New("this is no address; write mqtt://HOST:1883, and user name and password in keys of their own")
	}
	t.text, _, _ = strings.Cut(text, "?") // a query may hold a token
	port := ""
	switch u.Scheme {
	case "mqtt":
		port = "1883"
	case "mqtts":
		port, t.tls = "8883", true
	case "ws":
		port, t.path = "80", "/mqtt"
	case "wss":
		port, t.path, t.tls = "443", "/mqtt", true
	default:
		return t, fmt.Errorf("%q has none of the schemes mqtt, mqtts, ws, wss; write mqtt://HOST:1883", u.Redacted())
	}
	if u.Port() != "" {
		port = u.Port()
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return t, fmt.Errorf("the address of %s: there is no port %s", u.Hostname(), port)
	}
	t.host = u.Hostname()
	t.addr = net.JoinHostPort(t.host, port)
	switch {
	case t.host == "":
		return t, fmt.Errorf("%q has no host; write %s://HOST:%s", u.Redacted(), u.Scheme, port)
	case u.User != nil:
		return t, fmt.Errorf("the address of %s has a user name in it; set username and password", t.host)
	case u.Fragment != "":
		return t, fmt.Errorf("%q has a fragment (#); leave it out", text)
	case t.path != "" && u.Path != "":
		t.path = u.RequestURI()
	case t.path != "" && u.RawQuery != "":
		t.path += "?" + u.RawQuery
	case t.path == "" && (u.Path != "" && u.Path != "/" || u.RawQuery != ""):
		return t, fmt.Errorf("%q has a path, which only ws and wss use", text)
	}
	return t, nil
}

// dial opens the byte stream to a broker: TCP, and TLS and WebSocket where the address says so. ctx bounds all of it.
func dial(ctx context.Context, t target, cfg *TLSConfig, v packet.Version) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	nc, err := dialer.DialContext(ctx, "tcp", t.addr)
	if err != nil {
		return nil, &failure{cause: CauseNetwork, err: err}
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = nc.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(past) })
	defer stop()
	if t.tls {
		secured, err := secure(ctx, nc, t, cfg)
		if err != nil {
			_ = nc.Close()
			return nil, &failure{cause: CauseTLS, err: err}
		}
		nc = secured
	}
	if t.path != "" {
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
	c, err := cfg.load(t.host)
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
	default:
		return err
	}
	return fmt.Errorf("%s: %w", hint, err)
}
