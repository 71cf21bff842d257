package harness

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
)

// ledPeer is one AMQP connection of a Driver.
type ledPeer struct {
	driver *Driver
	name   string
	opened chan struct{}
	gone   chan struct{} // the connection is

	mu    sync.Mutex
	links map[string]*ledLink
	next  int
	why   error // after gone
}

// ledLink is one link of a ledPeer.
type ledLink struct {
	peer     *ledPeer
	name     string // the driver's
	attached chan struct{}
	drained  chan struct{}
	detached chan struct{}
	refusal  *Refusal // after detached
	queue    *queue[*Delivery]

	mu       sync.Mutex
	receipts map[string]chan Outcome
	sent     map[string]chan []byte
	next     int
}

// Peer opens an AMQP connection.
func (d *Driver) Peer(ctx context.Context, o PeerOptions) (Peer, error) {
	p := &ledPeer{driver: d, opened: make(chan struct{}, 1), gone: make(chan struct{}), links: map[string]*ledLink{}}
	p.name = d.register(p)
	q := url.Values{"url": {o.URL}, "container": {o.Container}, "mechanism": {o.Mechanism}, "user": {o.User}, "password": {o.Password},
		"ca": {o.CA}, "cert": {o.Cert}, "key": {o.Key}}
	if o.Mechanism == "" {
		q.Set("mechanism", "ANONYMOUS")
	}
	if err := d.send(p.name, "connect", q); err != nil {
		return nil, err
	}
	select {
	case <-p.opened:
		return p, nil
	case <-p.gone:
		return nil, fmt.Errorf("%s: connect: %w", d.Name, p.why)
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: connect: %w\n%s", d.Name, ctx.Err(), d.Tail(2000))
	}
}

func (p *ledPeer) take(event url.Values) {
	p.mu.Lock()
	l := p.links[event.Get("link")]
	p.mu.Unlock()
	switch {
	case event.Get("event") == "opened":
		tell(p.opened)
	case event.Get("event") == "closed":
		p.fail(&Refusal{event.Get("condition"), event.Get("description")})
	case l != nil:
		l.take(event)
	}
}

// fail ends the connection and all links.
func (p *ledPeer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why != nil {
		return
	}
	p.why = err
	close(p.gone)
	for _, l := range p.links {
		l.end(&Refusal{Condition: "connection", Description: err.Error()})
	}
}

func (p *ledPeer) Attach(ctx context.Context, o LinkOptions) (Link, error) {
	l := &ledLink{peer: p, attached: make(chan struct{}, 1), drained: make(chan struct{}, 1), detached: make(chan struct{}),
		queue: newQueue[*Delivery](), receipts: map[string]chan Outcome{}, sent: map[string]chan []byte{}}
	p.mu.Lock()
	if p.why != nil {
		p.mu.Unlock()
		return nil, p.why
	}
	p.next++
	l.name = strconv.Itoa(p.next)
	p.links[l.name] = l
	p.mu.Unlock()
	q := url.Values{"role": {"sender"}, "name": {o.Name}}
	set := func(key, value string, there bool) {
		if there {
			q.Set(key, value)
		}
	}
	set("role", "receiver", o.Receiver)
	set("address", o.Address, o.Address != "")
	set("settled", "1", o.Settled)
	set("second", "1", o.Second)
	set("raw", "1", o.Raw)
	for _, f := range o.Filters {
		q.Add("filterName", f.Name)
		q.Add("filterType", f.Type)
		q.Add("filterValue", f.Value)
	}
	if err := l.send("attach", q); err != nil {
		return nil, err
	}
	select {
	case <-l.attached:
		return l, nil
	case <-l.detached:
		if l.refusal == nil {
			return nil, errGone
		}
		return nil, l.refusal
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: attach %s: %w\n%s", p.driver.Name, o.Address, ctx.Err(), p.driver.Tail(2000))
	}
}

func (p *ledPeer) Drop() { _ = p.driver.send(p.name, "drop", url.Values{}) }

func (p *ledPeer) Close(ctx context.Context) error {
	if err := p.driver.send(p.name, "close", url.Values{}); err != nil {
		return err
	}
	select {
	case <-p.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s: close: %w", p.driver.Name, ctx.Err())
	}
}

func (l *ledLink) send(op string, q url.Values) error {
	q.Set("link", l.name)
	return l.peer.driver.send(l.peer.name, op, q)
}

func (l *ledLink) take(event url.Values) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ref := event.Get("ref")
	payload, _ := base64.RawURLEncoding.DecodeString(event.Get("payload")) // a broken one will not be the one expected
	switch event.Get("event") {
	case "attached":
		tell(l.attached)
	case "detached":
		l.end(refusal(event))
	case "drained":
		tell(l.drained)
	case "sent":
		if sent := l.sent[ref]; sent != nil {
			sent <- payload
			delete(l.sent, ref)
		}
	case "outcome":
		if r := l.receipts[ref]; r != nil {
			r <- Outcome{State: event.Get("state"), Condition: event.Get("condition"), Description: event.Get("description")}
			delete(l.receipts, ref)
		}
	case "message":
		d := &Delivery{Payload: payload, Settled: event.Has("settled"), Raw: event.Has("raw"), ref: ref}
		if event.Has("tag") {
			d.Tag, _ = base64.RawURLEncoding.DecodeString(event.Get("tag"))
		}
		l.queue.put(d)
	}
}

// tell tells whoever waits now or later, and does not wait: the events of all connections come one after the other.
func tell(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// refusal returns the error of an event; nil: it has none.
func refusal(event url.Values) *Refusal {
	if event.Get("condition") == "" {
		return nil
	}
	return &Refusal{event.Get("condition"), event.Get("description")}
}

// end marks the link as detached.
func (l *ledLink) end(why *Refusal) {
	select {
	case <-l.detached:
		return
	default:
	}
	l.refusal = why
	close(l.detached)
	if why == nil {
		l.queue.fail(errGone)
		return
	}
	l.queue.fail(why)
}

func (l *ledLink) Send(ctx context.Context, payload []byte) (*Receipt, error) {
	outcome, sent := make(chan Outcome, 1), make(chan []byte, 1)
	l.mu.Lock()
	l.next++
	ref := strconv.Itoa(l.next)
	l.receipts[ref], l.sent[ref] = outcome, sent
	l.mu.Unlock()
	err := l.send("send", url.Values{"ref": {ref}, "payload": {base64.RawURLEncoding.EncodeToString(payload)}})
	if err != nil {
		return nil, err
	}
	wait := func(ctx context.Context) (o Outcome, err error) { return receive(ctx, l, outcome) }
	encoded, err := receive(ctx, l, sent)
	return &Receipt{Sent: encoded, Outcome: wait}, err
}

// receive waits for what the driver tells about a link.
func receive[T any](ctx context.Context, l *ledLink, from <-chan T) (v T, _ error) {
	select {
	case v = <-from:
		return v, nil
	default:
	}
	select {
	case v = <-from:
		return v, nil
	case <-l.detached:
		return v, errors.Join(errGone, l.err())
	case <-ctx.Done():
		return v, fmt.Errorf("%s: %w\n%s", l.peer.driver.Name, ctx.Err(), l.peer.driver.Tail(2000))
	}
}

// err is why the link was detached.
func (l *ledLink) err() error {
	if l.refusal == nil {
		return nil
	}
	return l.refusal
}

func (l *ledLink) Flow(ctx context.Context, credit int, drain bool) error {
	q := url.Values{"credit": {strconv.Itoa(credit)}}
	if drain {
		q.Set("drain", "1")
	}
	if err := l.send("flow", q); err != nil || !drain {
		return err
	}
	_, err := receive(ctx, l, l.drained)
	return err
}

func (l *ledLink) Next(ctx context.Context) (*Delivery, error) { return l.queue.get(ctx) }

func (l *ledLink) Settle(_ context.Context, d *Delivery, o Outcome) error {
	q := url.Values{"ref": {d.ref}, "state": {o.State}, "condition": {o.Condition}, "description": {o.Description}}
	if o.Failed {
		q.Set("failed", "1")
	}
	if o.Undeliverable {
		q.Set("undeliverable", "1")
	}
	return l.send("settle", q)
}

func (l *ledLink) Detach(ctx context.Context) error {
	if err := l.send("detach", url.Values{}); err != nil {
		return err
	}
	_, err := l.Detached(ctx)
	return err
}

func (l *ledLink) Detached(ctx context.Context) (*Refusal, error) {
	select {
	case <-l.detached:
		return l.refusal, nil
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("%s: not detached", l.peer.driver.Name), ctx.Err())
	}
}
