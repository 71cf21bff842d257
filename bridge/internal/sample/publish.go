package sample

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A Publication is what to publish.
type Publication struct {
	Topics   []string      // published to in turn
	Count    int           // messages in all; 0: until ctx ends
	Interval time.Duration // between two messages; 0: as fast as the broker acknowledges
	QoS      byte
	Retain   bool
	// Payload is a template: {n} is the number of the message, from 1, {topic} its topic, {client} the client identifier and
	// {time} the time, as RFC 3339 has it. Other braces are text.
	Payload string
}

// A Report says what became of a [Publication].
type Report struct {
	Sent    int           // handed to the client
	Acked   int           // acknowledged by the broker; with QoS 0, written to it
	Elapsed time.Duration // from the first message to the last acknowledgement
}

func (p *Publication) validate() error {
	var errs []error
	if len(p.Topics) == 0 {
		errs = append(errs, errors.New("topic: name one at least"))
	}
	for _, t := range p.Topics {
		if err := packet.ValidTopicName(t); err != nil {
			errs = append(errs, fmt.Errorf("topic %q: %w", t, err))
		}
	}
	if p.Count < 0 || p.Interval < 0 {
		errs = append(errs, errors.New("count and interval must not be negative"))
	}
	if p.QoS > 2 {
		errs = append(errs, fmt.Errorf("there is no QoS %d; 0, 1 or 2", p.QoS))
	}
	return errors.Join(errs...)
}

// Publish publishes, and waits for the broker's acknowledgements. It connects again as often as it has to. The error is that
// of ctx where it ended before Count was reached, or what the first refused message was refused for.
func Publish(ctx context.Context, conn Connection, p Publication, log *slog.Logger) (Report, error) {
	if err := p.validate(); err != nil {
		return Report{}, err
	}
	window := 0
	c, err := newClient(&conn, nil, func(cfg *client.Config) { window = cfg.MaxInFlight }, log)
	if err != nil {
		return Report{}, err
	}
	run := publisher{Publication: p, client: c, id: conn.ClientID, slots: make(chan struct{}, window)}
	err = connected(ctx, c, linkspan.SinkFunc(refuse), run.publish)
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.report, err
}

type publisher struct {
	Publication
	client *client.Client
	id     string
	slots  chan struct{} // one for each message in flight

	mu      sync.Mutex
	report  Report
	refused error // the first
}

func (p *publisher) publish(ctx context.Context) error {
	var tick <-chan time.Time
	if p.Interval > 0 {
		ticker := time.NewTicker(p.Interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	start := time.Now()
	var err error
	for n := 1; err == nil && (p.Count == 0 || n <= p.Count); n++ {
		if n > 1 && tick != nil {
			err = wait(ctx, tick)
		}
		if err == nil {
			err = p.send(ctx, n)
		}
	}
	if e := p.settle(ctx); err == nil {
		err = e
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Elapsed = time.Since(start)
	if p.Count == 0 && ctx.Err() != nil {
		err = nil // that is how it ends
	}
	return errors.Join(err, p.refused)
}

// lastAcks is how long acknowledgements are waited for when the publisher is told to stop.
const lastAcks = 2 * time.Second

// settle waits for all that is in flight. When ctx ends it waits a little longer, where the broker is there to answer.
func (p *publisher) settle(ctx context.Context) error {
	taken := 0
	takeAll := func(ctx context.Context) bool {
		for taken < cap(p.slots) && p.take(ctx) == nil {
			taken++
		}
		return taken == cap(p.slots)
	}
	if takeAll(ctx) {
		return nil
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAcks)
	defer cancel()
	if p.client.Status().Connected && takeAll(last) {
		return nil
	}
	return context.Cause(ctx)
}

// send hands over message n when there is room for it.
func (p *publisher) send(ctx context.Context, n int) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	topic := p.Topics[(n-1)%len(p.Topics)]
	m := &linkspan.Message{Topic: topic, Payload: []byte(p.text(n, topic)), QoS: p.QoS, Retain: p.Retain}
	p.mu.Lock()
	p.report.Sent++
	p.mu.Unlock()
	p.client.Send(ctx, m, func(err error) {
		p.mu.Lock()
		if err == nil {
			p.report.Acked++
		} else if p.refused == nil {
			p.refused = fmt.Errorf("message %d to %s: %w", n, topic, err)
		}
		p.mu.Unlock()
		<-p.slots
	})
	return nil
}

// take waits for a slot.
func (p *publisher) take(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func wait(ctx context.Context, tick <-chan time.Time) error {
	select {
	case <-tick:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// text fills the template of the payload.
func (p *publisher) text(n int, topic string) string {
	return strings.NewReplacer("{n}", strconv.Itoa(n), "{topic}", topic, "{client}", p.id,
		"{time}", time.Now().Format(time.RFC3339Nano)).Replace(p.Payload)
}
