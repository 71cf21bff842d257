package harness

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// A Publisher is a device that publishes numbered messages to one topic, many at a time, and repeats over a new connection
// what was not acknowledged, in order: what a well-made device does. With QoS 0 a message counts as done when it is written.
type Publisher struct {
	Addr      func() string // asked before each connection
	Client    string
	Topic     string
	Version   byte // 4, or 5; 0: 4
	QoS       byte
	Count     uint64          // 0: until Enough
	Enough    <-chan struct{} // closed: what was not sent by now is not sent; may be nil
	Window    int             // messages in flight; MQTT 5: no more than the other side takes
	Pace      time.Duration   // between messages; 0: as fast as acknowledgements come
	Size      int             // of the payload; 0: 100 bytes
	KeepAlive time.Duration   // pinged once a second, whatever it is; 0: 60 s
	Ledger    *Ledger

	// Released counts messages of QoS 2 as acknowledged with PUBCOMP, not PUBREC. Most brokers hand on a message only when
	// it is released, and forget it with the connection of a clean session.
	Released bool

	// Refusable lets the other side refuse messages with a reason code, which are then not sent again.
	Refusable bool

	sent        atomic.Uint64 // numbers up to this one
	acked       atomic.Uint64
	refused     atomic.Uint64
	connections atomic.Int64
	pongs       atomic.Int64
}

// Acked returns how many are acknowledged, or refused.
func (p *Publisher) Acked() uint64 { return p.acked.Load() }

// Refused returns how many were refused.
func (p *Publisher) Refused() uint64 { return p.refused.Load() }

// Connections returns how often it was accepted by the other side: 1 as long as its first connection lives.
func (p *Publisher) Connections() int64 { return p.connections.Load() }

// Pongs returns how many of its pings were answered.
func (p *Publisher) Pongs() int64 { return p.pongs.Load() }

// last returns the number of the last message to send.
func (p *Publisher) last() uint64 { return lastOf(p.Enough, p.Count, &p.sent) }

// lastOf returns count, 0 for none, or what was sent once enough is closed.
func lastOf(enough <-chan struct{}, count uint64, sent *atomic.Uint64) uint64 {
	select {
	case <-enough:
		return sent.Load()
	default:
	}
	if count == 0 {
		return math.MaxUint64
	}
	return count
}

// Run publishes until all messages are acknowledged, then disconnects. An acknowledgement that breaks the protocol's order
// is an error [MQTT-4.6.0-2].
func (p *Publisher) Run(ctx context.Context) error {
	for p.Acked() < p.last() {
		err := p.connection(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, errProtocol) {
			return err
		}
		select { // the other side may be down: no busy loop
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %d of %d acked: %w", p.Client, p.Acked(), p.sent.Load(), err)
		}
	}
	return nil
}

var errProtocol = errors.New("protocol broken")

// connection runs one connection: nil when all is acknowledged.
func (p *Publisher) connection(ctx context.Context) error {
	keepAlive := p.KeepAlive
	if keepAlive == 0 {
		keepAlive = time.Minute
	}
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	w, err := DialWire(dial, p.Addr(), p.Client, max(p.Version, 4), keepAlive)
	cancel()
	if err != nil {
		return err
	}
	defer w.Close()
	defer context.AfterFunc(ctx, func() { _ = w.Close() })() // who is held back is stuck in a write
	p.connections.Add(1)

	incoming, failed, gone := make(chan Packet, p.Window), make(chan error, 1), make(chan struct{})
	defer close(gone)
	go func() {
		for {
			packet, err := w.Read()
			if err != nil {
				failed <- err
				return
			}
			select {
			case incoming <- packet:
			case <-gone:
				return
			}
		}
	}()
	return p.converse(ctx, w, incoming, failed)
}

// converse publishes, and reads the answers.
func (p *Publisher) converse(ctx context.Context, w *Wire, incoming <-chan Packet, failed <-chan error) error {
	ping := time.NewTicker(time.Second)
	defer ping.Stop()
	var pace <-chan time.Time
	if p.Pace > 0 {
		ticker := time.NewTicker(p.Pace)
		defer ticker.Stop()
		pace = ticker.C
	}
	window, enough := uint64(min(p.Window, w.ReceiveMaximum)), p.Enough
	next, credit, releasing := p.Acked()+1, 0, 0
	for p.Acked() < p.last() || releasing > 0 {
		for next <= p.last() && next <= p.Acked()+window && (pace == nil || credit > 0) {
			p.publish(w, next)
			next++
			credit--
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if p.QoS == 0 {
			p.acked.Store(next - 1)
		}
		select {
		case packet := <-incoming:
			if err := p.answer(w, packet, &releasing); err != nil {
				return err
			}
		case <-pace:
			credit = 1
		case <-ping.C:
			w.Ping()
		case <-enough:
			enough = nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%s: %d of %d acked: %w", p.Client, p.Acked(), p.sent.Load(), ctx.Err())
		}
	}
	w.Disconnect()
	if err := w.Flush(); err != nil || p.QoS > 0 {
		return err
	}
	for { // until the other side has read all, and closes [MQTT-3.14.4-3]
		select {
		case <-incoming: // answers to pings
		case <-failed:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%s: the other side does not close: %w", p.Client, ctx.Err())
		}
	}
}

func (p *Publisher) publish(w *Wire, n uint64) {
	p.Ledger.Sent(p.Client, n)
	p.sent.Store(max(n, p.sent.Load()))
	w.Publish(p.Topic, p.QoS, packetID(n), false, Payload(p.Client, n, max(p.Size, 100)))
}

// answer handles one packet. With QoS 2 the other side has custody from its PUBREC on [MQTT-4.3.3].
func (p *Publisher) answer(w *Wire, packet Packet, releasing *int) error {
	switch {
	case packet.Type == typePuback && p.QoS == 1, packet.Type == typePubrec && p.QoS == 2:
		if packet.Reason >= 0x80 {
			return p.refuse(packet)
		}
		if p.QoS == 2 {
			*releasing++
			w.Ack(typePubrel, packet.ID)
			if p.Released {
				return nil
			}
		}
		return p.done(packet, true)
	case packet.Type == typePubcomp && p.QoS == 2:
		*releasing--
		if p.Released {
			return p.done(packet, true)
		}
	case packet.Type == typePingresp:
		p.pongs.Add(1)
	case packet.Type == typeDisconnect && p.Version == 5:
		return fmt.Errorf("%s: the other side disconnects: %#x", p.Client, packet.Reason)
	default:
		return fmt.Errorf("%w: %s: unexpected packet %+v", errProtocol, p.Client, packet)
	}
	return nil
}

// refuse notes that the next message is refused.
func (p *Publisher) refuse(packet Packet) error {
	if !p.Refusable {
		return fmt.Errorf("%w: %s: packet %d refused: %#x", errProtocol, p.Client, packet.ID, packet.Reason)
	}
	p.refused.Add(1)
	return p.done(packet, false)
}

// done notes that the next message is done with, and whether it was acknowledged.
func (p *Publisher) done(packet Packet, acked bool) error {
	n := p.Acked() + 1
	if packet.ID != packetID(n) {
		return fmt.Errorf("%w: %s: packet %d acked before packet %d", errProtocol, p.Client, packet.ID, packetID(n))
	}
	if acked {
		p.Ledger.Acked(p.Client, n)
	}
	p.acked.Store(n)
	return nil
}

// packetID returns the identifier of message n: 1 to 65535, round and round.
func packetID(n uint64) uint16 { return uint16((n-1)%65535) + 1 }
