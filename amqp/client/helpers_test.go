package client_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkspan/linkspan"
	"github.com/linkspan/linkspan/amqp/amqptest"
	"github.com/linkspan/linkspan/amqp/client"
	"github.com/linkspan/linkspan/amqp/engine"
	"github.com/linkspan/linkspan/amqp/frame"
	"github.com/linkspan/linkspan/internal/custody"
)

// A sink remembers what it takes. It takes all, until it is told otherwise.
type sink struct {
	mu      sync.Mutex
	got     []*linkspan.Message
	answer  func(m *linkspan.Message) error // nil: nil
	holding bool
	held    []func(error)
	closed  bool // there is no room
	asked   int  // for room, in vain
}

var _ linkspan.Bounded = (*sink)(nil)

func (s *sink) Room(*linkspan.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		s.asked++
	}
	return !s.closed
}

func (s *sink) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	s.mu.Lock()
	var err error
	if s.answer != nil {
		err = s.answer(m)
	}
	s.got = append(s.got, m.Clone())
	if s.holding {
		s.held = append(s.held, done)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	done(err)
}

func (s *sink) payloads() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.got {
		all = append(all, string(m.Payload))
	}
	return all
}

func (s *sink) set(change func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// let ends the holding: what was held is done, with nil.
func (s *sink) let() {
	s.mu.Lock()
	held := s.held
	s.held, s.holding = nil, false
	s.mu.Unlock()
	for _, done := range held {
		done(nil)
	}
}

// A running is a client that runs until the test ends.
type running struct {
	*client.Client
	t    testing.TB
	sink *sink
	stop func() // and waits
}

// start runs a client of that broker, and waits until it is connected.
func start(t testing.TB, url string, addresses []string, change ...func(*client.Config)) *running {
	t.Helper()
	r := launch(t, url, addresses, change...)
	r.until("a connection", func() bool { return r.Status().Connected })
	return r
}

func launch(t testing.TB, url string, addresses []string, change ...func(*client.Config)) *running {
	t.Helper()
	cfg := client.DefaultConfig()
	cfg.Dial = []string{url}
	cfg.Reconnect = client.Reconnect{Min: time.Millisecond, Max: 10 * time.Millisecond}
	cfg.ConnectTimeout, cfg.AckTimeout = custody.Patience, custody.Patience
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &running{Client: client.New(cfg, addresses, nil, slog.New(slog.DiscardHandler)), t: t, sink: &sink{}}
	r.SetCaution(custody.Patience) // however slow the machine is
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, r.sink) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(custody.Patience):
			t.Error("the client does not stop (P8)")
		}
	})
	t.Cleanup(r.stop)
	return r
}

// until waits for ok.
func (r *running) until(what string, ok func() bool) {
	r.t.Helper()
	until(r.t, what, ok)
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(custody.Patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func broker(t testing.TB) *amqptest.Broker { return amqptest.NewBroker(t, engine.Config{}) }

// encode returns a message with that body.
func encode(body string) string { return string(frame.AppendData(nil, []byte(body))) }

func encodeAll(n int) (all []string) {
	for i := range n {
		all = append(all, encode(custody.Payload(i)))
	}
	return all
}

func payloads(n int) (all []string) {
	for i := range n {
		all = append(all, custody.Payload(i))
	}
	return all
}

// bodies returns what is in the data sections of encoded messages.
func bodies(t testing.TB, encoded []string) (all []string) {
	t.Helper()
	for _, e := range encoded {
		var m frame.Message
		if err := m.Decode([]byte(e)); err != nil {
			t.Fatal(err)
		}
		data, ok := m.Body[0].Value.Binary()
		if !ok {
			t.Fatalf("no data: %v", m.Body)
		}
		all = append(all, string(data))
	}
	return all
}

// send sends a message, and returns where its outcome will be.
func (r *running) send(address, body string) <-chan error { return r.try(0, address, body) }

// try sends one that was given back that often.
func (r *running) try(tries int, address, body string) <-chan error {
	outcome := make(chan error, 1)
	m := &linkspan.Message{}
	m.Reset()
	m.Topic, m.Payload, m.QoS, m.Tries = address, []byte(body), 1, tries
	r.Send(context.Background(), m, func(err error) { outcome <- err })
	return outcome
}

// wait waits for an outcome.
func wait(t testing.TB, outcome <-chan error) error {
	t.Helper()
	select {
	case err := <-outcome:
		return err
	case <-time.After(custody.Patience):
		t.Fatal("never: an outcome")
		return nil
	}
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %d, want %d; %v", what, len(got), len(want), fmt.Sprintf("%.300v", got))
	}
}
