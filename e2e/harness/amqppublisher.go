package harness

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/Azure/go-amqp"
)

// An AMQPPublisher sends numbered messages over one link of go-amqp, many at a time, and repeats over a new connection what was not
// accepted, in order. Its name is the key of the records.
type AMQPPublisher struct {
	URL     func() string // asked before each connection
	Name    string
	Address string
	Count   uint64          // 0: until Enough
	Enough  <-chan struct{} // closed: what was not sent by now is not sent; may be nil
	Window  int             // messages in flight
	Size    int             // of a message; 0: 100 bytes
	Pace    time.Duration   // between messages; 0: as fast as credit comes
	Ledger  *Ledger

	sent        atomic.Uint64 // numbers up to this one, or about to
	accepted    atomic.Uint64
	connections atomic.Int64
}

// Accepted returns how many are accepted.
func (p *AMQPPublisher) Accepted() uint64 { return p.accepted.Load() }

// Unsettled returns how many it has sent, or is about to send, that are not accepted.
func (p *AMQPPublisher) Unsettled() uint64 {
	accepted := p.Accepted() // first: it never is ahead
	return p.sent.Load() - accepted
}

// last returns the number of the last message to send.
func (p *AMQPPublisher) last() uint64 { return lastOf(p.Enough, p.Count, &p.sent) }

// Connections returns how often it has connected.
func (p *AMQPPublisher) Connections() int64 { return p.connections.Load() }

// Run sends until all messages are accepted.
func (p *AMQPPublisher) Run(ctx context.Context) error {
	for p.Accepted() < p.last() {
		err := p.connection(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %d of %d accepted: %w", p.Name, p.Accepted(), p.sent.Load(), err)
		}
		if err != nil {
			select { // the other side may be down: no busy loop
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func (p *AMQPPublisher) connection(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	peer, err := DialGoAMQP(dial, PeerOptions{URL: p.URL(), Container: p.Name})
	if err != nil {
		return err
	}
	defer peer.Drop()
	link, err := peer.Attach(dial, LinkOptions{Address: p.Address})
	if err != nil {
		return err
	}
	p.connections.Add(1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	sent := make(chan amqp.SendReceipt, p.Window)
	failed := make(chan error, 1)
	go func() {
		defer close(sent)
		failed <- p.send(ctx, link.(*goLink).sender, sent)
	}()
	for receipt := range sent {
		state, err := receipt.Wait(ctx)
		if err != nil {
			return err
		}
		if o := goOutcome(state); o.State != Accepted { // again, with all that came after it
			return fmt.Errorf("%s: %+v", p.Name, o)
		}
		p.Ledger.Acked(p.Name, p.accepted.Add(1))
	}
	return <-failed
}

// send sends what is not accepted, and hands on the receipts.
func (p *AMQPPublisher) send(ctx context.Context, sender *amqp.Sender, sent chan<- amqp.SendReceipt) error {
	for n := p.Accepted() + 1; n <= p.last(); n++ {
		m := amqp.NewMessage(Payload(p.Name, n, max(p.Size, 100)))
		m.Annotations = amqp.Annotations{"x-opt-partition-key": p.Name}
		p.Ledger.Sent(p.Name, n)
		p.sent.Store(max(n, p.sent.Load()))
		receipt, err := sender.SendWithReceipt(ctx, m, nil)
		if err != nil {
			return err
		}
		select {
		case sent <- receipt:
		case <-ctx.Done():
			return ctx.Err()
		}
		if p.Pace > 0 {
			select {
			case <-time.After(p.Pace):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
