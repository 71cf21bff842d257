package sample

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/mqtt/client"
	"github.com/linkspan/linkspan/mqtt/packet"
)

// A Subscription is what to subscribe to.
type Subscription struct {
	Topics []string // filters
	Count  int      // ends after that many messages; 0: when ctx ends
	QoS    byte
	// Format is what is printed for a message: {topic}, {payload}, {qos}, {retain} (true or false) and {n}, the number of the
	// message from 1, stand for these. Other braces are text.
	Format string
}

// Subscribe prints messages, a line each, until Count is reached or ctx ends, and returns how many there were. A message is
// acknowledged when it is printed. The error is that of out.
func Subscribe(ctx context.Context, conn Connection, s Subscription, out io.Writer, log *slog.Logger) (int, error) {
	if len(s.Topics) == 0 {
		return 0, errors.New("topic: name one at least")
	}
	for _, f := range s.Topics {
		if err := packet.ValidFilter(f); err != nil {
			return 0, fmt.Errorf("topic %q: %w", f, err)
		}
	}
	c, err := newClient(&conn, s.Topics, func(cfg *client.Config) { cfg.QoS = s.QoS }, log)
	if err != nil {
		return 0, err
	}
	p := printer{Subscription: s, out: out, ended: make(chan struct{})}
	err = connected(ctx, c, &p, func(ctx context.Context) error {
		select {
		case <-p.ended:
		case <-ctx.Done():
		}
		return nil
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.printed, errors.Join(p.err, err)
}

// A printer is the sink of a subscriber.
type printer struct {
	Subscription
	out   io.Writer
	ended chan struct{} // closed when nothing more is printed

	mu      sync.Mutex
	printed int
	err     error
}

// Send prints a message.
func (p *printer) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	done(p.print(m))
}

func (p *printer) print(m *linkspan.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.Count > 0 && p.printed == p.Count {
		return linkspan.ErrClosed // it stays with the broker
	}
	line := strings.NewReplacer("{topic}", m.Topic, "{payload}", string(m.Payload), "{qos}", strconv.Itoa(int(m.QoS)),
		"{retain}", strconv.FormatBool(m.Retain), "{n}", strconv.Itoa(p.printed+1)).Replace(p.Format)
	if _, p.err = io.WriteString(p.out, line+"\n"); p.err != nil {
		close(p.ended)
		return p.err
	}
	p.printed++
	if p.printed == p.Count {
		close(p.ended)
	}
	return nil
}
