package bridge

import (
	"maps"
	"net"
	"regexp"
	"slices"

	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/client"
)

// Endpoint is one place where messages enter and leave. It listens, or it dials; the other of the two is nil.
type Endpoint struct {
	// An endpoint that devices connect to: Linkspan is their broker.
	Listener *Listener `yaml:",shape=listen"`
	// An endpoint that is a client of a broker that is already there; [client endpoints](client-endpoints.md) tells the whole.
	Client *Client `yaml:",shape=dial"`
}

// Listener is an endpoint with `listen`: devices connect to it.
type Listener struct {
	mqtt.ListenerConfig `yaml:",inline"`
}

// SetDefaults gives l the values that hold where nothing is said.
func (l *Listener) SetDefaults() {
	l.ListenerConfig = mqtt.DefaultListenerConfig()
	l.URL = ""
}

// Client is an endpoint with `dial`: it connects to a broker that is already there.
type Client struct {
	client.Config `yaml:",inline"`
}

// SetDefaults gives c the values that hold where nothing is said.
func (c *Client) SetDefaults() { c.Config = client.DefaultConfig() }

// clients returns the names of the endpoints that dial, sorted.
func (c *Config) clients() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		if c.Endpoints[name].Client != nil {
			names = append(names, name)
		}
	}
	return names
}

// listeners returns the names of the endpoints that listen, sorted.
func (c *Config) listeners() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		if c.Endpoints[name].Listener != nil {
			names = append(names, name)
		}
	}
	return names
}

var (
	endpointName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	schemes      = []string{"mqtts", "ws", "wss", "amqps"} // the protocols themselves are refused with the routes
)

func (c *Config) validateEndpoints(p *problems) {
	if c.Endpoints != nil && len(c.Endpoints) == 0 {
		p.add("endpoints", "the section is empty, so no device could connect; leave endpoints out for one on mqtt://127.0.0.1:1883")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		e, key := c.Endpoints[name], "endpoints."+name
		switch {
		case !endpointName.MatchString(name):
			p.add(key, "a name has letters, digits, - _ . only, and begins with a letter or digit")
		case slices.Contains(schemes, name):
			p.add(key, "in a route that name would look like a protocol; choose another")
		}
		switch {
		case e.Listener != nil:
			p.take(key+".", e.Listener.Validate())
		case e.Client != nil:
			p.take(key+".", e.Client.Validate())
		default:
			p.add(key, "says neither where to listen nor what to dial; add listen: mqtt://:1883, or dial: mqtt://BROKER:1883 (or mqtts, ws, wss)")
		}
	}
}

// validateSessions refuses two endpoints that would take each other's session at a broker again and again.
func (c *Config) validateSessions(p *problems) {
	type session struct{ url, id string }
	owner := map[session]string{}
endpoints:
	for _, name := range c.clients() {
		e := c.Endpoints[name].Client
		for _, url := range e.Dial {
			for _, id := range e.ClientIDs() {
				s := session{url, id}
				if other, taken := owner[s]; taken && other != name {
					p.add("endpoints."+name+".client_id", "%s has %s at %s already; each needs its own", other, id, url)
					continue endpoints
				}
				owner[s] = name
			}
		}
	}
}

// validateListens refuses two parts that would listen on the same port.
func (c *Config) validateListens(p *problems) {
	type place struct{ key, host, port string }
	var places []place
	add := func(key, hostport string) {
		host, port, err := net.SplitHostPort(hostport)
		if err != nil || port == "0" {
			return
		}
		for _, o := range places {
			if port == o.port && (host == o.host || anyAddress(host) || anyAddress(o.host)) {
				p.add(key, "port %s is that of %s already; each needs its own", port, o.key)
				return
			}
		}
		places = append(places, place{key, host, port})
	}
	if len(c.Kafka.Brokers) == 0 {
		add("kafka.embedded.listen", c.Kafka.Embedded.Listen)
	}
	add("admin.listen", c.Admin.Listen)
	for _, name := range c.listeners() {
		if at, err := c.Endpoints[name].Listener.HostPort(); err == nil { // else Validate says so
			add("endpoints."+name+".listen", at)
		}
	}
}

func anyAddress(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
