package fleet

import (
	"context"
	"sync"

	"github.com/linkspan/linkspan"
)

// Clients keeps, for each client endpoint, what its broker's session knows of us, for whoever runs the endpoint next. What
// it is does not matter here: it is bytes.
type Clients struct {
	topic   string
	to      linkspan.Sink
	barrier *barrier

	mu     sync.Mutex
	values map[string][]byte
}

// NewClients returns an empty table. It is to be fed what a follower reads of [Config.ClientsTopic] by Apply.
func NewClients(cfg Config, to linkspan.Sink) *Clients {
	return &Clients{topic: cfg.ClientsTopic(), to: to, barrier: newBarrier(cfg.ClientsTopic(), 1, to), values: map[string][]byte{}}
}

// Apply takes a record of the log, in the order of its partition.
func (c *Clients) Apply(m *linkspan.Message) {
	if c.barrier.apply(m) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.Payload == nil {
		delete(c.values, string(m.Record.Key))
		return
	}
	c.values[string(m.Record.Key)] = append([]byte(nil), m.Payload...)
}

// Load returns what was stored for the endpoint by whichever process, nil for nothing. It sees everything whose Store had
// returned, in any process, when it was called, and waits until that has been read.
func (c *Clients) Load(ctx context.Context, endpoint string) ([]byte, error) {
	if err := c.barrier.wait(ctx, 0); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.values[endpoint], nil
}

// Store replaces what is stored for the endpoint; it returns nil when Kafka has it (P1). value is not kept.
func (c *Clients) Store(ctx context.Context, endpoint string, value []byte) error {
	done := make(chan error, 1)
	if value == nil {
		value = []byte{}
	}
	c.to.Send(ctx, &linkspan.Message{Payload: value, Record: linkspan.Record{Topic: c.topic, Key: []byte(endpoint)}}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
