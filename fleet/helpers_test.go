package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/linkspan/linkspan"
)

var errAway = errors.New("kafka is away")

// A shelf is a sink that keeps what it is sent until the test says what becomes of it.
type shelf struct {
	mu    sync.Mutex
	sent  []*sending
	shut  bool
	fails error // with which it refuses at once
}

func (s *shelf) Send(_ context.Context, m *linkspan.Message, done func(error)) {
	s.mu.Lock()
	fails := s.fails
	if fails == nil {
		s.sent = append(s.sent, &sending{m.Clone(), done})
	}
	s.mu.Unlock()
	if fails != nil {
		done(fails)
	}
}

func (s *shelf) Room(*linkspan.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.shut
}

// shutter says whether there is room.
func (s *shelf) shutter(shut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = shut
}

// peek returns what was sent.
func (s *shelf) peek() []*sending {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// take removes what was sent.
func (s *shelf) take() []*sending {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

// An outcome keeps what a done was called with.
type outcome struct {
	calls int
	err   error
}

func (o *outcome) done(err error) {
	o.calls++
	o.err = err
}

// nowhere is a sink that takes everything, for benchmarks.
type nowhere struct{}

func (nowhere) Send(_ context.Context, _ *linkspan.Message, done func(error)) { done(nil) }

// command is a record for a device.
func command(topic, device string, offset int64) *linkspan.Message {
	return &linkspan.Message{
		Payload: []byte("on"),
		Record:  linkspan.Record{Topic: topic, Partition: 3, Offset: offset, Key: []byte(device), Timestamp: time.UnixMilli(1700000000000)},
	}
}
