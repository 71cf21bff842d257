package bridge

import (
	"errors"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/linkspan/linkspan/amqp"
	amqpclient "github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/mqtt"
	"github.com/linkspan/linkspan/mqtt/client"
)

// Endpoint is one place where messages enter and leave. It listens or dials, for MQTT or for AMQP: one field is set, the others are nil.
type Endpoint struct {
	// An endpoint that MQTT devices connect to: Linkspan is their broker.
	Listener *Listener `yaml:",shape=listen"`
	// An endpoint that is an MQTT client of a broker that is already there; [client endpoints](client-endpoints.md) tells the whole.
	Client *Client `yaml:",shape=dial"`
	// An endpoint that AMQP 1.0 clients connect to; [AMQP](amqp.md) tells the whole.
	AMQPListener *AMQPListener `yaml:",shape=listen:amqp"`
	// An endpoint that is a client of an AMQP 1.0 broker or router; [client endpoints](client-endpoints.md#amqp-brokers) tells more.
	AMQPClient *AMQPClient `yaml:",shape=dial:amqp"`
}

// dials reports whether the endpoint is one that connects to a broker.
func (e Endpoint) dials() bool { return e.Client != nil || e.AMQPClient != nil }

// hostPort returns where the endpoint listens; an error where it does not.
func (e Endpoint) hostPort() (string, error) {
	switch {
	case e.Listener != nil:
		return e.Listener.HostPort()
	case e.AMQPListener != nil:
		return e.AMQPListener.HostPort()
	}
	return "", errors.New("it does not listen")
}

// amqp reports whether the endpoint speaks AMQP.
func (e Endpoint) amqp() bool { return e.AMQPListener != nil || e.AMQPClient != nil }

// checkFiles reads the files that an endpoint names which dials.
func (e Endpoint) checkFiles() error {
	if e.AMQPClient != nil {
		return e.AMQPClient.CheckFiles()
	}
	return e.Client.CheckFiles()
}

// protocol returns the protocol of the endpoint, as routes name it.
func (e Endpoint) protocol() string {
	if e.amqp() {
		return "amqp"
	}
	return "mqtt"
}

// Listener is an endpoint with `listen` that MQTT devices connect to.
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

// AMQPListener is an endpoint with `listen` that AMQP clients connect to.
type AMQPListener struct {
	amqp.ListenerConfig `yaml:",inline"`
}

// SetDefaults gives l the values that hold where nothing is said.
func (l *AMQPListener) SetDefaults() {
	l.ListenerConfig = amqp.DefaultListenerConfig()
	l.URL = ""
}

// AMQPClient is an endpoint with `dial` that connects to an AMQP broker which is already there.
type AMQPClient struct {
	amqpclient.Config `yaml:",inline"`
}

// SetDefaults gives c the values that hold where nothing is said.
func (c *AMQPClient) SetDefaults() { c.Config = amqpclient.DefaultConfig() }

// endpoints returns the names of the endpoints that are of a kind, sorted.
func (c *Config) endpoints(kind func(Endpoint) bool) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(c.Endpoints)) {
		if kind(c.Endpoints[name]) {
			names = append(names, name)
		}
	}
	return names
}

// dialing returns the names of the endpoints that dial, whatever they speak.
func (c *Config) dialing() []string { return c.endpoints(Endpoint.dials) }

// listening returns the names of the endpoints that listen, whatever they speak.
func (c *Config) listening() []string {
	return c.endpoints(func(e Endpoint) bool { return e.Listener != nil || e.AMQPListener != nil })
}

// clients returns the names of the endpoints that dial MQTT brokers.
func (c *Config) clients() []string {
	return c.endpoints(func(e Endpoint) bool { return e.Client != nil })
}

// amqpClients returns the names of the endpoints that dial AMQP brokers.
func (c *Config) amqpClients() []string {
	return c.endpoints(func(e Endpoint) bool { return e.AMQPClient != nil })
}

// amqpListeners returns the names of the endpoints that AMQP clients connect to.
func (c *Config) amqpListeners() []string {
	return c.endpoints(func(e Endpoint) bool { return e.AMQPListener != nil })
}

// defaultEndpoints are those of a configuration that names none: both protocols, for this machine alone.
func defaultEndpoints() map[string]Endpoint {
	var devices Listener
	devices.SetDefaults()
	devices.URL = "mqtt://127.0.0.1:1883"
	var apps AMQPListener
	apps.SetDefaults()
	apps.URL = "amqp://127.0.0.1:5672"
	return map[string]Endpoint{"devices": {Listener: &devices}, "apps": {AMQPListener: &apps}}
}

var (
	endpointName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]*$`)
	schemes      = []string{"mqtts", "ws", "wss", "amqps", "amqpws", "amqpwss"} // the protocols themselves are refused with the routes
)

func (c *Config) validateEndpoints(p *problems) {
	if c.Endpoints != nil && len(c.Endpoints) == 0 {
		p.add("endpoints", "the section is empty, so nobody could connect; leave endpoints out for mqtt://127.0.0.1:1883 and amqp://127.0.0.1:5672")
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
		case e.Listener != nil && !spoken(e.Listener.URL):
			p.add(key+".listen", "%q: it has none of the schemes %s", e.Listener.URL, allSchemes)
		case e.Client != nil && !spoken(e.Client.Dial...):
			p.add(key+".dial", "%q: it has none of the schemes %s", e.Client.Dial, allSchemes)
		case e.Listener != nil:
			p.take(key+".", e.Listener.Validate())
		case e.Client != nil:
			p.take(key+".", e.Client.Validate())
		case e.AMQPListener != nil:
			p.take(key+".", e.AMQPListener.Validate())
		case e.AMQPClient != nil:
			p.take(key+".", e.AMQPClient.Validate())
		default:
			p.add(key, "says neither where to listen nor what to dial; add listen: mqtt://:1883 or amqp://:5672, or dial: mqtt://BROKER:1883 (MQTT: mqtt, mqtts, ws, wss; AMQP: amqp, amqps, amqpws, amqpwss)")
		}
	}
}

const allSchemes = "mqtt, mqtts, ws, wss, amqp, amqps, amqpws, amqpwss"

// spoken reports whether the schemes of URLs are ones. What is no URL at all is for others to judge.
func spoken(urls ...string) bool {
	for _, u := range urls {
		scheme, _, ok := strings.Cut(u, "://")
		if ok && !slices.Contains(strings.Split(allSchemes, ", "), scheme) {
			return false
		}
	}
	return true
}

// validateSessions refuses two endpoints that would take each other's session at a broker again and again.
func (c *Config) validateSessions(p *problems) {
	type session struct{ url, id string }
	owner := map[session]string{}
	claim := func(name, key string, urls, ids []string) {
		for _, url := range urls {
			for _, id := range ids {
				s := session{url, id}
				if other, taken := owner[s]; taken && other != name {
					p.add("endpoints."+name+"."+key, "%s has %s at %s already; each needs its own", other, id, url)
					return
				}
				owner[s] = name
			}
		}
	}
	for _, name := range c.clients() {
		e := c.Endpoints[name].Client
		claim(name, "client_id", e.Dial, e.ClientIDs())
	}
	for _, name := range c.amqpClients() {
		e := c.Endpoints[name].AMQPClient
		claim(name, "container_id", e.Dial, []string{e.ContainerID})
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
	for _, name := range c.listening() {
		if at, err := c.Endpoints[name].hostPort(); err == nil { // else Validate says so
			add("endpoints."+name+".listen", at)
		}
	}
}

func anyAddress(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}
