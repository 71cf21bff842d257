package client

import (
	"net"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/amqp/frame"
)

// A redirect is a broker that wants us elsewhere, at one of the addresses that we are configured with [AMQP 2.8.16].
type redirect struct {
	at  int // of the targets
	why *frame.Error
}

func (r *redirect) Error() string { return r.why.Error() }

// elsewhere returns what an error says of another host, "" if that is nothing [AMQP 2.8.16, 2.8.17].
func elsewhere(e *frame.Error) (host, port string) {
	for _, name := range []string{"network-host", "hostname"} {
		if host == "" {
			host, _ = e.Info.Get(name).Text()
		}
	}
	if n, ok := e.Info.Get("port").Uint(); ok && n > 0 {
		port = strconv.FormatUint(n, 10)
	}
	return strings.Clone(host), port
}

// redirected is a close that sends us elsewhere. A broker can only choose among the addresses that it was given: who could send us
// anywhere would get our password there.
func (c *Client) redirected(e *frame.Error) *failure {
	host, port := elsewhere(e)
	if host == "" {
		return failed(CauseRefused, "the broker sends us elsewhere and does not say where: %w", e)
	}
	name := host
	if port != "" {
		name = net.JoinHostPort(host, port)
	}
	for i, t := range c.targets {
		if strings.EqualFold(t.Host, host) && (port == "" || t.Port == port) {
			return failed(CauseRefused, "the broker sends us to %s: %w", name, &redirect{i, e})
		}
	}
	return failed(CauseRefused, "the broker sends us to %s, which is none of the addresses of dial: add it there if it is to be trusted: %w", name, e)
}

// linkRedirected adds to the description of a link's end where it could be had instead. That is not followed: what we receive from and
// send to is configured.
func linkRedirected(e frame.Error) frame.Error {
	if e.Condition != frame.LinkRedirect {
		return e
	}
	host, port := elsewhere(&e)
	node, _ := e.Info.Get("address").Text()
	e.Description = strings.TrimSpace(e.Description + " (it is address " + strconv.Quote(node) + " at " + net.JoinHostPort(host, port) +
		", which is not followed: make an endpoint for it)")
	return e
}
