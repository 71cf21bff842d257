package route

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/linkspan/linkspan"
)

// Unknown is what becomes of a record whose device nobody has seen.
type Unknown byte

const (
	// UnknownPark: it waits until the device is seen.
	UnknownPark Unknown = iota
	// UnknownFlood: it goes to all endpoints of the route.
	UnknownFlood
	// UnknownDeadLetter: it goes to the dead letter topic.
	UnknownDeadLetter
)

// String returns the word of the configuration.
func (u Unknown) String() string { return unknowns()[u] }

func unknowns() []string { return []string{"park", "flood", "dead-letter"} } // in the order of the constants

// ErrNoDevice: a record that goes to where its device is does not name one.
var ErrNoDevice = linkspan.Permanent(errors.New("the record does not name the device that it is for"))

// Located is a record that goes to the one endpoint where its device is.
type Located struct {
	Device    string   // borrowed from the message
	Endpoints []string // the client endpoints of the route; not to be written
	Listeners []string // its listeners, whose devices have the record from the live path; not to be written
	Unknown   Unknown
	ParkFor   time.Duration // 0: as the fleet is configured
}

// Locate tells which device m.Record is for and where that may be, and fills in m as [Table.Down] does. It returns false
// for a record whose route does not ask where the device is, and for one that has expired. Its errors are permanent, and
// counted, as is what has expired.
func (t *Table) Locate(m *linkspan.Message) (located Located, ok bool, err error) {
	p := t.downPlan(m.Record.Topic)
	r := p.route
	if r == nil || !r.located {
		return Located{}, false, nil
	}
	if _, err = t.fillDown(m, p); err == nil && m.Device == "" {
		err = ErrNoDevice
	}
	if err != nil {
		r.counts.add(m, err)
		return Located{}, false, err
	}
	if expired(m) {
		r.counts.expired.Add(1)
		return Located{}, false, nil
	}
	return r.place(m), true, nil
}

func (r *route) place(m *linkspan.Message) Located {
	return Located{m.Device, r.clients, r.listeners, r.unknown, r.config.ParkFor}
}

// device compiles the setting of that name.
func (c *compiler) device(r *route, sc scope) {
	text := c.config.Device
	if text == "" {
		return
	}
	var err error
	if r.device, err = newTemplate(text, sc); c.fail("device", err) {
		return
	}
	if _, fixed := r.device.literal(); fixed {
		c.fail("device", fmt.Errorf("%q would be the device of every message: write {name} for a part that tells them apart", text))
	}
}

// presence compiles what the way up tells of devices.
func (c *compiler) presence(r *route) {
	if c.index < 0 {
		why := errors.New("the default route takes whatever no other does, and cannot know: write a route for the topics that tell of devices")
		if c.config.Device != "" {
			c.fail("device", why)
		}
		if c.config.Presence != nil {
			c.fail("presence", why)
		}
		return
	}
	p := c.config.Presence
	switch {
	case p == nil:
	case c.config.Device == "":
		c.fail("presence", errors.New("it does not say whose: name the device too, such as device: \"{device}\""))
	case len(p.Offline) == 0:
		c.fail("presence.offline", errors.New("it is missing: list the payloads that say that the device has left"))
	default:
		r.offline = p.Offline
	}
}

// retained compiles the setting of that name. from is a protocol, or the name of an endpoint.
func (c *compiler) retained(r *route, from string) {
	known := []string{"take", "skip"}
	switch set := c.config.Retained; {
	case set == "":
	case !slices.Contains(known, set):
		c.fail("retained", fmt.Errorf("there is no %q%s (%s)", set, meant(set, known), strings.Join(known, " or ")))
	case c.listens(from):
		c.fail("retained", fmt.Errorf("%s is a listener: what its devices want retained is no old news; take it away", from))
	default:
		r.skipRetained = set == "skip"
	}
}

// location compiles where a route down goes. to is a protocol, or the name of an endpoint.
//
// Whoever subscribed at any listener has what goes to a protocol, whichever: live messages know one space of topics and addresses. A
// device, though, is looked for where its protocol is spoken.
func (c *compiler) location(r *route, to string) {
	spoken := c.resolve("to", to)
	for _, name := range spoken {
		if name == to {
			r.target = name
		}
		if !c.listens(name) {
			r.clients = append(r.clients, name)
		}
	}
	for _, e := range c.endpoints {
		if !e.Client && (r.target == e.Name || r.target == "" && (to == "mqtt" || to == amqp)) {
			r.listeners = append(r.listeners, e.Name)
		}
	}
	r.located = c.config.Device != "" && len(r.clients) > 0 && len(spoken) > 1

	unknown := c.config.Unknown
	if i := slices.Index(unknowns(), unknown); i >= 0 {
		r.unknown = Unknown(i)
	} else if unknown != "" {
		c.fail("unknown", fmt.Errorf("there is no %q%s (%s)", unknown, meant(unknown, unknowns()), strings.Join(unknowns(), ", ")))
	}
	set := map[string]bool{"unknown": unknown != "", "park_for": c.config.ParkFor != 0}
	for _, key := range slices.Sorted(maps.Keys(set)) {
		switch {
		case !set[key]:
		case c.config.Device == "":
			c.fail(key, errors.New("it is about devices that nobody has seen, and the route names none: write device, such as device: \"{key}\""))
		case r.target != "":
			c.fail(key, fmt.Errorf("the route goes to %s wherever the device is: take it away, or write the protocol in to", to))
		}
	}
	switch wait := c.config.ParkFor; {
	case wait < 0:
		c.fail("park_for", fmt.Errorf("%v is no time to wait: more than 0, or 0 for the fleet's", wait))
	case wait > 0 && r.unknown != UnknownPark:
		c.fail("park_for", fmt.Errorf("nothing is parked with unknown: %s: take one of them away", r.unknown))
	}
}

// listens reports whether name is that of a listener.
func (c *compiler) listens(name string) bool {
	return slices.ContainsFunc(c.endpoints, func(e Endpoint) bool { return e.Name == name && !e.Client })
}
