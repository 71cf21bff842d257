package amqptest

import (
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/engine/sasl"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/wire/wiretest"
)

// Mode is what a [Broker] does with the messages that are sent to it.
type Mode int

// The modes.
const (
	Accept  Mode = iota // store and accept
	Hold                // store, and accept when the mode changes to Accept
	Reject              // reject, with Broker.Rejection
	Release             // release
)

// A Broker is an AMQP 1.0 broker with queues in memory, which are there as soon as they are named. What a receiver has not settled when
// its link ends is there again, in its old place.
type Broker struct {
	t       testing.TB
	cfg     engine.Config
	addr    string
	running sync.WaitGroup
	killing sync.RWMutex // held while connections end: new ones wait

	mu        sync.Mutex
	ln        net.Listener // nil: it is stopped
	conns     map[*served]bool
	opened    int // connections that there have been
	queues    map[string]*queue
	mode      Mode
	rejection frame.Error
	credit    uint32
	refusals  map[string]*frame.Error
	attaches  []*frame.Attach
}

// NewBroker starts a broker on a loopback port. cfg says what it wants of its clients; the zero Config lets everybody in. It ends with the test.
func NewBroker(t testing.TB, cfg engine.Config) *Broker {
	t.Helper()
	if cfg.ContainerID == "" {
		cfg.ContainerID = "broker"
	}
	if cfg.Checker == nil {
		cfg.Checker = &sasl.Checker{Mechanisms: []string{sasl.Anonymous, sasl.Plain}, Anyone: true}
	}
	b := &Broker{t: t, cfg: cfg, addr: wiretest.Loopback(), conns: map[*served]bool{}, queues: map[string]*queue{}, credit: 100,
		rejection: frame.Error{Condition: frame.NotAllowed, Description: "no"}, refusals: map[string]*frame.Error{}}
	b.Start()
	t.Cleanup(func() {
		b.Stop()
		b.running.Wait()
	})
	return b
}

// Start listens again, on the port that it had.
func (b *Broker) Start() {
	b.t.Helper()
	ln, err := net.Listen("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	b.ln, b.addr = ln, ln.Addr().String()
	b.mu.Unlock()
	b.running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			b.running.Go(func() { b.Serve(nc) })
		}
	})
}

// Stop listens no more, and ends all connections without a word. Queues stay.
func (b *Broker) Stop() {
	b.mu.Lock()
	if b.ln != nil {
		_ = b.ln.Close()
		b.ln = nil
	}
	b.mu.Unlock()
	b.Kill()
}

// Kill ends all connections without a word, and returns when their links are gone.
func (b *Broker) Kill() {
	b.killing.Lock() // who is back at once does not get ahead of what was there before
	defer b.killing.Unlock()
	b.mu.Lock()
	var all []*served
	for s := range b.conns {
		all = append(all, s)
	}
	b.mu.Unlock()
	for _, s := range all {
		_ = s.nc.Close()
		<-s.ended
	}
}

// CloseAll ends all connections in order, with that error.
func (b *Broker) CloseAll(err *frame.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.conns {
		s.engine.Close(err)
	}
}

// DetachAll ends all links from and to an address, with that error.
func (b *Broker) DetachAll(address string, err *frame.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queue(address)
	for _, l := range slices.Concat(q.outlets, q.inlets) {
		l.link.Detach(true, err)
	}
}

// Addr returns HOST:PORT.
func (b *Broker) Addr() string { return b.addr }

// URL returns the address without TLS.
func (b *Broker) URL() string { return "amqp://" + b.addr }

// Opened returns how many connections there have been, and how many there are.
func (b *Broker) Opened() (all, now int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.opened, len(b.conns)
}

// Attaches returns what clients have asked for, in order.
func (b *Broker) Attaches() []*frame.Attach {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.attaches)
}

// Set changes the mode. Messages that were held are accepted with Accept.
func (b *Broker) Set(m Mode) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mode = m
	if m != Accept {
		return
	}
	for _, q := range b.queues {
		for _, d := range q.unanswered {
			l := d.Link()
			d.Settle(frame.State{Kind: frame.Accepted})
			l.Grant(1)
		}
		q.unanswered = nil
	}
}

// Rejection is what Reject says.
func (b *Broker) Rejection(err frame.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rejection = err
}

// Credit is what senders get from their attach on, and again as messages are settled. Default 100.
func (b *Broker) Credit(n uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.credit = n
}

// Grant gives senders to an address credit.
func (b *Broker) Grant(address string, n uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.queue(address).inlets {
		p.link.Grant(n)
	}
}

// Refuse has links from and to an address refused; nil: no more.
func (b *Broker) Refuse(address string, err *frame.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals[address] = err
}

// Serve serves one connection until it ends.
func (b *Broker) Serve(nc net.Conn) {
	s := &served{b: b, pump: newPump(nc)}
	cfg := b.cfg
	cfg.Wake = s.stir
	s.engine = engine.NewServer(cfg, s)
	b.killing.RLock()
	b.mu.Lock()
	b.conns[s] = true
	b.opened++
	stopped := b.ln == nil
	b.mu.Unlock()
	b.killing.RUnlock()
	if stopped {
		_ = nc.Close()
	}
	s.run(func() {
		b.mu.Lock()
		delete(b.conns, s)
		b.mu.Unlock()
	})
}

// served is one connection of a broker.
type served struct {
	*pump
	b *Broker
}

func (s *served) Opened(*engine.Conn) error { return nil }

func (s *served) Ended(*engine.Session, *frame.Error) {}

func (s *served) Closed(error) {}

// Attaching takes every link that is not to be refused.
func (s *served) Attaching(l *engine.Link) engine.LinkHandler {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	a := l.Remote()
	b.attaches = append(b.attaches, a)
	var address string
	if l.Sender() {
		address = a.Source.Address.V
	} else {
		address = a.Target.Address.V
	}
	if err := b.refusals[address]; err != nil {
		l.Refuse(err)
		return nil
	}
	_ = l.Accept(frame.Attach{})
	if l.Sender() {
		return b.queue(address).outlet(l)
	}
	l.Grant(b.credit)
	return b.queue(address).inlet(l)
}
