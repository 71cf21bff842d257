// Package address knows what the addresses of MQTT and AMQP servers mean: which schemes there are, and what holds where an address
// leaves something out. Those to listen on and those to dial are the same.
package address

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// An Address is what a URL says.
type Address struct {
	Host      string // without brackets; "": the URL names none
	Port      string // between 0 and 65535
	TLS       bool
	WebSocket bool
	Path      string // of the WebSocket, escaped, with the query; "": the URL names none
}

// A Family is the schemes of one protocol.
type Family struct {
	known [4]scheme // over TCP, TLS, WebSocket, and WebSocket over TLS
	path  string    // of a WebSocket whose URL has none
}

type scheme struct {
	name, port     string
	tls, webSocket bool
}

// MQTT returns mqtt, mqtts, ws and wss, with the ports 1883, 8883, 80 and 443, and the path /mqtt.
func MQTT() Family {
	return Family{path: "/mqtt", known: [4]scheme{
		{"mqtt", "1883", false, false}, {"mqtts", "8883", true, false}, {"ws", "80", false, true}, {"wss", "443", true, true}}}
}

// AMQP returns amqp, amqps, amqpws and amqpwss, with the ports 5672, 5671, 80 and 443, and no path.
func AMQP() Family {
	return Family{known: [4]scheme{
		{"amqp", "5672", false, false}, {"amqps", "5671", true, false}, {"amqpws", "80", false, true}, {"amqpwss", "443", true, true}}}
}

// Plain returns the schemes without TLS, for people to read: "mqtt:// or ws://".
func (f Family) Plain() string { return f.known[0].name + ":// or " + f.known[2].name + "://" }

// Encrypted returns those with TLS.
func (f Family) Encrypted() string { return f.known[1].name + ":// or " + f.known[3].name + "://" }

// Example returns an address to dial.
func (f Family) Example() string { return f.known[0].name + "://HOST:" + f.known[0].port }

// Everywhere returns an address to listen on, which is all of the machine's.
func (f Family) Everywhere() string { return f.known[0].name + "://:" + f.known[0].port }

// Of reads SCHEME://HOST:PORT, with /PATH for a WebSocket. What else u may hold, such as a user, is for the caller to look
// at. An error says what is wrong, and not with which address.
func (f Family) Of(u *url.URL) (Address, error) {
	s, err := f.scheme(u.Scheme)
	if err != nil {
		return Address{}, err
	}
	if u.Opaque != "" {
		return Address{}, errors.New("there is no // behind the scheme")
	}
	a := Address{Host: u.Hostname(), Port: cmp.Or(u.Port(), s.port), TLS: s.tls, WebSocket: s.webSocket}
	if _, err := strconv.ParseUint(a.Port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("there is no port %s", a.Port)
	}
	if host, _, err := net.SplitHostPort(a.HostPort()); err != nil || host != a.Host { // url.Parse takes a lone bracket
		return Address{}, fmt.Errorf("there is no host %q", a.Host)
	}
	switch {
	case s.webSocket:
		a.Path = cmp.Or(u.EscapedPath(), f.path)
		if u.RawQuery != "" {
			a.Path = cmp.Or(a.Path, "/") + "?" + u.RawQuery
		}
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return Address{}, fmt.Errorf("it has a path, which only %s and %s use", f.known[2].name, f.known[3].name)
	}
	return a, nil
}

func (f Family) scheme(name string) (scheme, error) {
	for _, s := range f.known {
		if s.name == name {
			return s, nil
		}
	}
	k := f.known
	return scheme{}, fmt.Errorf("it has none of the schemes %s, %s, %s, %s", k[0].name, k[1].name, k[2].name, k[3].name)
}

// HostPort returns HOST:PORT, as the net package takes it.
func (a *Address) HostPort() string { return net.JoinHostPort(a.Host, a.Port) }
