package harness

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// A Driver leads a client library of another language, of MQTT or of AMQP: a program that takes commands and tells events, each one line
// written as a URL's query. One program holds many connections.
type Driver struct {
	*Process

	write sync.Mutex // apart from mu: events must go on while the program does not read
	stdin io.WriteCloser

	mu    sync.Mutex
	conns map[string]eventTaker
	next  int
}

// An eventTaker is a connection of a Driver, to which its events go.
type eventTaker interface {
	take(event url.Values)
	fail(err error) // no more events come
}

// driven is one MQTT connection of a Driver. One call of a kind is under way at a time.
type driven struct {
	driver *Driver
	name   string
	ask    sync.Mutex
	answer chan url.Values
	queue  *queue[Message]
}

// NewDriver starts the program.
func NewDriver(name string, cmd *exec.Cmd, log string) (*Driver, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = w
	p, err := Start(name, cmd, log)
	_ = w.Close() // the child has its own
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	d := &Driver{Process: p, stdin: stdin, conns: map[string]eventTaker{}}
	go d.listen(r)
	return d, nil
}

// listen hands out events until the program ends.
func (d *Driver) listen(r io.ReadCloser) {
	defer r.Close()
	in := bufio.NewReaderSize(r, 1<<16)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			for _, c := range d.conns {
				c.fail(fmt.Errorf("%s ended:\n%s", d.Name, d.Tail(2000)))
			}
			return
		}
		event, err := url.ParseQuery(strings.TrimSpace(line))
		d.mu.Lock()
		c := d.conns[event.Get("conn")]
		d.mu.Unlock()
		if err != nil || c == nil {
			continue // noise; what it stands for is missed by whoever waits for it
		}
		c.take(event)
	}
}

// register gives a connection its name.
func (d *Driver) register(c eventTaker) (name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next++
	name = strconv.Itoa(d.next)
	d.conns[name] = c
	return name
}

// send sends a command for the connection of that name.
func (d *Driver) send(conn, op string, q url.Values) error {
	q.Set("conn", conn)
	q.Set("op", op)
	d.write.Lock()
	defer d.write.Unlock()
	if _, err := io.WriteString(d.stdin, q.Encode()+"\n"); err != nil {
		return fmt.Errorf("%s has ended: %w\n%s", d.Name, err, d.Tail(2000))
	}
	return nil
}

// Connect opens an MQTT connection.
func (d *Driver) Connect(ctx context.Context, o Options) (Device, error) {
	c := &driven{driver: d, answer: make(chan url.Values, 1), queue: newQueue[Message]()}
	c.name = d.register(c)
	q := url.Values{}
	if o.Will != nil {
		q = formatMessage(*o.Will)
		q.Set("willTopic", o.Will.Topic)
	}
	q.Set("url", o.URL)
	q.Set("client", o.Client)
	q.Set("version", strconv.Itoa(o.Version))
	if o.CA != "" {
		q.Set("ca", o.CA)
	}
	if o.AutoAlias {
		q.Set("autoAlias", "1")
	}
	reason, err := c.call(ctx, "connect", "connected", q)
	if err == nil && reason != "0" {
		err = fmt.Errorf("%s: connection refused with %s", d.Name, reason)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// call sends a command and waits for its event.
func (c *driven) call(ctx context.Context, op, event string, q url.Values) (reason string, err error) {
	c.ask.Lock()
	defer c.ask.Unlock()
	select {
	case <-c.answer: // an error from before
	default:
	}
	if err := c.send(op, q); err != nil {
		return "", err
	}
	select {
	case answer := <-c.answer:
		if got := answer.Get("event"); got != event {
			return "", fmt.Errorf("%s: %s: %s: %s", c.driver.Name, op, got, answer.Get("reason"))
		}
		return answer.Get("reason"), nil
	case <-c.queue.failed:
		return "", fmt.Errorf("%s: %w", op, c.queue.err)
	case <-ctx.Done():
		return "", fmt.Errorf("%s: %s: %w\n%s", c.driver.Name, op, ctx.Err(), c.driver.Tail(2000))
	}
}

func (c *driven) send(op string, q url.Values) error { return c.driver.send(c.name, op, q) }

func (c *driven) take(event url.Values) {
	switch event.Get("event") {
	case "message":
		c.queue.put(parseMessage(event))
	case "closed":
		c.fail(fmt.Errorf("%s: connection closed: %s", c.driver.Name, event.Get("reason")))
	default:
		select {
		case c.answer <- event:
		default: // an error that nobody asked for; the connection's end follows
		}
	}
}

func (c *driven) fail(err error) { c.queue.fail(err) }

func (c *driven) Subscribe(ctx context.Context, s Subscription) error {
	q := url.Values{"filter": {s.Filter}, "qos": {strconv.Itoa(int(s.QoS))}, "retainHandling": {strconv.Itoa(int(s.RetainHandling))}}
	if s.NoLocal {
		q.Set("noLocal", "1")
	}
	if s.RetainAsPublished {
		q.Set("retainAsPublished", "1")
	}
	if s.ID != 0 {
		q.Set("id", strconv.Itoa(s.ID))
	}
	granted, err := c.call(ctx, "subscribe", "subscribed", q)
	if err != nil {
		return err
	}
	return checkGranted(s, granted)
}

func (c *driven) Publish(ctx context.Context, m Message) error {
	q := formatMessage(m)
	q.Set("topic", m.Topic)
	reason, err := c.call(ctx, "publish", "published", q)
	if err == nil && reason != "0" {
		err = fmt.Errorf("%s: publish to %s refused with %s", c.driver.Name, m.Topic, reason)
	}
	return err
}

func (c *driven) Next(ctx context.Context) (Message, error) { return c.queue.get(ctx) }

func (c *driven) Close() error { return c.send("disconnect", url.Values{}) }

func formatMessage(m Message) url.Values {
	q := url.Values{
		"payload": {base64.RawURLEncoding.EncodeToString(m.Payload)},
		"qos":     {strconv.Itoa(int(m.QoS))},
	}
	set := func(name, value string, there bool) {
		if there {
			q.Set(name, value)
		}
	}
	set("retain", "1", m.Retain)
	set("format", strconv.Itoa(m.Format-1), m.Format > 0)
	set("expiry", strconv.Itoa(m.Expiry), m.Expiry > 0)
	set("contentType", m.ContentType, m.ContentType != "")
	set("responseTopic", m.ResponseTopic, m.ResponseTopic != "")
	set("correlation", base64.RawURLEncoding.EncodeToString(m.Correlation), m.Correlation != nil)
	set("alias", strconv.Itoa(m.Alias), m.Alias > 0)
	for _, p := range m.User {
		q.Add("userKey", p.Key)
		q.Add("userValue", p.Value)
	}
	return q
}

func parseMessage(q url.Values) Message {
	number := func(name string) int {
		n, _ := strconv.Atoi(q.Get(name)) // absent: 0
		return n
	}
	m := Message{
		Topic: q.Get("topic"), QoS: byte(number("qos")), Retain: number("retain") == 1,
		Expiry: number("expiry"), ContentType: q.Get("contentType"), ResponseTopic: q.Get("responseTopic"),
	}
	m.Payload, _ = base64.RawURLEncoding.DecodeString(q.Get("payload")) // a broken payload will not be the one expected
	if q.Has("format") {
		m.Format = number("format") + 1
	}
	if q.Has("correlation") {
		m.Correlation, _ = base64.RawURLEncoding.DecodeString(q.Get("correlation"))
	}
	for i, k := range q["userKey"] {
		m.User = append(m.User, Pair{k, q["userValue"][i]})
	}
	for _, id := range q["subscriptionID"] {
		n, _ := strconv.Atoi(id)
		m.SubscriptionIDs = append(m.SubscriptionIDs, n)
	}
	return m
}
