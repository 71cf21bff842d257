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
	// HeadersLeftOut is how many of the record's headers MQTT has no form for.
	HeadersLeftOut int
	// Message is what comes out: its Record on the way up, the rest on the way down.
	Message *linkspan.Message
}

// A Step is one route that was asked.
type Step struct {
	Route, From, To string
	// Why it does not take the message, "" where it does.
	Why string
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
	e.HeadersLeftOut, e.Err = int(leftOut), err
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
