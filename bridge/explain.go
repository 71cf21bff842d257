package bridge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp"
	"github.com/linkspan/linkspan/mqtt/packet"
	"github.com/linkspan/linkspan/route"
	"github.com/linkspan/linkspan/spool"
)

// A Question is a message that one wants to see routed.
type Question struct {
	Down     bool   // it is a record of Kafka, not a message of a device
	AMQP     bool   // it is a message of an AMQP client
	Topic    string // of MQTT, or of Kafka; the address of AMQP
	Payload  string
	Headers  [][2]string // of the record; user properties of the message
	Key      *string     // of the record, or that an AMQP client asks for; nil: none
	Endpoint string      // where the message comes in; "": at the first by name that speaks the protocol
	Client   string      // identifier of the device
	User     string      // its user name; "": none
	QoS      byte        // of the message
	Retain   bool        // of the message
}

// Explain tells which route of cfg takes a message, why, and what comes out on the other side.
func Explain(cfg Config, q Question) (string, error) {
	table, err := cfg.table(nil)
	if err != nil {
		return "", located(cfg.origin, err)
	}
	if q.QoS > 2 {
		return "", fmt.Errorf("there is no QoS %d; 0, 1 or 2", q.QoS)
	}
	if err := q.comesInBy(&cfg); err != nil {
		return "", err
	}
	dialed := cfg.Endpoints[q.Endpoint].dials()
	if dialed {
		q.Client, q.User = "", "" // brokers do not tell who published
	}
	m := &linkspan.Message{
		Topic: q.Topic, Payload: []byte(q.Payload), QoS: q.QoS, Retain: q.Retain,
		Endpoint: q.Endpoint, Client: q.Client, Username: q.User, Received: time.Now(),
	}
	a := answer{deadLetter: cfg.DeadLetter.Topic, lanes: cfg.lanes(table)}
	if q.Down {
		m.Topic, m.QoS, m.Client = "", 0, ""
		m.Record = linkspan.Record{Topic: q.Topic, Timestamp: m.Received}
		if q.Key != nil {
			m.Record.Key = []byte(*q.Key)
		}
		for _, h := range q.Headers {
			m.Record.Headers = append(m.Record.Headers, linkspan.Header{Key: h[0], Value: []byte(h[1])})
		}
		a.steps(table.ExplainDown(m))
		return a.packet(), nil
	}
	for _, h := range q.Headers {
		m.UserProperties = append(m.UserProperties, linkspan.Property{Key: h[0], Value: h[1]})
	}
	if q.AMQP {
		return a.address(q, m, table, dialed), nil
	}
	if err := packet.ValidTopicName(q.Topic); err != nil {
		return "", fmt.Errorf("topic %q: %w; nobody can publish to it", q.Topic, err)
	}
	a.steps(table.ExplainUp(m))
	return a.record(dialed), nil
}

// comesInBy fills in the endpoint, and with it the protocol.
func (q *Question) comesInBy(cfg *Config) error {
	e, ok := cfg.Endpoints[q.Endpoint]
	switch {
	case !ok && q.Endpoint != "":
		return fmt.Errorf("there is no endpoint %s (%s)", q.Endpoint, strings.Join(slices.Sorted(maps.Keys(cfg.Endpoints)), ", "))
	case q.Endpoint == "":
		speaks := func(e Endpoint) bool { return e.amqp() == q.AMQP }
		names := cfg.endpoints(speaks)
		if len(names) == 0 && q.AMQP {
			return errors.New("no endpoint speaks AMQP; add one such as listen: amqp://:5672")
		}
		if len(names) == 0 { // all speak AMQP
			names = cfg.endpoints(Endpoint.amqp)
		}
		q.Endpoint = names[0]
	case q.AMQP && !e.amqp():
		return fmt.Errorf("endpoint %s does not speak AMQP (%s)", q.Endpoint, strings.Join(cfg.endpoints(Endpoint.amqp), ", "))
	}
	q.AMQP = cfg.Endpoints[q.Endpoint].amqp() && !q.Down
	return nil
}

// An answer is the text of an explanation.
type answer struct {
	b          strings.Builder
	e          route.Explanation
	deadLetter string // topic
	amqp       bool   // the message comes from an AMQP client
	lanes      []spool.Lane
}

// address tells what becomes of a message that is sent to an AMQP address, and what a receiver of that address gets.
func (a *answer) address(q Question, m *linkspan.Message, table *route.Table, dialed bool) string {
	a.amqp = true
	if !dialed {
		fmt.Fprintf(&a.b, "received from there: %s\n\nsent there:\n", amqp.Explain(q.Topic, table.Live))
		var err error
		if m.Topic, err = amqp.TargetTopic(q.Topic); err != nil {
			fmt.Fprintf(&a.b, "refused to the sender: %v\n", err)
			return a.b.String()
		}
	}
	m.Record.Partition = linkspan.AnyPartition
	if q.Key != nil {
		m.Record.Key = []byte(*q.Key)
	}
	a.steps(table.ExplainUp(m))
	return a.record(dialed)
}

// steps tells which routes were asked.
func (a *answer) steps(e route.Explanation) {
	a.e = e
	w := tabwriter.NewWriter(&a.b, 0, 0, 2, ' ', 0)
	for _, s := range e.Steps {
		verdict := "takes it"
		if s.Why != "" {
			verdict = "no: " + s.Why
		}
		fmt.Fprintf(w, "%s\t%s → %s\t%s\n", s.Route, s.From, s.To, verdict)
	}
	if e.Default {
		fmt.Fprintf(w, "%s\tanything else\ttakes it\n", e.Route)
	}
	w.Flush()
}

// line adds one line of what comes out.
func (a *answer) line(name, value string) { fmt.Fprintf(&a.b, "  %-16s %s\n", name, value) }

// record tells what becomes of a message on the way up. dialed: it came out of a broker that the endpoint dials.
func (a *answer) record(dialed bool) string {
	who, mute := "device", "MQTT 3, QoS 0"
	if a.amqp {
		who, mute = "sender", "it has settled its message"
	}
	switch {
	case a.e.Err != nil && dialed:
		fmt.Fprintf(&a.b, "\ngoes to the dead letter topic %s: %v\n", a.deadLetter, a.e.Err)
		return a.b.String()
	case a.e.Err != nil:
		fmt.Fprintf(&a.b, "\nrefused to the %s: %v\n", who, a.e.Err)
		if !errors.Is(a.e.Err, linkspan.ErrNoRoute) {
			fmt.Fprintf(&a.b, "one that cannot be told (%s) has it put into the dead letter topic %s\n", mute, a.deadLetter)
		}
		return a.b.String()
	case a.e.Skipped:
		a.b.WriteString("\nleft alone: the broker had retained it, and the route skips such\n")
		return a.b.String()
	}
	r := &a.e.Message.Record
	a.b.WriteString("\nKafka record\n")
	topic := r.Topic
	if a.e.NewTopic {
		topic += "  (created if it is not there, with kafka.topics.create)"
	}
	a.line("topic", topic)
	switch {
	case r.Partition != linkspan.AnyPartition:
		a.line("partition", strconv.Itoa(int(r.Partition)))
	case r.Key != nil:
		a.line("partition", "by the key")
	default:
		a.line("partition", "any")
	}
	if r.Key != nil {
		a.line("key", text(r.Key))
	}
	for _, h := range r.Headers {
		a.line("header", h.Key+": "+text(h.Value))
	}
	a.line("value", text(a.e.Message.Payload))
	switch m := a.e.Message; {
	case m.Device != "" && m.Left:
		a.line("device", m.Device+", which has left "+m.Endpoint)
	case m.Device != "":
		a.line("device", m.Device+", which is at "+m.Endpoint)
	}
	a.custody()
	return a.b.String()
}

// custody tells when the message is acknowledged.
func (a *answer) custody() {
	for _, l := range a.lanes {
		if l.Name != a.e.Route {
			continue
		}
		acked, full := describeCustody(l.Ack, l.Full)
		a.line("acknowledged", acked)
		if full != "" {
			a.line("spool full", full)
		}
	}
}

func (a *answer) packet() string {
	switch {
	case a.e.Route == "":
		a.b.WriteString("\nno route takes it; it is left alone\n")
		return a.b.String()
	case a.e.Err != nil:
		fmt.Fprintf(&a.b, "\nleft alone and counted: %v\n", a.e.Err)
		return a.b.String()
	}
	m := a.e.Message
	a.b.WriteString("\nMQTT message\n")
	a.line("topic", m.Topic)
	a.line("qos", fmt.Sprintf("%d, or what the subscription asks for if that is less", m.QoS))
	a.line("retain", strconv.FormatBool(m.Retain))
	for _, w := range a.e.Ways {
		a.line("goes to", a.way(w))
	}
	if m.ContentType != "" {
		a.line("content type", m.ContentType)
	}
	if m.ResponseTopic != "" {
		a.line("response topic", m.ResponseTopic)
	}
	if m.CorrelationData != nil {
		a.line("correlation data", text(m.CorrelationData))
	}
	if !m.Expires.IsZero() {
		a.line("expires in", time.Until(m.Expires).Round(time.Second).String())
	}
	for _, p := range m.UserProperties {
		a.line("user property", p.Key+": "+p.Value)
	}
	if a.e.HeadersLeftOut > 0 {
		a.line("left out", fmt.Sprintf("%d headers that MQTT has no form for", a.e.HeadersLeftOut))
	}
	a.line("payload", text(m.Payload))
	return a.b.String()
}

// way tells how a record gets to one endpoint.
func (a *answer) way(w route.Way) string {
	switch {
	case !w.Client:
		return "subscribers on " + w.Endpoint
	case w.Looped:
		return "the broker of " + w.Endpoint + "? no: it came from there, and would come up again"
	case !w.Located:
		return "the broker of " + w.Endpoint
	}
	unknown := map[route.Unknown]string{
		route.UnknownPark: "parked", route.UnknownFlood: "sent there, too", route.UnknownDeadLetter: "sent to " + a.deadLetter,
	}
	return fmt.Sprintf("the broker of %s, if device %q is there; if nobody knows where it is: %s", w.Endpoint, a.e.Located.Device, unknown[a.e.Located.Unknown])
}

// text shows bytes as they are if they can be read, else as a Go string.
func text(b []byte) string {
	if q := strconv.Quote(string(b)); q[1:len(q)-1] != string(b) {
		return q
	}
	return string(b)
}
