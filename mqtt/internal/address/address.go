// Package address knows what the addresses of MQTT servers mean: which schemes there are, and what holds where an address
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
	Host string // without brackets; "": the URL names none
	Port string // between 0 and 65535
	TLS  bool
	Path string // of the WebSocket, escaped, with the query; "": no WebSocket
}

// DefaultPath is the path of a WebSocket whose URL has none.
const DefaultPath = "/mqtt"

// Of reads mqtt://HOST:PORT, mqtts://, ws://HOST:PORT/PATH or wss://. Without PORT it is 1883, 8883, 80 and 443. What else u may
// hold, such as a user, is for the caller to look at. An error says what is wrong, and not with which address.
func Of(u *url.URL) (Address, error) {
	var a Address
	var port string
	webSocket := false
	switch u.Scheme {
	case "mqtt":
		port = "1883"
	case "mqtts":
		port, a.TLS = "8883", true
	case "ws":
		port, webSocket = "80", true
	case "wss":
		port, a.TLS, webSocket = "443", true, true
	default:
		return Address{}, errors.New("it has none of the schemes mqtt, mqtts, ws, wss")
	}
	if u.Opaque != "" {
		return Address{}, errors.New("there is no // behind the scheme")
	}
	a.Host, a.Port = u.Hostname(), cmp.Or(u.Port(), port)
	if _, err := strconv.ParseUint(a.Port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("there is no port %s", a.Port)
	}
	if host, _, err := net.SplitHostPort(a.HostPort()); err != nil || host != a.Host { // url.Parse takes a lone bracket
		return Address{}, fmt.Errorf("there is no host %q", a.Host)
	}
	switch {
	case webSocket:
		a.Path = cmp.Or(u.EscapedPath(), DefaultPath)
		if u.RawQuery != "" {
			a.Path += "?" + u.RawQuery
		}
	case u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return Address{}, errors.New("it has a path, which only ws and wss use")
	}
	return a, nil
}

// HostPort returns HOST:PORT, as the net package takes it.
func (a *Address) HostPort() string { return net.JoinHostPort(a.Host, a.Port) }
