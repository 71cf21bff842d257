package route

import (
	"fmt"
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
)

// An Explanation says what the routes do with a message, and why.
type Explanation struct {
	// Steps are the routes in their order, up to the one that takes the message.
	Steps []Step
	// Route is the name of that route, "" where there is none.
	Route string
	// Default: it is the default route.
	Default bool
	// Err is why the message is refused, nil where it goes through.
	Err error
	// NewTopic: the record's Kafka topic is not one that the table knows of, so it may have to be made.
	NewTopic bool
	// Skipped: the message is one that a broker had retained, and the route leaves those alone.
	Skipped bool
	// Ways are how a record gets to the endpoints that its route reaches: to the listeners first.
	Ways []Way
	// Located is what the fleet knows of a record that goes to where its device is; nil: it does not ask. Without a name in
	// it the record goes to the listeners alone, and to the dead letter topic.
	Located *Located
	// HeadersLeftOut is how many of the record's headers MQTT has no form for.
	HeadersLeftOut int
	// Message is what comes out: its Record, Device and Left on the way up, the rest on the way down.
	Message *linkspan.Message
}

// A Step is one route that was asked.
type Step struct {
	Route, From, To string
	// Why it does not take the message, "" where it does.
	Why string
}

// A Way is how a record gets to one endpoint.
type Way struct {
	Endpoint string
	Client   bool // it dials a broker
	Located  bool // only if the device is there, or may be: see Located.Unknown
	Looped   bool // not at all: it came from there, and would come up again
}

// ExplainUp explains what becomes of a message that a device publishes. Where m.Endpoint is empty, the first endpoint that is
// configured stands for it. Nothing is counted, made or changed but the answer's Message.
func (t *Table) ExplainUp(m *linkspan.Message) Explanation {
	e := Explanation{Message: m.Clone()}
	m = e.Message
	if m.Endpoint == "" && len(t.options.Endpoints) > 0 {
		m.Endpoint = t.options.Endpoints[0].Name
	}
	p := t.planUp(m.Endpoint, m.Topic, false)
	for _, r := range t.routes {
		if p.route != nil && r.index >= p.route.index && p.route != t.standard {
			break
		}
		e.Steps = append(e.Steps, r.step(r.whyNotUp(m)))
	}
	if p.route == nil {
		e.Err = p.refusal
		return e
	}
	if e.Default = p.route == t.standard; !e.Default {
		e.Steps = append(e.Steps, p.route.step(""))
	}
	e.Route = p.route.name
	if e.Skipped = p.skips(m); e.Skipped {
		return e
	}
	if e.Err = t.fillUp(m, p, false); e.Err == nil && p.route.topics != nil {
		e.NewTopic, e.Err = p.route.wouldMake(m.Record.Topic)
	}
	return e
}

// wouldMake reports whether name is a Kafka topic that r has not seen, and whether it may not have it.
func (r *route) wouldMake(name string) (bool, error) {
	r.topics.mu.RLock()
	defer r.topics.mu.RUnlock()
	if _, known := r.topics.names[name]; known {
		return false, nil
	}
	if len(r.topics.names) >= r.config.MaxTopics {
		return true, linkspan.ErrTooManyTopics
	}
	return true, nil
}

// ExplainDown explains what becomes of m.Record, with m.Payload. Nothing is counted or changed but the answer's Message.
func (t *Table) ExplainDown(m *linkspan.Message) Explanation {
	e := Explanation{Message: m.Clone()}
	m = e.Message
	p := t.planDown(m.Record.Topic)
	for _, r := range t.routes {
		if r == p.route {
			break
		}
		why := "it takes messages of devices, not records"
		if r.down {
			why = r.pattern.why(m.Record.Topic)
		}
		e.Steps = append(e.Steps, r.step(why))
	}
	if p.route == nil {
		e.Err = linkspan.ErrNoRoute
		return e
	}
	e.Steps = append(e.Steps, p.route.step(""))
	e.Route = p.route.name
	leftOut, err := t.fillDown(m, p)
	if e.HeadersLeftOut, e.Err = int(leftOut), err; err != nil {
		return e
	}
	for _, name := range p.route.listeners {
		e.Ways = append(e.Ways, Way{Endpoint: name})
	}
	for _, name := range p.route.clients {
		e.Ways = append(e.Ways, Way{name, true, p.route.located, t.returns(m, name)})
	}
	if p.route.located {
		where := p.route.place(m)
		e.Located = &where
	}
	return e
}

func (r *route) step(why string) Step {
	return Step{Route: r.name, From: r.config.From, To: r.config.To, Why: why}
}

// whyNotUp says why r does not take m.
func (r *route) whyNotUp(m *linkspan.Message) string {
	switch {
	case r.down:
		return "it takes records of Kafka, not messages of devices"
	case !slices.Contains(r.endpoints, m.Endpoint):
		return fmt.Sprintf("it takes messages of %s, not of %s", strings.Join(r.endpoints, ", "), m.Endpoint)
	}
	return r.filter.why(m.Topic)
}
