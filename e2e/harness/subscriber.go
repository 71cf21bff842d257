package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Subscriber is a device that takes numbered messages, and has a session that outlives its connections: it connects again
// whenever one breaks, and acknowledges what it has noted.
type Subscriber struct {
	Addr   func() string // asked before each connection
	Client string
	Filter string
	QoS    byte
	Ledger *Ledger

	once       sync.Once
	subscribed chan struct{}
	granted    sync.Once
}

// Subscribed is closed when the subscription was granted.
func (s *Subscriber) Subscribed() <-chan struct{} {
	s.once.Do(func() { s.subscribed = make(chan struct{}) })
	return s.subscribed
}

// Run takes messages until ctx ends, which is no error.
func (s *Subscriber) Run(ctx context.Context) error {
	for {
		err := s.connection(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errProtocol) {
			return err
		}
		select { // the other side may be down: no busy loop
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func (s *Subscriber) connection(ctx context.Context) error {
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	w, err := ResumeWire(dial, s.Addr(), s.Client, time.Hour)
	cancel()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() })
	defer stop()
	defer w.Close()
	w.Subscribe(1, s.Filter, s.QoS)
	for {
		if err := w.Flush(); err != nil {
			return err
		}
		p, err := w.Read()
		if err != nil {
			return err
		}
		if err := s.answer(w, p); err != nil {
			return fmt.Errorf("%w: %s: %v", errProtocol, s.Client, err)
		}
	}
}

// answer handles one packet. It has custody from its PUBACK or PUBREC on.
func (s *Subscriber) answer(w *Wire, p Packet) error {
	switch p.Type {
	case typeSuback:
		if p.Payload[0] != s.QoS {
			return fmt.Errorf("granted %d", p.Payload[0])
		}
		s.granted.Do(func() {
			s.Subscribed()
			close(s.subscribed)
		})
	case typePublish:
		device, n, err := ParsePayload(p.Payload)
		if err != nil {
			return err
		}
		s.Ledger.Arrived(device, n, 0)
		switch p.QoS {
		case 1:
			w.Puback(p.ID)
		case 2:
			w.Ack(typePubrec, p.ID)
		}
	case typePubrel:
		w.Ack(typePubcomp, p.ID)
	default:
		return fmt.Errorf("unexpected packet %+v", p)
	}
	return nil
}
