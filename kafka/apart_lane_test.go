package kafka

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kgo"
)

// P2, P4: a lane that is Apart hands over and settles at the same time, from several goroutines, some records twice, and comes to its
// end: neither side waits for the other.
func TestApartHandsOverWhileItSettles(t *testing.T) {
	const n = 20_000
	c := connect(t, testConfig(startKfake(t).ListenAddrs()...))
	consumer := c.NewConsumer(ConsumerConfig{Topics: []string{"down"}, Group: "g", Apart: true})
	var settled atomic.Int64
	all := make(chan struct{})
	type handed struct {
		again bool
		done  func(error)
	}
	dones := make(chan handed, 2*n)
	defer close(dones)
	for range 4 {
		go func() {
			for h := range dones {
				if h.again {
					h.done(errors.New("not now"))
					continue
				}
				h.done(nil)
				if settled.Add(1) == n {
					close(all)
				}
			}
		}()
	}
	l := consumer.newLane(t.Context(), "down", 0, linkspan.SinkFunc(func(_ context.Context, m *linkspan.Message, done func(error)) {
		dones <- handed{m.Tries == 0 && m.Record.Offset%16 == 3, done}
	}))
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: "down", Offset: int64(i), Value: []byte(strconv.Itoa(i))}
	}
	l.push(records, 1<<40)
	<-all
	l.stop()
	if p, _ := l.uncommitted(); p.offset != n {
		t.Errorf("settled up to %d of %d", p.offset, n)
	}
}
